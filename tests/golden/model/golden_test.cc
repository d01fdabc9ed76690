// Logits, states and drafts against scripts/golden/make_golden.py: Hugging Face transformers for the backbone, a plain
// PyTorch program for the MTP module.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "model/cpu_engine.h"
#include "model/engine.h"
#include "model/layers/layer.h"
#include "model/mtp.h"
#include "tests/support/golden.h"

namespace longhaul::model {
namespace {

struct Case {
  std::string name;
  // Relative error. F32: sums in another order. BF16: K, V and convolution rows are rounded to bf16 when they are
  // stored, which the fp32 reference does not do.
  double tolerance;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.name;
}

const Case kCases[] = {{"nano_f32", 1e-4},  {"nano_bf16", 2e-2}, {"super_bf16", 2e-2},
                       {"ultra_f32", 1e-4}, {"dense_f32", 1e-4}, {"groups_f32", 1e-4}};

// Both the largest difference over the largest value and the ratio of the norms.
double relative_error(std::span<const float> got, std::span<const float> want) {
  EXPECT_EQ(got.size(), want.size());
  if (got.size() != want.size()) return 1;
  double worst = 0, largest = 0, difference = 0, norm = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double d = std::abs(static_cast<double>(got[i]) - want[i]);
    worst = std::max(worst, d);
    largest = std::max(largest, std::abs(static_cast<double>(want[i])));
    difference += d * d;
    norm += static_cast<double>(want[i]) * want[i];
    if (std::isnan(got[i])) return 1;
  }
  return std::max(worst / largest, std::sqrt(difference / norm));
}

class Golden : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const std::string folder = std::string(LONGHAUL_SOURCE_DIR) + "/tests/golden/model/" + GetParam().name;
    golden_ = read_golden(folder + "/golden.st");
    auto checkpoint = Checkpoint::open(folder);
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    checkpoint_ = std::move(*checkpoint);
    auto engine = Engine::load(checkpoint_, {});
    ASSERT_TRUE(engine) << engine.error().message;
    engine_ = std::move(*engine);
    const std::vector<std::int32_t>& ids = golden_.at("tokens").ids;
    tokens_.assign(ids.begin(), ids.end());
  }

  std::map<std::string, GoldenTensor> golden_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::unique_ptr<Engine> engine_;
  std::vector<TokenId> tokens_;
};

INSTANTIATE_TEST_SUITE_P(Cases, Golden, ::testing::ValuesIn(kCases), [](const auto& info) { return info.param.name; });

class MtpGolden : public Golden {};

INSTANTIATE_TEST_SUITE_P(Cases, MtpGolden, ::testing::Values(kCases[2], kCases[3]),
                         [](const auto& info) { return info.param.name; });

std::vector<float> stored_rows(const StateLayout& layout, const std::byte* bytes, std::int64_t n) {
  std::vector<float> values(static_cast<std::size_t>(n));
  load_values(layout.stored, bytes, n, values.data());
  return values;
}

