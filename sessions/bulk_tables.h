// Sorted tables on their way into the database, written as their rows come: memory is a block and an index, whatever
// the size. Until ingest() they are files beside the database that nothing refers to, removed by the destructor or,
// after a crash, by the next opening. Internal to this room.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/result.h"
#include "sessions/entries.h"

namespace rocksdb {
class SstFileWriter;
}

namespace longhaul::sessions {

class Batch;
class Store;

class BulkTables {
 public:
  // `label` is a number of the store's counter, at or below every number that the keys begin with; different for every
  // one of a store at the same time. The batch that names what was ingested says it too (Batch::set_bulk).
  BulkTables(Store& store, std::uint64_t label);
  ~BulkTables();
  BulkTables(const BulkTables&) = delete;
  BulkTables& operator=(const BulkTables&) = delete;

  // Keys of a family ascend, and are keys nobody has looked for yet. kIo names the table.
  Result<void> put(Family family, std::string_view key, std::string_view sealed_value);
  // Ends and syncs the files.
  Result<void> finish();
  // Makes them part of the database, all families or none; durable when it returns.
  Result<void> ingest();

 private:
  struct Table;
  struct Done {
    std::string path, checksum, checksum_function;  // of the whole file, for the database's own list of files
  };
  Result<void> end_table(Family family);

  Store& store_;
  std::uint64_t label_;
  std::array<std::unique_ptr<Table>, kFamilies> open_;
  std::array<std::vector<Done>, kFamilies> done_;
  std::size_t n_files_ = 0;
  bool ingested_ = false;
};

// What a commit stores, on its way: a family's rows ride in the commit's batch, or, where they are many bytes, go into
// a table. Used as: begin, put, finish.
class CommitRows {
 public:
  CommitRows(Store& store, Batch& batch) : store_(store), batch_(batch) {}

  // Decides by what the manifest says it will store. kIo: there is no space for it.
  Result<void> begin(const Manifest& manifest, const model::StateLayout& layout);
  Result<void> put(Family family, std::string_view key, std::string_view sealed_value);
  // Makes the tables, if there are any, part of the database, and says so in the batch. Without begin: nothing.
  Result<void> finish();
  std::uint64_t table_bytes() const { return table_bytes_; }  // of keys and values so far

 private:
  Store& store_;
  Batch& batch_;
  std::uint64_t label_ = 0;
  std::array<bool, kFamilies> in_table_{};
  std::optional<BulkTables> tables_;
  std::uint64_t table_bytes_ = 0;
};

}  // namespace longhaul::sessions
