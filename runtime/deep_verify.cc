#include "runtime/deep_verify.h"

#include <fmt/format.h>

#include <algorithm>

namespace longhaul::runtime {
namespace {

constexpr std::uint64_t kChunk = 512;

// From the state's position to `end`.
Result<void> feed(ModelHost& model, model::SequenceState& state, std::span<const sessions::TokenId> tokens,
                  std::uint64_t end, std::uint64_t total,
                  const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  while (static_cast<std::uint64_t>(state.position()) < end) {
    const auto at = static_cast<std::uint64_t>(state.position());
    const std::uint64_t n = std::min(kChunk, end - at);
    const model::SequenceStep step{
        .state = &state, .tokens = tokens.subspan(at, n), .wanted = model::LogitsWanted::kNone, .rows = {}};
    if (auto ok = model.engine().step({&step, 1}); !ok) return ok.error();
    progress(at + n, total);
  }
  return {};
}

}  // namespace

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
  for (const std::uint64_t position : positions) {
    if (auto ok = feed(model, state, tokens, position, positions.back(), progress); !ok) return ok.error();
    auto stored = (*session)->load_state(position);
    if (!stored) return stored.error();
    auto same = stored->state ? state.compare(*stored->state) : Result<bool>(false);
    if (!same) return same.error();
    if (!*same) {
      return fmt::format("the state stored at token {} is not what the recorded tokens give", position);
    }
  }
  return std::string();
}

Result<std::uint64_t> rebuild_state(sessions::SessionManager& manager, const std::string& name, ModelHost& model,
                                    const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  auto session =
      manager.open_session(name, {.model_fingerprint = model.fingerprint(), .numerics_tag = model.numerics_tag()});
  if (!session) return session.error();
  auto loaded = (*session)->load_state();
  if (!loaded) return loaded.error();
  if (loaded->tokens_to_feed.empty()) return std::uint64_t{0};
  model::SequenceState state =
      loaded->state ? std::move(*loaded->state) : model::SequenceState(model.engine().layout());
  const auto& tokens = (*session)->context().tokens();
  if (auto ok = feed(model, state, tokens, tokens.size(), tokens.size(), progress); !ok) return ok.error();
  if (auto saved = (*session)->save_state(state, false); !saved) return saved.error();
  return std::uint64_t{loaded->tokens_to_feed.size()};
}

}  // namespace longhaul::runtime
