#include "runtime/deep_verify.h"

#include <fmt/format.h>

#include <algorithm>

namespace longhaul::runtime {

Result<std::string> deep_verify(sessions::SessionManager& manager, const std::string& name, ModelHost& model,
                                const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  auto session =
      manager.open_session(name, {.model_fingerprint = model.fingerprint(), .numerics_tag = model.numerics_tag()});
  if (!session) return session.error();
  const auto& tokens = (*session)->context().tokens();
  model::SequenceState state(model.engine().layout());
  // Every stored state that this context can still use, from the first to the last.
  std::vector<std::uint64_t> positions;
  std::uint64_t limit = tokens.size();
  while (true) {
    auto loaded = (*session)->load_state(limit);
    if (!loaded) return loaded.error();
    if (!loaded->state || loaded->position == 0) break;
    positions.push_back(loaded->position);
    limit = loaded->position - 1;
  }
  std::reverse(positions.begin(), positions.end());
  static constexpr std::uint64_t kChunk = 512;
  for (const std::uint64_t position : positions) {
    while (static_cast<std::uint64_t>(state.position()) < position) {
      const auto at = static_cast<std::uint64_t>(state.position());
      const std::uint64_t n = std::min(kChunk, position - at);
      const model::SequenceStep step{.state = &state,
                                     .tokens = std::span(tokens).subspan(at, n),
                                     .wanted = model::LogitsWanted::kNone,
                                     .rows = {}};
      if (auto ok = model.engine().step({&step, 1}); !ok) return ok.error();
      progress(at + n, positions.back());
    }
    auto stored = (*session)->load_state(position);
    if (!stored) return stored.error();
    if (!stored->state || !state.same_as(*stored->state)) {
      return fmt::format("the state stored at token {} is not what the recorded tokens give", position);
    }
  }
  return std::string();
}

}  // namespace longhaul::runtime
