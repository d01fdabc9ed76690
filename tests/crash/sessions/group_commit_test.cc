// Threads that write at the same time: one sync for all of them, one outcome for all of them, and whatever was
// acknowledged to any of them is there after a power loss.
#include "sessions/group_commit.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <thread>

#include "sessions/ownership.h"
#include "sessions/session_manager.h"
#include "tests/support/sessions/fake_clock.h"
#include "tests/support/sessions/fake_model.h"
#include "tests/support/sessions/fault_fs.h"
#include "tests/support/sessions/temp_folder.h"
#include "tests/support/setting.h"

namespace longhaul::sessions {
namespace {

using testing_support::setting;

// Over the failing disk: syncs of the database's log wait while the gate is shut, and one of them can be made to fail.
class GateFs final : public rocksdb::FileSystemWrapper {
 public:
  explicit GateFs(std::shared_ptr<rocksdb::FileSystem> base) : FileSystemWrapper(std::move(base)) {}
  static const char* kClassName() { return "GateFs"; }
  const char* Name() const override { return kClassName(); }

  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override {
    const rocksdb::IOStatus status = target()->NewWritableFile(path, options, result, debug);
    if (status.ok() && path.ends_with(".log")) result->reset(new Log(std::move(*result), *this));
    return status;
  }

  void shut() {
    const std::lock_guard lock(mutex_);
    shut_ = true;
    syncs_ = 0;
  }
  void open(int fail_sync = 0) {  // the first sync from shutting on is number 1
    const std::lock_guard lock(mutex_);
    fail_sync_ = fail_sync;
    shut_ = false;
    changed_.notify_all();
  }
  void wait_for_a_sync() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return syncs_ > 0; });
  }
  int syncs() const {
    const std::lock_guard lock(mutex_);
    return syncs_;
  }

 private:
  class Log final : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    Log(std::unique_ptr<rocksdb::FSWritableFile>&& file, GateFs& fs)
        : FSWritableFileOwnerWrapper(std::move(file)), fs_(fs) {}
    rocksdb::IOStatus Sync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override {
      if (!fs_.pass()) return rocksdb::IOStatus::IOError("EIO (test)");
      return FSWritableFileOwnerWrapper::Sync(options, debug);
    }

   private:
    GateFs& fs_;
  };

  bool pass() {
    std::unique_lock lock(mutex_);
    const int number = ++syncs_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return !shut_; });
    return number != fail_sync_;
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool shut_ = false;
  int syncs_ = 0, fail_sync_ = 0;
};

class Writers {
 public:
  explicit Writers(int n) : n_(n) {
    faults_ = std::make_shared<test::FaultFs>(rocksdb::FileSystem::Default());
    gate_ = std::make_shared<GateFs>(faults_);
    env_ = rocksdb::NewCompositeEnv(gate_);
  }

  void open() {
    StoreOptions options;
    options.clock = &clock_;
    options.env = env_.get();
    options.boot_id = Digest{boots_, 1};
    options.ingest_bytes_min = 3000;
    options.write_buffer_bytes = 64 << 10;
    options.state_policy.tokens_min = 1;
    auto manager = SessionManager::open(store(), options);
    ASSERT_TRUE(manager.has_value()) << manager.error().message;
    manager_ = std::move(*manager);
    for (int i = 0; i < n_; ++i) {
      const std::string name = "w" + std::to_string(i);
      auto session = manager_->open_session(name, {"m", "t"});
      if (!session) session = manager_->create(name, {{"m", "t"}, test::small_layout(), 1, "{}"});
      ASSERT_TRUE(session.has_value()) << session.error().message;
      sessions_.push_back(std::move(*session));
    }
  }
  void close() {
    sessions_.clear();
    manager_.reset();
  }
  void lose_power(std::mt19937_64& random) {
    faults_->cut_power();
    close();
    faults_->lose_unsynced(random);
    ++boots_;
  }

