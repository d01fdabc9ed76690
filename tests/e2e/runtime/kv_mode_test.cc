// --kv-budget and --kv-error through the program: what they report, and that a session stays in the mode it began in.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/trajectory_fixture.h"

namespace longhaul::testing_support {
namespace {

using testing::HasSubstr;
using testing::Not;

class KvMode : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_builtin_model()) GTEST_SKIP() << "the built-in model is not in this checkout";
  }
  RunResult resume(const std::string& message, const std::vector<std::string>& more = {}, bool as_json = true) const {
    std::vector<std::string> arguments{"resume", "--store", folder_.file("store"), "a", message};
    if (as_json) arguments.emplace_back("--json");
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments);
  }
  std::string long_text() const {
    std::string text;
    for (int i = 0; i < 500; ++i) text += "item " + std::to_string(i) + " ";
    return text + "Add 1 and 2.";
  }

  TemporaryFolder folder_;
};

// Damaged pages are dropped and the tokens run over again, in the mode that the session was run in: in another, the
// states would be other ones.
TEST_F(KvMode, WhatIsDamagedIsRebuiltInTheSessionsMode) {
  namespace fs = std::filesystem;
  const fs::path home = folder_.file("store"), spoilt = folder_.file("spoilt");
  const RunResult run = run_program(
      {"run", "--json", "--store", home.string(), "--session", "a", "--seed", "5", "--kv-budget", "4", long_text()});
  ASSERT_NE(run.status, 2) << run.err;
  EXPECT_THAT(run.out, Not(HasSubstr("\"pages_skipped\":0,")));
  ASSERT_EQ(run_program({"sessions", "gc", "--store", home.string()}).status, 0);  // everything is in tables now
  fs::path largest;
  for (const auto& file : fs::directory_iterator(home / "db")) {
    if (file.path().extension() != ".sst") continue;
    if (largest.empty() || file.file_size() > fs::file_size(largest)) largest = file.path();
  }
  ASSERT_FALSE(largest.empty());
  const auto verify = [&](const std::string& how) {
    return run_program({"sessions", "verify", how, "--json", "--store", spoilt.string()});
  };
  int n_rebuilt = 0;
  for (int place = 0; place < 3; ++place) {
    fs::remove_all(spoilt);
    fs::copy(home, spoilt, fs::copy_options::recursive);
    {
      std::fstream file(spoilt / "db" / largest.filename(), std::ios::binary | std::ios::in | std::ios::out);
      file.seekp(static_cast<std::streamoff>(1000 + fs::file_size(largest) * static_cast<std::uintmax_t>(place) / 3));
      file.write("damage", 6);
    }
    const RunResult rebuilt = verify("--rebuild");
    EXPECT_EQ(rebuilt.status, 0) << rebuilt.out << rebuilt.err;
    n_rebuilt += rebuilt.out.find("rebuilt_tokens") != std::string::npos ? 1 : 0;
    const RunResult deep = verify("--deep");
    EXPECT_EQ(deep.status, 0) << deep.out << deep.err;
  }
  EXPECT_GT(n_rebuilt, 0) << "no damage hit what the session goes on from";
}

TEST_F(KvMode, IsReportedAndKept) {
  RunResult result = run_program({"run", "--json", "--store", folder_.file("store"), "--session", "a", "--seed", "5",
                                  "--kv-budget", "4", long_text()});
  ASSERT_NE(result.status, 2) << result.err;
  EXPECT_THAT(result.out, HasSubstr("\"kv\":{\"pages_read\":"));
  EXPECT_THAT(result.out, Not(HasSubstr("\"pages_skipped\":0,")));
  // Nothing said: the session's own mode. In words: one short line.
  result = resume("Add 2 and 3.", {}, false);
  EXPECT_THAT(result.out, HasSubstr("which held"));
  // What is stored is what the tokens give, in this mode and beside a session of another.
  ASSERT_EQ(run_program({"run", "--store", folder_.file("store"), "--session", "b", "Add 1 and 2."}).status, 0);
  result = run_program({"sessions", "verify", "--deep", "--store", folder_.file("store")});
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  // Another one is another numerics.
  for (const std::vector<std::string>& other :
       {std::vector<std::string>{"--kv-budget", "0"}, {"--kv-budget", "5"}, {"--kv-error", "0.1"}}) {
    result = resume("Add 3 and 4.", other);
    EXPECT_EQ(result.status, 1);
    EXPECT_THAT(result.err, HasSubstr("kv-budget-4"));
    EXPECT_THAT(result.err, HasSubstr("--replay"));
  }
  result = resume("Add 3 and 4.", {"--kv-error", "0.5", "--replay"});
  EXPECT_EQ(result.err, "");
  EXPECT_THAT(result.out, HasSubstr("\"kv\":"));
  result = resume("Add 3 and 4.", {"--kv-budget", "4"});
  EXPECT_THAT(result.err, HasSubstr("kv-error-0.5"));
}

TEST_F(KvMode, ValuesThatCannotBeAreRefused) {
  for (const std::vector<std::string>& wrong : {std::vector<std::string>{"--kv-budget", "2"},
                                                {"--kv-budget", "-1"},
                                                {"--kv-budget", "many"},
                                                {"--kv-error", "1"},
                                                {"--kv-error", "-0.1"},
                                                {"--kv-budget", "8", "--kv-error", "0.1"}}) {
    std::vector<std::string> arguments{"run", "--store", folder_.file("store"), "Add 1 and 2."};
    arguments.insert(arguments.end(), wrong.begin(), wrong.end());
    const RunResult result = run_program(arguments);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_THAT(result.err, HasSubstr(wrong[0]));
  }
}

}  // namespace
}  // namespace longhaul::testing_support
