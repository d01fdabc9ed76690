// The string library. Lua's own functions where they are short; replaced are those that could run for ever inside one
// call or show addresses: rep (bounded result), find, match, gmatch, gsub (own matcher with a step budget; plain find
// by memmem), format (%s through our tostring, no %p). Left out: dump (bytecode), pack, unpack, packsize. The metatable
// of strings is locked and has an __index of its own, so that a script cannot change what "x":upper() means.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "sandbox/lua_internal.h"
#include "sandbox/lua_pattern.h"

namespace longhaul::sandbox {
namespace {

std::uint64_t step_budget(std::string_view subject) {
  return kPatternStepsMax + kPatternStepsPerByte * subject.size();
}

PatternMatcher matcher(std::string_view subject, std::string_view pattern) {
  return {subject, pattern, step_budget(subject), &g_stop};
}

void check_matcher(lua_State* L, const PatternMatcher& matcher) {
  if (matcher.error().empty()) return;
  check_stop(L);
  lua_pushlstring(L, matcher.error().data(), matcher.error().size());
  luaL_error(L, "%s", lua_tostring(L, -1));
}

// Where `init` points: 0-based, possibly past the end.
std::size_t start_position(lua_Integer init, std::size_t size) {
  if (init > 0) return static_cast<std::size_t>(init) - 1;
  if (init == 0) return 0;
  const lua_Integer from_end = static_cast<lua_Integer>(size) + init;
  return from_end < 0 ? 0 : static_cast<std::size_t>(from_end);
}

void push_capture(lua_State* L, const PatternCapture& capture, std::string_view subject) {
  if (capture.length == PatternCapture::kPosition) {
    lua_pushinteger(L, static_cast<lua_Integer>(capture.begin) + 1);
  } else {
    lua_pushlstring(L, subject.data() + capture.begin, static_cast<std::size_t>(capture.length));
  }
}

// All captures, or the whole match if there are none.
int push_captures(lua_State* L, const PatternMatcher& matcher, std::string_view subject, std::size_t begin) {
  luaL_checkstack(L, static_cast<int>(matcher.captures().size()) + 1, "too many captures");
  if (matcher.captures().empty()) {
    lua_pushlstring(L, subject.data() + begin, matcher.end() - begin);
    return 1;
  }
  for (const PatternCapture& capture : matcher.captures()) push_capture(L, capture, subject);
  return static_cast<int>(matcher.captures().size());
}

bool no_specials(std::string_view pattern) {
  return pattern.find_first_of("^$*+?.([%-") == std::string_view::npos;
}

int find_or_match(lua_State* L, bool find) {
  const std::string_view subject = view(L, 1), full_pattern = view(L, 2);
  const std::size_t start = start_position(luaL_optinteger(L, 3, 1), subject.size());
  if (start > subject.size()) {
    lua_pushnil(L);
    return 1;
  }
  if (find && (lua_toboolean(L, 4) || no_specials(full_pattern))) {
    const void* found = full_pattern.empty() ? subject.data() + start
                                             : ::memmem(subject.data() + start, subject.size() - start,
                                                        full_pattern.data(), full_pattern.size());
    if (found == nullptr) {
      lua_pushnil(L);
      return 1;
    }
    const auto at = static_cast<lua_Integer>(static_cast<const char*>(found) - subject.data());
    lua_pushinteger(L, at + 1);
    lua_pushinteger(L, at + static_cast<lua_Integer>(full_pattern.size()));
    return 2;
  }
  const bool anchored = !full_pattern.empty() && full_pattern[0] == '^';
  PatternMatcher search = matcher(subject, anchored ? full_pattern.substr(1) : full_pattern);
  for (std::size_t at = start; at <= subject.size(); ++at) {
    if (search.match_at(at)) {
      if (!find) return push_captures(L, search, subject, at);
      lua_pushinteger(L, static_cast<lua_Integer>(at) + 1);
      lua_pushinteger(L, static_cast<lua_Integer>(search.end()));
      if (search.captures().empty()) return 2;
      return push_captures(L, search, subject, at) + 2;
    }
    check_matcher(L, search);
    if (anchored) break;
  }
  lua_pushnil(L);
  return 1;
}

int find(lua_State* L) {
  return find_or_match(L, true);
}
int match(lua_State* L) {
  return find_or_match(L, false);
}

// Upvalues: subject, pattern, next position, end of the last match (-1: none).
int next_match(lua_State* L) {
  std::size_t size = 0;
  const char* text = lua_tolstring(L, lua_upvalueindex(1), &size);
  const std::string_view subject(text, size);
  text = lua_tolstring(L, lua_upvalueindex(2), &size);
  PatternMatcher search = matcher(subject, {text, size});
  const lua_Integer last_end = lua_tointeger(L, lua_upvalueindex(4));
  for (auto at = static_cast<std::size_t>(lua_tointeger(L, lua_upvalueindex(3))); at <= subject.size(); ++at) {
    if (search.match_at(at) && static_cast<lua_Integer>(search.end()) != last_end) {
      lua_pushinteger(L, static_cast<lua_Integer>(search.end()));
      lua_pushvalue(L, -1);
      lua_replace(L, lua_upvalueindex(3));
      lua_replace(L, lua_upvalueindex(4));
      return push_captures(L, search, subject, at);
    }
    check_matcher(L, search);
  }
  return 0;
}

int gmatch(lua_State* L) {
  const std::string_view subject = view(L, 1);
  luaL_checkstring(L, 2);
  const std::size_t start = start_position(luaL_optinteger(L, 3, 1), subject.size());
  lua_settop(L, 2);
  lua_pushinteger(L, static_cast<lua_Integer>(std::min(start, subject.size() + 1)));
  lua_pushinteger(L, -1);
  lua_pushcclosure(L, next_match, 4);
  return 1;
}

void append(lua_State* L, std::string& out, std::string_view text) {
  if (out.size() + text.size() > kBuiltStringBytesMax) luaL_error(L, "resulting string too large");
  out.append(text);
}

// The n-th capture for a replacement text; 0 is the whole match.
void append_capture(lua_State* L, std::string& out, const PatternMatcher& search, std::string_view subject,
                    std::size_t begin, int n) {
  const std::string_view whole = subject.substr(begin, search.end() - begin);
  if (n == 0 || (n == 1 && search.captures().empty())) return append(L, out, whole);
  const auto index = static_cast<std::size_t>(n - 1);
  if (index >= search.captures().size()) luaL_error(L, "invalid capture index %%%d in replacement string", n);
  const PatternCapture& capture = search.captures()[index];
  if (capture.length == PatternCapture::kPosition) return append(L, out, fmt::format("{}", capture.begin + 1));
  append(L, out, subject.substr(capture.begin, static_cast<std::size_t>(capture.length)));
}

// What stands for one match. False: the replacement says to keep the text.
bool append_replacement(lua_State* L, std::string& out, const PatternMatcher& search, std::string_view subject,
                        std::size_t begin) {
  switch (lua_type(L, 3)) {
    case LUA_TFUNCTION: {
      lua_pushvalue(L, 3);
      lua_call(L, push_captures(L, search, subject, begin), 1);
      break;
    }
    case LUA_TTABLE: {
      const int n = push_captures(L, search, subject, begin);
      lua_pop(L, n - 1);  // the first is the key
      lua_gettable(L, 3);
      break;
    }
    default: {
      const std::string_view text = view(L, 3);
      for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
          append(L, out, text.substr(i, 1));
          continue;
        }
        const char kind = ++i < text.size() ? text[i] : '\0';
        if (kind == '%') {
          append(L, out, "%");
        } else if (kind >= '0' && kind <= '9') {
          append_capture(L, out, search, subject, begin, kind - '0');
        } else {
          luaL_error(L, "invalid use of '%%' in replacement string");
        }
      }
      return true;
    }
  }
  if (!lua_toboolean(L, -1)) {
    lua_pop(L, 1);
    return false;
  }
  if (!lua_isstring(L, -1)) luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
  std::size_t size = 0;
  const char* text = lua_tolstring(L, -1, &size);
  append(L, out, {text, size});
  lua_pop(L, 1);
  return true;
}

