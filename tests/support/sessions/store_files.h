// The files of a store at rest that hold what it keeps, by name within the store, sorted: not its lock, not the logs,
// not the space that it keeps in reserve.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

namespace longhaul::sessions::test {

inline std::vector<std::string> store_files(const std::string& store) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(store)) {
    const std::string name = std::filesystem::relative(entry.path(), store).string();
    if (entry.is_regular_file() && name != "db/LOCK" && name != "reserve") files.push_back(name);
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace longhaul::sessions::test
