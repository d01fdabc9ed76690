// The model's side of a trajectory: the sequence state, how it follows the context, drafts.
#include <algorithm>

#include "runtime/trajectory_impl.h"

namespace longhaul::runtime {
namespace {

// Tokens a step of prefill: long enough to amortise the weights, short enough that Ctrl-C is felt.
constexpr std::size_t kChunk = 512;

}  // namespace

void Trajectory::Impl::add_kv(const model::KvReport& step) {
  kv.pages_read += step.pages_read;
  kv.pages_skipped += step.pages_skipped;
  kv.bytes_read += step.bytes_read;
  kv.mass_bound.resize(std::max(kv.mass_bound.size(), step.mass_bound.size()));
  for (std::size_t i = 0; i < step.mass_bound.size(); ++i) {
    kv.mass_bound[i] = std::max(kv.mass_bound[i], step.mass_bound[i]);
  }
}

json::object Trajectory::Impl::kv_fields() const {
  if (kv.pages_read + kv.pages_skipped == 0 && kv.bytes_read == 0) return {};
  json::array mass;
  for (const float bound : kv.mass_bound) mass.push_back(bound);
  return {{"pages_read", kv.pages_read},
          {"pages_skipped", kv.pages_skipped},
          {"bytes_read", kv.bytes_read},
          {"mass_bound", std::move(mass)}};
}

Result<void> Trajectory::Impl::load_sequence() {
  drafted.reset();
  last_logits.clear();
  last_rows.clear();
  last_hidden.clear();
  auto loaded = p.session.load_state();
  if (!loaded) return loaded.error();
  if (loaded->state) {
    sequence = std::move(*loaded->state);
  } else {
    sequence.emplace(engine.layout());
  }
  return account();
}

Result<void> Trajectory::Impl::ensure_sequence() {
  if (sequence) return {};
  return load_sequence();
}

Result<void> Trajectory::Impl::account() {
  if (p.resident == nullptr) return {};
  return p.resident->use(*this, sequence ? sequence->resident_bytes() : 0);
}

Result<void> Trajectory::Impl::let_go() {
  if (!sequence) return {};
  if (auto ok = settle_drafts(); !ok) return ok.error();
  if (sequence->position() > 0) {
    if (auto saved = p.session.save_state(*sequence, false); !saved) return saved.error();
  }
  sequence.reset();
  last_logits = {};
  last_rows = {};
  last_hidden = {};
  tools->rest();
  emit_progress(0);
  if (p.resident != nullptr) p.resident->leave(*this);
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
    last_rows = drafted->rows;
    const float* hidden = drafted->result.hidden.data() + (n - 1) * d_model;
    last_hidden.assign(hidden, hidden + d_model);
  }
  drafted.reset();
  emit_progress(n);
  return {};
}

Result<bool> Trajectory::Impl::catch_up(bool want_logits, NextTokens* next) {
  if (auto ok = ensure_sequence(); !ok) return ok.error();
  if (auto ok = settle_drafts(); !ok) return ok.error();
  const std::size_t end = context().size();
  while (static_cast<std::size_t>(sequence->position()) < end) {
    if (p.interrupted) return false;
    const auto at = static_cast<std::size_t>(sequence->position());
    const std::size_t n = std::min(kChunk, end - at);
    const bool last = at + n == end;
    model::SequenceStep step{.state = &*sequence,
                             .tokens = std::span(context()).subspan(at, n),
                             .wanted = last && want_logits ? model::LogitsWanted::kLast : model::LogitsWanted::kNone};
    const auto begun = std::chrono::steady_clock::now();
    if (next != nullptr) {
      step.rows_later = [&] {
        const auto asked = std::chrono::steady_clock::now();
        if (n == 1) layers_took = asked - begun;
        const std::span<const TokenId> rows = next->get().ids;
        if (!next->known()) p.model.mask_ahead()->settle(next->cost(), std::chrono::steady_clock::now() - asked);
        return rows;
      };
    }
    auto result = engine.step({&step, 1});
    if (!result) return result.error();
    add_kv(result->front().kv);
    last_logits = std::move(result->front().logits);
    last_rows.clear();
    if (next != nullptr && !last_logits.empty()) last_rows = next->get().ids;
    last_hidden = std::move(result->front().last_hidden);
    emit_progress(n);
    if (auto ok = account(); !ok) return ok.error();
  }
  return true;
}

