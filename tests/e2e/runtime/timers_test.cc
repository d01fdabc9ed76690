// Calls that sleep and that make steps once (`ctx.sleep`, `ctx.once`): the process may end meanwhile, be killed at any
// moment, and the trajectory is the one of a tool that did it all in one go; no step is made twice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "tests/support/setting.h"
#include "tests/support/trajectory_fixture.h"

namespace longhaul::testing_support {
namespace {

using testing::HasSubstr;

class Timers : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_builtin_model()) GTEST_SKIP() << "the built-in model is not in this checkout";
  }

  // kv_put as the model knows it, in two steps with a sleep between them.
  std::string agent(const std::string& name, const std::string& effect, const std::string& seconds) {
    const std::string folder = folder_.file(name);
    std::filesystem::create_directories(folder);
    write_witness_agent(folder, effect);
    std::string tool = read_all(folder + "/witness.lua");
    const std::size_t at = tool.find("  powers =");
    tool.resize(at);
    write_all(folder + "/witness.lua", tool + R"(powers = { notes = "write", files = "write", timer = true },
  run = function(args, ctx)
    ctx.once("line", function(key)
      local seen = ctx.files.read("witness.txt") or ""
      if seen:find(ctx.call_id .. " ", 1, true) then return true end
      assert(ctx.files.append("witness.txt", ctx.call_id .. " " .. args.key .. "=" .. args.value .. "\n"))
      return true
    end)
    ctx.sleep()" + seconds + R"()
    ctx.once("note", function() assert(ctx.notes.put(args.key, args.value)) end)
    return "ok"
  end,
}
)");
    return folder + "/agent.lua";
  }
  Trial trial(const std::string& agent_file) {
    return Trial(folder_.file("trial" + std::to_string(next_++)), agent_file, "0", "11");
  }
  Trial plain() {
    const std::string folder = folder_.file("plain");
    std::filesystem::create_directories(folder);
    write_witness_agent(folder, "idempotent");
    return trial(folder + "/agent.lua");
  }
  static RunResult resume_waiting(const Trial& trial, const RunOptions& options = {}) {
    return run_program({"resume", "--json", "--wait", "--store", trial.store(), "s"}, options);
  }

  TemporaryFolder folder_;
  int next_ = 0;
};

TEST_F(Timers, AToolThatSleepsDoesTheSameAsOneThatDoesNot) {
  const Trial whole = plain();
  const RunResult reference = whole.start();
  const Trial slept = trial(agent("short", "once", "0.05"));
  const RunResult result = slept.start();
  EXPECT_EQ(result.status, reference.status) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("\"event\":\"sleeping\""));
  expect_same(slept.outcome(), whole.outcome(), "slept");
  // More than a second: the model's state is let go of and comes back.
  const Trial longer = trial(agent("longer", "idempotent", "1.2"));
  EXPECT_EQ(longer.start().status, reference.status);
  expect_same(longer.outcome(), whole.outcome(), "let go");
}

TEST_F(Timers, ATimerThatIsNotDueIsSaidAndNothingRuns) {
  const Trial asleep = trial(agent("long", "once", "86400"));
  RunOptions interrupt;
  interrupt.interrupt_after = std::chrono::milliseconds(2500);
  const RunResult started = asleep.start(interrupt);
  EXPECT_EQ(started.status, 130) << started.out << started.err;
  const std::string witness = asleep.witness();
  EXPECT_NE(witness, "");
  const RunResult early = asleep.resume();
  EXPECT_EQ(early.status, 1);
  EXPECT_THAT(early.out, HasSubstr("\"event\":\"sleeping\""));
  EXPECT_THAT(early.out, HasSubstr("wake_ms"));
  const Outcome parked = asleep.outcome();
  EXPECT_GT(parked.shown.at("calls").as_array().back().at("sleeps_until_ms").to_number<std::int64_t>(), 0);
  interrupt.interrupt_after = std::chrono::milliseconds(1500);
  EXPECT_EQ(resume_waiting(asleep, interrupt).status, 130);
  EXPECT_EQ(asleep.witness(), witness);
  const RunResult list = run_program({"resume", "--store", asleep.store(), "s", "hello"});
  EXPECT_EQ(list.status, 1);  // it waits for a call, not for a message
}

