// Drawing first and testing after gives the token that drawing under the mask gives, whatever the logits: also where
// several are equal, infinite, or the best one is refused.
#include "runtime/constrained_draw.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "tests/support/setting.h"
#include "tests/support/test_vocabulary.h"

namespace longhaul::runtime {
namespace {

TEST(ConstrainedDraw, TestingTheDrawnTokenChangesNoToken) {
  const std::uint64_t seed = testing_support::setting("LONGHAUL_SEED", 1);
  const std::uint64_t n_steps = 2500 * testing_support::setting("LONGHAUL_PROPERTY_SCALE", 1);
  const model::Vocabulary vocabulary = test::small_vocabulary();
  auto schema = tools::compile_schema(*parse_json(R"({"type":"object","properties":{
    "path":{"type":"string","maxLength":12},"text":{"type":"string","minLength":4,"maxLength":30},
    "tags":{"type":"array","items":{"type":"string","maxLength":5},"maxItems":3},
    "code":{"type":"string","pattern":"^[a-f0-9]+$","maxLength":9}},"required":["path"],"additionalProperties":false})"));
  ASSERT_TRUE(schema) << schema.error().message;
  tools::MessageGrammarOptions options;
  options.stop = {*vocabulary.control("<|im_end|>")};
  options.choice = tools::ToolChoice::kRequired;
  auto grammar = tools::Grammar::for_message(vocabulary, {{"edit", *schema}}, options);
  ASSERT_TRUE(grammar) << grammar.error().message;
  std::mt19937_64 random(seed);
  std::vector<float> logits(vocabulary.size());
  tools::MessageParser parser(*grammar, false);
  std::vector<model::TokenId> written;
  std::uint64_t tested = 0, refused = 0;
  for (std::uint64_t step = 0; step < n_steps; ++step) {
    if (parser.finished()) {
      parser = tools::MessageParser(*grammar, false);
      written.clear();
    }
    std::normal_distribution<float> normal(0, step % 2 == 0 ? 1.0F : 6.0F);
    for (float& logit : logits) {
      logit = step % 5 == 0 ? static_cast<float>(random() % 3) : normal(random);
      if (random() % 50 == 0) logit = -std::numeric_limits<float>::infinity();
    }
    model::SamplingOptions sampling;
    sampling.temperature = std::array{0.0F, 0.7F, 1.0F, 1.5F}[step % 4];
    sampling.seed = seed;
    if (step % 3 == 0) sampling.repetition_penalty = 1.3F;
    if (step % 7 == 0) sampling.top_k = 20;
    if (step % 11 == 0) sampling.top_p = 0.8F;
    const auto next = allowed_before_draw(parser, sampling, nullptr, std::chrono::nanoseconds(0));
    const tools::AllowedTokens& before = next->get();
    const auto drawn = draw_allowed(parser, before, logits, written, sampling, step);
    const auto allowed = parser.allowed();
    const auto expected = model::sample(logits, &allowed->mask, written, sampling, step);
    ASSERT_EQ(drawn.has_value(), expected.has_value()) << "seed " << seed << ", step " << step;
    if (before.mask.size() == 0) {
      ++tested;
      ASSERT_TRUE(sampling.top_k == 0 && sampling.top_p == 1);
      const auto any = model::sample(logits, nullptr, written, sampling, step);
      refused += any && !parser.allows(*any) ? 1 : 0;
    }
    if (!expected) {  // everything that is allowed was infinitely unlikely
      parser = tools::MessageParser(*grammar, false);
      written.clear();
      continue;
    }
    ASSERT_EQ(*drawn, *expected) << "seed " << seed << ", step " << step;
    ASSERT_TRUE(parser.accept(*drawn));
    written.push_back(*drawn);
  }
  // Masks that the comparison made are kept, so only the first visits are tested.
  EXPECT_GT(tested, 50U);
  EXPECT_GT(refused, 5U);
  EXPECT_LT(refused, tested);
}

}  // namespace
}  // namespace longhaul::runtime
