#include "sandbox/lua_state.h"

#include <fmt/format.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <ctime>

#include "sandbox/bridge.h"
#include "sandbox/lua_internal.h"
#include "sandbox/worker_main.h"

namespace longhaul::sandbox {

volatile std::sig_atomic_t g_stop = 0;

namespace {

// What the signal handler works on: plain arrays and counters only.
lua_State* volatile g_running[kCoroutineNestingMax + 1];
volatile std::sig_atomic_t g_n_running = 0;
volatile std::sig_atomic_t g_late_ticks = 0;
constexpr int kTickMs = 10;

void stop_at_next_instruction(lua_State* L, lua_Debug*) {
  if (g_stop != 0) luaL_error(L, "stopped");
}

void on_cpu_time(int) {
  if (g_n_running == 0) return;
  if (g_stop == 0) g_stop = static_cast<int>(Stop::kCpu);
  const int n = g_n_running;
  for (int i = 0; i < n; ++i) lua_sethook(g_running[i], stop_at_next_instruction, LUA_MASKCOUNT, 1);
  g_late_ticks = g_late_ticks + 1;
  if (g_late_ticks * kTickMs > kCpuGraceMs) ::_exit(kExitCpuLimit);
}

void set_timer(std::int64_t first_ms) {
  itimerval timer{};
  timer.it_value.tv_sec = first_ms / 1'000;
  timer.it_value.tv_usec = first_ms % 1'000 * 1'000;
  if (first_ms > 0) timer.it_interval.tv_usec = kTickMs * 1'000;
  ::setitimer(ITIMER_PROF, &timer, nullptr);
}

std::int64_t cpu_us() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return now.tv_sec * 1'000'000 + now.tv_nsec / 1'000;
}

void* allocate(void* user, void* block, std::size_t old_size, std::size_t new_size) {
  auto& host = *static_cast<LuaHost*>(user);
  const std::size_t held = block == nullptr ? 0 : old_size;  // for a new block Lua passes a type there
  if (new_size == 0) {
    std::free(block);
    host.memory_used -= held;
    return nullptr;
  }
  if (new_size > held && (new_size > kAllocationBytesMax || host.memory_used - held + new_size > host.memory_max)) {
    host.refused_bytes = new_size;
    return nullptr;
  }
  void* moved = std::realloc(block, new_size);
  if (moved == nullptr) return nullptr;
  host.memory_used += new_size - held;
  return moved;
}

// ---- the job ----

void finish(LuaHost& host, DoneStatus status, std::string text, LimitKind limit = LimitKind::kNone) {
  host.done.status = status;
  host.done.limit = limit;
  host.done.text = std::move(text);
}

void finish_output_limit(LuaHost& host, const std::string& what) {
  finish(host, DoneStatus::kLimit, what, LimitKind::kOutput);
}

void load_table(LuaHost& host, lua_State* L) {
  ToJsonLimits limits;
  limits.bytes_max = static_cast<std::size_t>(host.job->limits.output_bytes);
  limits.skip_functions = true;
  const ToJson table = to_json_value(L, -1, host.job->plugin.name, limits);
  if (table.too_large) return finish_output_limit(host, table.error);
  if (!table.error.empty()) return finish(host, DoneStatus::kToolError, table.error);
  json::value value = table.value;
  lua_pushliteral(L, "run");
  const bool has_run = lua_rawget(L, -2) == LUA_TFUNCTION;
  lua_pop(L, 1);
  finish(host, DoneStatus::kOk, to_json(json::object{{"table", std::move(value)}, {"has_run", has_run}}));
}

void finish_with_value(LuaHost& host, lua_State* L) {
  const auto bytes_max = static_cast<std::size_t>(host.job->limits.output_bytes);
  const int type = lua_type(L, -2);
  if (type == LUA_TNIL || (type == LUA_TBOOLEAN && !lua_toboolean(L, -2) && lua_type(L, -1) == LUA_TSTRING)) {
    if (lua_type(L, -1) != LUA_TSTRING) {
      return finish(host, DoneStatus::kToolError, "run returned nil without a message, expected text");
    }
    const std::string text = clean_utf8(view(L, -1));
    if (text.size() > bytes_max) {
      return finish_output_limit(host, fmt::format("an error text of {} bytes, at most {}", text.size(), bytes_max));
    }
    return finish(host, DoneStatus::kToolError, text);
  }
  if (type == LUA_TSTRING) {
    const std::string_view text = view(L, -2);
    if (text.size() > bytes_max) {
      return finish_output_limit(host, fmt::format("a result of {} bytes, at most {}", text.size(), bytes_max));
    }
    if (!is_utf8(text)) return finish(host, DoneStatus::kToolError, "run returned bytes that are not UTF-8 text");
    return finish(host, DoneStatus::kOk, std::string(text));
  }
  if (type != LUA_TNUMBER && type != LUA_TBOOLEAN && type != LUA_TTABLE) {
    return finish(
        host, DoneStatus::kToolError,
        fmt::format("run returned a {}, expected text, a number, a boolean or a table", luaL_typename(L, -2)));
  }
  ToJsonLimits limits;
  limits.bytes_max = bytes_max;
  const ToJson result = to_json_value(L, -2, "result", limits);
  if (result.too_large) return finish_output_limit(host, result.error);
  if (!result.error.empty()) return finish(host, DoneStatus::kToolError, result.error);
  std::string text = to_json(result.value);
  if (text.size() > bytes_max) {
    return finish_output_limit(host, fmt::format("a result of {} bytes, at most {}", text.size(), bytes_max));
  }
  finish(host, DoneStatus::kOk, std::move(text));
}

// Everything that touches Lua, run by one protected call.
int protected_job(lua_State* L) {
  LuaHost& host = *static_cast<LuaHost*>(lua_touserdata(L, 1));
  const ScriptJob& job = *host.job;
  lua_settop(L, 0);
  lua_newtable(L);
  open_base(L);
  open_string(L);
  open_table(L);
  lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);

