#include <cmath>
#include <cstring>
#include <limits>

#include "model/kernels/page_bounds.h"
#include "model/kernels/scalar_math.h"

namespace longhaul::model {
namespace {

float stored(bool bf16, const std::byte* from, std::int64_t index) {
  if (bf16) {
    std::uint16_t bits;
    std::memcpy(&bits, from + index * 2, 2);
    return from_bf16(bits);
  }
  float value;
  std::memcpy(&value, from + index * 4, 4);
  return value;
}

}  // namespace

void page_bounds_scalar(const PageBoundsArgs& args) {
  for (std::int64_t page = 0; page < args.n_pages; ++page) {
    for (std::int64_t head = 0; head < args.n_kv_heads * args.n_group; ++head) {
      const std::int64_t low = (page * args.n_kv_heads + head / args.n_group) * 2 * args.head_dim;
      const std::int64_t high = low + args.head_dim;
      const float* q = args.q + head * args.head_dim;
      float sums[16] = {}, sizes[16] = {};
      for (std::int64_t d = 0; d < args.head_dim; ++d) {
        const float a = q[d] * stored(args.bf16, args.summaries, low + d);
        const float b = q[d] * stored(args.bf16, args.summaries, high + d);
        sums[d % 16] += a < b ? b : a;
        sizes[d % 16] += std::fabs(a) + std::fabs(b);
      }
      float bound = (scalar::tree_sum(sums) + scalar::tree_sum(sizes) * args.slack()) * args.scale;
      if (std::isnan(bound)) bound = std::numeric_limits<float>::infinity();
      args.out[head * args.out_stride + page] = bound;
    }
  }
}

}  // namespace longhaul::model
