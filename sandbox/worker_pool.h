// Runs plugins. A worker process serves one plugin; a call gets a fresh Lua state in it, so calls do not see each
// other, and a worker that failed in any way is killed and replaced. A worker's death, a limit, a time-out are ordinary
// outcomes: nothing a plugin does ends or blocks the host.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/base/result.h"
#include "sandbox/call.h"
#include "sandbox/cancel.h"
#include "sandbox/channel.h"
#include "sandbox/limits.h"
#include "sandbox/powers/powers.h"
#include "sandbox/wire.h"
#include "sandbox/zygote.h"

namespace longhaul::sandbox {

struct PoolOptions {
  int n_workers_max = 16;                     // alive at one time, idle ones included
  int n_idle_max = 8;                         // kept for following calls
  int calls_per_worker = 1'000;               // then it is replaced
  std::int64_t memory_bytes_max = 128 << 20;  // of any call's limit; the processes' address space is bounded by it
};

struct WorkerInfo {
  std::string plugin;  // its path
  pid_t pid = -1;
  bool busy = false;
};

// Thread-safe; calls block the calling thread up to their wall_ms. Borrows the zygote.
class WorkerPool {
 public:
  // Starts one worker to see that the layers hold. kUnsupported: they do not, and plugins are off; the message says
  // which is missing. kIo: no worker could be started.
  static Result<std::unique_ptr<WorkerPool>> start(Zygote& zygote, const PoolOptions& options = {});
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Loads a plugin and gives its table, without `run`, as JSON text: name and description (strings, required),
  // parameters (an object; a plugin may write it as JSON text, whose key order is kept, or as a table, whose keys are
  // then sorted), effect ("read", "idempotent" or "once", required), powers (required shape: parse_grants), and
  // whatever else the table holds. Schemas are not judged here. kInvalidArgument: names the file, and the line or
  // field; kResourceExhausted: a limit; kToolFailed: the worker died.
  Result<std::string> describe(const PluginSource& source, const Limits& limits = {});

  // Runs any Lua file that returns a table of data (an agent, a suite) under the same limits, without powers; functions
  // at the top level are left out. Errors as describe.
  Result<std::string> read_table(const PluginSource& source, const Limits& limits = {});

  // One call. `powers` is asked on this thread; `cancel` may be null.
  CallOutcome call(const PluginSource& source, const CallRequest& request, HostPowers& powers,
                   CancelToken* cancel = nullptr);

  const LayerReport& layers() const { return layers_; }
  std::vector<WorkerInfo> workers() const;

 private:
  struct Worker;
  struct Loaded;  // what a plugin's table said
  WorkerPool(Zygote& zygote, const PoolOptions& options);

  // A worker that has loaded `source`, or null and the reason in `outcome`.
  std::unique_ptr<Worker> take(const PluginSource& source, const Limits& load_limits, Deadline deadline,
                               CancelToken* cancel, CallOutcome& outcome);
  Result<std::unique_ptr<Worker>> start_worker(const PluginSource& source);
  bool load(Worker& worker, const PluginSource& source, const Limits& limits, Deadline deadline, CancelToken* cancel,
            CallOutcome& outcome);
  void give_back(std::unique_ptr<Worker> worker);
  Result<ExitStatus> end(std::unique_ptr<Worker> worker);
  void end_after_failure(std::unique_ptr<Worker> worker, CallOutcome& outcome);
  Result<std::shared_ptr<const Loaded>> load_table(const PluginSource& source, const Limits& limits);

  Zygote& zygote_;
  const PoolOptions options_;
  LayerReport layers_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::unique_ptr<Worker>> idle_;  // guarded by mutex_; least recently used first
  // First seen tables by source, so that a plugin cannot ask for more when it is loaded again. Guarded by mutex_;
  // shared with the workers that loaded it, immutable.
  std::unordered_map<std::string, std::shared_ptr<const Loaded>> loaded_;
  std::vector<WorkerInfo> infos_;  // guarded by mutex_; all that are alive or being started
  int n_alive_ = 0;                // guarded by mutex_
};

}  // namespace longhaul::sandbox
