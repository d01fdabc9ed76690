#include "tools/decimal.h"

#include <algorithm>
#include <charconv>
#include <cstddef>

namespace longhaul::tools {
namespace {

constexpr std::int64_t kExponentClamp = 1'000'000'000;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

void strip(Decimal& value) {
  while (!value.digits.empty() && value.digits.back() == '0') {
    value.digits.pop_back();
    ++value.exponent;
  }
  const std::size_t lead = std::min(value.digits.find_first_not_of('0'), value.digits.size());
  value.digits.erase(0, lead);
  if (value.digits.empty()) {
    value.exponent = 0;
    value.negative = false;
  }
}

int compare_magnitude(const Decimal& a, const Decimal& b) {
  if (a.zero() || b.zero()) return a.zero() ? (b.zero() ? 0 : -1) : 1;
  if (a.magnitude() != b.magnitude()) return a.magnitude() < b.magnitude() ? -1 : 1;
  // Both are 0.DIGITS * 10^magnitude, and without trailing zeros the text order is the order of values.
  const int order = a.digits.compare(b.digits);
  return order < 0 ? -1 : order > 0 ? 1 : 0;
}

}  // namespace

std::string increment(std::string digits) {
  for (std::size_t i = digits.size(); i-- > 0;) {
    if (digits[i] != '9') {
      ++digits[i];
      return digits;
    }
    digits[i] = '0';
  }
  return "1" + digits;
}

Decimal magnitude_of(std::string digits, std::int64_t exponent) {
  Decimal value{false, std::move(digits), exponent};
  strip(value);
  return value;
}

NumberText split_number(std::string_view text) {
  NumberText s;
  std::size_t at = 0;
  if (at < text.size() && text[at] == '-') s.negative = true, ++at;
  std::size_t from = at;
  while (at < text.size() && is_digit(text[at])) ++at;
  s.whole = text.substr(from, at - from);
  if (at < text.size() && text[at] == '.') {
    s.point = true;
    from = ++at;
    while (at < text.size() && is_digit(text[at])) ++at;
    s.fraction = text.substr(from, at - from);
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    s.exponent = true;
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) {
      s.exponent_sign = true;
      s.exponent_negative = text[at] == '-';
      ++at;
    }
    s.exponent_digits = text.substr(at);
  }
  return s;
}

Decimal parse_decimal(std::string_view text) {
  const NumberText s = split_number(text);
  Decimal value;
  value.negative = s.negative;
  value.digits = std::string(s.whole) + std::string(s.fraction);
  std::int64_t exponent = 0;
  for (char c : s.exponent_digits) {
    if (!is_digit(c)) break;
    exponent = std::min(exponent * 10 + (c - '0'), kExponentClamp);
  }
  value.exponent = (s.exponent_negative ? -exponent : exponent) - static_cast<std::int64_t>(s.fraction.size());
  strip(value);
  return value;
}

Decimal decimal_of(std::int64_t value) {
  return parse_decimal(std::to_string(value));
}
Decimal decimal_of(std::uint64_t value) {
  return parse_decimal(std::to_string(value));
}

Decimal decimal_of(double value) {
  char buffer[64];
  // Without a form to_chars spells large integers out, with digits beyond the shortest that read back the same.
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  return parse_decimal(std::string_view(buffer, static_cast<std::size_t>(end - buffer)));
}

int compare(const Decimal& a, const Decimal& b) {
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  const int order = compare_magnitude(a, b);
  return a.negative ? -order : order;
}

Decimal floor(const Decimal& value) {
  if (value.integer()) return value;
  // Drop the fraction; below zero that rounded up, so go one further down.
  const std::int64_t keep = value.magnitude();
  std::string whole = keep > 0 ? value.digits.substr(0, static_cast<std::size_t>(keep)) : std::string("0");
  if (value.negative) whole = increment(whole);
  Decimal result = magnitude_of(std::move(whole), 0);
  result.negative = value.negative && !result.zero();
  return result;
}

Decimal ceil(const Decimal& value) {
  Decimal mirrored = value;
  if (!mirrored.zero()) mirrored.negative = !mirrored.negative;
  Decimal result = floor(mirrored);
  if (!result.zero()) result.negative = !result.negative;
  return result;
}

bool Interval::empty() const {
  if (!lo || !hi) return false;
  const int order = compare(*lo, *hi);
  return order > 0 || (order == 0 && (lo_open || hi_open));
}

