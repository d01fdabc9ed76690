#include "tools/grammar_bench.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "runtime/base/json.h"

namespace longhaul::tools {
namespace {

std::unique_ptr<model::Tokenizer> small_tokenizer() {
  const std::string path = std::string(LONGHAUL_SOURCE_DIR) + "/tests/golden/model/tokenizer/tekken_small.json";
  std::stringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return *model::Tokenizer::parse(text.str(), path);
}

constexpr std::string_view kLine =
    R"({"schema":{"type":"object","properties":{"name":{"type":"string"},"n":{"type":"integer"}},"required":["name"]},
"tests":[{"data":{"name":"a b\nc","n":12},"valid":true},{"data":{"n":12},"valid":false},{"data":{"name":""},"valid":true}]})";

TEST(GrammarBench, RandomCutsSpellTheTextAndDependOnTheSeed) {
  const auto tokenizer = small_tokenizer();
  const auto index = TokenIndex::build(tokenizer->vocabulary());
  const std::string text = R"({"name": "the house on the hill", "n": 12})";
  bool differ = false;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<TokenId> cut = random_cut(*index, text, seed);
    EXPECT_EQ(*tokenizer->decode(cut), text) << "seed " << seed;
    EXPECT_EQ(random_cut(*index, text, seed), cut);
    differ = differ || cut != tokenizer->encode_content(text);
  }
  EXPECT_TRUE(differ);
}

TEST(GrammarBench, ReplaysTheValidInstances) {
  const auto tokenizer = small_tokenizer();
  GrammarBench bench(*tokenizer, {.n_random = 2, .seed = 7});
  std::size_t replays = 0, tokens = 0;
  std::string line(kLine);
  std::erase(line, '\n');
  auto row = bench.run_line(line, [&](const Replay& replay) {
    ++replays;
    tokens += replay.tokens.size();
    EXPECT_NE(replay.test, 1U);
    EXPECT_EQ(replay.mask_us.size(), replay.tokens.size() + 1);
    EXPECT_EQ(replay.accept_us.size(), replay.tokens.size());
  });
  ASSERT_TRUE(row) << row.error().message;
  EXPECT_EQ(replays, 6U);
  const json::object summary = bench.summary();
  EXPECT_EQ(summary.at("accept_us").at("n").to_number<std::size_t>(), tokens);
  EXPECT_EQ(summary.at("mask_us").at("n").to_number<std::size_t>(), tokens + replays);
  EXPECT_EQ(summary.at("schemas").to_number<int>(), 1);
  EXPECT_GT(row->at("table_bytes").to_number<std::size_t>(), 0U);
  EXPECT_GT(row->at("mask_bytes").to_number<std::size_t>(), 0U);
  for (const char* kind : {"table_bytes", "mask_bytes"}) {
    for (const char* point : {"p50", "p90", "max"}) {
      EXPECT_EQ(summary.at(kind).at(point), row->at(kind)) << kind << " " << point;
    }
  }
}

TEST(GrammarBench, RefusedSchemasAndBadLinesAreSaid) {
  const auto tokenizer = small_tokenizer();
  GrammarBench bench(*tokenizer, {});
  auto refused = bench.run_line(R"({"schema":{"$ref":"#/nowhere"}})", nullptr);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->at("status").get_string(), "refused");
  EXPECT_EQ(bench.summary().at("refused").to_number<int>(), 1);
  EXPECT_FALSE(bench.run_line("[]", nullptr));
  // An instance marked valid that is not: its token is not in the mask, and the error says where.
  auto wrong = bench.run_line(R"({"schema":{"type":"boolean"},"tests":[{"data":"x","valid":true}]})", nullptr);
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("tests[0]"), std::string::npos) << wrong.error().message;
}

TEST(GrammarBench, PercentilesAreOfTheSortedTimes) {
  Timings times;
  for (int i = 1000; i > 0; --i) times.add(i);
  const json::object json = times.to_json();
  EXPECT_EQ(json.at("p50").to_number<double>(), 501);
  EXPECT_EQ(json.at("p99").to_number<double>(), 991);
  EXPECT_EQ(json.at("max").to_number<double>(), 1000);
  EXPECT_EQ(json.at("mean").to_number<double>(), 500.5);
}

}  // namespace
}  // namespace longhaul::tools
