// Settings of a store. Every number says its unit, default and where it comes from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "runtime/base/clock.h"
#include "runtime/base/hash.h"

namespace rocksdb {
class Env;
}

namespace longhaul::sessions {

// When a commit stores the model's state. Positions between stored states are rebuilt exactly by feeding tokens again.
struct StatePolicy {
  // A state is stored when at least this many tokens were added or this much time passed since the last one.
  std::uint64_t tokens_min = 64;  // measured: feeding 64 tokens of pico again takes as long as a commit with the state
  std::int64_t ms_min = 10'000;   // chosen: a crash repeats at most seconds of work
};

// What a store is opened for.
enum class StoreAccess {
  kWrite,     // everything; refused where nothing can be written
  kLook,      // reading, and writing where that is possible: a folder without the right to write, or on a full disk, is
              // opened all the same, and left as it is
  kMakeRoom,  // deleting and collecting, also on a full disk: the space kept in reserve is given up for it
};

struct StoreOptions {
  bool create_if_missing = true;
  StoreAccess access = StoreAccess::kWrite;
  // Space that a store keeps to itself while there is plenty, so that something can be deleted when there is none.
  // 0: none. Chosen, not measured: what an opening, some deletions and their compaction write, a few times over.
  std::size_t reserve_bytes = std::size_t{4} << 20;
  StatePolicy state_policy;
  // A commit whose states and pages are larger than this writes them as sorted tables and ingests them; smaller ones
  // ride in the batch (measured: through log and memory table, values of a MiB and more run at a fifth of the disk).
  std::size_t ingest_bytes_min = std::size_t{1} << 20;
  // Pages of one layer that are written together are stored so many bytes a value: the unit of reading. See README.md
  // for the measurement. Changing it later is fine: every manifest says what it used.
  std::size_t page_object_bytes = std::size_t{128} << 10;
  // KV pages kept in memory for all sessions of the store together, beyond what computing holds at the moment.
  std::size_t page_cache_bytes = std::size_t{1} << 30;
  std::size_t write_buffer_bytes = std::size_t{16} << 20;  // a family
  std::size_t log_bytes_max = std::size_t{32} << 20;       // bounds the replay at the next opening
  std::size_t block_cache_bytes = std::size_t{32} << 20;
  // The mark is unreadable or missing, a person has looked, and the database is to be taken as it is.
  bool accept_without_high_water = false;

  std::optional<Digest> store_id;  // of a store that is made: null: drawn

  Clock* clock = nullptr;         // borrowed; null: the system's
  rocksdb::Env* env = nullptr;    // borrowed; null: the system's. For tests of power loss.
  std::optional<Digest> boot_id;  // for the same tests
};

}  // namespace longhaul::sessions
