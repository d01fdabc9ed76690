// The CPU backend behind Engine::load, also for weights that come from no folder (tests).
#pragma once

#include <memory>

#include "model/engine.h"
#include "model/weights.h"

namespace longhaul::model {

// `keep` is held as long as the engine: the embedding table is read where it lies, everything else is packed.
Result<std::unique_ptr<Engine>> make_cpu_engine(const ModelConfig& config, WeightSource& source,
                                                const EngineOptions& options, std::shared_ptr<const void> keep);

}  // namespace longhaul::model
