#include <cmath>

#include "model/kernels/scalar_math.h"
#include "model/kernels/ssm_scan.h"

namespace longhaul::model {

void ssm_scan_scalar(const SsmScanArgs& args) {
  for (std::int64_t t = 0; t < args.n_tokens; ++t) {
    const float* x = args.x + t * args.stride;
    const float* b = args.b + t * args.stride;
    const float* c = args.c + t * args.stride;
    const float dt = args.dt[t * args.dt_stride];
    const float decay = scalar::exp(dt * args.a);
    for (std::int64_t p = 0; p < args.head_dim; ++p) {
      float* state = args.state + p * args.d_state;
      const float input = dt * x[p];
      float lanes[16] = {};
      for (std::int64_t n = 0; n < args.d_state; ++n) {
        state[n] = std::fma(input, b[n], decay * state[n]);
        lanes[n % 16] = std::fma(state[n], c[n], lanes[n % 16]);
      }
      if (args.y != nullptr) args.y[t * args.y_stride + p] = std::fma(args.d, x[p], scalar::tree_sum(lanes));
    }
  }
}

}  // namespace longhaul::model
