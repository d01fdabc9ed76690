// The causal depthwise convolution before the recurrence, with its activation. For channel c and row t:
//   y[t, c] = silu(fma chain from bias[c]: weight[j, c] * x[t - (d_conv - 1) + j, c], j ascending)
// where rows before the first come from `history`, oldest first. Lanes run across channels: no reduction.
#pragma once

#include <cstdint>

#include "model/kernels/simd_targets.h"

namespace longhaul::model {

inline constexpr std::int64_t kMaxConv = 16;  // of d_conv; the family has 4

struct ConvArgs {
  const float* history = nullptr;  // [d_conv - 1] rows of n_channels, history_stride apart
  std::int64_t history_stride = 0;
  const float* x = nullptr;  // [n_rows] rows, x_stride apart
  std::int64_t x_stride = 0;
  const float* weight = nullptr;  // [d_conv][n_channels]: transposed from the checkpoint's [n_channels, 1, d_conv]
  const float* bias = nullptr;    // [n_channels]
  float* y = nullptr;             // [n_rows][n_channels]
  std::int64_t n_rows = 0, n_channels = 0, d_conv = 4;
};

using ConvFunction = void (*)(const ConvArgs&);
void conv_scalar(const ConvArgs& args);
ConvFunction conv_simd(SimdTarget target);

}  // namespace longhaul::model
