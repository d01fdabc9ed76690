// A session's life: what is appended comes back, what is committed resumes exactly, and going back goes back.
#include "sessions/session.h"

#include <gtest/gtest.h>

#include "sessions/session_manager.h"
#include "sessions/thinning.h"
#include "tests/support/sessions/fake_clock.h"
#include "tests/support/sessions/fake_model.h"
#include "tests/support/sessions/temp_folder.h"

namespace longhaul::sessions {
namespace {

using test::state_after;

class SessionTest : public ::testing::Test {
 protected:
  void SetUp() override { open(); }
  void TearDown() override { close(); }

  void open(StoreOptions options = {}) {
    options.clock = &clock_;
    auto manager = SessionManager::open(folder_ / "store", options);
    ASSERT_TRUE(manager.has_value()) << manager.error().message;
    manager_ = std::move(*manager);
  }
  void close() {
    session_.reset();
    manager_.reset();
  }
  void create(const std::string& name) {
    auto session = manager_->create(name, request_);
    ASSERT_TRUE(session.has_value()) << session.error().message;
    session_ = std::move(*session);
  }
  void reopen(const std::string& name) {
    close();
    open();
    auto session = manager_->open_session(name, request_.identity);
    ASSERT_TRUE(session.has_value()) << session.error().message;
    session_ = std::move(*session);
  }
  // A turn: the user's words are fed, n tokens are sampled, all is committed.
  model::SequenceState run_turn(model::SequenceState state, std::size_t n_fed, std::size_t n_sampled,
                                CommitRequest request = {}) {
    EXPECT_TRUE(session_->append(UserMessage{"go on"}).has_value());
    EXPECT_TRUE(session_->append(TurnStarted{session_->context().next_turn()}).has_value());
    std::vector<TokenId> ids(n_fed);
    for (std::size_t i = 0; i < n_fed; ++i) ids[i] = static_cast<TokenId>(1000 + i);
    EXPECT_TRUE(session_->feed_tokens(ids).has_value());
    test::feed(state, ids);
    for (std::size_t i = 0; i < n_sampled; ++i) {
      const std::uint64_t draw = session_->context().n_draws();
      const TokenId id = test::draw_token(state, session_->context().seed(), draw);
      EXPECT_TRUE(session_->sample_token(id, draw).has_value());
      test::feed(state, std::span(&id, 1));
    }
    request.state = &state;
    auto report = session_->commit(request);
    EXPECT_TRUE(report.has_value()) << report.error().message;
    last_report_ = *report;
    return state;
  }
  void expect_resumes_exactly(std::uint64_t limit = UINT64_MAX) {
    auto loaded = session_->load_state(limit);
    ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
    model::SequenceState state = loaded->state ? std::move(*loaded->state) : model::SequenceState(request_.layout);
    EXPECT_EQ(static_cast<std::uint64_t>(state.position()), loaded->position);
    test::feed(state, loaded->tokens_to_feed);
    const auto& tokens = session_->context().tokens();
    const std::size_t end = std::min<std::uint64_t>(limit, tokens.size());
    EXPECT_TRUE(state.same_as(state_after(request_.layout, std::span(tokens).first(end))));
    std::uint64_t sum = 0;
    for (const std::uint32_t n : loaded->split) sum += n;
    EXPECT_EQ(sum, loaded->tokens_to_feed.size());
  }
  void expect_sound() {
    auto report = manager_->verify();
    ASSERT_TRUE(report.has_value()) << report.error().message;
    for (const Problem& p : report->problems) ADD_FAILURE() << p.session << ": " << p.place << ": " << p.message;
  }

