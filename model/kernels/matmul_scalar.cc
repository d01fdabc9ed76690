#include <cmath>
#include <cstring>

#include "model/kernels/matmul.h"
#include "model/kernels/scalar_math.h"

namespace longhaul::model {
namespace {

float weight(const PackedView& w, std::int64_t panel, std::int64_t k, std::int64_t j) {
  const std::byte* base = w.data + panel * w.panel_bytes();
  if (w.bf16) {
    std::uint16_t bits;
    std::memcpy(&bits, base + (k * kPanel + j) * 2, 2);
    return from_bf16(bits);
  }
  float value;
  std::memcpy(&value, base + (k * kPanel + j) * 4, 4);
  return value;
}

}  // namespace

void matmul_scalar(const MatmulArgs& args) {
  for (std::int64_t slot = args.first_panel; slot < args.first_panel + args.n_panels; ++slot) {
    const std::int64_t panel = args.panel_ids != nullptr ? args.panel_ids[slot] : slot;
    for (std::int64_t t = 0; t < args.n_rows; ++t) {
      for (std::int64_t j = 0; j < kPanel; ++j) {
        if (args.panel_ids == nullptr && panel * kPanel + j >= args.w.n_out) break;
        float sum = 0.0F;
        for (std::int64_t k = 0; k < args.w.n_in; ++k) {
          sum = std::fma(weight(args.w, panel, k, j), args.x[t * args.x_stride + k], sum);
        }
        args.y[t * args.y_stride + slot * kPanel + j] = sum;
      }
    }
  }
}

}  // namespace longhaul::model
