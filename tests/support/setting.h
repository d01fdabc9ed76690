// Counts and seeds of long tests come from the environment (LONGHAUL_RUNS, LONGHAUL_SEED, ...).
#pragma once

#include <cstdint>
#include <cstdlib>

namespace longhaul::testing_support {

inline std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == 0 ? otherwise : std::strtoull(text, nullptr, 10);
}

}  // namespace longhaul::testing_support
