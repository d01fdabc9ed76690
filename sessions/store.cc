#include "sessions/store.h"

#include <fmt/format.h>
#include <rocksdb/convenience.h>
#include <rocksdb/statistics.h>

#include <sys/statvfs.h>

#include <filesystem>

#include "runtime/base/log.h"
#include "sessions/bytes.h"
#include "sessions/fault_point.h"
#include "sessions/guard_fs.h"

namespace longhaul::sessions {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kNumbersBlock = 1024;
constexpr std::size_t kBatchHeaderBytes = 12;
rocksdb::Slice slice(std::string_view text) {
  return {text.data(), text.size()};
}

}  // namespace

// The database's own form of a batch: a header of sequence number and u32 count, then the operations.
rocksdb::WriteBatch Batch::merge(std::span<Batch* const> batches, std::size_t n_bytes) {
  constexpr std::size_t kCountAt = 8;
  std::string bytes;
  bytes.reserve(n_bytes);
  std::uint32_t count = 0;
  for (const Batch* each : batches) {
    const std::string& one = each->batch_.Data();
    bytes.append(one, bytes.empty() ? 0 : kBatchHeaderBytes);
    count += each->batch_.Count();
  }
  ByteWriter field;
  field.u32(count);
  bytes.replace(kCountAt, sizeof count, field.bytes());
  return rocksdb::WriteBatch(std::move(bytes));
}

View::View(const Store& store) : store_(store), snapshot_(store.db_->GetSnapshot()) {}
View::~View() {
  store_.db_->ReleaseSnapshot(snapshot_);
}

Batch::Batch(const Store& store) : store_(store) {
  batch_.PutLogData(encode_stamp(store.owner()));
}

void Batch::put(Family family, std::string_view key, std::string_view sealed_value) {
  batch_.Put(store_.handle(family), slice(key), slice(sealed_value));
}
void Batch::erase(Family family, std::string_view key) {
  batch_.Delete(store_.handle(family), slice(key));
}

Error Store::error_of(const rocksdb::Status& status, std::string_view doing) const {
  const std::string text = fmt::format("store {}: {}: {}", path_, doing, status.ToString());
  if (status.IsNoSpace()) return io_error(fmt::format("store {}: {}: no space left on the device", path_, doing));
  if (status.IsCorruption()) return corruption(text);
  if (status.IsIOError()) return io_error(text);
  if (status.IsNotFound()) return not_found(text);
  if (status.IsInvalidArgument()) return corruption(text);  // our arguments are fixed: the files' shape is not ours
  return io_error(text);
}

Result<void> Store::check_space(std::uint64_t bytes) const {
  struct statvfs about;
  if (::statvfs(path_.c_str(), &about) != 0) return {};  // then the write itself will tell
  const std::uint64_t free = std::uint64_t{about.f_bavail} * about.f_frsize;
  if (free >= bytes) return {};
  return io_error(fmt::format("store {}: no space left on the disk: {} bytes free, {} needed", path_, free, bytes));
}

Store::~Store() {
  if (high_water_ != nullptr && db_ != nullptr) {
    // Only while the process is well: what is lost here is a stronger check, nothing else.
    if (!failed_ && db_->SyncWAL().ok() && still_owned()) {
      static_cast<void>(high_water_->advance({db_->GetLatestSequenceNumber(), true, 0, 0, 0}).has_value());
      static_cast<void>(high_water_->sync().has_value());
    }
  }
  for (auto* handle : handles_) {
    if (handle != nullptr) db_->DestroyColumnFamilyHandle(handle);
  }
  if (lock_ != nullptr) static_cast<void>(env_->UnlockFile(lock_).ok());
}

Result<std::optional<std::string>> Store::get(Family family, std::string_view key, const View* view) const {
  rocksdb::ReadOptions options;
  if (view != nullptr) options.snapshot = view->get();
  std::string value;
  const rocksdb::Status status = db_->Get(options, handle(family), slice(key), &value);
  if (status.IsNotFound()) return std::optional<std::string>();
  if (!status.ok()) return error_of(status, std::string("reading ").append(family_name(family)));
  return std::optional<std::string>(std::move(value));
}

Result<bool> Store::get_bulk(Family family, std::string_view key, rocksdb::PinnableSlice& value,
                             const View* view) const {
  rocksdb::ReadOptions options;
  if (view != nullptr) options.snapshot = view->get();
  options.fill_cache = false;
  const rocksdb::Status status = db_->Get(options, handle(family), slice(key), &value);
  if (status.IsNotFound()) return false;
  if (!status.ok()) return error_of(status, std::string("reading ").append(family_name(family)));
  return true;
}

Result<void> Store::writable() const {
  if (!read_only_.empty()) {
    return io_error(fmt::format("store {}: it was opened only to be read: {}", path_, read_only_));
  }
  auto owned = ownership_->check();
  if (!owned) return owned.error();
  if (!failed_) return {};
  return io_error(fmt::format(
      "store {}: an earlier write failed{}; it can be read, and written to again once it is closed and opened anew",
      path_, no_space_ ? " (no space left on the device)" : ""));
}

