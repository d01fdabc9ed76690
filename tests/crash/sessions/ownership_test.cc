// Two processes on one database, because the lock between them was lost: the one that had it first is refused at its
// next write, names both, and harms nothing; what it had acknowledged is there.
#include "sessions/ownership.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <utility>

#include "runtime/base/file.h"
#include "sessions/session_manager.h"
#include "tests/support/sessions/fake_model.h"
#include "tests/support/sessions/temp_folder.h"

extern char** environ;

namespace longhaul::sessions {
namespace {

namespace fs = std::filesystem;

const CreateRequest kRequest{{"m", "t"}, test::small_layout(), 1, "{}"};

std::string read_line(int fd) {
  std::string line;
  char c = 0;
  while (::read(fd, &c, 1) == 1 && c != '\n') line.push_back(c);
  return line;
}

template <class T>
void say(const char* what, const Result<T>& result) {
  std::printf("%s: %s\n", what, result ? "done" : result.error().message.c_str());
  std::fflush(stdout);
}

// Opens a store and writes into it, is told when somebody else has opened it too, and goes on as if nothing were.
int first_owner(const std::string& store) {
  StoreOptions options;
  options.ingest_bytes_min = 1;
  auto manager = SessionManager::open(store, options);
  if (!manager) return 1;
  auto session = (*manager)->create("a", kRequest);
  if (!session) return 1;
  model::SequenceState state(test::small_layout());
  const std::vector<TokenId> ids(200, 9);
  if (!(*session)->append(UserMessage{"acknowledged"}) || !(*session)->feed_tokens(ids)) return 1;
  test::feed(state, ids);
  CommitRequest commit;
  commit.state = &state;
  if (!(*session)->commit(commit)) return 1;
  std::printf("ready\n");
  std::fflush(stdout);
  read_line(STDIN_FILENO);
  say("append", (*session)->append(UserMessage{"from the past"}));
  say("tokens", (*session)->feed_tokens(ids));
  say("commit", (*session)->commit(commit));
  say("sync", (*session)->sync());
  say("create", (*manager)->create("b", kRequest));
  say("fork", (*manager)->fork("a", "c"));
  say("gc", (*manager)->gc());
  session->reset();
  say("delete", (*manager)->remove("a"));
  say("export", (*manager)->export_session("a", store + "/../a.lhx"));  // reads
  manager->reset();
  std::printf("closed\n");
  std::fflush(stdout);
  return 0;
}

TEST(OwnershipChild, DISABLED_FirstOwner) {
  if (const char* store = std::getenv("LONGHAUL_CHILD_STORE")) std::_Exit(first_owner(store));
}

// That process, held by its pipes.
class FirstOwner {
 public:
  explicit FirstOwner(const std::string& store) {
    int in[2], out[2];
    EXPECT_EQ(::pipe2(in, O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(out, O_CLOEXEC), 0);
    std::vector<std::string> environment = {"LONGHAUL_CHILD_STORE=" + store};
    for (char** e = environ; *e != nullptr; ++e) environment.emplace_back(*e);
    std::vector<std::string> arguments = {"test_sessions", "--gtest_filter=OwnershipChild.DISABLED_FirstOwner",
                                          "--gtest_also_run_disabled_tests", "--gtest_brief=1"};
    std::vector<char*> argv, envp;
    for (auto& a : arguments) argv.push_back(a.data());
    for (auto& e : environment) envp.push_back(e.data());
    argv.push_back(nullptr);
    envp.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    EXPECT_EQ(::posix_spawn(&pid_, "/proc/self/exe", &actions, nullptr, argv.data(), envp.data()), 0);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(in[0]);
    ::close(out[1]);
    in_ = in[1];
    out_ = out[0];
    std::string line;
    do {
      line = read_line(out_);
    } while (!line.empty() && line != "ready");
    ready_ = line == "ready";
  }
  ~FirstOwner() {
    ::close(in_);
    ::close(out_);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    EXPECT_EQ(status, 0);
  }
  bool ready() const { return ready_; }
  pid_t pid() const { return pid_; }
  // It goes on to its end; what it says.
  std::vector<std::string> go_on() {
    EXPECT_EQ(::write(in_, "\n", 1), 1);
    std::vector<std::string> lines;
    for (std::string line = read_line(out_); !line.empty(); line = read_line(out_)) lines.push_back(line);
    return lines;
  }

 private:
  pid_t pid_ = -1;
  int in_ = -1, out_ = -1;
  bool ready_ = false;
};

void expect_refused(const std::vector<std::string>& lines, const std::string& reason) {
  ASSERT_EQ(lines.size(), 10U);
  for (std::size_t i = 0; i < 8; ++i) {
    if (lines[i].find("cannot list its folder") != std::string::npos) continue;  // gc looks before it writes
    EXPECT_NE(lines[i].find("it was opened here as owner 1 ("), std::string::npos) << lines[i];
    EXPECT_NE(lines[i].find(reason), std::string::npos) << lines[i];
  }
  EXPECT_EQ(lines[9], "closed");
}

void expect_sound(SessionManager& manager) {
  auto report = manager.verify();
  ASSERT_TRUE(report.has_value()) << report.error().message;
  for (const Problem& p : report->problems) ADD_FAILURE() << p.session << ": " << p.place << ": " << p.message;
}

TEST(Ownership, AProcessThatLostTheLockCannotWrite) {
  test::TempFolder folder;
  const std::string store = folder / "store";
  FirstOwner first(store);
  ASSERT_TRUE(first.ready());
  EXPECT_EQ(SessionManager::open(store).error().code, ErrorCode::kConflict);  // the lock holds
  fs::remove(store + "/db/LOCK");
  {
    auto second = SessionManager::open(store);
    ASSERT_TRUE(second.has_value()) << second.error().message;
    auto session = (*second)->open_any("a");
    ASSERT_TRUE(session.has_value()) << session.error().message;
    EXPECT_EQ((*session)->context().tokens().size(), 200U);
    ASSERT_TRUE((*session)->append(UserMessage{"of the second"}).has_value());
    const auto lines = first.go_on();
    expect_refused(lines, "owner 2 (");
    EXPECT_NE(lines[0].find("process " + std::to_string(::getpid())), std::string::npos) << lines[0];
    EXPECT_NE(lines[0].find("process " + std::to_string(first.pid())), std::string::npos) << lines[0];
    ASSERT_TRUE((*session)->append(UserMessage{"and again"}).has_value());
    expect_sound(**second);
  }
  auto third = SessionManager::open(store);
  ASSERT_TRUE(third.has_value()) << third.error().message;
  expect_sound(**third);
  EXPECT_EQ((*third)->list()->size(), 1U);
  std::vector<std::string> messages;
  ASSERT_TRUE((*third)
                  ->for_each_record("a",
                                    [&](const JournalEntry& entry) -> Result<void> {
                                      if (const auto* m = std::get_if<UserMessage>(&entry.record)) {
                                        messages.push_back(m->text);
                                      }
                                      return {};
                                    })
                  .has_value());
  EXPECT_EQ(messages, (std::vector<std::string>{"acknowledged", "of the second", "and again"}));
  EXPECT_EQ(decode_owner(*read_file(owner_path(store), 4096))->epoch, 3U);
}

TEST(Ownership, AStoreThatWasMovedAwayIsNotWrittenFromBefore) {
  test::TempFolder folder;
  const std::string store = folder / "store";
  FirstOwner first(store);
  ASSERT_TRUE(first.ready());
  fs::rename(store, folder / "elsewhere");
  expect_refused(first.go_on(), "`owner` is gone");
  auto moved = SessionManager::open(folder / "elsewhere");
  ASSERT_TRUE(moved.has_value()) << moved.error().message;
  expect_sound(**moved);
  EXPECT_EQ((*moved)->show("a")->context.tokens().size(), 200U);
}

TEST(Ownership, AStoreThatWasPutBackFromACopyIsNotWrittenFromBefore) {
  test::TempFolder folder;
  const std::string store = folder / "store";
  ASSERT_TRUE(SessionManager::open(store).has_value());
  fs::copy(store, folder / "copy", fs::copy_options::recursive);
  fs::remove_all(store);
  FirstOwner first(store);
  ASSERT_TRUE(first.ready());
  fs::rename(store, folder / "away");
  fs::rename(folder / "copy", store);
  const auto lines = first.go_on();
  ASSERT_FALSE(lines.empty());
  EXPECT_NE(lines[0].find("it was opened here as owner 1 ("), std::string::npos) << lines[0];
  EXPECT_NE(lines[0].find("but owner 1 ("), std::string::npos) << lines[0];
  auto restored = SessionManager::open(store);
  ASSERT_TRUE(restored.has_value()) << restored.error().message;
  expect_sound(**restored);
  EXPECT_TRUE((*restored)->list()->empty());
}

// Calls `taken` in the middle of the next write to the log.
class TakenInTheMiddle final : public rocksdb::FileSystemWrapper {
 public:
  TakenInTheMiddle() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  const char* Name() const override { return "TakenInTheMiddle"; }
  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override {
    rocksdb::IOStatus status = target()->NewWritableFile(path, options, result, debug);
    if (status.ok() && path.ends_with(".log")) result->reset(new Log(std::move(*result), *this));
    return status;
  }
  std::function<void()> taken;