  const std::string chunk_name = "@" + job.plugin.name;
  const int loaded = luaL_loadbufferx(L, job.plugin.source.data(), job.plugin.source.size(), chunk_name.c_str(), "t");
  if (loaded == LUA_ERRMEM) raise_again_if_stopped(L, loaded);
  if (loaded != LUA_OK) return lua_error(L);
  lua_call(L, 0, 1);
  if (lua_type(L, -1) != LUA_TTABLE) {
    finish(host, DoneStatus::kToolError,
           fmt::format("{}: the file returns a {}, expected a table", job.plugin.name, luaL_typename(L, -1)));
    return 0;
  }
  if (job.call == nullptr) {
    load_table(host, L);
    return 0;
  }
  lua_pushliteral(L, "powers");
  lua_rawget(L, -2);
  ToJsonLimits limits;
  limits.bytes_max = 1'024;
  const ToJson powers = to_json_value(L, -1, job.plugin.name + ".powers", limits);
  lua_pop(L, 1);
  const auto grants = parse_grants(powers.error.empty() ? powers.value : json::value(nullptr));
  lua_pushliteral(L, "run");
  if (lua_rawget(L, -2) != LUA_TFUNCTION) {
    finish(host, DoneStatus::kToolError, fmt::format("{}: the table has no function run", job.plugin.name));
    return 0;
  }
  push_json(L, job.call->args);
  push_context(L, *job.call, grants ? *grants : Grants{});
  lua_call(L, 2, 2);
  check_stop(L);
  finish_with_value(host, L);
  return 0;
}

// The text of an error object; a __tostring of the script runs here, so under protection, too.
int protected_error_text(lua_State* L) {
  LuaHost& host = *static_cast<LuaHost*>(lua_touserdata(L, 2));
  const int type = lua_type(L, 1);
  if (type == LUA_TTABLE && luaL_getmetafield(L, 1, "__tostring") == LUA_TNIL) {
    lua_pushliteral(L, "message");
    if (lua_rawget(L, 1) == LUA_TSTRING) {
      host.error = clean_utf8(view(L, -1));
      return 0;
    }
  }
  if (type != LUA_TSTRING && type != LUA_TNUMBER && type != LUA_TTABLE) {
    host.error = fmt::format("error raised with a {} instead of a text", luaL_typename(L, 1));
    return 0;
  }
  push_text(L, 1);
  host.error = clean_utf8(view(L, -1));
  if (type == LUA_TTABLE && host.error == "table") host.error = "error raised with a table instead of a text";
  return 0;
}

