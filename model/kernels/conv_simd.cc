#include "model/kernels/conv.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "model/kernels/conv_simd.cc"
#include "hwy/foreach_target.h"
//
#include "model/kernels/simd-inl.h"

#ifndef LONGHAUL_NO_SIMD
HWY_BEFORE_NAMESPACE();
namespace longhaul::model {
namespace HWY_NAMESPACE {

void conv(const ConvArgs& args) {
  const std::int64_t n_history = args.d_conv - 1, n = args.n_channels;
  for (std::int64_t t = 0; t < args.n_rows; ++t) {
    const float* rows[kMaxConv];
    for (std::int64_t j = 0; j < args.d_conv; ++j) {
      const std::int64_t row = t - n_history + j;
      rows[j] = row < 0 ? args.history + (row + n_history) * args.history_stride : args.x + row * args.x_stride;
    }
    float* y = args.y + t * n;
    std::int64_t c = 0;
    for (; c + 16 <= n; c += 16) {
      F16 sum = load16(args.bias + c);
      for (std::int64_t j = 0; j < args.d_conv; ++j)
        sum = fma(load16(args.weight + j * n + c), load16(rows[j] + c), sum);
      store16(silu_lanes(sum), y + c);
    }
    if (c == n) continue;
    float lanes[16] = {};  // the last channels, fewer than sixteen
    for (std::int64_t i = 0; c + i < n; ++i) {
      float sum = args.bias[c + i];
      for (std::int64_t j = 0; j < args.d_conv; ++j) {
        sum = __builtin_fmaf(args.weight[j * n + c + i], rows[j][c + i], sum);
      }
      lanes[i] = sum;
    }
    store16(silu_lanes(load16(lanes)), lanes);
    for (std::int64_t i = 0; c + i < n; ++i) y[c + i] = lanes[i];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace longhaul::model
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
namespace longhaul::model {
ConvFunction conv_simd(SimdTarget target) {
  return LONGHAUL_SIMD_FUNCTION(target, conv);
}
}  // namespace longhaul::model
#endif
