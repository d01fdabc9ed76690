#include "sandbox/powers/files.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/stat.h>

#include <csignal>
#include <thread>

#include "sandbox/powers/file_broker.h"
#include "tests/unit/sandbox/sandbox_fixture.h"

namespace longhaul::sandbox {
namespace {

using ::testing::HasSubstr;

std::string shown(const HostAnswer& answer) {
  return answer.ok ? to_json(answer.value) : "error: " + answer.error;
}

class FilesTest : public ::testing::Test {
 protected:
  void SetUp() override { open(true); }
  void open(bool writable) {
    auto files = Files::open(test_zygote(), folder_.path(), writable);
    ASSERT_TRUE(files.has_value()) << files.error().message;
    files_ = std::move(*files);
  }
  std::string ask(const std::string& op, std::vector<std::string> args) {
    return shown(files_->answer({"files", op, std::move(args)}));
  }

  TemporaryFolder folder_;
  std::unique_ptr<Files> files_;
};

TEST_F(FilesTest, AFolderThatIsNotThereIsNamed) {
  auto files = Files::open(test_zygote(), folder_.path() + "/none", false);
  ASSERT_FALSE(files.has_value());
  EXPECT_EQ(files.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(files.error().message, HasSubstr("/none"));
  folder_.write("file", "x");
  EXPECT_EQ(Files::open(test_zygote(), folder_.path() + "/file", false).error().code, ErrorCode::kInvalidArgument);
}

TEST_F(FilesTest, TheBrokerIsUnderItsLayers) {
  auto layers = files_->layers();
  ASSERT_TRUE(layers.has_value()) << layers.error().message;
  EXPECT_TRUE(layers->find("seccomp")->holds) << layers->find("seccomp")->detail;
  auto probed = test_zygote().probe();
  ASSERT_TRUE(probed.has_value());
  EXPECT_EQ(layers->find("landlock")->holds, probed->find("landlock")->holds) << layers->find("landlock")->detail;
}

TEST_F(FilesTest, AppendsAndMakesFolders) {
  EXPECT_EQ(ask("append", {"log/a/b.txt", "one\n"}), "true");
  EXPECT_EQ(ask("append", {"log/a/b.txt", "two\n"}), "true");
  EXPECT_EQ(folder_.read("log/a/b.txt"), "one\ntwo\n");
}

TEST_F(FilesTest, ListsSortedWithFoldersMarked) {
  folder_.write("b", "");
  folder_.write("a/x", "");
  folder_.write("B", "");
  folder_.write(".longhaul-tmp-1", "left behind by a crash");
  ASSERT_EQ(::symlink("b", (folder_.path() + "/link").c_str()), 0);
  ASSERT_EQ(::mkfifo((folder_.path() + "/pipe").c_str(), 0600), 0);
  EXPECT_EQ(ask("list", {""}), R"(["B","a/","b"])");
}

TEST_F(FilesTest, RefusesWhatIsNoTextFile) {
  folder_.write("bytes", "a\xff");
  folder_.write("nul", std::string("a\0b", 3));
  folder_.write("large", std::string(600 << 10, 'x'));
  folder_.write("fits", std::string(512 << 10, 'x'));
  ASSERT_EQ(::mkfifo((folder_.path() + "/pipe").c_str(), 0600), 0);
  EXPECT_EQ(ask("read", {"bytes"}), "error: not a text file: bytes");
  EXPECT_EQ(ask("read", {"nul"}), "error: not a text file: nul");
  EXPECT_EQ(ask("read", {"large"}), "error: file too large: large has 614400 bytes, at most 524288 are read");
  EXPECT_EQ(ask("read", {"fits"}).size(), (512U << 10) + 2);
  EXPECT_EQ(ask("read", {"pipe"}), "error: not a regular file: pipe");
  EXPECT_EQ(ask("append", {"pipe", "x"}), "error: not a regular file: pipe");
  EXPECT_EQ(ask("write", {"pipe", "x"}), "error: not a regular file: pipe");
  EXPECT_EQ(ask("write", {"w", std::string("a\0b", 3)}), "error: content holds a NUL byte: w");
  EXPECT_EQ(ask("write", {"w", std::string(600 << 10, 'x')}), "error: content of 614400 bytes, at most 524288: w");
}

TEST_F(FilesTest, StaysInItsFolder) {
  TemporaryFolder other;
  other.write("secret", "secret");
  ASSERT_EQ(::symlink((other.path() + "/secret").c_str(), (folder_.path() + "/link").c_str()), 0);
  ASSERT_EQ(::symlink(other.path().c_str(), (folder_.path() + "/dir").c_str()), 0);
  folder_.write("in", "x");
  ASSERT_EQ(::symlink("in", (folder_.path() + "/harmless").c_str()), 0);
  EXPECT_EQ(ask("read", {"link"}), "error: symbolic links are not allowed: link");
  EXPECT_EQ(ask("read", {"dir/secret"}), "error: symbolic links are not allowed: dir/secret");
  EXPECT_EQ(ask("read", {"harmless"}), "error: symbolic links are not allowed: harmless");
  EXPECT_EQ(ask("list", {"dir"}), "error: symbolic links are not allowed: dir");
  EXPECT_EQ(ask("write", {"link", "x"}), "error: symbolic links are not allowed: link");
  EXPECT_EQ(ask("append", {"link", "x"}), "error: symbolic links are not allowed: link");
  EXPECT_EQ(ask("write", {"dir/new", "x"}), "error: symbolic links are not allowed: dir/new");
  EXPECT_EQ(ask("read", {"/etc/passwd"}),
            "error: path is absolute, expected one inside the granted folder: /etc/passwd");
  EXPECT_EQ(ask("read", {"../x"}), "error: path leads out of the granted folder: ../x");
  EXPECT_EQ(ask("read", {"in/../../x"}), "error: path leads out of the granted folder: in/../../x");
  EXPECT_EQ(ask("read", {"sub/../in"}), "\"x\"");
  EXPECT_EQ(ask("read", {std::string("in\0x", 4)}), "error: path holds a NUL byte");
  EXPECT_EQ(ask("write", {"", "x"}), "error: is a folder: ");
  EXPECT_EQ(ask("write", {".longhaul-tmp-x", "x"}), "error: this name is reserved: .longhaul-tmp-x");
  EXPECT_EQ(other.read("secret"), "secret");
}

TEST_F(FilesTest, AFolderSwappedForALinkLeadsNowhere) {
  // A race with somebody outside who moves folders: whatever the moment, nothing beyond the folder is touched.
  TemporaryFolder other;
  other.write("file", "secret");
  folder_.write("d/file", "mine");
  const std::string place = folder_.path() + "/d", aside = folder_.path() + "/aside";
  std::atomic<bool> stop = false;
  std::thread swapper([&] {
    while (!stop) {
      ::rename(place.c_str(), aside.c_str());
      [[maybe_unused]] int linked = ::symlink(other.path().c_str(), place.c_str());
      ::unlink(place.c_str());
      ::rename(aside.c_str(), place.c_str());
    }
  });
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(ask("read", {"d/file"}).find("secret"), std::string::npos);
    ask("append", {"d/file", "x"});
  }
  stop = true;
  swapper.join();
  EXPECT_EQ(other.read("file"), "secret");
}

TEST_F(FilesTest, ReadOnlyMeansReadOnly) {
  open(false);
  folder_.write("a", "x");
  EXPECT_EQ(ask("read", {"a"}), "\"x\"");
  EXPECT_EQ(ask("write", {"a", "y"}), "error: the folder is granted for reading only: a");
  EXPECT_EQ(ask("append", {"a", "y"}), "error: the folder is granted for reading only: a");
  EXPECT_EQ(folder_.read("a"), "x");
}

TEST_F(FilesTest, WritingKeepsTheMode) {
  folder_.write("script.sh", "old");
  ASSERT_EQ(::chmod((folder_.path() + "/script.sh").c_str(), 0751), 0);
  EXPECT_EQ(ask("write", {"script.sh", "new"}), "true");
  struct stat status {};
  ASSERT_EQ(::stat((folder_.path() + "/script.sh").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0751U);
  EXPECT_EQ(ask("list", {""}), R"(["script.sh"])");
}

TEST_F(FilesTest, ADeadBrokerIsReplaced) {
  folder_.write("a", "x");
  EXPECT_EQ(ask("read", {"a"}), "\"x\"");
  const pid_t first = files_->broker_pid();
  ASSERT_GT(first, 0);
  ASSERT_EQ(::kill(first, SIGKILL), 0);
  EXPECT_EQ(ask("read", {"a"}), "\"x\"");
  EXPECT_NE(files_->broker_pid(), first);
}

TEST_F(FilesTest, ARequestOfAHostThatIsGoneIsNotCarriedOut) {
  for (bool host_leaves : {false, true}) {
    Fd root(::open(folder_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    auto broker = test_zygote().spawn_broker(root.get(), true);
    ASSERT_TRUE(broker.has_value());
    Channel channel(broker->socket.get());
    ASSERT_TRUE(channel.receive(Deadline::in_ms(10'000), nullptr).has_value());
    ASSERT_EQ(::kill(broker->pid, SIGSTOP), 0);
    const std::string payload = encode(WireHostCall{1, {"files", "append", {"witness", "x"}}});
    ASSERT_TRUE(channel.send(FrameKind::kBrokerRequest, payload, Deadline::in_ms(10'000), nullptr).has_value());
    if (host_leaves) broker->socket.reset();
    ASSERT_EQ(::kill(broker->pid, SIGCONT), 0);
    if (host_leaves) {
      pollfd dead{broker->pidfd.get(), POLLIN, 0};
      ASSERT_EQ(::poll(&dead, 1, 10'000), 1);
      EXPECT_EQ(folder_.read("witness"), "x");  // that of the first round
    } else {
      ASSERT_TRUE(channel.receive(Deadline::in_ms(10'000), nullptr).has_value());
      EXPECT_EQ(folder_.read("witness"), "x");
    }
    ASSERT_TRUE(test_zygote().finish(*broker).has_value());
  }
}

TEST_F(FilesTest, OpeningWaitsForEffectsInProgress) {
  Fd other(::open(folder_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_TRUE(lock_folder(other.get(), 0));
  // As a broker in the middle of an effect: the lock is held until the file is written.
  std::thread effect([&] {
    folder_.write("late", "done");
    unlock_folder(other.get());
  });
  auto files = Files::open(test_zygote(), folder_.path(), false);
  ASSERT_TRUE(files.has_value()) << files.error().message;
  EXPECT_EQ(folder_.read("late"), "done");
  effect.join();
  ASSERT_TRUE(lock_folder(other.get(), 0));
  Fd third(::open(folder_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  EXPECT_FALSE(lock_folder(third.get(), 3));
}

TEST_F(FilesTest, ManyEntriesAreRefusedNotCut) {
  TemporaryFolder many;
  for (int i = 0; i < 12; ++i) many.write(std::to_string(i), "");
  Fd root(::open(many.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  FileLimits limits;
  limits.entries = 10;
  EXPECT_EQ(shown(file_operation(root.get(), false, {"files", "list", {"."}}, limits)),
            "error: more than 10 entries in the folder: .");
}

TEST_F(FilesTest, ThreadsShareABroker) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) ask("append", {"log", std::to_string(t) + "\n"});
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(folder_.read("log").size(), 160U);
}

}  // namespace
}  // namespace longhaul::sandbox
