#include "sandbox/powers/steps.h"

#include <gmock/gmock.h>

#include "tests/unit/sandbox/sandbox_fixture.h"

namespace longhaul::sandbox {
namespace {

using Kind = CallOutcome::Kind;
using ::testing::HasSubstr;

class StepsTest : public SandboxTest {
 protected:
  // One run of the call, as the runtime would make it.
  CallOutcome run_once_more(const std::string& body, bool strict = false) {
    Notes notes({});
    Steps steps(journal_.steps, journal_.wake_ms, &notes, clock_, journal_, strict);
    ScriptedPowers files;
    files.on_call = [&](const HostCall& call) {
      ++effects_[call.args[0]];
      return HostAnswer::of(true);
    };
    struct Effects : Power {
      HostPowers& inner;
      explicit Effects(HostPowers& powers) : inner(powers) {}
      HostAnswer answer(const HostCall& call) override { return inner.answer(call); }
    } effects(files);
    PowerSet powers;
    powers.set("notes", notes);
    powers.set("files", effects);
    powers.set("steps", steps);
    powers.set("timer", steps);
    RecordingPowers watched(powers, [&](const HostCall& call, const HostAnswer&) { steps.saw(call); });
    const CallOutcome outcome = pool_->call(script(body, "{notes='write', files='write', timer=true}"), {}, watched);
    notes_.clear();
    for (const auto& [key, value] : notes.notes()) notes_ += key + "=" + value + ";";
    failed_ = steps.failed().has_value();
    return outcome;
  }

  KeptInMemory journal_;
  FixedClock clock_;
  std::map<std::string, int> effects_;
  std::string notes_;
  bool failed_ = false;
};

TEST_F(StepsTest, AStepIsMadeOnceOverAllRuns) {
  const std::string body = R"(
    local v = ctx.once("draft", function(key)
      ctx.notes.put("k", key:sub(-6))
      ctx.files.append("out", key)
      return { text = "hello", n = 2, list = { 1, 2.5, false } }
    end)
    ctx.sleep(10)
    return v.text .. v.n .. #v.list .. tostring(v.list[3]))";
  EXPECT_EQ(run_once_more(body, true).kind, Kind::kSleeping);
  EXPECT_EQ(journal_.steps.size(), 1U);
  ASSERT_EQ(journal_.wake_ms.size(), 1U);
  EXPECT_EQ(journal_.wake_ms[0], clock_.now_ms + 10'000);
  clock_.now_ms += 9'999;
  EXPECT_EQ(run_once_more(body, true).kind, Kind::kSleeping);  // too early: the same timer
  EXPECT_EQ(journal_.wake_ms.size(), 1U);
  clock_.now_ms += 1;
  const CallOutcome outcome = run_once_more(body, true);
  EXPECT_EQ(outcome.kind, Kind::kOk) << outcome.text;
  EXPECT_EQ(outcome.text, "hello23false");
  EXPECT_EQ(effects_["out"], 1);
  EXPECT_EQ(notes_, "k=/draft;");  // the note of the step is there, too
}

TEST_F(StepsTest, TheValueIsTheSameWhetherMadeOrRemembered) {
  const std::string plain = R"(
    local v = ctx.once("v", function() return { a = 1, b = 2.0, c = 1e300, d = "x" } end)
    return tostring(v.a) .. " " .. tostring(v.b) .. " " .. tostring(v.c) .. " " .. v.d .. " " .. tostring(v.e))";
  const std::string first = run_once_more(plain).text;
  EXPECT_EQ(run_once_more(plain).text, first);
  EXPECT_THAT(first, HasSubstr("x nil"));
}

TEST_F(StepsTest, NilIsAValueAndNilWithATextIsAFailure) {
  EXPECT_EQ(run_once_more("return tostring(ctx.once('n', function() ctx.files.append('n', '') end))").text, "nil");
  EXPECT_EQ(run_once_more("return tostring(ctx.once('n', function() ctx.files.append('n', '') end))").text, "nil");
  EXPECT_EQ(effects_["n"], 1);
  const std::string fails = "return ctx.once('f', function() ctx.files.append('f', '') return nil, 'later' end)";
  EXPECT_EQ(run_once_more(fails).text, "later");
  EXPECT_EQ(run_once_more(fails).kind, Kind::kToolError);
  EXPECT_EQ(effects_["f"], 2);
}

TEST_F(StepsTest, ATimeThatHasPassedIsNoSleep) {
  const CallOutcome outcome = run_once_more("ctx.sleep(0) ctx.sleep_until(1) ctx.sleep_until(-5) return 'on'");
  EXPECT_EQ(outcome.text, "on");
  EXPECT_TRUE(journal_.wake_ms.empty());
  // Numbers of timers stay what they are.
  const std::string body = "ctx.sleep(0) ctx.sleep(5) ctx.sleep(7) return 'on'";
  EXPECT_EQ(run_once_more(body).kind, Kind::kSleeping);
  clock_.now_ms += 5'000;
  EXPECT_EQ(run_once_more(body).kind, Kind::kSleeping);
  clock_.now_ms += 7'000;
  EXPECT_EQ(run_once_more(body).text, "on");
  EXPECT_EQ(journal_.wake_ms.size(), 2U);
}

TEST_F(StepsTest, AnEffectOutsideAStepForbidsAOnceCallToSleep) {
  const std::string body = "ctx.files.append('x', '') ctx.sleep(5) return 'on'";
  EXPECT_THAT(run_once_more(body, true).text, HasSubstr("put it into ctx.once"));
  EXPECT_EQ(run_once_more(body, false).kind, Kind::kSleeping);
  // Of a step that failed, too.
  EXPECT_THAT(
      run_once_more("pcall(ctx.once, 'a', function() ctx.files.append('x', '') error('no') end) ctx.sleep(6)", true)
          .text,
      HasSubstr("put it into ctx.once"));
}

TEST_F(StepsTest, WhatCannotBeRecordedEndsTheRun) {
  journal_.refuse = true;
  const CallOutcome outcome = run_once_more(R"(
    pcall(ctx.once, "a", function() return 1 end)
    pcall(ctx.sleep, 5)
    return "went on")");
  EXPECT_TRUE(failed_);  // the runtime does not use such a result
  EXPECT_TRUE(journal_.steps.empty());
  EXPECT_TRUE(journal_.wake_ms.empty());
}

TEST_F(StepsTest, SleepingNeedsItsPower) {
  Notes notes({});
  Steps steps({}, {}, &notes, clock_, journal_, false);
  PowerSet powers;
  powers.set("steps", steps);
  powers.set("timer", steps);
  const CallOutcome outcome = pool_->call(script("ctx.sleep(5) return 'on'", "{}"), {}, powers);
  EXPECT_EQ(outcome.kind, Kind::kToolError);
  EXPECT_THAT(outcome.text, HasSubstr("timer = true"));
  EXPECT_EQ(pool_->call(script("return ctx.once('a', function() return 7 end)", "{}"), {}, powers).text, "7");
}

}  // namespace
}  // namespace longhaul::sandbox
