// Sorted tables on their way into the database, written as their rows come, by a thread a family: memory is six values
// or as many times 256 KiB, a block and an index, whatever the size. Until ingest() they are files beside the database
// that nothing refers to, removed by the destructor or, after a crash, by the next opening. Internal to this room.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/result.h"
#include "sessions/cached_file.h"
#include "sessions/entries.h"

namespace longhaul::sessions {

class Batch;
class Store;

class BulkTables {
 public:
  // `label` is of Store::take_label, at or below every number that the keys begin with. The batch that names what was
  // ingested says it too (Batch::set_bulk). Label 0: of a store whose first batch this is.
  BulkTables(Store& store, std::uint64_t label);
  ~BulkTables();
  BulkTables(const BulkTables&) = delete;
  BulkTables& operator=(const BulkTables&) = delete;

  // Keys of a family ascend, and are keys nobody has looked for yet. kIo names the table; it may be of an earlier row.
  Result<void> put(Family family, std::string_view key, std::string_view sealed_value);
  // Ends the files. They are synced by ingest(), when they have their last names (guard_fs.h).
  Result<void> finish();
  // Makes them part of the database, all families or none; durable when it returns.
  Result<void> ingest();
  std::uint64_t label() const { return label_; }
  // The tables of states, once they are ingested.
  std::vector<CachedFile> take_state_files() { return std::move(state_files_); }

 private:
  class Writer;
  struct Done {
    std::string path, checksum, checksum_function;  // of the whole file, for the database's own list of files
  };

  Store& store_;
  std::uint64_t label_;
  std::array<std::unique_ptr<Writer>, kFamilies> writers_;
  std::array<std::vector<Done>, kFamilies> done_;
  std::vector<CachedFile> state_files_;
  bool ingested_ = false;
};

}  // namespace longhaul::sessions
