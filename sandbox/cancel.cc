#include "sandbox/cancel.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <cstdint>

#include "runtime/base/check.h"

namespace longhaul::sandbox {

CancelToken::CancelToken() : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  LONGHAUL_CHECK(event_.valid(), "out of file descriptors for a cancel token");
}

void CancelToken::cancel() noexcept {
  const int saved = errno;
  const std::uint64_t one = 1;
  // Fails only when the counter is full, and then the token is cancelled already.
  [[maybe_unused]] const auto written = ::write(event_.get(), &one, sizeof one);
  errno = saved;
}

bool CancelToken::cancelled() const noexcept {
  pollfd poll_one{event_.get(), POLLIN, 0};
  return ::poll(&poll_one, 1, 0) > 0;
}

}  // namespace longhaul::sandbox
