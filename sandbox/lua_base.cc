// The global functions. Taken away: load, loadstring, dofile, loadfile, require (no code from text or bytes at run
// time), xpcall (its handler runs while an error is on its way, where the stop could be swallowed), warn,
// coroutine.close (memory errors in 5.4.4), all of io, os, package, debug. Replaced:
//   pcall, coroutine.resume, coroutine.wrap   raise a stop again
//   setmetatable     refuses __gc: hooks are off while a finalizer runs, so a loop in one could not be stopped
//   tostring, print  show no addresses
//   next, pairs      go through the keys in a fixed order: Lua's own differs from process to process
//   math.random      a function of the call's seed
//   collectgarbage   only "count"
#include <algorithm>
#include <cstring>
#include <vector>

#include "runtime/base/rng.h"
#include "sandbox/lua_internal.h"

namespace longhaul::sandbox {
namespace {

int finish_pcall(lua_State* L, int status, lua_KContext) {
  if (status == LUA_OK || status == LUA_YIELD) return lua_gettop(L);
  raise_again_if_stopped(L, status);
  lua_pushboolean(L, 0);
  lua_pushvalue(L, -2);
  return 2;
}

int safe_pcall(lua_State* L) {
  luaL_checkany(L, 1);
  lua_pushboolean(L, 1);
  lua_insert(L, 1);
  const int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, finish_pcall);
  return finish_pcall(L, status, 0);
}

int safe_setmetatable(lua_State* L) {
  const int type = lua_type(L, 2);
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
  if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL) return luaL_error(L, "cannot change a protected metatable");
  if (type == LUA_TTABLE) {
    lua_pushliteral(L, "__gc");
    if (lua_rawget(L, 2) != LUA_TNIL) return luaL_error(L, "a metatable with __gc is not allowed");
    lua_pop(L, 1);
  }
  lua_settop(L, 2);
  lua_setmetatable(L, 1);
  return 1;
}

int safe_tostring(lua_State* L) {
  luaL_checkany(L, 1);
  push_text(L, 1);
  return 1;
}

