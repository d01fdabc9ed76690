// The file by which the process that owns a store tells others what its sessions do: RocksDB's lock lets nobody else
// look. Small, replaced whole by a rename, at most four times a second; holds no text of anybody, no arguments, no
// paths: names, counts and times only. Bytes: sessions/FORMAT.md, "The status file".
//
// A file says nothing about now by itself: its owner may be gone. `store_owner` asks the lock who has the store.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/result.h"

namespace longhaul::runtime {

inline constexpr std::size_t kStatusBytesMax = std::size_t{256} << 10;

struct SessionLine {
  std::string name;
  std::string status;  // "running", else as the store says: suspended, in_doubt, answered, ...
  bool live = false;   // driven by the owner; else it lies in the store
  std::uint64_t turns = 0;
  std::uint64_t tokens = 0;       // of context
  std::string event;              // the last one, e.g. tool_call
  std::int64_t event_ms = 0;      // when; UTC
  std::string call;               // the tool that runs now, with its call id: "write_file call_3"
  double tokens_per_second = 0;   // over the last two seconds, fed and sampled
  std::uint64_t state_bytes = 0;  // of the model's state held in memory
  std::int64_t updated_ms = 0;    // for those that lie in the store: their last record
  friend bool operator==(const SessionLine&, const SessionLine&) = default;
};

struct StoreStatus {
  std::int64_t pid = 0;
  std::int64_t started_ms = 0, written_ms = 0;  // UTC
  std::uint64_t n_sessions = 0;                 // of the store, as far as the owner knows
  std::vector<SessionLine> sessions;            // live ones first; the others newest first, as many as fit
  friend bool operator==(const StoreStatus&, const StoreStatus&) = default;
};

// Drops lines from the end until it fits kStatusBytesMax.
std::string encode_status(StoreStatus status);
// From bytes that anybody may have written: kCorruption, kVersionMismatch name what is wrong.
Result<StoreStatus> decode_status(std::string_view bytes);

std::string status_path(const std::string& store);
// kNotFound if there is none.
Result<StoreStatus> read_status(const std::string& store);

// The process that holds the store's lock now; 0: nobody. kNotFound if there is no store at that path.
Result<std::int64_t> store_owner(const std::string& store);

}  // namespace longhaul::runtime
