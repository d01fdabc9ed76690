#include "model/layers/mlp.h"

namespace longhaul::model {

MlpLayer load_mlp(Loader& loader, std::int64_t d_model, std::int64_t d_inner, bool bias, const std::string& prefix) {
  MlpLayer layer;
  layer.up_proj = loader.linear(prefix + "up_proj", d_inner, d_model, bias);
  layer.down_proj = loader.linear(prefix + "down_proj", d_model, d_inner, bias);
  return layer;
}

void mlp_forward(const StepContext& step, const MlpLayer& layer, const float* normed, float* residual) {
  const std::int64_t inner = layer.up_proj.weight.n_out(), width = layer.down_proj.weight.n_out();
  float* middle = step.work.middle.floats(step.n_rows * inner);
  apply(step, layer.up_proj, normed, step.n_rows, middle);
  relu_squared(middle, step.n_rows * inner);
  float* result = step.work.result.floats(step.n_rows * width);
  apply(step, layer.down_proj, middle, step.n_rows, result);
  add_rows(result, step.n_rows * width, residual);
}

}  // namespace longhaul::model
