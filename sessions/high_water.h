// A small file beside the database that says how far it had got. RocksDB can come back from a crash with the last
// records of its log gone and call that success: it cannot tell a torn tail from a flipped bit. The mark can.
//
// The mark holds two of the database's sequence numbers: up to which writes had been handed to the system (`written`),
// and up to which they had been synced (`synced`). Each is written after the fact, so each is true whenever it is read.
// After a killed process the page cache survives, so the database must hold everything up to `written`; after a power
// loss (another boot id) only up to `synced`, since unsynced tokens may be gone (the limit in C5).
//
// Two slots of a preallocated file are written in turn, without fsync of their own except once a second: a lost mark
// only makes the check weaker. Guarded by its own mutex.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "runtime/base/clock.h"
#include "runtime/base/hash.h"
#include "runtime/base/result.h"

namespace longhaul::sessions {

struct Mark {
  std::uint64_t counter = 0;  // the slot with the higher one is newer
  std::uint64_t written = 0;
  std::uint64_t synced = 0;
  Digest store_id;
  Digest boot_id;
  // The last record that was synced, so that another history of the same length is noticed; branch 0: none.
  std::uint64_t branch = 0, sequence = 0, link = 0;
  friend bool operator==(const Mark&, const Mark&) = default;
};

inline constexpr std::size_t kMarkFileBytes = 8192, kMarkSlotBytes = 4096, kMarkBytes = 96;

std::string encode_mark(const Mark& mark);
Result<Mark> decode_mark(std::string_view bytes);  // kMarkBytes of them

// This boot of this machine; the same after kill -9, another after a power loss. All zero where the system does not
// tell (then nothing is taken for synced that was not).
Digest current_boot_id();

class HighWater {
 public:
  // Writes and syncs a new file.
  static Result<std::unique_ptr<HighWater>> create(const std::string& path, const Mark& mark, Clock& clock);
  // kNotFound if there is none; kCorruption if no slot is whole.
  static Result<std::unique_ptr<HighWater>> open(const std::string& path, Clock& clock);
  // The same errors. `damage` gets what is wrong with one slot where the other counts; the next writes heal it.
  static Result<Mark> read(const std::string& path, std::string* damage = nullptr);
  ~HighWater();
  HighWater(const HighWater&) = delete;
  HighWater& operator=(const HighWater&) = delete;

  const Mark& mark() const { return mark_; }             // before any thread writes
  const std::string& damage() const { return damage_; }  // when it was opened; see read

  struct Progress {
    std::uint64_t written = 0;
    bool synced = false;
    std::uint64_t branch = 0, sequence = 0, link = 0;  // looked at only if synced; branch 0: as before
  };
  // Moves the mark forward (never back). An error leaves the check weaker and the database untouched.
  Result<void> advance(const Progress& progress);
  // Before records may be deleted: the last record is no longer asked for.
  Result<void> forget_tip();
  Result<void> set_boot(const Digest& boot_id);
  Result<void> sync();

 private:
  HighWater(int fd, std::string path, const Mark& mark, Clock& clock);
  Result<void> write_locked();

  int fd_;
  std::string path_, damage_;
  Clock& clock_;
  std::mutex mutex_;
  Mark mark_;
  std::int64_t synced_at_ns_ = 0;
};

}  // namespace longhaul::sessions
