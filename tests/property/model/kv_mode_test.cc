// Attention over chosen pages: bounds bound, choices follow from a row's own query, reading all pages is exact.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>

#include "model/engine.h"
#include "model/kernels/scalar_math.h"
#include "model/layers/page_choice.h"
#include "model/page_summary.h"
#include "tests/support/state_pages.h"
#include "tests/support/synthetic_model.h"

namespace longhaul::model {
namespace {

// One layer's cache of random keys with structure: pages lie around centres, so that bounds tell them apart.
struct Layer {
  ModelConfig config = synthetic_config("*");
  StateLayout layout;
  std::vector<std::vector<float>> keys;  // as stored: [token][kv_head * head_dim]
  std::unique_ptr<SequenceState> state;

  Layer(StoredType stored, std::int64_t n_tokens, std::uint64_t seed) {
    layout.n_attention_layers = 1;
    layout.n_kv_heads = static_cast<std::uint32_t>(config.n_kv_heads);
    layout.head_dim = static_cast<std::uint32_t>(config.head_dim);
    layout.stored = stored;
    state = std::make_unique<SequenceState>(layout);
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal;
    const auto width = static_cast<std::size_t>(config.n_kv_heads * config.head_dim);
    std::vector<float> centre(width), v(width);
    for (std::int64_t t = 0; t < n_tokens; ++t) {
      if (t % kPageTokens == 0) {
        for (float& c : centre) c = 1.5F * normal(random);
      }
      std::vector<float> k(width);
      for (std::size_t d = 0; d < width; ++d) {
        k[d] = centre[d] + 0.4F * normal(random);
        v[d] = normal(random);
      }
      const KvTarget target{0, 1, t, &state->attention[0]};
      append_kv(layout, target, k.data(), v.data());
      round_to(stored, k.data(), static_cast<std::int64_t>(width));
      keys.push_back(std::move(k));
      state->set_position(t + 1);
    }
  }
};

// Notes which pages are asked for.
class NotedPages : public MemoryPages {
 public:
  using MemoryPages::MemoryPages;
  Result<void> load(std::uint32_t layer, std::span<const std::int64_t> pages, std::span<PagePin> out) const override {
    asked.insert(pages.begin(), pages.end());
    return MemoryPages::load(layer, pages, out);
  }
  mutable std::set<std::int64_t> asked;
};

struct Attended {
  std::vector<float> out;
  KvReport report;
  std::set<std::int64_t> asked;
};

Attended attend(Layer& layer, const Kernels& kernels, const KvMode& mode, std::vector<float> q, int threads = 1) {
  SequenceState lazy = layer.state->clone();
  const auto pages = std::make_shared<NotedPages>(*layer.state, 5);
  lazy.give_pages(pages, layer.state->n_full_pages());
  ThreadPool pool(threads);
  Workspace work;
  work.per_worker.resize(static_cast<std::size_t>(threads));
  const StepContext step{layer.config, layer.layout, kernels, pool, work, {}, 1, mode};
  Attended result;
  result.out.resize(q.size());
  result.report.mass_bound.resize(1);
  const KvTarget target{.first_row = 0,
                        .n_rows = 1,
                        .position = layer.state->position() - 1,
                        .cache = &lazy.attention[0],
                        .stored = pages.get(),
                        .report = &result.report};
  const auto done = attend_chosen(step, {&target, 1}, {q.data(), result.out.data()});
  EXPECT_TRUE(done) << done.error().message;
  result.asked = pages->asked;
  return result;
}

TEST(KvMode, BoundsHoldAgainstBruteForceOnEveryInstructionSet) {
  for (const StoredType stored : {StoredType::kF32, StoredType::kBf16}) {
    for (std::uint64_t seed : {1U, 2U, 3U, 4U}) {
      const std::int64_t n_tokens = 128 * 14 + 37;
      Layer layer(stored, n_tokens, seed);
      const std::int64_t n_heads = layer.config.n_heads, head_dim = layer.config.head_dim;
      const std::int64_t group = n_heads / layer.config.n_kv_heads;
      std::mt19937_64 random(seed);
      std::normal_distribution<float> normal;
      std::vector<float> q(static_cast<std::size_t>(n_heads * head_dim));
      for (float& x : q) x = 1.5F * normal(random);
      // True masses by head and page.
      std::vector<std::vector<double>> mass(static_cast<std::size_t>(n_heads), std::vector<double>(15, 0.0));
      for (std::int64_t h = 0; h < n_heads; ++h) {
        for (std::int64_t t = 0; t < n_tokens; ++t) {
          double s = 0;
          for (std::int64_t d = 0; d < head_dim; ++d) {
            s += double{q[static_cast<std::size_t>(h * head_dim + d)]} *
                 layer.keys[static_cast<std::size_t>(t)][static_cast<std::size_t>(h / group * head_dim + d)];
          }
          mass[static_cast<std::size_t>(h)][static_cast<std::size_t>(t / 128)] +=
              std::exp(s / std::sqrt(static_cast<double>(head_dim)));
        }
      }
      for (const KvMode& mode : {KvMode{.budget = 3}, KvMode{.budget = 6}, KvMode{.budget = 13}, KvMode{.error = 0.5},
                                 KvMode{.error = 0.02}, KvMode{.error = 1e-7}}) {
        SCOPED_TRACE(std::to_string(mode.budget) + " " + std::to_string(mode.error) + " seed " + std::to_string(seed));
        const Attended got = attend(layer, available_kernels().back(), mode, q);
        for (const std::int64_t always : {0, 12, 13}) EXPECT_TRUE(got.asked.contains(always));
        EXPECT_EQ(got.report.pages_read, static_cast<std::int64_t>(got.asked.size()));
        EXPECT_EQ(got.report.pages_read + got.report.pages_skipped, 14);
        if (mode.budget > 0) {
          EXPECT_EQ(got.report.pages_read, mode.budget);
        } else {
          EXPECT_LT(got.report.mass_bound[0], mode.error);
        }
        for (const auto& head : mass) {
          double skipped = 0, all = 0;
          for (std::int64_t p = 0; p < 15; ++p) {
            all += head[static_cast<std::size_t>(p)];
            if (p < 14 && !got.asked.contains(p)) skipped += head[static_cast<std::size_t>(p)];
          }
          EXPECT_LE(skipped / all, got.report.mass_bound[0] + 1e-12);
        }
        for (const Kernels& kernels : available_kernels()) {
          for (int threads : {1, 3}) {
            const Attended other = attend(layer, kernels, mode, q, threads);
            EXPECT_EQ(other.asked, got.asked) << kernels.name;
            EXPECT_EQ(other.out, got.out) << kernels.name;
            EXPECT_EQ(other.report.mass_bound, got.report.mass_bound) << kernels.name;
          }
        }
      }
    }
  }
}

TEST(KvMode, PageBoundsAreNeverBelowAScore) {
  std::mt19937_64 random(5);
  for (const bool bf16 : {false, true}) {
    for (const std::int64_t head_dim : {16, 24, 64, 128}) {
      StateLayout layout{.n_attention_layers = 1, .n_kv_heads = 2, .head_dim = static_cast<std::uint32_t>(head_dim)};
      layout.stored = bf16 ? StoredType::kBf16 : StoredType::kF32;
      for (const float size : {1e-20F, 1.0F, 1e4F}) {
        std::uniform_real_distribution<float> values(-size, size);
        std::vector<float> keys(static_cast<std::size_t>(2 * 2 * kPageTokens * head_dim));
        for (float& k : keys) k = values(random);
        KvPage page;
        page.bytes.resize(layout.page_bytes());
        store_values(layout.stored, keys.data(), static_cast<std::int64_t>(keys.size()), page.bytes.data());
        std::vector<std::byte> summary(summary_bytes(layout));
        EXPECT_EQ(summary.size(), layout.page_bytes() / 128);
        summarise_page(layout, page.bytes.data(), summary.data());
        std::vector<float> q(static_cast<std::size_t>(6 * head_dim));
        for (float& x : q) x = values(random);
        std::vector<float> want;
        for (auto kernels = available_kernels().rbegin(); kernels != available_kernels().rend(); ++kernels) {
          std::vector<float> bound(6);
          kernels->page_bounds({.summaries = summary.data(),
                                .n_pages = 1,
                                .bf16 = bf16,
                                .n_kv_heads = 2,
                                .head_dim = head_dim,
                                .n_group = 3,
                                .scale = 0.25F,
                                .q = q.data(),
                                .out = bound.data(),
                                .out_stride = 1});
          if (want.empty()) want = bound;
          EXPECT_EQ(want, bound) << kernels->name;
        }
        // The largest score as the attention kernel computes it stays in `running`.
        for (std::int64_t kv_head = 0; kv_head < 2; ++kv_head) {
          const std::byte* pages[] = {page.bytes.data()};
          std::vector<float> out(static_cast<std::size_t>(3 * head_dim)), running(6), scratch(4 * 128);
          attention_scalar({.pages = pages,
                            .end_page = 1,
                            .bf16 = bf16,
                            .n_kv_heads = 2,
                            .kv_head = kv_head,
                            .head_dim = head_dim,
                            .n_group = 3,
                            .first_position = kPageTokens - 1,
                            .n_queries = 1,
                            .scale = 0.25F,
                            .q = q.data() + kv_head * 3 * head_dim,
                            .q_stride = 0,
                            .out = out.data(),
                            .out_stride = 0,
                            .running = running.data(),
                            .scratch = scratch.data()});
          for (std::size_t h = 0; h < 3; ++h) EXPECT_LE(running[h], want[static_cast<std::size_t>(kv_head) * 3 + h]);
        }
      }
      // A key that is not a number makes the bound infinite: the page is read, and the result shows it.
      std::vector<std::byte> summary(summary_bytes(layout));
      KvPage page;
      page.bytes.resize(layout.page_bytes());
      const float nan = std::nanf("");
      store_values(layout.stored, &nan, 1, page.bytes.data() + 7 * layout.row_bytes() / 2);
      summarise_page(layout, page.bytes.data(), summary.data());
      const std::vector<float> q(static_cast<std::size_t>(2 * head_dim), 1.0F);
      std::vector<float> bound(2);
      page_bounds_scalar({.summaries = summary.data(),
                          .n_pages = 1,
                          .bf16 = bf16,
                          .n_kv_heads = 2,
                          .head_dim = head_dim,
                          .n_group = 1,
                          .scale = 1,
                          .q = q.data(),
                          .out = bound.data(),
                          .out_stride = 1});
      EXPECT_TRUE(std::isinf(bound[0]) && bound[0] > 0);
    }
  }
}

class KvEngine : public ::testing::Test {
 protected:
  static constexpr std::size_t kTokens = 1500;
  std::unique_ptr<Engine> engine(const KvMode& mode, int threads = 1, const std::string& kernels = "auto") {
    ModelConfig config = synthetic_config("M*-*");
    auto model = make_synthetic(config, DType::kBf16, {.n_threads = threads, .kernels = kernels, .kv = mode}, 3);
    weights_.push_back(model.weights);
    return std::move(model.engine);
  }
  // Logits of the last tokens, fed in pieces.
  static std::vector<float> feed(Engine& engine, SequenceState& state, std::span<const TokenId> tokens,
                                 std::size_t piece, KvReport* report = nullptr) {
    std::vector<float> logits;
    for (std::size_t at = 0; at < tokens.size(); at += piece) {
      const SequenceStep step{.state = &state,
                              .tokens = tokens.subspan(at, std::min(piece, tokens.size() - at)),
                              .wanted = LogitsWanted::kAll};
      auto result = engine.step({&step, 1});
      EXPECT_TRUE(result) << (result ? "" : result.error().message);
      if (!result) return {};
      logits.insert(logits.end(), (*result)[0].logits.begin(), (*result)[0].logits.end());
      if (report == nullptr) continue;
      report->pages_read += (*result)[0].kv.pages_read;
      report->pages_skipped += (*result)[0].kv.pages_skipped;
      report->mass_bound.resize((*result)[0].kv.mass_bound.size());
      for (std::size_t i = 0; i < report->mass_bound.size(); ++i) {
        report->mass_bound[i] = std::max(report->mass_bound[i], (*result)[0].kv.mass_bound[i]);
      }
    }
    return logits;
  }
  std::vector<TokenId> tokens_ = synthetic_tokens(kTokens, 150, 9);
  std::vector<std::shared_ptr<SyntheticWeights>> weights_;
};

TEST_F(KvEngine, AllPagesIsExactAndFewerIsNot) {
  auto exact = engine({}), all = engine({.budget = 12}), tight = engine({.error = 1e-30}), few = engine({.budget = 4});
  EXPECT_EQ(exact->numerics_tag(), "cpu-f32-v1/kv-bf16");
  EXPECT_EQ(few->numerics_tag(), "cpu-f32-v1/kv-bf16/kv-budget-4");
  EXPECT_EQ(engine({.error = 0.01})->numerics_tag(), "cpu-f32-v1/kv-bf16/kv-error-0.01");
  for (const KvMode& mode : {KvMode{}, KvMode{.budget = 77}, KvMode{.error = 0.015625}, KvMode{.error = 1e-30}}) {
    EXPECT_EQ(kv_mode_of("a/b" + kv_mode_tag(mode)), mode);
  }
  SequenceState a(exact->layout()), b(exact->layout()), c(exact->layout()), d(exact->layout());
  const std::vector<float> want = feed(*exact, a, tokens_, kTokens);
  KvReport report;
  EXPECT_EQ(want, feed(*all, b, tokens_, kTokens, &report));
  EXPECT_EQ(report.pages_skipped, 0);
  EXPECT_TRUE(a.same_as(b));
  EXPECT_EQ(want, feed(*tight, c, tokens_, kTokens));
  report = {};
  EXPECT_NE(want, feed(*few, d, tokens_, kTokens, &report));
  EXPECT_GT(report.pages_skipped, 0);
  EXPECT_GT(report.mass_bound[1], 0.0F);
  EXPECT_LE(report.mass_bound[1], 1.0F);
}

TEST_F(KvEngine, ChoicesDependOnNothingButTheRow) {
  for (const KvMode& mode : {KvMode{.budget = 5}, KvMode{.error = 0.3}}) {
    SCOPED_TRACE(kv_mode_tag(mode));
    auto one = engine(mode), three = engine(mode, 3), scalar = engine(mode, 1, "scalar");
    SequenceState whole(one->layout());
    const std::vector<float> want = feed(*one, whole, tokens_, kTokens);
    const std::size_t cut = 1400, vocab = 150;
    const std::span<const TokenId> rest = std::span(tokens_).subspan(cut);
    const std::vector<float> tail(want.begin() + static_cast<std::ptrdiff_t>(cut * vocab), want.end());
    for (Engine* each : {one.get(), three.get(), scalar.get()}) {
      SequenceState state(each->layout());
      feed(*each, state, std::span(tokens_).first(cut), 37 * 5);
      SequenceState lazy = state.clone(), drafted = state.clone(), alone = state.clone();
      EXPECT_EQ(tail, feed(*each, state, rest, 13));
      EXPECT_TRUE(state.same_as(whole));
      // Pages that are elsewhere, few at a time.
      lazy.give_pages(std::make_shared<MemoryPages>(lazy, 2), 9);
      EXPECT_EQ(tail, feed(*each, lazy, rest, 31));
      // Company, and drafts over a page's end.
      SequenceState other(each->layout());
      const std::vector<SequenceStep> batch = {
          {.state = &other, .tokens = std::span(tokens_).first(700)},
          {.state = &drafted, .tokens = rest.first(40), .wanted = LogitsWanted::kAll, .provisional = true}};
      auto result = each->step(batch);
      ASSERT_TRUE(result);
      EXPECT_TRUE(std::equal((*result)[1].logits.begin(), (*result)[1].logits.end(), tail.begin()));
      ASSERT_TRUE(each->accept(drafted, 40));
      EXPECT_EQ(feed(*each, alone, rest.first(40), 40), (*result)[1].logits);
      EXPECT_TRUE(alone.same_as(drafted));
    }
  }
}

TEST_F(KvEngine, ModesThatCannotBeAreRefused) {
  for (const KvMode& mode : {KvMode{.budget = 2}, KvMode{.budget = -1}, KvMode{.error = 1}, KvMode{.error = -0.1},
                             KvMode{.error = std::nan("")}, KvMode{.budget = 8, .error = 0.1}}) {
    SyntheticWeights weights(DType::kF32, 1);
    auto made = make_cpu_engine(synthetic_config("*"), weights, {.kv = mode}, nullptr);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, ErrorCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace longhaul::model