bool Interval::contains(const Decimal& value) const {
  if (lo) {
    const int order = compare(value, *lo);
    if (order < 0 || (order == 0 && lo_open)) return false;
  }
  if (hi) {
    const int order = compare(value, *hi);
    if (order > 0 || (order == 0 && hi_open)) return false;
  }
  return true;
}

bool NumberRule::contains(const Decimal& value) const {
  if (!allows_multiples(value)) return false;
  return std::any_of(intervals.begin(), intervals.end(), [&](const Interval& i) { return i.contains(value); });
}

void NumberRule::normalise() {
  if (multiple && integer && !multiple->integer()) {
    Decimal common;
    too_fine = too_fine || !common_multiple(*multiple, decimal_of(std::int64_t{1}), common);
    if (!too_fine) multiple = common;
  }
  integer = integer || (multiple && multiple->integer());
  if (integer) {
    for (Interval& i : intervals) {
      auto bump = [](Decimal value, bool up) {
        // An open integer bound excludes the integer itself.
        const Decimal one = decimal_of(std::int64_t{1});
        const bool away = value.negative != up;  // |value| grows
        if (value.zero()) {
          Decimal result = one;
          result.negative = !up;
          return result;
        }
        std::string digits = value.digits + std::string(static_cast<std::size_t>(value.exponent), '0');
        if (away) {
          digits = increment(digits);
        } else {
          std::size_t at = digits.size() - 1;
          while (digits[at] == '0') digits[at--] = '9';
          --digits[at];
        }
        Decimal result = magnitude_of(std::move(digits), 0);
        result.negative = value.negative && !result.zero();
        return result;
      };
      if (i.lo) {
        if (!i.lo->integer()) {
          i.lo = ceil(*i.lo);
        } else if (i.lo_open) {
          i.lo = bump(*i.lo, true);
        }
        i.lo_open = false;
      }
      if (i.hi) {
        if (!i.hi->integer()) {
          i.hi = floor(*i.hi);
        } else if (i.hi_open) {
          i.hi = bump(*i.hi, false);
        }
        i.hi_open = false;
      }
    }
  }
  const auto idle = [&](const Interval& i) { return (plain && fractional) || !has_value(i); };
  intervals.erase(std::remove_if(intervals.begin(), intervals.end(), idle), intervals.end());
  if (intervals.size() < 2) return;
  auto before = [](const Interval& a, const Interval& b) {
    if (!a.lo || !b.lo) return !a.lo && b.lo.has_value();
    return compare(*a.lo, *b.lo) < 0;
  };
  std::stable_sort(intervals.begin(), intervals.end(), before);
  intervals.erase(std::unique(intervals.begin(), intervals.end()), intervals.end());
}

NumberRule intersect(const NumberRule& a, const NumberRule& b) {
  NumberRule result;
  result.integer = a.integer || b.integer;
  result.plain = a.plain || b.plain;
  result.fractional = a.fractional || b.fractional;
  result.too_fine = a.too_fine || b.too_fine;
  result.multiple = a.multiple ? a.multiple : b.multiple;
  if (a.multiple && b.multiple && *a.multiple != *b.multiple) {
    Decimal common;
    result.too_fine = result.too_fine || !common_multiple(*a.multiple, *b.multiple, common);
    if (!result.too_fine) result.multiple = common;
  }
  result.not_multiples = a.not_multiples;
  for (const Decimal& m : b.not_multiples) {
    if (std::find(result.not_multiples.begin(), result.not_multiples.end(), m) == result.not_multiples.end()) {
      result.not_multiples.push_back(m);
    }
  }
  result.intervals.clear();
  for (const Interval& x : a.intervals) {
    for (const Interval& y : b.intervals) {
      Interval z = x;
      if (y.lo) {
        const int order = z.lo ? compare(*y.lo, *z.lo) : 1;
        if (order > 0) z.lo = y.lo, z.lo_open = y.lo_open;
        if (order == 0) z.lo_open = z.lo_open || y.lo_open;
      }
      if (y.hi) {
        const int order = z.hi ? compare(*y.hi, *z.hi) : -1;
        if (order < 0) z.hi = y.hi, z.hi_open = y.hi_open;
        if (order == 0) z.hi_open = z.hi_open || y.hi_open;
      }
      result.intervals.push_back(std::move(z));
    }
  }
  result.normalise();
  return result;
}

}  // namespace longhaul::tools
