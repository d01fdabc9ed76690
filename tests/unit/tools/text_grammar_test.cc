// User grammars: what is read, what is refused and where, which texts fit; answers of a message in a given form.
#include <gtest/gtest.h>

#include <random>

#include "tests/support/test_vocabulary.h"
#include "tools/ebnf_reader.h"
#include "tools/grammar.h"
#include "tools/message_parser.h"

namespace longhaul::tools {
namespace {

const model::Vocabulary& vocabulary() {
  static const model::Vocabulary small = test::small_vocabulary();
  return small;
}

std::shared_ptr<const TokenIndex> index_of_vocabulary() {
  static const auto index = TokenIndex::build(vocabulary());
  return index;
}

TokenId control(const char* name) {
  return *vocabulary().control(name);
}

std::shared_ptr<Grammar> grammar_of(Result<std::shared_ptr<const TextGrammar>> text) {
  EXPECT_TRUE(text.has_value()) << text.error().message;
  if (!text) return nullptr;
  auto grammar = Grammar::for_text(index_of_vocabulary(), *text, {control("</s>")});
  EXPECT_TRUE(grammar.has_value());
  return *grammar;
}

bool fits(const Grammar& grammar, std::string_view text) {
  const State end = grammar.advance(grammar.start(), text);
  return !end.dead() && grammar.complete(end);
}

bool begins(const Grammar& grammar, std::string_view text) {
  return !grammar.advance(grammar.start(), text).dead();
}

std::string error_of(std::string_view ebnf) {
  auto compiled = compile_ebnf(ebnf);
  return compiled ? "" : compiled.error().message;
}

TEST(TextGrammar, ArithmeticWithBracketsInsideBrackets) {
  const auto grammar = grammar_of(compile_ebnf(R"ebnf(
# sums of products
root   ::= sum
sum    ::= sum " "? [+-] " "? product | product
product ::= product "*" atom | atom
atom   ::= [0-9]{1,3} ("." [0-9]+)? | "(" sum ")"
)ebnf"));
  ASSERT_NE(grammar, nullptr);
  for (const char* text : {"1", "12.5", "(1+2)*3", "((((7))))", "1 + 2 - 3*(4+5)"})
    EXPECT_TRUE(fits(*grammar, text)) << text;
  for (const char* text : {"", "1+", "(1", "1234", "()", "1)", "12."}) EXPECT_FALSE(fits(*grammar, text)) << text;
  EXPECT_FALSE(begins(*grammar, "1)"));
  EXPECT_FALSE(begins(*grammar, "1  "));
}

TEST(TextGrammar, JsonInRulesTakesWhatJsonIs) {
  const auto grammar = grammar_of(compile_ebnf(R"ebnf(
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
)ebnf"));
  ASSERT_NE(grammar, nullptr);
  EXPECT_TRUE(fits(*grammar, R"({"a": [1, 2.5, {"é": "日\n"}], "b": null})"));
  EXPECT_FALSE(begins(*grammar, R"({"a": 01)"));
  EXPECT_FALSE(begins(*grammar, R"({"a"  )"));
  EXPECT_FALSE(begins(*grammar, "{\"\xFF"));
}

TEST(TextGrammar, LiteralsAndClassesAreCharactersNotBytes) {
  const auto grammar = grammar_of(compile_ebnf("root ::= 'x\\u65e5\\x41' [à-ü\\U0001F600] [^a] ."));
  ASSERT_NE(grammar, nullptr);
  EXPECT_TRUE(fits(*grammar, "x日Aé日b"));
  EXPECT_TRUE(fits(*grammar, "x日A\xF0\x9F\x98\x80\n\n"));
  EXPECT_FALSE(begins(*grammar, "x日A\xF0\x9F\x98\x81"));
  EXPECT_TRUE(begins(*grammar, "x\xE6\x97"));
  EXPECT_FALSE(begins(*grammar, "x\xE6\x98"));
  EXPECT_FALSE(begins(*grammar, "x日Aéa"));
}

TEST(TextGrammar, CountsAreNotWrittenOut) {
  const auto grammar = grammar_of(compile_ebnf("root ::= [a-z]{2,100000} \"!\" [0-9]{,2}"));
  ASSERT_NE(grammar, nullptr);
  EXPECT_FALSE(fits(*grammar, "a!"));
  EXPECT_TRUE(fits(*grammar, std::string(100000, 'q') + "!77"));
  EXPECT_FALSE(begins(*grammar, std::string(100001, 'q')));
}

TEST(TextGrammar, ListsHaveNoDepth) {
  const auto grammar = grammar_of(compile_ebnf("root ::= item | item \",\" root\nitem ::= [a-z] | \"(\" root \")\""));
  ASSERT_NE(grammar, nullptr);
  std::string text = "a";
  for (int i = 0; i < 5000; ++i) text += ",b";
  EXPECT_TRUE(fits(*grammar, text));
  EXPECT_LT(grammar->state_count(), 50U);
}

TEST(TextGrammar, NestingStopsWhereItCanStillBeClosed) {
  const auto grammar = grammar_of(compile_ebnf("root ::= \"(\" root \")\" | \"x\""));
  ASSERT_NE(grammar, nullptr);
  EXPECT_TRUE(fits(*grammar, std::string(256, '(') + "x" + std::string(256, ')')));
  EXPECT_TRUE(begins(*grammar, std::string(256, '(') + "x"));
  EXPECT_FALSE(begins(*grammar, std::string(257, '(')));
}

TEST(TextGrammar, ErrorsNameThePlace) {
  EXPECT_EQ(error_of("root ::= \"a\" b"), "line 1, column 14: the rule \"b\" is not defined");
  EXPECT_EQ(error_of("a ::= \"a\""), "line 1, column 10: there is no rule \"root\"");
  EXPECT_EQ(error_of("root ::= \"é\" ]"), "line 1, column 14: \"]\" is no part of a rule");
  EXPECT_EQ(error_of("root ::= \"a\"\nb ::= \"c\""), "line 2, column 1: rule \"b\" is never used");
  EXPECT_EQ(error_of("root ::= \"a\" | b\nb ::= \"(\" b \")\""),
            "line 2, column 1: rule \"b\" never ends: no text fits it");
  EXPECT_EQ(error_of("root ::= \"a\"\nroot ::= \"b\""),
            "line 2, column 1: the rule \"root\" is there already, at line 1, column 1");
  EXPECT_EQ(error_of("root ::= a \"x\" | \"y\"\na ::= b \"1\" | \"2\"\nb ::= \"\" a | \"3\""),
            "line 2, column 1: rule \"a\" begins with itself (a -> b -> a); write it as a repetition");
  EXPECT_EQ(error_of("root ::= (\"a\" | \"b\""),
            "line 1, column 20: the end where the group begun at line 1, column 10 should end");
  EXPECT_EQ(error_of("root ::= [z-a]"), "line 1, column 11: a range from U+007A down to U+0061");
  EXPECT_EQ(error_of("root ::= []"), "line 1, column 10: a class that no character is in");
  EXPECT_EQ(error_of("root ::= \"a"), "line 1, column 10: a literal that does not end on its line");
  EXPECT_EQ(error_of("root ::= \"\\q\""), "line 1, column 11: the escape \\q is unknown");
  EXPECT_EQ(error_of("root ::= \"\\ud800\""), "line 1, column 11: U+D800 is no character");
  EXPECT_EQ(error_of("root ::= \"a\"{3,2}"), "line 1, column 13: a repeat of at least 3 and at most 2");
  EXPECT_EQ(error_of("root ::= \"a\"{99999999999999999999}"), "line 1, column 14: a repeat of more than 1000000000");
  EXPECT_EQ(error_of("root ::= <think>"),
            "line 1, column 10: tokens by name or number are not supported: a grammar is about text");
  EXPECT_EQ(error_of("root = \"a\""), "line 1, column 6: \"=\" where ::= should follow the name \"root\"");
  EXPECT_EQ(error_of(std::string("root ::= \"\xFF\"")), "a grammar that is not UTF-8");
  EXPECT_EQ(error_of(""), "line 1, column 1: there is no rule \"root\"");
}

TEST(TextGrammar, LimitsAreToldAtOnce) {
  EXPECT_EQ(error_of("root ::= " + std::string(200, '(') + "\"a\"" + std::string(200, ')')),
            "line 1, column 111: groups nested more than 100 deep");
  EXPECT_EQ(error_of("# " + std::string(300'000, 'x')), "a grammar of 300002 bytes, at most 262144");
  EXPECT_EQ(error_of("root ::= [ab]* \"a\" [ab]{30}"),
            "line 1, column 1: rule \"root\": its parts overlap in more than 1024 ways");
  EXPECT_EQ(error_of("root ::= (\"(\" root? \")\"){1000000}"),
            "line 1, column 1: rule \"root\": line 1, column 25: a grammar of more than 20000 positions");
  // A chain of rules, each inside brackets: more than can be open at once.
  std::string chain = "root ::= r0\n";
  for (int i = 0; i < 400; ++i)
    chain += "r" + std::to_string(i) + " ::= \"(\" r" + std::to_string((i + 1) % 400) + " \")\"" +
             (i == 399 ? " | \"x\"" : "") + "\n";
  EXPECT_EQ(error_of(chain), "line 1, column 1: rule \"root\": its shortest text nests rules more than 256 deep");
}

TEST(TextGrammar, RegexIsAboutTheWholeText) {
  const auto grammar = grammar_of(compile_regex(R"(\d{4}-\d\d-\d\d|today)"));
  ASSERT_NE(grammar, nullptr);
  EXPECT_TRUE(fits(*grammar, "2026-11-23"));
  EXPECT_TRUE(fits(*grammar, "today"));
  EXPECT_FALSE(begins(*grammar, "on "));
  EXPECT_FALSE(begins(*grammar, "today "));
  const auto ahead = grammar_of(compile_regex("^(?=.*[0-9])[a-z0-9]{3,8}$"));
  ASSERT_NE(ahead, nullptr);
  EXPECT_TRUE(fits(*ahead, "abc1"));
  EXPECT_FALSE(fits(*ahead, "abcd"));
  EXPECT_TRUE(begins(*ahead, "abcdefg"));
  EXPECT_FALSE(begins(*ahead, "abcdefgh"));
  EXPECT_FALSE(compile_regex("a)(b"));
  EXPECT_EQ(compile_regex("a(?!.)b").error().message, "no text fits the pattern");
  EXPECT_EQ(compile_regex("(a)\\1").error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(compile_regex("[ab]*a[ab]{30}").error().code, ErrorCode::kResourceExhausted);
}

TEST(TextGrammar, EndIsAllowedExactlyWhereTheTextIsWhole) {
  const auto grammar = grammar_of(compile_ebnf("root ::= \"a\"{2,3}"));
  ASSERT_NE(grammar, nullptr);
  State state = grammar->start();
  for (const bool whole : {false, false, true, true}) {
    EXPECT_EQ(grammar->mask(state)->allowed(control("</s>")), whole);
    const State after = grammar->advance(state, "a");
    EXPECT_EQ(*grammar->mask(state), grammar->mask_by_trial(state));
    state = after;
  }
  EXPECT_TRUE(state.dead());
  // Nothing at all, where that fits.
  const auto empty = grammar_of(compile_ebnf("root ::= \"a\"?"));
  EXPECT_TRUE(empty->mask(empty->start())->allowed(control("</s>")));
}

// --- answers

std::shared_ptr<Grammar> answering(ResponseFormat response, ToolChoice choice = ToolChoice::kAuto) {
  MessageGrammarOptions options;
  options.stop = {control("<|im_end|>")};
  options.response = std::move(response);
  options.choice = choice;
  auto path =
      compile_schema(*parse_json(R"({"type":"object","properties":{"path":{"type":"string"}},"required":["path"]})"));
  EXPECT_TRUE(path.has_value());
  auto grammar = Grammar::for_message(index_of_vocabulary(), {{"read", *path}}, options);
  EXPECT_TRUE(grammar.has_value()) << grammar.error().message;
  return grammar ? *grammar : nullptr;
}

ResponseFormat of_schema(const char* text) {
  auto schema = compile_schema(*parse_json(text));
  EXPECT_TRUE(schema.has_value());
  return {*schema, nullptr};
}

constexpr const char* kCity =
    R"({"type":"object","properties":{"city":{"type":"string"},"n":{"type":"integer"}},"required":["city"]})";

TEST(ResponseFormat, AnswerAfterReasoningFitsItsSchema) {
  const auto grammar = answering(of_schema(kCity));
  ASSERT_NE(grammar, nullptr);
  MessageParser parser(grammar, true);
  auto say = [&](std::string_view text) {
    for (const char c : text) {
      const TokenId id = static_cast<TokenId>(test::control_names().size()) + static_cast<std::uint8_t>(c);
      if (!parser.accept(id)) return false;
    }
    return true;
  };
  EXPECT_TRUE(say("anything { at all\n"));
  ASSERT_TRUE(parser.accept(control("</think>")));
  EXPECT_FALSE(parser.allows(control("<|im_end|>")));
  EXPECT_TRUE(parser.allows(control("<tool_call>")));
  EXPECT_FALSE(say("Sure"));
  EXPECT_TRUE(say("\n\n"));
  EXPECT_FALSE(say("\n"));
  EXPECT_TRUE(say(R"({"city": "Bonn")"));
  EXPECT_FALSE(parser.allows(control("<|im_end|>")));
  EXPECT_EQ(*parser.mask(), grammar->mask_by_trial(parser.state()));
  EXPECT_TRUE(say(R"(, "n": 3})"));
  EXPECT_FALSE(say(" "));
  EXPECT_TRUE(parser.allows(control("<tool_call>")));
  ASSERT_TRUE(parser.accept(control("<|im_end|>")));
  EXPECT_TRUE(parser.result().complete);
  EXPECT_EQ(parser.result().content, "\n\n{\"city\": \"Bonn\", \"n\": 3}");
}

TEST(ResponseFormat, CallsStandAloneOrBehindAnAnswer) {
  const auto grammar = answering(of_schema(R"({"type":"integer"})"));
  ASSERT_NE(grammar, nullptr);
  for (const bool with_answer : {false, true}) {
    MessageParser parser(grammar, false);
    auto say = [&](std::string_view text) {
      for (const char c : text) {
        ASSERT_TRUE(parser.accept(static_cast<TokenId>(test::control_names().size()) + static_cast<std::uint8_t>(c)));
      }
    };
    if (with_answer) say("-12");
    ASSERT_TRUE(parser.accept(control("<tool_call>")));
    say("\n<function=read>\n<parameter=path>\na.txt\n</parameter>\n</function>\n");
    ASSERT_TRUE(parser.accept(control("</tool_call>")));
    ASSERT_TRUE(parser.accept(control("<|im_end|>")));
    EXPECT_EQ(parser.result().calls.size(), 1U);
    EXPECT_EQ(parser.result().content, with_answer ? "-12" : "");
  }
}

TEST(ResponseFormat, GrammarAndRegexFormAnswersToo) {
  for (auto text : {compile_ebnf("root ::= \"yes\" | \"no\" because?\nbecause ::= \", as \" [a-z ]+ \".\""),
                    compile_regex("yes|no(, as [a-z ]+\\.)?")}) {
    ASSERT_TRUE(text.has_value()) << text.error().message;
    const auto grammar = answering({nullptr, *text});
    ASSERT_NE(grammar, nullptr);
    State state = grammar->advance(grammar->start(true), control("</think>"));
    EXPECT_TRUE(grammar->advance(state, "maybe").dead());
    state = grammar->advance(state, "\nno");
    EXPECT_TRUE(grammar->mask(state)->allowed(control("<|im_end|>")));
    state = grammar->advance(state, ", as it rains");
    EXPECT_FALSE(grammar->mask(state)->allowed(control("<|im_end|>")));
    EXPECT_EQ(*grammar->mask(state), grammar->mask_by_trial(state));
    state = grammar->advance(state, ".");
    EXPECT_TRUE(grammar->mask(state)->allowed(control("<|im_end|>")));
  }
}

TEST(ResponseFormat, RequiredCallsLeaveNoRoomForAnAnswer) {
  const auto grammar = answering(of_schema(kCity), ToolChoice::kRequired);
  ASSERT_NE(grammar, nullptr);
  EXPECT_TRUE(grammar->advance(grammar->start(false), "{").dead());
  EXPECT_FALSE(grammar->advance(grammar->start(false), control("<tool_call>")).dead());
  const auto none = answering(of_schema(kCity), ToolChoice::kNone);
  ASSERT_NE(none, nullptr);
  EXPECT_FALSE(none->advance(none->start(false), "{").dead());
  EXPECT_TRUE(none->advance(none->start(false), control("<tool_call>")).dead());
}

// Subtrees of the vocabulary are taken whole where a part goes on with all that is in them: not where what follows the
// part may begin so too, nor past a bound. Texts of random tokens, to their bounds.
TEST(TextGrammar, MasksInsidePartsAreThoseByTrial) {
  for (const char* text : {R"(root ::= ("- " [^\n]{1,12} "\n")+)", R"(root ::= [^,]{0,9} ("," | "x" | [0-9a-f]{2,5})+)",
                           R"(root ::= (word " ")+ [a-z]{1,4}
word ::= [a-z]* | "\"" ([^"] | "\"\"")* "\"")",
                           R"(root ::= [^"\n]* tail
tail ::= [ -~]{3} | "\u00e9" [^a-z]{2,6} root)"}) {
    const auto grammar = grammar_of(compile_ebnf(text));
    ASSERT_NE(grammar, nullptr);
    std::mt19937_64 random(11);
    std::size_t n_wide = 0;
    for (int walk = 0; walk < 6; ++walk) {
      State state = grammar->start();
      for (int step = 0; step < 14; ++step) {
        const auto mask = grammar->mask(state);
        ASSERT_EQ(*mask, grammar->mask_by_trial(state)) << text << " walk " << walk << " step " << step;
        n_wide += mask->count() > 60 ? 1 : 0;
        std::vector<TokenId> ids;
        for (TokenId id = 0; id < mask->size(); ++id) {
          if (mask->allowed(id) && id != control("</s>")) ids.push_back(id);
        }
        if (ids.empty()) break;
        state = grammar->advance(state, ids[random() % ids.size()]);
      }
    }
    EXPECT_GT(n_wide, 0U) << text;
  }
}

TEST(ResponseFormat, RefusedWhereCallsAreText) {
  MessageGrammarOptions options;
  options.stop = {control("<|im_end|>")};
  options.response = of_schema(kCity);
  options.format = *call_format("openai");
  auto grammar = Grammar::for_message(index_of_vocabulary(), {}, options);
  ASSERT_FALSE(grammar);
  EXPECT_EQ(grammar.error().message,
            "response: the call format openai opens calls by text, so answers have no form of their own");
}

}  // namespace
}  // namespace longhaul::tools