  // One writer is held at its sync until all others wait for theirs.
  std::vector<Result<std::uint64_t>> all_at_once(int fail_sync, const std::function<void()>& before_open = {}) {
    std::vector<Result<std::uint64_t>> out(static_cast<std::size_t>(n_), std::uint64_t{0});
    std::vector<std::thread> threads;
    const auto write = [&](int i) {
      threads.emplace_back([&, i] {
        const auto at = static_cast<std::size_t>(i);
        out[at] = sessions_[at]->append(Note{"{}"}, Sync::kAlways);
      });
    };
    gate_->shut();
    write(0);
    gate_->wait_for_a_sync();
    for (int i = 1; i < n_; ++i) write(i);
    while (manager_->counters().writes_waiting < static_cast<std::uint64_t>(n_)) std::this_thread::yield();
    if (before_open) before_open();
    gate_->open(fail_sync);
    for (std::thread& thread : threads) thread.join();
    return out;
  }

  std::string store() const { return folder_ / "s"; }
  Session& session(int i) { return *sessions_[static_cast<std::size_t>(i)]; }

  int n_;
  std::uint64_t boots_ = 1;
  test::TempFolder folder_;
  test::FakeClock clock_;
  std::shared_ptr<test::FaultFs> faults_;
  std::shared_ptr<GateFs> gate_;
  std::unique_ptr<rocksdb::Env> env_;
  std::unique_ptr<SessionManager> manager_;
  std::vector<std::unique_ptr<Session>> sessions_;
};

TEST(GroupCommit, WhoeverComesDuringASyncSharesTheNextOne) {
  constexpr int kWriters = 16;
  Writers writers(kWriters);
  ASSERT_NO_FATAL_FAILURE(writers.open());
  const StoreCounters before = writers.manager_->counters();
  for (const auto& each : writers.all_at_once(0)) EXPECT_TRUE(each.has_value()) << each.error().message;
  const StoreCounters after = writers.manager_->counters();
  EXPECT_EQ(after.writes - before.writes, kWriters);
  EXPECT_EQ(after.synced_writes - before.synced_writes, kWriters);
  EXPECT_EQ(after.write_groups - before.write_groups, 2);
  EXPECT_EQ(after.writes_waiting, 0);
  EXPECT_EQ(writers.gate_->syncs(), 2);
  // They were merged as they should be, and the mark speaks of the last of them.
  std::mt19937_64 random(1);
  writers.lose_power(random);
  ASSERT_NO_FATAL_FAILURE(writers.open());
  for (int i = 0; i < kWriters; ++i) EXPECT_EQ(writers.session(i).context().sequence(), 2) << i;
  auto report = writers.manager_->verify();
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_TRUE(report->problems.empty());
}

TEST(GroupCommit, AFailedSyncIsEveryMembersErrorAndAcknowledgesNobody) {
  constexpr int kWriters = 16;
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(seed);
    Writers writers(kWriters);
    ASSERT_NO_FATAL_FAILURE(writers.open());
    const auto outcomes = writers.all_at_once(2);
    EXPECT_TRUE(outcomes[0].has_value());
    for (int i = 1; i < kWriters; ++i) {
      const auto& outcome = outcomes[static_cast<std::size_t>(i)];
      ASSERT_FALSE(outcome.has_value()) << i;
      EXPECT_EQ(outcome.error().code, ErrorCode::kIo);
      EXPECT_NE(outcome.error().message.find("session w" + std::to_string(i)), std::string::npos)
          << outcome.error().message;
      EXPECT_NE(outcome.error().message.find("EIO"), std::string::npos) << outcome.error().message;
      EXPECT_EQ(writers.session(i).context().sequence(), 1) << i;
    }
    auto late = writers.session(0).append(Note{"{}"}, Sync::kAlways);
    ASSERT_FALSE(late.has_value());
    EXPECT_NE(late.error().message.find("an earlier write failed"), std::string::npos) << late.error().message;
    // As with one writer, a write that failed at its sync may be there after all: then the whole group is.
    std::mt19937_64 random(seed);
    writers.lose_power(random);
    ASSERT_NO_FATAL_FAILURE(writers.open());
    EXPECT_EQ(writers.session(0).context().sequence(), 2);
    const std::uint64_t others = writers.session(1).context().sequence();
    for (int i = 1; i < kWriters; ++i) EXPECT_EQ(writers.session(i).context().sequence(), others) << i;
  }
}

