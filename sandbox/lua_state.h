// Inside a worker: builds a Lua state with only safe parts, runs one load or one call in it, and always comes back or
// ends the process. What was taken away, what was replaced, and why: lua_base.cc, lua_string.cc, lua_table.cc.
//
// How a script is stopped. A count hook would slow every script about twofold, so none is set until it is needed: a
// timer on the process's CPU time sends SIGPROF when the budget is spent, and the handler sets a sticky flag and puts a
// hook on every coroutine of the running chain that fires at the next instruction. The hook raises an error; `pcall`
// and `coroutine.resume` are ours and raise it again for as long as the flag is set; our own library functions look at
// the flag in their loops. Whatever is left (one instruction that takes for ever) ends with the process kCpuGraceMs
// later.
#pragma once

#include <string>
#include <string_view>

#include "sandbox/wire.h"

namespace longhaul::sandbox {

// The way out of the worker. Both block; they end the process when the host is gone.
class HostLink {
 public:
  virtual ~HostLink() = default;
  virtual HostAnswer ask(const HostCall& call) = 0;
  virtual void log(std::string_view text) = 0;  // UTF-8
};

// One of two jobs: `call` null: load, and give the table without its functions as JSON text (a field `parameters` that
// is a string stays one); else run the table's `run`.
struct ScriptJob {
  const LoadRequest& plugin;
  const WireCall* call = nullptr;
  Limits limits;
  HostLink& link;
};
WireDone run_script(const ScriptJob& job);

// Once, before seccomp forbids it.
void install_stop_signal();

}  // namespace longhaul::sandbox
