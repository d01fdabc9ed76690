// Stores that cannot be written to: they can be looked at, and nothing of them changes; on a full disk something can be
// deleted.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "runtime/base/file.h"
#include "sessions/session_manager.h"
#include "sessions/store.h"
#include "tests/support/sessions/fake_model.h"
#include "tests/support/sessions/temp_folder.h"
#include "tests/support/small_disk.h"

namespace longhaul::sessions {
namespace {

namespace fs = std::filesystem;

const CreateRequest kRequest{{"m", "t"}, test::small_layout(), 1, "{}"};

// A folder without the right to write: by a mount for root, whom permissions do not stop.
class ReadOnly {
 public:
  explicit ReadOnly(const std::string& folder) : folder_(folder) {
    if (::geteuid() == 0) {
      held_ = ::mount(folder.c_str(), folder.c_str(), nullptr, MS_BIND, nullptr) == 0;
      done_ = held_ && ::mount(nullptr, folder.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) == 0;
      return;
    }
    allow(fs::perm_options::remove);
    done_ = true;
  }
  ~ReadOnly() {
    if (::geteuid() != 0) {
      allow(fs::perm_options::add);
    } else if (held_) {
      ::umount2(folder_.c_str(), MNT_DETACH);
    }
  }
  bool done() const { return done_; }

 private:
  void allow(fs::perm_options how) {
    for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
      fs::permissions(entry.path(), fs::perms::owner_write, how);
    }
    fs::permissions(folder_, fs::perms::owner_write, how);
  }
  std::string folder_;
  bool held_ = false, done_ = false;
};

std::map<std::string, std::string> content_of(const std::string& folder) {
  std::map<std::string, std::string> out;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) out[entry.path().string()] = *read_file(entry.path().string(), std::size_t{1} << 28);
  }
  return out;
}

void fill(SessionManager& manager, const std::string& name) {
  auto session = manager.create(name, kRequest);
  ASSERT_TRUE(session.has_value()) << session.error().message;
  model::SequenceState state(test::small_layout());
  const std::vector<TokenId> ids(300, 9);
  ASSERT_TRUE((*session)->feed_tokens(ids).has_value());
  test::feed(state, ids);
  CommitRequest commit;
  commit.state = &state;
  ASSERT_TRUE((*session)->commit(commit).has_value());
}

StoreOptions with(StoreAccess access) {
  StoreOptions options;
  options.create_if_missing = false;
  options.access = access;
  options.ingest_bytes_min = 1;
  return options;
}

TEST(Access, AStoreWithoutTheRightToWriteIsOnlyLookedAt) {
  test::TempFolder folder;
  const std::string store = folder / "store";
  {
    StoreOptions options;
    options.ingest_bytes_min = 1;
    auto manager = SessionManager::open(store, options);
    ASSERT_NO_FATAL_FAILURE(fill(**manager, "a"));
    ASSERT_NO_FATAL_FAILURE(fill(**manager, "b"));
  }
  const auto before = content_of(store);
  {
    const ReadOnly read_only(store);
    if (!read_only.done()) GTEST_SKIP() << "a folder cannot be made read-only here";
    auto refused = SessionManager::open(store, with(StoreAccess::kWrite));
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::kIo) << refused.error().message;
    auto manager = SessionManager::open(store, with(StoreAccess::kLook));
    ASSERT_TRUE(manager.has_value()) << manager.error().message;
    EXPECT_EQ((*manager)->list()->size(), 2U);
    EXPECT_EQ((*manager)->show("b")->context.tokens().size(), 300U);
    auto report = (*manager)->verify();
    ASSERT_TRUE(report.has_value());
    for (const Problem& p : report->problems) ADD_FAILURE() << p.session << ": " << p.place << ": " << p.message;
    EXPECT_EQ(report->sessions, 2U);
    ASSERT_EQ(report->notes.size(), 1U);
    EXPECT_NE(report->notes[0].find("only to be read"), std::string::npos) << report->notes[0];
    ASSERT_TRUE((*manager)->export_session("a", folder / "a.lhx").has_value());
    // Whatever writes says why it cannot.
    auto session = (*manager)->open_any("a");
    ASSERT_TRUE(session.has_value()) << session.error().message;
    EXPECT_TRUE((*session)->load_state()->state.has_value());
    for (const Error& error :
         {(*session)->append(UserMessage{"x"}).error(), (*manager)->remove("b").error(), (*manager)->gc().error(),
          (*manager)->fork("a", "c").error(), (*manager)->create("c", kRequest).error()}) {
      EXPECT_NE(error.message.find("only to be read: " + store), std::string::npos) << error.message;
    }
    auto missing = SessionManager::open(folder / "nowhere", with(StoreAccess::kLook));
    EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  }
  EXPECT_EQ(content_of(store), before) << "something was written";
  EXPECT_TRUE(SessionManager::open(folder / "other")->get()->import_session(folder / "a.lhx").has_value());
}