int safe_print(lua_State* L) {
  LuaHost& host = host_of(L);
  const auto write = [&](std::string_view text) {
    const auto bytes_max = static_cast<std::size_t>(host.job->limits.log_bytes);
    const std::size_t n = std::min(text.size(), bytes_max - std::min(bytes_max, host.logged));
    host.log_full |= n < text.size();
    host.logged += n;
    host.log.append(text.substr(0, n));
  };
  const int n_args = lua_gettop(L);
  for (int i = 1; i <= n_args; ++i) {
    push_text(L, i);
    if (i > 1) write("\t");
    write(view(L, -1));
    lua_pop(L, 1);
  }
  write("\n");
  if (host.log.size() > 4'096) host.flush_log();
  return 0;
}

int safe_collectgarbage(lua_State* L) {
  const char* option = luaL_optstring(L, 1, "collect");
  if (std::strcmp(option, "count") != 0) return luaL_error(L, "collectgarbage: only \"count\" is allowed");
  lua_pushnumber(L, lua_gc(L, LUA_GCCOUNT) + lua_gc(L, LUA_GCCOUNTB) / 1024.0);
  return 1;
}

// ---- order of keys: numbers by value, strings by bytes, false, true, then the rest as the table has them ----

// A number or string or boolean key as it lies in a table; the strings are kept alive by the table.
struct Key {
  int rank = 0;  // 0 number, 1 string, 2 boolean
  bool integer = true;
  lua_Integer whole = 0;
  double real = 0;
  std::string_view text;
};

bool ordered(lua_State* L, int index) {
  const int type = lua_type(L, index);
  return type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TBOOLEAN;
}

Key key_at(lua_State* L, int index) {
  Key key;
  switch (lua_type(L, index)) {
    case LUA_TNUMBER:
      key.integer = lua_isinteger(L, index) != 0;
      if (key.integer) {
        key.whole = lua_tointeger(L, index);
        key.real = static_cast<double>(key.whole);
      } else {
        key.real = lua_tonumber(L, index);
      }
      break;
    case LUA_TSTRING: {
      key.rank = 1;
      std::size_t size = 0;
      const char* text = lua_tolstring(L, index, &size);
      key.text = {text, size};
      break;
    }
    default:
      key.rank = 2;
      key.whole = lua_toboolean(L, index);
  }
  return key;
}

bool before(const Key& a, const Key& b) {
  if (a.rank != b.rank) return a.rank < b.rank;
  if (a.rank == 1) return a.text < b.text;
  if (a.rank == 2 || (a.integer && b.integer)) return a.whole < b.whole;
  // An integer and a float that stands beside it after rounding cannot be equal as keys; let the integer come first.
  if (a.real != b.real) return a.real < b.real;
  return a.integer && !b.integer;
}

void push_key(lua_State* L, const Key& key) {
  if (key.rank == 1) {
    lua_pushlstring(L, key.text.data(), key.text.size());
  } else if (key.rank == 2) {
    lua_pushboolean(L, key.whole != 0);
  } else if (key.integer) {
    lua_pushinteger(L, key.whole);
  } else {
    lua_pushnumber(L, key.real);
  }
}

// The iterator of pairs: upvalues are the list of keys and the place in it.
int next_of_list(lua_State* L) {
  lua_Integer at = lua_tointeger(L, lua_upvalueindex(2));
  const auto n = static_cast<lua_Integer>(lua_rawlen(L, lua_upvalueindex(1)));
  while (at < n) {
    check_stop(L);
    ++at;
    lua_rawgeti(L, lua_upvalueindex(1), at);
    lua_pushvalue(L, -1);
    lua_rawget(L, 1);
    // Keys that were cleared on the way are passed over.
    if (lua_isnil(L, -1)) {
      lua_pop(L, 2);
      continue;
    }
    lua_pushinteger(L, at);
    lua_replace(L, lua_upvalueindex(2));
    return 2;
  }
  lua_pushinteger(L, at);
  lua_replace(L, lua_upvalueindex(2));
  lua_pushnil(L);
  return 1;
}

int safe_pairs(lua_State* L) {
  luaL_checkany(L, 1);
  if (luaL_getmetafield(L, 1, "__pairs") != LUA_TNIL) {
    lua_pushvalue(L, 1);
    lua_callk(L, 1, 3, 0, [](lua_State*, int, lua_KContext) { return 3; });
    return 3;
  }
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_newtable(L);  // the keys, 2
  std::vector<Key> keys;
  lua_Integer n_others = 0;
  lua_pushnil(L);
  while (lua_next(L, 1) != 0) {
    lua_pop(L, 1);
    check_stop(L);
    if (ordered(L, -1)) {
      keys.push_back(key_at(L, -1));
    } else {
      ++n_others;
    }
  }
  if (!std::is_sorted(keys.begin(), keys.end(), before)) std::sort(keys.begin(), keys.end(), before);
  lua_Integer at = 0;
  for (const Key& key : keys) {
    push_key(L, key);
    lua_rawseti(L, 2, ++at);
  }
  if (n_others > 0) {
    lua_pushnil(L);
    while (lua_next(L, 1) != 0) {
      lua_pop(L, 1);
      check_stop(L);
      if (ordered(L, -1)) continue;
      lua_pushvalue(L, -1);
      lua_rawseti(L, 2, ++at);
    }
  }
  lua_pushinteger(L, 0);
  lua_pushcclosure(L, next_of_list, 2);
  lua_pushvalue(L, 1);
  lua_pushnil(L);
  return 3;
}

// The same order as pairs, without a place to remember: each step looks at all keys.
int safe_next(lua_State* L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  const bool from_start = lua_isnil(L, 2);
  const bool from_ordered = from_start || ordered(L, 2);
  if (!from_start) {
    lua_pushvalue(L, 2);
    // Lua accepts a key that was cleared during a traversal and refuses one that never was; so much is not told here.
    if (lua_rawget(L, 1) == LUA_TNIL && !from_ordered) return luaL_error(L, "next: no such key");
    lua_pop(L, 1);
  }
  if (from_ordered) {
    Key least, from;
    bool found = false;
    if (!from_start) from = key_at(L, 2);
    lua_pushnil(L);
    while (lua_next(L, 1) != 0) {
      lua_pop(L, 1);
      check_stop(L);
      if (!ordered(L, -1)) continue;
      const Key key = key_at(L, -1);
      if ((from_start || before(from, key)) && (!found || before(key, least))) {
        least = key;
        found = true;
      }
    }
    if (found) {
      push_key(L, least);
      lua_pushvalue(L, -1);
      lua_rawget(L, 1);
      return 2;
    }
    lua_pushnil(L);
  } else {
    lua_pushvalue(L, 2);
  }
  while (lua_next(L, 1) != 0) {
    check_stop(L);
    if (!ordered(L, -2)) return 2;
    lua_pop(L, 1);
  }
  lua_pushnil(L);
  return 1;
}

// ---- math.random ----

std::uint64_t draw(LuaHost& host) {
  const std::uint64_t n = host.random_draws++;
  const PhiloxBlock block =
      philox(host.random_key, {static_cast<std::uint32_t>(n), static_cast<std::uint32_t>(n >> 32), 0x4c756100, 0});
  return block[0] | std::uint64_t{block[1]} << 32;
}

int safe_random(lua_State* L) {
  LuaHost& host = host_of(L);
  lua_Integer low = 1, high = 0;
  switch (lua_gettop(L)) {
    case 0:
      lua_pushnumber(L, static_cast<double>(draw(host) >> 11) * 0x1p-53);
      return 1;
    case 1:
      high = luaL_checkinteger(L, 1);
      if (high == 0) {
        lua_pushinteger(L, static_cast<lua_Integer>(draw(host)));
        return 1;
      }
      break;
    case 2:
      low = luaL_checkinteger(L, 1);
      high = luaL_checkinteger(L, 2);
      break;
    default:
      return luaL_error(L, "wrong number of arguments");
  }
  luaL_argcheck(L, low <= high, lua_gettop(L), "interval is empty");
  const std::uint64_t span = static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low);  // both ends included
  std::uint64_t value = draw(host);
  if (span != ~std::uint64_t{0}) {
    // Values at or above the largest multiple of span + 1 would favour small results.
    const std::uint64_t n = span + 1, excess = (~std::uint64_t{0} % n + 1) % n;
    while (value > ~std::uint64_t{0} - excess) value = draw(host);
    value %= n;
  }
  lua_pushinteger(L, static_cast<lua_Integer>(static_cast<std::uint64_t>(low) + value));
  return 1;
}

