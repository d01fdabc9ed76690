#include "tools/number_spelling.h"

#include <algorithm>
#include <utility>

namespace longhaul::tools {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

std::string_view without_leading_zeros(std::string_view digits) {
  const std::size_t at = digits.find_first_not_of('0');
  return at == std::string_view::npos ? std::string_view() : digits.substr(at);
}

// An interval of magnitudes (values >= 0): what a sign leaves of an interval.
struct Span {
  Decimal lo;  // >= 0
  std::optional<Decimal> hi;
  bool lo_open = false, hi_open = false;
};

std::optional<Span> of_sign(const Interval& interval, bool negative) {
  std::optional<Decimal> lo = interval.lo, hi = interval.hi;
  bool lo_open = interval.lo_open, hi_open = interval.hi_open;
  if (negative) {
    std::swap(lo, hi);
    std::swap(lo_open, hi_open);
    if (lo) lo->negative = !lo->zero() && !lo->negative;
    if (hi) hi->negative = !hi->zero() && !hi->negative;
  }
  Span span;
  if (lo && !lo->negative) {
    span.lo = *lo;
    span.lo_open = lo_open;
  }
  if (hi) {
    if (hi->negative) return std::nullopt;
    span.hi = *hi;
    span.hi_open = hi_open;
    const int order = compare(span.lo, *span.hi);
    if (order > 0 || (order == 0 && (span.lo_open || span.hi_open))) return std::nullopt;
  }
  return span;
}

bool above_lo(const Decimal& value, const Span& span) {
  const int order = compare(value, span.lo);
  return order > 0 || (order == 0 && !span.lo_open);
}

bool below_hi(const Decimal& value, const Span& span) {
  if (!span.hi) return true;
  const int order = compare(value, *span.hi);
  return order < 0 || (order == 0 && !span.hi_open);
}

// Is there a number of `span` whose digits begin with `digits` (a positive integer), at any power of ten, or with
// more digits only (`plain`)? `integer`: the number must be an integer (the span's bounds then are integers, closed).
bool reaches(const std::string& digits, const Span& span, bool integer, bool plain) {
  if (span.hi && span.hi->zero()) return false;
  const std::int64_t size = static_cast<std::int64_t>(digits.size());
  // With no upper bound some large power of ten is always inside.
  if (!span.hi) return true;
  const std::int64_t top = span.hi->magnitude() - size;  // above this power of ten everything is too large
  std::int64_t bottom;
  if (integer) {
    bottom = plain ? 0 : -size;
  } else if (span.lo.zero()) {
    return true;  // a small enough power of ten is inside (0, hi]
  } else {
    bottom = span.lo.magnitude() - size - 1;
  }
  const std::string next = increment(digits);
  for (std::int64_t k = top + 1; k >= bottom; --k) {
    const Decimal first = magnitude_of(digits, k);
    if (integer && k < 0) {
      if (first.integer() && above_lo(first, span) && below_hi(first, span)) return true;
      continue;
    }
    if (!below_hi(first, span)) continue;
    const Decimal end = magnitude_of(next, k);  // not reached itself
    if (compare(span.lo, end) < 0) {
      if (above_lo(first, span)) return true;
      // span.lo lies inside [first, end); open ends still leave room unless the span is empty, which it is not.
      return true;
    }
    return false;  // smaller powers only get further away
  }
  return false;
}

// The same for rules with multiples: each power of ten on its own, with at most `left` digits more.
bool reaches_multiple(const std::string& digits, const Span& span, const NumberRule& rule, std::int64_t left) {
  if (span.hi && span.hi->zero()) return false;
  const std::int64_t size = static_cast<std::int64_t>(digits.size());
  std::optional<Decimal> step = rule.multiple;
  if (rule.integer && !step) step = decimal_of(std::int64_t{1});
  std::int64_t bottom;
  if (step) {
    // Below the multiple's own places only the digits themselves can be one, by their trailing zeros.
    bottom = rule.plain ? 0 : step->exponent - size;
  } else {
    bottom =
        (span.lo.zero() ? std::min<std::int64_t>(span.hi ? span.hi->magnitude() : 0, 0) - 3 : span.lo.magnitude() - 1) -
        size;
  }
  std::int64_t top;
  if (span.hi) {
    top = span.hi->magnitude() - size + 1;
  } else {
    // Far enough up every run of numbers with these digits holds a multiple.
    top = std::max<std::int64_t>(span.lo.magnitude(), step ? step->magnitude() : 0) + 4;
  }
  const std::string next = increment(digits);
  for (std::int64_t k = top; k >= bottom; --k) {
    const Decimal first = magnitude_of(digits, k), end = magnitude_of(next, k);
    if (compare(end, span.lo) <= 0) return false;  // smaller powers only get further away
    const bool from_lo = compare(span.lo, first) > 0 || (compare(span.lo, first) == 0 && span.lo_open);
    const bool to_hi = span.hi && compare(*span.hi, end) < 0;
    NumberRule shorter = rule;
    shorter.multiple = with_places(step, k - left);
    if (shorter.allows_some(from_lo ? span.lo : first, from_lo && span.lo_open, to_hi ? span.hi : end,
                            to_hi ? span.hi_open : true)) {
      return true;
    }
  }
  return false;
}

// Powers of ten k for which value * 10^k lies in the span: an interval [k1, k2]; false if empty.
bool powers(const Decimal& value, const Span& span, bool integer, std::int64_t& k1, std::int64_t& k2) {
  constexpr std::int64_t kFar = 4'000'000'000;
  k1 = -kFar;
  k2 = kFar;
  auto scaled = [&](std::int64_t k) {
    Decimal moved = value;
    moved.exponent += k;
    return moved;
  };
  if (!span.lo.zero()) {
    k1 = span.lo.magnitude() - value.magnitude() - 1;
    while (!above_lo(scaled(k1), span)) ++k1;
  }
  if (span.hi) {
    if (span.hi->zero()) return false;
    k2 = span.hi->magnitude() - value.magnitude() + 1;
    while (!below_hi(scaled(k2), span)) --k2;
  }
  if (integer) k1 = std::max(k1, -value.exponent);
  return k1 <= k2;
}

}  // namespace

