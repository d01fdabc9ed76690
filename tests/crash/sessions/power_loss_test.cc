// Power loss and failing disks, from seeds. What was acknowledged as durable is there afterwards, record for record;
// what was not may be missing from the end on, and nothing else.
#include <gtest/gtest.h>

#include <cstdlib>

#include "runtime/base/file.h"
#include "sessions/session_manager.h"
#include "tests/support/sessions/fake_clock.h"
#include "tests/support/sessions/fake_model.h"
#include "tests/support/sessions/fault_fs.h"
#include "tests/support/sessions/temp_folder.h"
#include "tests/support/setting.h"

namespace longhaul::sessions {
namespace {

using testing_support::setting;

class Disk {
 public:
  explicit Disk(std::uint64_t seed) : random_(seed) {
    fs_ = std::make_shared<test::FaultFs>(rocksdb::FileSystem::Default());
    env_ = rocksdb::NewCompositeEnv(fs_);
  }

  std::uint64_t below(std::uint64_t n) { return random_() % n; }

  Result<void> open() {
    StoreOptions options;
    options.clock = &clock_;
    options.env = env_.get();
    options.boot_id = Digest{boots_, 1};
    options.ingest_bytes_min = below(2) == 0 ? 3000 : std::size_t{1} << 20;
    options.state_policy.tokens_min = 1;
    options.write_buffer_bytes = 64 << 10;  // flushes are part of what is tested
    options.log_bytes_max = 256 << 10;
    auto manager = SessionManager::open(folder_ / "s", options);
    if (!manager) return manager.error();
    manager_ = std::move(*manager);
    return {};
  }
  Result<void> open_session() {
    auto session = manager_->open_session("a", {"m", "t"});
    if (!session && session.error().code == ErrorCode::kNotFound) {
      session = manager_->create("a", {{"m", "t"}, test::small_layout(), 3, "{}"});
    }
    if (!session) return session.error();
    session_ = std::move(*session);
    return {};
  }
  void close() {
    session_.reset();
    manager_.reset();
  }

  // One random thing. Gives whether it was acknowledged as durable.
  Result<bool> act() {
    clock_.now_ms += 700;
    const Context& context = session_->context();
    switch (below(9)) {
      case 0:
        return durable(session_->append(UserMessage{std::string(below(3000), 'u')}));
      case 1: {
        std::vector<TokenId> ids(1 + below(200));
        for (auto& id : ids) id = static_cast<TokenId>(below(1000));
        return fleeting(session_->feed_tokens(ids));
      }
      case 2:
      case 3: {
        Result<void> done;
        for (std::uint64_t i = 1 + below(10); i > 0 && done; --i) {
          done = session_->sample_token(static_cast<TokenId>(below(1000)), context.n_draws());
        }
        return fleeting(std::move(done));
      }
      case 4:
        return durable(session_->append(
            CallIntent{context.calls().size(), "c", session_->idempotency_key(), "t", "{}", Effect::kOnce}));
      case 5: {
        auto back = session_->reset_context(below(context.tokens().size() + 1), "r");
        if (!back) return back.error();
        return false;
      }
      case 6:
        if (rewinds_) return durable(session_->rewind(Cut::at_token(below(context.tokens().size() + 1))));
        return durable(session_->append(Note{"{}"}, Sync::kAlways));
      default: {
        const auto state = test::state_after(test::small_layout(), context.tokens());
        CommitRequest request;
        request.state = &state;
        return durable(session_->commit(request));
      }
    }
  }

  template <class T>
  static Result<bool> durable(Result<T> result) {
    if (!result) return result.error();
    return true;
  }
  static Result<bool> fleeting(Result<void> result) {
    if (!result) return result.error();
    return false;
  }

  std::vector<std::string> journal() const {
    std::vector<std::string> out;
    auto walked = session_->for_each_record([&](const JournalEntry& entry) -> Result<void> {
      out.push_back(std::string(kind_name(kind_of(entry.record))) + ":" + encode_payload(entry.record));
      return {};
    });
    EXPECT_TRUE(walked.has_value()) << walked.error().message;
    return out;
  }

  void expect_sound() {
    auto report = manager_->verify();
    ASSERT_TRUE(report.has_value()) << report.error().message;
    for (const Problem& p : report->problems) ADD_FAILURE() << p.session << ": " << p.place << ": " << p.message;
    auto loaded = session_->load_state();
    ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
    model::SequenceState state = loaded->state ? std::move(*loaded->state) : model::SequenceState(test::small_layout());
    test::feed(state, loaded->tokens_to_feed);
    EXPECT_TRUE(state.same_as(test::state_after(test::small_layout(), session_->context().tokens())));
  }