int safe_randomseed(lua_State* L) {
  LuaHost& host = host_of(L);
  if (lua_isnoneornil(L, 1)) {
    host.random_key = host.job->call != nullptr ? host.job->call->seed : 0;
  } else if (lua_isinteger(L, 1)) {
    host.random_key = static_cast<std::uint64_t>(lua_tointeger(L, 1));
  } else {
    const double number = luaL_checknumber(L, 1);
    std::memcpy(&host.random_key, &number, sizeof number);
  }
  host.random_draws = 0;
  return 0;
}

// ---- coroutines ----

// Resumes `co` with the n_args values on L's top. The number of results, now on L's top; -1: an error object is there.
int resume(lua_State* L, lua_State* co, int n_args) {
  const auto refuse = [&](const char* text) {
    lua_settop(L, -n_args - 1);
    lua_pushstring(L, text);
    return -1;
  };
  if (lua_status(co) == LUA_OK && lua_gettop(co) == 0) return refuse("cannot resume dead coroutine");
  if (!lua_checkstack(co, n_args)) return refuse("too many arguments to resume");
  if (!push_running(co)) return refuse("coroutines nested too deeply");
  lua_xmove(L, co, n_args);
  int n_results = 0;
  // After push_running, so that a signal either finds `co` in the chain or is seen here.
  if (g_stop != 0) {
    pop_running();
    luaL_error(L, "stopped");
  }
  const int status = lua_resume(co, L, n_args, &n_results);
  pop_running();
  if (status == LUA_OK || status == LUA_YIELD) {
    check_stop(L);
    if (!lua_checkstack(L, n_results + 1)) {
      lua_settop(co, -n_results - 1);
      lua_pushliteral(L, "too many results to resume");
      return -1;
    }
    lua_xmove(co, L, n_results);
    return n_results;
  }
  lua_xmove(co, L, 1);
  raise_again_if_stopped(L, status);
  return -1;
}

int safe_resume(lua_State* L) {
  luaL_checktype(L, 1, LUA_TTHREAD);
  lua_State* co = lua_tothread(L, 1);
  const int n_results = resume(L, co, lua_gettop(L) - 1);
  if (n_results < 0) {
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    return 2;
  }
  lua_pushboolean(L, 1);
  lua_insert(L, -n_results - 1);
  return n_results + 1;
}