std::optional<std::string> NumberSpelling::next(std::string_view state, char byte) const {
  const NumberText s = split_number(state);
  const char last = state.empty() ? '\0' : state.back();
  bool ok = false;
  if (is_digit(byte)) {
    if (s.exponent) {
      const std::string_view significant = without_leading_zeros(s.exponent_digits);
      ok = significant.empty() ? s.exponent_digits.size() < kNumberTextMax
                               : significant.size() < static_cast<std::size_t>(double_range_ ? 2 : kExponentDigitsMax);
      // Zeros in front could go on for ever: calls have one of them at most.
      if (double_range_ && byte == '0' && s.exponent_digits == "0") ok = false;
    } else if (s.point) {
      // Without a range digits would have no end either.
      ok = !double_range_ || !rule_.unbounded() || keep_text_ || s.fraction.size() < kDoubleFractionMax;
    } else {
      ok = s.whole != "0";  // no leading zeros
    }
  } else if (byte == '-' || byte == '+') {
    ok = (byte == '-' && state.empty()) || last == 'e' || last == 'E';
  } else if (byte == '.') {
    ok = !rule_.plain && !s.point && !s.exponent && is_digit(last);
  } else if (byte == 'e' || byte == 'E') {
    ok = !rule_.plain && !s.exponent && is_digit(last);
  }
  if (!ok) return std::nullopt;
  std::string text(state);
  text.push_back(byte == 'E' ? 'e' : byte);

  const NumberText now = split_number(text);
  if (now.exponent && !now.exponent_digits.empty()) {
    // Leading zeros of an exponent do not matter, except that there is a digit.
    const std::string_view significant = without_leading_zeros(now.exponent_digits);
    std::string reduced = text.substr(0, text.size() - now.exponent_digits.size());
    reduced += significant.empty() ? std::string_view("0") : significant;
    text = std::move(reduced);
  }
  if (!rule_.unbounded() || keep_text_) {
    const std::size_t text_max = double_range_ ? kDoubleTextMax : kNumberTextMax;
    if (!now.exponent && text.size() >= text_max) {
      // The last place must leave a number, or an exponent that makes one.
      const bool ends = is_digit(text.back()) && (complete(text) || (!rule_.plain && viable(text + "e")));
      if (text.size() > text_max || !ends) return std::nullopt;
    }
    if (!viable(text)) return std::nullopt;
    if (double_range_ && !exact(text)) return std::nullopt;
    return text;
  }
  if (rule_.integer) {
    if (text.size() > kNumberTextMax) return std::nullopt;
    if (!viable(text)) return std::nullopt;
    const NumberText t = split_number(text);
    if (rule_.plain) return t.whole.empty() || t.whole == "0" ? text : std::string("1");
    if (t.whole.empty() || t.exponent) return text;
    // Only where the last digit that is not zero stands decides what exponents make an integer.
    if (!t.point) {
      const std::size_t at = t.whole.find_last_not_of('0');
      if (at == std::string_view::npos) return std::string("0");
      return "1" + std::string(t.whole.size() - 1 - at, '0');
    }
    const std::size_t at = t.fraction.find_last_not_of('0');
    if (at == std::string_view::npos) {
      const std::size_t whole_at = t.whole.find_last_not_of('0');
      const std::string whole =
          whole_at == std::string_view::npos ? "0" : "1" + std::string(t.whole.size() - 1 - whole_at, '0');
      return whole + "." + (t.fraction.empty() ? "" : "0");
    }
    std::string fraction(t.fraction);
    for (std::size_t i = 0; i < at; ++i) fraction[i] = '0';
    fraction[at] = '1';
    // The zeros after it count only by their being there.
    return "0." + fraction.substr(0, at + 1);
  }
  const NumberText t = split_number(text);
  if (double_range_) {
    if (t.whole.size() > static_cast<std::size_t>(kDoubleDigitsMax)) return std::nullopt;
  }
  std::string reduced = t.negative && t.whole.empty() ? "-" : "";
  if (!t.whole.empty()) {
    if (t.exponent) {
      reduced = "1";
    } else if (t.whole == "0") {
      reduced = "0";
    } else {
      reduced = double_range_ && !t.point ? std::string(t.whole.size(), '1') : "1";
    }
  }
  if (t.point && !t.exponent) {
    reduced += '.';
    reduced += std::string(double_range_ ? t.fraction.size() : std::min<std::size_t>(t.fraction.size(), 1), '1');
  }
  if (t.exponent) {
    reduced += 'e';
    if (t.exponent_sign) reduced += '+';
    if (!t.exponent_digits.empty()) {
      if (double_range_) {
        reduced += t.exponent_digits;
      } else {
        // Without a range any exponent will do; keep its length for the limit.
        reduced += without_leading_zeros(t.exponent_digits).empty() ? std::string("0")
                                                                    : std::string(t.exponent_digits.size(), '1');
      }
    }
  }
  return reduced;
}

