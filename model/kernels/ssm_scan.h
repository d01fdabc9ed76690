// The Mamba-2 recurrence of one head over consecutive tokens of one sequence, token after token in fp32:
//   state[p, n] = fma(dt * x[p], B[n], exp(dt * A) * state[p, n])
//   y[p]        = fma(D, x[p], sum over n of state[p, n] * C[n])     (sixteen virtual lanes, fixed tree)
// Source: Dao & Gu 2024 (arXiv:2405.21060). Prefill and decode are the same loop (contract C2), with heads outside and
// tokens inside, so that a head's state (32 KiB at 64 x 128) stays in the first-level cache. The chunked form would be
// faster on matrix units and rounds differently for every split.
#pragma once

#include <cstdint>

#include "model/kernels/simd_targets.h"

namespace longhaul::model {

struct SsmScanArgs {
  float* state = nullptr;  // [head_dim][d_state], updated in place
  std::int64_t n_tokens = 0, head_dim = 0, d_state = 0;
  float a = 0, d = 0;        // A = -exp(A_log), D
  const float* x = nullptr;  // [head_dim] a token, stride tokens apart; likewise B and C [d_state]
  const float* b = nullptr;
  const float* c = nullptr;
  std::int64_t stride = 0;
  const float* dt = nullptr;  // after bias and softplus, one a token, dt_stride apart
  std::int64_t dt_stride = 0;
  float* y = nullptr;  // [head_dim] a token, y_stride apart; null when only the state is wanted
  std::int64_t y_stride = 0;
};

using SsmScanFunction = void (*)(const SsmScanArgs&);
void ssm_scan_scalar(const SsmScanArgs& args);
SsmScanFunction ssm_scan_simd(SimdTarget target);

}  // namespace longhaul::model
