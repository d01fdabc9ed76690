#include "sandbox/powers/file_broker.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <optional>

#include "sandbox/fd.h"
#include "sandbox/wire.h"

namespace longhaul::sandbox {
namespace {

std::string joined(const std::vector<std::string>& parts, std::size_t n) {
  std::string path;
  for (std::size_t i = 0; i < n; ++i) {
    if (i > 0) path += '/';
    path += parts[i];
  }
  return path.empty() ? "." : path;
}

// Before openat2 (Linux 5.6), or where a container denies it: part by part, each without following.
int open_part_by_part(int root, const std::string& path, int flags, mode_t mode) {
  Fd folder(::openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::size_t at = 0;
  while (folder.valid()) {
    const std::size_t slash = path.find('/', at);
    if (slash == std::string::npos) return ::openat(folder.get(), path.c_str() + at, flags | O_NOFOLLOW, mode);
    const std::string part = path.substr(at, slash - at);
    folder = Fd(::openat(folder.get(), part.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    at = slash + 1;
  }
  return -1;
}

Fd open_beneath(int root, const std::string& path, int flags, mode_t mode = 0) {
  open_how how{};
  how.flags = static_cast<unsigned>(flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  for (int attempt = 0;; ++attempt) {
    const auto fd = ::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how);
    if (fd >= 0) return Fd(static_cast<int>(fd));
    // Something was renamed under the kernel's hands while it walked: it says so instead of guessing.
    if (errno == EAGAIN && attempt < 16) continue;
    if (errno != ENOSYS && errno != EPERM) return Fd();
    Fd plain(open_part_by_part(root, path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, mode));
    return plain;
  }
}

// What an errno means for the one who asked, in the words of the path as it was given.
HostAnswer failure(std::string_view path, bool folder_wanted) {
  const int code = errno;
  const auto say = [&](std::string_view what) { return HostAnswer::failure(fmt::format("{}: {}", what, path)); };
  switch (code) {
    case ENOENT:
      return say(folder_wanted ? "no such folder" : "file not found");
    case ENOTDIR:
      return say(folder_wanted ? "not a folder" : "file not found");
    case EISDIR:
      return say("is a folder");
    case ELOOP:
      return say("symbolic links are not allowed");
    case EXDEV:
      return say("path leads out of the granted folder");
    case EACCES:
    case EPERM:
    case EROFS:
      return say("permission denied");
    case ENOSPC:
    case EDQUOT:
      return say("no space left on the disk");
    case ENXIO:
    case ENODEV:
      return say("not a regular file");
    case ENAMETOOLONG:
      return say("path too long");
    default:
      return HostAnswer::failure(fmt::format("{}: {}", std::strerror(code), path));
  }
}

HostAnswer say(std::string_view what, std::string_view path) {
  return HostAnswer::failure(fmt::format("{}: {}", what, path));
}

// A regular file and nothing else: a pipe would block, a device would act.
std::optional<HostAnswer> refuse_irregular(int fd, std::string_view path, struct stat& status) {
  if (::fstat(fd, &status) != 0) return failure(path, false);
  if (S_ISDIR(status.st_mode)) return say("is a folder", path);
  if (!S_ISREG(status.st_mode)) return say("not a regular file", path);
  return std::nullopt;
}

HostAnswer read_text(int root, const std::vector<std::string>& parts, std::string_view path, const FileLimits& limits) {
  if (parts.empty()) return say("is a folder", path);
  Fd file = open_beneath(root, joined(parts, parts.size()), O_RDONLY);
  if (!file.valid()) return failure(path, false);
  struct stat status {};
  if (auto refused = refuse_irregular(file.get(), path, status)) return *refused;
  std::string text;
  char bytes[64 << 10];
  for (;;) {
    const ssize_t got = ::read(file.get(), bytes, sizeof bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failure(path, false);
    if (got == 0) break;
    text.append(bytes, static_cast<std::size_t>(got));
    if (text.size() > limits.read_bytes) {
      return HostAnswer::failure(fmt::format("file too large: {} has {} bytes, at most {} are read", path,
                                             std::max<long long>(status.st_size, static_cast<long long>(text.size())),
                                             limits.read_bytes));
    }
  }
  if (!is_utf8(text) || text.find('\0') != std::string::npos) return say("not a text file", path);
  return HostAnswer::of(json::value(text));
}

HostAnswer list_folder(int root, const std::vector<std::string>& parts, std::string_view path,
                       const FileLimits& limits) {
  Fd folder = open_beneath(root, joined(parts, parts.size()), O_RDONLY | O_DIRECTORY);
  if (!folder.valid()) return failure(path, true);
  std::vector<std::string> names;
  alignas(dirent64) char buffer[32 << 10];
  for (;;) {
    const auto got = ::syscall(SYS_getdents64, folder.get(), buffer, sizeof buffer);
    if (got < 0) return failure(path, true);
    if (got == 0) break;
    for (long at = 0; at < got;) {
      const auto* entry = reinterpret_cast<const dirent64*>(buffer + at);
      at += entry->d_reclen;
      const std::string_view name = entry->d_name;
      if (name == "." || name == ".." || name.starts_with(kTemporaryPrefix) || !is_utf8(name)) continue;
      unsigned char type = entry->d_type;
      if (type == DT_UNKNOWN) {
        struct stat status {};
        if (::fstatat(folder.get(), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
        type = S_ISDIR(status.st_mode) ? DT_DIR : S_ISREG(status.st_mode) ? DT_REG : DT_LNK;
      }
      // Only what could also be read: links, pipes and devices are not there for a plugin.
      if (type != DT_DIR && type != DT_REG) continue;
      names.push_back(std::string(name) + (type == DT_DIR ? "/" : ""));
      if (names.size() > limits.entries) {
        return HostAnswer::failure(fmt::format("more than {} entries in the folder: {}", limits.entries, path));
      }
    }
  }
  std::sort(names.begin(), names.end());
  json::array list;
  for (std::string& name : names) list.emplace_back(std::move(name));
  return HostAnswer::of(std::move(list));
}

// The folder that holds the last part; missing ones on the way are made.
Fd open_parent(int root, const std::vector<std::string>& parts, bool& made) {
  made = false;
  Fd folder = open_beneath(root, joined(parts, parts.size() - 1), O_RDONLY | O_DIRECTORY);
  if (folder.valid() || errno != ENOENT) return folder;
  folder = open_beneath(root, ".", O_RDONLY | O_DIRECTORY);
  for (std::size_t i = 0; i + 1 < parts.size() && folder.valid(); ++i) {
    if (::mkdirat(folder.get(), parts[i].c_str(), 0777) == 0) {
      made = true;
      ::fsync(folder.get());
    } else if (errno != EEXIST) {
      return Fd();
    }
    folder = open_beneath(folder.get(), parts[i], O_RDONLY | O_DIRECTORY);
  }
  return folder;
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

std::optional<HostAnswer> refuse_content(std::string_view path, std::string_view text, const FileLimits& limits) {
  if (text.size() > limits.write_bytes) {
    return HostAnswer::failure(
        fmt::format("content of {} bytes, at most {}: {}", text.size(), limits.write_bytes, path));
  }
  if (text.find('\0') != std::string_view::npos) return say("content holds a NUL byte", path);
  return std::nullopt;
}

// Old content or new, never half: a temporary file in the same folder, synced, then renamed. "true" goes out when the
// bytes would survive power loss, since the caller records it as done.
HostAnswer write_text(int root, const std::vector<std::string>& parts, std::string_view path, std::string_view text,
                      const FileLimits& limits) {
  if (parts.empty()) return say("is a folder", path);
  if (auto refused = refuse_content(path, text, limits)) return *refused;
  bool made = false;
  Fd folder = open_parent(root, parts, made);
  if (!folder.valid()) return failure(path, true);
  const std::string& name = parts.back();
  mode_t mode = 0666;
  bool replace = false;
  {
    struct stat status {};
    Fd old = open_beneath(folder.get(), name, O_RDONLY);
    if (old.valid()) {
      if (auto refused = refuse_irregular(old.get(), path, status)) return *refused;
      mode = status.st_mode & 0777;
      replace = true;
    } else if (errno != ENOENT) {
      return failure(path, false);
    }
  }
  std::string temporary;
  Fd file;
  for (int attempt = 0; attempt < 16 && !file.valid(); ++attempt) {
    std::uint64_t number = 0;
    if (::syscall(SYS_getrandom, &number, sizeof number, 0) != sizeof number) return failure(path, false);
    temporary = fmt::format("{}{:016x}", kTemporaryPrefix, number);
    file = open_beneath(folder.get(), temporary, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (!file.valid() && errno != EEXIST) return failure(path, false);
  }
  if (!file.valid()) return failure(path, false);
  const bool written = write_all(file.get(), text) && (!replace || ::fchmod(file.get(), mode) == 0) &&
                       ::fsync(file.get()) == 0 &&
                       ::renameat(folder.get(), temporary.c_str(), folder.get(), name.c_str()) == 0;
  if (!written) {
    const int saved = errno;
    ::unlinkat(folder.get(), temporary.c_str(), 0);
    errno = saved;
    return failure(path, false);
  }
  if (::fsync(folder.get()) != 0) return failure(path, false);
  return HostAnswer::of(true);
}

HostAnswer append_text(int root, const std::vector<std::string>& parts, std::string_view path, std::string_view text,
                       const FileLimits& limits) {
  if (parts.empty()) return say("is a folder", path);
  if (auto refused = refuse_content(path, text, limits)) return *refused;
  bool made = false;
  Fd folder = open_parent(root, parts, made);
  if (!folder.valid()) return failure(path, true);
  Fd file = open_beneath(folder.get(), parts.back(), O_WRONLY | O_APPEND | O_CREAT, 0666);
  if (!file.valid()) return failure(path, false);
  struct stat status {};
  if (auto refused = refuse_irregular(file.get(), path, status)) return *refused;
  if (!write_all(file.get(), text) || ::fsync(file.get()) != 0) return failure(path, false);
  if (status.st_size == 0) ::fsync(folder.get());
  return HostAnswer::of(true);
}

}  // namespace

Result<std::vector<std::string>> split_path(std::string_view path, const FileLimits& limits) {
  if (path.size() > limits.path_bytes) {
    return invalid_argument(fmt::format("path of {} bytes, at most {}", path.size(), limits.path_bytes));
  }
  if (path.find('\0') != std::string_view::npos) return invalid_argument("path holds a NUL byte");
  if (path.starts_with('/')) {
    return invalid_argument(fmt::format("path is absolute, expected one inside the granted folder: {}", path));
  }
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t slash = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, slash - at);
    at = slash + 1;
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (parts.empty()) return invalid_argument(fmt::format("path leads out of the granted folder: {}", path));
      parts.pop_back();
      continue;
    }
    if (part.size() > 255) return invalid_argument(fmt::format("path too long: {}", path));
    parts.emplace_back(part);
  }
  return parts;
}

HostAnswer file_operation(int root_fd, bool writable, const HostCall& call, const FileLimits& limits) {
  const std::string& path = call.args[0];
  auto parts = split_path(path, limits);
  if (!parts) return HostAnswer::failure(parts.error().message);
  if (call.op == "read") return read_text(root_fd, *parts, path, limits);
  if (call.op == "list") return list_folder(root_fd, *parts, path, limits);
  if (!writable) return say("the folder is granted for reading only", path);
  if (!parts->empty() && parts->back().starts_with(kTemporaryPrefix)) return say("this name is reserved", path);
  if (call.op == "write") return write_text(root_fd, *parts, path, call.args[1], limits);
  if (call.op == "append") return append_text(root_fd, *parts, path, call.args[1], limits);
  return HostAnswer::failure("there is no operation files." + call.op);
}

bool lock_folder(int fd, int wait_ms) {
  for (int waited_ms = 0;; ++waited_ms) {
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return true;
    if (errno != EWOULDBLOCK && errno != EINTR) return true;
    if (waited_ms >= wait_ms) return false;
    const timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
}

void unlock_folder(int fd) {
  ::flock(fd, LOCK_UN);
}

void file_broker_main(int socket, int root_fd, bool writable, const LayerReport& report) {
  FrameReader reader;
  const auto send = [&](FrameKind kind, std::string_view payload) {
    if (!write_all(socket, encode_frame(kind, payload))) ::_exit(0);
  };
  send(FrameKind::kHello, encode(report));
  const FileLimits limits;
  // Opened anew: a lock belongs to an opening, and `root_fd` is shared with the host.
  const Fd lock(::openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const auto host_gone = [&] {
    pollfd peer{socket, 0, 0};
    return ::poll(&peer, 1, 0) > 0 && (peer.revents & POLLHUP) != 0;
  };
  for (;;) {
    auto frame = reader.next();
    if (!frame) ::_exit(1);
    if (!frame->has_value()) {
      char bytes[64 << 10];
      const ssize_t got = ::read(socket, bytes, sizeof bytes);
      if (got > 0) {
        reader.feed({bytes, static_cast<std::size_t>(got)});
      } else if (got == 0 || errno != EINTR) {
        ::_exit(0);
      }
      continue;
    }
    // The same message as a worker's host call, and as strictly checked.
    if ((*frame)->kind != FrameKind::kBrokerRequest) ::_exit(1);
    auto message = decode_worker_frame({FrameKind::kHostCall, (*frame)->payload});
    if (!message) ::_exit(1);
    const auto& request = std::get<WireHostCall>(*message);
    if (request.call.power != "files") ::_exit(1);
    const bool effect = find_operation(request.call.power, request.call.op)->effect;
    HostAnswer answer;
    if (effect && !lock_folder(lock.get(), kLockWaitMs)) {
      answer = say("another program holds a lock on the folder", request.call.args[0]);
    } else {
      // A request of a host that is gone must not be carried out: whoever comes after it counts on what the files say.
      if (host_gone()) ::_exit(0);
      answer = file_operation(root_fd, writable, request.call, limits);
      if (effect) unlock_folder(lock.get());
    }
    send(FrameKind::kBrokerAnswer, encode_host_answer(request.id, answer));
  }
}

}  // namespace longhaul::sandbox
