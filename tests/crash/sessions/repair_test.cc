// Repair of damaged stores. The judge is the store as it was before: what comes out is a beginning of each session that
// was there, sound in itself; what is missing is said; and where no record is missing, nothing is.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include "runtime/base/file.h"
#include "sessions/session_manager.h"
#include "tests/support/sessions/fake_clock.h"
#include "tests/support/sessions/fake_model.h"
#include "tests/support/sessions/store_files.h"
#include "tests/support/sessions/temp_folder.h"
#include "tests/support/setting.h"

namespace longhaul::sessions {
namespace {

using testing_support::setting;

namespace fs = std::filesystem;

using Journal = std::vector<std::string>;

class RepairTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto manager = SessionManager::open(store_, options());
    ASSERT_TRUE(manager.has_value()) << manager.error().message;
    make_session(**manager, "a", 5);
    ASSERT_TRUE((*manager)->fork("a", "b", Cut::at_turn(3)).has_value());
    ASSERT_TRUE((*manager)->gc().has_value());  // so far it is in tables; the rest stays in the log
    go_on(**manager, "b", 2);
    make_session(**manager, "c", 1);
    for (const SessionSummary& each : *(*manager)->list()) journals_[each.name] = journal(**manager, each.name);
    manager->reset();
    files_ = test::store_files(store_);
  }

  StoreOptions options() {
    StoreOptions out;
    out.clock = &clock_;
    out.boot_id = Digest{1, 1};
    out.state_policy.tokens_min = 1;
    return out;
  }

  void make_session(SessionManager& manager, const std::string& name, int n_turns) {
    ASSERT_TRUE(manager.create(name, {{"m", "t"}, test::small_layout(), 5, "{}"}).has_value());
    go_on(manager, name, n_turns);
  }

  void go_on(SessionManager& manager, const std::string& name, int n_turns) {
    auto session = manager.open_session(name, {"m", "t"});
    ASSERT_TRUE(session.has_value());
    auto loaded = (*session)->load_state();
    ASSERT_TRUE(loaded.has_value());
    model::SequenceState state = loaded->state ? std::move(*loaded->state) : model::SequenceState(test::small_layout());
    test::feed(state, loaded->tokens_to_feed);
    for (int turn = 0; turn < n_turns; ++turn) {
      ASSERT_TRUE((*session)->append(UserMessage{"message"}).has_value());
      std::vector<TokenId> ids(140, 3);
      ASSERT_TRUE((*session)->feed_tokens(ids).has_value());
      test::feed(state, ids);
      CommitRequest request;
      request.state = &state;
      ASSERT_TRUE((*session)->commit(request).has_value());
    }
  }

  static Journal journal(SessionManager& manager, const std::string& name) {
    Journal out;
    auto walked = manager.for_each_record(name, [&](const JournalEntry& entry) -> Result<void> {
      out.push_back(std::to_string(entry.time_ms) + encode_payload(entry.record));
      return {};
    });
    EXPECT_TRUE(walked.has_value()) << walked.error().message;
    return out;
  }

  std::string damaged_copy() {
    const std::string copy = folder_ / "damaged-store";
    fs::remove_all(copy);
    fs::copy(store_, copy, fs::copy_options::recursive);
    return copy;
  }

  static void flip(const std::string& path, std::uint64_t at, int bit) {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekg(static_cast<std::streamoff>(at));
    const char byte = static_cast<char>(file.get() ^ (1 << bit));
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte);
  }

  void expect_sound_beginnings(const std::string& path, const RepairReport& report) {
    auto manager = SessionManager::open(path, options());
    ASSERT_TRUE(manager.has_value()) << manager.error().message;
    auto verified = (*manager)->verify();
    ASSERT_TRUE(verified.has_value()) << verified.error().message;
    for (const Problem& p : verified->problems) ADD_FAILURE() << p.session << ": " << p.place << ": " << p.message;
    const auto list = (*manager)->list();
    if (report.history_whole) {
      EXPECT_EQ(list->size(), journals_.size());
    }
    bool shorter = list->size() < journals_.size();
    for (const SessionSummary& each : *list) {
      ASSERT_TRUE(journals_.contains(each.name));
      const Journal &before = journals_[each.name], now = journal(**manager, each.name);
      ASSERT_LE(now.size(), before.size());
      for (std::size_t i = 0; i < now.size(); ++i) ASSERT_EQ(now[i], before[i]);
      shorter = shorter || now.size() < before.size();
      // And it goes on.
      auto session = (*manager)->open_session(each.name, {"m", "t"});
      ASSERT_TRUE(session.has_value()) << session.error().message;
      auto loaded = (*session)->load_state();
      ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
      model::SequenceState state =
          loaded->state ? std::move(*loaded->state) : model::SequenceState(test::small_layout());
      test::feed(state, loaded->tokens_to_feed);
      EXPECT_TRUE(state.same_as(test::state_after(test::small_layout(), (*session)->context().tokens())));
      ASSERT_TRUE((*session)->save_state(state, false).has_value());
      session->reset();
      go_on(**manager, each.name, 1);
    }
    if (shorter) {
      EXPECT_FALSE(report.lost.empty() && report.notes.empty()) << "something is missing and nobody said so";
    }
    verified = (*manager)->verify();
    for (const Problem& p : verified->problems) ADD_FAILURE() << p.session << ": " << p.place << ": " << p.message;
  }

  test::TempFolder folder_;
  test::FakeClock clock_;
  std::string store_ = folder_ / "store";
  std::map<std::string, Journal> journals_;
  std::vector<std::string> files_;
};

