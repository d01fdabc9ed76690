// The automaton of number spellings: which texts are, or can become, a number that a rule allows, spelled as JSON does.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "tools/decimal.h"

namespace longhaul::tools {

// The longest text that a bounded number may have, and the most digits of an exponent without its leading zeros.
inline constexpr std::size_t kNumberTextMax = 400;
inline constexpr int kExponentDigitsMax = 4;
// Where the value must survive as a double or a 64-bit integer (tool calls): at most this many digits before the point
// of an unbounded number, this length of a bounded one, an exponent of two digits, and 15 significant digits wherever a
// bound is to hold after rounding, too.
inline constexpr int kDoubleDigitsMax = 200;
inline constexpr std::size_t kDoubleTextMax = 100;
inline constexpr std::size_t kDoubleFractionMax = 30;
inline constexpr int kDoubleExponentMax = 99;
inline constexpr std::size_t kExactDigits = 15;

// A state is a text: what was read, reduced to what still matters.
class NumberSpelling {
 public:
  // `double_range`: what is read must keep its value as a double or 64-bit integer (see the limits above).
  // `keep_text`: states are texts in full, because the value will be asked for.
  NumberSpelling(const NumberRule& rule, bool double_range, bool keep_text = false)
      : rule_(rule), double_range_(double_range), keep_text_(keep_text) {}

  // The state after `byte`, or nothing if no allowed number begins so. The first state is "".
  std::optional<std::string> next(std::string_view state, char byte) const;
  // What was read is a whole allowed number.
  bool complete(std::string_view state) const;

 private:
  bool viable(std::string_view text) const;
  bool exact(std::string_view text) const;

  const NumberRule& rule_;
  bool double_range_;
  bool keep_text_;
};

}  // namespace longhaul::tools
