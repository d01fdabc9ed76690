#include "tools/decimal.h"
#include "tools/number_spelling.h"

#include <gtest/gtest.h>

#include <random>

namespace longhaul::tools {
namespace {

TEST(Decimal, ComparesByValue) {
  EXPECT_EQ(parse_decimal("1"), parse_decimal("1.000"));
  EXPECT_EQ(parse_decimal("1"), parse_decimal("10e-1"));
  EXPECT_EQ(parse_decimal("-0.0"), parse_decimal("0e5"));
  EXPECT_LT(compare(parse_decimal("-2"), parse_decimal("1e-9")), 0);
  EXPECT_GT(compare(parse_decimal("0.30000000000000000001"), parse_decimal("0.3")), 0);
  EXPECT_LT(compare(parse_decimal("9e99"), parse_decimal("1e100")), 0);
  EXPECT_EQ(decimal_of(0.1), parse_decimal("0.1"));
  EXPECT_EQ(floor(parse_decimal("-1.5")), parse_decimal("-2"));
  EXPECT_EQ(ceil(parse_decimal("-1.5")), parse_decimal("-1"));
  EXPECT_EQ(floor(parse_decimal("0.5")), parse_decimal("0"));
  EXPECT_EQ(ceil(parse_decimal("9.01")), parse_decimal("10"));
}

NumberRule between(const char* lo, bool lo_open, const char* hi, bool hi_open, bool integer) {
  NumberRule rule;
  rule.integer = integer;
  if (lo != nullptr) rule.intervals[0].lo = parse_decimal(lo);
  if (hi != nullptr) rule.intervals[0].hi = parse_decimal(hi);
  rule.intervals[0].lo_open = lo_open;
  rule.intervals[0].hi_open = hi_open;
  rule.normalise();
  return rule;
}

bool spells(const NumberRule& rule, std::string_view text, bool double_range = false) {
  const NumberSpelling spelling(rule, double_range);
  std::string state;
  for (char c : text) {
    auto next = spelling.next(state, c);
    if (!next) return false;
    state = *next;
  }
  return spelling.complete(state);
}

TEST(Decimal, ADoubleHasItsShortestDigits) {
  // Spelled out it is 8597725201000259584, which is no multiple of 9.
  const Decimal large = decimal_of(8597725201.00026e+9);
  EXPECT_EQ(large.digits, "859772520100026");
  EXPECT_EQ(large.exponent, 4);
  EXPECT_TRUE(is_multiple(large, decimal_of(std::int64_t{9})));
  EXPECT_EQ(decimal_of(-0.1).digits, "1");
  EXPECT_EQ(decimal_of(1e22).exponent, 22);
}

TEST(NumberSpelling, TakesEverySpellingOfAValue) {
  NumberRule five = between("5", false, "5", false, false);
  for (const char* text : {"5", "5.0", "5.000e0", "0.5e1", "50e-1", "5E+00", "0.0005e4", "500000e-5"})
    EXPECT_TRUE(spells(five, text)) << text;
  for (const char* text : {"4", "5.1", "05", "5.", "5e", "+5", "-5", "5e1", ".5e1", "0.5", "6"})
    EXPECT_FALSE(spells(five, text)) << text;
  NumberRule zero = between("0", false, "0", false, false);
  for (const char* text : {"0", "-0", "0.00", "0e77", "-0.0e-3"}) EXPECT_TRUE(spells(zero, text)) << text;
}

TEST(NumberSpelling, KnowsIntegers) {
  NumberRule integer;
  integer.integer = true;
  for (const char* text : {"0", "-12", "1.0", "1e3", "1.5e1", "120e-1", "0.001e3", "-0"})
    EXPECT_TRUE(spells(integer, text)) << text;
  for (const char* text : {"1.5", "1e-1", "12.34e1", "125e-2", "01"}) EXPECT_FALSE(spells(integer, text)) << text;
  integer.plain = true;
  EXPECT_TRUE(spells(integer, "-120"));
  EXPECT_FALSE(spells(integer, "1.0"));
  EXPECT_FALSE(spells(integer, "1e0"));
}

// No dead ends and nothing wrong: random walks over random rules end in numbers that the rule contains, and any number
// that it contains can be spelled.
TEST(NumberSpelling, WalksEndInTheRule) {
  const std::string_view bytes = "0123456789.eE+-";
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    std::mt19937_64 random(seed);
    auto number = [&] {
      std::string text = random() % 3 == 0 ? "-" : "";
      text += std::to_string(random() % (random() % 2 == 0 ? 10 : 2000));
      if (random() % 2 == 0) text += "." + std::to_string(random() % 100);
      if (random() % 6 == 0) text += "e" + std::to_string(static_cast<int>(random() % 9) - 4);
      return text;
    };
    NumberRule rule;
    rule.integer = random() % 3 == 0;
    rule.plain = rule.integer && random() % 4 == 0;
    rule.intervals.clear();
    for (std::size_t n = 1 + random() % 3; n > 0; --n) {
      Interval interval;
      if (random() % 3 != 0) interval.lo = parse_decimal(number());
      if (random() % 3 != 0) interval.hi = parse_decimal(number());
      if (random() % 6 == 0) interval.hi = interval.lo;
      interval.lo_open = random() % 4 == 0;
      interval.hi_open = random() % 4 == 0;
      rule.intervals.push_back(interval);
    }
    rule.normalise();
    if (rule.empty()) continue;
    const bool double_range = random() % 2 == 0;
    const NumberSpelling spelling(rule, double_range);
    for (int walk = 0; walk < 4; ++walk) {
      std::string state, text;
      for (int step = 0; step < 140; ++step) {
        if (spelling.complete(state) && random() % 3 == 0) break;
        std::vector<std::pair<char, std::string>> ways;
        for (char c : bytes) {
          if (auto next = spelling.next(state, c)) ways.emplace_back(c, *next);
        }
        ASSERT_FALSE(ways.empty() && !spelling.complete(state)) << "a dead end: seed " << seed << " after " << text;
        if (ways.empty()) break;
        auto& way = ways[random() % ways.size()];
        text += way.first;
        state = way.second;
      }
      if (spelling.complete(state)) {
        ASSERT_TRUE(rule.contains(parse_decimal(text))) << "seed " << seed << ": " << text;
      }
    }
    for (int i = 0; i < 20; ++i) {
      const std::string text = number();
      const bool bare = text.find_first_of(".e") == std::string::npos;
      const bool expected = rule.contains(parse_decimal(text)) && (!rule.plain || bare);
      ASSERT_EQ(spells(rule, text, double_range), expected) << "seed " << seed << ": " << text;
    }
  }
}

// What a model that repeats itself could write for ever.
TEST(NumberSpelling, NumbersOfCallsComeToAnEnd) {
  for (const char* start : {"0.", "1e", "2E-", "7", "0.3e+"}) {
    for (const char digit : {'0', '3'}) {
      const NumberRule any;  // the spelling refers to it
      const NumberSpelling spelling(any, true);
      std::optional<std::string> state = "";
      for (const char c : std::string(start)) state = spelling.next(*state, c);
      int n = 0;
      std::optional<std::string> last;
      for (; state && n < 1000; ++n) {
        last = state;
        state = spelling.next(*state, digit);
      }
      EXPECT_LE(n, 202) << start << digit;
      EXPECT_TRUE(spelling.complete(*last)) << start << digit;
    }
  }
}

}  // namespace
}  // namespace longhaul::tools
