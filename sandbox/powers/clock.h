// The power `clock`: the time, from the clock that is handed in. now: "2026-11-23 07:05:00" (UTC); unix_ms: integer.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/base/clock.h"
#include "sandbox/powers/powers.h"

namespace longhaul::sandbox {

class ClockPower : public Power {
 public:
  explicit ClockPower(Clock& clock) : clock_(clock) {}
  HostAnswer answer(const HostCall& call) override;

 private:
  Clock& clock_;
};

// UTC, proleptic Gregorian, for any value of the type.
std::string format_utc(std::int64_t unix_ms);

}  // namespace longhaul::sandbox
