#include "runtime/trajectory_state.h"

#include <gtest/gtest.h>

namespace longhaul::runtime {
namespace {

using namespace sessions;

class TrajectoryStateTest : public testing::Test {
 protected:
  void apply(const Record& record) {
    auto ok = state_.apply(record);
    ASSERT_TRUE(ok) << ok.error().message;
  }
  void refuse(const Record& record) {
    auto ok = state_.apply(record);
    ASSERT_FALSE(ok);
    EXPECT_EQ(ok.error().code, ErrorCode::kCorruption);
  }
  void start_turn(std::uint64_t turn) {
    apply(TurnStarted{turn});
    apply(TokensFed{{3, 4}, {}});
  }
  void ask() {
    apply(SessionCreated{"model", "cpu", 7, R"({"system":"S"})"});
    apply(UserMessage{"hello"});
    apply(TokensFed{{1, 2}, {}});
  }

  TrajectoryState state_;
};

TEST_F(TrajectoryStateTest, WalksThroughAnExchangeWithACall) {
  ask();
  EXPECT_EQ(state_.phase, Phase::kReady);
  EXPECT_EQ(state_.exchange_begin, 2U);
  start_turn(1);
  EXPECT_EQ(state_.phase, Phase::kGenerating);
  apply(TokensSampled{0, {9, 8}, {}});
  apply(TokensSampled{2, {7}, {}});
  EXPECT_EQ(state_.n_context, 7U);
  apply(AssistantMessage{R"({"calls":[{"name":"put","arguments":{"k":"a"}}]})"});
  EXPECT_EQ(state_.phase, Phase::kCalls);
  refuse(TokensFed{{5}, {}});  // results first
}

TEST_F(TrajectoryStateTest, CallsGoThroughIntentDoubtAndSettlement) {
  ask();
  start_turn(1);
  apply(TokensSampled{0, {9}, {}});
  apply(AssistantMessage{R"({"calls":[{"name":"put","arguments":{}},{"name":"get","arguments":{}}]})"});
  apply(CallIntent{0, "call_0", "key", "put", "{}", Effect::kOnce});
  EXPECT_TRUE(state_.calls[0].intent_open);
  apply(InDoubt{0, "killed"});
  EXPECT_TRUE(state_.in_doubt());
  refuse(Settled{1, Settlement::kSkip, ""});
  apply(Settled{0, Settlement::kRetry, ""});
  EXPECT_FALSE(state_.in_doubt());
  EXPECT_TRUE(state_.calls[0].retry);
  EXPECT_FALSE(state_.calls[0].intent_open);
  apply(CallIntent{0, "call_0", "key", "put", "{}", Effect::kOnce});
  EXPECT_TRUE(state_.calls[0].intent_open);  // killed from here on, it is in doubt again
  EXPECT_FALSE(state_.calls[0].retry);
  EXPECT_EQ(state_.n_calls, 1U);
  apply(CallResult{0, "ok", "done", R"({"a":"1"})", ""});
  refuse(CallResult{0, "ok", "done", "", ""});
  apply(CallIntent{1, "call_1", "key1", "get", "{}", Effect::kRead});
  apply(CallResult{1, "error", "error: no", R"({"a":null})", ""});
  apply(TokensFed{{5, 6}, {}});
  EXPECT_EQ(state_.phase, Phase::kTurnFed);
  EXPECT_EQ(state_.messages.back().header, 2U);
  EXPECT_EQ(state_.messages.back().begin, 4U);
  EXPECT_EQ(state_.messages.back().end, 5U);
  EXPECT_EQ(state_.messages.back().after, 7U);
  apply(TurnCommitted{1, 7, {}, false, {}});
  EXPECT_EQ(state_.phase, Phase::kReady);
}

TEST_F(TrajectoryStateTest, ResetCutsTheContextOfTheNextMessage) {
  ask();
  start_turn(1);
  apply(TokensSampled{0, {9}, {}});
  apply(AssistantMessage{R"({"content":"x","calls":[]})"});
  apply(TokensFed{{5}, {}});
  apply(Answer{"x"});
  apply(TurnCommitted{1, 6, {}, false, {}});
  EXPECT_EQ(state_.phase, Phase::kIdle);
  refuse(ContextReset{2, "reasoning"});
  apply(UserMessage{"more"});
  refuse(ContextReset{99, "reasoning"});
  apply(ContextReset{2, "reasoning"});
  EXPECT_EQ(state_.n_context, 2U);
  apply(TokensFed{{9, 5, 1}, {}});
  EXPECT_EQ(state_.exchange_begin, 5U);
  EXPECT_TRUE(state_.messages.empty());
  EXPECT_EQ(state_.turn, 1U);
  EXPECT_EQ(state_.exchange_turns, 0U);
}

TEST_F(TrajectoryStateTest, CompactionMovesTheMessages) {
  ask();
  start_turn(1);
  apply(TokensSampled{0, {9}, {}});
  apply(AssistantMessage{R"({"calls":[{"name":"get","arguments":{}}]})"});
  apply(CallIntent{0, "c", "k", "get", "{}", Effect::kRead});
  apply(CallResult{0, "ok", "long", "", ""});
  refuse(ContextReset{5, "results"});  // not while the turn is open
  apply(TokensFed{{5, 6, 7, 8}, {}});
  apply(TurnCommitted{1, 9, {}, false, {}});
  EXPECT_EQ(state_.messages[0].ordinals, (std::vector<std::uint64_t>{0}));
  refuse(Compacted{0, {{2, 4, 5, 7}}, {0}});  // nothing was reset
  apply(ContextReset{5, "results"});
  apply(TokensFed{{5, 6}, {}});
  refuse(Compacted{1, {{2, 4, 5, 7}}, {0}});
  refuse(Compacted{0, {{2, 4, 5, 8}}, {0}});  // not where the context ends
  refuse(Compacted{0, {{4, 2, 5, 7}}, {0}});
  apply(Compacted{0, {{2, 4, 5, 7}}, {0}});
  EXPECT_EQ(state_.messages[0].after, 7U);
  EXPECT_EQ(state_.n_context, 7U);
  EXPECT_TRUE(state_.dropped.contains(0));
  // Results before the exchange leave too: it has moved, and its first message begins where it begins.
  const std::size_t begin = state_.exchange_begin;
  ASSERT_EQ(state_.messages[0].header, begin);
  TrajectoryState moved = state_;
  ASSERT_TRUE(moved.apply(ContextReset{0, "results"}).has_value());
  ASSERT_TRUE(moved.apply(TokensFed{{1, 9, 5, 6, 7, 8}, {}}).has_value());
  EXPECT_FALSE(moved.apply(Compacted{0, {{begin - 1, 3, 4, 5}}, {0}}).has_value());  // not where the context ends
  EXPECT_EQ(moved.exchange_begin, begin);
  ASSERT_TRUE(moved.apply(Compacted{0, {{begin - 1, 3, 4, 6}}, {0}}).has_value());
  EXPECT_EQ(moved.exchange_begin, begin - 1);
  EXPECT_EQ(moved.messages[0].header, begin - 1);
  start_turn(2);
  EXPECT_EQ(state_.messages[1].header, 7U);
}

TEST_F(TrajectoryStateTest, RefusesRecordsOutOfPlace) {
  refuse(TurnStarted{1});
  ask();
  refuse(TokensSampled{0, {1}, {}});
  start_turn(1);
  refuse(AssistantMessage{"not json"});
  refuse(AssistantMessage{R"({"calls":[{"name":1}]})"});
  refuse(UserMessage{"again"});
}

TEST_F(TrajectoryStateTest, CountsEqualCallsAndMergesChangedSettings) {
  ask();
  for (std::uint64_t turn = 1; turn <= 3; ++turn) {
    start_turn(turn);
    apply(TokensSampled{turn - 1, {9}, {}});
    apply(AssistantMessage{R"({"calls":[{"name":"get","arguments":{"k":"a"}}]})"});
    apply(CallIntent{turn - 1, "c", "k", "get", "{}", Effect::kRead});
    apply(CallResult{turn - 1, "error", "error: no", "", ""});
    EXPECT_EQ(state_.equal_calls, static_cast<int>(turn));
    apply(TokensFed{{5}, {}});
    apply(TurnCommitted{turn, 0, {}, false, {}});
  }
  apply(Note{R"({"settings":{"reasoning":"off"}})"});
  EXPECT_EQ(state_.settings.at("reasoning").as_string(), "off");
  EXPECT_EQ(state_.settings.at("system").as_string(), "S");
}

TEST_F(TrajectoryStateTest, AReachedLimitGrantsAsMuchAgainAndAnInterruptDoesNot) {
  ask();
  auto turn = [&](std::uint64_t n, const std::string& key) {
    start_turn(n);
    apply(TokensSampled{n - 1, {9}, {}});
    apply(AssistantMessage{R"({"calls":[{"name":"get","arguments":{"k":")" + key + R"("}}]})"});
    apply(CallIntent{n - 1, "c", "k", "get", "{}", Effect::kRead});
    apply(CallResult{n - 1, "ok", "1", "", ""});
    apply(TokensFed{{5}, {}});
    apply(TurnCommitted{n, 0, {}, false, {}});
  };
  turn(1, "a");
  turn(2, "a");
  apply(Suspended{"interrupted"});
  EXPECT_EQ(state_.granted_turns, 0U);
  EXPECT_EQ(state_.granted_equal_calls, 0);
  refuse(UserMessage{"before it is done"});
  apply(Suspended{"limit of 2 turns"});
  EXPECT_TRUE(state_.takes_message());
  EXPECT_EQ(state_.granted_turns, 2U);
  EXPECT_EQ(state_.granted_equal_calls, 2);
  turn(3, "a");
  EXPECT_FALSE(state_.takes_message()) << "another turn has begun";
  EXPECT_EQ(state_.equal_calls - state_.granted_equal_calls, 1);
  turn(4, "b");  // another call: the count begins anew
  EXPECT_EQ(state_.equal_calls - state_.granted_equal_calls, 1);
  apply(Suspended{"limit of 2 turns"});
  TrajectoryState asked = state_;
  ASSERT_TRUE(asked.apply(UserMessage{"something else"}).has_value());
  EXPECT_EQ(asked.phase, Phase::kUserPending);
  ASSERT_TRUE(asked.apply(ContextReset{1, ""}).has_value());
  ASSERT_TRUE(asked.apply(TokensFed{{5, 6}, {}}).has_value());
  EXPECT_TRUE(asked.messages.empty());
  EXPECT_EQ(asked.granted_turns, 0U);
  start_turn(5);
  apply(Suspended{"interrupted"});
  EXPECT_EQ(state_.granted_turns, 4U);
}

}  // namespace
}  // namespace longhaul::runtime
