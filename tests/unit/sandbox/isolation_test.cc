#include "sandbox/isolation.h"

#include <gmock/gmock.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "tests/unit/sandbox/sandbox_fixture.h"

namespace longhaul::sandbox {
namespace {

using ::testing::HasSubstr;

// Runs `body` in a child process, for what must not happen to the test's own; its return value says whether it went
// well. The child is a fork of a process without other threads.
bool in_child(const std::function<bool()>& body) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(body() ? 0 : 1);
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool one_call_works(Zygote& zygote) {
  auto pool = WorkerPool::start(zygote);
  if (!pool) {
    std::fprintf(stderr, "%s\n", pool.error().message.c_str());
    return false;
  }
  ScriptedPowers powers;
  powers.on_call = [](const HostCall&) { return HostAnswer::of("12:00"); };
  const PluginSource source{"t.lua",
                            "return { name='t', description='d', effect='read', parameters='{}', "
                            "powers={clock=true}, run=function(a, c) return c.clock.now() end }"};
  const CallOutcome outcome = (*pool)->call(source, CallRequest{}, powers);
  if (outcome.text != "12:00") std::fprintf(stderr, "%s\n", shown(outcome).c_str());
  return outcome.kind == CallOutcome::Kind::kOk && outcome.text == "12:00";
}

std::string table(const LayerReport& report) {
  std::string text;
  for (const Layer& layer : report.layers)
    text += layer.name + (layer.holds ? ": " : ": MISSING: ") + layer.detail + "\n";
  return text;
}

TEST(Isolation, ProbeShowsEveryLayerAndProvesTheFilter) {
  auto report = test_zygote().probe();
  ASSERT_TRUE(report.has_value()) << report.error().message;
  std::printf("%s", table(*report).c_str());
  EXPECT_TRUE(report->plugins_allowed) << report->reason;
  for (const char* name : {"no_new_privs", "seccomp", "self-test", "proof", "resource limits"}) {
    ASSERT_NE(report->find(name), nullptr) << name;
    EXPECT_TRUE(report->find(name)->holds) << name << ": " << report->find(name)->detail;
  }
  for (const char* name : {"namespaces", "empty root", "user", "landlock"}) {
    ASSERT_NE(report->find(name), nullptr) << name;
  }
}

TEST(Isolation, ReportSurvivesItsJson) {
  auto report = test_zygote().probe();
  ASSERT_TRUE(report.has_value());
  auto again = layer_report(report->to_json_value());
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->layers, report->layers);
}

TEST(Isolation, WithoutSeccompPluginsAreOff) {
  IsolationOptions options;
  options.seccomp = false;
  auto zygote = Zygote::start(options);
  ASSERT_TRUE(zygote.has_value());
  auto pool = WorkerPool::start(**zygote);
  ASSERT_FALSE(pool.has_value());
  EXPECT_EQ(pool.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(pool.error().message, "plugins are off: seccomp is missing (left out)");
}

TEST(Isolation, WithoutNamespacesAndLandlockItRunsAndSaysSo) {
  IsolationOptions options;
  options.namespaces = false;
  options.landlock = false;
  options.change_user = false;
  auto zygote = Zygote::start(options);
  ASSERT_TRUE(zygote.has_value());
  EXPECT_TRUE(one_call_works(**zygote));
  auto report = (*zygote)->probe();
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_TRUE(report->plugins_allowed) << report->reason;
  EXPECT_TRUE(report->degraded());
  EXPECT_FALSE(report->find("namespaces")->holds);
  EXPECT_FALSE(report->find("landlock")->holds);
  EXPECT_FALSE(report->find("empty root")->holds);
}

TEST(Isolation, WorksForAnOrdinaryUser) {
  if (::getuid() != 0) GTEST_SKIP() << "runs as an ordinary user already; the other tests show it";
  EXPECT_TRUE(in_child([] {
    if (::setgroups(0, nullptr) != 0 || ::setresgid(65'534, 65'534, 65'534) != 0 ||
        ::setresuid(65'534, 65'534, 65'534) != 0) {
      return false;
    }
    auto zygote = Zygote::start();
    if (!zygote) return false;
    auto report = (*zygote)->probe();
    if (!report || !report->plugins_allowed || !report->find("user")->holds) return false;
    std::printf("%s", table(*report).c_str());
    return one_call_works(**zygote);
  }));
}

bool files_work(Zygote& zygote) {
  TemporaryFolder folder;
  auto files = Files::open(zygote, folder.path(), true);
  if (!files) return false;
  const HostAnswer written = (*files)->answer({"files", "write", {"a/b.txt", "text"}});
  const HostAnswer read = (*files)->answer({"files", "read", {"a/b.txt"}});
  const HostAnswer out = (*files)->answer({"files", "read", {"../x"}});
  if (!written.ok) std::fprintf(stderr, "%s\n", written.error.c_str());
  return written.ok && read == HostAnswer::of("text") && !out.ok;
}

TEST(Isolation, WorksForAnOrdinaryUserWithoutNamespaces) {
  if (::getuid() != 0) GTEST_SKIP() << "needs root to become an ordinary user";
  EXPECT_TRUE(in_child([] {
    if (::setgroups(0, nullptr) != 0 || ::setresgid(65'534, 65'534, 65'534) != 0 ||
        ::setresuid(65'534, 65'534, 65'534) != 0) {
      return false;
    }
    IsolationOptions options;
    options.namespaces = false;
    auto zygote = Zygote::start(options);
    return zygote && one_call_works(**zygote) && files_work(**zygote);
  }));
}

TEST(Isolation, WorksForRootWithoutCapabilities) {
  if (::getuid() != 0) GTEST_SKIP() << "needs root";
  EXPECT_TRUE(in_child([] {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct none[2] = {};
    if (::syscall(SYS_capset, &header, none) != 0) return false;
    auto zygote = Zygote::start();
    return zygote && one_call_works(**zygote) && files_work(**zygote);
  }));
}

// What an old container profile leaves: no clone3, no namespaces, no Landlock, no openat2.
TEST(Isolation, WorksInAContainerThatForbidsMuch) {
  EXPECT_TRUE(in_child([] {
    const auto rule = [](unsigned argument, std::uint64_t mask) {
      return scmp_arg_cmp{argument, SCMP_CMP_MASKED_EQ, mask, mask};
    };
    scmp_filter_ctx list = ::seccomp_init(SCMP_ACT_ALLOW);
    bool fine = ::seccomp_rule_add(list, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0) == 0;
    for (std::uint64_t flag : {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET}) {
      fine &= ::seccomp_rule_add(list, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1, rule(0, flag)) == 0;
    }
    for (int number : {SCMP_SYS(landlock_create_ruleset), SCMP_SYS(openat2)}) {
      fine &= ::seccomp_rule_add(list, SCMP_ACT_ERRNO(number == SCMP_SYS(openat2) ? EPERM : ENOSYS), number, 0) == 0;
    }
    fine &= ::seccomp_load(list) == 0;
    if (!fine) return false;
    auto zygote = Zygote::start();
    if (!zygote) return false;
    auto report = (*zygote)->probe();
    if (!report || !report->plugins_allowed || report->find("namespaces")->holds || report->find("landlock")->holds) {
      return false;
    }
    return one_call_works(**zygote) && files_work(**zygote);
  }));
}

TEST(Isolation, ADeadZygoteIsAnError) {
  auto zygote = Zygote::start();
  ASSERT_TRUE(zygote.has_value());
  auto pool = WorkerPool::start(**zygote);
  ASSERT_TRUE(pool.has_value());
  ::kill((*zygote)->pid(), SIGKILL);
  ScriptedPowers powers;
  const CallOutcome outcome =
      (*pool)->call({"t.lua", "return { run = function() return 1 end }"}, CallRequest{}, powers);
  EXPECT_EQ(outcome.kind, CallOutcome::Kind::kUnavailable) << shown(outcome);
  EXPECT_THAT(outcome.text, HasSubstr("zygote"));
}

TEST(Isolation, TheZygoteForgetsArgumentsAndEnvironment) {
  // The test binary was started with both; the zygote's own copies are what a worker could ever see.
  const std::string proc = "/proc/" + std::to_string(test_zygote().pid());
  auto report = test_zygote().probe();  // it is past its preparation
  ASSERT_TRUE(report.has_value());
  for (const char* name : {"/cmdline", "/environ"}) {
    auto text = read_file(proc + name, 1 << 20);
    ASSERT_TRUE(text.has_value()) << text.error().message;
    EXPECT_EQ(text->find_first_not_of('\0'), std::string::npos) << name;
  }
}

TEST(Isolation, NoProcessIsLeftBehind) {
  pid_t worker = -1;
  {
    auto zygote = Zygote::start();
    ASSERT_TRUE(zygote.has_value());
    auto process = (*zygote)->spawn_worker(std::int64_t{128} << 20);
    ASSERT_TRUE(process.has_value());
    worker = process->pid;
    ASSERT_EQ(::kill(worker, 0), 0);
    // Its hello: from here on it has its death signal (before, the end of its socket would end it).
    Channel channel(process->socket.get());
    ASSERT_TRUE(channel.receive(Deadline::in_ms(10'000), nullptr).has_value());
    process->socket.release();  // keep the worker's socket open: it must go with the zygote
    zygote->reset();
    // Dead, or dying: the death signal was sent when the zygote ended.
    pollfd dead{process->pidfd.get(), POLLIN, 0};
    EXPECT_EQ(::poll(&dead, 1, 5'000), 1);
  }
}

}  // namespace
}  // namespace longhaul::sandbox
