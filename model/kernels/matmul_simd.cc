// Tiles of R rows by P panels: P * R accumulators of 16 lanes stay in registers over all of k. On AVX-512 6 x 4 uses 24
// of 32 registers and makes 24 multiply-adds of 4 weight loads and 6 broadcasts; on AVX2 (16 registers) 6 x 1 is the
// same idea. A single row takes 8 panels (AVX-512) or 4 (AVX2): a multiply-add's latency is 4 cycles at 2 a cycle.
#include "model/kernels/matmul.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "model/kernels/matmul_simd.cc"
#include "hwy/foreach_target.h"
//
#include "model/kernels/simd-inl.h"

#ifndef LONGHAUL_NO_SIMD
HWY_BEFORE_NAMESPACE();
namespace longhaul::model {
namespace HWY_NAMESPACE {

template <int R, int P, class W>
HWY_INLINE void tile(const MatmulArgs& args, std::int64_t row, std::int64_t slot) {
  const W* w[P];
  LONGHAUL_UNROLL for (int p = 0; p < P; ++p) {
    const std::int64_t panel = args.panel_ids != nullptr ? args.panel_ids[slot + p] : slot + p;
    w[p] = reinterpret_cast<const W*>(args.w.data + panel * args.w.panel_bytes());
  }
  const float* x[R];
  LONGHAUL_UNROLL for (int r = 0; r < R; ++r) x[r] = args.x + (row + r) * args.x_stride;
  F16 sum[R][P];
  LONGHAUL_UNROLL for (int r = 0; r < R; ++r) {
    LONGHAUL_UNROLL for (int p = 0; p < P; ++p) sum[r][p] = set<F16>(0.0F);
  }
  for (std::int64_t k = 0; k < args.w.n_in; ++k) {
    F16 weights[P];
    LONGHAUL_UNROLL for (int p = 0; p < P; ++p) weights[p] = load16(w[p] + k * kPanel);
    LONGHAUL_UNROLL for (int r = 0; r < R; ++r) {
      const F16 value = set<F16>(x[r][k]);
      LONGHAUL_UNROLL for (int p = 0; p < P; ++p) sum[r][p] = fma(weights[p], value, sum[r][p]);
    }
  }
  LONGHAUL_UNROLL for (int r = 0; r < R; ++r) {
    float* y = args.y + (row + r) * args.y_stride;
    LONGHAUL_UNROLL for (int p = 0; p < P; ++p) {
      const std::int64_t column = (slot + p) * kPanel;
      const std::int64_t left = args.panel_ids != nullptr ? kPanel : args.w.n_out - column;
      if (left >= kPanel) {
        store16(sum[r][p], y + column);
      } else {
        float lanes[kPanel];
        store16(sum[r][p], lanes);
        for (std::int64_t j = 0; j < left; ++j) y[column + j] = lanes[j];
      }
    }
  }
}

template <int P, class W>
HWY_INLINE void rows(const MatmulArgs& args, std::int64_t slot) {
  std::int64_t row = 0;
  for (; row + 6 <= args.n_rows; row += 6) tile<6, P, W>(args, row, slot);
  if (row + 4 <= args.n_rows) tile<4, P, W>(args, row, slot), row += 4;
  if (row + 2 <= args.n_rows) tile<2, P, W>(args, row, slot), row += 2;
  if (row < args.n_rows) tile<1, P, W>(args, row, slot);
}

template <class W>
HWY_INLINE void panels(const MatmulArgs& args) {
  constexpr int kWide = kRegs == 1 ? 4 : 1;    // panels a tile of several rows
  constexpr int kSingle = kRegs == 1 ? 8 : 4;  // panels for a single row
  std::int64_t slot = args.first_panel;
  const std::int64_t end = args.first_panel + args.n_panels;
  if (args.n_rows == 1) {
    for (; slot + kSingle <= end; slot += kSingle) tile<1, kSingle, W>(args, 0, slot);
  }
  for (; slot + kWide <= end; slot += kWide) rows<kWide, W>(args, slot);
  for (; slot < end; ++slot) rows<1, W>(args, slot);
}

void matmul(const MatmulArgs& args) {
  if (args.w.bf16) {
    panels<std::uint16_t>(args);
  } else {
    panels<float>(args);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace longhaul::model
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
namespace longhaul::model {
MatmulFunction matmul_simd(SimdTarget target) {
  return LONGHAUL_SIMD_FUNCTION(target, matmul);
}
}  // namespace longhaul::model
#endif
