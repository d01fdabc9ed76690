// A file that was just written, so that the system's cache holds all of it. A superseded state is not read again while
// its session lives, and the memory it takes there is what the next one can be written into: memory that is at hand,
// where fresh memory may have to be given by the host of a virtual machine first (README.md has the measurement).
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <utility>

namespace longhaul::sessions {

class CachedFile {
 public:
  // By a name it may lose later. What cannot be opened is not let go of: this is advice to the system.
  explicit CachedFile(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~CachedFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  CachedFile(CachedFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  CachedFile& operator=(CachedFile&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }

  // What of it is on the disk leaves the cache.
  void leave_cache() const {
    if (fd_ >= 0) static_cast<void>(::posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED));
  }

 private:
  int fd_;
};

}  // namespace longhaul::sessions