  std::mt19937_64 random_;
  test::TempFolder folder_;
  test::FakeClock clock_;
  std::shared_ptr<test::FaultFs> fs_;
  std::unique_ptr<rocksdb::Env> env_;
  std::unique_ptr<SessionManager> manager_;
  std::unique_ptr<Session> session_;
  std::uint64_t boots_ = 1;
  bool rewinds_ = true;
};

// `now` begins with what was durable, and is a beginning of what was there.
void expect_nothing_durable_lost(const std::vector<std::string>& now, const std::vector<std::string>& before,
                                 std::size_t n_durable) {
  ASSERT_GE(now.size(), n_durable);
  ASSERT_LE(now.size(), before.size());
  for (std::size_t i = 0; i < now.size(); ++i) ASSERT_EQ(now[i], before[i]) << "record " << i + 1;
}

void power_losses(std::uint64_t seed) {
  Disk disk(seed);
  ASSERT_TRUE(disk.open().has_value());
  ASSERT_TRUE(disk.open_session().has_value());
  for (int loss = 0; loss < 4; ++loss) {
    std::vector<std::string> before = disk.journal();
    std::size_t n_durable = before.size();
    // The mark is a file of its own: after the loss it may be any one written since it was last synced, at opening.
    auto mark = read_file(disk.folder_ / "s/high-water", 1 << 20);
    ASSERT_TRUE(mark.has_value());
    std::vector<std::string> marks = {*mark};
    for (std::uint64_t n = 1 + disk.below(25); n > 0; --n) {
      // A kill in between a reset and the next sync must not show the old journal as the new one's beginning: what a
      // reset or rewind leaves is read anew.
      auto done = disk.act();
      ASSERT_TRUE(done.has_value()) << done.error().message;
      before = disk.journal();
      if (*done) n_durable = before.size();
      marks.push_back(*read_file(disk.folder_ / "s/high-water", 1 << 20));
    }
    disk.fs_->cut_power();
    disk.close();
    disk.fs_->lose_unsynced(disk.random_);
    ++disk.boots_;
    ASSERT_TRUE(write_file_atomic(disk.folder_ / "s/high-water", marks[disk.below(marks.size())]).has_value());
    auto opened = disk.open();
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    auto session = disk.open_session();
    ASSERT_TRUE(session.has_value()) << session.error().message;
    ASSERT_NO_FATAL_FAILURE(expect_nothing_durable_lost(disk.journal(), before, n_durable));
    ASSERT_NO_FATAL_FAILURE(disk.expect_sound());
  }
}

TEST(PowerLoss, WhatWasDurableIsThere) {
  const std::uint64_t first = setting("LONGHAUL_SEED", 1), runs = setting("LONGHAUL_RUNS", 40);
  for (std::uint64_t seed = first; seed < first + runs && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("LONGHAUL_SEED=" + std::to_string(seed) + " LONGHAUL_RUNS=1");
    power_losses(seed);
  }
}

// The harness itself: if syncing did nothing, the test above would have to fail.
TEST(PowerLoss, TheTestWouldNoticeALostSync) {
  Disk disk(5);
  ASSERT_TRUE(disk.open().has_value());
  ASSERT_TRUE(disk.open_session().has_value());
  ASSERT_TRUE(disk.session_->sync().has_value());
  ASSERT_TRUE(disk.session_->feed_tokens(std::vector<TokenId>(5000, 1)).has_value());  // not synced
  disk.fs_->cut_power();
  disk.close();
  disk.fs_->lose_unsynced(disk.random_);
  ++disk.boots_;
  ASSERT_TRUE(disk.open().has_value());
  ASSERT_TRUE(disk.open_session().has_value());
  EXPECT_TRUE(disk.session_->context().tokens().empty());
}

void failing_disk(std::uint64_t seed) {
  Disk disk(seed);
  const bool no_space = disk.below(2) == 0;
  disk.rewinds_ = false;  // one that failed at its sync may show after a restart: the journal would be shorter
  ASSERT_TRUE(disk.open().has_value());
  ASSERT_TRUE(disk.open_session().has_value());
  for (int round = 0; round < 3; ++round) {
    std::vector<std::string> before = disk.journal();
    disk.fs_->fail_after(1 + disk.below(40), disk.below(3), no_space);
    for (int n = 0; n < 25; ++n) {
      const Digest digest = disk.session_->context().digest();
      auto done = disk.act();
      if (done) {
        before = disk.journal();
        continue;
      }
      EXPECT_EQ(done.error().code, ErrorCode::kIo) << done.error().message;
      EXPECT_NE(done.error().message.find(disk.folder_ / "s"), std::string::npos) << done.error().message;
      // What was there is readable, and the session is as it was.
      const auto now = disk.journal();
      ASSERT_GE(now.size(), before.size());  // a batch of several steps may have got some way
      for (std::size_t i = 0; i < before.size(); ++i) ASSERT_EQ(now[i], before[i]);
      if (now.size() == before.size()) {
        EXPECT_EQ(disk.session_->context().digest(), digest);
      }
      before = now;
    }
    disk.fs_->heal();
    disk.close();
    auto opened = disk.open();
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    auto session = disk.open_session();
    ASSERT_TRUE(session.has_value()) << session.error().message;
    const auto now = disk.journal();
    // A write that failed at its sync may be there whole all the same.
    ASSERT_GE(now.size(), before.size());
    for (std::size_t i = 0; i < before.size(); ++i) ASSERT_EQ(now[i], before[i]);
    ASSERT_NO_FATAL_FAILURE(disk.expect_sound());
  }
}

TEST(FailingDisk, IsAnErrorThatNamesTheStoreAndLosesNothing) {
  const std::uint64_t first = setting("LONGHAUL_SEED", 1), runs = setting("LONGHAUL_RUNS", 24);
  for (std::uint64_t seed = first; seed < first + runs && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("LONGHAUL_SEED=" + std::to_string(seed) + " LONGHAUL_RUNS=1");
    failing_disk(seed);
  }
}

TEST(FailingDisk, AFullOneIsSaidAndWritingGoesOnAfterOpeningAnew) {
  Disk disk(1);
  ASSERT_TRUE(disk.open().has_value());
  ASSERT_TRUE(disk.open_session().has_value());
  ASSERT_TRUE(disk.session_->append(UserMessage{"before"}).has_value());
  const auto before = disk.journal();
  disk.fs_->fail_after(1, 0, true);
  for (int i = 0; i < 3; ++i) {
    auto full = disk.session_->append(UserMessage{"no room"});
    ASSERT_FALSE(full.has_value());
    EXPECT_EQ(full.error().code, ErrorCode::kIo);
    EXPECT_NE(full.error().message.find("no space left"), std::string::npos) << full.error().message;
    EXPECT_NE(full.error().message.find(disk.folder_ / "s"), std::string::npos);
  }
  EXPECT_FALSE(disk.session_->commit({}).has_value());
  EXPECT_EQ(disk.journal(), before);  // reading goes on
  EXPECT_TRUE(disk.manager_->show("a").has_value());
  disk.fs_->heal();
  disk.close();
  ASSERT_TRUE(disk.open().has_value());
  ASSERT_TRUE(disk.open_session().has_value());
  EXPECT_EQ(disk.journal(), before);
  ASSERT_TRUE(disk.session_->append(UserMessage{"room again"}).has_value());
  const auto after = disk.journal();
  EXPECT_EQ(after.size(), before.size() + 1);
  disk.close();
  ASSERT_TRUE(disk.open().has_value());
  ASSERT_TRUE(disk.open_session().has_value());
  EXPECT_EQ(disk.journal(), after);
  disk.expect_sound();
}

// Looks at each manifest at the moment at which CURRENT is made to name it.
class CurrentWatch final : public test::FaultFs {
 public:
  using FaultFs::FaultFs;
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                      IODebugContext* debug) override {
    if (to.ends_with("/CURRENT")) {
      std::string name = *read_file(from, 1 << 10);
      name.erase(name.find_last_not_of('\n') + 1);
      ++manifests;
      if (name_may_be_lost((std::filesystem::path(to).parent_path() / name).string())) ++in_danger;
    }
    return FaultFs::RenameFile(from, to, options, debug);
  }
  int manifests = 0, in_danger = 0;
};

TEST(PowerLoss, CurrentNamesNoManifestWhoseOwnNameMayBeLost) {
  test::TempFolder folder;
  const auto watch = std::make_shared<CurrentWatch>(rocksdb::FileSystem::Default());
  const auto env = rocksdb::NewCompositeEnv(watch);
  StoreOptions options;
  options.env = env.get();
  for (int i = 0; i < 3; ++i) {
    auto manager = SessionManager::open(folder / "s", options);
    ASSERT_TRUE(manager.has_value()) << manager.error().message;
  }
  EXPECT_GE(watch->manifests, 3);
  EXPECT_EQ(watch->in_danger, 0);
}

// Looks, at each write to a manifest, at the tables that were linked, and at each write to a log and before each file
// is deleted at the manifests.
class OrderWatch final : public test::FaultFs {
 public:
  using FaultFs::FaultFs;
  IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                           std::unique_ptr<rocksdb::FSWritableFile>* result, IODebugContext* debug) override {
    IOStatus status = FaultFs::NewWritableFile(path, options, result, debug);
    const bool manifest = path.find("/MANIFEST-") != std::string::npos;
    if (!status.ok() || !(manifest || path.ends_with(".log"))) return status;
    if (manifest) manifests_.push_back(path);
    *result = std::make_unique<Watched>(std::move(*result), *this, manifest ? tables_ : manifests_);
    return status;
  }
  IOStatus LinkFile(const std::string& from, const std::string& to, const IOOptions& options,
                    IODebugContext* debug) override {
    tables_.push_back(to);
    return FaultFs::LinkFile(from, to, options, debug);
  }
  IOStatus DeleteFile(const std::string& path, const IOOptions& options, IODebugContext* debug) override {
    look_at(manifests_);
    return FaultFs::DeleteFile(path, options, debug);
  }

