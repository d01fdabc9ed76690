// A folder that is gone when the test is.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

#include "runtime/base/check.h"

namespace longhaul::sessions::test {

class TempFolder {
 public:
  TempFolder() {
    // In memory where there is room: these tests open stores by the hundred, and what fsync does is not tested by time.
    std::error_code ec;
    const auto space = std::filesystem::space("/dev/shm", ec);
    const std::filesystem::path base =
        !ec && space.available > (std::uintmax_t{256} << 20) ? "/dev/shm" : std::filesystem::temp_directory_path();
    std::string pattern = (base / "longhaul-sessions-XXXXXX").string();
    LONGHAUL_CHECK(::mkdtemp(pattern.data()) != nullptr, "a temporary folder can be made");
    path_ = pattern;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace longhaul::sessions::test