 private:
  class Log final : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    Log(std::unique_ptr<rocksdb::FSWritableFile>&& file, TakenInTheMiddle& fs)
        : FSWritableFileOwnerWrapper(std::move(file)), fs_(fs) {}
    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* debug) override {
      if (fs_.taken) std::exchange(fs_.taken, nullptr)();
      return FSWritableFileOwnerWrapper::Append(data, options, debug);
    }

   private:
    TakenInTheMiddle& fs_;
  };
};

TEST(Ownership, AWriteDuringWhichTheStoreWasTakenIsNotAcknowledged) {
  test::TempFolder folder;
  const std::string store = folder / "store";
  auto files = std::make_shared<TakenInTheMiddle>();
  const auto env = rocksdb::NewCompositeEnv(files);
  StoreOptions options;
  options.env = env.get();
  auto manager = SessionManager::open(store, options);
  ASSERT_TRUE(manager.has_value()) << manager.error().message;
  auto session = (*manager)->create("a", kRequest);
  ASSERT_TRUE(session.has_value());
  ASSERT_TRUE((*session)->append(UserMessage{"mine"}).has_value());
  Ownership other(store, system_clock());
  files->taken = [&] { ASSERT_TRUE(other.raise().has_value()); };
  auto lost = (*session)->append(UserMessage{"whose?"});
  ASSERT_FALSE(lost.has_value());
  EXPECT_EQ(lost.error().code, ErrorCode::kConflict);
  EXPECT_NE(lost.error().message.find("owner 2 ("), std::string::npos) << lost.error().message;
  EXPECT_EQ(files->taken, nullptr) << "the log was not written";
  EXPECT_EQ((*session)->append(UserMessage{"again"}).error().code, ErrorCode::kConflict);
  EXPECT_TRUE(other.check().has_value());
}

// A write that was under way when the store was taken can end in the log behind the new owner's.
TEST(Ownership, WritesOfAStaleOwnerInTheLogAreSetAsideAndNamed) {
  test::TempFolder folder;
  const std::string store = folder / "store";
  {
    auto manager = SessionManager::open(store);
    ASSERT_TRUE((*manager)->create("a", kRequest).has_value());
  }
  const Owner now = *decode_owner(*read_file(owner_path(store), 4096));
  Owner old = now, next = now;
  old.id = {1, 0xabcdef01};
  next.epoch = now.epoch + 5;
  {
    std::vector<std::string> names;
    ASSERT_TRUE(rocksdb::DB::ListColumnFamilies({}, store + "/db", &names).ok());
    std::vector<rocksdb::ColumnFamilyDescriptor> families;
    for (const std::string& name : names) families.emplace_back(name, rocksdb::ColumnFamilyOptions());
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* db = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open({}, store + "/db", families, &handles, &db).ok());
    const auto write = [&](const Owner& owner, bool harm) {
      rocksdb::WriteBatch batch;
      batch.PutLogData(encode_stamp(owner));
      batch.Delete(handles[1], harm ? "Sa" : "Snobody");
      ASSERT_TRUE(db->Write({}, &batch).ok());
    };
    write(now, false);
    write(next, false);
    write(old, true);
    write(old, true);
    write(next, false);
    for (auto* handle : handles) db->DestroyColumnFamilyHandle(handle);
    delete db;
  }
  auto manager = SessionManager::open(store);
  ASSERT_TRUE(manager.has_value()) << manager.error().message;
  EXPECT_TRUE((*manager)->find("a").has_value()) << "a stale deletion was taken";
  auto report = (*manager)->verify();
  ASSERT_TRUE(report.has_value());
  EXPECT_TRUE(report->problems.empty());
  ASSERT_EQ(report->notes.size(), 1U);
  EXPECT_NE(report->notes[0].find("2 writes of owner " + std::to_string(old.epoch) + " (..abcdef01)"),
            std::string::npos)
      << report->notes[0];
  EXPECT_NE(report->notes[0].find("behind those of owner " + std::to_string(next.epoch)), std::string::npos);
  // Ours stands above every number that was seen, not only above that of the file.
  EXPECT_EQ(decode_owner(*read_file(owner_path(store), 4096))->epoch, next.epoch + 1);
}

