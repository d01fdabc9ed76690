// Time, injected: logic never reads a system clock by itself, so tests and replays hand in their own.
#pragma once

#include <cstdint>

namespace longhaul {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual std::int64_t unix_ms() = 0;       // wall clock, UTC, milliseconds since 1970
  virtual std::int64_t monotonic_ns() = 0;  // never goes back; only differences mean something
};

// Safe to call from any thread.
Clock& system_clock();

}  // namespace longhaul
