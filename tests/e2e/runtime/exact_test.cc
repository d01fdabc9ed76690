// Contracts C1 and C2 through the real program: what must not change a trajectory does not change a token of it.
#include <gtest/gtest.h>

#include "tests/support/trajectory_fixture.h"

namespace longhaul::testing_support {
namespace {

class Exact : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_builtin_model()) GTEST_SKIP() << "the built-in model is not in this checkout";
  }
  std::string store() const { return folder_.file("store"); }
  RunResult run(const std::string& session, const std::vector<std::string>& more = {},
                const RunOptions& options = {}) const {
    std::vector<std::string> arguments{"run",   "--json", "--store", store(),       "--session",
                                       session, "--seed", "5",       witness_task()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments, options);
  }
  json::object show(const std::string& session) const {
    const RunResult shown = run_program({"sessions", "show", "--json", "--store", store(), session});
    auto value = parse_json(shown.out);
    EXPECT_TRUE(value && value->is_object()) << shown.out << shown.err;
    return value && value->is_object() ? value->get_object() : json::object{};
  }
  static std::string ids_of(const json::object& shown) {
    std::string list;
    for (const json::value& token : shown.at("tokens").as_array()) list += to_json(token) + ",";
    return list;
  }

  TemporaryFolder folder_;
};

TEST_F(Exact, SpeculationThreadsAndKernelsChangeNothing) {
  for (const std::string temperature : {"0", "1"}) {
    const std::string t = "t" + temperature;
    ASSERT_EQ(run(t, {"--temperature", temperature}).signal, 0);
    const json::object expected = show(t);
    ASSERT_FALSE(expected.at("tokens").as_array().empty());
    const std::vector<std::vector<std::string>> variants = {
        {"--speculate", "1"},
        {"--speculate", "4"},
        {"--threads", "2"},
        {"--kernels", "scalar"},
        {"--kernels", "scalar", "--speculate", "3", "--threads", "3"}};
    for (std::size_t i = 0; i < variants.size(); ++i) {
      const std::string name = t + "-" + std::to_string(i);
      std::vector<std::string> options{"--temperature", temperature};
      options.insert(options.end(), variants[i].begin(), variants[i].end());
      run(name, options);
      const json::object got = show(name);
      EXPECT_EQ(got.at("tokens"), expected.at("tokens")) << name;
      EXPECT_EQ(got.at("digest"), expected.at("digest")) << name;
    }
  }
}

// The grammar says which logits are needed at all, and which tokens need none; drafts are cut where it refuses them.
TEST_F(Exact, WhatTheGrammarSavesChangesNothing) {
  for (const std::string temperature : {"0", "1"}) {
    const std::string t = "t" + temperature;
    RunOptions full;
    full.environment = {{"LONGHAUL_FULL_LOGITS", "1"}};
    ASSERT_EQ(run(t, {"--temperature", temperature}, full).signal, 0);
    const json::object expected = show(t);
    ASSERT_FALSE(expected.at("tokens").as_array().empty());
    for (int depth = 0; depth <= 6; ++depth) {
      const std::string name = t + "-" + std::to_string(depth);
      run(name, {"--temperature", temperature, "--speculate", std::to_string(depth)});
      const json::object got = show(name);
      EXPECT_EQ(got.at("tokens"), expected.at("tokens")) << name;
      EXPECT_EQ(got.at("draws"), expected.at("draws")) << name;
    }
    for (const std::string ahead : {"0", "1"}) {
      const std::string name = t + "-ahead-" + ahead;
      RunOptions masks;
      masks.environment = {{"LONGHAUL_MASKS_AHEAD", ahead}};
      run(name, {"--temperature", temperature}, masks);
      const json::object got = show(name);
      EXPECT_EQ(got.at("tokens"), expected.at("tokens")) << name;
      EXPECT_EQ(got.at("draws"), expected.at("draws")) << name;
    }
  }
}

TEST_F(Exact, AForkAndARewindContinueAsTheOriginal) {
  ASSERT_EQ(run("a", {"--temperature", "1"}).signal, 0);
  const json::object whole = show("a");
  const std::size_t n_turns = whole.at("turns").as_array().size();
  ASSERT_GE(n_turns, 2U);
  for (std::size_t turn = 1; turn < n_turns; ++turn) {
    const std::string fork = "fork" + std::to_string(turn);
    ASSERT_EQ(run_program({"sessions", "fork", "--store", store(), "a", fork, "--at", std::to_string(turn)}).status, 0);
    run_program({"resume", "--json", "--store", store(), fork});
    EXPECT_EQ(show(fork).at("tokens"), whole.at("tokens")) << turn;
  }
  ASSERT_EQ(run_program({"sessions", "rewind", "--store", store(), "a", "--to", "1"}).status, 0);
  EXPECT_EQ(show("a").at("turns").as_array().size(), 1U);
  run_program({"resume", "--json", "--store", store(), "a"});
  EXPECT_EQ(show("a").at("tokens"), whole.at("tokens"));
  EXPECT_EQ(show("a").at("draws"), whole.at("draws"));
  EXPECT_EQ(run_program({"sessions", "verify", "--deep", "--store", store()}).status, 0);
}

