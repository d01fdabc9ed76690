// ctx: what run(args, ctx) may ask of the host. Each function is one question over the wire, but for ctx.once, which is
// a question before and one after the function it is given.
#include <fmt/format.h>

#include <cstdlib>
#include <iterator>

#include "sandbox/bridge.h"
#include "sandbox/lua_internal.h"

namespace longhaul::sandbox {
namespace {

HostAnswer ask(lua_State* L, HostCall call) {
  check_stop(L);
  LuaHost& host = host_of(L);
  host.flush_log();
  HostAnswer answer = host.job->link.ask(call);
  check_stop(L);
  return answer;
}

int ask_host(lua_State* L) {
  const Operation& operation = kOperations[lua_tointeger(L, lua_upvalueindex(1))];
  check_stop(L);
  HostCall call;
  call.power = operation.power;
  call.op = operation.name;
  for (int i = 1; i <= operation.n_args; ++i) {
    const int type = lua_type(L, i);
    if (type != LUA_TSTRING && type != LUA_TNUMBER) {
      return luaL_error(L, "argument %d of %s.%s is a %s, expected a string", i, call.power.c_str(), call.op.c_str(),
                        luaL_typename(L, i));
    }
    const std::string_view text = view(L, i);
    if (!is_utf8(text)) {
      return luaL_error(L, "argument %d of %s.%s is not UTF-8 text", i, call.power.c_str(), call.op.c_str());
    }
    call.args.emplace_back(text);
  }
  const HostAnswer answer = ask(L, std::move(call));
  if (answer.ok) {
    push_json(L, answer.value);
    return 1;
  }
  lua_pushnil(L);
  lua_pushlstring(L, answer.error.data(), answer.error.size());
  return 2;
}

int refuse_write(lua_State* L) {
  const Operation& operation = kOperations[lua_tointeger(L, lua_upvalueindex(1))];
  const std::string power(operation.power), name(operation.name);
  return luaL_error(L, "power %s is granted for reading only: %s.%s needs powers = { %s = \"write\" }", power.c_str(),
                    power.c_str(), name.c_str(), power.c_str());
}

int missing_power(lua_State* L) {
  if (lua_type(L, 2) == LUA_TSTRING) {
    const char* name = lua_tostring(L, 2);
    for (const Operation& operation : kOperations) {
      if (operation.power == name && operation.power != "timer" && operation.power != "steps") {
        return luaL_error(L, "power %s not granted: the plugin's table does not ask for it in powers", name);
      }
    }
  }
  lua_pushnil(L);
  return 1;
}

[[noreturn]] void raise(lua_State* L, const std::string& text) {
  lua_pushlstring(L, text.data(), text.size());
  lua_error(L);
  std::abort();  // it does not return
}

// ctx.once(key, fn): the value of fn, called once for this key over all runs of this call. fn gets a key of its own for
// what it does outside. A failure (an error, or nil and a text) is no value: the next run tries again.
int once(lua_State* L) {
  if (lua_type(L, 1) != LUA_TSTRING) luaL_error(L, "ctx.once: the key is a %s, expected text", luaL_typename(L, 1));
  luaL_argexpected(L, lua_type(L, 2) == LUA_TFUNCTION, 2, "function");
  const std::string key(view(L, 1));
  if (!is_utf8(key)) luaL_error(L, "ctx.once: the key is not UTF-8 text");
  lua_settop(L, 2);
  const HostAnswer begun = ask(L, {"steps", "begin", {key}});
  if (!begun.ok) raise(L, "ctx.once: " + begun.error);
  const json::array* recorded = begun.value.if_array();
  if (recorded == nullptr) raise(L, "ctx.once: the host answered with no list");
  if (!recorded->empty()) {
    auto value = parse_json(recorded->front().is_string() ? std::string_view(recorded->front().get_string()) : "");
    if (!value) raise(L, "ctx.once: " + value.error().message);
    push_json(L, *value);
    return 1;
  }
  const std::string own_key = host_of(L).job->call->key + "/" + key;
  lua_pushlstring(L, own_key.data(), own_key.size());
  const int status = lua_pcall(L, 1, 2, 0);
  raise_again_if_stopped(L, status);
  if (status != LUA_OK) {
    static_cast<void>(ask(L, {"steps", "fail", {key}}));
    lua_error(L);
  }
  const bool nothing = lua_type(L, -2) == LUA_TNIL || (lua_isboolean(L, -2) && !lua_toboolean(L, -2));
  if (nothing && lua_type(L, -1) == LUA_TSTRING) {
    static_cast<void>(ask(L, {"steps", "fail", {key}}));
    return 2;
  }
  ToJsonLimits limits;
  limits.bytes_max = kBuiltStringBytesMax / 8;  // the host has a smaller one, and says so
  const ToJson made = to_json_value(L, -2, "ctx.once", limits);
  if (!made.error.empty()) {
    static_cast<void>(ask(L, {"steps", "fail", {key}}));
    raise(L, made.error);
  }
  const HostAnswer ended = ask(L, {"steps", "end", {key, to_json(made.value)}});
  if (!ended.ok) raise(L, "ctx.once: " + ended.error);
  // As a later run gets it, also this time.
  push_json(L, made.value);
  return 1;
}

// ctx.sleep(seconds), ctx.sleep_until(unix_time). If the time is not there yet the host ends this run inside the
// question; the next run comes here again and goes on.
int sleep(lua_State* L) {
  const char* op = lua_tostring(L, lua_upvalueindex(1));
  if (lua_type(L, 1) != LUA_TNUMBER) {
    luaL_error(L, "ctx.%s: a %s, expected a number of seconds", op, luaL_typename(L, 1));
  }
  LuaHost& host = host_of(L);
  const HostAnswer answer =
      ask(L, {"timer", op, {std::to_string(host.n_timers), fmt::format("{}", lua_tonumber(L, 1))}});
  if (!answer.ok) raise(L, fmt::format("ctx.{}: {}", op, answer.error));
  ++host.n_timers;
  lua_pushboolean(L, 1);
  return 1;
}

int refuse_sleep(lua_State* L) {
  return luaL_error(L, "power timer not granted: ctx.sleep needs powers = { timer = true }");
}

}  // namespace

void push_context(lua_State* L, const WireCall& call, const Grants& grants) {
  lua_newtable(L);
  lua_pushlstring(L, call.call_id.data(), call.call_id.size());
  lua_setfield(L, -2, "call_id");
  lua_pushlstring(L, call.key.data(), call.key.size());
  lua_setfield(L, -2, "key");
  for (lua_Integer i = 0; i < static_cast<lua_Integer>(std::size(kOperations)); ++i) {
    const Operation& operation = kOperations[i];
    const Access access = granted(grants, operation.power);
    if (access == Access::kNone || operation.power == "timer") continue;  // steps are Access::kNone, too
    lua_pushlstring(L, operation.power.data(), operation.power.size());
    if (lua_rawget(L, -2) != LUA_TTABLE) {
      lua_pop(L, 1);
      lua_newtable(L);
      lua_pushlstring(L, operation.power.data(), operation.power.size());
      lua_pushvalue(L, -2);
      lua_rawset(L, -4);
    }
    lua_pushlstring(L, operation.name.data(), operation.name.size());
    lua_pushinteger(L, i);
    lua_pushcclosure(L, access >= operation.needs ? ask_host : refuse_write, 1);
    lua_rawset(L, -3);
    lua_pop(L, 1);
  }
  lua_pushcfunction(L, once);
  lua_setfield(L, -2, "once");
  for (const char* op : {"sleep", "sleep_until"}) {
    lua_pushstring(L, op);
    lua_pushcclosure(L, grants.timer == Access::kNone ? refuse_sleep : sleep, 1);
    lua_setfield(L, -2, op);
  }
  lua_newtable(L);
  lua_pushcfunction(L, missing_power);
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, "locked");
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
}

}  // namespace longhaul::sandbox
