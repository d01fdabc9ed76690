// Every kind of damage to a store at rest: one flipped bit anywhere, a file cut short, a file gone. Either it is
// noticed (an error, or a problem that verify names), or what is read out is exactly what was there.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "runtime/base/file.h"
#include "sessions/bytes.h"
#include "sessions/high_water.h"
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

class DamageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto manager = SessionManager::open(store_, options());
    ASSERT_TRUE(manager.has_value()) << manager.error().message;
    make_session(**manager, "a", 2);
    ASSERT_TRUE((*manager)->fork("a", "b", Cut::at_turn(1)).has_value());
    ASSERT_TRUE((*manager)->gc().has_value());  // so far it is in tables; the rest stays in the log
    make_session(**manager, "c", 1);
    manager->reset();
    auto content = read_out(store_);
    ASSERT_TRUE(content.has_value()) << content.error().message;
    whole_ = *content;
    // Reading it out has moved nothing but the log's number; take the store as it is now for the original.
    files_ = test::store_files(store_);
  }

  StoreOptions options() {
    StoreOptions out;
    out.clock = &clock_;
    out.boot_id = boot_;
    return out;
  }

  void make_session(SessionManager& manager, const std::string& name, int n_turns) {
    auto session = manager.create(name, {{"m", "t"}, test::small_layout(), 5, "{}"});
    ASSERT_TRUE(session.has_value());
    model::SequenceState state(test::small_layout());
    for (int turn = 0; turn < n_turns; ++turn) {
      ASSERT_TRUE((*session)->append(UserMessage{"message"}).has_value());
      std::vector<TokenId> ids(140, 3);
      ASSERT_TRUE((*session)->feed_tokens(ids).has_value());
      test::feed(state, ids);
      CommitRequest request;
      request.state = &state;
      ASSERT_TRUE((*session)->commit(request).has_value());
    }
    for (TokenId id = 0; id < 5; ++id) ASSERT_TRUE((*session)->sample_token(id, id).has_value());
  }

  // Everything a user could see, as text.
  Result<std::string> read_out(const std::string& path) {
    auto manager = SessionManager::open(path, options());
    if (!manager) return manager.error();
    auto sessions = (*manager)->list();
    if (!sessions) return sessions.error();
    ByteWriter out;
    for (const SessionSummary& summary : *sessions) {
      out.text(summary.name);
      out.text(encode(summary.entry));
      auto session = (*manager)->open_session(summary.name, {"m", "t"});
      if (!session) return session.error();
      auto walked = (*session)->for_each_record([&](const JournalEntry& entry) -> Result<void> {
        out.text(encode_payload(entry.record));
        out.i64(entry.time_ms);
        return {};
      });
      if (!walked) return walked.error();
      out.digest((*session)->context().digest());
      auto loaded = (*session)->load_state();
      if (!loaded) return loaded.error();
      if (!loaded->state) return corruption("there was a state");
      out.text(loaded->state->encode_fixed());
      out.text(loaded->state->encode_open_pages());
      for (std::uint32_t layer = 0; layer < 2; ++layer) {
        for (std::int64_t i = 0; i < loaded->state->n_full_pages(); ++i) {
          auto page = loaded->state->page(layer, i);
          if (!page) return page.error();
          out.text({reinterpret_cast<const char*>(page->bytes), loaded->state->layout().page_bytes()});
        }
      }
      for (const TokenId id : loaded->tokens_to_feed) out.u32(id);
    }
    return out.take();
  }

  // Damages a copy; true if it was noticed, false if it did no harm. Anything else is a failure.
  template <class Damage>
  bool noticed(Damage damage) {
    const std::string copy = folder_ / "copy";
    fs::remove_all(copy);
    fs::copy(store_, copy, fs::copy_options::recursive);
    damage(copy);
    auto content = read_out(copy);
    if (!content) {
      EXPECT_NE(content.error().message.find(copy) != std::string::npos ||
                    content.error().message.find("session ") != std::string::npos,
                false)
          << content.error().message;
      return true;
    }
    EXPECT_EQ(*content == whole_, true) << "something else was read, and nobody noticed";
    return false;
  }

  static void flip(const std::string& path, std::uint64_t at, int bit) {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekg(static_cast<std::streamoff>(at));
    const char byte = static_cast<char>(file.get() ^ (1 << bit));
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte);
  }

  test::TempFolder folder_;
  test::FakeClock clock_;
  std::string store_ = folder_ / "store";
  Digest boot_{1, 1};
  std::string whole_;
  std::vector<std::string> files_;
};

