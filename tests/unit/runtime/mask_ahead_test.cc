// Masks made by another thread are those made here, whoever comes first, and nothing is lost when they are not wanted
// any more.
#include "runtime/mask_ahead.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>

#include "runtime/constrained_draw.h"
#include "tests/support/setting.h"
#include "tests/support/test_vocabulary.h"
#include "tools/message_parser.h"

namespace longhaul::runtime {
namespace {

using model::TokenId;

std::shared_ptr<tools::Grammar> make_grammar(const model::Vocabulary& vocabulary) {
  auto schema = tools::compile_schema(*parse_json(R"({"type":"object","properties":{
    "path":{"type":"string","maxLength":12},"mode":{"enum":["append","replace"]},
    "tags":{"type":"array","items":{"type":"string","maxLength":5},"maxItems":3},
    "code":{"type":"string","pattern":"^[a-f0-9]+$","maxLength":9}},"required":["path"],"additionalProperties":false})"));
  EXPECT_TRUE(schema) << schema.error().message;
  tools::MessageGrammarOptions options;
  options.stop = {*vocabulary.control("<|im_end|>")};
  options.choice = tools::ToolChoice::kRequired;
  auto grammar = tools::Grammar::for_message(vocabulary, {{"edit", *schema}}, options);
  EXPECT_TRUE(grammar) << grammar.error().message;
  return *grammar;
}

TEST(MaskAhead, PaysWithLargeVocabulariesAndLongLayersOnly) {
  MaskAhead ahead(MaskAhead::When::kPays);
  EXPECT_TRUE(ahead.pays(131072, std::chrono::milliseconds(50)));
  EXPECT_FALSE(ahead.pays(131072, std::chrono::microseconds(80)));
  EXPECT_FALSE(ahead.pays(896, std::chrono::milliseconds(50)));
  EXPECT_TRUE(MaskAhead(MaskAhead::When::kAlways).pays(896, std::chrono::nanoseconds(0)));
}

TEST(MaskAhead, RestsWhereMoreWasWaitedThanMasksTake) {
  using std::chrono::microseconds;
  MaskAhead ahead(MaskAhead::When::kPays);
  const auto pays = [&] { return ahead.pays(131072, std::chrono::milliseconds(50)); };
  for (int i = 0; i < 3 * MaskAhead::kTrials; ++i) ahead.settle(microseconds(100), microseconds(i % 2 == 0 ? 0 : 150));
  EXPECT_TRUE(pays());
  for (int i = 0; i < MaskAhead::kTrials; ++i) ahead.settle(microseconds(100), microseconds(i == 0 ? 8000 : 0));
  for (int i = 0; i < MaskAhead::kRest; ++i) ASSERT_FALSE(pays()) << i;
  EXPECT_TRUE(pays());
}

TEST(MaskAhead, MasksAndDrawsAreThoseMadeHere) {
  const std::uint64_t seed = testing_support::setting("LONGHAUL_SEED", 1);
  const std::uint64_t n_steps = 3000 * testing_support::setting("LONGHAUL_PROPERTY_SCALE", 1);
  const model::Vocabulary vocabulary = test::small_vocabulary();
  MaskAhead ahead(MaskAhead::When::kAlways);
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(vocabulary.size());
  std::uint64_t made = 0;
  std::optional<tools::MessageParser> parser, reference;
  std::vector<TokenId> written;
  for (std::uint64_t step = 0; step < n_steps; ++step) {
    if (!parser || parser->finished()) {  // with tables as empty as the reference's
      parser.emplace(make_grammar(vocabulary), false);
      reference.emplace(make_grammar(vocabulary), false);
      written.clear();
    }
    for (float& logit : logits) logit = normal(random);
    model::SamplingOptions sampling;
    sampling.seed = seed;
    if (step % 3 == 0) sampling.top_k = 20;
    const auto next = allowed_before_draw(*parser, sampling, &ahead, {});
    made += next->known() ? 0 : 1;
    const auto here = reference->allowed();
    const bool no_choice = here->ids.size() == 1;
    // What has no alternative is known at once.
    ASSERT_TRUE(!no_choice || next->known()) << "seed " << seed << ", step " << step;
    if (step % 2 == 0) std::this_thread::yield();
    ASSERT_TRUE(std::ranges::equal(next->get().mask.words(), here->mask.words())) << "seed " << seed << ", " << step;
    ASSERT_EQ(next->get().ids, here->ids);
    const auto drawn = draw_allowed(*parser, next->get(), logits, written, sampling, step);
    const auto expected = model::sample(logits, &here->mask, written, sampling, step, here->ids);
    ASSERT_TRUE(drawn && expected);
    ASSERT_EQ(*drawn, *expected) << "seed " << seed << ", step " << step;
    ASSERT_TRUE(parser->accept(*drawn) && reference->accept(*drawn));
    written.push_back(*drawn);
  }
  EXPECT_GT(made, 100U);
}

TEST(MaskAhead, WhatNobodyWantsAnyMoreIsLeft) {
  const model::Vocabulary vocabulary = test::small_vocabulary();
  std::weak_ptr<tools::Grammar> gone;
  std::shared_ptr<NextTokens> last;
  {
    MaskAhead ahead(MaskAhead::When::kAlways);
    auto grammar = make_grammar(vocabulary);
    gone = grammar;
    for (int i = 0; i < 200; ++i) ahead.begin(grammar, grammar->start());
    last = ahead.begin(grammar, grammar->start());
  }
  // The thread has ended; what it did not come to is made here.
  EXPECT_GT(last->get().mask.count(), 0U);
  last.reset();
  EXPECT_TRUE(gone.expired());
}

}  // namespace
}  // namespace longhaul::runtime
