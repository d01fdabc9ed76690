#include "sandbox/powers/clock.h"

#include <fmt/format.h>

namespace longhaul::sandbox {

HostAnswer ClockPower::answer(const HostCall& call) {
  const std::int64_t unix_ms = clock_.unix_ms();
  if (call.op == "unix_ms") return HostAnswer::of(unix_ms);
  return HostAnswer::of(json::value(format_utc(unix_ms)));
}

std::string format_utc(std::int64_t unix_ms) {
  const std::int64_t day_ms = 86'400'000;
  std::int64_t days = unix_ms / day_ms, rest = unix_ms % day_ms;
  if (rest < 0) {
    rest += day_ms;
    --days;
  }
  // Days to a date, counted in years that begin in March, so that the leap day comes last (Hinnant, "chrono-compatible
  // low-level date algorithms"); std::chrono's own types stop at the year 32767.
  const std::int64_t z = days + 719'468;
  const std::int64_t era = (z >= 0 ? z : z - 146'096) / 146'097;
  const std::int64_t day_of_era = z - era * 146'097;
  const std::int64_t year_of_era = (day_of_era - day_of_era / 1'460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
  const std::int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::int64_t shifted_month = (5 * day_of_year + 2) / 153;
  const std::int64_t day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
  const std::int64_t month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
  const std::int64_t year = year_of_era + era * 400 + (month <= 2 ? 1 : 0);
  const std::int64_t second = rest / 1'000;
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", year, month, day, second / 3'600, second / 60 % 60,
                     second % 60);
}

}  // namespace longhaul::sandbox