Error Store::write_failed(const rocksdb::Status& status, std::string_view doing) {
  // What of the write has reached the log is not known, so nothing may be written behind it: opening the store anew
  // decides. (Resuming the database in place is not used: when its memory tables are empty it goes on with the log that
  // failed, and the library ends the process.)
  if (status.IsNoSpace()) no_space_ = true;
  failed_ = true;
  auto owned = ownership_->check();
  if (!owned) return owned.error();  // the reason for the other
  return error_of(status, doing);
}

Result<void> Store::still_owned() {
  auto owned = ownership_->check();
  if (owned) return {};
  failed_ = true;
  return owned.error();
}

Store::Store()
    : group_commit_([this](std::span<Batch* const> batches, bool sync) { return write_group(batches, sync); }) {}

Result<void> Store::write(Batch& batch, bool sync) {
  auto written = group_commit_.run(batch, sync);
  if (!written) return written.error();
  ++writes_;
  if (sync) ++synced_writes_;
  batch_bytes_ += batch.bytes();
  // Here, not for the whole group: somebody in it may hold the mutex of numbers.
  if (batch.bulk_) end_bulk(*batch.bulk_);
  return {};
}

Result<void> Store::write_group(std::span<Batch* const> batches, bool sync) {
  auto ready = writable();
  if (!ready) return ready.error();
  std::size_t n_bytes = 0;
  for (const Batch* each : batches) n_bytes += each->bytes();
  auto space = check_space(n_bytes + kSpareBytes / 4);
  if (!space) return space.error();
  rocksdb::WriteBatch merged;
  if (batches.size() > 1) merged = Batch::merge(batches, n_bytes);
  rocksdb::WriteBatch& batch = batches.size() > 1 ? merged : batches[0]->batch_;
  rocksdb::WriteOptions write_options;
  write_options.sync = sync;
  const rocksdb::Status status = db_->Write(write_options, &batch);
  if (!status.ok()) return write_failed(status, "writing");
  LONGHAUL_FAULT_POINT("write.before_ownership");
  auto owned = still_owned();
  if (!owned) return owned.error();
  ++groups_;
  // The batch's header holds the sequence number it was given; the last one is what the mark speaks of. Other threads'
  // later, unsynced writes must not be taken for synced, so the database's latest number would not do.
  ByteReader header(std::string_view(batch.Data()).substr(0, kBatchHeaderBytes));
  const std::uint64_t first = header.u64();
  HighWater::Progress progress{first + header.u32() - 1, sync, 0, 0, 0};
  for (const Batch* each : batches) {
    if (each->branch_ == 0) continue;
    progress.branch = each->branch_;
    progress.sequence = each->sequence_;
    progress.link = each->link_;
  }
  auto advanced = high_water_->advance(progress);
  // The write itself stands. A mark that stays behind is true, only weaker: say so once and go on.
  if (!advanced && !mark_failed_.exchange(true)) {
    log(LogLevel::kWarn, "high_water_not_written",
        fmt::format("store={} error=\"{}\"", path_, advanced.error().message));
  }
  return {};
}

Result<void> Store::sync() {
  auto ready = writable();
  if (!ready) return ready.error();
  const std::uint64_t latest = db_->GetLatestSequenceNumber();
  const rocksdb::Status status = db_->SyncWAL();
  if (!status.ok()) return write_failed(status, "syncing the log");
  auto owned = still_owned();
  if (!owned) return owned.error();
  auto advanced = high_water_->advance({latest, true, 0, 0, 0});
  if (!advanced && !mark_failed_.exchange(true)) {
    log(LogLevel::kWarn, "high_water_not_written",
        fmt::format("store={} error=\"{}\"", path_, advanced.error().message));
  }
  return {};
}

Result<std::uint64_t> Store::take_number() {
  const std::lock_guard lock(numbers_mutex_);
  return take_number_locked();
}

Result<std::uint64_t> Store::take_label() {
  const std::lock_guard lock(numbers_mutex_);
  auto number = take_number_locked();
  if (number) bulk_in_flight_.insert(*number);
  return number;
}

Result<std::uint64_t> Store::take_number_locked() {
  if (next_number_ == numbers_end_) {
    LONGHAUL_FAULT_POINT("ids.before_reserve");
    // So that the next opening has little to look at: numbers under those whose tables wait for their manifest are
    // done.
    clean_ =
        std::max(clean_, std::min(next_number_, bulk_in_flight_.empty() ? next_number_ : *bulk_in_flight_.begin()));
    Batch batch(*this);
    const Numbers numbers{numbers_end_ + kNumbersBlock, clean_};
    batch.put(Family::kMeta, numbers_key(), seal(Family::kMeta, numbers_key(), ValueKind::kNumbers, encode(numbers)));
    auto written = write(batch, true);
    if (!written) return written.error();
    numbers_end_ = numbers.reserved;
    LONGHAUL_FAULT_POINT("ids.after_reserve");
  }
  return next_number_++;
}

void Store::reserve_numbers(std::uint64_t end, Batch& batch) {
  const std::lock_guard lock(numbers_mutex_);
  numbers_end_ = std::max(numbers_end_, end);
  next_number_ = numbers_end_;
  const Numbers numbers{numbers_end_, clean_};
  batch.put(Family::kMeta, numbers_key(), seal(Family::kMeta, numbers_key(), ValueKind::kNumbers, encode(numbers)));
}

