// A call that waits for a person (contract C6): parked before its intent, durable at every step, approved it changes
// nothing in what the trajectory does, denied the model is told; and a `once` call behind a fork or rewind is not
// repeated unasked.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>

#include "tests/support/trajectory_fixture.h"

namespace longhaul::testing_support {
namespace {

using testing::HasSubstr;

class Approval : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_builtin_model()) GTEST_SKIP() << "the built-in model is not in this checkout";
  }
  std::string agent(const std::string& name, const std::string& effect, const std::string& more = "") {
    const std::string folder = folder_.file(name);
    std::filesystem::create_directories(folder);
    write_witness_agent(folder, effect, more);
    return folder + "/agent.lua";
  }
  Trial trial(const std::string& agent_file) {
    return Trial(folder_.file("trial" + std::to_string(next_++)), agent_file, "0", "11");
  }
  static RunResult settle(const Trial& trial, std::vector<std::string> how, const RunOptions& options = {}) {
    std::vector<std::string> arguments{"sessions", "settle", "--json", "--store", trial.store(), "s"};
    arguments.insert(arguments.end(), how.begin(), how.end());
    return run_program(arguments, options);
  }
  static std::vector<json::object> events(const RunResult& result, std::string_view kind) {
    std::vector<json::object> out;
    for (std::size_t at = 0; at < result.out.size();) {
      const std::size_t end = result.out.find('\n', at);
      auto value = parse_json(std::string_view(result.out).substr(at, end - at));
      if (value && value->is_object() && value->at("event") == json::value(json::string_view(kind.data(), kind.size())))
        out.push_back(value->get_object());
      if (end == std::string::npos) break;
      at = end + 1;
    }
    return out;
  }

  TemporaryFolder folder_;
  int next_ = 0;
};

TEST_F(Approval, ApprovedItGoesOnAsIfNobodyHadBeenAsked) {
  const Trial free = trial(agent("free", "once"));
  const RunResult whole = free.start();
  ASSERT_NE(free.witness(), "");

  // By the manifest, and by the agent's list for a tool whose manifest says nothing.
  const std::string by_list = agent("list", "once");
  std::string text = read_all(by_list);
  const std::size_t at = text.find("\"./witness.lua\"");
  ASSERT_NE(at, std::string::npos);
  text.replace(at, 15, "{ name = \"./witness.lua\", approve = true }");
  write_all(by_list, text);
  for (const std::string& guarded : {agent("manifest", "once", "approve = true,"), by_list}) {
    const Trial asked = trial(guarded);
    RunResult result = asked.start();
    EXPECT_EQ(result.status, 3) << result.err;
    const auto waiting = events(result, "approval_needed");
    ASSERT_EQ(waiting.size(), 1U) << result.out;
    EXPECT_EQ(waiting[0].at("name"), "kv_put");
    EXPECT_TRUE(waiting[0].at("arguments").is_object());
    EXPECT_EQ(asked.witness(), "");
    const Outcome parked = asked.outcome();
    EXPECT_EQ(parked.shown.at("status"), "needs_approval");
    EXPECT_EQ(parked.shown.at("approval").at("id"), waiting[0].at("id"));
    // Going on without an answer asks again and does nothing.
    EXPECT_EQ(asked.resume().status, 3);
    EXPECT_EQ(asked.witness(), "");
    EXPECT_EQ(settle(asked, {"--done", "1"}).status, 1);
    EXPECT_EQ(settle(asked, {"--approve"}).status, 0);
    EXPECT_EQ(settle(asked, {"--approve"}).status, 1);
    result = asked.resume();
    EXPECT_EQ(result.status, whole.status) << result.err;
    expect_same(asked.outcome(), free.outcome(), guarded);
  }
}

TEST_F(Approval, DeniedTheModelIsToldAndNothingHappens) {
  const Trial asked = trial(agent("manifest", "once", "approve = true,"));
  ASSERT_EQ(asked.start().status, 3);
  EXPECT_EQ(settle(asked, {"--approve", "--deny"}).status, 2);
  EXPECT_EQ(settle(asked, {"--deny", "not on a Friday"}).status, 0);
  const RunResult result = asked.resume();
  const auto results = events(result, "tool_result");
  ASSERT_FALSE(results.empty()) << result.out << result.err;
  EXPECT_EQ(results[0].at("name"), "kv_put");
  EXPECT_EQ(results[0].at("ok"), false);
  EXPECT_THAT(std::string(results[0].at("text").as_string()), HasSubstr("not on a Friday"));
  EXPECT_EQ(asked.witness(), "");
  // The model may ask for it again: then somebody is asked again.
  EXPECT_THAT(result.status, testing::AnyOf(0, 1, 3));
}

