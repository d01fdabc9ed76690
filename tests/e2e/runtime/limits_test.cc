// Where a trajectory comes to a limit, and what is left of a session that is deleted, through the real program.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/trajectory_fixture.h"

namespace longhaul::testing_support {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class Limits : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_builtin_model()) GTEST_SKIP() << "the built-in model is not in this checkout";
  }
  std::string store() const { return folder_.file("store"); }
  RunResult run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), {"--store", store()});
    return run_program(arguments);
  }
  json::object shown(const std::string& session) const {
    auto value = parse_json(run({"sessions", "show", "--json", session}).out);
    EXPECT_TRUE(value && value->is_object());
    return value && value->is_object() ? value->get_object() : json::object{};
  }
  void expect_sound() const {
    const RunResult result = run({"sessions", "verify", "--deep"});
    EXPECT_EQ(result.status, 0) << result.out << result.err;
  }
  // An agent whose tool gives `bytes` of text.
  std::string agent(std::size_t bytes) const {
    const std::string shipped = std::string(LONGHAUL_SOURCE_DIR) + "/tools/plugins/";
    std::string calc = read_all(shipped + "calc.lua");
    const std::string head = "run = function(args)";
    const std::size_t at = calc.find(head);
    EXPECT_NE(at, std::string::npos);
    calc.insert(at == std::string::npos ? 0 : at + head.size(),
                "\n    do return (\"word \"):rep(" + std::to_string(bytes / 5) + ") end");
    write_all(folder_.file("calc.lua"), calc);
    write_all(folder_.file("agent.lua"),
              "return { system = \"You are a careful assistant.\", tools = { \"./calc.lua\" },\n"
              "  limits = { turns = 3, message_tokens = 60 } }\n");
    return folder_.file("agent.lua");
  }

  TemporaryFolder folder_;
};

