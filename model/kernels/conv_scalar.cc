#include "model/kernels/conv.h"

#include <cmath>

#include "model/kernels/scalar_math.h"

namespace longhaul::model {

void conv_scalar(const ConvArgs& args) {
  const std::int64_t n_history = args.d_conv - 1;
  for (std::int64_t t = 0; t < args.n_rows; ++t) {
    for (std::int64_t c = 0; c < args.n_channels; ++c) {
      float sum = args.bias[c];
      for (std::int64_t j = 0; j < args.d_conv; ++j) {
        const std::int64_t row = t - n_history + j;
        const float x =
            row < 0 ? args.history[(row + n_history) * args.history_stride + c] : args.x[row * args.x_stride + c];
        sum = std::fma(args.weight[j * args.n_channels + c], x, sum);
      }
      args.y[t * args.n_channels + c] = scalar::silu(sum);
    }
  }
}

}  // namespace longhaul::model
