#include "sandbox/limits.h"

#include <fmt/format.h>

namespace longhaul::sandbox {

Result<void> check_limits(const Limits& limits) {
  struct Bound {
    const char* name;
    std::int64_t value, low, high;
  };
  const Bound bounds[] = {
      {"cpu_ms", limits.cpu_ms, 1, 600'000},
      {"wall_ms", limits.wall_ms, 1, 3'600'000},
      {"memory_bytes", limits.memory_bytes, 256 << 10, 512 << 20},
      {"output_bytes", limits.output_bytes, 1, 1 << 20},
      {"log_bytes", limits.log_bytes, 0, 1 << 20},
      {"host_calls", limits.host_calls, 0, 1'000'000},
  };
  for (const Bound& bound : bounds) {
    if (bound.value < bound.low || bound.value > bound.high) {
      return invalid_argument(
          fmt::format("limit {} is {}, allowed are {} to {}", bound.name, bound.value, bound.low, bound.high));
    }
  }
  return {};
}

}  // namespace longhaul::sandbox
