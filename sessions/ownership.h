// Who owns a store, beyond the database's lock. A lock can be lost: its file removed, the folder restored from a copy,
// a network file system that forgot. Then two processes would write into one database. So each opening for writing
// raises a number in a small file beside the database, after it has the lock and before it reads anything, and every
// write looks before and after whether the number is still its own.
//
// Why both: what was written before the number was raised is in the log that the next owner reads, so a write that
// finds its number unchanged afterwards is part of the store, and only then is it acknowledged. One that finds another
// number is refused, and so is everything after it: of a process that has lost its store nothing is acknowledged any
// more.
//
// What cannot be helped: a system call that was under way when the number was raised still ends. In the database's
// files that is harmless (a new owner writes files of its own); in its log such a write is found by its stamp and set
// aside (stale_writes.h).
//
// `check` may be called from any thread; costs two system calls (see README.md for the measurement).
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/base/clock.h"
#include "runtime/base/hash.h"
#include "runtime/base/result.h"

namespace longhaul::sessions {

struct Owner {
  std::uint64_t epoch = 0;  // of the store, from 1, one higher at each opening for writing
  Digest id;                // random
  std::uint64_t pid = 0;
  std::int64_t since_ms = 0;
  friend bool operator==(const Owner&, const Owner&) = default;
};
inline constexpr std::size_t kOwnerBytes = 56;
std::string encode_owner(const Owner& owner);
Result<Owner> decode_owner(std::string_view bytes);  // kCorruption
std::string to_text(const Owner& owner);             // "owner 6 (9f0c..., process 123)"
std::string owner_path(const std::string& store);

class Ownership {
 public:
  Ownership(std::string store, Clock& clock) : store_(std::move(store)), clock_(clock) {}
  ~Ownership();
  Ownership(const Ownership&) = delete;
  Ownership& operator=(const Ownership&) = delete;

  // Takes the store: the number in the file, or `above` if that is higher, plus one; durable when it returns. A file
  // that is missing (stores of before) or damaged is made anew; of the latter `note` speaks. kIo.
  Result<void> raise(std::uint64_t above = 0);
  // kConflict, naming both owners, once the store is somebody else's; for good. kIo: it could not be looked at.
  Result<void> check() const;

  const Owner& owner() const { return owner_; }
  // The number before, if it could be read.
  const std::string& note() const { return note_; }
  // Why `raise` failed when it was called from inside the database.
  const std::optional<Error>& refusal() const { return refusal_; }

 private:
  Error lose(const std::string& to) const;
  Result<void> write_owner(bool in_place);

  std::string store_;
  Clock& clock_;
  int fd_ = -1;
  dev_t device_ = 0;
  ino_t inode_ = 0;
  Owner owner_;
  std::string bytes_;  // of it, as they must stand in the file
  std::string note_;
  std::optional<Error> refusal_;
  mutable std::atomic<bool> lost_{false};
  mutable std::mutex mutex_;
  mutable std::string lost_to_;  // guarded by mutex_
};

// What stands in the log with each batch: which owner wrote it.
std::string encode_stamp(const Owner& owner);
struct Stamp {
  std::uint64_t epoch = 0;
  std::uint32_t id = 0;  // the low part of the owner's
  friend bool operator==(const Stamp&, const Stamp&) = default;
};
// Nothing if it is no stamp of ours.
std::optional<Stamp> decode_stamp(std::string_view bytes);

}  // namespace longhaul::sessions
