// The model's side of a trajectory: the sequence state, how it follows the context, drafts.
#include <algorithm>

#include "runtime/trajectory_impl.h"

namespace longhaul::runtime {
namespace {

// Tokens a step of prefill: long enough to amortise the weights, short enough that Ctrl-C is felt.
constexpr std::size_t kChunk = 512;

}  // namespace

Result<void> Trajectory::Impl::load_sequence() {
  drafted.reset();
  last_logits.clear();
  last_hidden.clear();
  auto loaded = p.session.load_state();
  if (!loaded) return loaded.error();
  if (loaded->state) {
    sequence = std::move(*loaded->state);
  } else {
    sequence.emplace(engine.layout());
  }
  return {};
}

Result<void> Trajectory::Impl::settle_drafts() {
  if (!drafted) return {};
  std::size_t n = 0;
  while (n < drafted->tokens.size() && drafted->base + n < context().size() &&
         context()[drafted->base + n] == drafted->tokens[n]) {
    ++n;
  }
  if (auto ok = engine.accept(*sequence, static_cast<std::int64_t>(n)); !ok) return ok.error();
  const auto vocab = static_cast<std::size_t>(p.model.config().vocab_size);
  const auto d_model = static_cast<std::size_t>(p.model.config().d_model);
  last_logits.clear();
  if (n > 0) {
    const float* logits = drafted->result.logits.data() + (n - 1) * vocab;
    last_logits.assign(logits, logits + vocab);
    const float* hidden = drafted->result.hidden.data() + (n - 1) * d_model;
    last_hidden.assign(hidden, hidden + d_model);
  }
  drafted.reset();
  emit_progress(n);
  return {};
}

Result<bool> Trajectory::Impl::catch_up(bool want_logits) {
  if (auto ok = settle_drafts(); !ok) return ok.error();
  const std::size_t end = context().size();
  while (static_cast<std::size_t>(sequence->position()) < end) {
    if (p.interrupted) return false;
    const auto at = static_cast<std::size_t>(sequence->position());
    const std::size_t n = std::min(kChunk, end - at);
    const bool last = at + n == end;
    const model::SequenceStep step{
        .state = &*sequence,
        .tokens = std::span(context()).subspan(at, n),
        .wanted = last && want_logits ? model::LogitsWanted::kLast : model::LogitsWanted::kNone,
        .rows = {}};
    auto result = engine.step({&step, 1});
    if (!result) return result.error();
    last_logits = std::move(result->front().logits);
    last_hidden = std::move(result->front().last_hidden);
    emit_progress(n);
  }
  return true;
}

Result<std::span<const float>> Trajectory::Impl::next_logits() {
  const std::size_t vocab = static_cast<std::size_t>(p.model.config().vocab_size);
  const std::size_t n = context().size();
  if (drafted && n > drafted->base && n - drafted->base <= drafted->tokens.size() &&
      std::equal(drafted->tokens.begin(), drafted->tokens.begin() + static_cast<std::ptrdiff_t>(n - drafted->base),
                 context().begin() + static_cast<std::ptrdiff_t>(drafted->base))) {
    return std::span<const float>(drafted->result.logits).subspan((n - drafted->base - 1) * vocab, vocab);
  }
  if (auto ok = settle_drafts(); !ok) return ok.error();
  // Only a token that was just sampled is worth drafting after.
  const bool draft = p.speculate > 0 && static_cast<std::size_t>(sequence->position()) + 1 == n && !last_hidden.empty();
  if (draft) {
    auto guesses = engine.draft(*sequence, last_hidden, context().back(), p.speculate);
    if (!guesses) return guesses.error();
    if (!guesses->empty()) {
      Drafted next;
      next.base = n - 1;
      next.tokens.push_back(context().back());
      next.tokens.insert(next.tokens.end(), guesses->begin(), guesses->end());
      const model::SequenceStep step{.state = &*sequence,
                                     .tokens = next.tokens,
                                     .wanted = model::LogitsWanted::kAll,
                                     .rows = {},
                                     .provisional = true};
      auto result = engine.step({&step, 1});
      if (!result) return result.error();
      next.result = std::move(result->front());
      drafted = std::move(next);
      return std::span<const float>(drafted->result.logits).first(vocab);
    }
  }
  auto done = catch_up(true);
  if (!done) return done.error();
  if (!*done) return std::span<const float>();
  if (last_logits.empty()) {
    // The stored state stands exactly at the end: its last token must be read again for its logits.
    auto earlier = p.session.load_state(n - 1);
    if (!earlier) return earlier.error();
    if (earlier->state) {
      sequence = std::move(*earlier->state);
    } else {
      sequence.emplace(engine.layout());
    }
    done = catch_up(true);
    if (!done) return done.error();
    if (!*done) return std::span<const float>();
  }
  return std::span<const float>(last_logits);
}

}  // namespace longhaul::runtime
