// Contract C2 on models of every layer kind, bit for bit: how a prompt is split, who else is in the batch, how many
// threads run and which instruction set computes must not show; nor must speculation, saving and loading, or sparse
// output rows.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "model/engine.h"
#include "model/sampler.h"
#include "runtime/base/hash.h"
#include "tests/support/state_pages.h"
#include "tests/support/synthetic_model.h"

namespace longhaul::model {
namespace {

struct Kind {
  std::string name, schedule, mtp;
  std::int64_t d_latent;
  DType dtype;
};

std::ostream& operator<<(std::ostream& out, const Kind& kind) {
  return out << kind.name;
}

const Kind kKinds[] = {
    {"NanoF32", "ME*ME", "", 0, DType::kF32},          {"NanoBf16", "ME*ME", "", 0, DType::kBf16},
    {"SuperF32", "MEM*EM*E", "*E", 24, DType::kF32},   {"SuperBf16", "MEM*EM*E", "*E", 24, DType::kBf16},
    {"DenseF32", "M-M*-", "", 0, DType::kF32},         {"MambaOnlyBf16", "MM", "", 0, DType::kBf16},
    {"AttentionOnlyF32", "*-*", "*-", 0, DType::kF32},
};

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

ModelConfig config_of(const Kind& kind) {
  return synthetic_config(kind.schedule, kind.mtp, kind.d_latent);
}

// All logits of `tokens` after whatever the state has consumed, fed in chunks of the given sizes.
std::vector<float> feed(Engine& engine, SequenceState& state, std::span<const TokenId> tokens,
                        const std::vector<std::size_t>& chunks) {
  std::vector<float> logits;
  std::size_t at = 0;
  for (std::size_t chunk : chunks) {
    const SequenceStep step{.state = &state, .tokens = tokens.subspan(at, chunk), .wanted = LogitsWanted::kAll};
    auto results = engine.step({&step, 1});
    EXPECT_TRUE(results) << (results ? "" : results.error().message);
    if (!results) return {};
    logits.insert(logits.end(), (*results)[0].logits.begin(), (*results)[0].logits.end());
    at += chunk;
  }
  EXPECT_EQ(at, tokens.size());
  return logits;
}

std::vector<std::size_t> random_chunks(std::mt19937& random, std::size_t n) {
  std::vector<std::size_t> chunks;
  while (n > 0) {
    const std::size_t most = random() % 4 == 0 ? n : std::min<std::size_t>(n, 9);
    chunks.push_back(1 + random() % most);
    n -= chunks.back();
  }
  return chunks;
}

class EngineProperty : public ::testing::TestWithParam<Kind> {
 protected:
  EngineProperty() : config_(config_of(GetParam())) {
    model_ = make_synthetic(config_, GetParam().dtype);
    tokens_ = synthetic_tokens(300, config_.vocab_size, 5);  // over two page boundaries
  }
  Engine& engine() { return *model_.engine; }
  SequenceState fresh() { return SequenceState(engine().layout()); }

