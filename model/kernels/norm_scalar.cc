#include "model/kernels/norm.h"

#include <cmath>

#include "model/kernels/scalar_math.h"

namespace longhaul::model {
namespace {

// Normalises one group in place of y, whose values are already there.
void norm_group(float* y, const float* weight, std::int64_t n, float eps) {
  float lanes[16] = {};
  for (std::int64_t i = 0; i < n; ++i) lanes[i % 16] = std::fma(y[i], y[i], lanes[i % 16]);
  const float r = 1.0F / std::sqrt(scalar::tree_sum(lanes) / static_cast<float>(n) + eps);
  for (std::int64_t i = 0; i < n; ++i) y[i] = (y[i] * r) * weight[i];
}

}  // namespace

void rms_norm_scalar(const NormArgs& args) {
  for (std::int64_t row = 0; row < args.n_rows; ++row) {
    const float* x = args.x + row * args.x_stride;
    float* y = args.y + row * args.y_stride;
    for (std::int64_t i = 0; i < args.n; ++i) y[i] = x[i];
    norm_group(y, args.weight, args.n, args.eps);
  }
}

void gated_rms_norm_scalar(const NormArgs& args) {
  const std::int64_t width = args.n / args.n_groups;
  for (std::int64_t row = 0; row < args.n_rows; ++row) {
    const float* x = args.x + row * args.x_stride;
    const float* z = args.z + row * args.z_stride;
    float* y = args.y + row * args.y_stride;
    for (std::int64_t i = 0; i < args.n; ++i) y[i] = x[i] * scalar::silu(z[i]);
    for (std::int64_t g = 0; g < args.n_groups; ++g) {
      norm_group(y + g * width, args.weight + g * width, width, args.eps);
    }
  }
}

void sigmoid_map_scalar(const MapArgs& args) {
  for (std::int64_t i = 0; i < args.n; ++i) args.y[i] = scalar::sigmoid(args.x[i]);
}
void softplus_map_scalar(const MapArgs& args) {
  for (std::int64_t i = 0; i < args.n; ++i) args.y[i] = scalar::softplus(args.x[i]);
}
void exp_map_scalar(const MapArgs& args) {
  for (std::int64_t i = 0; i < args.n; ++i) args.y[i] = scalar::exp(args.x[i]);
}
void silu_map_scalar(const MapArgs& args) {
  for (std::int64_t i = 0; i < args.n; ++i) args.y[i] = scalar::silu(args.x[i]);
}

}  // namespace longhaul::model
