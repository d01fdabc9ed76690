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
      for (int i = 0; i < 2; ++i) {
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
    for (int i = 0; i < 70; ++i) {
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
    walk(**grammar, begin, random, kind);
    if (HasFatalFailure()) return;
  }
}

Result<std::shared_ptr<Grammar>> two_tools(const model::Vocabulary& vocabulary) {
  auto schema = compile_schema(*parse_json(
      R"({"type":"object","properties":{"path":{"type":"string"},"value":{"type":"integer"}},"required":["path","value"]})"));
  auto other = compile_schema(*parse_json(R"({"type":"object","properties":{},"additionalProperties":false})"));
  MessageGrammarOptions options;
  options.stop = {*vocabulary.control("</s>")};
  options.choice = ToolChoice::kRequired;
  return Grammar::for_message(vocabulary, {{"name", *schema}, {"unit", *other}}, options);
}

TEST(DraftMasks, EqualOneAfterTheOther) {
  const model::Vocabulary vocabulary = test::small_vocabulary();
  auto grammar = two_tools(vocabulary);
  ASSERT_TRUE(grammar) << grammar.error().message;
  std::mt19937_64 random(8);
  State root = (*grammar)->start();
  for (int round = 0; round < 60; ++round) {
    std::vector<DraftToken> drafts;
    std::vector<State> expected;
    for (std::int32_t i = 0; i < 12; ++i) {
      const auto parent = static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(i + 1)) - 1;
      const State from = parent < 0 ? root : expected[static_cast<std::size_t>(parent)];
      TokenId token = static_cast<TokenId>(random() % vocabulary.size());
      const auto mask = (*grammar)->mask(from);
      for (TokenId id = 0; !from.dead() && id < mask->size() && random() % 4 != 0; ++id) {
        if (mask->allowed(id)) token = id;
      }
      drafts.push_back({parent, token});
      expected.push_back(from.dead() ? State{} : (*grammar)->advance(from, token));
    }
    const std::vector<DraftState> states = (*grammar)->draft_masks(root, drafts);
    ASSERT_EQ(states.size(), drafts.size());
    for (std::size_t i = 0; i < states.size(); ++i) {
      ASSERT_EQ(states[i].state, expected[i]) << round << " " << i;
      ASSERT_EQ(states[i].allowed == nullptr, expected[i].dead());
      if (states[i].allowed) {
        ASSERT_EQ(states[i].allowed->mask, *(*grammar)->mask(expected[i]));
      }
    }
    for (const DraftState& s : states) {
      if (!s.state.dead() && !(*grammar)->complete(s.state)) root = s.state;
    }
  }
}

TEST(Forced, IsWhatMustComeAsTheTokenizerCutsIt) {
  const model::Vocabulary vocabulary = test::small_vocabulary();
  auto grammar = two_tools(vocabulary);
  ASSERT_TRUE(grammar) << grammar.error().message;
  // The longest token that fits, again and again.
  auto encode = [&](std::string_view text) {
    std::vector<TokenId> ids;
    while (!text.empty()) {
      TokenId best = kNoToken;
      for (TokenId id = 0; id < vocabulary.size(); ++id) {
        if (!vocabulary.is_control(id) && !vocabulary.bytes(id).empty() && text.starts_with(vocabulary.bytes(id)) &&
            (best == kNoToken || vocabulary.bytes(id).size() > vocabulary.bytes(best).size())) {
          best = id;
        }
      }
      ids.push_back(best);
      text.remove_prefix(vocabulary.bytes(best).size());
    }
    return ids;
  };
  auto text_of = [&](const std::vector<TokenId>& ids) {
    std::string text;
    for (const TokenId id : ids) text += vocabulary.bytes(id);
    return text;
  };
  auto after = [&](std::string_view text) {
    return (*grammar)->advance((*grammar)->advance((*grammar)->start(), *vocabulary.control("<tool_call>")), text);
  };
  EXPECT_EQ(text_of((*grammar)->forced(after(""), encode)), "\n<function=");
  EXPECT_EQ(text_of((*grammar)->forced(after("\n<function=n"), encode)).substr(0, 6), "ame>\n<");
  // No call without arguments of a tool that has none left to give: the end is forced, control tokens and all.
  EXPECT_EQ(text_of((*grammar)->forced(after("\n<function=u"), encode)), "nit>\n</function>\n</tool_call>");
  EXPECT_TRUE((*grammar)->forced(after("\n<function=name>\n<parameter=path>\nab"), encode).empty());
  EXPECT_TRUE((*grammar)->forced((*grammar)->start(), encode).empty());  // line ends or a call
  // Every prefix is allowed, and nothing else was at each byte.
  std::mt19937_64 random(9);
  State state = (*grammar)->start();
  for (int step = 0; step < 200 && !(*grammar)->complete(state); ++step) {
    State at = state;
    for (const TokenId id : (*grammar)->forced(state, encode)) {
      ASSERT_TRUE((*grammar)->mask(at)->allowed(id));
      for (const TokenId other : (*grammar)->allowed(at)->ids) {
        const std::string_view a = vocabulary.bytes(id), b = vocabulary.bytes(other);
        ASSERT_TRUE(a.starts_with(b.substr(0, 1))) << a << " " << b;
      }
      at = (*grammar)->advance(at, id);
    }
    std::vector<TokenId> ids;
    const auto mask = (*grammar)->mask(state);
    for (TokenId id = 0; id < mask->size(); ++id) {
      if (mask->allowed(id)) ids.push_back(id);
    }
    state = (*grammar)->advance(state, ids[random() % ids.size()]);
  }
}

}  // namespace
}  // namespace longhaul::tools