TEST(Access, DamageIsRefusedThereTooAndAnOwnerRespected) {
  test::TempFolder folder;
  const std::string store = folder / "store";
  ASSERT_NO_FATAL_FAILURE(fill(**SessionManager::open(store), "a"));
  const std::string mark = *read_file(store + "/high-water", 1 << 20);
  std::string lying = mark;
  for (const std::size_t slot : {0, 4096}) lying[slot + 20] = static_cast<char>(lying[slot + 20] ^ 1);
  ASSERT_TRUE(write_file_atomic(store + "/high-water", lying).has_value());
  {
    const ReadOnly read_only(store);
    if (!read_only.done()) GTEST_SKIP() << "a folder cannot be made read-only here";
    auto refused = SessionManager::open(store, with(StoreAccess::kLook));
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::kCorruption);
  }
  lying = mark;
  lying[20] = static_cast<char>(lying[20] ^ 1);
  ASSERT_TRUE(write_file_atomic(store + "/high-water", lying).has_value());
  {
    const ReadOnly read_only(store);
    auto manager = SessionManager::open(store, with(StoreAccess::kLook));
    ASSERT_TRUE(manager.has_value()) << manager.error().message;
    EXPECT_EQ((*manager)->notes().size(), 2U);
  }
  // One flipped slot is said at every opening until the next write has healed it.
  auto manager = SessionManager::open(store);
  ASSERT_TRUE(manager.has_value());
  ASSERT_EQ((*manager)->notes().size(), 1U);
  EXPECT_NE((*manager)->notes()[0].find("slot 0: mark checksum"), std::string::npos) << (*manager)->notes()[0];
  EXPECT_EQ((*manager)->verify()->notes, (*manager)->notes());
  ASSERT_NO_FATAL_FAILURE(fill(**manager, "b"));
  manager->reset();
  EXPECT_TRUE((*SessionManager::open(store))->notes().empty());
}

TEST(Access, OnAFullDiskSomethingCanBeLookedAtAndDeleted) {
  test::TempFolder folder;
  const longhaul::test::SmallDisk disk(folder / "disk", 80);
  if (!disk.mounted()) GTEST_SKIP() << "a small tmpfs cannot be mounted here";
  const std::string store = disk.path() + "/store";
  {
    StoreOptions options;
    options.ingest_bytes_min = 1;
    auto manager = SessionManager::open(store, options);
    for (const char* name : {"a", "b", "c"}) ASSERT_NO_FATAL_FAILURE(fill(**manager, name));
  }
  ASSERT_TRUE(fs::exists(store + "/reserve"));
  disk.fill();
  auto refused = SessionManager::open(store, with(StoreAccess::kWrite));
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("`sessions delete`"), std::string::npos) << refused.error().message;
  {
    auto manager = SessionManager::open(store, with(StoreAccess::kLook));
    ASSERT_TRUE(manager.has_value()) << manager.error().message;
    EXPECT_EQ((*manager)->list()->size(), 3U);
    EXPECT_TRUE((*manager)->verify()->problems.empty());
    EXPECT_TRUE(fs::exists(store + "/reserve"));
  }
  {
    auto manager = SessionManager::open(store, with(StoreAccess::kMakeRoom));
    ASSERT_TRUE(manager.has_value()) << manager.error().message;
    ASSERT_TRUE((*manager)->remove("a").has_value());
    ASSERT_TRUE((*manager)->remove("b").has_value());
  }
  {
    auto manager = SessionManager::open(store, with(StoreAccess::kMakeRoom));
    ASSERT_TRUE(manager.has_value()) << manager.error().message;
    auto collected = (*manager)->gc();
    ASSERT_TRUE(collected.has_value()) << collected.error().message;
    EXPECT_GT(collected->states, 0U);
    EXPECT_LT(collected->bytes_after, collected->bytes_before);
  }
  {
    auto manager = SessionManager::open(store, with(StoreAccess::kLook));
    ASSERT_TRUE(manager.has_value()) << manager.error().message;
    EXPECT_EQ((*manager)->list()->size(), 1U);
    EXPECT_EQ((*manager)->show("c")->context.tokens().size(), 300U);
    EXPECT_TRUE((*manager)->verify()->problems.empty());
  }
  disk.free();
  {
    auto manager = SessionManager::open(store, with(StoreAccess::kWrite));
    ASSERT_TRUE(manager.has_value()) << manager.error().message;
    EXPECT_EQ(fs::file_size(store + "/reserve"), StoreOptions().reserve_bytes) << "it is kept again";
    ASSERT_NO_FATAL_FAILURE(fill(**manager, "d"));
  }
}