TEST(Ownership, AFileThatIsMissingOrDamagedIsMadeAnew) {
  test::TempFolder folder;
  const std::string store = folder / "store";
  ASSERT_TRUE(SessionManager::open(store).has_value());
  fs::remove(owner_path(store));  // as in a store of before
  {
    auto manager = SessionManager::open(store);
    ASSERT_TRUE(manager.has_value()) << manager.error().message;
    EXPECT_TRUE((*manager)->verify()->notes.empty());
    // Damaged while the store is open: nothing may be written, since nobody can say whose it is.
    std::string bytes = *read_file(owner_path(store), 4096);
    bytes[9] = static_cast<char>(bytes[9] ^ 4);
    ASSERT_TRUE(write_file_atomic(owner_path(store), bytes).has_value());
    auto created = (*manager)->create("a", kRequest);
    ASSERT_FALSE(created.has_value());
    EXPECT_EQ(created.error().code, ErrorCode::kConflict);
    EXPECT_NE(created.error().message.find("cannot be read any more: checksum"), std::string::npos)
        << created.error().message;
  }
  for (const std::size_t n : {std::size_t{0}, kOwnerBytes - 1, kOwnerBytes + 1, std::size_t{9000}}) {
    ASSERT_TRUE(write_file_atomic(owner_path(store), std::string(n, 'x')).has_value());
    auto manager = SessionManager::open(store);
    ASSERT_TRUE(manager.has_value()) << manager.error().message;
    EXPECT_TRUE((*manager)->create("s" + std::to_string(n), kRequest).has_value());
    EXPECT_EQ((*manager)->verify()->notes.size(), 1U) << n;
  }
}