std::string memory_text(const LuaHost& host) {
  if (host.refused_bytes > kAllocationBytesMax) {
    return fmt::format("memory limit: one value of {} bytes, at most {}", host.refused_bytes, kAllocationBytesMax);
  }
  return fmt::format("memory limit of {} bytes reached", host.memory_max);
}

void run_protected(LuaHost& host, lua_State* L) {
  lua_pushcfunction(L, protected_job);
  lua_pushlightuserdata(L, &host);
  int status = lua_pcall(L, 1, 0, 0);
  note_failure(status);
  if (status != LUA_OK && g_stop == 0) {
    lua_pushcfunction(L, protected_error_text);
    lua_insert(L, -2);
    lua_pushlightuserdata(L, &host);
    status = lua_pcall(L, 2, 0, 0);
    note_failure(status);
    if (status != LUA_OK) host.error = "error object whose text cannot be had";
    const auto bytes_max = static_cast<std::size_t>(host.job->limits.output_bytes);
    if (host.error.size() > bytes_max) {
      finish_output_limit(host, fmt::format("an error text of {} bytes, at most {}", host.error.size(), bytes_max));
    } else {
      finish(host, DoneStatus::kToolError, host.error);
    }
  }
  // A stop counts whatever the script made of it.
  if (g_stop == static_cast<int>(Stop::kCpu)) {
    finish(host, DoneStatus::kLimit, fmt::format("CPU limit of {} ms reached", host.job->limits.cpu_ms),
           LimitKind::kCpu);
  } else if (g_stop == static_cast<int>(Stop::kMemory)) {
    finish(host, DoneStatus::kLimit, memory_text(host), LimitKind::kMemory);
  }
}

}  // namespace

void LuaHost::flush_log() {
  if (log.empty()) return;
  job->link.log(clean_utf8(log));
  log.clear();
}

std::string clean_utf8(std::string_view text) {
  if (is_utf8(text)) return std::string(text);
  std::string clean;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t n = 1;
    while (n < 4 && i + n < text.size() && (static_cast<unsigned char>(text[i + n]) & 0xc0) == 0x80) ++n;
    const std::string_view piece = text.substr(i, n);
    if (is_utf8(piece)) {
      clean.append(piece);
      i += n;
    } else {
      clean.push_back('?');
      ++i;
    }
  }
  return clean;
}

bool push_running(lua_State* L) {
  if (g_n_running > kCoroutineNestingMax) return false;
  g_running[g_n_running] = L;
  g_n_running = g_n_running + 1;
  return true;
}

void pop_running() {
  g_n_running = g_n_running - 1;
}

WireDone run_script(const ScriptJob& job) {
  LuaHost host;
  host.job = &job;
  host.memory_max = static_cast<std::size_t>(job.limits.memory_bytes);
  host.random_key = job.call != nullptr ? job.call->seed : 0;
  const std::int64_t begin_us = cpu_us();
  g_stop = 0;
  g_late_ticks = 0;
  g_n_running = 0;
  lua_State* L = lua_newstate(allocate, &host);
  if (L == nullptr) {
    finish(host, DoneStatus::kLimit, memory_text(host), LimitKind::kMemory);
    return host.done;
  }
  *static_cast<LuaHost**>(lua_getextraspace(L)) = &host;
  push_running(L);
  set_timer(job.limits.cpu_ms);
  run_protected(host, L);
  // From here no script runs: there are no finalizers (setmetatable), and the protected call closed what was to close.
  pop_running();
  set_timer(0);
  lua_close(L);
  if (host.log_full) {
    host.log += fmt::format("\n(the log is full at {} bytes)\n", job.limits.log_bytes);
  }
  host.flush_log();
  host.done.cpu_us = cpu_us() - begin_us;
  return host.done;
}

void install_stop_signal() {
  struct sigaction action {};
  action.sa_handler = on_cpu_time;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGPROF, &action, nullptr);
}

}  // namespace longhaul::sandbox
