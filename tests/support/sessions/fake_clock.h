// A clock that goes only when told to.
#pragma once

#include "runtime/base/clock.h"

namespace longhaul::sessions::test {

class FakeClock final : public Clock {
 public:
  std::int64_t unix_ms() override { return now_ms; }
  std::int64_t monotonic_ns() override { return now_ms * 1'000'000; }
  std::int64_t now_ms = 1'800'000'000'000;
};

}  // namespace longhaul::sessions::test
