#include "runtime/base/sizes.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <string_view>

namespace longhaul {

std::string human_bytes(std::uint64_t bytes, int decimals) {
  static constexpr std::array<std::string_view, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.{}f} {}", value, decimals, kUnits[unit]);
}

Result<std::uint64_t> parse_bytes(const std::string& text) {
  double value = 0;
  auto [next, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  std::string_view unit(next, static_cast<std::size_t>(text.data() + text.size() - next));
  if (!unit.empty() && (unit.back() == 'B' || unit.back() == 'b')) unit.remove_suffix(1);
  if (!unit.empty() && unit.back() == 'i') unit.remove_suffix(1);
  static constexpr std::string_view kUnits = "KMGT";
  double scale = 1;
  if (unit.size() == 1 && kUnits.find(unit[0]) != std::string_view::npos) {
    for (std::size_t i = 0; i <= kUnits.find(unit[0]); ++i) scale *= 1024;
  } else if (!unit.empty()) {
    ec = std::errc::invalid_argument;
  }
  if (ec != std::errc() || !(value >= 0) || value * scale > 9e18) {
    return invalid_argument(fmt::format("not a size in bytes: \"{}\"; e.g. 8589934592, 512M, 8G", text));
  }
  return static_cast<std::uint64_t>(value * scale);
}

}  // namespace longhaul