  // Whether all of what a commit rests on is on the disk.
  bool safe() {
    const int before = in_danger;
    look_at(tables_);
    look_at(manifests_);
    return in_danger == before;
  }
  std::size_t n_tables() const { return tables_.size(); }
  int in_danger = 0;

 private:
  class Watched final : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    Watched(std::unique_ptr<rocksdb::FSWritableFile>&& file, OrderWatch& watch, const std::vector<std::string>& needed)
        : FSWritableFileOwnerWrapper(std::move(file)), watch_(watch), needed_(needed) {}
    IOStatus Append(const rocksdb::Slice& data, const IOOptions& options, IODebugContext* debug) override {
      watch_.look_at(needed_);
      return FSWritableFileOwnerWrapper::Append(data, options, debug);
    }
    IOStatus Append(const rocksdb::Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo& info,
                    IODebugContext* debug) override {
      watch_.look_at(needed_);
      return FSWritableFileOwnerWrapper::Append(data, options, info, debug);
    }

   private:
    OrderWatch& watch_;
    const std::vector<std::string>& needed_;
  };

  void look_at(const std::vector<std::string>& paths) {
    for (const std::string& path : paths) {
      if (std::filesystem::exists(path) && (name_may_be_lost(path) || content_may_be_lost(path))) ++in_danger;
    }
  }

  std::vector<std::string> manifests_, tables_;
};

