#include "model/layers/layer.h"

#include <algorithm>
#include <cstring>

#include "model/kernels/scalar_math.h"

namespace longhaul::model {
namespace {

// Splits the panels over the threads, a few times finer than there are threads, in whole tiles of 8 panels.
void run_matmul(const StepContext& step, const MatmulArgs& args) {
  const int n_threads = step.pool.n_threads();
  if (n_threads == 1) return step.kernels.matmul(args);
  constexpr std::int64_t kTile = 8;
  const std::int64_t pieces = 3 * n_threads;
  const std::int64_t piece = std::max(kTile, (args.n_panels / pieces + kTile - 1) / kTile * kTile);
  const std::int64_t n_tasks = (args.n_panels + piece - 1) / piece;
  step.pool.run(n_tasks, [&](std::int64_t task, int) {
    MatmulArgs part = args;
    part.first_panel = args.first_panel + task * piece;
    part.n_panels = std::min(piece, args.first_panel + args.n_panels - part.first_panel);
    step.kernels.matmul(part);
  });
}

}  // namespace

void apply(const StepContext& step, const Linear& linear, const float* x, std::int64_t n_rows, float* y) {
  if (n_rows == 0) return;
  const PackedView& w = linear.weight.view();
  run_matmul(step, {.w = w,
                    .x = x,
                    .x_stride = w.n_in,
                    .n_rows = n_rows,
                    .y = y,
                    .y_stride = w.n_out,
                    .first_panel = 0,
                    .n_panels = w.n_panels()});
  if (linear.bias.empty()) return;
  for (std::int64_t t = 0; t < n_rows; ++t) add_rows(linear.bias.data(), w.n_out, y + t * w.n_out);
}

void apply_panels(const StepContext& step, const Linear& linear, const float* x, std::int64_t n_rows,
                  std::span<const std::int32_t> panel_ids, float* y) {
  const auto n_panels = static_cast<std::int64_t>(panel_ids.size());
  run_matmul(step, {.w = linear.weight.view(),
                    .x = x,
                    .x_stride = linear.weight.n_in(),
                    .n_rows = n_rows,
                    .y = y,
                    .y_stride = n_panels * kPanel,
                    .first_panel = 0,
                    .n_panels = n_panels,
                    .panel_ids = panel_ids.data()});
}

void rms_norm(const StepContext& step, const std::vector<float>& weight, const float* x, std::int64_t n_rows,
              float* y) {
  const auto n = static_cast<std::int64_t>(weight.size());
  step.kernels.rms_norm({.x = x,
                         .x_stride = n,
                         .weight = weight.data(),
                         .y = y,
                         .y_stride = n,
                         .n_rows = n_rows,
                         .n = n,
                         .eps = step.config.norm_eps});
}

void add_rows(const float* x, std::int64_t n, float* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] += x[i];
}

void relu_squared(float* x, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) x[i] = x[i] < 0.0F ? 0.0F : x[i] * x[i];  // a NaN stays visible
}

void round_to(StoredType stored, float* x, std::int64_t n) {
  if (stored == StoredType::kF32) return;
  for (std::int64_t i = 0; i < n; ++i) x[i] = from_bf16(to_bf16(x[i]));
}

void store_values(StoredType stored, const float* x, std::int64_t n, std::byte* to) {
  if (n == 0) return;
  if (stored == StoredType::kF32) {
    std::memcpy(to, x, static_cast<std::size_t>(n) * 4);
    return;
  }
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint16_t bits = to_bf16(x[i]);
    std::memcpy(to + 2 * i, &bits, 2);
  }
}

void load_values(StoredType stored, const std::byte* from, std::int64_t n, float* x) {
  if (n == 0) return;
  if (stored == StoredType::kF32) {
    std::memcpy(x, from, static_cast<std::size_t>(n) * 4);
    return;
  }
  for (std::int64_t i = 0; i < n; ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, from + 2 * i, 2);
    x[i] = from_bf16(bits);
  }
}

}  // namespace longhaul::model