TEST_F(DamageTest, AFlippedBitIsNoticedOrHarmless) {
  const std::uint64_t seed = setting("LONGHAUL_SEED", 1), flips = setting("LONGHAUL_RUNS", 250);
  std::mt19937_64 random(seed);
  std::uint64_t n_noticed = 0, n = 0;
  while (n < flips && !HasFailure()) {
    for (const std::string& file : files_) {
      const std::uint64_t size = fs::file_size(store_ + "/" + file);
      if (size == 0) continue;
      // Half of them near an end: headers and footers.
      std::uint64_t at = random() % size;
      if (random() % 2 == 0) at = random() % 2 == 0 ? at % 128 % size : size - 1 - at % 128 % size;
      const int bit = static_cast<int>(random() % 8);
      SCOPED_TRACE("LONGHAUL_SEED=" + std::to_string(seed) + " " + file + " byte " + std::to_string(at) + " of " +
                   std::to_string(size) + " bit " + std::to_string(bit));
      if (noticed([&](const std::string& copy) { flip(copy + "/" + file, at, bit); })) ++n_noticed;
      ++n;
      if (HasFailure()) return;
    }
  }
  EXPECT_GT(n_noticed, n / 10);
  RecordProperty("noticed", static_cast<int>(n_noticed));
}

TEST_F(DamageTest, AFileCutShortOrGoneIsNoticedOrHarmless) {
  std::mt19937_64 random(2);
  for (const std::string& file : files_) {
    const std::uint64_t size = fs::file_size(store_ + "/" + file);
    SCOPED_TRACE(file);
    const bool missed = noticed([&](const std::string& copy) { fs::remove(copy + "/" + file); });
    if (file == "FORMAT" || file == "high-water" || file.ends_with(".sst") || file == "db/CURRENT") {
      EXPECT_TRUE(missed);
    }
    for (int i = 0; i < 4 && size > 0; ++i) {
      const std::uint64_t length = i == 0 ? size - 1 : i == 1 ? 0 : random() % size;
      noticed([&](const std::string& copy) { fs::resize_file(copy + "/" + file, length); });
    }
    if (HasFailure()) return;
  }
}

// A record of the manifest that was being written when the power went: a part of it, and zeros.
TEST_F(DamageTest, ATornEndOfTheManifestIsCutAfterAPowerLossAndOnlyThen) {
  std::string current = *read_file(store_ + "/db/CURRENT", 100);
  current.pop_back();
  const std::string manifest = "/db/" + current;
  const std::string bytes = *read_file(store_ + manifest, 1 << 20);
  const std::size_t length = 7 + static_cast<unsigned char>(bytes[4]) + 256 * static_cast<unsigned char>(bytes[5]);
  ASSERT_LT(length, bytes.size());
  const std::string copy = folder_ / "copy";
  const auto opened_with_tail = [&](const std::string& tail) {
    fs::remove_all(copy);
    fs::copy(store_, copy, fs::copy_options::recursive);
    std::ofstream(copy + manifest, std::ios::binary | std::ios::app) << tail;
    return SessionManager::open(copy, options());
  };
  for (const std::size_t kept : {std::size_t{7}, std::size_t{8}, length / 2, length - 1}) {
    std::string tail = bytes.substr(0, kept);
    if (kept == length - 1 && bytes[kept] == 0) tail.back() ^= 1;  // else it would be whole
    tail.resize(length + 40);
    boot_ = {1, 1};
    auto refused = opened_with_tail(tail);
    ASSERT_FALSE(refused.has_value()) << kept;
    EXPECT_NE(refused.error().message.find("MANIFEST"), std::string::npos) << refused.error().message;
    boot_ = {2, 2};
    ASSERT_TRUE(opened_with_tail(tail).has_value()) << kept;
    EXPECT_EQ(*read_file(copy + "/manifest-torn", 1 << 20), bytes + tail);
    EXPECT_EQ(*read_out(copy) == whole_, true) << kept;
  }
  // A record that is damaged but does not end in zeros was not torn.
  std::string tail = bytes.substr(0, length);
  tail[length / 2] ^= 1;
  tail.back() = 'x';
  EXPECT_FALSE(opened_with_tail(tail).has_value());
}

TEST_F(DamageTest, AFlippedBitOfTheManifestIsNoticedAfterAPowerLossToo) {
  boot_ = {2, 2};
  std::string current = *read_file(store_ + "/db/CURRENT", 100);
  current.pop_back();
  const std::string manifest = "/db/" + current;
  const std::uint64_t size = fs::file_size(store_ + manifest);
  std::mt19937_64 random(setting("LONGHAUL_SEED", 1));
  std::uint64_t n_noticed = 0, n = 0;
  for (std::uint64_t at = 0; at < size; at += 1 + random() % 16, ++n) {
    SCOPED_TRACE("byte " + std::to_string(at) + " of " + std::to_string(size));
    n_noticed += noticed([&](const std::string& copy) { flip(copy + manifest, at, static_cast<int>(random() % 8)); });
  }
  EXPECT_EQ(n_noticed, n);
}

// RocksDB reads these before it compares their checksum, and may meet an assert on the way.
TEST_F(DamageTest, FlippedBitsOfATablesPropertiesAreNamed) {
  int n = 0;
  for (const std::string& file : files_) {
    if (!file.ends_with(".sst")) continue;
    const std::string bytes = *read_file(store_ + "/" + file, 1 << 20);
    const std::size_t first = bytes.find("rocksdb.block.based"), last = bytes.find("riginal.file.number");
    ASSERT_TRUE(first != std::string::npos && last != std::string::npos && first < last) << file;
    for (std::size_t at = first; at < last; at += 1 + (last - first) / 12, ++n) {
      const std::string copy = folder_ / "copy";
      fs::remove_all(copy);
      fs::copy(store_, copy, fs::copy_options::recursive);
      flip(copy + "/" + file, at, static_cast<int>(at % 8));
      auto opened = SessionManager::open(copy, options());
      ASSERT_FALSE(opened.has_value()) << file << " byte " << at;
      EXPECT_NE(opened.error().message.find("its properties"), std::string::npos) << opened.error().message;
      EXPECT_NE(opened.error().message.find(fs::path(file).filename().string()), std::string::npos);
    }
  }
  EXPECT_GT(n, 12);
}

