#include "tools/grammar_check.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "runtime/base/json.h"

namespace longhaul::tools {
namespace {

TEST(GrammarCheck, JudgesDataAsItIsWritten) {
  GrammarChecker checker;
  auto answer = checker.check_line(
      R"({"schema":{"const":"a"},"tests":[{"data":"\u0061","valid":true},{"data": "b" ,"valid":false},{"valid":true,"data":"a"}]})");
  ASSERT_TRUE(answer) << answer.error().message;
  const json::value value = *parse_json(*answer);
  EXPECT_EQ(value.at("status").get_string(), "ok");
  EXPECT_EQ(to_json(value.at("tests")),
            R"([{"accepted":true,"valid":true},{"accepted":false,"valid":false},{"accepted":true,"valid":true}])");
  EXPECT_TRUE(value.at("compile_us").is_double());
  // Digits that a double would lose.
  auto exact = checker.check_line(
      R"({"schema":{"exclusiveMaximum":1},"tests":[{"data":0.99999999999999999999},{"data":1.0},{"data":1e0}]})");
  ASSERT_TRUE(exact);
  EXPECT_EQ(to_json(parse_json(*exact)->at("tests")), R"([{"accepted":true},{"accepted":false},{"accepted":false}])");
}

TEST(GrammarCheck, RefusesWithReasonAndPlace) {
  GrammarChecker checker;
  auto answer = checker.check_line(R"({"schema":{"items":{"format":"regex"}},"tests":[{"data":1}]})");
  ASSERT_TRUE(answer);
  const json::value value = *parse_json(*answer);
  EXPECT_EQ(value.at("status").get_string(), "refused");
  EXPECT_EQ(value.at("reason").get_string(),
            "the format \"regex\" is no regular language, and not enforced at #/items/format");
  EXPECT_EQ(value.at("place").get_string(), "#/items/format");
  EXPECT_EQ(parse_json(*checker.check_line(R"({"schema":{"format":"regex"}})"))->at("status").get_string(), "refused");
  EXPECT_EQ(parse_json(*checker.check_line(R"({"schema":{"format":"regex"},"format":"annotate"})"))
                ->at("status")
                .get_string(),
            "ok");
}

TEST(GrammarCheck, RefusesWhatIsNestedWithoutEnd) {
  GrammarChecker checker;
  std::string deep;
  for (int i = 0; i < 10'000; ++i) deep += R"({"items":)";
  auto answer = checker.check_line(R"({"schema":)" + deep + "true" + std::string(10'000, '}') + "}");
  ASSERT_TRUE(answer);
  EXPECT_EQ(parse_json(*answer)->at("status").get_string(), "refused");
}

TEST(GrammarCheck, RefusesLinesOfAnotherShape) {
  GrammarChecker checker;
  for (const char* line : {"", "1", "{", "{}", R"({"schema":true,"tests":1})", R"({"schema":true,"tests":[1]})",
                           R"({"schema":true,"format":"x"})", R"({"schema":true,"tests":[{"valid":true}]})"}) {
    EXPECT_FALSE(checker.check_line(line)) << line;
  }
}

TEST(GrammarCheck, WithATokenizerEveryTokenMustBeInItsMask) {
  const std::string path = std::string(LONGHAUL_SOURCE_DIR) + "/tests/golden/model/tokenizer/tekken_small.json";
  std::stringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  const auto tokenizer = model::Tokenizer::parse(text.str(), path);
  ASSERT_TRUE(tokenizer);
  GrammarChecker checker(tokenizer->get());
  const char* line =
      R"({"schema":{"type":"object","properties":{"a":{"maxLength":3}}},"tests":[{"data":{"a":"xyz"}},{"data":{"a":"wxyz"}},{"data":{"b":[1,null]}},{"data":3}]})";
  auto answer = checker.check_line(line);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(to_json(parse_json(*answer)->at("tests")),
            R"([{"accepted":true},{"accepted":false},{"accepted":true},{"accepted":false}])");
}

}  // namespace
}  // namespace longhaul::tools
