#include "sessions/high_water.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "runtime/base/file.h"
#include "sessions/bytes.h"
#include "sessions/fault_point.h"

namespace longhaul::sessions {
namespace {

constexpr std::string_view kMagic = "LHMARK01";
constexpr std::int64_t kSyncEveryNs = 1'000'000'000;  // chosen: C5's limit speaks of the last second

Error system_error(std::string_view what, const std::string& path) {
  return io_error(fmt::format("{} {}: {}", what, path, std::strerror(errno)));
}

Result<void> write_at(int fd, std::string_view bytes, off_t offset, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return system_error("cannot write", path);
    bytes.remove_prefix(static_cast<std::size_t>(n));
    offset += n;
  }
  return {};
}

off_t slot_offset(std::uint64_t counter) {
  return static_cast<off_t>(counter % 2 * kMarkSlotBytes);
}

}  // namespace

std::string encode_mark(const Mark& mark) {
  ByteWriter out;
  out.raw(kMagic);
  out.u64(mark.counter);
  out.u64(mark.written);
  out.u64(mark.synced);
  out.digest(mark.store_id);
  out.digest(mark.boot_id);
  out.u64(mark.branch);
  out.u64(mark.sequence);
  out.u64(mark.link);
  out.u64(checksum64(out.bytes()));
  return out.take();
}

Result<Mark> decode_mark(std::string_view bytes) {
  if (bytes.size() != kMarkBytes) return corruption(fmt::format("a mark of {} bytes", bytes.size()));
  if (bytes.substr(0, kMagic.size()) != kMagic) return corruption("the mark's magic number is wrong");
  const std::uint64_t found = ByteReader(bytes.substr(kMarkBytes - 8)).u64();
  const std::uint64_t expected = checksum64(bytes.substr(0, kMarkBytes - 8));
  if (found != expected) return corruption(fmt::format("mark checksum {:016x}, expected {:016x}", found, expected));
  ByteReader in(bytes.substr(kMagic.size()));
  Mark mark;
  mark.counter = in.u64();
  mark.written = in.u64();
  mark.synced = in.u64();
  mark.store_id = in.digest();
  mark.boot_id = in.digest();
  mark.branch = in.u64();
  mark.sequence = in.u64();
  mark.link = in.u64();
  return mark;
}

Digest current_boot_id() {
  auto text = read_file("/proc/sys/kernel/random/boot_id", 4096);
  return text ? digest_of(std::string_view(*text)) : Digest{};
}

HighWater::HighWater(int fd, std::string path, const Mark& mark, Clock& clock)
    : fd_(fd), path_(std::move(path)), clock_(clock), mark_(mark) {}

HighWater::~HighWater() {
  ::close(fd_);
}

Result<std::unique_ptr<HighWater>> HighWater::create(const std::string& path, const Mark& mark, Clock& clock) {
  std::string content(kMarkFileBytes, '\0');
  const std::string bytes = encode_mark(mark);
  content.replace(0, bytes.size(), bytes);
  content.replace(kMarkSlotBytes, bytes.size(), bytes);
  auto written = write_file_atomic(path, content);
  if (!written) return written.error();
  return open(path, clock);
}

Result<Mark> HighWater::read(const std::string& path, std::string* damage) {
  auto content = read_file(path, kMarkFileBytes);
  if (!content) return content.error();
  content->resize(kMarkFileBytes, '\0');
  std::optional<Mark> newest;
  std::string reasons;
  for (const std::size_t offset : {std::size_t{0}, kMarkSlotBytes}) {
    auto mark = decode_mark(std::string_view(*content).substr(offset, kMarkBytes));
    if (!mark) {
      reasons +=
          fmt::format("{}slot {}: {}", reasons.empty() ? "" : "; ", offset / kMarkSlotBytes, mark.error().message);
    } else if (!newest || mark->counter > newest->counter) {
      newest = *mark;
    }
  }
  if (!newest) return corruption(fmt::format("high-water mark {}: {}", path, reasons));
  if (damage != nullptr && !reasons.empty()) {
    *damage = fmt::format("high-water mark {}: {}; the other slot counts", path, reasons);
  }
  return *newest;
}

Result<std::unique_ptr<HighWater>> HighWater::open(const std::string& path, Clock& clock) {
  std::string damage;
  auto newest = read(path, &damage);
  if (!newest) return newest.error();
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return system_error("cannot open", path);
  std::unique_ptr<HighWater> opened(new HighWater(fd, path, *newest, clock));
  opened->damage_ = std::move(damage);
  return opened;
}

Result<void> HighWater::write_locked() {
  ++mark_.counter;
  return write_at(fd_, encode_mark(mark_), slot_offset(mark_.counter), path_);
}

Result<void> HighWater::advance(const Progress& progress) {
  LONGHAUL_FAULT_POINT("high_water.before_write");
  const std::lock_guard lock(mutex_);
  mark_.written = std::max(mark_.written, progress.written);
  if (progress.synced && progress.written > mark_.synced) {
    mark_.synced = progress.written;
    if (progress.branch != 0) {
      mark_.branch = progress.branch;
      mark_.sequence = progress.sequence;
      mark_.link = progress.link;
    }
  }
  auto written = write_locked();
  if (!written) return written.error();
  const std::int64_t now = clock_.monotonic_ns();
  if (progress.synced && now - synced_at_ns_ >= kSyncEveryNs) {
    synced_at_ns_ = now;
    if (::fdatasync(fd_) != 0) return system_error("cannot sync", path_);
  }
  LONGHAUL_FAULT_POINT("high_water.after_write");
  return {};
}

Result<void> HighWater::forget_tip() {
  const std::lock_guard lock(mutex_);
  mark_.branch = mark_.sequence = mark_.link = 0;
  // Both slots and synced: neither may come back after a power loss to ask for what was deleted.
  for (int i = 0; i < 2; ++i) {
    auto written = write_locked();
    if (!written) return written.error();
  }
  if (::fdatasync(fd_) != 0) return system_error("cannot sync", path_);
  return {};
}

Result<void> HighWater::set_boot(const Digest& boot_id) {
  const std::lock_guard lock(mutex_);
  if (mark_.boot_id == boot_id) return {};
  mark_.boot_id = boot_id;
  // What the last boot had handed over without a sync is not a promise in this one.
  mark_.written = mark_.synced;
  auto written = write_locked();
  if (!written) return written.error();
  if (::fdatasync(fd_) != 0) return system_error("cannot sync", path_);
  return {};
}

Result<void> HighWater::sync() {
  const std::lock_guard lock(mutex_);
  if (::fdatasync(fd_) != 0) return system_error("cannot sync", path_);
  return {};
}

}  // namespace longhaul::sessions
