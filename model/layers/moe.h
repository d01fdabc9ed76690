// Mixture of experts, with or without a latent space:
//   s = sigmoid(gate y); experts = top-k of s + correction bias (the bias chooses, it never weighs)
//   w = s / (sum of the chosen s + 1e-20) * routed_scaling_factor
//   u = fc1(y) or y;  m = sum over the chosen, ascending id, of w_e * down_e(relu(up_e(u))^2);  r = fc2(m) or m
//   mixer(y) = r + shared(y)
// Router and shared expert see the full width; only routed experts live in the latent space. Rows are sorted by expert,
// so that each expert's weights are read once a step.
#pragma once

#include <string>
#include <vector>

#include "model/layers/mlp.h"

namespace longhaul::model {

struct MoeLayer {
  Linear gate;
  std::vector<float> correction_bias;  // [n_experts]
  Linear fc1_latent, fc2_latent;       // only with d_latent
  std::vector<MlpLayer> experts;
  MlpLayer shared;  // only with d_shared_expert
};

struct ExpertChoice {
  std::int32_t expert = 0;
  float weight = 0;
};

MoeLayer load_moe(Loader& loader, const ModelConfig& config, const std::string& prefix);

// The chosen experts of one token in ascending id, given s = sigmoid(gate y). Ties go to the lower id; a NaN is the
// last choice, so that hostile weights still choose n_experts_per_token different experts.
void choose_experts(const ModelConfig& config, const float* scores, const float* correction_bias, ExpertChoice* chosen);

// residual += mixer(normed).
void moe_forward(const StepContext& step, const MoeLayer& layer, const float* normed, float* residual);

}  // namespace longhaul::model
