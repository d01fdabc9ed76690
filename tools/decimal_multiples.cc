// multipleOf, exactly: a multiple is M * 10^e with M below 10^18, and questions about it come down to remainders of
// digit strings by M.
#include <algorithm>

#include "tools/decimal.h"

namespace longhaul::tools {
namespace {

using Wide = unsigned __int128;

constexpr std::uint64_t kFactorMax = 1'000'000'000'000'000'000;
constexpr std::int64_t kPadMax = 20'000;  // zeros written out; far beyond a double's range

std::uint64_t factor(const Decimal& multiple) {
  std::uint64_t value = 0;
  for (const char c : multiple.digits) value = value * 10 + static_cast<std::uint64_t>(c - '0');
  return value;
}

std::uint64_t remainder(std::string_view digits, std::uint64_t by) {
  Wide r = 0;
  for (const char c : digits) r = (r * 10 + static_cast<unsigned>(c - '0')) % by;
  return static_cast<std::uint64_t>(r);
}

std::uint64_t power_of_ten(std::int64_t exponent, std::uint64_t by) {
  Wide result = 1 % by, base = 10 % by;
  for (; exponent > 0; exponent >>= 1) {
    if ((exponent & 1) != 0) result = result * base % by;
    base = base * base % by;
  }
  return static_cast<std::uint64_t>(result);
}

std::string plus_small(std::string digits, std::uint64_t more) {
  for (std::size_t i = digits.size(); more != 0;) {
    if (i == 0) {
      digits.insert(digits.begin(), '0');
      i = 1;
    }
    --i;
    const std::uint64_t sum = static_cast<std::uint64_t>(digits[i] - '0') + more % 10;
    more = more / 10 + sum / 10;
    digits[i] = static_cast<char>('0' + sum % 10);
  }
  return digits;
}

Decimal scaled(std::string digits, std::int64_t exponent) {
  Decimal value{false, std::move(digits), exponent};
  while (!value.digits.empty() && value.digits.back() == '0') {
    value.digits.pop_back();
    ++value.exponent;
  }
  value.digits.erase(0, std::min(value.digits.find_first_not_of('0'), value.digits.size()));
  if (value.digits.empty()) value.exponent = 0;
  return value;
}

}  // namespace

bool usable_multiple(const Decimal& multiple) {
  return !multiple.zero() && !multiple.negative && multiple.digits.size() <= 18 && multiple.exponent < 400 &&
         multiple.exponent > -400;
}

bool is_multiple(const Decimal& value, const Decimal& multiple) {
  if (value.zero()) return true;
  const std::int64_t shift = value.exponent - multiple.exponent;
  if (shift < 0) return false;  // the last digit of `value` is not zero
  const std::uint64_t m = factor(multiple);
  return static_cast<Wide>(remainder(value.digits, m)) * power_of_ten(shift, m) % m == 0;
}

std::optional<std::int64_t> least_power(const Decimal& value, const Decimal& multiple) {
  std::uint64_t m = factor(multiple);
  std::int64_t twos = 0, fives = 0;
  for (; m % 2 == 0; m /= 2) ++twos;
  for (; m % 5 == 0; m /= 5) ++fives;
  if (m > 1 && remainder(value.digits, m) != 0) return std::nullopt;
  auto valuation = [&](std::uint64_t prime, std::int64_t most) {
    std::int64_t n = 0;
    std::uint64_t power = prime;
    while (n < most && remainder(value.digits, power) == 0) {
      ++n;
      power *= prime;
    }
    return n;
  };
  const std::int64_t shift = std::max<std::int64_t>({0, twos - valuation(2, twos), fives - valuation(5, fives)});
  return shift - value.exponent + multiple.exponent;
}

bool common_multiple(const Decimal& a, const Decimal& b, Decimal& result) {
  const std::int64_t exponent = std::min(a.exponent, b.exponent);
  auto at = [&](const Decimal& x, std::uint64_t& value) {
    Wide wide = factor(x);
    for (std::int64_t e = x.exponent; e > exponent; --e) {
      wide *= 10;
      if (wide > kFactorMax) return false;
    }
    value = static_cast<std::uint64_t>(wide);
    return true;
  };
  std::uint64_t x = 0, y = 0;
  if (!at(a, x) || !at(b, y)) return false;
  std::uint64_t p = x, q = y;
  while (q != 0) {
    p %= q;
    std::swap(p, q);
  }
  const Wide common = static_cast<Wide>(x / p) * y;
  if (common > kFactorMax) return false;
  result = decimal_of(static_cast<std::uint64_t>(common));
  result.exponent += exponent;
  return usable_multiple(result);
}

bool NumberRule::allows_some(const Decimal& lo, bool lo_open, const std::optional<Decimal>& hi, bool hi_open) const {
  if (hi) {
    const int order = compare(lo, *hi);
    if (order > 0 || (order == 0 && (lo_open || hi_open))) return false;
    if (order == 0) return allows_multiples(lo);
  }
  std::optional<Decimal> step = multiple;
  if (integer && !step) step = decimal_of(std::int64_t{1});
  // Between two different numbers there is always one with more places than any of the forbidden multiples have.
  if (!step) return true;
  // The first multiple at or above `lo`, in units of 10^exponent.
  const std::uint64_t m = factor(*step);
  std::string whole;
  bool exact = true;
  const std::int64_t shift = lo.exponent - step->exponent;
  if (lo.zero()) {
    whole = "0";
  } else if (shift >= 0) {
    if (shift > kPadMax) return true;
    whole = lo.digits + std::string(static_cast<std::size_t>(shift), '0');
  } else {
    const std::int64_t keep = static_cast<std::int64_t>(lo.digits.size()) + shift;
    whole = keep > 0 ? lo.digits.substr(0, static_cast<std::size_t>(keep)) : std::string("0");
    exact = false;
  }
  const std::uint64_t r = remainder(whole, m);
  std::uint64_t add = r == 0 ? 0 : m - r;
  if (add == 0 && (!exact || lo_open)) add = m;
  whole = plus_small(std::move(whole), add);
  // Multiples of the forbidden ones come at regular distances, all through zero: runs of them are short.
  const std::size_t tries = not_multiples.empty() ? 1 : 256 * (not_multiples.size() + 1);
  for (std::size_t i = 0; i < tries; ++i) {
    const Decimal value = scaled(whole, step->exponent);
    if (hi) {
      const int order = compare(value, *hi);
      if (order > 0 || (order == 0 && hi_open)) return false;
    }
    if (allows_multiples(value)) return true;
    whole = plus_small(std::move(whole), m);
  }
  return false;
}

bool NumberRule::allows_multiples(const Decimal& value) const {
  if (integer && !value.integer()) return false;
  if (multiple && !is_multiple(value, *multiple)) return false;
  return std::none_of(not_multiples.begin(), not_multiples.end(),
                      [&](const Decimal& m) { return is_multiple(value, m); });
}

bool NumberRule::has_value(const Interval& interval) const {
  if (interval.empty()) return false;
  if (!multiple && !integer && not_multiples.empty()) return true;
  if (interval.contains(Decimal{}) && allows_multiples(Decimal{})) return true;
  auto magnitude = [](Decimal value) {
    value.negative = false;
    return value;
  };
  // Above zero, then below.
  if (!interval.hi || (!interval.hi->negative && !interval.hi->zero())) {
    const bool from_zero = !interval.lo || interval.lo->negative || interval.lo->zero();
    if (allows_some(from_zero ? Decimal{} : *interval.lo, from_zero || interval.lo_open, interval.hi,
                    interval.hi_open)) {
      return true;
    }
  }
  if (!interval.lo || interval.lo->negative) {
    const bool from_zero = !interval.hi || !interval.hi->negative;
    std::optional<Decimal> far;
    if (interval.lo) far = magnitude(*interval.lo);
    return allows_some(from_zero ? Decimal{} : magnitude(*interval.hi), from_zero || interval.hi_open, far,
                       interval.lo_open);
  }
  return false;
}

std::uint64_t NumberRule::count(std::uint64_t limit) const {
  constexpr std::int64_t kSmall = 16;  // decimal places of bounds that are gone through
  std::uint64_t n = 0;
  for (const Interval& interval : intervals) {
    if (!interval.lo || !interval.hi) return limit;
    if (compare(*interval.lo, *interval.hi) == 0) {
      if (++n >= limit) return limit;
      continue;
    }
    std::optional<Decimal> step = multiple;
    if (integer && !step) step = decimal_of(std::int64_t{1});
    if (!step || (!interval.lo->zero() && interval.lo->magnitude() - step->exponent > kSmall) ||
        (!interval.hi->zero() && interval.hi->magnitude() - step->exponent > kSmall)) {
      return limit;
    }
    // In units of the step, from the bound below.
    const auto m = static_cast<std::int64_t>(factor(*step));
    auto units = [&](const Decimal& bound) {  // rounded towards zero
      Wide value = 0;
      const std::int64_t shift = bound.exponent - step->exponent;
      for (std::size_t i = 0; i < bound.digits.size(); ++i) {
        if (static_cast<std::int64_t>(bound.digits.size() - i) + shift <= 0) break;
        value = value * 10 + static_cast<unsigned>(bound.digits[i] - '0');
      }
      for (std::int64_t e = 0; e < shift; ++e) value *= 10;
      const auto whole = static_cast<std::int64_t>(value / static_cast<Wide>(m));
      return bound.negative ? -whole : whole;
    };
    for (std::int64_t k = units(*interval.lo) - 1; k <= units(*interval.hi) + 1; ++k) {
      const auto size = static_cast<Wide>(k < 0 ? -k : k) * static_cast<Wide>(m);
      Decimal value = scaled(std::to_string(static_cast<std::uint64_t>(size)), step->exponent);
      value.negative = k < 0;
      if (interval.contains(value) && allows_multiples(value) && ++n >= limit) return limit;
    }
  }
  return n;
}

Decimal with_places(const std::optional<Decimal>& step, std::int64_t exponent) {
  if (!step) return Decimal{false, "1", exponent};
  if (exponent <= step->exponent) return *step;
  // Each ten takes one two and one five with it.
  std::uint64_t m = factor(*step);
  for (std::int64_t i = step->exponent; i < exponent && m % 2 == 0; ++i) m /= 2;
  for (std::int64_t i = step->exponent; i < exponent && m % 5 == 0; ++i) m /= 5;
  Decimal result = decimal_of(m);
  result.exponent += exponent;
  return result;
}

std::vector<NumberRule> complement(const NumberRule& rule) {
  std::vector<NumberRule> result;
  NumberRule outside;
  for (const Interval& interval : rule.intervals) {
    NumberRule rest;
    rest.intervals.clear();
    if (interval.lo) {
      Interval below;
      below.hi = interval.lo;
      below.hi_open = !interval.lo_open;
      rest.intervals.push_back(std::move(below));
    }
    if (interval.hi) {
      Interval above;
      above.lo = interval.hi;
      above.lo_open = !interval.hi_open;
      rest.intervals.push_back(std::move(above));
    }
    outside = intersect(outside, rest);
  }
  if (!outside.intervals.empty()) result.push_back(std::move(outside));
  auto without = [&](const Decimal& multiple) {
    NumberRule piece;
    piece.not_multiples.push_back(multiple);
    result.push_back(std::move(piece));
  };
  if (rule.plain) {
    NumberRule piece;
    piece.fractional = true;
    result.push_back(std::move(piece));
  }
  if (rule.fractional) {
    NumberRule piece;
    piece.integer = piece.plain = true;
    result.push_back(std::move(piece));
  }
  if (rule.integer) without(decimal_of(std::int64_t{1}));
  if (rule.multiple) without(*rule.multiple);
  for (const Decimal& multiple : rule.not_multiples) {
    NumberRule piece;
    piece.multiple = multiple;
    piece.normalise();
    result.push_back(std::move(piece));
  }
  return result;
}

}  // namespace longhaul::tools