TEST(GroupCommit, NobodyIsAcknowledgedOnceTheStoreIsSomebodyElses) {
  constexpr int kWriters = 8;
  Writers writers(kWriters);
  ASSERT_NO_FATAL_FAILURE(writers.open());
  Ownership other(writers.store(), writers.clock_);
  const auto outcomes = writers.all_at_once(0, [&] { ASSERT_TRUE(other.raise().has_value()); });
  for (const auto& outcome : outcomes) {
    ASSERT_FALSE(outcome.has_value());
    EXPECT_EQ(outcome.error().code, ErrorCode::kConflict) << outcome.error().message;
  }
  EXPECT_EQ(writers.gate_->syncs(), 1);  // the second group was refused before it was written
}

struct Written {
  std::uint64_t acknowledged = 0;  // records, the session's first one among them
  std::uint64_t durable = 0;
};

// Records, tokens (not synced) and commits with tables, until the disk fails.
Written write_until_failure(Session& session, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Written out{session.context().sequence(), session.context().sequence()};
  for (int i = 0; i < 40; ++i) {
    bool durable = true, done = false;
    switch (random() % 4) {
      case 0:
        durable = false;
        done = session.feed_tokens(std::vector<TokenId>(1 + random() % 60, 5)).has_value();
        break;
      case 1: {
        const auto state = test::state_after(test::small_layout(), session.context().tokens());
        CommitRequest request;
        request.state = &state;
        done = session.commit(request).has_value();
        break;
      }
      default:
        done = session.append(Note{"{}"}, Sync::kAlways).has_value();
    }
    if (!done) break;
    out.acknowledged = session.context().sequence();
    if (durable) out.durable = out.acknowledged;
  }
  return out;
}

void many_writers_on_a_failing_disk(std::uint64_t seed) {
  constexpr int kWriters = 12;
  std::mt19937_64 random(seed);
  Writers writers(kWriters);
  ASSERT_NO_FATAL_FAILURE(writers.open());
  for (int round = 0; round < 2; ++round) {
    const bool power = random() % 2 == 0;
    if (!power) writers.faults_->fail_after(1 + random() % 200, random() % 2, random() % 2 == 0);
    const std::uint64_t cut_at = writers.manager_->counters().writes + random() % 300;
    std::vector<Written> written(kWriters);
    std::atomic<int> running{kWriters};
    std::vector<std::thread> threads;
    for (int i = 0; i < kWriters; ++i) {
      threads.emplace_back([&, i, own = random()] {
        written[static_cast<std::size_t>(i)] = write_until_failure(writers.session(i), own);
        --running;
      });
    }
    while (power && running > 0 && writers.manager_->counters().writes < cut_at) std::this_thread::yield();
    if (power) writers.faults_->cut_power();
    for (std::thread& thread : threads) thread.join();
    writers.faults_->heal();
    if (power || random() % 2 == 0) {
      writers.lose_power(random);
    } else {
      writers.close();
      for (Written& each : written) each.durable = each.acknowledged;
    }
    ASSERT_NO_FATAL_FAILURE(writers.open());
    for (int i = 0; i < kWriters; ++i) {
      const std::uint64_t now = writers.session(i).context().sequence();
      EXPECT_GE(now, written[static_cast<std::size_t>(i)].durable) << "session " << i;
      EXPECT_LE(now, written[static_cast<std::size_t>(i)].acknowledged + 1) << "session " << i;
    }
    auto report = writers.manager_->verify();
    ASSERT_TRUE(report.has_value()) << report.error().message;
    for (const Problem& p : report->problems) ADD_FAILURE() << p.session << ": " << p.place << ": " << p.message;
  }
}

TEST(GroupCommit, WhatWasAcknowledgedToAnyWriterIsThereAfterFailuresAndPowerLoss) {
  const std::uint64_t first = setting("LONGHAUL_SEED", 1), runs = setting("LONGHAUL_RUNS", 20);
  for (std::uint64_t seed = first; seed < first + runs && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("LONGHAUL_SEED=" + std::to_string(seed) + " LONGHAUL_RUNS=1");
    many_writers_on_a_failing_disk(seed);
  }
}

}  // namespace
}  // namespace longhaul::sessions
