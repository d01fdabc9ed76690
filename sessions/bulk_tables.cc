#include "sessions/bulk_tables.h"

#include <fmt/format.h>
#include <rocksdb/sst_file_writer.h>

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "sessions/store.h"

namespace longhaul::sessions {
namespace {

namespace fs = std::filesystem;

// A table is ended when it has this many bytes: one of many gigabytes could only be moved or compacted as a whole.
constexpr std::uint64_t kTableBytesMax = std::uint64_t{256} << 20;
// What goes to a family's thread at once, and how many of them may wait for it: the memory of one, beside a value.
constexpr std::size_t kChunkBytes = std::size_t{256} << 10, kChunksMax = 4;

}  // namespace

// One family's tables, written in a thread of their own: sealing rows and writing them take about as long each.
class BulkTables::Writer {
 public:
  Writer(Store& store, Family family, std::uint64_t label) : store_(store), family_(family), label_(label) {
    try {
      thread_ = std::thread([this] { work(); });
    } catch (const std::system_error&) {
      // No thread to be had: whoever brings the rows writes them.
    }
  }
  // What was not taken by finish() is removed.
  ~Writer() {
    if (thread_.joinable()) static_cast<void>(close());
    std::error_code ec;
    if (table_ != nullptr) {
      const std::string path = table_->path;
      table_.reset();
      fs::remove(path, ec);
    }
    for (const Done& file : done_) fs::remove(file.path, ec);
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  Result<void> put(std::string_view key, std::string_view value) {
    filling_.add(key, value);
    if (filling_.bytes.size() < kChunkBytes) return {};
    return hand_over();
  }
  // Nothing is put any more, and all that was is in the tables.
  Result<std::vector<Done>> finish() {
    auto closed = close();
    if (!closed) return closed.error();
    return std::exchange(done_, {});
  }

 private:
  // Rows one behind the other, so that small ones are handed over together.
  struct Chunk {
    std::string bytes;
    std::vector<std::pair<std::size_t, std::size_t>> lengths;  // key, value
    void add(std::string_view key, std::string_view value) {
      bytes.append(key).append(value);
      lengths.emplace_back(key.size(), value.size());
    }
    void clear() {
      bytes.clear();
      lengths.clear();
    }
  };
  struct Table {
    Table(const rocksdb::Options& options, rocksdb::ColumnFamilyHandle* handle)
        // The system begins to write while the table grows, and keeps it: reading its end is the first thing done with
        // it. (CachedFile lets go of it later.)
        : writer(rocksdb::EnvOptions(options), options, handle, /*invalidate_page_cache=*/false) {}
    std::string path;
    rocksdb::SstFileWriter writer;
  };

  Result<void> hand_over() {
    if (!thread_.joinable()) {
      auto written = write(filling_);
      filling_.clear();
      return written;
    }
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return full_.size() < kChunksMax || !outcome_; });
    if (!outcome_) return outcome_;
    full_.push_back(std::move(filling_));
    filling_ = {};
    if (!empty_.empty()) {
      filling_ = std::move(empty_.back());
      empty_.pop_back();
    }
    lock.unlock();
    changed_.notify_all();
    return {};
  }

  Result<void> close() {
    Result<void> handed = filling_.lengths.empty() ? Result<void>() : hand_over();
    if (!thread_.joinable()) return handed && table_ != nullptr ? end_table() : handed;
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    changed_.notify_all();
    thread_.join();
    return outcome_;
  }

  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return !full_.empty() || closed_; });
      const bool last = full_.empty();
      if (last && table_ == nullptr) return;
      Chunk chunk;
      if (!last) {
        chunk = std::move(full_.front());
        full_.pop_front();
      }
      lock.unlock();
      auto done = last ? end_table() : write(chunk);
      chunk.clear();
      lock.lock();
      empty_.push_back(std::move(chunk));
      if (!done) outcome_ = done;
      changed_.notify_all();
      if (!done) return;
    }
  }

  Result<void> write(const Chunk& chunk) {
    std::string_view rest = chunk.bytes;
    for (const auto& [key_bytes, value_bytes] : chunk.lengths) {
      auto ready = table_ == nullptr ? begin_table() : Result<void>();
      if (!ready) return ready.error();
      const rocksdb::Status status =
          table_->writer.Put({rest.data(), key_bytes}, {rest.data() + key_bytes, value_bytes});
      if (!status.ok()) return store_.error_of(status, "writing table " + table_->path);
      rest.remove_prefix(key_bytes + value_bytes);
      if (table_->writer.FileSize() < kTableBytesMax) continue;
      auto ended = end_table();
      if (!ended) return ended.error();
    }
    return {};
  }

  Result<void> begin_table() {
    const std::string folder = store_.path() + "/ingest";
    std::error_code ec;
    fs::create_directories(folder, ec);
    if (ec) return io_error(fmt::format("store {}: cannot create {}: {}", store_.path(), folder, ec.message()));
    table_ = std::make_unique<Table>(store_.table_options(family_), store_.handle(family_));
    table_->path = fmt::format("{}/{}-{}-{}.sst", folder, label_, family_name(family_), done_.size());
    const rocksdb::Status opened = table_->writer.Open(table_->path);
    if (!opened.ok()) return store_.error_of(opened, "writing table " + table_->path);
    return {};
  }

  Result<void> end_table() {
    store_.ingest_bytes_ += table_->writer.FileSize();
    rocksdb::ExternalSstFileInfo about;
    const rocksdb::Status status = table_->writer.Finish(&about);
    if (!status.ok()) return store_.error_of(status, "writing table " + table_->path);
    done_.push_back({table_->path, about.file_checksum, about.file_checksum_func_name});
    table_.reset();
    return {};
  }

  Store& store_;
  Family family_;
  std::uint64_t label_;
  Chunk filling_;
  std::unique_ptr<Table> table_;  // of the thread, like done_, until it is joined
  std::vector<Done> done_;

  std::mutex mutex_;
  std::condition_variable changed_;  // any of these
  std::deque<Chunk> full_;
  std::vector<Chunk> empty_;  // their memory is used again
  bool closed_ = false;
  Result<void> outcome_;
  std::thread thread_;
};

BulkTables::BulkTables(Store& store, std::uint64_t label) : store_(store), label_(label) {}

BulkTables::~BulkTables() {
  for (auto& writer : writers_) writer.reset();
  if (ingested_) return;  // moved; the batch that names them ends it
  store_.end_bulk(label_);
  std::error_code ec;
  for (const auto& family : done_) {
    for (const Done& file : family) fs::remove(file.path, ec);
  }
}

Result<void> BulkTables::put(Family family, std::string_view key, std::string_view sealed_value) {
  auto& writer = writers_[static_cast<std::size_t>(family)];
  if (writer == nullptr) writer = std::make_unique<Writer>(store_, family, label_);
  return writer->put(key, sealed_value);
}

Result<void> BulkTables::finish() {
  for (std::size_t family = 0; family < kFamilies; ++family) {
    if (writers_[family] == nullptr) continue;
    auto done = writers_[family]->finish();
    if (!done) return done.error();
    done_[family] = std::move(*done);
    writers_[family].reset();
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
