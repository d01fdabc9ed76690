// Exact decimal numbers for schema bounds and enumerations: a JSON number is compared by value (1, 1.0 and 1e0 are
// one number), never by rounding it to a double first.
#pragma once

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
// -1, 0 or 1.
int compare(const Decimal& a, const Decimal& b);
// floor and ceil for integers' bounds.
Decimal floor(const Decimal& value);
Decimal ceil(const Decimal& value);

struct Interval {
  std::optional<Decimal> lo, hi;  // none: unbounded
  bool lo_open = false, hi_open = false;

  friend bool operator==(const Interval&, const Interval&) = default;
  bool empty() const;
  bool contains(const Decimal& value) const;
};

// Which numbers are allowed, and in which spellings.
struct NumberRule {
  std::vector<Interval> intervals{Interval{}};  // a union; none: no number at all
  bool integer = false;
  bool plain = false;  // integers without fraction and exponent (drafts 3 and 4 mean that by "integer")

  friend bool operator==(const NumberRule&, const NumberRule&) = default;
  bool unbounded() const { return intervals.size() == 1 && !intervals[0].lo && !intervals[0].hi; }
  bool contains(const Decimal& value) const;
  bool empty() const { return intervals.empty(); }
  // Integer rules get closed integer bounds; empty intervals go.
  void normalise();
};

NumberRule intersect(const NumberRule& a, const NumberRule& b);

// The longest text that a bounded number may have, and the most digits of an exponent without its leading zeros.
inline constexpr std::size_t kNumberTextMax = 400;
inline constexpr int kExponentDigitsMax = 4;
// Where the value must survive as a double or a 64-bit integer (tool calls): at most this many digits before the point
// of an unbounded number, this length of a bounded one, an exponent of two digits, and 15 significant digits wherever a
// bound is to hold after rounding, too.
inline constexpr int kDoubleDigitsMax = 200;
inline constexpr std::size_t kDoubleTextMax = 100;
inline constexpr int kDoubleExponentMax = 99;
inline constexpr std::size_t kExactDigits = 15;

// The automaton of number spellings. A state is a text: what was read, reduced to what still matters.
class NumberSpelling {
 public:
  // `double_range`: what is read must keep its value as a double or 64-bit integer (see the limits above).
  NumberSpelling(const NumberRule& rule, bool double_range) : rule_(rule), double_range_(double_range) {}

  // The state after `byte`, or nothing if no allowed number begins so. The first state is "".
  std::optional<std::string> next(std::string_view state, char byte) const;
  // What was read is a whole allowed number.
  bool complete(std::string_view state) const;

 private:
  bool viable(std::string_view text) const;
  bool exact(std::string_view text) const;

  const NumberRule& rule_;
  bool double_range_;
};

}  // namespace longhaul::tools
