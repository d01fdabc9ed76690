#include "sessions/ownership.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <random>

#include "runtime/base/file.h"
#include "sessions/bytes.h"
#include "sessions/fault_point.h"

namespace longhaul::sessions {
namespace {

constexpr std::string_view kMagic = "LHOWNER1";
constexpr char kStampTag = 'o';

Digest random_id() {
  std::random_device random;
  const auto word = [&] { return std::uint64_t{random()} << 32 | random(); };
  const std::uint64_t high = word();
  return {high, word()};
}

}  // namespace

std::string owner_path(const std::string& store) {
  return store + "/owner";
}

std::string encode_owner(const Owner& owner) {
  ByteWriter out;
  out.raw(kMagic);
  out.u64(owner.epoch);
  out.digest(owner.id);
  out.u64(owner.pid);
  out.i64(owner.since_ms);
  out.u64(checksum64(out.bytes()));
  return out.take();
}

Result<Owner> decode_owner(std::string_view bytes) {
  if (bytes.size() != kOwnerBytes) return corruption(fmt::format("{} bytes, expected {}", bytes.size(), kOwnerBytes));
  if (!bytes.starts_with(kMagic)) return corruption("it does not begin with LHOWNER1");
  const std::uint64_t found = ByteReader(bytes.substr(kOwnerBytes - 8)).u64();
  const std::uint64_t expected = checksum64(bytes.substr(0, kOwnerBytes - 8));
  if (found != expected) return corruption(fmt::format("checksum {:016x}, expected {:016x}", found, expected));
  ByteReader in(bytes.substr(kMagic.size()));
  Owner owner;
  owner.epoch = in.u64();
  owner.id = in.digest();
  owner.pid = in.u64();
  owner.since_ms = in.i64();
  return owner;
}

std::string to_text(const Owner& owner) {
  return fmt::format("owner {} ({}, process {})", owner.epoch, owner.id.hex().substr(0, 8), owner.pid);
}

Ownership::~Ownership() {
  if (fd_ >= 0) ::close(fd_);
}

Result<void> Ownership::write_owner(bool in_place) {
  const std::string path = owner_path(store_);
  const auto failed = [&](std::string_view what) {
    return io_error(fmt::format("{} {}: {}", what, path, std::strerror(errno)));
  };
  if (!in_place) {
    auto written = write_file_atomic(path, bytes_);
    if (!written) return written.error();
  }
  if (fd_ >= 0) ::close(fd_);
  fd_ = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd_ < 0) return failed("cannot open");
  // In place where the file is there: a full disk must not keep a store from being opened.
  if (in_place) {
    const ssize_t n = ::pwrite(fd_, bytes_.data(), bytes_.size(), 0);
    if (n != static_cast<ssize_t>(bytes_.size())) return failed("cannot write");
    if (::fdatasync(fd_) != 0) return failed("cannot sync");
  }
  struct stat about;
  if (::fstat(fd_, &about) != 0) return failed("cannot look at");
  device_ = about.st_dev;
  inode_ = about.st_ino;
  return {};
}

Result<void> Ownership::raise(std::uint64_t above) {
  LONGHAUL_FAULT_POINT("owner.before_raise");
  const std::string path = owner_path(store_);
  auto before = read_file(path, 4096);
  bool in_place = false;
  if (before) {
    auto owner = decode_owner(*before);
    in_place = before->size() == kOwnerBytes;
    if (owner) {
      above = std::max(above, owner->epoch);
    } else {
      note_ = fmt::format("{} was damaged and has been made anew: {}", path, owner.error().message);
    }
  } else if (before.error().code == ErrorCode::kResourceExhausted) {
    note_ = fmt::format("{} was damaged and has been made anew: it is too long", path);
  } else if (before.error().code != ErrorCode::kNotFound) {
    refusal_ = with_context("store " + store_, before.error());
    return *refusal_;
  }
  owner_ = {above + 1, random_id(), static_cast<std::uint64_t>(::getpid()), clock_.unix_ms()};
  bytes_ = encode_owner(owner_);
  auto written = write_owner(in_place);
  if (!written) {
    refusal_ = with_context("store " + store_, written.error());
    return *refusal_;
  }
  refusal_.reset();
  LONGHAUL_FAULT_POINT("owner.after_raise");
  return {};
}

Error Ownership::lose(const std::string& to) const {
  const std::lock_guard lock(mutex_);
  if (!lost_.exchange(true)) lost_to_ = to;
  return make_error(ErrorCode::kConflict,
                    fmt::format("store {}: it was opened here as {}, but {}; nothing more is written from here", store_,
                                to_text(owner_), lost_to_));
}

Result<void> Ownership::check() const {
  if (lost_) return lose({});
  const std::string path = owner_path(store_);
  struct stat about;
  if (::stat(path.c_str(), &about) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return lose("its file `owner` is gone: it was moved, removed or replaced");
    return io_error(fmt::format("store {}: cannot look at {}: {}", store_, path, std::strerror(errno)));
  }
  std::array<char, kOwnerBytes> found;
  const ssize_t n = ::pread(fd_, found.data(), found.size(), 0);
  if (n < 0) return io_error(fmt::format("store {}: cannot read {}: {}", store_, path, std::strerror(errno)));
  if (about.st_dev == device_ && about.st_ino == inode_ && n == static_cast<ssize_t>(kOwnerBytes) &&
      std::memcmp(found.data(), bytes_.data(), kOwnerBytes) == 0) {
    return {};
  }
  auto now = read_file(path, 4096);
  auto owner = now ? decode_owner(*now) : Result<Owner>(now.error());
  if (!owner) return lose(fmt::format("its file `owner` cannot be read any more: {}", owner.error().message));
  return lose(fmt::format("{} has taken it since", to_text(*owner)));
}

std::string encode_stamp(const Owner& owner) {
  ByteWriter out;
  out.u8(static_cast<std::uint8_t>(kStampTag));
  out.varint(owner.epoch);
  out.u32(static_cast<std::uint32_t>(owner.id.low));
  return out.take();
}

std::optional<Stamp> decode_stamp(std::string_view bytes) {
  if (bytes.empty() || bytes[0] != kStampTag) return std::nullopt;
  ByteReader in(bytes.substr(1));
  Stamp stamp;
  stamp.epoch = in.varint();
  stamp.id = in.u32();
  if (!in.finish("stamp")) return std::nullopt;
  return stamp;
}

}  // namespace longhaul::sessions
