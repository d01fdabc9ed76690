// The small process that all others are forked from. A program starts it first thing in main, before threads and
// memory: forking a large process is slow (with 1 GiB resident about 200 times a small one) and would hand a copy of
// everything the program knows to the plugin's process. The zygote wipes the arguments and the environment it was born
// with (they may hold keys), and does nothing but fork, wait and answer.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "runtime/base/result.h"
#include "sandbox/fd.h"
#include "sandbox/isolation.h"

namespace longhaul::sandbox {

// A worker or a broker, seen from the host.
struct Spawned {
  Fd socket;  // stream, non-blocking
  Fd pidfd;   // readable once it is dead
  pid_t pid = -1;
};

struct ExitStatus {
  bool signalled = false;
  int value = 0;  // signal number or exit code
  std::string text() const;
};

// Thread-safe. Owns the zygote process, which ends with it, and with the program however that ends; so do all workers.
class Zygote {
 public:
  // Forks. Call it while the process has one thread. kIo: fork or socketpair refused.
  static Result<std::unique_ptr<Zygote>> start(const IsolationOptions& options = {});
  ~Zygote();
  Zygote(const Zygote&) = delete;
  Zygote& operator=(const Zygote&) = delete;

  // A fresh worker. `address_space_bytes` bounds its growth. Milliseconds. kIo: the zygote is gone or cannot fork.
  Result<Spawned> spawn_worker(std::int64_t address_space_bytes);

  // A file broker for the folder `root_fd`, which stays the caller's.
  Result<Spawned> spawn_broker(int root_fd, bool writable);

  // Kills (if still alive), waits and tells how it ended. kIo if the zygote is gone, kDeadlineExceeded after 5 s.
  Result<ExitStatus> finish(Spawned& process);

  // Starts a worker, shows which layers it reports, and proves that the last filter kills.
  Result<LayerReport> probe();

  pid_t pid() const { return pid_; }

 private:
  Zygote(Fd control, pid_t pid) : control_(std::move(control)), pid_(pid) {}
  Result<Spawned> spawn(std::uint32_t op, std::int64_t argument, int extra_fd);

  std::mutex mutex_;
  Fd control_;  // guarded by mutex_
  pid_t pid_;
};

}  // namespace longhaul::sandbox
