// The host's half of one request to a worker: sends it and answers what comes until the worker is done, or something
// ends it. Apart from the pool so that tests can put a hostile peer on the other end of a socket.
#pragma once

#include <string>
#include <string_view>

#include "sandbox/call.h"
#include "sandbox/channel.h"
#include "sandbox/limits.h"
#include "sandbox/powers/powers.h"
#include "sandbox/wire.h"

namespace longhaul::sandbox {

// Used once. Borrows all it is given.
class Drive {
 public:
  Drive(Channel& channel, const Limits& limits, Deadline deadline, CancelToken* cancel)
      : channel_(channel), limits_(limits), deadline_(deadline), cancel_(cancel) {}

  // `powers` null: a load, in which there is nothing to ask.
  CallOutcome run(FrameKind kind, const std::string& payload, const Grants& grants, HostPowers* powers);

 private:
  CallOutcome stopped(const Error& error);
  void take_log(std::string_view text);
  Result<void> answer(const WireHostCall& request);
  CallOutcome finish(const WireDone& done);

  Channel& channel_;
  const Limits& limits_;
  const Deadline deadline_;
  CancelToken* const cancel_;
  Grants grants_;
  HostPowers* powers_ = nullptr;
  CallOutcome outcome_;
};

}  // namespace longhaul::sandbox
