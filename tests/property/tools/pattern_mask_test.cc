// Masks inside texts with patterns, where whole subtrees of the vocabulary are taken at once: against one token at a
// time, over a vocabulary whose tokens mix the kinds of characters that patterns tell apart, end inside characters and
// escapes, and leave the text.
#include <gtest/gtest.h>

#include <random>

#include "tests/support/test_vocabulary.h"
#include "tools/config_graph.h"
#include "tools/grammar.h"

namespace longhaul::tools {
namespace {

const model::Vocabulary& mixed() {
  static const model::Vocabulary vocabulary = [] {
    std::mt19937_64 random(31);
    const std::vector<std::string> atoms{
        "a",      "b",          "f",        "x",        "the",      "Z",    "AF",   "0",      "12",      "7f",
        "-",      "_",          ".",        "@",        " ",        "  ",   "/",    ":",      "é",       "日",
        "本語",   "\xC3",       "\xE2\x80", "\xE3\x80", "\xF0\x9F", "\xA8", "\x80", "\u00a0", "😀",       "\u2028",
        "\u3000", "\"",         "\", \"",   "\"}",      "\"]",      "\\",   "\\n",  "\\u00",  "\\ud83d", "\n",
        "\n</",   "parameter>", "\t",       "\x01",     "\x7F",     "{\"",  "\":",  "T12:00", "60Z"};
    std::set<std::string> pieces{
        "\n</parameter>\n<parameter=b>", "\n</parameter>\n</function>\n", "a\n</parameter>\n", "\"]", "\"a", "\"aa"};
    while (pieces.size() < 1200) {
      std::string piece;
      for (std::size_t n = 1 + random() % 5; n > 0; --n) piece += atoms[random() % atoms.size()];
      pieces.insert(piece);
    }
    for (const std::string& atom : atoms) pieces.insert(atom + atom + atom + atom + atom + atom + atom);
    return test::make_vocabulary(pieces);
  }();
  return vocabulary;
}

void walk(const Grammar& grammar, State state, std::mt19937_64& random, const std::string& where, int steps) {
  std::string text;
  for (int step = 0; step < steps && !state.dead(); ++step) {
    const auto allowed = grammar.allowed(state);
    const model::TokenMask expected = grammar.mask_by_trial(state);
    for (TokenId id = 0; id < expected.size(); ++id) {
      ASSERT_EQ(allowed->mask.allowed(id), expected.allowed(id))
          << where << " after " << testing::PrintToString(text) << ": token "
          << testing::PrintToString(std::string(mixed().bytes(id)));
    }
    ASSERT_EQ(allowed->few, expected.count() <= AllowedTokens::kFewTokens) << where << " after " << text;
    ASSERT_EQ(allowed->ids.size(), allowed->few ? expected.count() : 0) << where << " after " << text;
    std::vector<TokenId> ids;
    for (TokenId id = 0; id < expected.size(); ++id) {
      // Mostly those that stay in the text, or every walk is soon out of it.
      const bool leaves = mixed().bytes(id).find('"') != std::string_view::npos;
      if (expected.allowed(id) && (!leaves || random() % 8 == 0)) ids.push_back(id);
    }
    if (ids.empty()) return;
    const TokenId token = ids[random() % ids.size()];
    text += mixed().bytes(token);
    state = grammar.advance(state, token);
  }
}

const std::vector<const char*>& patterns() {
  static const std::vector<const char*> list{
      "^[a-z0-9_]+$",    "^[^\\\\s]+$",        "^.{1,20}$", "^.*$",
      "^\\\\S.*\\\\S$",  "^[A-Fa-f0-9]{2,12}", "a",         "^[^/]*/[^/]*$",
      "^(?!the)[a-z ]+", "^(the|[a-f]{3})*$",  "^\\\\w+$",  "^[\\u00e9\\u65e5-\\u6600]*$",
      "^[^0-9]{0,7}$",   "^(a|b|xx){2,}$",     "^\\\\s*$"};
  return list;
}

std::vector<std::string> texts() {
  std::vector<std::string> result;
  for (const char* pattern : patterns()) result.push_back(std::string(R"("pattern":")") + pattern + "\"");
  result.push_back(R"("pattern":"^[a-z ]*$","maxLength":9)");
  result.push_back(R"("pattern":"^[a-z]","minLength":4,"maxLength":30)");
  result.push_back(R"("pattern":"^.*$","minLength":2,"maxLength":200)");
  result.push_back(R"("pattern":"e$","maxLength":5)");
  for (const char* format : {"date-time", "email", "hostname", "uri", "uuid", "ipv6"}) {
    result.push_back(std::string(R"("format":")") + format + "\"");
  }
  return result;
}

TEST(PatternMask, JsonStringsAndNames) {
  const auto index = TokenIndex::build(mixed());
  std::mt19937_64 random(11);
  JsonGrammarOptions options;
  options.stop = {*mixed().control("</s>")};
  int n_refused = 0;
  for (const std::string& text : texts()) {
    const std::string string = R"({"type":"string",)" + text + "}";
    for (const auto& [schema, begin] : std::vector<std::pair<std::string, std::string>>{
             {string, "\""},
             {R"({"type":"array","items":)" + string + "}", "[\""},
             {R"({"type":"array","uniqueItems":true,"items":)" + string + "}", "[\""},
             {R"({"type":"array","uniqueItems":true,"items":{"properties":{"a":)" + string + "}}}", "[{\"a\":\""},
             {R"({"type":"object","propertyNames":)" + string + R"(,"properties":{"the":{"const":1}}})", "{\""}}) {
      auto compiled = compile_schema(*parse_json(schema));
      if (!compiled) {
        ++n_refused;
        continue;
      }
      auto grammar = Grammar::for_json(index, *compiled, options);
      ASSERT_TRUE(grammar) << grammar.error().message;
      walk(**grammar, (*grammar)->advance((*grammar)->start(), begin), random, schema, 8);
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_LE(n_refused, 12);  // too many states, or elements that cannot always be made different
}

// What an object in an array of unique elements comes to depends on the whole of its strings.
TEST(PatternMask, ElementsThatMustDiffer) {
  const auto index = TokenIndex::build(mixed());
  std::mt19937_64 random(12);
  for (const auto& [schema, begin] : std::vector<std::pair<std::string, std::string>>{
           {R"({"uniqueItems":true,"items":{"type":"object","properties":{"a":{"type":"string"}}}})",
            R"([{"a":"a"},{"a":")"},
           {R"({"uniqueItems":true,"items":{"type":"array","items":{"type":"string"}}})", R"([["a"],["b"],["x",")"},
           {R"({"uniqueItems":true,"items":{"type":"string"}})", R"(["a","b",")"},
           {R"({"uniqueItems":true,"items":{"type":"string","maxLength":1}})", R"(["a","]",)"},
           {R"({"uniqueItems":true,"items":{"type":"string","maxLength":2}})", R"(["a","aa","a]",)"},
           {R"({"uniqueItems":true,"items":{"type":"string","pattern":"^(a|b|x)$"}})", R"(["a","b",")"},
           {R"({"uniqueItems":true,"items":{"type":"string","pattern":"^[ab]{1,2}$"}})", R"(["a","ab","aa",")"},
           {R"({"propertyNames":{"pattern":"^[ab]{1,2}$"}})", R"({"a":1,"ab":1,"aa":2,")"},
           {R"({"patternProperties":{"^a":true},"additionalProperties":{"type":"string"}})", R"({"a":1,"a0":1,")"}}) {
    auto compiled = compile_schema(*parse_json(schema));
    ASSERT_TRUE(compiled) << compiled.error().message;
    auto grammar = Grammar::for_json(index, *compiled);
    ASSERT_TRUE(grammar) << grammar.error().message;
    const State state = (*grammar)->advance((*grammar)->start(), begin);
    ASSERT_FALSE(state.dead()) << schema << begin;
    for (int i = 0; i < 4; ++i) {
      walk(**grammar, state, random, schema + " " + begin, 4);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(PatternMask, RawValues) {
  const auto index = TokenIndex::build(mixed());
  std::mt19937_64 random(13);
  MessageGrammarOptions options;
  options.stop = {*mixed().control("</s>")};
  for (const std::string& text : texts()) {
    const std::string schema =
        R"({"type":"object","properties":{"a":{"type":"string",)" + text + R"(},"b":{"type":"integer"}}})";
    auto compiled = compile_schema(*parse_json(schema));
    ASSERT_TRUE(compiled) << compiled.error().message;
    auto grammar = Grammar::for_message(index, {{"f", *compiled}}, options);
    ASSERT_TRUE(grammar) << grammar.error().message;
    State state = (*grammar)->advance((*grammar)->start(), *mixed().control("<tool_call>"));
    state = (*grammar)->advance(state, "\n<function=f>\n<parameter=a>\n");
    ASSERT_FALSE(state.dead());
    walk(**grammar, state, random, schema, 8);
    if (HasFatalFailure()) return;
  }
}

// What is said to be free is: whatever characters of the classes follow, up to that many.
TEST(PatternMask, FreeCharactersAreFree) {
  const auto index = TokenIndex::build(mixed());
  std::mt19937_64 random(14);
  const std::vector<std::pair<int, std::vector<std::string>>> samples{{kClassDigit, {"0", "7"}},
                                                                      {kClassLowerHex, {"a", "e"}},
                                                                      {kClassLower, {"g", "z"}},
                                                                      {kClassUpper, {"G", "Z"}},
                                                                      {ascii_class('-'), {"-"}},
                                                                      {ascii_class(' '), {" "}},
                                                                      {kClassWide, {"é", "日", "😀", "\u2027"}},
                                                                      {kClassWideSpace, {"\u00a0", "\u3000"}},
                                                                      {kClassWideLineEnd, {"\u2028", "\u2029"}}};
  std::size_t n_free = 0, n_dead = 0, n_full = 0;
  for (const std::string& text : texts()) {
    auto compiled = compile_schema(*parse_json(R"({"type":"string",)" + text + "}"));
    ASSERT_TRUE(compiled) << compiled.error().message;
    auto program = GrammarProgram::json(index, *compiled, {});
    ASSERT_TRUE(program);
    Interner interner;
    Automaton automaton(**program, interner);
    ConfigGraph graph(**program, automaton);
    std::vector<Config> open{automaton.start(false)}, at, next;
    for (const char c : std::string_view("\"a")) {
      automaton.step(open, static_cast<std::uint8_t>(c), next);
      open.swap(next);
    }
    if (open.empty()) continue;
    ConfigGraph::Place place;
    graph.begin(open, place);
    const FreeChars* free = graph.free_chars(place);
    if (free == nullptr) continue;
    ++n_free;
    // Takes one of the characters of a kind; false: it is refused.
    std::string read;
    const auto take = [&](const std::vector<std::string>& chars) {
      for (const char c : chars[random() % chars.size()]) {
        read += c;
        automaton.step(at, static_cast<std::uint8_t>(c), next);
        at.swap(next);
      }
      return !at.empty();
    };
    for (int round = 0; round < 200; ++round) {
      const std::size_t level = random() % FreeChars::kLevels;
      at = open;
      read.clear();
      for (std::size_t i = 0; i <= level; ++i) {
        const auto& [kind, chars] = samples[random() % samples.size()];
        if (((free->most[level] >> kind) & 1) == 0) continue;
        ASSERT_TRUE(take(chars)) << text << " after a" << read;
      }
      // What is said not to come does not, nor do more characters than are said to.
      if (free->length == 0) continue;
      const CharClasses last = free->most[free->length - 1];
      const std::size_t n = round % 2 == 0 ? random() % free->length : free->length;
      at = open;
      read.clear();
      for (std::size_t i = 0; i < n;) {
        const auto& [kind, chars] = samples[random() % samples.size()];
        if (((last >> kind) & 1) == 0) continue;
        ASSERT_TRUE(take(chars)) << text << " after a" << read;
        ++i;
      }
      const bool full = n == free->length && free->length < FreeChars::kLevels;
      const CharClasses dead = full ? free->dead | last : n < free->length ? free->dead : 0;
      const auto& [kind, chars] = samples[random() % samples.size()];
      if (((dead >> kind) & 1) == 0) continue;
      ASSERT_FALSE(take(chars)) << text << " after a" << read;
      (full ? n_full : n_dead)++;
    }
  }
  EXPECT_GE(n_dead, 100U);
  EXPECT_GE(n_full, 20U);
  EXPECT_GE(n_free, 12U);  // the walks above come by subtrees that are taken whole
}

}  // namespace
}  // namespace longhaul::tools
