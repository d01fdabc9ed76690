// Exact decimal numbers for schema bounds and enumerations: a JSON number is compared by value (1, 1.0 and 1e0 are
// one number), never by rounding it to a double first.
#pragma once

#include <boost/container/small_vector.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longhaul::tools {

// value = (negative ? -1 : 1) * digits * 10^exponent; `digits` has no zero at either end and is empty for zero.
struct Decimal {
  bool negative = false;
  std::string digits;
  std::int64_t exponent = 0;

  bool zero() const { return digits.empty(); }
  bool integer() const { return zero() || exponent >= 0; }
  // Decimal places before the point: 1 for 1..9.99, 0 for 0.1..0.999. Meaningless for zero.
  std::int64_t magnitude() const { return static_cast<std::int64_t>(digits.size()) + exponent; }

  friend bool operator==(const Decimal&, const Decimal&) = default;
};

// `text` is a number of the JSON grammar (checked by the caller). Exponents are clamped to +-10^9.
Decimal parse_decimal(std::string_view text);
Decimal decimal_of(std::int64_t value);
Decimal decimal_of(std::uint64_t value);
Decimal decimal_of(double value);  // the shortest digits that read back the same
// `digits` (any, also with zeros at the ends) times 10^exponent.
Decimal magnitude_of(std::string digits, std::int64_t exponent);
// `digits` + 1, as an integer.
std::string increment(std::string digits);
// -1, 0 or 1.
int compare(const Decimal& a, const Decimal& b);
// floor and ceil for integers' bounds.
Decimal floor(const Decimal& value);
Decimal ceil(const Decimal& value);

// A JSON number in the making.
struct NumberText {
  bool negative = false;
  std::string_view whole, fraction;  // digits before and after the point
  bool point = false, exponent = false, exponent_negative = false, exponent_sign = false;
  std::string_view exponent_digits;
};
NumberText split_number(std::string_view text);

struct Interval {
  std::optional<Decimal> lo, hi;  // none: unbounded
  bool lo_open = false, hi_open = false;

  friend bool operator==(const Interval&, const Interval&) = default;
  bool empty() const;
  bool contains(const Decimal& value) const;
};

// Which numbers are allowed, and in which spellings.
struct NumberRule {
  // A union; none: no number at all. Most rules have one: it lies in the rule itself.
  boost::container::small_vector<Interval, 1> intervals = boost::container::small_vector<Interval, 1>(1);
  bool integer = false;
  bool plain = false;               // integers without fraction and exponent (draft 4 means that by "integer")
  bool fractional = false;          // the opposite: only with a fraction or an exponent, whatever the value
  std::optional<Decimal> multiple;  // only its multiples
  std::vector<Decimal> not_multiples;
  bool too_fine = false;  // a common multiple is beyond what is computed: the rule is of no use

  friend bool operator==(const NumberRule&, const NumberRule&) = default;
  bool unbounded() const {
    return intervals.size() == 1 && !intervals[0].lo && !intervals[0].hi && !multiple && not_multiples.empty();
  }
  bool any() const { return unbounded() && !integer && !plain && !fractional; }
  bool contains(const Decimal& value) const;
  bool empty() const { return intervals.empty(); }
  // Integer rules get closed integer bounds; intervals without an allowed number go.
  void normalise();

  // Of magnitudes: is there an allowed one in the interval? (The intervals of the rule do not count.)
  bool allows_some(const Decimal& lo, bool lo_open, const std::optional<Decimal>& hi, bool hi_open) const;
  bool allows_multiples(const Decimal& value) const;
  bool has_value(const Interval& interval) const;
  // How many allowed numbers there are, at most `limit`.
  std::uint64_t count(std::uint64_t limit) const;
};

NumberRule intersect(const NumberRule& a, const NumberRule& b);
// All other numbers, as a union.
std::vector<NumberRule> complement(const NumberRule& rule);

// At most 18 digits and no extreme exponent, above zero: what multiples can be.
bool usable_multiple(const Decimal& multiple);
bool is_multiple(const Decimal& value, const Decimal& multiple);
// The least k for which value * 10^k (value > 0) is a multiple; none: for no k.
std::optional<std::int64_t> least_power(const Decimal& value, const Decimal& multiple);
// The common multiple of `step` (none: of nothing) and of 10^exponent.
Decimal with_places(const std::optional<Decimal>& step, std::int64_t exponent);
// false: it is beyond what is computed.
bool common_multiple(const Decimal& a, const Decimal& b, Decimal& result);

}  // namespace longhaul::tools