TEST_F(Exact, AForkInTheMiddleOfAMessageWritesItToItsEnd) {
  ASSERT_EQ(run("a", {"--temperature", "0"}).signal, 0);
  const json::object whole = show("a");
  // Four tokens before the first turn's last drawn one: inside what the model wrote.
  const std::int64_t draws = whole.at("turns").at(0).at("draws").to_number<std::int64_t>();
  ASSERT_GT(draws, 6);
  bool forked = false;
  const std::int64_t end = whole.at("turns").at(0).at("position").to_number<std::int64_t>();
  for (std::int64_t at = end - 5; at > 0 && !forked; --at) {
    forked =
        run_program({"sessions", "fork", "--store", store(), "a", "f", "--at-token", std::to_string(at)}).status == 0;
  }
  ASSERT_TRUE(forked);
  run_program({"resume", "--json", "--store", store(), "f"});
  EXPECT_EQ(show("f").at("tokens"), whole.at("tokens"));
}

TEST_F(Exact, InterruptSuspendsAndResumeFinishes) {
  const auto began = std::chrono::steady_clock::now();
  ASSERT_EQ(run("a", {"--temperature", "1"}).signal, 0);
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - began);
  const json::object whole = show("a");
  int suspended = 0;
  for (int i = 0; i < 12; ++i) {
    const std::string name = "i" + std::to_string(i);
    RunOptions options;
    options.interrupt_after = took * (i + 1) / 13;
    const RunResult result = run_program(
        {"run", "--json", "--store", store(), "--session", name, "--seed", "5", "--temperature", "1", witness_task()},
        options);
    // It may come before anything is watched for, or before there is a trajectory: nothing had begun.
    if (result.signal == SIGINT) continue;
    if (result.status == 130 && result.err.find("interrupted before the first step") != std::string::npos) continue;
    if (result.status == 130) {
      ++suspended;
      EXPECT_NE(result.out.find("\"suspended\""), std::string::npos) << result.out;
      run_program({"resume", "--json", "--store", store(), name});
    }
    EXPECT_EQ(show(name).at("tokens"), whole.at("tokens")) << name;
  }
  std::printf("%d of 12 suspended\n", suspended);
  EXPECT_GT(suspended, 0);
}

TEST_F(Exact, ReasoningOfPastExchangesLeavesTheContext) {
  ASSERT_EQ(run("a", {"--temperature", "0"}).status, 0);
  auto count = [](const json::object& shown, const json::value& token) {
    int n = 0;
    for (const json::value& t : shown.at("tokens").as_array()) n += t == token ? 1 : 0;
    return n;
  };
  const RunResult ids = run_program({"tokenize", "--json", "1: calculate 4821 * 3\n</think>"});
  auto written = parse_json(ids.out);
  ASSERT_TRUE(written);
  const RunResult before = run_program({"detokenize", ids_of(show("a"))});
  ASSERT_NE(before.out.find("<think>\n"), std::string::npos);
  ASSERT_EQ(run_program({"resume", "--json", "--store", store(), "a", "What is the value of total?"}).status, 0);
  const json::object after = show("a");
  const RunResult text = run_program({"detokenize", ids_of(after)});
  const std::size_t last_user = text.out.rfind("What is the value of total?");
  ASSERT_NE(last_user, std::string::npos);
  // Before the new message every reasoning is empty; after it there is some.
  EXPECT_EQ(text.out.substr(0, last_user).find("<think>\n"), std::string::npos) << text.out;
  EXPECT_NE(text.out.substr(0, last_user).find("<think></think>"), std::string::npos);
  EXPECT_NE(text.out.substr(last_user).find("<think>\n"), std::string::npos);
  EXPECT_GT(count(after, written->at("tokens").as_array().back()), 0);
  EXPECT_EQ(run_program({"sessions", "verify", "--deep", "--store", store()}).status, 0);
}

TEST_F(Exact, TheEffortSuffixStandsOnTheLastUserMessageOnly) {
  ASSERT_EQ(
      run_program({"run", "--json", "--store", store(), "--session", "a", "--reasoning", "low", "Add 1 and 2."}).signal,
      0);
  ASSERT_EQ(run_program({"resume", "--json", "--store", store(), "a", "Add 3 and 4."}).signal, 0);
  const RunResult text = run_program({"detokenize", ids_of(show("a"))});
  const std::string suffix = "{reasoning effort: low}";
  const std::size_t first = text.out.find(suffix);
  ASSERT_NE(first, std::string::npos) << text.out;
  EXPECT_GT(first, text.out.find("Add 3 and 4."));
  EXPECT_EQ(text.out.find(suffix, first + 1), std::string::npos);
}

}  // namespace
}  // namespace longhaul::testing_support
