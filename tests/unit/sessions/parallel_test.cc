// Different sessions of one store in different threads, while others fork, list, verify and collect.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "sessions/session_manager.h"
#include "tests/support/sessions/fake_model.h"
#include "tests/support/sessions/temp_folder.h"

namespace longhaul::sessions {
namespace {

TEST(Parallel, SessionsDoNotDisturbEachOther) {
  constexpr int kThreads = 4, kTurns = 12;
  test::TempFolder folder;
  StoreOptions options;
  options.ingest_bytes_min = 6000;
  options.state_policy.tokens_min = 1;
  auto manager = SessionManager::open(folder / "s", options);
  ASSERT_TRUE(manager.has_value()) << manager.error().message;
  std::atomic<int> running{kThreads};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const std::string name = "s" + std::to_string(t);
      auto session = (*manager)->create(name, {{"m", "t"}, test::small_layout(), 1, "{}"});
      ASSERT_TRUE(session.has_value()) << session.error().message;
      model::SequenceState state(test::small_layout());
      for (int turn = 0; turn < kTurns; ++turn) {
        std::vector<TokenId> ids(50 + 10 * t, static_cast<TokenId>(turn));
        EXPECT_TRUE((*session)->append(UserMessage{"go"}).has_value());
        EXPECT_TRUE((*session)->feed_tokens(ids).has_value());
        test::feed(state, ids);
        for (int i = 0; i < 20; ++i) {
          const TokenId id = static_cast<TokenId>(i);
          EXPECT_TRUE((*session)->sample_token(id, (*session)->context().n_draws()).has_value());
          test::feed(state, std::span(&id, 1));
        }
        CommitRequest request;
        request.state = &state;
        auto committed = (*session)->commit(request);
        EXPECT_TRUE(committed.has_value()) << committed.error().message;
        auto forked = (*manager)->fork(name, name + "-" + std::to_string(turn), Cut::at_turn(1 + turn / 2));
        EXPECT_TRUE(forked.has_value()) << forked.error().message;
        if (turn % 2 == 0) {
          EXPECT_TRUE((*manager)->remove(name + "-" + std::to_string(turn)).has_value());
        }
      }
      auto loaded = (*session)->load_state();
      ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
      EXPECT_TRUE(loaded->state->same_as(state));
      --running;
    });
  }
  while (running > 0) {
    EXPECT_TRUE((*manager)->list().has_value());
    auto report = (*manager)->verify();
    ASSERT_TRUE(report.has_value()) << report.error().message;
    for (const Problem& p : report->problems) ADD_FAILURE() << p.session << ": " << p.place << ": " << p.message;
    auto collected = (*manager)->gc();
    EXPECT_TRUE(collected.has_value()) << collected.error().message;
    if (HasFailure()) break;
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ((*manager)->list()->size(), kThreads + kThreads * kTurns / 2U);
}

}  // namespace
}  // namespace longhaul::sessions
