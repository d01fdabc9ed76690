// Ctrl-C and termination: the first signal asks the trajectory to suspend (it finishes the token it is at, commits and
// says how to go on), the second ends the process at once, which loses nothing either (contract C5). So does the first
// as long as there is no trajectory to suspend.
#pragma once

#include <atomic>
#include <memory>

#include "sandbox/cancel.h"

namespace longhaul::runtime {

// Watches SIGINT, SIGTERM and SIGHUP (unless that is ignored, as under nohup) on a thread of its own (an Asio loop)
// while it lives. One at a time in a process.
class InterruptWatch {
 public:
  InterruptWatch();
  // From here on somebody looks at the flag. Before, a signal ends the process with status 130.
  void begin();
  ~InterruptWatch();
  InterruptWatch(const InterruptWatch&) = delete;
  InterruptWatch& operator=(const InterruptWatch&) = delete;

  const std::atomic<bool>& flag() const;
  sandbox::CancelToken& token();  // cancelled with the flag; stops tools that may be stopped

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace longhaul::runtime