TEST(PowerLoss, TablesManifestAndBatchReachTheDiskInThisOrder) {
  test::TempFolder folder;
  const auto watch = std::make_shared<OrderWatch>(rocksdb::FileSystem::Default());
  const auto env = rocksdb::NewCompositeEnv(watch);
  StoreOptions options;
  options.env = env.get();
  options.ingest_bytes_min = 1;  // states, pages and summaries each
  options.state_policy.tokens_min = 1;
  auto manager = SessionManager::open(folder / "s", options);
  ASSERT_TRUE(manager.has_value()) << manager.error().message;
  auto session = (*manager)->create("a", {{"m", "t"}, test::small_layout(), 3, "{}"});
  ASSERT_TRUE(session.has_value()) << session.error().message;
  for (int turn = 1; turn <= 8; ++turn) {
    ASSERT_TRUE((*session)->feed_tokens(std::vector<TokenId>(100, 7)).has_value());
    const auto state = test::state_after(test::small_layout(), (*session)->context().tokens());
    CommitRequest request;
    request.state = &state;
    ASSERT_TRUE((*session)->commit(request).has_value());
    EXPECT_TRUE(watch->safe()) << turn;
  }
  EXPECT_GE(watch->n_tables(), 20U);
  EXPECT_EQ(watch->in_danger, 0);
}

}  // namespace
}  // namespace longhaul::sessions
