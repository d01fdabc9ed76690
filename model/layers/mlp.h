// down(relu(up(x))^2): the dense MLP, and the shared expert. Two matrices, no gate.
#pragma once

#include <string>

#include "model/layers/layer.h"

namespace longhaul::model {

struct MlpLayer {
  Linear up_proj, down_proj;
};

MlpLayer load_mlp(Loader& loader, std::int64_t d_model, std::int64_t d_inner, bool bias, const std::string& prefix);

// residual += mixer(normed).
void mlp_forward(const StepContext& step, const MlpLayer& layer, const float* normed, float* residual);

}  // namespace longhaul::model