TEST(Access, WhereTheLogCannotBeReplayedIntoTablesItIsReadAsItIs) {
  test::TempFolder folder;
  const longhaul::test::SmallDisk disk(folder / "disk", 80);
  if (!disk.mounted()) GTEST_SKIP() << "a small tmpfs cannot be mounted here";
  const std::string store = disk.path() + "/store";
  {
    auto manager = SessionManager::open(store);
    auto session = (*manager)->create("a", kRequest);
    ASSERT_TRUE(session.has_value());
    for (int i = 0; i < 100; ++i) {
      std::vector<TokenId> ids(20'000);
      for (std::size_t k = 0; k < ids.size(); ++k) ids[k] = static_cast<TokenId>(k * 7919 % 30'000);
      ASSERT_TRUE((*session)->feed_tokens(ids).has_value());
    }
  }
  // More than an opening needs by itself, less than the tables that the log becomes.
  disk.fill(kSpareBytes + (256 << 10));
  auto refused = SessionManager::open(store, with(StoreAccess::kWrite));
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("`sessions delete`"), std::string::npos) << refused.error().message;
  {
    auto manager = SessionManager::open(store, with(StoreAccess::kLook));
    ASSERT_TRUE(manager.has_value()) << manager.error().message;
    EXPECT_EQ((*manager)->show("a")->context.tokens().size(), 2'000'000U);
    EXPECT_EQ((*manager)->notes().size(), 1U);
  }
  disk.free();
  EXPECT_TRUE(SessionManager::open(store, with(StoreAccess::kWrite)).has_value());
}

TEST(Access, NotesCanBeSettledWithACall) {
  test::TempFolder folder;
  auto manager = SessionManager::open(folder / "store");
  ASSERT_TRUE(manager.has_value());
  {
    auto session = (*manager)->create("a", kRequest);
    ASSERT_TRUE((*session)->append(TurnStarted{1}).has_value());
    ASSERT_TRUE((*session)->append(CallIntent{0, "call_0", "key", "tool", "{}", Effect::kOnce}).has_value());
    ASSERT_TRUE((*session)->append(InDoubt{0, "killed"}).has_value());
  }
  EXPECT_EQ((*manager)->settle("a", Settlement::kSkip, "", "{\"k\":\"v\"}").error().code, ErrorCode::kInvalidArgument);
  for (const char* bad : {"[]", "{\"k\":1}", "{", "\"k\""}) {
    auto refused = (*manager)->settle("a", Settlement::kDone, "{}", bad);
    ASSERT_FALSE(refused.has_value()) << bad;
    EXPECT_NE(refused.error().message.find("the notes to settle with"), std::string::npos) << refused.error().message;
  }
  ASSERT_TRUE((*manager)->settle("a", Settlement::kDone, "{}", "{\"k\":\"v\",\"gone\":null}").has_value());
  std::string note;
  ASSERT_TRUE((*manager)
                  ->for_each_record("a",
                                    [&](const JournalEntry& entry) -> Result<void> {
                                      if (const auto* n = std::get_if<Note>(&entry.record)) note = n->json;
                                      return {};
                                    })
                  .has_value());
  EXPECT_EQ(note, "{\"settled_notes\":{\"k\":\"v\",\"gone\":null}}");
}

}  // namespace
}  // namespace longhaul::sessions
