#include "runtime/resources.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

namespace longhaul::runtime {
namespace fs = std::filesystem;

Result<std::string> resource_folder() {
  std::vector<std::string> places;
  if (const char* given = std::getenv("LONGHAUL_RESOURCES"); given != nullptr && *given != 0) {
    places.emplace_back(given);
  } else {
    std::error_code ec;
    const fs::path program = fs::read_symlink("/proc/self/exe", ec);
    if (!ec) {
      places.push_back((program.parent_path() / "..").lexically_normal().string());
      places.push_back((program.parent_path() / "../share/longhaul").lexically_normal().string());
    }
    places.emplace_back(LONGHAUL_BUILD_SOURCE_DIR);
  }
  for (const std::string& place : places) {
    std::error_code ec;
    if (fs::is_directory(fs::path(place) / "tools/plugins", ec)) return place;
  }
  return not_found(fmt::format("the files that ship with longhaul (tools/plugins, model/pico) are in none of: {}",
                               fmt::join(places, ", ")));
}

std::string builtin_model_digest() {
  return LONGHAUL_BUILTIN_MODEL_DIGEST;
}

Result<std::string> default_store() {
  if (const char* given = std::getenv("LONGHAUL_STORE"); given != nullptr && *given != 0) return std::string(given);
  if (const char* data = std::getenv("XDG_DATA_HOME"); data != nullptr && *data == '/') {
    return std::string(data) + "/longhaul";
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') {
    return std::string(home) + "/.local/share/longhaul";
  }
  return invalid_argument("no place for the store: give --store DIR, or set LONGHAUL_STORE or HOME");
}

}  // namespace longhaul::runtime
