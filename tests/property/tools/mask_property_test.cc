// Masks where text meets its bounds and terminators: against one token at a time, over a vocabulary with tokens that
// cross every border. The lists of few tokens against the masks. Drafts in a tree against one after the other.
#include <gtest/gtest.h>

#include <random>

#include "tests/support/test_vocabulary.h"
#include "tools/grammar.h"

namespace longhaul::tools {
namespace {

// Terminators of calls whole, in part, twice, and with text around them; quotes with what may follow them.
model::Vocabulary border_vocabulary() {
  std::mt19937_64 random(21);
  const std::vector<std::string> atoms{"\n</parameter>\n",
                                       "<parameter=",
                                       "a>",
                                       "b>",
                                       "</function>",
                                       "\n",
                                       "</",
                                       "a",
                                       "é",
                                       "\"",
                                       "\": ",
                                       "\\",
                                       "\"}",
                                       "{\"",
                                       ",",
                                       "\\u",
                                       "1",
                                       "\xC3",
                                       "parameter>",
                                       "\n<",
                                       "日",
                                       "]",
                                       " "};
  std::set<std::string> pieces;
  while (pieces.size() < 2500) {
    std::string piece;
    for (std::size_t n = 1 + random() % 4; n > 0; --n) piece += atoms[random() % atoms.size()];
    pieces.insert(piece);
  }
  pieces.insert("\n</parameter>\n<parameter=b>");
  pieces.insert("\n</parameter>\n</function>\n");
  pieces.insert("x\n</parameter>\n</function>");
  pieces.insert("\n</parameter>\n<parameter=a>\n1");
  return test::make_vocabulary(pieces);
}

const model::Vocabulary& borders() {
  static const model::Vocabulary vocabulary = border_vocabulary();
  return vocabulary;
}

void expect_exact(const Grammar& grammar, State state, const std::string& where) {
  const auto allowed = grammar.allowed(state);
  ASSERT_EQ(allowed->mask, grammar.mask_by_trial(state)) << where;
  ASSERT_EQ(allowed->few, allowed->mask.count() <= AllowedTokens::kFewTokens) << where;
  std::vector<TokenId> ids;
  for (TokenId id = 0; allowed->few && id < allowed->mask.size(); ++id) {
    if (allowed->mask.allowed(id)) ids.push_back(id);
  }
  ASSERT_EQ(allowed->ids, ids) << where;
}

// Random text from `state` on, looked at after every token.
void walk(const Grammar& grammar, State state, std::mt19937_64& random, const std::string& where) {
  std::string text;
  for (int step = 0; step < 14 && !state.dead(); ++step) {
    expect_exact(grammar, state, where + " after " + text);
    if (testing::Test::HasFatalFailure()) return;
    const auto mask = grammar.mask(state);
    std::vector<TokenId> ids;
    for (TokenId id = 0; id < mask->size(); ++id) {
      // Short ones too, or every walk runs into its bound at once.
      if (mask->allowed(id) && (random() % 2 == 0 || borders().bytes(id).size() < 3)) ids.push_back(id);
    }
    if (ids.empty()) return;
    const TokenId token = ids[random() % ids.size()];
    text += borders().bytes(token);
    const State next = grammar.advance(state, token);
    // The quick way through plain text is the same as byte by byte.
    if (!borders().is_control(token)) {
      ASSERT_EQ(next, grammar.advance(state, borders().bytes(token))) << where << " after " << text;
    }
    state = next;
  }
}

TEST(MaskProperty, BoundsOfJsonStringsAndKeys) {
  const auto index = TokenIndex::build(borders());
  std::mt19937_64 random(5);
  for (
      const char* text :
      {R"({"type":"string"})", R"({"type":"string","maxLength":0})", R"({"type":"string","maxLength":3})",
       R"({"type":"string","minLength":2,"maxLength":2})", R"({"type":"string","minLength":5})",
       R"({"type":"string","minLength":1,"maxLength":100000})",
       R"({"anyOf":[{"type":"string","maxLength":2},{"type":"string","minLength":6},{"enum":["aaa","é1"]}]})",
       R"({"type":"object","properties":{"a":{"type":"integer"},"é":false},"required":["a"]})",
       R"({"type":"object","maxProperties":2,"additionalProperties":{"type":["string","null"]}})",
       R"({"anyOf":[{"type":"object","properties":{"a":{"const":1}}},{"type":"object","additionalProperties":{"type":"array"}}]})"}) {
    auto schema = compile_schema(*parse_json(text));
    ASSERT_TRUE(schema) << schema.error().message;
    JsonGrammarOptions options;
    options.stop = {*borders().control("</s>")};
    auto grammar = Grammar::for_json(index, *schema, options);
    ASSERT_TRUE(grammar);
    for (int i = 0; i < 8; ++i) {
      const std::string begin = (*schema)->node((*schema)->root()).types == kObjectBit ? "{\"" : "\"";
      State state = (*grammar)->start();
      if (i % 4 != 0) state = (*grammar)->advance(state, begin);
      if (state.dead()) state = (*grammar)->start();
      walk(**grammar, state, random, text);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(MaskProperty, BoundsAndTerminatorsOfRawText) {
  const auto index = TokenIndex::build(borders());
  std::mt19937_64 random(6);
  for (const char* text :
       {R"({"a":{"type":"string"},"b":{"type":"integer"}})", R"({"a":{"type":"string","maxLength":4},"b":{}})",
        R"({"a":{"type":"string","minLength":3,"maxLength":20}})",
        R"({"a":{"type":["string","null"],"maxLength":15},"b":{"enum":["a","a\n"]}})"}) {
    const std::string whole = std::string(R"({"type":"object","properties":)") + text + "}";
    auto schema = compile_schema(*parse_json(whole));
    ASSERT_TRUE(schema) << schema.error().message;
    MessageGrammarOptions options;
    options.stop = {*borders().control("</s>")};
    auto grammar = Grammar::for_message(index, {{"f", *schema}}, options);
    ASSERT_TRUE(grammar) << grammar.error().message;
    const State call = (*grammar)->advance((*grammar)->start(), *borders().control("<tool_call>"));
    for (const char* begin : {"", "x", "x\n", "x\n</par", "\n</parameter>", "\n</parameter>\n", "\n</parameter>\n<",
                              "\xC3", "xxxx\n</parameter>\n<parameter="}) {
      const State state = (*grammar)->advance(call, std::string("\n<function=f>\n<parameter=a>\n") + begin);
      if (state.dead()) continue;  // over the bound
      for (int i = 0; i < 4; ++i) {
        walk(**grammar, state, random, whole + " from " + begin);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// More alternatives than are looked at one by one.
TEST(MaskProperty, ManyAlternatives) {
  const auto index = TokenIndex::build(borders());
  std::mt19937_64 random(7);
  for (const char* kind : {"string", "object"}) {
    std::string text = R"({"anyOf":[)";
    for (int i = 0; i < 90; ++i) {
      text += i > 0 ? "," : "";
      text += std::string(kind) == "string"
                  ? R"({"type":"string","minLength":)" + std::to_string(i % 3) + R"(,"maxLength":)" +
                        std::to_string(300 + i) + "}"
                  : R"({"type":"object","properties":{"a":{"const":)" + std::to_string(i) + "}}}";
    }
    auto schema = compile_schema(*parse_json(text + "]}"));
    ASSERT_TRUE(schema) << schema.error().message;
    auto grammar = Grammar::for_json(index, *schema);
    ASSERT_TRUE(grammar);
    const State begin = (*grammar)->advance((*grammar)->start(), std::string_view(kind) == "string" ? "\"" : "{\"");
    for (int i = 0; i < 2; ++i) {
      walk(**grammar, begin, random, kind);
      if (HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace longhaul::tools