std::uint64_t Store::next_number() const {
  const std::lock_guard lock(numbers_mutex_);
  return next_number_;
}

void Store::end_bulk(std::uint64_t label) {
  const std::lock_guard lock(numbers_mutex_);
  bulk_in_flight_.erase(label);
}

Result<void> Store::ingest_tables(const std::vector<rocksdb::IngestExternalFileArg>& arguments) {
  auto ready = writable();
  if (!ready) return ready.error();
  if (arguments.empty()) return {};
  rocksdb::Status status;
  {
    const GuardFs::Ingestion ingestion;
    status = db_->IngestExternalFiles(arguments);
  }
  if (status.ok()) status = guard_->sync_manifest();
  if (!status.ok()) return write_failed(status, "ingesting tables");
  return still_owned();
}

Result<std::uint64_t> Store::disk_bytes() const {
  std::uint64_t bytes = 0;
  std::error_code ec;
  for (fs::recursive_directory_iterator it(path_, ec), end; !ec && it != end; it.increment(ec)) {
    std::error_code gone;  // the database removes files while we look
    const auto size = it->is_regular_file(gone) ? it->file_size(gone) : 0;
    if (!gone && it->path().filename() != "reserve") bytes += size;
  }
  if (ec) return io_error(fmt::format("store {}: cannot list its folder: {}", path_, ec.message()));
  return bytes;
}

StoreCounters Store::counters() const {
  StoreCounters out;
  out.writes = writes_;
  out.synced_writes = synced_writes_;
  out.write_groups = groups_;
  out.writes_waiting = group_commit_.waiting();
  out.batch_bytes = batch_bytes_;
  out.log_bytes = statistics_->getTickerCount(rocksdb::WAL_FILE_BYTES);
  out.flush_bytes = statistics_->getTickerCount(rocksdb::FLUSH_WRITE_BYTES);
  out.compact_bytes = statistics_->getTickerCount(rocksdb::COMPACT_WRITE_BYTES);
  out.ingest_bytes = ingest_bytes_;
  out.mark_bytes = groups_ * kMarkBytes;
  out.tokens_sampled = tokens_sampled_;
  return out;
}

Result<void> Store::give_back_space(const std::vector<std::uint64_t>& dead_generations) {
  auto ready = writable();
  if (!ready) return ready.error();
  if (options_.access == StoreAccess::kMakeRoom) {
    for (const std::uint64_t generation : dead_generations) {
      const std::string from = big_endian(generation), to = big_endian(generation + 1);
      const rocksdb::Slice begin(from), end(to);
      const rocksdb::RangePtr range(&begin, &end);
      for (const Family family : {Family::kStates, Family::kPages, Family::kSummaries}) {
        const rocksdb::Status status = rocksdb::DeleteFilesInRanges(db_.get(), handle(family), &range, 1, false);
        if (!status.ok()) return write_failed(status, "dropping tables");
      }
    }
  }
  for (int i = 0; i < kFamilies; ++i) {
    auto* family = handle(static_cast<Family>(i));
    if (short_of_space_) {
      // A compaction that meets the end of the disk half-way leaves a database that has to be closed. What is deleted
      // stays deleted; the next collection goes on here.
      std::uint64_t tables = 0, memory = 0;
      db_->GetIntProperty(family, rocksdb::DB::Properties::kLiveSstFilesSize, &tables);
      db_->GetIntProperty(family, rocksdb::DB::Properties::kCurSizeAllMemTables, &memory);
      if (!check_space(tables + memory + kSpareBytes / 4)) {
        log(LogLevel::kWarn, "not_compacted",
            fmt::format("store={} family={} bytes={}", path_, family_name(static_cast<Family>(i)), tables + memory));
        continue;
      }
    }
    rocksdb::Status status = db_->Flush(rocksdb::FlushOptions(), family);
    // Moves the deletions down onto what they delete; tables at the bottom that nothing touches are left alone.
    if (status.ok()) status = db_->CompactRange(rocksdb::CompactRangeOptions(), family, nullptr, nullptr);
    if (!status.ok()) return write_failed(status, "compacting");
  }
  return {};
}

Result<void> Store::check_files() const {
  rocksdb::Status status = db_->VerifyChecksum();
  if (status.ok()) status = db_->VerifyFileChecksums(rocksdb::ReadOptions());
  if (!status.ok()) return error_of(status, "checking its files");
  return {};
}

Result<void> Store::forget_tip() {
  auto ready = writable();
  if (!ready) return ready.error();
  auto forgotten = high_water_->forget_tip();
  if (!forgotten) return with_context("store " + path_, forgotten.error());
  return {};
}

bool Store::mark_open(const std::string& name) {
  const std::lock_guard lock(open_mutex_);
  return open_names_.insert(name).second;
}
void Store::mark_closed(const std::string& name) {
  const std::lock_guard lock(open_mutex_);
  open_names_.erase(name);
}

}  // namespace longhaul::sessions
