// Root-mean-square norms, and the functions of single elements that stand between matrix products.
//
//   rms_norm:        y = (x * r) * w,  r = 1 / sqrt(sum(x^2) / n + eps)
//   gated_rms_norm:  q = x * silu(z);  per group of n / n_groups channels: y = (q * r) * w   (gate before the norm)
//
// Sums: sixteen virtual lanes and the fixed tree (contract C2). Multiplying by the weight in fp32 before any rounding
// follows the family's own code; the other published order differs by one unit of bf16.
#pragma once

#include <cstdint>

#include "model/kernels/simd_targets.h"

namespace longhaul::model {

struct NormArgs {
  const float* x = nullptr;  // [n_rows] rows of n, x_stride apart
  std::int64_t x_stride = 0;
  const float* z = nullptr;  // gated only: [n_rows] rows of n, z_stride apart
  std::int64_t z_stride = 0;
  const float* weight = nullptr;  // [n]
  float* y = nullptr;             // [n_rows] rows, y_stride apart; may be x
  std::int64_t y_stride = 0;
  std::int64_t n_rows = 0, n = 0, n_groups = 1;
  float eps = 0;
};

// y[i] = f(x[i]) for i < n; y may be x.
struct MapArgs {
  const float* x = nullptr;
  float* y = nullptr;
  std::int64_t n = 0;
};

using NormFunction = void (*)(const NormArgs&);
using MapFunction = void (*)(const MapArgs&);
void rms_norm_scalar(const NormArgs& args);
void gated_rms_norm_scalar(const NormArgs& args);
void sigmoid_map_scalar(const MapArgs& args);
void softplus_map_scalar(const MapArgs& args);
void exp_map_scalar(const MapArgs& args);
void silu_map_scalar(const MapArgs& args);
NormFunction rms_norm_simd(SimdTarget target);
NormFunction gated_rms_norm_simd(SimdTarget target);
MapFunction sigmoid_map_simd(SimdTarget target);
MapFunction softplus_map_simd(SimdTarget target);
MapFunction exp_map_simd(SimdTarget target);
MapFunction silu_map_simd(SimdTarget target);

}  // namespace longhaul::model
