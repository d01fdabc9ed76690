// The last means against code that no hook reaches, in a child process that stands for a worker.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/lua_state.h"
#include "sandbox/worker_main.h"

namespace longhaul::sandbox {
namespace {

// A host that answers never and burns CPU: what a library function without end would do.
class EndlessLink : public HostLink {
 public:
  HostAnswer ask(const HostCall&) override {
    for (;;) turns_ = turns_ + 1;
  }
  void log(std::string_view) override {}

 private:
  volatile int turns_ = 0;
};

int exit_status_of(const std::string& source, std::int64_t cpu_ms) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    install_stop_signal();
    EndlessLink link;
    Limits limits;
    limits.cpu_ms = cpu_ms;
    const LoadRequest plugin{"t.lua", source, limits};
    const WireCall call{"", "", 0, json::object{}, limits};
    const WireDone done = run_script({plugin, &call, limits, link});
    ::_exit(done.limit == LimitKind::kCpu ? 1 : 2);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Stop, ALoopInLuaEndsByTheHook) {
  EXPECT_EQ(exit_status_of("return { run = function() while true do end end }", 30), 1);
}

TEST(Stop, ALoopThatNoHookReachesEndsWithTheProcess) {
  EXPECT_EQ(exit_status_of("return { powers = {clock = true}, run = function(a, c) c.clock.now() end }", 30),
            kExitCpuLimit);
}

}  // namespace
}  // namespace longhaul::sandbox
