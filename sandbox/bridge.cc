#include "sandbox/bridge.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "sandbox/lua_internal.h"

namespace longhaul::sandbox {
namespace {

void push(lua_State* L, const json::value& value, int depth) {
  luaL_checkstack(L, 4, "value nested too deeply");
  switch (value.kind()) {
    case json::kind::null:
      lua_pushnil(L);
      return;
    case json::kind::bool_:
      lua_pushboolean(L, value.get_bool() ? 1 : 0);
      return;
    case json::kind::int64:
      lua_pushinteger(L, value.get_int64());
      return;
    case json::kind::uint64:
      lua_pushnumber(L, static_cast<double>(value.get_uint64()));
      return;
    case json::kind::double_:
      lua_pushnumber(L, value.get_double());
      return;
    case json::kind::string:
      lua_pushlstring(L, value.get_string().data(), value.get_string().size());
      return;
    case json::kind::array: {
      lua_createtable(L, static_cast<int>(value.get_array().size()), 0);
      lua_Integer i = 0;
      for (const json::value& element : value.get_array()) {
        push(L, element, depth + 1);
        lua_rawseti(L, -2, ++i);
      }
      return;
    }
    case json::kind::object:
      lua_createtable(L, 0, static_cast<int>(value.get_object().size()));
      for (const auto& member : value.get_object()) {
        lua_pushlstring(L, member.key().data(), member.key().size());
        push(L, member.value(), depth + 1);
        lua_rawset(L, -3);
      }
      return;
  }
}

class Reader {
 public:
  Reader(lua_State* L, const ToJsonLimits& limits) : L_(L), limits_(limits) {}

  bool read(int index, const std::string& place, std::size_t depth, json::value& out) {
    check_stop(L_);
    index = lua_absindex(L_, index);
    switch (lua_type(L_, index)) {
      case LUA_TNIL:
        out = nullptr;
        return charge(4, place);
      case LUA_TBOOLEAN:
        out = lua_toboolean(L_, index) != 0;
        return charge(5, place);
      case LUA_TNUMBER:
        return number(index, place, out);
      case LUA_TSTRING:
        return string(index, place, out);
      case LUA_TTABLE:
        return table(index, place, depth, out);
      default:
        return fail(fmt::format("{}: a {} is no data", place, luaL_typename(L_, index)));
    }
  }

  std::string error;
  bool too_large = false;

 private:
  bool fail(std::string text) {
    error = std::move(text);
    return false;
  }

  bool charge(std::size_t bytes, const std::string& place) {
    used_ += bytes;
    if (used_ <= limits_.bytes_max) return true;
    too_large = true;
    return fail(fmt::format("{}: larger than {} bytes", place, limits_.bytes_max));
  }

  bool number(int index, const std::string& place, json::value& out) {
    if (lua_isinteger(L_, index)) {
      out = static_cast<std::int64_t>(lua_tointeger(L_, index));
    } else {
      const double value = lua_tonumber(L_, index);
      if (!std::isfinite(value)) return fail(fmt::format("{}: {} is no JSON number", place, value));
      out = value;
    }
    return charge(8, place);
  }

  bool string(int index, const std::string& place, json::value& out) {
    std::size_t size = 0;
    const char* text = lua_tolstring(L_, index, &size);
    if (!charge(size + 2, place)) return false;
    if (!is_utf8({text, size})) return fail(fmt::format("{}: not UTF-8 text", place));
    out = json::string_view(text, size);
    return true;
  }

  bool table(int index, const std::string& place, std::size_t depth, json::value& out) {
    if (depth >= kJsonDepthMax) return fail(fmt::format("{}: nested deeper than {}", place, kJsonDepthMax));
    luaL_checkstack(L_, 6, "value nested too deeply");
    std::vector<std::string> keys;
    lua_Integer n_integer = 0, largest = 0;
    lua_pushnil(L_);
    while (lua_next(L_, index) != 0) {
      const bool function = lua_type(L_, -1) == LUA_TFUNCTION;
      lua_pop(L_, 1);
      if (lua_type(L_, -1) == LUA_TSTRING) {
        if (depth == 0 && function && limits_.skip_functions) continue;
        std::size_t size = 0;
        const char* key = lua_tolstring(L_, -1, &size);
        if (!charge(size + 4, place)) return false;
        if (!is_utf8({key, size})) return fail(fmt::format("{}: a key is not UTF-8 text", place));
        keys.emplace_back(key, size);
      } else if (lua_isinteger(L_, -1) && lua_tointeger(L_, -1) >= 1) {
        ++n_integer;
        largest = std::max(largest, lua_tointeger(L_, -1));
      } else {
        return fail(fmt::format("{}: a key is a {}, expected strings, or 1 to n", place, luaL_typename(L_, -1)));
      }
      check_stop(L_);
    }
    if (n_integer > 0) {
      if (!keys.empty()) return fail(fmt::format("{}: has both string keys and a list", place));
      if (largest != n_integer) return fail(fmt::format("{}: a list with holes (its end is {})", place, largest));
      json::array array;
      array.reserve(static_cast<std::size_t>(n_integer));
      for (lua_Integer i = 1; i <= n_integer; ++i) {
        lua_rawgeti(L_, index, i);
        json::value element;
        if (!read(-1, fmt::format("{}[{}]", place, i), depth + 1, element)) return false;
        lua_pop(L_, 1);
        array.push_back(std::move(element));
      }
      out = std::move(array);
      return true;
    }
    if (!charge(2, place)) return false;
    std::sort(keys.begin(), keys.end());
    json::object object;
    for (const std::string& key : keys) {
      lua_pushlstring(L_, key.data(), key.size());
      lua_rawget(L_, index);
      json::value member;
      if (!read(-1, place + "." + key.substr(0, 64), depth + 1, member)) return false;
      lua_pop(L_, 1);
      object.emplace(key, std::move(member));
    }
    out = std::move(object);
    return true;
  }

  lua_State* L_;
  const ToJsonLimits& limits_;
  std::size_t used_ = 0;
};

}  // namespace

void push_json(lua_State* L, const json::value& value) {
  push(L, value, 0);
}

ToJson to_json_value(lua_State* L, int index, std::string place, const ToJsonLimits& limits) {
  const int top = lua_gettop(L);
  Reader reader(L, limits);
  ToJson result;
  reader.read(index, place, 0, result.value);
  result.error = std::move(reader.error);
  result.too_large = reader.too_large;
  lua_settop(L, top);
  return result;
}

}  // namespace longhaul::sandbox