  test::TempFolder folder_;
  test::FakeClock clock_;
  CreateRequest request_{{"model-a", "cpu-f32"}, test::small_layout(), 7, "{\"temperature\":1}"};
  std::unique_ptr<SessionManager> manager_;
  std::unique_ptr<Session> session_;
  CommitReport last_report_;
};

TEST_F(SessionTest, KeepsWhatWasAppendedOverReopening) {
  create("a");
  ASSERT_TRUE(session_->append(UserMessage{"hello"}).has_value());
  ASSERT_TRUE(session_->feed_tokens(std::vector<TokenId>{1, 2, 3}).has_value());
  ASSERT_TRUE(session_->sample_token(9, 0).has_value());
  ASSERT_TRUE(session_->sample_token(8, 1).has_value());
  reopen("a");
  EXPECT_EQ(session_->context().tokens(), (std::vector<TokenId>{1, 2, 3, 9, 8}));
  EXPECT_EQ(session_->context().n_draws(), 2U);
  EXPECT_EQ(session_->context().seed(), 7U);
  EXPECT_EQ(session_->context().settings_json(), "{\"temperature\":1}");
  EXPECT_EQ(session_->context().split_from(1), (std::vector<std::uint32_t>{2, 1, 1}));
  EXPECT_EQ(session_->context().status(), SessionStatus::kRunning);
  expect_sound();
}

TEST_F(SessionTest, ResumesExactlyFromACommit) {
  create("a");
  auto state = run_turn(model::SequenceState(request_.layout), 200, 150);
  EXPECT_TRUE(last_report_.state_stored);
  EXPECT_EQ(last_report_.pages_stored, 4U);  // two full pages, two layers
  state = run_turn(std::move(state), 60, 100);
  EXPECT_EQ(last_report_.pages_stored, 2U);  // only the new one
  reopen("a");
  EXPECT_EQ(session_->context().turns().size(), 2U);
  auto loaded = session_->load_state();
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  EXPECT_EQ(loaded->position, 510U);
  EXPECT_TRUE(loaded->tokens_to_feed.empty());
  EXPECT_TRUE(loaded->state->same_as(state));
  expect_resumes_exactly(400);
  expect_resumes_exactly(10);
  expect_sound();
}

TEST_F(SessionTest, LargeCommitsAreIngestedAndResumeTheSame) {
  close();
  StoreOptions options;
  options.ingest_bytes_min = 1;
  open(options);
  create("a");
  auto state = run_turn(model::SequenceState(request_.layout), 300, 5);
  state = run_turn(std::move(state), 300, 5);
  reopen("a");
  auto loaded = session_->load_state();
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  EXPECT_TRUE(loaded->state->same_as(state));
  expect_sound();
}

TEST_F(SessionTest, GoingBackDropsTokensAndKeepsEvents) {
  create("a");
  auto state = run_turn(model::SequenceState(request_.layout), 140, 30);
  const std::uint64_t draws = session_->context().n_draws();
  const std::uint64_t sequence = session_->context().sequence();
  auto report = session_->reset_context(150, "reasoning dropped");
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(session_->context().tokens().size(), 150U);
  EXPECT_EQ(session_->context().n_draws(), draws);
  EXPECT_EQ(session_->context().turns().size(), 1U);
  EXPECT_EQ(session_->context().sequence(), sequence + 1);
  // The state at 170 is of another context now; there is none before it.
  expect_resumes_exactly();
  auto again = state_after(request_.layout, session_->context().tokens());
  again = run_turn(std::move(again), 200, 3);
  EXPECT_EQ(last_report_.pages_stored, 2U);  // page 0 is shared with the time before
  expect_resumes_exactly();
  const auto tokens = session_->context().tokens();
  reopen("a");
  EXPECT_EQ(session_->context().tokens(), tokens);
  auto loaded = session_->load_state();
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  EXPECT_TRUE(loaded->state->same_as(again));
  expect_sound();
}

TEST_F(SessionTest, RewindsToTurnsAndTokens) {
  create("a");
  auto state = run_turn(model::SequenceState(request_.layout), 100, 20);
  state = run_turn(std::move(state), 100, 20);
  run_turn(std::move(state), 100, 20);
  const auto tokens = session_->context().tokens();
  const Digest first = session_->context().turns()[0].digest;
  ASSERT_TRUE(session_->rewind(Cut::at_turn(2)).has_value());
  EXPECT_EQ(session_->context().tokens().size(), 240U);
  EXPECT_EQ(session_->context().turns().size(), 2U);
  expect_resumes_exactly();
  // Into the middle of the prompt of turn 2, one record.
  ASSERT_TRUE(session_->rewind(Cut::at_token(155)).has_value());
  EXPECT_EQ(session_->context().tokens(), std::vector<TokenId>(tokens.begin(), tokens.begin() + 155));
  EXPECT_EQ(session_->context().n_draws(), 20U);
  expect_resumes_exactly();
  // To where turn 1 ended: the turn is in.
  ASSERT_TRUE(session_->rewind(Cut::at_token(120)).has_value());
  ASSERT_EQ(session_->context().turns().size(), 1U);
  EXPECT_EQ(session_->context().digest(), first);
  reopen("a");
  expect_resumes_exactly();
  ASSERT_TRUE(session_->rewind(Cut::at_token(0)).has_value());
  EXPECT_TRUE(session_->context().tokens().empty());
  auto beyond = session_->rewind(Cut::at_token(1));
  ASSERT_FALSE(beyond.has_value());
  EXPECT_EQ(beyond.error().code, ErrorCode::kInvalidArgument);
  beyond = session_->rewind(Cut::at_turn(1));
  ASSERT_FALSE(beyond.has_value());
  expect_sound();
}

TEST_F(SessionTest, AForkGoesItsOwnWayAndSharesThePast) {
  create("a");
  auto state = run_turn(model::SequenceState(request_.layout), 300, 10);
  auto fork_state = state.clone();
  ASSERT_TRUE(manager_->fork("a", "b").has_value());  // while it is open
  run_turn(std::move(state), 50, 50);
  const auto a_tokens = session_->context().tokens();
  session_.reset();
  auto b = manager_->open_session("b", request_.identity);
  ASSERT_TRUE(b.has_value()) << b.error().message;
  session_ = std::move(*b);
  auto loaded = session_->load_state();
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  EXPECT_TRUE(loaded->state->same_as(fork_state));
  run_turn(std::move(fork_state), 70, 90);
  EXPECT_EQ(session_->context().tokens().size(), 470U);
  expect_resumes_exactly();
  reopen("a");
  EXPECT_EQ(session_->context().tokens(), a_tokens);
  expect_resumes_exactly();
  expect_sound();
}

TEST_F(SessionTest, ForkMayChangeTheSeed) {
  create("a");
  run_turn(model::SequenceState(request_.layout), 10, 10);
  ASSERT_TRUE(manager_->fork("a", "b", Cut::at_turn(1), 99).has_value());
  auto details = manager_->show("b");
  ASSERT_TRUE(details.has_value()) << details.error().message;
  EXPECT_EQ(details->context.seed(), 99U);
  EXPECT_EQ(details->entry.origin, "a");
  EXPECT_EQ(session_->context().seed(), 7U);
}

TEST_F(SessionTest, CollectsWhatNobodyUsesAndNothingElse) {
  create("a");
  auto state = run_turn(model::SequenceState(request_.layout), 300, 10);
  ASSERT_TRUE(manager_->fork("a", "b", Cut::at_token(200)).has_value());
  run_turn(std::move(state), 300, 10);
  session_.reset();
  ASSERT_TRUE(manager_->remove("a").has_value());
  auto report = manager_->gc();
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_GT(report->pages, 0U);
  EXPECT_GT(report->records, 0U);
  EXPECT_EQ(report->branches, 0U);  // b's past runs through a's branch
  reopen("b");
  EXPECT_EQ(session_->context().tokens().size(), 200U);
  expect_resumes_exactly();
  expect_sound();
  // Page 0 of the dead session is still used: a new state of b need not write it again.
  run_turn(state_after(request_.layout, session_->context().tokens()), 10, 1);
  EXPECT_EQ(last_report_.pages_stored, 0U);
  expect_resumes_exactly();
  session_.reset();
  ASSERT_TRUE(manager_->remove("b").has_value());
  report = manager_->gc();
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(report->branches, 2U);
  auto empty = manager_->verify();
  ASSERT_TRUE(empty.has_value());
  EXPECT_EQ(empty->sessions, 0U);
  EXPECT_EQ(empty->unreachable_branches, 0U);
  EXPECT_TRUE(empty->problems.empty());
}

TEST_F(SessionTest, ThinsStatesAndStillReachesEveryTurn) {
  create("a");
  model::SequenceState state(request_.layout);
  for (int i = 0; i < 60; ++i) state = run_turn(std::move(state), 70, 5);
  auto details = manager_->show("a");
  ASSERT_TRUE(details.has_value());
  EXPECT_LE(details->n_states, 15U);
  EXPECT_GE(details->n_states, 8U);
  for (const std::uint64_t turn : {55, 30, 7, 1}) {
    ASSERT_TRUE(manager_->fork("a", "t" + std::to_string(turn), Cut::at_turn(turn)).has_value());
  }
  session_.reset();
  for (const std::uint64_t turn : {55, 30, 7, 1}) {
    reopen("t" + std::to_string(turn));
    EXPECT_EQ(session_->context().tokens().size(), turn * 75);
    expect_resumes_exactly();
  }
  expect_sound();
}

TEST(Thinning, KeepsTheNewestAndLogarithmicallyManyOthers) {
  std::vector<std::uint64_t> kept;
  for (std::uint64_t newest = 0; newest < 5000; ++newest) {
    kept.push_back(newest);
    std::vector<std::uint64_t> next;
    for (const std::uint64_t n : kept) {
      if (keep_state(n, newest)) next.push_back(n);
    }
    kept = next;
    for (std::uint64_t age = 0; age < kNewestStatesKept && age <= newest; ++age) {
      ASSERT_TRUE(std::find(kept.begin(), kept.end(), newest - age) != kept.end()) << newest << " " << age;
    }
    ASSERT_LE(kept.size(), 30U) << newest;
    // No hole is much larger than it is old.
    for (std::size_t i = 0; i + 1 < kept.size(); ++i) {
      ASSERT_LE(kept[i + 1] - kept[i], std::max<std::uint64_t>(2, newest - kept[i])) << newest;
    }
  }
}

TEST_F(SessionTest, PinnedStatesStayUntilTheNext) {
  create("a");
  CommitRequest pinned;
  pinned.pin = true;
  model::SequenceState state = run_turn(model::SequenceState(request_.layout), 65, 1, pinned);
  for (int i = 0; i < 20; ++i) state = run_turn(std::move(state), 65, 1);
  auto loaded = session_->load_state(66);
  ASSERT_TRUE(loaded.has_value());
  EXPECT_EQ(loaded->position, 66U);
  ASSERT_TRUE(session_->save_state(state, true).has_value());
  ASSERT_TRUE(session_->commit({}).has_value());
  reopen("a");
  expect_resumes_exactly();
  expect_sound();
}

TEST_F(SessionTest, StatePolicyCountsTokensAndTime) {
  create("a");
  auto state = run_turn(model::SequenceState(request_.layout), 10, 1);
  EXPECT_TRUE(last_report_.state_stored);  // the first
  state = run_turn(std::move(state), 10, 1);
  EXPECT_FALSE(last_report_.state_stored);
  clock_.now_ms += 10'000;
  state = run_turn(std::move(state), 10, 1);
  EXPECT_TRUE(last_report_.state_stored);
  state = run_turn(std::move(state), 64, 1);
  EXPECT_TRUE(last_report_.state_stored);
  CommitRequest never;
  never.wish = StateWish::kNever;
  run_turn(std::move(state), 640, 1, never);
  EXPECT_FALSE(last_report_.state_stored);
  reopen("a");
  expect_resumes_exactly();
  expect_sound();
}

TEST_F(SessionTest, CallsGoThroughIntentResultDoubtAndSettling) {
  create("a");
  ASSERT_TRUE(session_->append(TurnStarted{1}).has_value());
  const std::string key = session_->idempotency_key();
  ASSERT_TRUE(session_->append(CallIntent{0, "call-0", key, "append", "{\"x\":1}", Effect::kOnce}).has_value());
  EXPECT_NE(session_->idempotency_key(), key);
  EXPECT_EQ(session_->context().open_calls(), (std::vector<std::uint64_t>{0}));
  ASSERT_TRUE(session_->append(InDoubt{0, "the process ended in between"}).has_value());
  EXPECT_EQ(session_->context().status(), SessionStatus::kInDoubt);
  auto early = manager_->settle("a", Settlement::kSkip);
  ASSERT_FALSE(early.has_value());
  EXPECT_EQ(early.error().code, ErrorCode::kConflict);
  session_.reset();
  auto wrong = manager_->settle("a", Settlement::kDone, "not json");
  ASSERT_FALSE(wrong.has_value());
  auto settled = manager_->settle("a", Settlement::kDone, "{\"ok\":true}");
  ASSERT_TRUE(settled.has_value()) << settled.error().message;
  auto twice = manager_->settle("a", Settlement::kRetry);
  ASSERT_FALSE(twice.has_value());
  EXPECT_EQ(twice.error().code, ErrorCode::kInvalidArgument);
  reopen("a");
  const Call& call = session_->context().calls()[0];
  EXPECT_EQ(call.intent.idempotency_key, key);
  ASSERT_TRUE(call.settled.has_value());
  EXPECT_EQ(call.settled->how, Settlement::kDone);
  ASSERT_TRUE(session_->append(CallResult{0, "ok", "done", "{\"seen\":2,\"gone\":null}", "[]"}).has_value());
  EXPECT_EQ(session_->context().notes_json(), "{\"seen\":2}");
  EXPECT_TRUE(session_->context().open_calls().empty());
  ASSERT_TRUE(session_->commit({}).has_value());
  auto report = session_->rewind(Cut::at_turn(0));
  ASSERT_TRUE(report.has_value());
  ASSERT_EQ(report->once_calls.size(), 1U);
  EXPECT_EQ(report->once_calls[0].intent.tool, "append");
  expect_sound();
}

TEST_F(SessionTest, ACallThatNeedsApprovalWaitsForIt) {
  create("a");
  ASSERT_TRUE(session_->append(TurnStarted{1}).has_value());
  EXPECT_FALSE(session_->append(ApprovalGiven{0, Verdict::kApprove, ""}).has_value());
  EXPECT_FALSE(session_->append(ApprovalNeeded{1, "call-1", "append", "{}", "why"}).has_value());
  ASSERT_TRUE(session_->append(ApprovalNeeded{0, "call-0", "append", "{}", "why"}).has_value());
  EXPECT_EQ(session_->context().status(), SessionStatus::kNeedsApproval);
  EXPECT_FALSE(session_->append(ApprovalNeeded{0, "call-0", "append", "{}", "why"}).has_value());
  const CallIntent intent{0, "call-0", session_->idempotency_key(), "append", "{}", Effect::kOnce};
  EXPECT_FALSE(session_->append(intent).has_value());
  auto early = manager_->decide("a", Verdict::kApprove);
  ASSERT_FALSE(early.has_value());
  EXPECT_EQ(early.error().code, ErrorCode::kConflict);
  reopen("a");
  EXPECT_EQ(session_->context().status(), SessionStatus::kNeedsApproval);
  session_.reset();
  EXPECT_FALSE(manager_->decide("a", Verdict::kApprove, "a reason").has_value());
  ASSERT_TRUE(manager_->decide("a", Verdict::kDeny, "no").has_value());
  EXPECT_FALSE(manager_->decide("a", Verdict::kApprove).has_value());
  reopen("a");
  ASSERT_TRUE(session_->context().approval().has_value());
  EXPECT_TRUE(session_->context().approval()->denied());
  ASSERT_TRUE(session_->append(intent).has_value());
  ASSERT_TRUE(session_->append(CallResult{0, "denied", "error: no", "", ""}).has_value());
  EXPECT_FALSE(session_->context().approval().has_value());
  EXPECT_EQ(session_->context().calls()[0].approval->given->reason, "no");
  ASSERT_TRUE(session_->commit({}).has_value());
  // It was not made, so nothing can be repeated.
  auto report = session_->rewind(Cut::at_turn(0));
  ASSERT_TRUE(report.has_value());
  EXPECT_TRUE(report->once_calls.empty());
  expect_sound();
}

TEST_F(SessionTest, StepsAndTimersOfACallAreKept) {
  create("a");
  ASSERT_TRUE(session_->append(TurnStarted{1}).has_value());
  EXPECT_FALSE(session_->append(CallStep{0, "k", "1", ""}).has_value());
  const CallIntent intent{0, "call-0", session_->idempotency_key(), "append", "{}", Effect::kOnce};
  ASSERT_TRUE(session_->append(intent).has_value());
  EXPECT_FALSE(session_->append(CallStep{0, "k", "not json", ""}).has_value());
  EXPECT_FALSE(session_->append(CallStep{0, "k", "1", "[]"}).has_value());
  ASSERT_TRUE(session_->append(CallStep{0, "k", "{\"a\":1}", ""}).has_value());
  EXPECT_FALSE(session_->append(CallStep{0, "k", "2", ""}).has_value());
  EXPECT_FALSE(session_->append(intent).has_value());
  ASSERT_TRUE(session_->append(CallSleeping{0, 0, 500}).has_value());
  EXPECT_EQ(session_->context().status(), SessionStatus::kSleeping);
  EXPECT_FALSE(session_->append(CallStep{0, "l", "1", ""}).has_value());
  reopen("a");
  const auto call = [&]() -> const Call& { return session_->context().calls()[0]; };
  EXPECT_TRUE(call().sleeping);
  EXPECT_EQ(call().wake_ms, (std::map<std::uint64_t, std::int64_t>{{0, 500}}));
  ASSERT_EQ(call().steps.size(), 1U);
  EXPECT_EQ(call().steps[0].value_json, "{\"a\":1}");
  ASSERT_TRUE(session_->append(intent).has_value());  // it is woken
  EXPECT_FALSE(call().sleeping);
  EXPECT_FALSE(session_->append(CallSleeping{0, 0, 501}).has_value());
  ASSERT_TRUE(session_->append(CallSleeping{0, 0, 500}).has_value());  // the clock went back: the same timer again
  ASSERT_TRUE(session_->append(intent).has_value());
  ASSERT_TRUE(session_->append(CallSleeping{0, 3, 900}).has_value());
  ASSERT_TRUE(session_->append(intent).has_value());
  EXPECT_EQ(call().n_intents, 4U);
  const Digest before = session_->context().digest();
  ASSERT_TRUE(session_->append(CallResult{0, "ok", "done", "", ""}).has_value());
  EXPECT_NE(session_->context().digest(), before);
  EXPECT_FALSE(session_->append(CallStep{0, "m", "1", ""}).has_value());
  ASSERT_TRUE(session_->commit({}).has_value());
  expect_sound();
}

TEST_F(SessionTest, WhatLiesBehindACutIsRememberedUntilItIsRepeated) {
  create("a");
  const auto once = [&](const std::string& arguments) {
    const std::uint64_t n = session_->context().calls().size();
    ASSERT_TRUE(session_->append(TurnStarted{session_->context().next_turn()}).has_value());
    ASSERT_TRUE(session_
                    ->append(CallIntent{n, "call-" + std::to_string(n), session_->idempotency_key(), "send", arguments,
                                        Effect::kOnce})
                    .has_value());
    ASSERT_TRUE(session_->append(CallResult{n, "ok", "done", "", ""}).has_value());
    ASSERT_TRUE(session_->commit({}).has_value());
  };
  once("{\"to\":1}");
  once("{\"to\":2}");
  once("{\"to\":3}");
  ASSERT_TRUE(manager_->fork("a", "b", Cut::at_turn(2)).has_value());
  auto report = session_->rewind(Cut::at_turn(1));
  ASSERT_TRUE(report.has_value());
  ASSERT_EQ(report->once_behind.size(), 2U);
  reopen("a");
  const Context& context = session_->context();
  ASSERT_EQ(context.once_behind().size(), 2U);
  EXPECT_EQ(context.may_repeat("other", "{}"), nullptr);
  ASSERT_NE(context.may_repeat("send", "{\"to\":3}"), nullptr);
  EXPECT_EQ(context.may_repeat("send", "{\"to\":3}")->call.arguments_json, "{\"to\":3}");
  EXPECT_EQ(context.may_repeat("send", "{\"to\":9}")->call.arguments_json, "{\"to\":2}");
  once("{\"to\":3}");
  EXPECT_EQ(context.may_repeat("send", "{\"to\":3}")->call.arguments_json, "{\"to\":2}");
  // Back again, behind the repeated one and behind the memory itself: nothing is forgotten.
  ASSERT_TRUE(session_->rewind(Cut::at_turn(0)).has_value());
  EXPECT_EQ(session_->context().once_behind().size(), 4U);
  session_.reset();
  auto fork = manager_->show("b");
  ASSERT_TRUE(fork.has_value());
  ASSERT_EQ(fork->context.once_behind().size(), 1U);
  EXPECT_EQ(fork->context.once_behind()[0].call.arguments_json, "{\"to\":3}");
  reopen("a");
  expect_sound();
}

TEST_F(SessionTest, RefusesWhatDoesNotFitAndStaysAsItWas) {
  create("a");
  ASSERT_TRUE(session_->sample_token(5, 0).has_value());
  const auto before = session_->context().sequence();
  const std::vector<Record> wrong = {TokensSampled{0, {1}, {}},
                                     TokensFed{{}, {}},
                                     TokensFed{{1, 2}, {1}},
                                     TurnStarted{2},
                                     CallIntent{1, "", "", "", "", Effect::kRead},
                                     CallResult{0, "", "", "", ""},
                                     InDoubt{0, ""},
                                     Settled{0, Settlement::kSkip, ""},
                                     SessionCreated{},
                                     TurnCommitted{1, 1, {}, false, {}},
                                     StateSaved{},
                                     ContextReset{0, ""}};
  for (const Record& record : wrong) {
    auto appended = session_->append(record);
    ASSERT_FALSE(appended.has_value()) << kind_name(kind_of(record));
    EXPECT_EQ(appended.error().code, ErrorCode::kInvalidArgument) << appended.error().message;
    EXPECT_NE(appended.error().message.find("session a"), std::string::npos);
  }
  // The second of two does not fit: neither is there.
  const std::vector<Record> both = {UserMessage{"x"}, TurnStarted{9}};
  ASSERT_FALSE(session_->append(both).has_value());
  EXPECT_EQ(session_->context().sequence(), before);
  model::SequenceState state(request_.layout);
  test::feed(state, std::vector<TokenId>{5, 6});
  ASSERT_FALSE(session_->save_state(state, false).has_value());  // beyond the context
  auto other = test::small_layout();
  other.d_state = 5;
  ASSERT_FALSE(session_->save_state(model::SequenceState(other), false).has_value());
  EXPECT_EQ(session_->context().sequence(), before);
  ASSERT_TRUE(session_->append(UserMessage{"fine"}).has_value());
  reopen("a");
  EXPECT_EQ(session_->context().sequence(), before + 1);
  expect_sound();
}

TEST_F(SessionTest, DigestKnowsNothingOfBatchingOrTime) {
  create("a");
  ASSERT_TRUE(session_->feed_tokens(std::vector<TokenId>{1, 2, 3, 4}).has_value());
  ASSERT_TRUE(session_->sample_tokens(std::vector<TokenId>{5, 6}, 0, std::vector<std::uint32_t>{2}).has_value());
  const Digest a = session_->context().digest();
  session_.reset();
  clock_.now_ms += 12345;
  create("b");
  ASSERT_TRUE(session_->append(UserMessage{"words are not tokens"}).has_value());
  ASSERT_TRUE(session_->feed_tokens(std::vector<TokenId>{1}).has_value());
  ASSERT_TRUE(session_->feed_tokens(std::vector<TokenId>{2, 3, 4}, std::vector<std::uint32_t>{1, 2}).has_value());
  ASSERT_TRUE(session_->sample_token(5, 0).has_value());
  ASSERT_TRUE(session_->sample_token(6, 1).has_value());
  EXPECT_EQ(session_->context().digest(), a);
  ASSERT_TRUE(session_->sample_token(7, 2).has_value());
  EXPECT_NE(session_->context().digest(), a);
}

TEST_F(SessionTest, RefusesAnotherModelNamingBoth) {
  create("a");
  session_.reset();
  auto other = manager_->open_session("a", {"model-b", "cpu-f32"});
  ASSERT_FALSE(other.has_value());
  EXPECT_EQ(other.error().code, ErrorCode::kVersionMismatch);
  EXPECT_NE(other.error().message.find("model-a"), std::string::npos);
  EXPECT_NE(other.error().message.find("model-b"), std::string::npos);
  other = manager_->open_session("a", {"model-a", "cuda"});
  ASSERT_FALSE(other.has_value());
  EXPECT_EQ(other.error().code, ErrorCode::kVersionMismatch);
  EXPECT_TRUE(manager_->open_session("a", request_.identity).has_value());
}

TEST_F(SessionTest, BadNamesAreRefusedByName) {
  const std::vector<std::string> bad = {"",
                                        std::string(129, 'a'),
                                        std::string(1 << 20, 'x'),
                                        "a/b",
                                        "../x",
                                        ".x",
                                        "-x",
                                        "a b",
                                        std::string("a\0b", 3),
                                        "a\n",
                                        "\xff\xfe",
                                        "caf\xc3\xa9"};
  for (const std::string& name : bad) {
    auto created = manager_->create(name, request_);
    ASSERT_FALSE(created.has_value());
    EXPECT_EQ(created.error().code, ErrorCode::kInvalidArgument);
    EXPECT_LT(created.error().message.size(), 500U);
    for (const char c : created.error().message) EXPECT_TRUE(c >= 0x20 && c < 0x7F);
    EXPECT_FALSE(manager_->open_any(name).has_value());
    EXPECT_FALSE(manager_->show(name).has_value());
    EXPECT_FALSE(manager_->remove(name).has_value());
    EXPECT_FALSE(manager_->verify(name).has_value());
  }
  create(std::string(128, 'a'));
  EXPECT_FALSE(manager_->fork(session_->name(), "x/y").has_value());
  EXPECT_EQ(manager_->list()->size(), 1U);
}

TEST_F(SessionTest, ASessionIsOpenOnceAtATime) {
  create("a");
  for (const auto& code : {manager_->open_any("a").error().code, manager_->rewind("a", Cut::at_turn(0)).error().code,
                           manager_->remove("a").error().code, manager_->create("a", request_).error().code}) {
    EXPECT_EQ(code, ErrorCode::kConflict);
  }
  session_.reset();
  EXPECT_EQ(manager_->create("a", request_).error().code, ErrorCode::kConflict);  // there is one
  EXPECT_EQ(manager_->fork("a", "a").error().code, ErrorCode::kConflict);
  EXPECT_TRUE(manager_->remove("a").has_value());
  EXPECT_EQ(manager_->open_any("a").error().code, ErrorCode::kNotFound);
}

TEST_F(SessionTest, TheContextOfAnyRecordCanBeAsked) {
  create("a");
  std::vector<Digest> digests{session_->context().digest()};
  for (TokenId i = 0; i < 20; ++i) {
    ASSERT_TRUE(session_->sample_token(i, i).has_value());
    digests.push_back(session_->context().digest());
  }
  ASSERT_TRUE(session_->reset_context(3, "back").has_value());
  for (std::uint64_t sequence = 1; sequence <= 21; ++sequence) {
    auto context = manager_->context_at("a", sequence);
    ASSERT_TRUE(context.has_value()) << context.error().message;
    EXPECT_EQ(context->tokens().size(), sequence - 1);
    EXPECT_EQ(context->digest(), digests[sequence - 1]);
  }
  EXPECT_EQ(manager_->context_at("a", 22)->tokens().size(), 3U);
  EXPECT_EQ(manager_->context_at("a", 23).error().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace longhaul::sessions
