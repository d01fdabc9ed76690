// Inside a worker process: says hello with the layers that hold, then loads and calls as asked, until its socket ends.
#pragma once

#include "sandbox/isolation.h"

namespace longhaul::sandbox {

// A worker that ran past its CPU limit inside one instruction leaves with this status.
inline constexpr int kExitCpuLimit = 97;

[[noreturn]] void worker_main(int socket, const LayerReport& report);

// Says hello, then tries a forbidden call and, should it live, says so by a log message.
[[noreturn]] void probe_main(int socket, const LayerReport& report);

// In the zygote: runs a small script once, so that workers share the pages and lazy set-up work it touches.
void warm_up_worker();

}  // namespace longhaul::sandbox