TEST_F(DamageTest, ALostTailIsNoticedByTheMark) {
  const std::string mark = *read_file(store_ + "/high-water", 1 << 20);
  const std::string old = folder_ / "old";
  fs::copy(store_, old, fs::copy_options::recursive);
  {
    auto manager = SessionManager::open(store_, options());
    ASSERT_TRUE(manager.has_value());
    auto session = (*manager)->open_any("c");
    ASSERT_TRUE((*session)->sample_token(77, 5).has_value());  // one token, not synced
  }
  // The database as it was before, with the mark as it is now.
  fs::remove_all(store_ + "/db");
  fs::copy(old + "/db", store_ + "/db", fs::copy_options::recursive);
  auto refused = SessionManager::open(store_, options());
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kCorruption);
  EXPECT_NE(refused.error().message.find("acknowledged"), std::string::npos) << refused.error().message;
  // A person has looked.
  StoreOptions accept = options();
  accept.accept_without_high_water = true;
  EXPECT_TRUE(SessionManager::open(store_, accept).has_value());
  EXPECT_TRUE(SessionManager::open(store_, options()).has_value());
}

TEST_F(DamageTest, OneBadSlotOfTheMarkDoesNoHarmTwoAreRefused) {
  EXPECT_FALSE(noticed([](const std::string& copy) { flip(copy + "/high-water", 20, 1); }));
  EXPECT_FALSE(noticed([](const std::string& copy) { flip(copy + "/high-water", kMarkSlotBytes + 20, 1); }));
  EXPECT_TRUE(noticed([](const std::string& copy) {
    flip(copy + "/high-water", 20, 1);
    flip(copy + "/high-water", kMarkSlotBytes + 20, 1);
  }));
}

TEST_F(DamageTest, AnotherFormatIsRefusedNamingBoth) {
  ByteWriter future;
  future.raw("LHSTORE\n");
  future.u32(3);
  future.text("whatever comes then");
  ByteWriter past;
  past.raw("LHSTORE\n");
  past.u32(1);
  past.digest({1, 2});
  past.u64(checksum64(past.bytes()));
  for (const auto& [bytes, version, hint] :
       {std::tuple(future.bytes(), "version 3", "newer program"), std::tuple(past.bytes(), "version 1", "--store")}) {
    ASSERT_TRUE(write_file_atomic(store_ + "/FORMAT", bytes).has_value());
    auto opened = SessionManager::open(store_, options());
    ASSERT_FALSE(opened.has_value());
    EXPECT_EQ(opened.error().code, ErrorCode::kVersionMismatch);
    for (const char* part : {version, "version 2", hint}) {
      EXPECT_NE(opened.error().message.find(part), std::string::npos) << opened.error().message;
    }
  }
}

TEST_F(DamageTest, VerifyNamesWhatIsDamaged) {
  std::mt19937_64 random(3);
  std::uint64_t n_found = 0;
  for (const std::string& file : files_) {
    if (!file.ends_with(".sst")) continue;
    const std::string copy = folder_ / "copy";
    fs::remove_all(copy);
    fs::copy(store_, copy, fs::copy_options::recursive);
    flip(copy + "/" + file, 10 + random() % 100, 3);  // in the first block
    auto manager = SessionManager::open(copy, options());
    if (!manager) {
      ++n_found;
      continue;
    }
    auto report = (*manager)->verify();
    ASSERT_TRUE(report.has_value()) << report.error().message;
    EXPECT_FALSE(report->problems.empty()) << file;
    for (const Problem& p : report->problems) EXPECT_FALSE(p.place.empty() || p.message.empty());
    if (!report->problems.empty()) ++n_found;
  }
  EXPECT_GE(n_found, 3U);
}

TEST(Store, PlacesThatCannotBeAStoreAreRefused) {
  test::TempFolder folder;
  StoreOptions no_create;
  no_create.create_if_missing = false;
  auto missing = SessionManager::open(folder / "none", no_create);
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(write_file_atomic(folder / "file", "x").has_value());
  auto file = SessionManager::open(folder / "file");
  ASSERT_FALSE(file.has_value());
  EXPECT_NE(file.error().message.find(folder / "file"), std::string::npos);
  fs::create_directory(folder / "other");
  ASSERT_TRUE(write_file_atomic(folder / "other/FORMAT", "something else entirely").has_value());
  auto other = SessionManager::open(folder / "other");
  ASSERT_FALSE(other.has_value());
  EXPECT_EQ(other.error().code, ErrorCode::kCorruption);
}

}  // namespace
}  // namespace longhaul::sessions
