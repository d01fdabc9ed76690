// A disk of a few MiB that a test can fill: a tmpfs, which needs root. Gone when the test is, also one that failed half
// way.
#pragma once

#include <sys/mount.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

namespace longhaul::test {

class SmallDisk {
 public:
  // At `path`, which is made. Nobody may have a file there open any more when this ends.
  SmallDisk(const std::string& path, int mib) : path_(path) {
    std::filesystem::create_directories(path);
    const std::string size = "size=" + std::to_string(mib) + "m";
    mounted_ = ::geteuid() == 0 && ::mount("tmpfs", path.c_str(), "tmpfs", 0, size.c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  bool mounted() const { return mounted_; }
  const std::string& path() const { return path_; }

  // Takes the space, but for about so many bytes.
  void fill(std::uintmax_t left = 0) const {
    const std::uintmax_t free = std::filesystem::space(path_).available;
    std::ofstream ballast(ballast_path(), std::ios::binary);
    const std::string block(4096, 'b');
    for (std::uintmax_t n = 0; left == 0 || n + block.size() + left <= free; n += block.size()) {
      if (!ballast.write(block.data(), static_cast<std::streamsize>(block.size())) || !ballast.flush()) return;
    }
  }
  void free() const { std::filesystem::remove(ballast_path()); }

 private:
  std::string ballast_path() const { return path_ + "/ballast"; }

  std::string path_;
  bool mounted_ = false;
};

}  // namespace longhaul::test
