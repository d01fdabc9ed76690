// The table library, written anew: no metamethods (a __len that lies makes Lua's table.insert run for ever), ranges of
// at most kTableRangeMax, a look at the stop flag in every loop. sort is a merge sort: stable, never quadratic, and
// without Lua's pivot by clock, so that a comparator sees the same pairs in every process.
#include <algorithm>
#include <string>
#include <utility>

#include "sandbox/lua_internal.h"

namespace longhaul::sandbox {
namespace {

void check_plain(lua_State* L, int index) {
  luaL_checktype(L, index, LUA_TTABLE);
  if (lua_getmetatable(L, index)) luaL_argerror(L, index, "a table with a metatable is not allowed here");
}

lua_Integer length(lua_State* L, int index) {
  return static_cast<lua_Integer>(lua_rawlen(L, index));
}

void check_range(lua_State* L, lua_Integer first, lua_Integer last) {
  if (last >= first &&
      static_cast<lua_Unsigned>(last) - static_cast<lua_Unsigned>(first) >= static_cast<lua_Unsigned>(kTableRangeMax)) {
    luaL_error(L, "a range of more than %d elements", static_cast<int>(kTableRangeMax));
  }
}

int insert(lua_State* L) {
  check_plain(L, 1);
  const lua_Integer end = length(L, 1) + 1;
  lua_Integer at = end;
  const int n_args = lua_gettop(L);
  if (n_args == 3) {
    at = luaL_checkinteger(L, 2);
    luaL_argcheck(L, at >= 1 && at <= end, 2, "position out of bounds");
    check_range(L, at, end);
    for (lua_Integer i = end; i > at; --i) {
      check_stop(L);
      lua_rawgeti(L, 1, i - 1);
      lua_rawseti(L, 1, i);
    }
  } else if (n_args != 2) {
    return luaL_error(L, "wrong number of arguments to 'insert'");
  }
  lua_rawseti(L, 1, at);
  return 0;
}

int remove(lua_State* L) {
  check_plain(L, 1);
  const lua_Integer size = length(L, 1);
  lua_Integer at = luaL_optinteger(L, 2, size);
  if (at != size) luaL_argcheck(L, at >= 1 && at <= size + 1, 2, "position out of bounds");
  check_range(L, at, size);
  lua_rawgeti(L, 1, at);
  for (; at < size; ++at) {
    check_stop(L);
    lua_rawgeti(L, 1, at + 1);
    lua_rawseti(L, 1, at);
  }
  lua_pushnil(L);
  lua_rawseti(L, 1, at);
  return 1;
}

int concat(lua_State* L) {
  check_plain(L, 1);
  std::size_t separator_size = 0;
  const char* separator = luaL_optlstring(L, 2, "", &separator_size);
  const lua_Integer first = luaL_optinteger(L, 3, 1), last = luaL_optinteger(L, 4, length(L, 1));
  check_range(L, first, last);
  std::string text;
  for (lua_Integer i = first; i <= last; ++i) {
    check_stop(L);
    lua_rawgeti(L, 1, i);
    const int type = lua_type(L, -1);
    if (type != LUA_TSTRING && type != LUA_TNUMBER) {
      return luaL_error(L, "invalid value (a %s) at index %I in table for 'concat'", luaL_typename(L, -1), i);
    }
    std::size_t size = 0;
    const char* element = lua_tolstring(L, -1, &size);
    if (text.size() + size + separator_size > kBuiltStringBytesMax) {
      return luaL_error(L, "resulting string too large");
    }
    text.append(element, size);
    if (i != last) text.append(separator, separator_size);
    lua_pop(L, 1);
    if (i == last) break;  // last may be the largest integer
  }
  lua_pushlstring(L, text.data(), text.size());
  return 1;
}

int unpack(lua_State* L) {
  // Raw, so that it works on any table as far as its own elements go.
  luaL_checktype(L, 1, LUA_TTABLE);
  const lua_Integer first = luaL_optinteger(L, 2, 1), last = luaL_optinteger(L, 3, length(L, 1));
  if (first > last) return 0;
  check_range(L, first, last);
  const int n = static_cast<int>(last - first + 1);
  if (!lua_checkstack(L, n)) return luaL_error(L, "too many results to unpack");
  for (int i = 0; i < n; ++i) {
    check_stop(L);
    lua_rawgeti(L, 1, first + i);
  }
  return n;
}

int pack(lua_State* L) {
  const int n = lua_gettop(L);
  lua_createtable(L, n, 1);
  lua_insert(L, 1);
  for (int i = n; i >= 1; --i) lua_rawseti(L, 1, i);
  lua_pushinteger(L, n);
  lua_setfield(L, 1, "n");
  return 1;
}

int move(lua_State* L) {
  check_plain(L, 1);
  const lua_Integer first = luaL_checkinteger(L, 2), last = luaL_checkinteger(L, 3), to = luaL_checkinteger(L, 4);
  const int target = lua_isnoneornil(L, 5) ? 1 : 5;
  check_plain(L, target);
  if (last >= first) {
    check_range(L, first, last);
    const lua_Integer n = last - first;
    luaL_argcheck(L, to <= LUA_MAXINTEGER - n, 4, "destination wrap around");
    // Overlapping upwards within one table: from the end.
    const bool down = to > first && to <= last && (target == 1 || lua_rawequal(L, 1, target));
    for (lua_Integer i = 0; i <= n; ++i) {
      check_stop(L);
      const lua_Integer at = down ? n - i : i;
      lua_rawgeti(L, 1, first + at);
      lua_rawseti(L, target, to + at);
    }
  }
  lua_pushvalue(L, target);
  return 1;
}

// Whether the element at stack index a belongs strictly before the one at b.
bool less(lua_State* L, bool comparator, int a, int b) {
  check_stop(L);
  if (!comparator) return lua_compare(L, a, b, LUA_OPLT) != 0;
  lua_pushvalue(L, 2);
  lua_pushvalue(L, a);
  lua_pushvalue(L, b);
  lua_call(L, 2, 1);
  const bool result = lua_toboolean(L, -1) != 0;
  lua_pop(L, 1);
  return result;
}

// Merges [low, middle) and [middle, high) of the table `from` into `to`, 1-based.
void merge(lua_State* L, bool comparator, int from, int to, lua_Integer low, lua_Integer middle, lua_Integer high) {
  lua_Integer left = low, right = middle;
  for (lua_Integer out = low; out < high; ++out) {
    bool take_right = left == middle;
    if (!take_right && right < high) {
      lua_rawgeti(L, from, right);
      lua_rawgeti(L, from, left);
      const int top = lua_gettop(L);
      take_right = less(L, comparator, top - 1, top);
      lua_pop(L, 2);
    }
    lua_rawgeti(L, from, take_right ? right : left);
    lua_rawseti(L, to, out);
    ++(take_right ? right : left);
  }
}

int sort(lua_State* L) {
  check_plain(L, 1);
  const bool comparator = !lua_isnoneornil(L, 2);
  if (comparator) luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  const lua_Integer n = length(L, 1);
  check_range(L, 1, n);
  if (n < 2) return 0;
  luaL_checkstack(L, 8, nullptr);
  // The elements go back and forth between two tables of our own; the script's table is written at the end, so that a
  // comparator that raises, or that changes the table, leaves nothing half done.
  lua_createtable(L, static_cast<int>(n), 0);
  lua_createtable(L, static_cast<int>(n), 0);
  for (lua_Integer i = 1; i <= n; ++i) {
    lua_rawgeti(L, 1, i);
    lua_rawseti(L, 3, i);
  }
  int from = 3, to = 4;
  for (lua_Integer width = 1; width < n; width *= 2) {
    for (lua_Integer low = 1; low <= n; low += 2 * width) {
      const lua_Integer middle = std::min(low + width, n + 1), high = std::min(low + 2 * width, n + 1);
      merge(L, comparator, from, to, low, middle, high);
    }
    std::swap(from, to);
  }
  for (lua_Integer i = 1; i <= n; ++i) {
    lua_rawgeti(L, from, i);
    lua_rawseti(L, 1, i);
  }
  return 0;
}

}  // namespace

void open_table(lua_State* L) {
  const luaL_Reg functions[] = {{"insert", insert}, {"remove", remove}, {"concat", concat}, {"unpack", unpack},
                                {"pack", pack},     {"move", move},     {"sort", sort},     {nullptr, nullptr}};
  lua_newtable(L);
  luaL_setfuncs(L, functions, 0);
  lua_setfield(L, -2, "table");
}

}  // namespace longhaul::sandbox