// Holds a bounded number to the digits that a double keeps; the last one allowed must leave a number or an exponent.
bool NumberSpelling::exact(std::string_view text) const {
  const NumberText s = split_number(text);
  const std::string read = std::string(s.whole) + std::string(s.fraction);
  const std::string digits(without_leading_zeros(read));
  if (rule_.integer && !s.point && !s.exponent) {
    if (digits.size() <= kExactDigits) return true;
    // No exponent may follow so many digits, so they must come to an integer by themselves.
    NumberRule plain = rule_;
    plain.plain = true;
    return NumberSpelling(plain, double_range_).viable(text);
  }
  if (digits.size() > kExactDigits) return false;
  if (digits.size() < kExactDigits || s.exponent) return true;
  if (text.back() == '.') return false;  // a digit would have to follow
  return complete(text) || viable(std::string(text) + "e");
}

bool NumberSpelling::complete(std::string_view state) const {
  if (state.empty() || !is_digit(state.back())) return false;
  // What has neither yet can still get ".0".
  if (rule_.fractional && state.find_first_of(".e") == state.npos) return false;
  if (rule_.unbounded() && !rule_.integer) return true;
  return rule_.contains(parse_decimal(state));
}

bool NumberSpelling::viable(std::string_view text) const {
  const NumberText s = split_number(text);
  // How many digits may still come before an exponent. Some room stays for that and for the point.
  auto digits_left = [&](const NumberText& spelling) -> std::int64_t {
    const auto n = static_cast<std::int64_t>(spelling.whole.size() + spelling.fraction.size());
    const std::int64_t room = static_cast<std::int64_t>(double_range_ ? kDoubleTextMax : kNumberTextMax) - 20 - n;
    if (!double_range_ || (rule_.integer && rule_.plain)) return std::max<std::int64_t>(room, 0);
    const std::string all = std::string(spelling.whole) + std::string(spelling.fraction);
    const auto exact =
        static_cast<std::int64_t>(kExactDigits) - static_cast<std::int64_t>(without_leading_zeros(all).size());
    return std::max<std::int64_t>(std::min(room, exact), 0);
  };
  const std::string read = std::string(s.whole) + std::string(s.fraction);
  const std::string digits(without_leading_zeros(read));
  const bool any_digit = !s.whole.empty();
  for (const Interval& interval : rule_.intervals) {
    if (digits.empty() && any_digit && (s.exponent || rule_.plain)) {
      if (interval.contains(Decimal{}) && rule_.allows_multiples(Decimal{})) return true;
      continue;
    }
    const std::optional<Span> span = of_sign(interval, s.negative);
    if (!span) continue;
    const bool stepped = rule_.multiple || !rule_.not_multiples.empty();
    if (digits.empty()) {  // "", "-", "0", "0.00": every magnitude can still follow
      if (!stepped || rule_.allows_some(span->lo, span->lo_open, span->hi, span->hi_open)) return true;
      continue;
    }
    if (!s.exponent) {
      if (stepped ? reaches_multiple(digits, *span, rule_, digits_left(s))
                  : reaches(digits, *span, rule_.integer, rule_.plain)) {
        return true;
      }
      continue;
    }
    const Decimal mantissa = magnitude_of(digits, -static_cast<std::int64_t>(s.fraction.size()));
    std::int64_t k1, k2;
    if (!powers(mantissa, *span, rule_.integer, k1, k2)) continue;
    // Once a power of ten makes a multiple, all greater ones do.
    if (rule_.multiple) {
      const auto least = least_power(mantissa, *rule_.multiple);
      if (!least) continue;
      k1 = std::max(k1, *least);
    }
    for (const Decimal& m : rule_.not_multiples) {
      if (const auto least = least_power(mantissa, m)) k2 = std::min(k2, *least - 1);
    }
    if (k1 > k2) continue;
    std::int64_t value = 0;
    for (char c : s.exponent_digits) value = value * 10 + (c - '0');
    const auto hits = [&](std::int64_t low, std::int64_t high, bool negative) {
      if (negative) {
        std::swap(low, high);
        low = -low;
        high = -high;
      }
      return low <= k2 && high >= k1;
    };
    const std::int64_t end = double_range_ ? kDoubleExponentMax + 1 : 10'000;  // kExponentDigitsMax digits
    if (s.exponent_digits.empty() || value == 0) {
      if (hits(0, end - 1, s.exponent_negative)) return true;
      if (!s.exponent_sign && s.exponent_digits.empty() && hits(0, end - 1, true)) return true;
      continue;
    }
    for (std::int64_t low = value, high = value; low < end; low *= 10, high = high * 10 + 9) {
      if (hits(low, high, s.exponent_negative)) return true;
    }
  }
  return false;
}

}  // namespace longhaul::tools
