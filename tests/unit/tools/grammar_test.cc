#include "tools/grammar.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/support/test_vocabulary.h"

namespace longhaul::tools {
namespace {

using model::TokenId;

// A step by a token is the step by its bytes, also when it is taken again, and after others that share its place in
// what is remembered.
TEST(Grammar, StepsByTokensAreStepsByBytes) {
  const model::Vocabulary vocabulary = test::small_vocabulary();
  const auto index = TokenIndex::build(vocabulary);
  std::mt19937_64 random(3);
  int n_steps = 0;
  for (const char* schema :
       {R"({"type":"object","properties":{"name":{"type":"string","maxLength":6},"path":{"enum":["a","b","/tmp"]},
            "n":{"type":"integer"}},"required":["name"],"additionalProperties":{"type":"boolean"}})",
        R"({"type":"array","items":{"type":["string","null","number"],"pattern":"^[a-z]{2,9}$"},"uniqueItems":true})",
        R"({"type":"array","items":{"anyOf":[{"type":"string","minLength":3},{"const":"ab"},{"type":"array"}]}})"}) {
    auto compiled = compile_schema(*parse_json(schema));
    ASSERT_TRUE(compiled) << compiled.error().message;
    auto made = Grammar::for_json(index, *compiled);
    ASSERT_TRUE(made) << made.error().message;
    const Grammar& grammar = **made;
    std::vector<State> states{grammar.start()};
    for (int round = 0; round < 40; ++round) {
      State state = states[random() % states.size()];
      for (int step = 0; step < 12 && !state.dead(); ++step) {
        const auto allowed = grammar.allowed(state);
        std::vector<TokenId> ids;
        for (TokenId id = 0; id < vocabulary.size(); ++id) {
          if (vocabulary.is_control(id) || vocabulary.bytes(id).empty()) continue;
          if (!allowed->mask.allowed(id) && random() % 16 != 0) continue;
          const State next = grammar.advance(state, id);
          ASSERT_EQ(next, grammar.advance(state, vocabulary.bytes(id))) << schema;
          ASSERT_EQ(next.dead(), !allowed->mask.allowed(id)) << schema;
          ASSERT_EQ(next, grammar.advance(state, id)) << schema;
          ++n_steps;
          if (!next.dead()) ids.push_back(id);
        }
        if (ids.empty()) break;
        state = grammar.advance(state, ids[random() % ids.size()]);
        states.push_back(state);
      }
    }
  }
  EXPECT_GT(n_steps, 50'000);
}

}  // namespace
}  // namespace longhaul::tools
