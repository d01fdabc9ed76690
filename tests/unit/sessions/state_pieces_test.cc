// Large states are stored in pieces: they come back whole, go whole, and damage to one piece is named. A state that an
// older program stored as one value is read as ever.
#include <gtest/gtest.h>

#include "sessions/lineage.h"
#include "sessions/session_manager.h"
#include "sessions/store.h"
#include "tests/support/sessions/fake_clock.h"
#include "tests/support/sessions/fake_model.h"
#include "tests/support/sessions/temp_folder.h"

namespace longhaul::sessions {
namespace {

// Two layers of 256 KiB and a convolution: two whole pieces and a short one.
model::StateLayout large_layout() {
  model::StateLayout layout = test::small_layout();
  layout.n_mamba_heads = 16;
  layout.mamba_head_dim = 64;
  layout.d_state = 64;
  return layout;
}
constexpr std::uint64_t kPieces = 3;

class StatePiecesTest : public ::testing::TestWithParam<std::size_t> {
 protected:
  void SetUp() override {
    options_.clock = &clock_;
    options_.ingest_bytes_min = GetParam();
    ASSERT_EQ(state_pieces(layout_.fixed_bytes()), kPieces);
    open();
  }
  void open() {
    auto manager = SessionManager::open(folder_ / "s", options_);
    ASSERT_TRUE(manager.has_value()) << manager.error().message;
    manager_ = std::move(*manager);
  }
  // A session of so many turns with a state each.
  void make(const std::string& name, int turns) {
    auto session = manager_->create(name, {identity_, layout_, 7, "{}"});
    ASSERT_TRUE(session.has_value()) << session.error().message;
    model::SequenceState state(layout_);
    for (int i = 0; i < turns; ++i) {
      const std::vector<TokenId> ids(50, static_cast<TokenId>(i));
      ASSERT_TRUE((*session)->feed_tokens(ids).has_value());
      test::feed(state, ids);
      CommitRequest request;
      request.state = &state;
      request.wish = StateWish::kAlways;
      auto report = (*session)->commit(request);
      ASSERT_TRUE(report.has_value()) << report.error().message;
      EXPECT_GT(report->bytes, layout_.fixed_bytes());
    }
  }
  void expect_state(SessionManager& manager, const std::string& name, std::uint64_t position) {
    auto session = manager.open_session(name, identity_);
    ASSERT_TRUE(session.has_value()) << session.error().message;
    auto loaded = (*session)->load_state();
    ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
    EXPECT_EQ(loaded->position, position);
    ASSERT_TRUE(loaded->state.has_value());
    test::feed(*loaded->state, loaded->tokens_to_feed);
    EXPECT_TRUE(loaded->state->same_as(test::state_after(layout_, (*session)->context().tokens())));
  }
  void expect_whole(SessionManager& manager) {
    auto verified = manager.verify();
    ASSERT_TRUE(verified.has_value()) << verified.error().message;
    for (const Problem& p : verified->problems) ADD_FAILURE() << p.session << ": " << p.place << ": " << p.message;
  }
  // The rows of the family, with the manager closed; `change` may write.
  template <class Change>
  void look(Change change) {
    manager_.reset();
    {
      auto store = Store::open(folder_ / "s", options_);
      ASSERT_TRUE(store.has_value()) << store.error().message;
      std::vector<std::pair<std::string, std::string>> rows;
      auto scanned =
          (*store)->scan(Family::kStates, "", "", nullptr, [&](std::string_view key, std::string_view value) {
            rows.emplace_back(key, value);
            return true;
          });
      ASSERT_TRUE(scanned.has_value()) << scanned.error().message;
      change(**store, rows);
    }
    open();
  }

