#include "sandbox/channel.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstring>

namespace longhaul::sandbox {
namespace {

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

Error gone() {
  return io_error("the other process is gone");
}

}  // namespace

Deadline Deadline::in_ms(std::int64_t ms) {
  return {now_ns() + ms * 1'000'000};
}

int Deadline::left_ms() const {
  const std::int64_t left = monotonic_ns - now_ns();
  return left <= 0 ? 0 : static_cast<int>((left + 999'999) / 1'000'000);
}

Result<void> Channel::wait(short events, Deadline deadline, CancelToken* cancel) {
  pollfd polled[2] = {{socket_, events, 0}, {cancel != nullptr ? cancel->fd() : -1, POLLIN, 0}};
  for (;;) {
    const int left = deadline.left_ms();
    const int ready = ::poll(polled, 2, left);
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return io_error(fmt::format("poll: {}", std::strerror(errno)));
    if (polled[1].revents != 0) return make_error(ErrorCode::kCancelled, "cancelled");
    // Before looking whether something came: a peer that never stops sending is out of time like a silent one.
    if (left == 0) return make_error(ErrorCode::kDeadlineExceeded, "no answer in time");
    if (polled[0].revents != 0) return {};
  }
}

Result<void> Channel::send(FrameKind kind, std::string_view payload, Deadline deadline, CancelToken* cancel) {
  const std::string frame = encode_frame(kind, payload);
  for (std::size_t at = 0; at < frame.size();) {
    const ssize_t sent = ::send(socket_, frame.data() + at, frame.size() - at, MSG_NOSIGNAL);
    if (sent > 0) {
      at += static_cast<std::size_t>(sent);
      continue;
    }
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno != EAGAIN) return gone();
    auto ready = wait(POLLOUT, deadline, cancel);
    if (!ready) return ready;
  }
  return {};
}

Result<Frame> Channel::receive(Deadline deadline, CancelToken* cancel) {
  for (;;) {
    auto frame = reader_.next();
    if (!frame) return frame.error();
    if (frame->has_value()) return std::move(**frame);
    auto ready = wait(POLLIN, deadline, cancel);
    if (!ready) return ready.error();
    char bytes[64 << 10];
    const ssize_t got = ::recv(socket_, bytes, sizeof bytes, 0);
    if (got > 0) {
      reader_.feed({bytes, static_cast<std::size_t>(got)});
    } else if (got == 0 || (errno != EINTR && errno != EAGAIN)) {
      return gone();
    }
  }
}

}  // namespace longhaul::sandbox
