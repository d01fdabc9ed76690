// Lengths of texts, in code points: kUnbounded, or at most kLengthMax (more counts as that). Internal to regex*.cc.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tools/regex.h"

namespace longhaul::tools {

inline constexpr std::uint32_t kLengthMax = 1U << 30;

inline std::uint32_t plus(std::uint32_t a, std::uint32_t b) {
  if (a == kUnbounded || b == kUnbounded) return kUnbounded;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(std::uint64_t{a} + b, kLengthMax));
}

inline std::uint32_t times(std::uint32_t a, std::uint32_t n) {
  if (a == 0 || n == 0) return 0;
  if (a == kUnbounded || n == kUnbounded) return kUnbounded;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(std::uint64_t{a} * n, kLengthMax));
}

}  // namespace longhaul::tools