  test::TempFolder folder_;
  test::FakeClock clock_;
  StoreOptions options_;
  SessionIdentity identity_{"m", "t"};
  model::StateLayout layout_ = large_layout();
  std::unique_ptr<SessionManager> manager_;
};

using Rows = std::vector<std::pair<std::string, std::string>>;

TEST_P(StatePiecesTest, ComeBackAndGoWhole) {
  make("a", 2);
  expect_state(*manager_, "a", 100);
  expect_whole(*manager_);
  look([&](Store&, const Rows& rows) {
    ASSERT_EQ(rows.size(), 2 * (kPieces + 1));  // and the open pages
    for (std::uint64_t i = 0; i < kPieces; ++i) {
      const auto& [key, value] = rows[i];
      EXPECT_EQ(key, state_key(read_big_endian(rows[0].first), StatePart::kFixed, i));
      EXPECT_TRUE(unseal(Family::kStates, key, value, ValueKind::kStateFixed, kPieceVersion).has_value());
      // What an older program says to it.
      auto refused = unseal(Family::kStates, key, value, ValueKind::kStateFixed);
      ASSERT_FALSE(refused.has_value());
      EXPECT_EQ(refused.error().code, ErrorCode::kVersionMismatch);
    }
  });
  expect_state(*manager_, "a", 100);
  ASSERT_TRUE(manager_->export_session("a", folder_ / "a.lhx").has_value());
  ASSERT_TRUE(manager_->remove("a").has_value());
  ASSERT_TRUE(manager_->gc().has_value());
  look([&](Store&, const Rows& rows) { EXPECT_TRUE(rows.empty()); });
  ASSERT_TRUE(manager_->import_session(folder_ / "a.lhx").has_value());
  expect_state(*manager_, "a", 100);
  expect_whole(*manager_);
}

TEST_P(StatePiecesTest, ThinnedStatesLeaveNothingBehind) {
  make("a", 12);
  std::uint64_t stored = 0;
  look([&](Store&, const Rows& rows) {
    stored = rows.size();
    EXPECT_EQ(stored % (kPieces + 1), 0U);
    EXPECT_LT(stored, 12 * (kPieces + 1));
  });
  expect_whole(*manager_);
}

TEST_P(StatePiecesTest, AStateStoredAsOneValueIsRead) {
  make("a", 1);
  look([&](Store& store, const Rows& rows) {
    const std::string key = state_key(read_big_endian(rows[0].first), StatePart::kFixed);
    const std::string whole = test::state_after(layout_, std::vector<TokenId>(50, 0)).encode_fixed();
    Batch batch(store);
    for (std::uint64_t i = 1; i < kPieces; ++i) batch.erase(Family::kStates, rows[i].first);
    batch.put(Family::kStates, key, seal(Family::kStates, key, ValueKind::kStateFixed, whole));
    ASSERT_TRUE(store.write(batch, true).has_value());
  });
  expect_state(*manager_, "a", 50);
  expect_whole(*manager_);
  manager_.reset();
  auto repaired = SessionManager::repair_copy(folder_ / "s", folder_ / "r", options_);
  ASSERT_TRUE(repaired.has_value()) << repaired.error().message;
  EXPECT_TRUE(repaired->lost.empty());
  open();
  ASSERT_TRUE(manager_->remove("a").has_value());
  ASSERT_TRUE(manager_->gc().has_value());
  look([&](Store&, const Rows& rows) { EXPECT_TRUE(rows.empty()); });
}

TEST_P(StatePiecesTest, AMissingOrDamagedPieceIsNamed) {
  for (const bool missing : {false, true}) {
    const std::string name = missing ? "gone" : "bent";
    make(name, 2);
    look([&](Store& store, const Rows& rows) {
      const auto& [key, value] = rows[rows.size() - 3];  // the second piece of the newest
      ASSERT_EQ(key.size(), 13U);
      Batch batch(store);
      if (missing) {
        batch.erase(Family::kStates, key);
      } else {
        std::string bent = value;
        bent[1000] ^= 4;
        batch.put(Family::kStates, key, bent);
      }
      ASSERT_TRUE(store.write(batch, true).has_value());
    });
    auto session = manager_->open_session(name, identity_);
    ASSERT_TRUE(session.has_value()) << session.error().message;
    auto loaded = (*session)->load_state();
    ASSERT_FALSE(loaded.has_value());
    EXPECT_EQ(loaded.error().code, ErrorCode::kCorruption);
    EXPECT_NE(loaded.error().message.find("piece 2 of 3"), std::string::npos) << loaded.error().message;
    EXPECT_NE(loaded.error().message.find(missing ? "missing" : "checksum"), std::string::npos);
  }
  auto verified = manager_->verify();
  ASSERT_TRUE(verified.has_value());
  EXPECT_GE(verified->problems.size(), 2U);
  manager_.reset();
  auto repaired = SessionManager::repair_copy(folder_ / "s", folder_ / "r", options_);
  ASSERT_TRUE(repaired.has_value()) << repaired.error().message;
  EXPECT_EQ(repaired->lost.size(), 2U);
  EXPECT_TRUE(repaired->history_whole);
  auto mended = SessionManager::open(folder_ / "r", options_);
  ASSERT_TRUE(mended.has_value()) << mended.error().message;
  for (const std::string name : {"bent", "gone"}) expect_state(**mended, name, 50);
  expect_whole(**mended);
}

INSTANTIATE_TEST_SUITE_P(InBatchAndInTables, StatePiecesTest, ::testing::Values(std::size_t{1}, std::size_t{1} << 30));

}  // namespace
}  // namespace longhaul::sessions
