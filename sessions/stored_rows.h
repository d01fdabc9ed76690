// What a commit or an import stores beside its manifests, on its way: a family's rows ride in the batch, which costs
// one sync for all of them, or, where they are many bytes, go into a table of their own. And the one place that says
// which rows a state and its pages are. Internal to this room.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/sequence_state.h"
#include "runtime/base/result.h"
#include "sessions/bulk_tables.h"
#include "sessions/entries.h"

namespace longhaul::sessions {

class Batch;
class Store;

// Used as: expect (or not), put, finish, ingest, and then the batch is written.
class StoredRows {
 public:
  // `label` as of BulkTables.
  StoredRows(Store& store, Batch& batch, std::uint64_t label) : store_(store), batch_(batch), tables_(store, label) {}

  // Of whom the sizes are known before the rows come: decides for states, pages and summaries of this commit. A family
  // nobody has spoken of is decided by its rows, the first of which wait in memory. kIo: there is no space for tables.
  Result<void> expect(const Manifest& manifest, const model::StateLayout& layout);
  // As BulkTables::put.
  Result<void> put(Family family, std::string_view key, std::string_view sealed_value);
  // Ends the tables, and puts what waited into the batch.
  Result<void> finish();
  // Makes the tables part of the database, and says so in the batch.
  Result<void> ingest();

  // As of BulkTables.
  std::vector<CachedFile> take_state_files() { return tables_.take_state_files(); }

  bool has_tables() const;
  std::uint64_t table_bytes() const { return table_bytes_; }  // of keys and values so far

 private:
  struct Rows {
    enum class Place : std::uint8_t { kOpen, kBatch, kTable } place = Place::kOpen;
    std::vector<std::pair<std::string, std::string>> waiting;
    std::size_t waiting_bytes = 0;
  };
  Result<void> put_in_table(Family family, std::string_view key, std::string_view sealed_value);

  Store& store_;
  Batch& batch_;
  BulkTables tables_;
  std::array<Rows, kFamilies> rows_;
  std::uint64_t table_bytes_ = 0;
};

// Puts the state's parts under the manifest's generation, each value sealed in memory that is used again: a large state
// is copied once, piece by piece, while it is in the processor's cache. Gives the state's digest.
Result<Digest> put_state(StoredRows& rows, const Manifest& manifest, std::span<const std::string_view> fixed,
                         std::string_view open_pages);

// Puts the pages of one manifest: per layer as values of so many pages that reading one is worth a seek, and beside
// them the summaries of all of them in one value.
class PageRows {
 public:
  // All three are borrowed.
  PageRows(StoredRows& rows, const model::StateLayout& layout, const Manifest& manifest)
      : rows_(rows), layout_(layout), manifest_(manifest) {}

  // How many pages the value has that begins with page `first`.
  std::uint64_t pages_from(std::uint64_t first) const;
  // Layer by layer, value by value; the last one brings the summaries. kResourceExhausted: they are too many.
  Result<void> put(std::uint32_t layer, std::uint64_t first, std::span<const std::byte* const> pages);

 private:
  StoredRows& rows_;
  const model::StateLayout& layout_;
  const Manifest& manifest_;
  std::string summaries_;
};

}  // namespace longhaul::sessions
