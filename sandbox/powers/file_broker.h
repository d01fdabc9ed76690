// The process that touches files for plugins: it holds one folder, resolves every path beneath it with openat2 (no
// symbolic links, no way out), and is itself under Landlock for that folder and seccomp without sockets or exec. So a
// mistake in the code that runs here, or a race with somebody who moves folders, still ends at the folder.
//
// Requests are frames: {op, path, content}; answers {ok} or {error}. Error texts are part of what a model sees and of
// what the built-in one was trained on: `file not found: PATH`, `no such folder: PATH`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/result.h"
#include "sandbox/isolation.h"
#include "sandbox/powers/powers.h"

namespace longhaul::sandbox {

struct FileLimits {
  std::size_t read_bytes = 512 << 10;  // so that a file fits into a script's largest string, also when it grows a bit
  std::size_t write_bytes = 512 << 10;
  std::size_t path_bytes = 1'024;
  std::size_t entries = 10'000;
};

// Temporary names of the atomic write; not shown in lists.
inline constexpr std::string_view kTemporaryPrefix = ".longhaul-tmp-";

// The folders on the way and the last name, without `.` and empty parts; `..` is resolved by text, which is exact
// because links are refused. Empty: the granted folder itself. kInvalidArgument: absolute, leads out, too long, NUL.
Result<std::vector<std::string>> split_path(std::string_view path, const FileLimits& limits);

// One operation on the folder `root_fd`, in this process. What the broker runs; also for tests. Never follows links.
HostAnswer file_operation(int root_fd, bool writable, const HostCall& call, const FileLimits& limits);

// Effects on a folder are made under an exclusive flock on it, after a look whether the host still lives. So a program
// that is started anew after a kill, and takes the lock once, knows that nothing of its forerunner is still to come:
// what was begun is done, what was not will not be. True also where the file system knows no such lock; false: somebody
// else has held it for `wait_ms`.
inline constexpr int kLockWaitMs = 5'000;
bool lock_folder(int fd, int wait_ms);
void unlock_folder(int fd);

[[noreturn]] void file_broker_main(int socket, int root_fd, bool writable, const LayerReport& report);

}  // namespace longhaul::sandbox