// Within one process the name of a session is the fence: while a Session lives, nobody else changes it.
TEST(Ownership, ASessionThatIsOpenIsNotChangedByName) {
  test::TempFolder folder;
  auto manager = SessionManager::open(folder / "store");
  ASSERT_TRUE(manager.has_value());
  EXPECT_EQ(SessionManager::open(folder / "store").error().code,
            ErrorCode::kConflict);  // nor is the store opened twice
  auto session = (*manager)->create("a", kRequest);
  ASSERT_TRUE(session.has_value());
  ASSERT_TRUE((*session)->feed_tokens(std::vector<TokenId>(5, 7)).has_value());
  ASSERT_TRUE((*manager)->export_session("a", folder / "a.lhx").has_value());
  const auto conflict = [](const auto& result) { return !result && result.error().code == ErrorCode::kConflict; };
  EXPECT_TRUE(conflict((*manager)->open_any("a")));
  EXPECT_TRUE(conflict((*manager)->adopt("a", {"other", "t"}, test::small_layout())));
  EXPECT_TRUE(conflict((*manager)->rewind("a", Cut::at_token(1))));
  EXPECT_TRUE(conflict((*manager)->settle("a", Settlement::kSkip)));
  EXPECT_TRUE(conflict((*manager)->decide("a", Verdict::kApprove)));
  EXPECT_TRUE(conflict((*manager)->remove("a")));
  EXPECT_TRUE(conflict((*manager)->create("a", kRequest)));
  EXPECT_TRUE(conflict((*manager)->import_session(folder / "a.lhx")));
  EXPECT_TRUE(conflict((*manager)->fork("a", "a")));
  EXPECT_TRUE((*manager)->fork("a", "b").has_value());  // reads it
  ASSERT_TRUE((*manager)->gc().has_value());
  ASSERT_TRUE((*session)->append(UserMessage{"still mine"}).has_value());
  session->reset();
  EXPECT_TRUE((*manager)->remove("a").has_value());
  EXPECT_EQ((*manager)->open_any("a").error().code, ErrorCode::kNotFound);
  expect_sound(**manager);
}

}  // namespace
}  // namespace longhaul::sessions