TEST_F(Approval, SurvivesAKillAtEveryStep) {
  const Trial free = trial(agent("free", "once"));
  const RunResult whole = free.start();
  const std::string guarded = agent("manifest", "once", "approve = true,");
  for (const std::string point : {"approval.before_write:1", "approval.after_write:1"}) {
    RunOptions fault;
    fault.environment = {{"LONGHAUL_FAULT", point}};
    const Trial asked = trial(guarded);
    ASSERT_EQ(asked.start(fault).signal, SIGKILL) << point;
    ASSERT_EQ(asked.resume().status, 3) << point;
    ASSERT_EQ(settle(asked, {"--approve"}, fault).signal, SIGKILL) << point;
    // Before the write nothing was said; after it, it was.
    EXPECT_EQ(settle(asked, {"--approve"}).status, point.find("before") != std::string::npos ? 0 : 1) << point;
    for (const std::string later : {"intent.before_write:1", "intent.after_write:1"}) {
      RunOptions next;
      next.environment = {{"LONGHAUL_FAULT", later}};
      const RunResult killed = asked.resume(next);
      if (killed.signal == 0) continue;
      const RunResult after = asked.resume();
      if (later == "intent.before_write:1") {
        EXPECT_EQ(after.status, whole.status) << point << after.out << after.err;
      }
    }
    expect_same(asked.outcome(), free.outcome(), point);
  }
}

TEST_F(Approval, ARepeatedOnceCallBehindAForkOrRewindNeedsIt) {
  const std::string plain = agent("free", "once");
  for (const bool fork : {false, true}) {
    const Trial made = trial(plain);
    const RunResult whole = made.start();
    const Outcome before = made.outcome();
    ASSERT_NE(before.witness, "");
    std::int64_t turn = 0;
    for (const json::value& call : before.shown.at("calls").as_array()) {
      if (call.at("name") == "kv_put") turn = call.at("turn").to_number<std::int64_t>();
    }
    ASSERT_GT(turn, 0);
    const std::string cut = std::to_string(turn - 1);
    const std::string name = fork ? "f" : "s";
    const RunResult gone_back =
        fork ? run_program({"sessions", "fork", "--json", "--store", made.store(), "s", "f", "--at", cut})
             : run_program({"sessions", "rewind", "--json", "--store", made.store(), "s", "--to", cut});
    ASSERT_EQ(gone_back.status, 0) << gone_back.err;
    auto report = parse_json(gone_back.out);
    ASSERT_TRUE(report);
    ASSERT_EQ(report->at("once_calls_behind").as_array().size(), 1U);
    ASSERT_EQ(report->at("repeating_needs_approval").as_array().size(), 1U);
    EXPECT_EQ(report->at("repeating_needs_approval").at(0).at("name"), "kv_put");
    const auto resume = [&] { return run_program({"resume", "--json", "--store", made.store(), name}); };
    RunResult result = resume();
    EXPECT_EQ(result.status, 3) << result.out << result.err;
    ASSERT_EQ(events(result, "approval_needed").size(), 1U);
    EXPECT_THAT(std::string(events(result, "approval_needed")[0].at("reason").as_string()), HasSubstr("may repeat"));
    EXPECT_EQ(made.witness(), before.witness);  // not doubled
    // Denied, and the same call once more: asked again. It still may repeat what was made.
    if (!fork) {
      ASSERT_EQ(run_program({"sessions", "settle", "--store", made.store(), name, "--deny"}).status, 0);
      result = resume();
      EXPECT_EQ(made.witness(), before.witness);
    } else {
      ASSERT_EQ(run_program({"sessions", "settle", "--store", made.store(), name, "--approve"}).status, 0);
      result = resume();
      EXPECT_EQ(result.status, whole.status) << result.out << result.err;
      EXPECT_EQ(made.witness(), before.witness + before.witness);  // a person wanted that
    }
  }
}

TEST_F(Approval, IsAskedAtATerminal) {
  const std::string guarded = agent("manifest", "once", "approve = true,");
  for (const bool allow : {true, false}) {
    const std::string store = folder_.file(allow ? "yes" : "no"), files = store + "-files";
    std::filesystem::create_directories(files);
    int terminal = -1;
    const pid_t pid = ::forkpty(&terminal, nullptr, nullptr, nullptr);
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      const std::string program = program_path();
      ::execl(program.c_str(), program.c_str(), "run", "--store", store.c_str(), "--session", "s", "--agent",
              guarded.c_str(), "--files", files.c_str(), "--seed", "11", witness_task().c_str(), nullptr);
      ::_exit(127);
    }
    std::string seen;
    char buffer[4096];
    std::size_t answered = 0;
    while (true) {
      pollfd ready{terminal, POLLIN, 0};
      if (::poll(&ready, 1, 60'000) <= 0) break;
      const ssize_t got = ::read(terminal, buffer, sizeof buffer);
      if (got <= 0) break;
      seen.append(buffer, static_cast<std::size_t>(got));
      const std::size_t asked = seen.find("allow it?", answered);
      if (asked == std::string::npos) continue;
      answered = asked + 1;
      const std::string line = allow ? "y\n" : "n not today\n";
      ASSERT_EQ(::write(terminal, line.data(), line.size()), static_cast<ssize_t>(line.size()));
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    ::close(terminal);
    EXPECT_GT(answered, 0U) << seen;
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(read_all(files + "/witness.txt") != "", allow) << seen;
    if (!allow) {
      EXPECT_THAT(seen, HasSubstr("not today"));
    }
  }
}

}  // namespace
}  // namespace longhaul::testing_support
