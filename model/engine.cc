#include "model/engine.h"

#include <fmt/format.h>

#include <charconv>

#include "model/cpu_engine.h"
#include "model/kernels/kernels.h"

namespace longhaul::model {

Result<std::unique_ptr<Engine>> Engine::load(std::shared_ptr<const Checkpoint> checkpoint,
                                             const EngineOptions& options) {
  if (checkpoint == nullptr) return invalid_argument("engine: there is no checkpoint");
  CheckpointWeights source(*checkpoint);
  return make_cpu_engine(checkpoint->config(), source, options, checkpoint);
}

namespace {
constexpr std::string_view kBudget = "/kv-budget-", kError = "/kv-error-";
}

std::string kv_mode_tag(const KvMode& mode) {
  if (mode.budget != 0) return fmt::format("{}{}", kBudget, mode.budget);
  if (mode.error != 0) return fmt::format("{}{}", kError, mode.error);  // the shortest digits that read back the same
  return {};
}

KvMode kv_mode_of(std::string_view tag) {
  KvMode mode;
  const auto read = [&](std::string_view name, auto& value) {
    const std::size_t at = tag.rfind(name);
    if (at == std::string_view::npos) return;
    std::from_chars(tag.data() + at + name.size(), tag.data() + tag.size(), value);
  };
  read(kBudget, mode.budget);
  read(kError, mode.error);
  return mode;
}

std::vector<std::string> Engine::kernel_names() {
  std::vector<std::string> names;
  for (const Kernels& kernels : available_kernels()) names.emplace_back(kernels.name);
  return names;
}

}  // namespace longhaul::model
