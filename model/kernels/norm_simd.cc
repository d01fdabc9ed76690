#include "model/kernels/norm.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "model/kernels/norm_simd.cc"
#include "hwy/foreach_target.h"
//
#include "model/kernels/simd-inl.h"

#ifndef LONGHAUL_NO_SIMD
HWY_BEFORE_NAMESPACE();
namespace longhaul::model {
namespace HWY_NAMESPACE {

// Up to 15 elements as sixteen lanes, the rest 0. fma(0, 0, lane) leaves a lane as it is, so padding does not show.
HWY_INLINE F16 load_part(const float* from, std::int64_t n) {
  float lanes[16] = {};
  for (std::int64_t i = 0; i < n; ++i) lanes[i] = from[i];
  return load16(lanes);
}
HWY_INLINE void store_part(F16 a, float* to, std::int64_t n) {
  float lanes[16];
  store16(a, lanes);
  for (std::int64_t i = 0; i < n; ++i) to[i] = lanes[i];
}

HWY_INLINE void norm_group(const float* x, const float* weight, float* y, std::int64_t n, float eps) {
  F16 sum = set<F16>(0.0F);
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const F16 v = load16(x + i);
    sum = fma(v, v, sum);
  }
  if (i < n) {
    const F16 v = load_part(x + i, n - i);
    sum = fma(v, v, sum);
  }
  const F16 r = set<F16>(1.0F / std::sqrt(tree_sum(sum) / static_cast<float>(n) + eps));
  for (i = 0; i + 16 <= n; i += 16) store16((load16(x + i) * r) * load16(weight + i), y + i);
  if (i < n) store_part((load_part(x + i, n - i) * r) * load_part(weight + i, n - i), y + i, n - i);
}

void rms_norm(const NormArgs& args) {
  for (std::int64_t row = 0; row < args.n_rows; ++row) {
    norm_group(args.x + row * args.x_stride, args.weight, args.y + row * args.y_stride, args.n, args.eps);
  }
}

void gated_rms_norm(const NormArgs& args) {
  const std::int64_t width = args.n / args.n_groups;
  for (std::int64_t row = 0; row < args.n_rows; ++row) {
    const float* x = args.x + row * args.x_stride;
    const float* z = args.z + row * args.z_stride;
    float* y = args.y + row * args.y_stride;
    std::int64_t i = 0;
    for (; i + 16 <= args.n; i += 16) store16(load16(x + i) * silu_lanes(load16(z + i)), y + i);
    const std::int64_t left = args.n - i;
    if (left > 0) store_part(load_part(x + i, left) * silu_lanes(load_part(z + i, left)), y + i, left);
    for (std::int64_t g = 0; g < args.n_groups; ++g) {
      norm_group(y + g * width, args.weight + g * width, y + g * width, width, args.eps);
    }
  }
}

#define LONGHAUL_MAP(name, function)                                                     \
  void name(const MapArgs& args) {                                                       \
    std::int64_t i = 0;                                                                  \
    for (; i + 16 <= args.n; i += 16) store16(function(load16(args.x + i)), args.y + i); \
    const std::int64_t left = args.n - i;                                                \
    if (left > 0) store_part(function(load_part(args.x + i, left)), args.y + i, left);   \
  }
LONGHAUL_MAP(sigmoid_map, sigmoid_lanes)
LONGHAUL_MAP(softplus_map, softplus_lanes)
LONGHAUL_MAP(exp_map, exp_lanes)
LONGHAUL_MAP(silu_map, silu_lanes)
#undef LONGHAUL_MAP

}  // namespace HWY_NAMESPACE
}  // namespace longhaul::model
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
namespace longhaul::model {
NormFunction rms_norm_simd(SimdTarget target) {
  return LONGHAUL_SIMD_FUNCTION(target, rms_norm);
}
NormFunction gated_rms_norm_simd(SimdTarget target) {
  return LONGHAUL_SIMD_FUNCTION(target, gated_rms_norm);
}
MapFunction sigmoid_map_simd(SimdTarget target) {
  return LONGHAUL_SIMD_FUNCTION(target, sigmoid_map);
}
MapFunction softplus_map_simd(SimdTarget target) {
  return LONGHAUL_SIMD_FUNCTION(target, softplus_map);
}
MapFunction exp_map_simd(SimdTarget target) {
  return LONGHAUL_SIMD_FUNCTION(target, exp_map);
}
MapFunction silu_map_simd(SimdTarget target) {
  return LONGHAUL_SIMD_FUNCTION(target, silu_map);
}
}  // namespace longhaul::model
#endif
