// The own matcher against Lua's: the same patterns, subjects and functions must give the same results. Lua runs in this
// process here, on short texts made from a small alphabet.
#include "sandbox/lua_pattern.h"

#include <gtest/gtest.h>
#include <lua5.4/lua.hpp>

#include <random>
#include <string>

namespace longhaul::sandbox {
namespace {

// What string.find(subject, pattern) gives, as one text; errors begin with `!`.
std::string by_lua(lua_State* L, const std::string& subject, const std::string& pattern, std::size_t init) {
  lua_settop(L, 0);
  lua_getglobal(L, "string");
  lua_getfield(L, -1, "find");
  lua_remove(L, 1);
  lua_pushlstring(L, subject.data(), subject.size());
  lua_pushlstring(L, pattern.data(), pattern.size());
  lua_pushinteger(L, static_cast<lua_Integer>(init) + 1);
  if (lua_pcall(L, 3, LUA_MULTRET, 0) != LUA_OK) return "!";
  std::string text;
  for (int i = 1; i <= lua_gettop(L); ++i) {
    text += std::string(luaL_typename(L, i)) + ":";
    std::size_t size = 0;
    const char* value = luaL_tolstring(L, i, &size);
    text += std::string(value, size) + ";";
    lua_pop(L, 1);
  }
  return text;
}

std::string by_us(const std::string& subject, const std::string& pattern, std::size_t init) {
  const bool anchored = !pattern.empty() && pattern[0] == '^';
  PatternMatcher matcher(subject, std::string_view(pattern).substr(anchored ? 1 : 0), 10'000'000);
  for (std::size_t at = init; at <= subject.size(); ++at) {
    if (matcher.match_at(at)) {
      std::string text = "number:" + std::to_string(at + 1) + ";number:" + std::to_string(matcher.end()) + ";";
      for (const PatternCapture& capture : matcher.captures()) {
        if (capture.length == PatternCapture::kPosition) {
          text += "number:" + std::to_string(capture.begin + 1) + ";";
        } else {
          text += "string:" + subject.substr(capture.begin, static_cast<std::size_t>(capture.length)) + ";";
        }
      }
      return text;
    }
    if (!matcher.error().empty()) return "!";
    if (anchored) break;
  }
  return "nil:nil;";
}

TEST(LuaPatternProperty, FindsWhatLuaFinds) {
  lua_State* L = luaL_newstate();
  ASSERT_NE(L, nullptr);
  luaL_openlibs(L);
  const std::uint64_t seed = 20261123;
  std::mt19937_64 random(seed);
  const std::vector<std::string> pieces = {
      "a",     "b",     "ab",  ".",     "%a",   "%d",     "%s",      "%w", "%A", "%%",    "%.", "[ab]", "[^a]",
      "[%d_]", "[a-c]", "[]]", "[^]a]", "[a-]", "*",      "+",       "-",  "?",  "(",     ")",  "()",   "^",
      "$",     "%1",    "%2",  "%b()",  "%bab", "%f[%w]", "%f[^%w]", " ",  "1",  "[a%]]", "[",  "%",    "%f",
      "%b(",   "x-",    "a*",  ".-",    "(a*)", "(.)",    "%g",      "%p", "%x", "%u",    "%l", "%c"};
  const std::vector<std::string> subjects = {"a",  "b", "c", " ", "1", "_", "(",  ")", "ab",
                                             "aa", "]", "-", "%", ".", "B", "\n", "f"};
  int n_matched = 0, n_errors = 0;
  for (int i = 0; i < 60'000; ++i) {
    std::string pattern, subject;
    for (int n = 1 + static_cast<int>(random() % 6); n > 0; --n) pattern += pieces[random() % pieces.size()];
    for (int n = static_cast<int>(random() % 10); n > 0; --n) subject += subjects[random() % subjects.size()];
    const std::size_t init = random() % (subject.size() + 1);
    // Without special characters Lua takes find for a plain one; that path is not under test.
    if (pattern.find_first_of("^$*+?.([%-") == std::string::npos) continue;
    const std::string expected = by_lua(L, subject, pattern, init), got = by_us(subject, pattern, init);
    ASSERT_EQ(got, expected) << "seed " << seed << ", try " << i << ": find(\"" << subject << "\", \"" << pattern
                             << "\", " << init + 1 << ")";
    n_matched += expected.starts_with("number") ? 1 : 0;
    n_errors += expected == "!" ? 1 : 0;
  }
  lua_close(L);
  // The sample means something only if all three outcomes are frequent.
  EXPECT_GT(n_matched, 5'000);
  EXPECT_GT(n_errors, 5'000);
}

}  // namespace
}  // namespace longhaul::sandbox