int gsub(lua_State* L) {
  const std::string_view subject = view(L, 1), full_pattern = view(L, 2);
  const int type = lua_type(L, 3);
  luaL_argexpected(L, type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION || type == LUA_TTABLE, 3,
                   "string/function/table");
  const lua_Integer n_max = luaL_optinteger(L, 4, static_cast<lua_Integer>(subject.size()) + 1);
  const bool anchored = !full_pattern.empty() && full_pattern[0] == '^';
  PatternMatcher search = matcher(subject, anchored ? full_pattern.substr(1) : full_pattern);
  std::string out;
  lua_Integer n = 0;
  std::size_t at = 0, last_end = static_cast<std::size_t>(-1);
  while (n < n_max) {
    check_stop(L);
    const bool matched = search.match_at(at);
    check_matcher(L, search);
    if (matched && search.end() != last_end) {
      ++n;
      if (!append_replacement(L, out, search, subject, at)) append(L, out, subject.substr(at, search.end() - at));
      at = last_end = search.end();
    } else if (at < subject.size()) {
      append(L, out, subject.substr(at, 1));
      ++at;
    } else {
      break;
    }
    if (anchored) break;
  }
  if (at < subject.size()) append(L, out, subject.substr(at));
  lua_pushlstring(L, out.data(), out.size());
  lua_pushinteger(L, n);
  return 2;
}