  ModelConfig config_;
  SyntheticModel model_;
  std::vector<TokenId> tokens_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, EngineProperty, ::testing::ValuesIn(kKinds),
                         [](const auto& info) { return info.param.name; });

TEST_P(EngineProperty, LogitsAreFiniteAndDependOnEveryToken) {
  SequenceState a = fresh(), b = fresh();
  const std::vector<float> logits = feed(engine(), a, tokens_, {tokens_.size()});
  for (float logit : logits) ASSERT_TRUE(std::isfinite(logit));
  std::vector<TokenId> other = tokens_;
  other[0] = (other[0] + 1) % static_cast<TokenId>(config_.vocab_size);
  const std::vector<float> changed = feed(engine(), b, other, {other.size()});
  EXPECT_FALSE(a.same_as(b));
  EXPECT_FALSE(same_bits(logits, changed));
}

TEST_P(EngineProperty, SplittingAPromptChangesNothing) {
  SequenceState whole = fresh();
  const std::vector<float> want = feed(engine(), whole, tokens_, {tokens_.size()});
  for (unsigned seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    SequenceState state = fresh();
    EXPECT_TRUE(same_bits(want, feed(engine(), state, tokens_, random_chunks(random, tokens_.size()))));
    EXPECT_TRUE(whole.same_as(state));
  }
  SequenceState one_by_one = fresh();
  EXPECT_TRUE(same_bits(want, feed(engine(), one_by_one, tokens_, std::vector<std::size_t>(tokens_.size(), 1))));
  EXPECT_TRUE(whole.same_as(one_by_one));
}

TEST_P(EngineProperty, CompanyChangesNothing) {
  // Seven sequences, each alone; then together, in random chunks, with members that come, pause and leave.
  constexpr std::size_t kSequences = 7;
  std::vector<std::vector<TokenId>> tokens;
  std::vector<std::vector<float>> want;
  std::vector<SequenceState> alone, together;
  for (std::size_t i = 0; i < kSequences; ++i) {
    tokens.push_back(synthetic_tokens(20 + static_cast<std::int64_t>(i) * 37, config_.vocab_size, 50 + i));
    alone.push_back(fresh());
    together.push_back(fresh());
    want.push_back(feed(engine(), alone[i], tokens[i], {tokens[i].size()}));
  }
  for (unsigned seed = 1; seed <= 2; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    std::vector<std::vector<float>> got(kSequences);
    std::vector<std::size_t> at(kSequences);
    for (std::size_t i = 0; i < kSequences; ++i) together[i] = fresh();
    for (;;) {
      std::vector<SequenceStep> batch;
      std::vector<std::size_t> members;
      for (std::size_t i = 0; i < kSequences; ++i) {
        const std::size_t left = tokens[i].size() - at[i];
        if (left == 0 || random() % 3 == 0) continue;
        const std::size_t n = random() % 2 == 0 ? 1 : 1 + random() % left;
        batch.push_back(
            {.state = &together[i], .tokens = std::span(tokens[i]).subspan(at[i], n), .wanted = LogitsWanted::kAll});
        members.push_back(i);
        at[i] += n;
      }
      auto results = engine().step(batch);
      ASSERT_TRUE(results);
      for (std::size_t j = 0; j < members.size(); ++j) {
        const auto& logits = (*results)[j].logits;
        got[members[j]].insert(got[members[j]].end(), logits.begin(), logits.end());
      }
      bool done = true;
      for (std::size_t i = 0; i < kSequences; ++i) done = done && at[i] == tokens[i].size();
      if (done) break;
    }
    for (std::size_t i = 0; i < kSequences; ++i) {
      EXPECT_TRUE(same_bits(want[i], got[i])) << "sequence " << i;
      EXPECT_TRUE(alone[i].same_as(together[i])) << "sequence " << i;
    }
  }
}

TEST_P(EngineProperty, ThreadsAndInstructionSetsChangeNothing) {
  const std::size_t n = 150;
  const std::span<const TokenId> tokens = std::span(tokens_).first(n);
  SequenceState truth = fresh();
  SyntheticModel scalar = make_synthetic(config_, GetParam().dtype, {.kernels = "scalar"});
  const std::vector<float> want = feed(*scalar.engine, truth, tokens, {n});
  for (const std::string& kernels : Engine::kernel_names()) {
    for (int n_threads : {1, 2, 3}) {
      SCOPED_TRACE(kernels + " with " + std::to_string(n_threads));
      SyntheticModel model = make_synthetic(config_, GetParam().dtype, {.n_threads = n_threads, .kernels = kernels});
      ASSERT_NE(model.engine, nullptr);
      EXPECT_EQ(model.engine->kernels(), kernels);
      EXPECT_EQ(model.engine->numerics_tag(), scalar.engine->numerics_tag());
      SequenceState state = fresh();
      EXPECT_TRUE(same_bits(want, feed(*model.engine, state, tokens, {7, n - 8, 1})));
      EXPECT_TRUE(truth.same_as(state));
    }
  }
}

TEST_P(EngineProperty, ProvisionalStepsAcceptAnyPrefixExactly) {
  for (std::size_t start : {0UL, 3UL, 120UL, 127UL, 128UL, 130UL}) {
    const std::size_t n_drafts = 12;
    SequenceState base = fresh();
    if (start > 0) feed(engine(), base, std::span(tokens_).first(start), {start});
    SequenceState before = base.clone();
    SequenceState straight = base.clone();
    const std::vector<float> want =
        feed(engine(), straight, std::span(tokens_).subspan(start, n_drafts + 20), {n_drafts, 20});
    for (std::size_t n_accepted = 0; n_accepted <= n_drafts; ++n_accepted) {
      SCOPED_TRACE(std::to_string(start) + " + " + std::to_string(n_accepted));
      SequenceState state = base.clone();
      const SequenceStep step{.state = &state,
                              .tokens = std::span(tokens_).subspan(start, n_drafts),
                              .wanted = LogitsWanted::kAll,
                              .provisional = true};
      auto results = engine().step({&step, 1});
      ASSERT_TRUE(results);
      EXPECT_TRUE(same_bits(std::span(want).first((*results)[0].logits.size()), (*results)[0].logits));
      EXPECT_EQ((*results)[0].hidden.size(), n_drafts * static_cast<std::size_t>(config_.d_model));
      ASSERT_TRUE(state.same_as(before)) << "a provisional step leaves the state where it was";
      ASSERT_TRUE(engine().accept(state, static_cast<std::int64_t>(n_accepted)));
      SequenceState plain = base.clone();
      if (n_accepted > 0) feed(engine(), plain, std::span(tokens_).subspan(start, n_accepted), {n_accepted});
      EXPECT_TRUE(state.same_as(plain));
      EXPECT_EQ(state.mtp_position, plain.mtp_position);
      EXPECT_TRUE(same_bits(state.mtp_hidden, plain.mtp_hidden));
      // And it goes on exactly.
      const std::size_t at = start + n_accepted, left = n_drafts + 20 - n_accepted;
      const std::vector<float> rest = feed(engine(), state, std::span(tokens_).subspan(at, left), {left});
      EXPECT_TRUE(same_bits(std::span(want).subspan(n_accepted * static_cast<std::size_t>(config_.vocab_size)), rest));
    }
  }
}

TEST_P(EngineProperty, SavedAndLoadedStatesGoOnExactly) {
  for (std::size_t cut : {1UL, 127UL, 128UL, 129UL, 256UL, 290UL}) {
    SCOPED_TRACE(cut);
    SequenceState state = fresh();
    feed(engine(), state, std::span(tokens_).first(cut), {cut});
    SequenceState copy = state.clone();
    std::vector<std::vector<std::shared_ptr<const KvPage>>> pages(state.layout().n_attention_layers);
    for (std::uint32_t layer = 0; layer < state.layout().n_attention_layers; ++layer) {
      for (std::int64_t index = 0; index < state.n_full_pages(); ++index) {
        auto page = std::make_shared<KvPage>();
        const std::string bytes = page_text(state, layer, index);
        page->bytes.resize(bytes.size());
        std::memcpy(page->bytes.data(), bytes.data(), bytes.size());
        pages[layer].push_back(std::move(page));
      }
    }
    auto loaded = SequenceState::decode(state.layout(), state.position(), state.encode_fixed(),
                                        state.encode_open_pages(), std::move(pages));
    ASSERT_TRUE(loaded) << loaded.error().message;
    EXPECT_TRUE(loaded->same_as(state));
    const std::span<const TokenId> rest = std::span(tokens_).subspan(cut, 8);
    const std::vector<float> want = feed(engine(), state, rest, {8});
    EXPECT_TRUE(same_bits(want, feed(engine(), *loaded, rest, {8})));
    EXPECT_TRUE(same_bits(want, feed(engine(), copy, rest, {3, 5})));
    EXPECT_TRUE(loaded->same_as(state));
    EXPECT_TRUE(copy.same_as(state));
  }
}

// A state whose pages stay where they are kept computes what one that holds them all computes, however few are in
// memory at a time and whatever company it has; a page that cannot be had leaves every state of the step as it was.
TEST_P(EngineProperty, PagesReadOnDemandChangeNoBit) {
  for (std::int64_t window : {1, 2, 100}) {
    SCOPED_TRACE(window);
    SequenceState whole = fresh(), other = fresh();
    feed(engine(), whole, std::span(tokens_).first(280), {280});
    feed(engine(), other, std::span(tokens_).first(140), {140});
    SequenceState lazy = whole.clone();
    const auto pages = std::make_shared<MemoryPages>(whole, window);
    lazy.give_pages(pages, 1);
    const std::size_t resident = lazy.resident_bytes();
    EXPECT_EQ(resident + lazy.layout().n_attention_layers * lazy.layout().page_bytes(), whole.resident_bytes());
    EXPECT_TRUE(lazy.same_as(whole));
    lazy.give_pages(pages, 2);

    const std::span<const TokenId> rest = std::span(tokens_).subspan(280, 9);
    if (lazy.layout().n_attention_layers > 0) {
      pages->damage(lazy.layout().n_attention_layers - 1, 1);
      const SequenceState before = lazy.clone(), other_before = other.clone();
      const std::vector<SequenceStep> batch = {{.state = &other, .tokens = rest}, {.state = &lazy, .tokens = rest}};
      const auto failed = engine().step(batch);
      ASSERT_FALSE(failed);
      EXPECT_EQ(failed.error().code, ErrorCode::kCorruption);
      EXPECT_NE(failed.error().message.find("page 1 of attention layer"), std::string::npos) << failed.error().message;
      pages->repair();
      EXPECT_TRUE(lazy.same_as(before));
      EXPECT_TRUE(other.same_as(other_before));
    }
    const std::vector<float> want = feed(engine(), whole, rest, {9});
    SequenceState again = lazy.clone();
    EXPECT_TRUE(same_bits(want, feed(engine(), lazy, rest, {2, 7})));
    const std::vector<SequenceStep> batch = {
        {.state = &other, .tokens = rest},
        {.state = &again, .tokens = rest, .wanted = LogitsWanted::kAll, .provisional = true}};
    auto drafted = engine().step(batch);
    ASSERT_TRUE(drafted) << drafted.error().message;
    EXPECT_TRUE(same_bits(want, (*drafted)[1].logits));
    ASSERT_TRUE(engine().accept(again, 9));
    EXPECT_TRUE(lazy.same_as(whole));
    EXPECT_TRUE(again.same_as(whole));
    EXPECT_LE(pages->held_max(), std::min<std::int64_t>(window, 2));
  }
}

TEST_P(EngineProperty, SparseRowsEqualDenseRows) {
  SequenceState dense = fresh();
  const std::vector<float> want = feed(engine(), dense, std::span(tokens_).first(9), {9});
  const std::vector<TokenId> rows = {0, 149, 16, 17, 17, 80};
  for (LogitsWanted wanted : {LogitsWanted::kLast, LogitsWanted::kAll}) {
    SequenceState state = fresh();
    SequenceStep step{.state = &state, .tokens = std::span(tokens_).first(9), .wanted = wanted, .rows = rows};
    auto results = engine().step({&step, 1});
    ASSERT_TRUE(results);
    const std::vector<float>& logits = (*results)[0].logits;
    // The same rows, asked for when the layers are done.
    SequenceState other = fresh();
    step.state = &other;
    step.rows = {};
    step.rows_later = [&] { return std::span<const TokenId>(rows); };
    auto later = engine().step({&step, 1});
    ASSERT_TRUE(later);
    EXPECT_TRUE(same_bits((*later)[0].logits, logits));
    const std::size_t n = wanted == LogitsWanted::kAll ? 9 : 1, vocab = 150;
    ASSERT_EQ(logits.size(), n * vocab);
    for (std::size_t t = 0; t < n; ++t) {
      for (std::size_t id = 0; id < vocab; ++id) {
        const bool asked = std::find(rows.begin(), rows.end(), id) != rows.end();
        EXPECT_EQ(logits[t * vocab + id],
                  asked ? want[(9 - n + t) * vocab + id] : -std::numeric_limits<float>::infinity());
      }
    }
  }
}

TEST_P(EngineProperty, DraftsNeverTouchTheSequence) {
  SequenceState state = fresh(), plain = fresh();
  std::size_t at = 0;
  for (std::size_t chunk : {5UL, 1UL, 120UL, 2UL, 1UL, 30UL}) {
    const SequenceStep step{.state = &state, .tokens = std::span(tokens_).subspan(at, chunk)};
    auto results = engine().step({&step, 1});
    ASSERT_TRUE(results);
    at += chunk;
    const SequenceState before = state.clone();
    const std::int64_t rows = state.mtp_position;
    auto drafts = engine().draft(state, (*results)[0].last_hidden, tokens_[at], 7);
    ASSERT_TRUE(drafts);
    EXPECT_EQ(drafts->size(), config_.mtp_layers.empty() ? 0U : 7U);
    EXPECT_TRUE(state.same_as(before));
    EXPECT_EQ(state.mtp_position, rows);
    EXPECT_EQ(rows, config_.mtp_layers.empty() ? 0 : state.position() - 1);
    EXPECT_EQ(*drafts, *engine().draft(state, (*results)[0].last_hidden, tokens_[at], 7)) << "drafting leaves no trace";
  }
  feed(engine(), plain, std::span(tokens_).first(at), {at});
  EXPECT_TRUE(state.same_as(plain));
}

TEST_P(EngineProperty, DraftsWorkFromALoadedState) {
  SequenceState state = fresh();
  feed(engine(), state, std::span(tokens_).first(60), {60});
  auto loaded =
      SequenceState::decode(state.layout(), state.position(), state.encode_fixed(), state.encode_open_pages(),
                            std::vector<std::vector<std::shared_ptr<const KvPage>>>(state.layout().n_attention_layers));
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->mtp_position, 0);
  const SequenceStep step{.state = &*loaded, .tokens = std::span(tokens_).subspan(60, 3)};
  auto results = engine().step({&step, 1});
  ASSERT_TRUE(results);
  auto drafts = engine().draft(*loaded, (*results)[0].last_hidden, tokens_[63], 4);
  ASSERT_TRUE(drafts);
  EXPECT_EQ(drafts->size(), config_.mtp_layers.empty() ? 0U : 4U);
}

// A whole agent's loop in small: sampled tokens, with and without speculation, sparse rows now and then.
TEST_P(EngineProperty, SpeculationNeverChangesTheText) {
  for (float temperature : {0.0F, 1.0F}) {
    SCOPED_TRACE(temperature);
    const SamplingOptions options{.temperature = temperature, .seed = 77};
    const std::size_t n_generated = 60;
    const std::span<const TokenId> prompt = std::span(tokens_).first(100);  // generating goes over a page boundary

    SequenceState plain = fresh();
    std::vector<TokenId> want;
    std::vector<TokenId> input(prompt.begin(), prompt.end());
    while (want.size() < n_generated) {
      const SequenceStep step{.state = &plain, .tokens = input};
      auto results = engine().step({&step, 1});
      ASSERT_TRUE(results);
      want.push_back(sample((*results)[0].logits, nullptr, {}, options, want.size()).value());
      input.assign(1, want.back());
    }

    SequenceState state = fresh();
    const SequenceStep first{.state = &state, .tokens = prompt};
    auto results = engine().step({&first, 1});
    ASSERT_TRUE(results);
    std::vector<float> hidden = (*results)[0].last_hidden;
    std::vector<TokenId> got = {sample((*results)[0].logits, nullptr, {}, options, 0).value()};
    std::size_t n_accepted_drafts = 0;
    while (got.size() < n_generated) {
      // Every third time the right continuation is "guessed" in part, so that long prefixes are accepted too.
      std::vector<TokenId> guess = engine().draft(state, hidden, got.back(), 4).value();
      if (got.size() % 3 == 0) {
        guess.assign(want.begin() + static_cast<std::ptrdiff_t>(got.size()),
                     want.begin() + static_cast<std::ptrdiff_t>(std::min(got.size() + 3, n_generated)));
        guess.push_back(0);
      }
      std::vector<TokenId> tokens = {got.back()};
      tokens.insert(tokens.end(), guess.begin(), guess.end());
      const SequenceStep step{.state = &state, .tokens = tokens, .wanted = LogitsWanted::kAll, .provisional = true};
      results = engine().step({&step, 1});
      ASSERT_TRUE(results);
      const auto vocab = static_cast<std::size_t>(config_.vocab_size);
      std::size_t n = 0;  // tokens that turn out to be the text
      for (;; ++n) {
        const std::span<const float> row = std::span((*results)[0].logits).subspan(n * vocab, vocab);
        got.push_back(sample(row, nullptr, {}, options, got.size()).value());
        if (n + 1 == tokens.size() || tokens[n + 1] != got.back()) break;
      }
      n_accepted_drafts += n;
      ASSERT_TRUE(engine().accept(state, static_cast<std::int64_t>(n + 1)));
      const auto d = static_cast<std::size_t>(config_.d_model);
      const std::span<const float> row = std::span((*results)[0].hidden).subspan(n * d, d);
      hidden.assign(row.begin(), row.end());
    }
    got.resize(n_generated);
    EXPECT_EQ(want, got);
    EXPECT_GT(n_accepted_drafts, 10U);
  }
}

// Shapes at random: heads, groups, widths around the vector's, latents, biases. Instruction sets, threads and splits at
// once.
TEST(EngineShapes, RandomModelsGiveTheSameBitsEverywhere) {
  for (unsigned seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto one_of = [&](std::initializer_list<std::int64_t> values) {
      return values.begin()[random() % values.size()];
    };
    std::string schedule;
    for (int i = 0; i < 4; ++i) schedule += "M*E-"[random() % 4];
    ModelConfig config = synthetic_config(schedule, random() % 2 == 0 ? "*E" : "", one_of({0, 8, 17}));
    config.d_model = one_of({1, 16, 33, 64});
    config.vocab_size = one_of({3, 64, 100, 257});
    config.n_groups = one_of({1, 2, 3});
    config.n_mamba_heads = config.n_groups * one_of({1, 2});
    config.mamba_head_dim = one_of({1, 7, 16});
    config.d_state = one_of({1, 16, 20, 64});
    config.d_conv = one_of({2, 4, 5});
    config.use_conv_bias = random() % 2 == 0;
    config.mamba_proj_bias = random() % 2 == 0;
    config.attention_bias = random() % 2 == 0;
    config.mlp_bias = schedule.find('E') == std::string::npos && random() % 2 == 0;
    config.tie_word_embeddings = random() % 2 == 0;
    config.n_kv_heads = one_of({1, 2, 3});
    config.n_heads = config.n_kv_heads * one_of({1, 2, 5});
    config.head_dim = one_of({1, 16, 20, 48});
    config.d_mlp = one_of({1, 50});
    config.n_experts = one_of({1, 5, 32});
    config.n_experts_per_token = std::min(config.n_experts, one_of({1, 3, 20}));
    config.d_expert = one_of({3, 40});
    config.d_shared_expert = one_of({1, 40});
    const DType dtype = random() % 2 == 0 ? DType::kF32 : DType::kBf16;
    const std::vector<TokenId> tokens = synthetic_tokens(140, config.vocab_size, seed);
    std::vector<float> want;
    std::string want_fixed, want_open;
    for (const std::string& kernels : Engine::kernel_names()) {
      SCOPED_TRACE(kernels);
      SyntheticModel model =
          make_synthetic(config, dtype, {.n_threads = 1 + static_cast<int>(random() % 3), .kernels = kernels}, seed);
      ASSERT_NE(model.engine, nullptr);
      SequenceState state(model.engine->layout());
      const std::vector<float> got = feed(*model.engine, state, tokens, random_chunks(random, tokens.size()));
      if (want.empty()) {
        want = got;
        want_fixed = state.encode_fixed();
        want_open = state.encode_open_pages();
      }
      EXPECT_TRUE(same_bits(want, got));
      EXPECT_EQ(want_fixed, state.encode_fixed());
      EXPECT_EQ(want_open, state.encode_open_pages());
    }
  }
}

// The bits themselves, for any compiler, optimisation and processor. A value that changes here breaks every stored
// session: it needs a new numerics tag, and then a new number.
TEST(EngineBits, AreFixedForEver) {
  const struct {
    DType dtype;
    std::string_view tag, logits, state;
  } cases[] = {
      {DType::kF32, "cpu-f32-v1/kv-f32", "0bcd91589ea0435ce4ff21b1d101ffbb", "1275e20a466508a0db5cb84aaa134d4b"},
      {DType::kBf16, "cpu-f32-v1/kv-bf16", "b0f0d4c187c0afd5d17e0fe486c53622", "92fbb8a50ec331000eeb2f9ff4e2414c"}};
  const ModelConfig config = synthetic_config("MEM*-E", "*E", 24);
  const std::vector<TokenId> tokens = synthetic_tokens(200, config.vocab_size, 9);
  for (const auto& c : cases) {
    for (const std::string& kernels : Engine::kernel_names()) {
      SyntheticModel model = make_synthetic(config, c.dtype, {.kernels = kernels});
      SequenceState state(model.engine->layout());
      const std::vector<float> logits = feed(*model.engine, state, tokens, {200});
      EXPECT_EQ(model.engine->numerics_tag(), c.tag);
      const std::string_view bytes(reinterpret_cast<const char*>(logits.data()), logits.size() * sizeof(float));
      EXPECT_EQ(digest_of(bytes).hex(), c.logits) << kernels;
      EXPECT_EQ(digest_of(state.encode_fixed() + state.encode_open_pages()).hex(), c.state) << kernels;
    }
  }
}

TEST(EngineSlices, PromptsLongerThanASliceAndFullBatches) {
  const ModelConfig config = synthetic_config("M*E");
  SyntheticModel model = make_synthetic(config, DType::kBf16);
  const std::vector<TokenId> tokens = synthetic_tokens(1100, config.vocab_size, 3);
  SequenceState a(model.engine->layout()), b(model.engine->layout()), c(model.engine->layout());
  const std::vector<float> want = feed(*model.engine, a, tokens, std::vector<std::size_t>(11, 100));
  const SequenceStep batch[] = {
      {.state = &b, .tokens = tokens, .wanted = LogitsWanted::kAll},
      {.state = &c, .tokens = std::span(tokens).first(60), .wanted = LogitsWanted::kAll, .provisional = true}};
  auto results = model.engine->step(batch);
  ASSERT_TRUE(results);
  EXPECT_TRUE(same_bits(want, (*results)[0].logits));
  EXPECT_TRUE(same_bits(std::span(want).first(60 * 150), (*results)[1].logits));
  EXPECT_TRUE(a.same_as(b));
  ASSERT_TRUE(model.engine->accept(c, 60));
  EXPECT_EQ(c.position(), 60);
}

}  // namespace
}  // namespace longhaul::model
