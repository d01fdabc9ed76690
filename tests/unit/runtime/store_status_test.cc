#include "runtime/store_status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "runtime/status_board.h"
#include "tests/support/process.h"

namespace longhaul::runtime {
namespace {

StoreStatus example(std::size_t n_sessions) {
  StoreStatus status{.pid = 4711, .started_ms = 1, .written_ms = 2, .n_sessions = n_sessions, .sessions = {}};
  for (std::size_t i = 0; i < n_sessions; ++i) {
    SessionLine line;
    line.name = "session-\xC3\xA4-" + std::to_string(i);
    line.status = "running";
    line.live = i == 0;
    line.turns = i;
    line.tokens = 100 * i;
    line.event = "tool_call";
    line.event_ms = 1'700'000'000'000;
    line.call = "write_file call_3";
    line.tokens_per_second = 12.5;
    line.state_bytes = 1 << 20;
    line.updated_ms = 7;
    status.sessions.push_back(std::move(line));
  }
  return status;
}

TEST(StoreStatus, ComesBackAsItWas) {
  for (const std::size_t n : {0, 1, 17}) {
    auto back = decode_status(encode_status(example(n)));
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(*back, example(n));
  }
}

TEST(StoreStatus, IsBoundedHoweverManySessionsThereAre) {
  const std::string bytes = encode_status(example(10'000));
  EXPECT_LE(bytes.size(), kStatusBytesMax);
  auto back = decode_status(bytes);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->n_sessions, 10'000U);
  EXPECT_GT(back->sessions.size(), 100U);
}

TEST(StoreStatus, RefusesEveryTruncationAndFlip) {
  const std::string bytes = encode_status(example(2));
  for (std::size_t n = 0; n < bytes.size(); ++n) EXPECT_FALSE(decode_status(std::string_view(bytes).substr(0, n)));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string flipped = bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ (1 << (i % 8)));
    EXPECT_FALSE(decode_status(flipped)) << i;
  }
  std::string future = bytes;
  future[8] = 9;
  auto refused = decode_status(future);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kVersionMismatch);
}

TEST(StatusBoard, PublishesWhatHappensAndTakesItsFileAway) {
  testing_support::TemporaryFolder folder;
  const std::string store = folder.path();
  {
    SessionLine parked;
    parked.name = "b";
    parked.status = "answered";
    StatusBoard board(store, [&] { return std::vector<SessionLine>{parked}; });
    board.add("a", "suspended", 3, 400);
    board.on_progress({"a", 410, 10, 5000});
    board.on_event({EventKind::kToolCall, "a", 411, {{"name", "calc"}, {"id", "call_0"}, {"arguments", "secret"}}});
    // Until the board's thread has written that.
    StoreStatus status;
    for (int i = 0; i < 2000; ++i) {
      auto read = read_status(store);
      if (read && read->sessions.size() == 2 && read->sessions[0].call == "calc call_0") {
        status = *read;
        break;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    ASSERT_EQ(status.sessions.size(), 2U);
    EXPECT_EQ(status.pid, ::getpid());
    EXPECT_EQ(status.sessions[0].tokens, 411U);
    EXPECT_EQ(status.sessions[0].turns, 3U);
    EXPECT_EQ(status.sessions[0].state_bytes, 5000U);
    EXPECT_EQ(status.sessions[0].event, "tool_call");
    EXPECT_EQ(status.sessions[1].name, "b");
    EXPECT_FALSE(status.sessions[1].live);
    EXPECT_THAT(testing_support::read_all(status_path(store)), testing::Not(testing::HasSubstr("secret")));
  }
  EXPECT_FALSE(std::filesystem::exists(status_path(store)));
}

}  // namespace
}  // namespace longhaul::runtime