TEST_P(Golden, LogitsAndStates) {
  SequenceState state(engine_->layout());
  const std::size_t cut = tokens_.size() / 3;
  std::vector<float> logits;
  for (std::span<const TokenId> part : {std::span(tokens_).first(cut), std::span(tokens_).subspan(cut)}) {
    const SequenceStep step{.state = &state, .tokens = part, .wanted = LogitsWanted::kAll};
    auto results = engine_->step({&step, 1});
    ASSERT_TRUE(results) << results.error().message;
    logits.insert(logits.end(), (*results)[0].logits.begin(), (*results)[0].logits.end());
  }
  const auto check = [&](const std::string& name, std::span<const float> got) {
    const double error = relative_error(got, golden_.at(name).values);
    EXPECT_LE(error, GetParam().tolerance) << name;
    RecordProperty(name, std::to_string(error));
  };
  check("logits", logits);

  const StateLayout& layout = engine_->layout();
  for (std::size_t i = 0; i < state.mamba.size(); ++i) {
    check("ssm." + std::to_string(i), state.mamba[i].ssm);
    check("conv." + std::to_string(i),
          stored_rows(layout, state.mamba[i].conv.data(), std::int64_t{layout.conv_rows} * layout.conv_channels));
  }
  const auto n_tokens = static_cast<std::int64_t>(tokens_.size());
  for (std::size_t i = 0; i < state.attention.size(); ++i) {
    for (std::int64_t which : {0, 1}) {  // K, V as [kv head][token][head_dim]
      std::vector<float> rows;
      for (std::int64_t head = 0; head < layout.n_kv_heads; ++head) {
        for (std::int64_t token = 0; token < n_tokens; ++token) {
          const auto page = static_cast<std::size_t>(token / kPageTokens);
          const AttentionLayerState& layer = state.attention[i];
          const KvPage& from = page < layer.full.size() ? *layer.full[page] : *layer.open;
          const std::int64_t row = (which * layout.n_kv_heads + head) * kPageTokens + token % kPageTokens;
          const std::vector<float> values = stored_rows(
              layout, from.bytes.data() + row * static_cast<std::int64_t>(layout.head_dim * layout.stored_bytes()),
              layout.head_dim);
          rows.insert(rows.end(), values.begin(), values.end());
        }
      }
      check((which == 0 ? "keys." : "values.") + std::to_string(i), rows);
    }
  }
}

TEST_P(MtpGolden, Logits) {
  const ModelConfig& config = checkpoint_->config();
  CheckpointWeights weights(*checkpoint_);
  Loader loader(weights);
  const MtpModule module = load_mtp(loader, config);
  const Linear lm_head = loader.linear("lm_head", config.vocab_size, config.d_model, false);
  const TensorView embedding = loader.tensor("backbone.embeddings.weight", {config.vocab_size, config.d_model});
  ASSERT_TRUE(loader.ok()) << loader.error().message;

  const std::vector<float>& hidden = golden_.at("hidden").values;
  const auto n_rows = static_cast<std::int64_t>(tokens_.size()) - 1;
  const std::int64_t d = config.d_model;
  std::vector<float> pairs(static_cast<std::size_t>(n_rows * 2 * d)), x(static_cast<std::size_t>(n_rows * d));
  for (std::int64_t i = 0; i < n_rows; ++i) {
    read_floats(embedding, tokens_[static_cast<std::size_t>(i) + 1] * d, d, pairs.data() + i * 2 * d);
    std::copy_n(hidden.data() + i * d, d, pairs.data() + i * 2 * d + d);
  }
  ThreadPool pool(1);
  Workspace work;
  work.per_worker.resize(1);
  AttentionLayerState cache;
  const StepContext step{config, engine_->layout(), *choose_kernels("auto").value(), pool, work, {}, n_rows};
  mtp_join(step, module, pairs.data(), x.data());
  mtp_forward(step, module, {0, n_rows, 0, &cache, nullptr}, x.data());
  std::vector<float> logits(static_cast<std::size_t>(n_rows * config.vocab_size));
  apply(step, lm_head, x.data(), n_rows, logits.data());
  EXPECT_LE(relative_error(logits, golden_.at("mtp.logits").values), GetParam().tolerance);
}

TEST_P(MtpGolden, Drafts) {
  SequenceState state(engine_->layout());
  std::vector<float> hidden, logits;
  for (std::size_t i = 0; i < tokens_.size(); i += 7) {  // the cache is filled across steps
    const SequenceStep step{.state = &state,
                            .tokens = std::span(tokens_).subspan(i, std::min<std::size_t>(7, tokens_.size() - i))};
    auto results = engine_->step({&step, 1});
    ASSERT_TRUE(results);
    hidden = (*results)[0].last_hidden;
    logits = (*results)[0].logits;
  }
  const auto next = static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  const std::vector<std::int32_t>& want = golden_.at("mtp.drafts").ids;
  auto drafts = engine_->draft(state, hidden, next, static_cast<int>(want.size()));
  ASSERT_TRUE(drafts);
  EXPECT_EQ(*drafts, std::vector<TokenId>(want.begin(), want.end()));
}

}  // namespace
}  // namespace longhaul::model