TEST_F(Timers, KilledAtEveryStepTheEndIsTheSame) {
  const Trial whole = plain();
  const RunResult reference = whole.start();
  const Outcome expected = whole.outcome();
  for (const std::string effect : {"idempotent", "once"}) {
    const std::string agent_file = agent(effect, effect, "0.05");
    for (const auto& [point, doubt] : std::vector<std::pair<std::string, bool>>{{"step.before_write:1", true},
                                                                                {"step.after_write:1", true},
                                                                                {"sleep.before_write:1", true},
                                                                                {"sleep.after_write:1", false},
                                                                                {"wake.before_write:1", false},
                                                                                {"wake.after_write:1", true},
                                                                                {"step.after_write:2", true}}) {
      const std::string what = effect + " " + point;
      RunOptions fault;
      fault.environment = {{"LONGHAUL_FAULT", point}};
      const Trial cut = trial(agent_file);
      ASSERT_EQ(cut.start(fault).signal, SIGKILL) << what;
      RunResult result = resume_waiting(cut);
      EXPECT_EQ(result.status == 3, doubt && effect == "once") << what << result.out << result.err;
      if (result.status == 3) {
        // Nobody knows; the tool itself looks before it writes, so a person may well try again.
        ASSERT_EQ(run_program({"sessions", "settle", "--store", cut.store(), "s", "--retry"}).status, 0);
        result = resume_waiting(cut);
      }
      EXPECT_EQ(result.status, reference.status) << what << result.out << result.err;
      expect_same(cut.outcome(), expected, what);
    }
  }
}

TEST_F(Timers, KilledAtRandomMomentsTheEndIsTheSame) {
  const std::uint64_t kills = setting("LONGHAUL_KILLS", 10);
  std::mt19937_64 random(setting("LONGHAUL_SEED", 1));
  const Trial whole = plain();
  const RunResult reference = whole.start();
  const Outcome expected = whole.outcome();
  const std::string agent_file = agent("random", "idempotent", "0.05");
  const auto start = std::chrono::steady_clock::now();
  trial(agent_file).start();
  const auto took =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start).count();
  std::uint64_t killed = 0;
  while (killed < kills) {
    const Trial cut = trial(agent_file);
    for (bool first = true;; first = false) {
      RunOptions options;
      options.kill_after = std::chrono::microseconds(random() % static_cast<std::uint64_t>(took + took / 4));
      RunResult result = first ? cut.start(options) : cut.go_on(options);
      if (result.signal == 0 && result.out.find("\"event\":\"sleeping\"") != std::string::npos && result.status == 1) {
        result = resume_waiting(cut);  // cut off asleep
      }
      if (result.signal == 0) {
        ASSERT_EQ(result.status, reference.status) << result.out << result.err;
        break;
      }
      ++killed;
    }
    expect_same(cut.outcome(), expected, "kill " + std::to_string(killed));
    if (HasFailure()) return;
  }
}

TEST_F(Timers, ToolsCallAndTestTakeNoTimeToSleep) {
  const std::string path = folder_.file("nap.lua");
  write_all(path, R"(return {
  name = "nap", description = "d", effect = "once", powers = { timer = true, clock = true },
  parameters = [[{"type":"object","properties":{},"additionalProperties":false}]],
  run = function(args, ctx)
    local began = ctx.once("began", function() return ctx.clock.unix_ms() end)
    ctx.sleep(3600)
    ctx.sleep_until((began + 7200000) / 1000)
    return math.floor((ctx.clock.unix_ms() - began) / 60000)
  end,
  tests = { { args = {}, result = "120" } },
})");
  const RunResult called = run_program({"tools", "call", path, "{}"});
  EXPECT_EQ(called.status, 0) << called.err;
  EXPECT_EQ(called.out, "120\n");
  EXPECT_EQ(run_program({"tools", "test", path}).status, 0);
}

}  // namespace
}  // namespace longhaul::testing_support
