#include "tools/regex.h"

#include <gtest/gtest.h>

#include <functional>
#include <thread>
#include <vector>

#include "tools/formats.h"

namespace longhaul::tools {
namespace {

bool found(std::string_view pattern, std::string_view text) {
  RegexPool pool;
  auto id = pool.pattern(pattern);
  EXPECT_TRUE(id) << pattern << ": " << (id ? "" : id.error().message);
  if (!id) return false;
  auto ok = pool.settle(*id);
  EXPECT_TRUE(ok) << pattern;
  return pool.matches(*id, text);
}

TEST(Regex, FindsWhatEcmaFinds) {
  struct Case {
    const char *pattern, *text;
    bool found;
  };
  const Case cases[] = {
      {"a", "xay", true},
      {"^a", "xay", false},
      {"^a*$", "aaa", true},
      {"^a*$", "aab", false},
      {"f.*o", "xfoo", true},
      {"f.*o", "f\no", false},
      {"^(a|bc)+$", "abca", true},
      {"^(a|bc)+$", "abcb", false},
      {"^[^a-c]$", "d", true},
      {"^[^a-c]$", "b", false},
      {"^\\d{3}-\\d{2}$", "123-45", true},
      {"^\\d{3}-\\d{2}$", "123-4", false},
      {"^x{2,3}$", "xxxx", false},
      {"^x{2,}$", "xxxx", true},
      {"^(?=.*\\d)(?=.*[a-z]).{4,}$", "ab1c", true},
      {"^(?=.*\\d)(?=.*[a-z]).{4,}$", "abcd", false},
      {"^(?!foo)", "foobar", false},
      {"^(?!foo)", "fobar", true},
      {"^(?:(?!ab).)*$", "acacb", true},
      {"^(?:(?!ab).)*$", "acabb", false},
      {"\\bcat\\b", "a cat!", true},
      {"\\bcat\\b", "concat", false},
      {"\\Bcat", "concat", true},
      {"\\Bcat", "cat", false},
      {"^([^,]+(,|$)){3,}$", "a,b,c", true},
      {"^([^,]+(,|$)){3,}$", "a,b", false},
      {"a^b", "ab", false},
      {"(^|x)y", "zxy", true},
      {"(^|x)y", "zy", false},
      {"(^|x)y", "yz", true},
      {"a$|b", "ab", true},
      {"^\\p{Lu}\\p{Ll}+$", "\xC3\x89t\xC3\xA9", true},
      {"^\\p{Lu}\\p{Ll}+$", "\xC3\xA9t\xC3\xA9", false},
      {"^\\p{Letter}+$", "\xD0\x9F\xD1\x80", true},
      {"^\\P{L}+$", "123", true},
      {"^\\p{Script=Greek}+$", "\xCE\xB1\xCE\xB2", true},
      {"^\\p{Script=Greek}+$", "ab", false},
      {"^.$", "\xF0\x9F\x90\xB2", true},
      {"^\\u{1F432}$", "\xF0\x9F\x90\xB2", true},
      {"^\\uD83D\\uDC32*$", "\xF0\x9F\x90\xB2\xF0\x9F\x90\xB2", true},
      {"^[\\uD83D\\uDC32-\\uD83D\\uDC36]$", "\xF0\x9F\x90\xB4", true},
      {"^\\cC$", "\x03", true},
      {"^\\s$", "\xEF\xBB\xBF", true},
      {"^\\w$", "\xC3\xA9", false},
      {"^[\\w-]+$", "a-b", true},
      {"^{a}$", "{a}", true},
      {"^[.]$", ".", true},
      {"^[]$", "", false},
      {"^[^]$", "\n", true},
      {"(?<year>\\d{4})", "in 1999", true},
      {"", "anything", true},
      {"^(x{1000}){3}$", "x", false},
  };
  for (const Case& c : cases) EXPECT_EQ(found(c.pattern, c.text), c.found) << c.pattern << " in " << c.text;
}

TEST(Regex, RefusesByName) {
  RegexPool pool;
  auto message = [&](std::string_view pattern) {
    auto id = pool.pattern(pattern);
    return id ? std::string("accepted") : id.error().message;
  };
  EXPECT_EQ(message("(?<=a)b"), "look-behind is not enforced, at character 3");
  EXPECT_EQ(message("(a)\\1"), "a reference back to a group is not enforced, at character 4");
  EXPECT_EQ(message("a)"), "a parenthesis that nothing opened, at character 1");
  EXPECT_EQ(message("(a"), "a group that does not end, at character 2");
  EXPECT_EQ(message("[b-a]"), "a range with its ends the wrong way round, at character 4");
  EXPECT_EQ(message("*a"), "a quantifier with nothing before it, at character 0");
  EXPECT_EQ(message("\\p{Nonsense}"), "the property \"Nonsense\" is not known, at character 12");
  EXPECT_EQ(message("\\a"), "an escape that ECMA-262 does not know is not enforced, at character 1");
  EXPECT_EQ(message("a{3,2}"), "a repeat with its bounds the wrong way round, at character 6");
}

TEST(Regex, CatastrophesAreCheapOrRefused) {
  RegexPool pool;
  const std::pair<const char*, bool> cheap[] = {{"(a*)*b", false},
                                                {"^(a|a)*$", false},
                                                {"^((a{0,8}){0,8}){0,8}$", false},
                                                {"^(x{1000}){1000}$", false},
                                                {"(.*a){12}", true}};
  for (const auto& [pattern, found] : cheap) {
    auto id = pool.pattern(pattern);
    ASSERT_TRUE(id) << pattern << ": " << id.error().message;
    ASSERT_TRUE(pool.settle(*id));
    EXPECT_EQ(pool.matches(*id, std::string(2000, 'a') + "!"), found) << pattern;
  }
  EXPECT_LT(pool.size(), 20'000U);
  for (const char* pattern :
       {"(a|b{0,1000}c?){0,1000}x", "^((a{0,100}){0,100}){0,100}$", "(x{1000}){1000}", "(?=.*a.{30}b)(?=.*b.{30}a)c"}) {
    auto id = pool.pattern(pattern);
    const auto ok = id ? pool.settle(*id) : Result<void>(id.error());
    ASSERT_FALSE(ok) << pattern;
    EXPECT_EQ(ok.error().code, ErrorCode::kResourceExhausted);
  }
}

TEST(Regex, LengthsAndCounts) {
  RegexPool pool;
  auto id = [&](std::string_view pattern) {
    const RegexId made = *pool.pattern(pattern);
    EXPECT_TRUE(pool.settle(made));
    return made;
  };
  EXPECT_EQ(pool.shortest(id("^a{2,5}(bc)?$")), 2U);
  EXPECT_EQ(pool.longest(id("^a{2,5}(bc)?$")), 7U);
  EXPECT_EQ(pool.longest(id("^a+$")), kUnbounded);
  const RegexId even = id("^(ab)*$");
  EXPECT_TRUE(pool.fits(even, {4, 4}));
  EXPECT_FALSE(pool.fits(even, {5, 5}));
  EXPECT_TRUE(pool.fits(even, {5, 6}));
  EXPECT_EQ(pool.count(id("^[ab]{3}$"), 100), 8U);
  EXPECT_EQ(pool.count(id("^[ab]{3}$"), 5), 5U);
  EXPECT_EQ(pool.count(id("^[ab]*$"), 100), 100U);
  EXPECT_EQ(pool.list(id("^[ab]c?$"), 4)->size(), 4U);
  EXPECT_FALSE(pool.list(id("^[ab]c?$"), 3));
  // An intersection that is empty though its parts are not.
  const RegexId none = pool.both({id("^a*$"), id("^b+$")});
  ASSERT_TRUE(pool.settle(none));
  EXPECT_TRUE(pool.empty(none));
  const RegexId rest = pool.both({id("^[a-z]+$"), pool.complement(pool.literal("abc"))});
  ASSERT_TRUE(pool.settle(rest));
  EXPECT_TRUE(pool.matches(rest, "abcd"));
  EXPECT_FALSE(pool.matches(rest, "abc"));
  const RegexId a = pool.step(pool.step(rest, 'a'), 'b');
  EXPECT_TRUE(pool.open_between(a, 'c', 'c', {}));
  EXPECT_FALSE(pool.open_between(a, 'c', 'c', {0, 1}));
}

// A shared language does in every combination what the same expression does, in each pool for itself.
TEST(SharedLanguage, IsItsExpressionInEachPool) {
  const auto spell = [](RegexPool& pool) { return *pool.pattern("^(?:[ab]{2,4}|a+\\u{E9}?|.b[^a])$"); };
  SharedLanguage language(spell);
  using Use = std::function<RegexId(RegexPool&, RegexId)>;
  const Use uses[] = {
      [](RegexPool&, RegexId id) { return id; },
      [](RegexPool& pool, RegexId id) { return pool.complement(id); },
      [](RegexPool& pool, RegexId id) { return pool.concat(id, pool.literal("b")); },
      [](RegexPool& pool, RegexId id) { return pool.concat(pool.literal("a"), id); },
      [](RegexPool& pool, RegexId id) { return pool.repeat(id, 1, 2); },
      [](RegexPool& pool, RegexId id) {
        return pool.either({id, *pool.pattern("^b*a$")});
      },
      [](RegexPool& pool, RegexId id) {
        return pool.both({id, *pool.pattern("^a.*b$")});
      },
      [](RegexPool& pool, RegexId id) {
        return pool.both({pool.complement(id), *pool.pattern("^.{1,3}$")});
      },
  };
  std::vector<std::string> texts{""};
  for (std::size_t i = 0; texts[i].size() < 6; ++i) {
    for (const char* next : {"a", "b", "c", "\xC3\xA9", "\n"}) texts.push_back(texts[i] + next);
  }
  for (const Use& use : uses) {
    RegexPool own, first, second;
    second.shared(language);
    const RegexId expected = use(own, spell(own)), one = use(first, first.shared(language));
    const RegexId two = use(second, second.shared(language));
    ASSERT_TRUE(own.settle(expected) && first.settle(one) && second.settle(two));
    RegexPool copy = first;  // goes on alone
    for (const std::string& text : texts) {
      const bool found = own.matches(expected, text);
      EXPECT_EQ(first.matches(one, text), found) << text;
      EXPECT_EQ(second.matches(two, text), found) << text;
      EXPECT_EQ(copy.matches(one, text), found) << text;
    }
    EXPECT_EQ(first.shortest(one), own.shortest(expected));
    EXPECT_EQ(first.longest(one), own.longest(expected));
    EXPECT_EQ(first.count(one, 50), own.count(expected, 50));
    const RegexPool::Alike alike = first.alike(one);
    EXPECT_EQ(alike.classes, own.alike(expected).classes);
  }
}

TEST(SharedLanguage, ThreadsMayUseOne) {
  std::vector<std::thread> threads;
  std::vector<int> found(4, 0);
  for (std::size_t i = 0; i < found.size(); ++i) {
    threads.emplace_back([&found, i] {
      for (const char* name : {"date-time", "ipv6", "email", "uri"}) {
        RegexPool pool;
        const RegexId id = format_language(pool, name)->pattern;
        for (const char* text : {"2016-12-31T23:59:60Z", "fe80::1", "a.b@c.example", "http://a.example/b?c#d"}) {
          found[i] += pool.matches(id, text) ? 1 : 0;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(found, std::vector<int>(4, 5));  // each is of its format, and fe80::1 a URI, too
}

}  // namespace
}  // namespace longhaul::tools
