// Frames over a socket with a deadline and a stop button. Host side; confined to one thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "runtime/base/result.h"
#include "sandbox/cancel.h"
#include "sandbox/wire.h"

namespace longhaul::sandbox {

// A point on the monotonic clock.
struct Deadline {
  std::int64_t monotonic_ns = 0;
  static Deadline in_ms(std::int64_t ms);
  int left_ms() const;  // rounded up, for poll; 0 when it has passed
};

class Channel {
 public:
  // Borrows a non-blocking stream socket.
  explicit Channel(int socket) : socket_(socket) {}

  // kDeadlineExceeded, kCancelled, kIo (the peer is gone), kCorruption (what it sent is no frame). After any of these
  // the channel is of no further use.
  Result<void> send(FrameKind kind, std::string_view payload, Deadline deadline, CancelToken* cancel);
  Result<Frame> receive(Deadline deadline, CancelToken* cancel);

 private:
  Result<void> wait(short events, Deadline deadline, CancelToken* cancel);

  int socket_;
  FrameReader reader_;
};

}  // namespace longhaul::sandbox
