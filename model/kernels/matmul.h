// y[t, o] = sum over k of W[o, k] * x[t, k].
//
// Order (contract C2): ascending k, one chain of fused multiply-adds an output, from 0. Lanes run across outputs, so
// rows and panels are worked on together only to hide latency; one row and sixty-four take the same steps per output.
//
// Weights are packed in panels of 16 outputs, k-major: panel p holds W[16 p + j, k] at [k][j]; outputs past n_out are
// 0. bf16 weights stay bf16 in memory (decoding is bound by the bytes read) and are widened in registers, exactly.
//
// Rejected: dot products along k with a final tree (a row and a tile would sum differently, or a tile would waste
// lanes), and splitting k over threads (the split would show in the bits).
#pragma once

#include <cstddef>
#include <cstdint>

#include "model/kernels/simd_targets.h"

namespace longhaul::model {

inline constexpr std::int64_t kPanel = 16;

struct PackedView {
  std::int64_t n_out = 0, n_in = 0;
  bool bf16 = false;
  const std::byte* data = nullptr;  // [n_panels][n_in][kPanel]

  std::int64_t n_panels() const { return (n_out + kPanel - 1) / kPanel; }
  std::int64_t panel_bytes() const { return n_in * kPanel * (bf16 ? 2 : 4); }
};

struct MatmulArgs {
  PackedView w;
  const float* x = nullptr;  // [n_rows] rows of n_in, x_stride apart
  std::int64_t x_stride = 0, n_rows = 0;
  float* y = nullptr;  // [n_rows] rows, y_stride apart
  std::int64_t y_stride = 0;
  // Panels first_panel .. first_panel + n_panels - 1. With `panel_ids`, these index that list, and slot i of the list
  // is written whole at column 16 i of y; without, panel p is written at column 16 p, outputs past n_out left alone.
  std::int64_t first_panel = 0, n_panels = 0;
  const std::int32_t* panel_ids = nullptr;
};

using MatmulFunction = void (*)(const MatmulArgs&);
void matmul_scalar(const MatmulArgs& args);
MatmulFunction matmul_simd(SimdTarget target);

}  // namespace longhaul::model
