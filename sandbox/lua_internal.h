// Shared by the files that make up the Lua state; nothing else includes this.
#pragma once

#include <lua.hpp>

#include <csignal>
#include <cstdint>
#include <string>

#include "sandbox/lua_state.h"

namespace longhaul::sandbox {

enum class Stop : int { kNone = 0, kCpu = 1, kMemory = 2 };

// The sticky flag; the signal handler writes it, so it is one for the process.
extern volatile std::sig_atomic_t g_stop;

struct LuaHost {
  const ScriptJob* job = nullptr;
  std::size_t memory_used = 0, memory_max = 0, refused_bytes = 0;
  std::uint64_t random_key = 0, random_draws = 0;
  std::string log;         // not sent yet
  std::size_t logged = 0;  // bytes taken so far
  bool log_full = false;
  std::string error;  // what `error` of the outermost protected call says
  WireDone done;
  std::uint64_t n_timers = 0;  // passed in this run

  void flush_log();
};

inline LuaHost& host_of(lua_State* L) {
  return **static_cast<LuaHost**>(lua_getextraspace(L));
}

inline void check_stop(lua_State* L) {
  if (g_stop != 0) luaL_error(L, "stopped");
}

// Makes memory trouble sticky.
void note_failure(int status);

// After a protected call failed: memory trouble becomes sticky, and a sticky stop is raised again (no return then).
void raise_again_if_stopped(lua_State* L, int status);

// The running coroutines, for the signal handler. False when they are nested too deeply.
bool push_running(lua_State* L);
void pop_running();

// Pushes the value's text, as `tostring` gives it: with __tostring and __name, without addresses.
void push_text(lua_State* L, int index);

// Pushes the table that run() gets as its second argument.
void push_context(lua_State* L, const WireCall& call, const Grants& grants);

// Invalid UTF-8 becomes `?`.
std::string clean_utf8(std::string_view text);

inline std::string_view view(lua_State* L, int index) {
  std::size_t size = 0;
  const char* text = luaL_checklstring(L, index, &size);
  return {text, size};
}

// Each leaves the stack as it was and puts its functions into the table on its top.
void open_base(lua_State* L);
void open_string(lua_State* L);
void open_table(lua_State* L);

}  // namespace longhaul::sandbox
