#include "sessions/bulk_tables.h"

#include <fmt/format.h>
#include <rocksdb/sst_file_writer.h>

#include <filesystem>

#include "sessions/store.h"

namespace longhaul::sessions {
namespace {

namespace fs = std::filesystem;

// A table is ended when it has this many bytes: one of many gigabytes could only be moved or compacted as a whole.
constexpr std::uint64_t kTableBytesMax = std::uint64_t{256} << 20;

}  // namespace

struct BulkTables::Table {
  Table(const rocksdb::Options& options, rocksdb::ColumnFamilyHandle* handle)
      // The system begins to write while the table grows, and keeps it: reading its end is the first thing done with
      // it. (CachedFile lets go of it later.)
      : writer(rocksdb::EnvOptions(options), options, handle, /*invalidate_page_cache=*/false) {}
  std::string path;
  rocksdb::SstFileWriter writer;
};

BulkTables::BulkTables(Store& store, std::uint64_t label) : store_(store), label_(label) {}

BulkTables::~BulkTables() {
  std::error_code ec;
  for (auto& table : open_) {
    if (table == nullptr) continue;
    const std::string path = table->path;
    table.reset();
    fs::remove(path, ec);
  }
  if (ingested_) return;  // moved; the batch that names them ends it
  store_.end_bulk(label_);
  for (const auto& family : done_) {
    for (const Done& file : family) fs::remove(file.path, ec);
  }
}

Result<void> BulkTables::put(Family family, std::string_view key, std::string_view sealed_value) {
  auto& table = open_[static_cast<std::size_t>(family)];
  if (table == nullptr) {
    const std::string folder = store_.path() + "/ingest";
    std::error_code ec;
    fs::create_directories(folder, ec);
    if (ec) return io_error(fmt::format("store {}: cannot create {}: {}", store_.path(), folder, ec.message()));
    table = std::make_unique<Table>(store_.table_options(family), store_.handle(family));
    table->path = fmt::format("{}/{}-{}-{}.sst", folder, label_, family_name(family), n_files_++);
    const rocksdb::Status opened = table->writer.Open(table->path);
    if (!opened.ok()) return store_.error_of(opened, "writing table " + table->path);
  }
  const rocksdb::Status status =
      table->writer.Put({key.data(), key.size()}, {sealed_value.data(), sealed_value.size()});
  if (!status.ok()) return store_.error_of(status, "writing table " + table->path);
  if (table->writer.FileSize() >= kTableBytesMax) return end_table(family);
  return {};
}

Result<void> BulkTables::end_table(Family family) {
  auto& table = open_[static_cast<std::size_t>(family)];
  store_.ingest_bytes_ += table->writer.FileSize();
  rocksdb::ExternalSstFileInfo about;
  const rocksdb::Status status = table->writer.Finish(&about);
  if (!status.ok()) return store_.error_of(status, "writing table " + table->path);
  done_[static_cast<std::size_t>(family)].push_back({table->path, about.file_checksum, about.file_checksum_func_name});
  table.reset();
  return {};
}

Result<void> BulkTables::finish() {
  for (int i = 0; i < kFamilies; ++i) {
    if (open_[static_cast<std::size_t>(i)] == nullptr) continue;
    auto ended = end_table(static_cast<Family>(i));
    if (!ended) return ended.error();
  }
  return {};
}

Result<void> BulkTables::ingest() {
  std::vector<rocksdb::IngestExternalFileArg> arguments;
  for (int i = 0; i < kFamilies; ++i) {
    const auto& files = done_[static_cast<std::size_t>(i)];
    if (files.empty()) continue;
    rocksdb::IngestExternalFileArg argument;
    argument.column_family = store_.handle(static_cast<Family>(i));
    // Taken while the table was written; without it the database would read the whole file again.
    for (const Done& file : files) {
      argument.external_files.push_back(file.path);
      argument.files_checksums.push_back(file.checksum);
      argument.files_checksum_func_names.push_back(file.checksum_function);
    }
    argument.options.verify_file_checksum = false;
    argument.options.move_files = true;
    argument.options.write_global_seqno = false;
    argument.options.snapshot_consistency = false;  // nobody can have looked for these keys before
    arguments.push_back(std::move(argument));
  }
  for (const Done& file : done_[static_cast<std::size_t>(Family::kStates)]) state_files_.emplace_back(file.path);
  auto done = store_.ingest_tables(arguments);
  ingested_ = done.has_value();
  return done;
}

}  // namespace longhaul::sessions