Result<Trajectory::Impl::Drafted> Trajectory::Impl::guess(const tools::MessageParser& parser,
                                                          const tools::AllowedTokens& allowed) {
  // Forced text costs no drafting, and the model most often cuts it as the tokenizer does.
  constexpr std::size_t kForcedMax = 16;
  Drafted next;
  next.base = context().size() - 1;
  next.tokens.push_back(context().back());
  const tools::Grammar& grammar = parser.grammar();
  std::vector<TokenId> guesses;
  if (allowed.few) {
    guesses = grammar.forced(parser.state(), [&](std::string_view text) { return tokenizer().encode_content(text); });
    if (guesses.size() > kForcedMax) guesses.resize(kForcedMax);
  }
  if (guesses.empty()) {
    auto drafts = engine.draft(*sequence, last_hidden, context().back(), p.speculate);
    if (!drafts) return drafts.error();
    guesses = std::move(*drafts);
  }
  std::vector<tools::DraftToken> chain;
  for (const TokenId id : guesses) chain.push_back({static_cast<std::int32_t>(chain.size()) - 1, id});
  bool few = allowed.few;
  next.rows = allowed.ids;
  for (const tools::DraftState& after : grammar.draft_masks(parser.state(), chain)) {
    if (after.state.dead()) break;
    next.tokens.push_back(guesses[next.tokens.size() - 1]);
    few = few && after.allowed->few;
    next.rows.insert(next.rows.end(), after.allowed->ids.begin(), after.allowed->ids.end());
  }
  if (!few) next.rows.clear();
  std::sort(next.rows.begin(), next.rows.end());
  next.rows.erase(std::unique(next.rows.begin(), next.rows.end()), next.rows.end());
  return next;
}

Result<std::span<const float>> Trajectory::Impl::next_logits(const tools::MessageParser& parser, NextTokens& next) {
  if (auto ok = ensure_sequence(); !ok) return ok.error();
  const std::size_t vocab = static_cast<std::size_t>(p.model.config().vocab_size);
  const std::size_t n = context().size();
  const auto cover = [&](const std::vector<TokenId>& have) {
    if (have.empty()) return true;
    const tools::AllowedTokens& allowed = next.get();
    return allowed.few && std::includes(have.begin(), have.end(), allowed.ids.begin(), allowed.ids.end());
  };
  if (drafted && n > drafted->base && n - drafted->base <= drafted->tokens.size() && cover(drafted->rows) &&
      std::equal(drafted->tokens.begin(), drafted->tokens.begin() + static_cast<std::ptrdiff_t>(n - drafted->base),
                 context().begin() + static_cast<std::ptrdiff_t>(drafted->base))) {
    return std::span<const float>(drafted->result.logits).subspan((n - drafted->base - 1) * vocab, vocab);
  }
  if (auto ok = settle_drafts(); !ok) return ok.error();
  // Only a token that was just sampled is worth drafting after.
  const bool draft = p.speculate > 0 && static_cast<std::size_t>(sequence->position()) + 1 == n && !last_hidden.empty();
  if (draft) {
    auto guessed = guess(parser, next.get());
    if (!guessed) return guessed.error();
    if (guessed->tokens.size() > 1) {
      const model::SequenceStep step{.state = &*sequence,
                                     .tokens = guessed->tokens,
                                     .wanted = model::LogitsWanted::kAll,
                                     .rows = guessed->rows,
                                     .provisional = true};
      auto result = engine.step({&step, 1});
      if (!result) return result.error();
      add_kv(result->front().kv);
      guessed->result = std::move(result->front());
      drafted = std::move(*guessed);
      return std::span<const float>(drafted->result.logits).first(vocab);
    }
  }
  auto done = catch_up(true, &next);
  if (!done) return done.error();
  if (!*done) return std::span<const float>();
  if (last_logits.empty() || !cover(last_rows)) {
    // The state stands exactly at the end: the last token must be read again for its logits.
    auto earlier = p.session.load_state(n - 1);
    if (!earlier) return earlier.error();
    if (earlier->state) {
      sequence = std::move(*earlier->state);
    } else {
      sequence.emplace(engine.layout());
    }
    done = catch_up(true, &next);
    if (!done) return done.error();
    if (!*done) return std::span<const float>();
  }
  return std::span<const float>(last_logits);
}

}  // namespace longhaul::runtime
