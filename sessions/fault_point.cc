#include "sessions/fault_point.h"

#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "runtime/base/log.h"

namespace longhaul::sessions {
namespace {

std::array<std::atomic<std::uint64_t>, kFaultPoints.size()> hits;
std::atomic<int> armed_index{-1};
std::atomic<std::uint64_t> armed_count{0};

int find(std::string_view name) {
  for (std::size_t i = 0; i < kFaultPoints.size(); ++i) {
    if (kFaultPoints[i] == name) return static_cast<int>(i);
  }
  return -1;
}

bool arm_from_environment() {
  const char* text = std::getenv("LONGHAUL_FAULT");
  if (text == nullptr || *text == '\0') return false;
  const std::string_view setting(text);
  const std::size_t colon = setting.rfind(':');
  const std::uint64_t n = colon == std::string_view::npos ? 1 : std::strtoull(setting.data() + colon + 1, nullptr, 10);
  // A misspelt name must not look like a run without a fault.
  if (!arm_fault_point(setting.substr(0, colon), n)) {
    log(LogLevel::kError, "unknown_fault_point", "LONGHAUL_FAULT=" + std::string(setting));
    std::abort();
  }
  return true;
}

}  // namespace

namespace internal {

std::atomic<bool> fault_armed{false};
[[maybe_unused]] const bool armed_at_start = arm_from_environment();

void fault_point_reached(int index) {
  const std::uint64_t n = hits[static_cast<std::size_t>(index)].fetch_add(1) + 1;
  if (armed_index.load() == index && n == armed_count.load()) {
    ::kill(::getpid(), SIGKILL);
    while (true) ::pause();  // the signal is on its way; nothing after this place may run
  }
}

}  // namespace internal

bool arm_fault_point(std::string_view name, std::uint64_t n) {
  const int index = find(name);
  if (index < 0 || n == 0) return false;
  for (auto& hit : hits) hit = 0;
  armed_count = n;
  armed_index = index;
  internal::fault_armed = true;
  return true;
}

std::uint64_t fault_point_hits(std::string_view name) {
  const int index = find(name);
  return index < 0 ? 0 : hits[static_cast<std::size_t>(index)].load();
}

}  // namespace longhaul::sessions
