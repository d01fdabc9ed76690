// Four rows of the state at a time: B and C are loaded once for them, and their sums are independent chains.
#include "model/kernels/ssm_scan.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "model/kernels/ssm_scan_simd.cc"
#include "hwy/foreach_target.h"
//
#include "model/kernels/simd-inl.h"

#ifndef LONGHAUL_NO_SIMD
HWY_BEFORE_NAMESPACE();
namespace longhaul::model {
namespace HWY_NAMESPACE {

template <int R>
HWY_INLINE void scan_rows(const SsmScanArgs& args, std::int64_t p, const float* x, const float* b, const float* c,
                          float* y, float dt, F16 decay) {
  float* state[R];
  F16 input[R], sum[R];
  LONGHAUL_UNROLL for (int r = 0; r < R; ++r) {
    state[r] = args.state + (p + r) * args.d_state;
    input[r] = set<F16>(dt * x[p + r]);
    sum[r] = set<F16>(0.0F);
  }
  for (std::int64_t n = 0; n < args.d_state; n += 16) {
    const F16 bn = load16(b + n), cn = load16(c + n);
    LONGHAUL_UNROLL for (int r = 0; r < R; ++r) {
      const F16 s = fma(input[r], bn, decay * load16(state[r] + n));
      store16(s, state[r] + n);
      sum[r] = fma(s, cn, sum[r]);
    }
  }
  if (y == nullptr) return;
  float sums[R];
  if constexpr (R == 4) {
    tree_sums(sum[0], sum[1], sum[2], sum[3], sums);
  } else {
    for (int r = 0; r < R; ++r) sums[r] = tree_sum(sum[r]);
  }
  for (int r = 0; r < R; ++r) y[p + r] = __builtin_fmaf(args.d, x[p + r], sums[r]);
}

void ssm_scan(const SsmScanArgs& args) {
  if (args.d_state % 16 != 0) return ssm_scan_scalar(args);  // no published model; the bits are the same
  for (std::int64_t t = 0; t < args.n_tokens; ++t) {
    const float* x = args.x + t * args.stride;
    const float* b = args.b + t * args.stride;
    const float* c = args.c + t * args.stride;
    float* y = args.y == nullptr ? nullptr : args.y + t * args.y_stride;
    const float dt = args.dt[t * args.dt_stride];
    const F16 decay = exp_lanes(set<F16>(dt * args.a));
    std::int64_t p = 0;
    for (; p + 4 <= args.head_dim; p += 4) scan_rows<4>(args, p, x, b, c, y, dt, decay);
    for (; p < args.head_dim; ++p) scan_rows<1>(args, p, x, b, c, y, dt, decay);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace longhaul::model
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
namespace longhaul::model {
SsmScanFunction ssm_scan_simd(SimdTarget target) {
  return LONGHAUL_SIMD_FUNCTION(target, ssm_scan);
}
}  // namespace longhaul::model
#endif