TEST_F(RepairTest, AWholeStoreIsCarriedOverWhole) {
  auto report = SessionManager::repair_copy(store_, folder_ / "copy", options());
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_TRUE(report->made && report->history_whole && report->lost.empty() && report->notes.empty());
  EXPECT_EQ(report->sessions, 3U);
  auto before = SessionManager::open(store_, options()), after = SessionManager::open(folder_ / "copy", options());
  for (const auto& [name, journal] : journals_) {
    EXPECT_EQ((*before)->show(name)->n_states, (*after)->show(name)->n_states);
    EXPECT_EQ((*before)->show(name)->n_pages, (*after)->show(name)->n_pages);
  }
  after->reset();
  expect_sound_beginnings(folder_ / "copy", *report);
  auto again = SessionManager::repair_copy(store_, folder_ / "copy", options());
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().code, ErrorCode::kConflict);
  auto in_use = SessionManager::repair_copy(store_, folder_ / "another", options());
  ASSERT_FALSE(in_use.has_value());
  EXPECT_EQ(in_use.error().code, ErrorCode::kConflict);
  EXPECT_EQ(SessionManager::repair_copy(folder_ / "none", folder_ / "another", options()).error().code,
            ErrorCode::kNotFound);
}

TEST_F(RepairTest, OfADamagedStoreABeginningOfEachSessionComesOut) {
  const std::uint64_t seed = setting("LONGHAUL_SEED", 1), runs = setting("LONGHAUL_RUNS", 60);
  std::mt19937_64 random(seed);
  std::uint64_t n_whole = 0, n_made = 0;
  for (std::uint64_t run = 0; run < runs && !HasFailure(); ++run) {
    const std::string damaged = damaged_copy();
    std::string what;
    for (std::uint64_t n = 1 + random() % 3; n > 0; --n) {
      const std::string& file = files_[random() % files_.size()];
      const std::uint64_t size = fs::file_size(damaged + "/" + file);
      if (size == 0) continue;
      const std::uint64_t at = random() % size;
      if (random() % 4 == 0) {
        fs::resize_file(damaged + "/" + file, at);
      } else {
        flip(damaged + "/" + file, at, static_cast<int>(random() % 8));
      }
      what += file + " byte " + std::to_string(at) + " of " + std::to_string(size) + "; ";
    }
    SCOPED_TRACE("LONGHAUL_SEED=" + std::to_string(seed) + " run " + std::to_string(run) + ": " + what);
    fs::remove_all(folder_ / "copy");
    fs::remove_all(folder_ / "copy.part");
    auto report = SessionManager::repair_copy(damaged, folder_ / "copy", options());
    if (!report) {
      // A format file whose version cannot be told from one of the future, or nothing at all to read.
      EXPECT_TRUE(report.error().code == ErrorCode::kVersionMismatch || report.error().code == ErrorCode::kCorruption ||
                  report.error().code == ErrorCode::kIo)
          << report.error().message;
      continue;
    }
    ++n_made;
    n_whole += report->history_whole ? 1 : 0;
    ASSERT_NO_FATAL_FAILURE(expect_sound_beginnings(folder_ / "copy", *report));
  }
  EXPECT_GT(n_made, runs / 2);
  EXPECT_GT(n_whole, runs / 10);
}

TEST_F(RepairTest, DamagedStatesAndPagesAreDroppedInPlaceAndTheRestIsKept) {
  std::mt19937_64 random(setting("LONGHAUL_SEED", 1));
  int n_dropped = 0, n_refused = 0;
  for (int run = 0; run < 24 && !HasFailure(); ++run) {
    const std::string damaged = damaged_copy();
    std::vector<std::string> tables;
    for (const std::string& file : files_) {
      if (file.ends_with(".sst")) tables.push_back(file);
    }
    const std::string& file = tables[static_cast<std::size_t>(run) % tables.size()];
    const std::uint64_t at = random() % fs::file_size(damaged + "/" + file);
    SCOPED_TRACE(file + " byte " + std::to_string(at));
    flip(damaged + "/" + file, at, 3);
    auto report = SessionManager::drop_damaged(damaged, options());
    if (!report) {
      EXPECT_EQ(report.error().code, ErrorCode::kCorruption) << report.error().message;
      continue;
    }
    EXPECT_EQ(report->made, report->history_whole);
    EXPECT_FALSE(fs::exists(damaged + "/rebuilt") || fs::exists(damaged + "/rebuilt.part"));
    EXPECT_EQ(fs::exists(damaged + "/damaged"), report->made);
    if (!report->made) {
      ++n_refused;
      EXPECT_FALSE(report->lost.empty());
      continue;
    }
    if (!report->lost.empty()) ++n_dropped;
    ASSERT_NO_FATAL_FAILURE(expect_sound_beginnings(damaged, *report));
  }
  EXPECT_GT(n_dropped, 0);
  EXPECT_GT(n_refused, 0);
}

// The log lost its end, and the mark says so: nothing is opened, a copy says what is missing.
TEST_F(RepairTest, ATornLogBeyondTheMarkIsRepairedIntoACopyThatSaysWhatIsMissing) {
  const std::string damaged = damaged_copy();
  std::string log;
  for (const std::string& file : files_) {
    if (file.ends_with(".log") && fs::file_size(damaged + "/" + file) > 0) log = damaged + "/" + file;
  }
  ASSERT_FALSE(log.empty());
  fs::resize_file(log, fs::file_size(log) / 2);
  auto opened = SessionManager::open(damaged, options());
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kCorruption);
  auto report = SessionManager::repair_copy(damaged, folder_ / "copy", options());
  ASSERT_TRUE(report.has_value()) << report.error().message;
  ASSERT_FALSE(report->notes.empty());
  EXPECT_NE(report->notes[0].find("ends at write"), std::string::npos) << report->notes[0];
  expect_sound_beginnings(folder_ / "copy", *report);
}

}  // namespace
}  // namespace longhaul::sessions