int resume_wrapped(lua_State* L) {
  lua_State* co = lua_tothread(L, lua_upvalueindex(1));
  const int n_results = resume(L, co, lua_gettop(L));
  if (n_results < 0) return lua_error(L);
  return n_results;
}

int safe_wrap(lua_State* L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_State* co = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  lua_pushcclosure(L, resume_wrapped, 1);
  return 1;
}

// Copies the named fields of the table at -1 (which it pops) into the table at -2.
void take(lua_State* L, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    lua_getfield(L, -1, name);
    lua_setfield(L, -3, name);
  }
  lua_pop(L, 1);
}

// Calls a library's opener and leaves its table on the stack.
void open_library(lua_State* L, lua_CFunction opener) {
  lua_pushcfunction(L, opener);
  lua_call(L, 0, 1);
}

void set(lua_State* L, const luaL_Reg* functions) {
  luaL_setfuncs(L, functions, 0);
}

}  // namespace

void note_failure(int status) {
  // Anything but an error of the script is memory trouble: Lua's own, or (status -1) an exception of the C++ library,
  // which Lua catches without knowing it.
  if (status != LUA_OK && status != LUA_YIELD && status != LUA_ERRRUN && status != LUA_ERRERR && g_stop == 0) {
    g_stop = static_cast<int>(Stop::kMemory);
  }
}

void raise_again_if_stopped(lua_State* L, int status) {
  note_failure(status);
  if (g_stop != 0) lua_error(L);
}

void push_text(lua_State* L, int index) {
  index = lua_absindex(L, index);
  luaL_checkstack(L, 3, nullptr);
  if (luaL_callmeta(L, index, "__tostring")) {
    if (lua_type(L, -1) != LUA_TSTRING) luaL_error(L, "'__tostring' must return a string");
    return;
  }
  switch (lua_type(L, index)) {
    case LUA_TNIL:
      lua_pushliteral(L, "nil");
      return;
    case LUA_TBOOLEAN:
      lua_pushstring(L, lua_toboolean(L, index) ? "true" : "false");
      return;
    case LUA_TNUMBER:
    case LUA_TSTRING:
      lua_pushvalue(L, index);
      lua_tolstring(L, -1, nullptr);
      return;
    default:
      break;
  }
  const int type = luaL_getmetafield(L, index, "__name");
  if (type == LUA_TSTRING) return;
  if (type != LUA_TNIL) lua_pop(L, 1);
  lua_pushstring(L, luaL_typename(L, index));
}

void open_base(lua_State* L) {
  // Lua's own functions are put into a table that is then dropped: only what is named here is taken over.
  lua_pushglobaltable(L);
  const int old_globals = lua_gettop(L);
  open_library(L, luaopen_base);
  lua_pop(L, 1);
  lua_pushvalue(L, old_globals - 1);
  lua_pushvalue(L, old_globals);
  take(L, {"assert", "error", "getmetatable", "ipairs", "rawequal", "rawget", "rawlen", "rawset", "select", "tonumber",
           "type", "_VERSION"});
  const luaL_Reg globals[] = {{"pcall", safe_pcall},
                              {"setmetatable", safe_setmetatable},
                              {"tostring", safe_tostring},
                              {"print", safe_print},
                              {"next", safe_next},
                              {"pairs", safe_pairs},
                              {"collectgarbage", safe_collectgarbage},
                              {nullptr, nullptr}};
  set(L, globals);

  lua_newtable(L);
  open_library(L, luaopen_coroutine);
  take(L, {"create", "yield", "status", "isyieldable", "running"});
  const luaL_Reg coroutines[] = {{"resume", safe_resume}, {"wrap", safe_wrap}, {nullptr, nullptr}};
  set(L, coroutines);
  lua_setfield(L, -2, "coroutine");

  open_library(L, luaopen_math);
  const luaL_Reg random[] = {{"random", safe_random}, {"randomseed", safe_randomseed}, {nullptr, nullptr}};
  set(L, random);
  lua_setfield(L, -2, "math");

  open_library(L, luaopen_utf8);
  lua_setfield(L, -2, "utf8");

  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "_G");
  lua_settop(L, old_globals - 1);
}

}  // namespace longhaul::sandbox
