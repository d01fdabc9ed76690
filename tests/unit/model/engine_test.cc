// What the engine refuses, and that hostile weights end in an answer, not in a crash.
#include "model/engine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>

#include "model/layers/moe.h"
#include "model/sampler.h"
#include "model/thread_pool.h"
#include "tests/support/synthetic_model.h"

namespace longhaul::model {
namespace {

std::string error_of(Engine& engine, std::span<const SequenceStep> batch) {
  auto results = engine.step(batch);
  if (results) return "ok";
  EXPECT_EQ(results.error().code, ErrorCode::kInvalidArgument);
  return results.error().message;
}

TEST(Engine, BadStepsAreNamedAndChangeNothing) {
  const ModelConfig config = synthetic_config("M*E");
  SyntheticModel model = make_synthetic(config, DType::kF32);
  Engine& engine = *model.engine;
  SequenceState a(engine.layout()), b(engine.layout());
  StateLayout other = engine.layout();
  other.head_dim *= 2;
  SequenceState foreign(other);
  const std::vector<TokenId> tokens = {1, 2, 3}, bad = {1, 150}, many(65, 1);
  const auto with = [&](const SequenceStep& second) {
    const SequenceStep batch[] = {{.state = &a, .tokens = tokens}, second};
    return error_of(engine, batch);
  };
  EXPECT_NE(with({.state = &b, .tokens = bad}).find("token 1 of sequence 1 is 150, the vocabulary has 150"),
            std::string::npos);
  EXPECT_NE(with({.state = &b}).find("sequence 1 has no tokens"), std::string::npos);
  EXPECT_NE(with({.state = nullptr, .tokens = tokens}).find("sequence 1 has no state"), std::string::npos);
  EXPECT_NE(with({.state = &foreign, .tokens = tokens}).find("sequence 1 has another layout"), std::string::npos);
  EXPECT_NE(with({.state = &a, .tokens = tokens}).find("twice"), std::string::npos);
  EXPECT_NE(with({.state = &b, .tokens = tokens, .rows = bad}).find("150"), std::string::npos);
  EXPECT_NE(with({.state = &b, .tokens = many, .provisional = true}).find("65 provisional"), std::string::npos);
  EXPECT_TRUE(a.same_as(SequenceState(engine.layout())));
  EXPECT_EQ(with({.state = &b, .tokens = tokens}), "ok");
  EXPECT_TRUE(engine.step({}));
}

TEST(Engine, AcceptNeedsItsProvisionalStep) {
  SyntheticModel model = make_synthetic(synthetic_config("M*"), DType::kF32);
  SequenceState state(model.engine->layout());
  const std::vector<TokenId> tokens = {1, 2, 3};
  EXPECT_FALSE(model.engine->accept(state, 0));
  const SequenceStep provisional{.state = &state, .tokens = tokens, .provisional = true};
  ASSERT_TRUE(model.engine->step({&provisional, 1}));
  EXPECT_FALSE(model.engine->accept(state, 4));
  EXPECT_FALSE(model.engine->accept(state, -1));
  EXPECT_TRUE(model.engine->accept(state, 2));
  EXPECT_FALSE(model.engine->accept(state, 1)) << "accepted already";
  ASSERT_TRUE(model.engine->step({&provisional, 1}));
  const SequenceStep ordinary{.state = &state, .tokens = tokens};
  ASSERT_TRUE(model.engine->step({&ordinary, 1}));
  EXPECT_FALSE(model.engine->accept(state, 1)) << "an ordinary step came in between";
  EXPECT_EQ(state.position(), 5);
}

TEST(Engine, OptionsAreChecked) {
  const ModelConfig config = synthetic_config("M", "*E");
  SyntheticWeights weights(DType::kF32, 1);
  const auto load = [&](const ModelConfig& c, const EngineOptions& options) {
    auto engine = make_cpu_engine(c, weights, options, nullptr);
    return engine ? std::string("ok") : engine.error().message;
  };
  EXPECT_EQ(load(config, {}), "ok");
  EXPECT_NE(load(config, {.kernels = "mmx"}).find("\"mmx\""), std::string::npos);
  EXPECT_NE(load(config, {.n_threads = 0}).find("n_threads is 0"), std::string::npos);
  ModelConfig odd = config;
  odd.mtp_layers = {LayerKind::kMamba};
  EXPECT_NE(load(odd, {}).find("MTP schedule \"M\""), std::string::npos);
  EXPECT_EQ(load(odd, {.mtp = false}), "ok");
  odd = config;
  odd.d_conv = 99;
  EXPECT_NE(load(odd, {}).find("conv_kernel is 99"), std::string::npos);
}

TEST(Engine, HostileWeightsGiveNaNsThatTheSamplerNames) {
  const ModelConfig config = synthetic_config("ME*-E", "*E", 24);
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  const struct {
    const char* tensor;
    std::int64_t index;
    float value;
  } cases[] = {{"backbone.layers.0.mixer.A_log", 1, nan},
               {"backbone.layers.0.mixer.dt_bias", 0, inf},
               {"backbone.layers.0.mixer.in_proj.weight", 100, 1e30F},
               {"backbone.layers.1.mixer.gate.weight", 3, nan},
               {"backbone.layers.1.mixer.gate.e_score_correction_bias", 3, nan},
               {"backbone.layers.1.mixer.gate.e_score_correction_bias", 3, -inf},
               {"backbone.layers.2.mixer.k_proj.weight", 0, inf},
               {"backbone.layers.2.mixer.v_proj.weight", 0, nan},
               {"backbone.norm_f.weight", 0, nan},
               {"mtp.layers.0.eh_proj.weight", 0, nan}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.tensor);
    for (const std::string& kernels : Engine::kernel_names()) {
      SyntheticWeights weights(DType::kF32, 1);
      ASSERT_TRUE(make_cpu_engine(config, weights, {}, nullptr));  // so that the tensors exist
      weights.poison(c.tensor, c.index, c.value);
      auto engine = make_cpu_engine(config, weights, {.kernels = kernels}, nullptr);
      ASSERT_TRUE(engine);
      SequenceState state((*engine)->layout());
      const std::vector<TokenId> tokens = synthetic_tokens(140, config.vocab_size, 1);
      const SequenceStep step{.state = &state, .tokens = tokens};
      auto results = (*engine)->step({&step, 1});
      ASSERT_TRUE(results);
      const auto token = sample((*results)[0].logits, nullptr, {}, {}, 0);
      bool finite = true;
      for (float logit : (*results)[0].logits) finite = finite && std::isfinite(logit);
      EXPECT_EQ(token.has_value(), finite);
      EXPECT_TRUE((*engine)->draft(state, (*results)[0].last_hidden, 1, 3));
    }
  }
}

TEST(ChooseExperts, BiasChoosesAndNeverWeighs) {
  ModelConfig config;
  config.n_experts = 5;
  config.n_experts_per_token = 2;
  config.routed_scaling_factor = 2.0F;
  const float scores[] = {0.9F, 0.8F, 0.1F, 0.3F, 0.3F}, bias[] = {0, 0, 1, 0, 0};
  ExpertChoice chosen[2];
  choose_experts(config, scores, bias, chosen);
  EXPECT_EQ(chosen[0].expert, 0);
  EXPECT_EQ(chosen[1].expert, 2);
  EXPECT_FLOAT_EQ(chosen[0].weight, 1.8F);
  EXPECT_FLOAT_EQ(chosen[1].weight, 0.2F);
  config.norm_topk_prob = false;
  choose_experts(config, scores, bias, chosen);
  EXPECT_FLOAT_EQ(chosen[0].weight, 1.8F);
  EXPECT_FLOAT_EQ(chosen[1].weight, 0.2F);
}

TEST(ChooseExperts, TiesGoToTheLowerIdAndNaNComesLast) {
  ModelConfig config;
  config.n_experts = 5;
  config.n_experts_per_token = 3;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float scores[] = {nan, 0.5F, 0.5F, 0.5F, 0.5F}, bias[5] = {};
  ExpertChoice chosen[5];
  choose_experts(config, scores, bias, chosen);
  EXPECT_EQ(chosen[0].expert, 1);
  EXPECT_EQ(chosen[1].expert, 2);
  EXPECT_EQ(chosen[2].expert, 3);
  const float all_nan[] = {nan, nan, nan, nan, nan};
  choose_experts(config, all_nan, bias, chosen);
  EXPECT_EQ(chosen[0].expert, 0);
  EXPECT_EQ(chosen[1].expert, 1);
  EXPECT_EQ(chosen[2].expert, 2);
}

TEST(ChooseExperts, GroupsAreChosenByTheirTwoBest) {
  ModelConfig config;
  config.n_experts = 6;
  config.n_experts_per_token = 2;
  config.n_expert_groups = 3;
  config.n_top_groups = 1;
  const float scores[] = {0.9F, 0.1F, 0.6F, 0.6F, 0.7F, 0.2F}, bias[6] = {};  // group sums 1.0, 1.2, 0.9
  ExpertChoice chosen[2];
  choose_experts(config, scores, bias, chosen);
  EXPECT_EQ(chosen[0].expert, 2);
  EXPECT_EQ(chosen[1].expert, 3);
}

TEST(ThreadPool, RunsEveryTaskOnce) {
  for (int n_threads : {1, 2, 4}) {
    ThreadPool pool(n_threads);
    for (int round = 0; round < 300; ++round) {
      const std::int64_t n = round % 17;
      std::vector<std::atomic<int>> done(static_cast<std::size_t>(n));
      pool.run(n, [&](std::int64_t task, int worker) {
        EXPECT_LT(worker, n_threads);
        ++done[static_cast<std::size_t>(task)];
      });
      for (const auto& count : done) EXPECT_EQ(count.load(), 1);
    }
  }
}

}  // namespace
}  // namespace longhaul::model
