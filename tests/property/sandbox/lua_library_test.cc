// The replaced library functions against Lua's own: the same script, once in a worker and once in a stock state in this
// process, must print the same. Seeded; each script is a list of small cases.
#include <gtest/gtest.h>
#include <lua5.4/lua.hpp>

#include <random>
#include <string>
#include <vector>

#include "tests/unit/sandbox/sandbox_fixture.h"

namespace longhaul::sandbox {
namespace {

// Each case is an expression list; its values are joined, and errors only count as errors, since the words differ.
constexpr const char* kPrelude = R"(
local out = {}
local function case(f)
  local r = { pcall(f) }
  if not r[1] then out[#out + 1] = "error" return end
  local t = {}
  for i = 2, 8 do t[#t + 1] = type(r[i]) == "table" and "{" .. table.concat(r[i], ",") .. "}" or tostring(r[i]) end
  out[#out + 1] = (table.concat(t, "|"):gsub("[\128-\255]", "?"))
end
)";

class LuaLibrary : public SandboxTest {
 protected:
  void SetUp() override {
    SandboxTest::SetUp();
    L_ = luaL_newstate();
    luaL_openlibs(L_);
  }
  void TearDown() override { lua_close(L_); }

  void compare(const std::vector<std::string>& cases, std::uint64_t seed) {
    std::string body = kPrelude;
    for (const std::string& text : cases) body += "case(function() " + text + " end)\n";
    body += "return table.concat(out, '\\n')\n";
    ASSERT_EQ(luaL_loadstring(L_, body.c_str()), LUA_OK) << lua_tostring(L_, -1);
    ASSERT_EQ(lua_pcall(L_, 0, 1, 0), LUA_OK) << lua_tostring(L_, -1);
    const std::string expected = lua_tostring(L_, -1);
    lua_pop(L_, 1);
    Limits limits;
    limits.cpu_ms = 60'000;
    limits.output_bytes = 1 << 20;
    const CallOutcome outcome = run(body, "{}", limits);
    ASSERT_EQ(outcome.kind, CallOutcome::Kind::kOk) << shown(outcome);
    std::size_t at = 0, line = 0;
    for (; at < expected.size() && at < outcome.text.size() && expected[at] == outcome.text[at]; ++at) {
      if (expected[at] == '\n') ++line;
    }
    EXPECT_EQ(outcome.text, expected) << "seed " << seed
                                      << ", first difference in: " << (line < cases.size() ? cases[line] : "");
  }

  std::string pick(const std::vector<std::string>& from) { return from[random_() % from.size()]; }
  std::string join(const std::vector<std::string>& from, int n_max) {
    std::string text;
    for (int n = static_cast<int>(random_() % static_cast<unsigned>(n_max + 1)); n > 0; --n) text += pick(from);
    return "[==[" + text + "]==]";
  }

  lua_State* L_ = nullptr;
  static constexpr std::uint64_t kSeed = 42;
  std::mt19937_64 random_{kSeed};
};

TEST_F(LuaLibrary, MatchGmatchGsubAgree) {
  const std::vector<std::string> pieces = {"a",  "b",  "%a+",  "%d", "(.)", "()",     "[ab]*", "%s?",  ".-",
                                           "b-", "%w", "(a*)", "$",  "%1",  "%f[%w]", "%b()",  "[^a]", "^"};
  const std::vector<std::string> letters = {"a", "b", "ab", " ", "1", "(", ")", "x"};
  const std::vector<std::string> replacements = {"'<%0>'",
                                                 "'%1'",
                                                 "'%2'",
                                                 "'%%'",
                                                 "'%'",
                                                 "''",
                                                 "{a='A', b=false}",
                                                 "function(x) return x == 'a' and 'Z' end",
                                                 "function(x) return x end",
                                                 "5",
                                                 "function() return {} end"};
  std::vector<std::string> cases;
  for (int i = 0; i < 1'500; ++i) {
    const std::string subject = join(letters, 8), pattern = join(pieces, 3);
    const std::string init = std::to_string(static_cast<int>(random_() % 14) - 5);
    switch (random_() % 3) {
      case 0:
        cases.push_back("return string.match(" + subject + ", " + pattern + ", " + init + ")");
        break;
      case 1:
        cases.push_back("local t = {} for a, b in string.gmatch(" + subject + ", " + pattern + ", " + init +
                        ") do t[#t + 1] = tostring(a) .. tostring(b) end return t");
        break;
      default:
        cases.push_back("return string.gsub(" + subject + ", " + pattern + ", " + pick(replacements) +
                        (random_() % 3 == 0 ? ", " + init : "") + ")");
    }
  }
  compare(cases, kSeed);
}

TEST_F(LuaLibrary, PlainStringFunctionsAgree) {
  const std::vector<std::string> letters = {"a", "b", "ab", "%", ".", "-"};
  const std::vector<std::string> formats = {"%d",    "%5d", "%-5d|", "%s",   "%10s", "%-10s|",  "%.2s",
                                            "%q",    "%x",  "%g",    "%.3f", "%c",   "%%",      "%i",
                                            "%5.1f", "%a",  "%u",    "%",    "%z",   "%s %s %d"};
  const std::vector<std::string> values = {"1", "-7", "2.5", "'text'", "'12'", "nil", "true", "65", "1e300"};
  std::vector<std::string> cases;
  for (int i = 0; i < 1'000; ++i) {
    const std::string number = std::to_string(static_cast<int>(random_() % 12) - 4);
    switch (random_() % 4) {
      case 0:
        cases.push_back("return string.find(" + join(letters, 6) + ", " + join(letters, 2) + ", " + number + ", true)");
        break;
      case 1:
        cases.push_back("return string.rep(" + join(letters, 3) + ", " + number + ", " + join(letters, 1) + ")");
        break;
      case 2:
        cases.push_back("return string.format('" + pick(formats) + "', " + pick(values) + ", " + pick(values) + ", " +
                        pick(values) + ")");
        break;
      default:
        cases.push_back("return (" + join(letters, 5) + "):sub(" + number + ", " + number + "):upper():byte(1, -1)");
    }
  }
  compare(cases, kSeed);
}

TEST_F(LuaLibrary, TableFunctionsAgree) {
  const std::vector<std::string> positions = {"-1", "0", "1", "2", "3", "5", "6", "7"};
  std::vector<std::string> cases;
  for (int i = 0; i < 1'500; ++i) {
    std::string list = "{";
    for (int n = static_cast<int>(random_() % 7); n > 0; --n) list += std::to_string(random_() % 9) + ",";
    const std::string t = "local t = " + list + "} ";
    switch (random_() % 8) {
      case 0:
        cases.push_back(t + "table.insert(t, " + pick(positions) + ", 9) return t");
        break;
      case 1:
        cases.push_back(t + "table.insert(t, 9) return t");
        break;
      case 2:
        cases.push_back(t + "local r = table.remove(t, " + pick(positions) + ") return t, r");
        break;
      case 3:
        cases.push_back(t + "local r = table.remove(t) return t, r");
        break;
      case 4:
        cases.push_back(t + "table.move(t, " + pick(positions) + ", " + pick(positions) + ", " + pick(positions) +
                        ") local s = {} for i = 1, 12 do s[i] = tostring(t[i]) end return s");
        break;
      case 5:
        cases.push_back(t + "return table.concat(t, ', ', " + pick(positions) + ", " + pick(positions) + ")");
        break;
      case 6:
        cases.push_back(t + "return table.unpack(t, " + pick(positions) + ", " + pick(positions) + ")");
        break;
      default:
        cases.push_back(t + (random_() % 2 == 0 ? "table.sort(t) return t"
                                                : "table.sort(t, function(a, b) return a > b end) return t"));
    }
  }
  compare(cases, kSeed);
}

}  // namespace
}  // namespace longhaul::sandbox
