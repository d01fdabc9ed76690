#include "model/engine.h"

#include "model/cpu_engine.h"
#include "model/kernels/kernels.h"

namespace longhaul::model {

Result<std::unique_ptr<Engine>> Engine::load(std::shared_ptr<const Checkpoint> checkpoint,
                                             const EngineOptions& options) {
  if (checkpoint == nullptr) return invalid_argument("engine: there is no checkpoint");
  CheckpointWeights source(*checkpoint);
  return make_cpu_engine(checkpoint->config(), source, options, checkpoint);
}

std::vector<std::string> Engine::kernel_names() {
  std::vector<std::string> names;
  for (const Kernels& kernels : available_kernels()) names.emplace_back(kernels.name);
  return names;
}

}  // namespace longhaul::model
