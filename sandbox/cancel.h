// A stop button for calls in flight. cancel() may be called from any thread and from a signal handler; one token can
// serve many calls. It stays cancelled.
#pragma once

#include "sandbox/fd.h"

namespace longhaul::sandbox {

class CancelToken {
 public:
  CancelToken();
  CancelToken(const CancelToken&) = delete;
  CancelToken& operator=(const CancelToken&) = delete;

  void cancel() noexcept;
  bool cancelled() const noexcept;
  int fd() const { return event_.get(); }  // readable once cancelled

 private:
  Fd event_;
};

}  // namespace longhaul::sandbox