TEST_F(Limits, AMessageEndsAnExchangeThatTheLimitOfTurnsSuspended) {
  RunResult result = run({"run", "--json", "--session", "a", "--max-turns", "1", "1) calculate 4821 * 3\n2) add 17"});
  ASSERT_EQ(result.status, 1) << result.err;
  EXPECT_THAT(result.out, HasSubstr("limit of 1 turns"));
  const json::value first = shown("a").at("calls").at(0);
  ASSERT_TRUE(first.at("result").is_object());
  result = run({"resume", "a", "What is 12 + 30?", "--json", "--max-turns", "8"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("\"name\":\"calc\",\"arguments\":{\"expression\":\"12 + 30\"}"));
  EXPECT_THAT(result.out, HasSubstr("\"event\":\"answer\""));
  // The results of the exchange that was cut off stay before it, and the next message goes on from there.
  EXPECT_EQ(to_json(shown("a").at("calls").at(0)), to_json(first));
  EXPECT_EQ(run({"resume", "a", "What is 2 + 3?"}).status, 0);
  expect_sound();
  // Where nothing but an interrupt or a crash stopped it, it is finished first.
  ASSERT_EQ(run({"run", "--session", "b", "--max-turns", "1", "1) calculate 4821 * 3\n2) add 17"}).status, 1);
  RunOptions options;
  options.environment = {{"LONGHAUL_FAULT", "tokens.after_write:6"}};
  ASSERT_EQ(run_program({"resume", "b", "--store", store()}, options).signal, SIGKILL);
  result = run({"resume", "b", "What is 12 + 30?"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, HasSubstr("is not waiting for a message"));
}

TEST_F(Limits, ResultsThatPassTheContextEndItAsLengthAndAreKept) {
  RunResult result =
      run({"run", "--json", "--session", "a", "--agent", agent(2000), "--context", "256", "What is 12 + 30?"});
  ASSERT_EQ(result.status, 1) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("\"event\":\"suspended\""));
  EXPECT_THAT(result.out, HasSubstr("length: the results bring the context to"));
  json::object session = shown("a");
  EXPECT_LT(session.at("tokens").as_array().size(), 256U);
  EXPECT_EQ(session.at("calls").at(0).at("result").at("text").as_string().size(), 2000U);
  // Again the same, whoever asks: nothing runs a second time.
  result = run({"resume", "a"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.out, HasSubstr("--context N"));
  EXPECT_EQ(shown("a").at("calls").as_array().size(), 1U);
  expect_sound();
  // With more context it goes on with the result that it has.
  result = run({"resume", "a", "--context", "8192", "--json", "--max-turns", "1"});
  EXPECT_THAT(result.out, HasSubstr("\"event\":\"committed\"")) << result.err;
  EXPECT_GT(shown("a").at("tokens").as_array().size(), 256U);
  expect_sound();
}

TEST_F(Limits, ADeletedSessionTakesItsOwnFilesAlongAndNobodyElses) {
  const auto begin = [&](const std::string& name) {
    EXPECT_EQ(run({"run", "--session", name, "What is 12 + 30?"}).status, 0);
  };
  begin("a");
  const std::string own = store() + "/files/a";
  write_all(own + "/mine.txt", "x");
  ASSERT_EQ(run({"sessions", "fork", "a", "b"}).status, 0);
  RunResult result = run({"sessions", "delete", "a"});
  EXPECT_THAT(result.out, HasSubstr("session b works in it too"));
  EXPECT_EQ(read_all(own + "/mine.txt"), "x");
  // A new session of that name does not find them.
  begin("a");
  EXPECT_TRUE(fs::is_directory(store() + "/files/a.2"));
  EXPECT_TRUE(fs::is_empty(store() + "/files/a.2"));
  result = run({"sessions", "delete", "b", "--json"});
  EXPECT_THAT(result.out, HasSubstr("\"files_removed\":true"));
  EXPECT_FALSE(fs::exists(own));
  EXPECT_TRUE(fs::exists(store() + "/files/a.2"));
  // Kept when that is asked for, and what a person has named is never touched.
  write_all(store() + "/files/a.2/kept.txt", "y");
  result = run({"sessions", "delete", "a", "--keep-files"});
  EXPECT_EQ(read_all(store() + "/files/a.2/kept.txt"), "y");
  fs::create_directories(folder_.file("given"));
  EXPECT_EQ(run({"run", "--session", "c", "--files", folder_.file("given"), "What is 1 + 2?"}).status, 0);
  result = run({"sessions", "delete", "c", "--json"});
  EXPECT_THAT(result.out, HasSubstr("\"files\":null,\"files_removed\":false"));
  EXPECT_TRUE(fs::exists(folder_.file("given")));
}

TEST_F(Limits, NumbersThatAreTooLargeAreRefusedByName) {
  const std::string huge = "99999999999999999999";
  for (const std::vector<std::string>& wrong :
       std::vector<std::vector<std::string>>{{"run", "x", "--context", huge},
                                             {"run", "x", "--max-turns", "12abc"},
                                             {"run", "x", "--top-k", "4294967297"},
                                             {"run", "x", "--speculate", huge},
                                             {"run", "x", "--threads", "4294967298"},
                                             {"generate", "--prompt", "x", "--max-tokens", huge},
                                             {"sessions", "fork", "a", "b", "--at", huge},
                                             {"sessions", "fork", "a", "b", "--at-token", "-1"},
                                             {"sessions", "rewind", "a", "--to", huge},
                                             {"sessions", "rewind", "a", "--to-token", "1e3"},
                                             {"sessions", "export", "a", "f", "--since", huge},
                                             {"model", "plan", "--context", huge}}) {
    const RunResult result = run(wrong);
    EXPECT_EQ(result.status, 2) << wrong[0] << " " << wrong.back() << result.out;
    EXPECT_THAT(result.err, HasSubstr(wrong.back() + " is not a whole number from"));
    EXPECT_THAT(result.err, HasSubstr(wrong[wrong.size() - 2]));
  }
}

}  // namespace
}  // namespace longhaul::testing_support
