// The layers around a worker: which exist on this machine, put on in which order, and the self-test that proves them.
//
// A layer that is missing is reported. Without seccomp or no_new_privs nothing is run (`plugins_allowed` is false);
// the others overlap enough that one may be missing: seccomp alone keeps a worker from opening, connecting, forking
// and signalling, namespaces and Landlock say the same again by other means.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/base/result.h"

namespace longhaul::sandbox {

struct Layer {
  std::string name;
  bool holds = false;
  std::string detail;  // what holds, or why not

  friend bool operator==(const Layer&, const Layer&) = default;
};

struct LayerReport {
  std::vector<Layer> layers;
  bool plugins_allowed = false;
  std::string reason;  // when they are not

  const Layer* find(std::string_view name) const;
  bool degraded() const;  // some layer is missing
  json::value to_json_value() const;
};
Result<LayerReport> layer_report(const json::value& value);

// Layers can be left out to see how the rest does: for tests and for finding faults, never a user's setting.
struct IsolationOptions {
  bool namespaces = true;
  bool change_user = true;
  bool landlock = true;
  bool seccomp = true;
  bool resource_limits = true;
};

// Compiled once in the zygote by libseccomp. Two programs with the same list: the first answers EPERM, so that the
// self-test can try what is forbidden and live, the second kills the process. The stricter verdict counts.
struct SeccompPrograms {
  std::vector<sock_filter> refuse;
  std::vector<sock_filter> kill;
};
Result<SeccompPrograms> worker_seccomp();
Result<SeccompPrograms> broker_seccomp();

struct WorkerIsolation {
  IsolationOptions options;
  std::uint64_t clone_flags = 0;  // namespaces the process was born into
  unsigned real_uid = 0, real_gid = 0;
  unsigned worker_uid = 0;               // for a worker of a privileged user
  std::int64_t address_space_bytes = 0;  // on top of what is mapped at the start
};

// Called in the new process, which keeps descriptors 0 to 3 only. Irreversible.
LayerReport isolate_worker(const WorkerIsolation& isolation, const SeccompPrograms& programs);

// For the file broker: Landlock to `root_fd` (reading, or also writing), seccomp with the calls that files need.
LayerReport isolate_broker(const IsolationOptions& options, int root_fd, bool writable,
                           const SeccompPrograms& programs);

// The namespaces that are worth having, as flags for clone3, most first; an empty set comes last.
std::vector<std::uint64_t> namespace_choices(const IsolationOptions& options, bool privileged);

// True in a build whose sanitizers need system calls and address space that the strict lists deny.
bool sanitizer_build();

}  // namespace longhaul::sandbox