int rep(lua_State* L) {
  const std::string_view text = view(L, 1);
  const lua_Integer n = luaL_checkinteger(L, 2);
  std::size_t separator_size = 0;
  const char* separator = luaL_optlstring(L, 3, "", &separator_size);
  const std::size_t each = text.size() + separator_size;
  if (n <= 0 || each == 0) {
    lua_pushliteral(L, "");
    return 1;
  }
  if (static_cast<lua_Unsigned>(n) > kBuiltStringBytesMax / each + 1 ||
      static_cast<std::size_t>(n) * each - separator_size > kBuiltStringBytesMax) {
    return luaL_error(L, "resulting string too large");
  }
  std::string out;
  out.reserve(static_cast<std::size_t>(n) * each);
  for (lua_Integer i = 0; i < n; ++i) {
    out.append(text);
    if (i + 1 < n) out.append(separator, separator_size);
  }
  lua_pushlstring(L, out.data(), out.size());
  return 1;
}

// Checks the conversions, turns the arguments of %s into texts, then lets Lua's own function (upvalue 1) do the rest.
int format(lua_State* L) {
  const std::string_view text = view(L, 1);
  int arg = 1;
  const int n_args = lua_gettop(L);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') continue;
    if (++i < text.size() && text[i] == '%') continue;
    while (i < text.size() && std::strchr("-+ #0123456789.", text[i]) != nullptr && text[i] != '\0') ++i;
    if (i >= text.size()) break;
    ++arg;
    if (text[i] == 'p') return luaL_error(L, "'%%p' is not allowed in 'format'");
    if (text[i] == 's' && arg <= n_args) {
      push_text(L, arg);
      lua_replace(L, arg);
    }
  }
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, n_args, 1);
  return 1;
}

void take(lua_State* L, int from, int to, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    lua_getfield(L, from, name);
    lua_setfield(L, to, name);
  }
}

void build(lua_State* L, int own) {
  lua_newtable(L);
  const int table = lua_gettop(L);
  take(L, own, table, {"byte", "char", "len", "lower", "upper", "reverse", "sub"});
  const luaL_Reg functions[] = {{"find", find}, {"match", match}, {"gmatch", gmatch},
                                {"gsub", gsub}, {"rep", rep},     {nullptr, nullptr}};
  luaL_setfuncs(L, functions, 0);
  lua_getfield(L, own, "format");
  lua_pushcclosure(L, format, 1);
  lua_setfield(L, table, "format");
}

}  // namespace

void open_string(lua_State* L) {
  const int globals = lua_gettop(L);
  lua_pushcfunction(L, luaopen_string);
  lua_call(L, 0, 1);
  const int own = lua_gettop(L);
  build(L, own);
  lua_setfield(L, globals, "string");
  // luaopen_string gave strings their metatable, with the arithmetic that turns "10" + 1 into 11.
  lua_pushliteral(L, "");
  lua_getmetatable(L, -1);
  build(L, own);
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, "the metatable of strings is locked");
  lua_setfield(L, -2, "__metatable");
  lua_settop(L, globals);
}

}  // namespace longhaul::sandbox
