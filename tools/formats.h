// The formats of JSON Schema 2020-12 as languages.
#pragma once

#include <optional>
#include <string_view>

#include "runtime/base/result.h"
#include "tools/regex.h"

namespace longhaul::tools {

struct FormatLanguage {
  RegexId pattern = kAnyText;
  std::uint32_t length_max = kUnbounded;  // code points
};

// Is this one of the names that 2020-12 defines? All others are annotations.
bool known_format(std::string_view name);
// kUnsupported: known, but not a language that an automaton can hold to (idn-hostname, regex).
Result<FormatLanguage> format_language(RegexPool& pool, std::string_view name);

// The rest of a leap second's time after its hour and ":", and after the first digit of its minute, too (used by
// RegexPool for expressions made on demand).
RegexId leap_second_rest(RegexPool& pool, std::uint32_t hour);
RegexId leap_second_rest(RegexPool& pool, std::uint32_t hour, std::uint32_t ten);

}  // namespace longhaul::tools
