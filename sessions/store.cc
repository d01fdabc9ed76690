#include "sessions/store.h"

#include <fmt/format.h>
#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/file_checksum.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/statistics.h>
#include <rocksdb/table.h>

#include <sys/statvfs.h>

#include <filesystem>
#include <map>
#include <random>

#include "runtime/base/file.h"
#include "runtime/base/log.h"
#include "sessions/bulk_tables.h"
#include "sessions/bytes.h"
#include "sessions/fault_point.h"
#include "sessions/guard_fs.h"

namespace longhaul::sessions {
namespace {

// What opening a database writes, with room to spare: options, manifest, a new log. Chosen, not measured.
constexpr std::uint64_t kSpareBytes = 1 << 20;

namespace fs = std::filesystem;

constexpr std::string_view kFormatMagic = "LHSTORE\n";
constexpr std::size_t kFormatBytes = 8 + 4 + 16 + 8;
constexpr std::uint64_t kNumbersBlock = 1024;

rocksdb::Slice slice(std::string_view text) {
  return {text.data(), text.size()};
}

std::string encode_format(std::uint32_t version, const Digest& id) {
  ByteWriter out;
  out.raw(kFormatMagic);
  out.u32(version);
  out.digest(id);
  out.u64(checksum64(out.bytes()));
  return out.take();
}

// The version is looked at before the checksum: a later version may have another length.
Result<Digest> decode_format(const std::string& path, std::string_view bytes) {
  if (bytes.size() < 12 || bytes.substr(0, 8) != kFormatMagic) {
    return corruption(fmt::format("{} is not the format file of a store", path));
  }
  const std::uint32_t version = ByteReader(bytes.substr(8, 4)).u32();
  const bool whole = bytes.size() == kFormatBytes &&
                     ByteReader(bytes.substr(kFormatBytes - 8)).u64() == checksum64(bytes.substr(0, kFormatBytes - 8));
  if (version > kStoreFormatVersion && !whole) {
    // A flipped bit in the version of ours is told apart by trying ours.
    std::string ours(bytes);
    if (ours.size() == kFormatBytes) {
      for (std::size_t i = 0; i < 4; ++i) ours[8 + i] = static_cast<char>(kStoreFormatVersion >> (8 * i));
      if (ByteReader(std::string_view(ours).substr(kFormatBytes - 8)).u64() ==
          checksum64(std::string_view(ours).substr(0, kFormatBytes - 8))) {
        return corruption(fmt::format("{}: version {} does not fit its checksum", path, version));
      }
    }
  }
  if (version != kStoreFormatVersion && (version > kStoreFormatVersion || whole)) {
    return make_error(ErrorCode::kVersionMismatch,
                      fmt::format("{}: the store has format version {}, this program reads version {}; {}", path,
                                  version, kStoreFormatVersion,
                                  version > kStoreFormatVersion
                                      ? "a newer program wrote it"
                                      : "finish its sessions with the program that wrote it, and name a new folder "
                                        "with --store for this one"));
  }
  if (!whole) return corruption(fmt::format("{}: {} bytes with a wrong checksum", path, bytes.size()));
  return ByteReader(bytes.substr(12)).digest();
}

Digest random_id() {
  std::random_device random;
  const auto word = [&] { return std::uint64_t{random()} << 32 | random(); };
  const std::uint64_t high = word();
  return {high, word()};
}

rocksdb::ColumnFamilyOptions family_options(const StoreOptions& options, Family family,
                                            const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::ColumnFamilyOptions out;
  out.write_buffer_size = options.write_buffer_bytes;
  out.compression = rocksdb::kNoCompression;  // float state does not compress (measured: lz4 1.0)
  rocksdb::BlockBasedTableOptions table;
  table.checksum = rocksdb::kXXH3;
  table.format_version = 5;
  table.block_cache = cache;
  // A seek that ends behind its bound must not read the value there, which may have many megabytes.
  if (family == Family::kStates || family == Family::kPages) {
    table.index_type = rocksdb::BlockBasedTableOptions::kBinarySearchWithFirstKey;
  }
  if (family == Family::kCatalog || family == Family::kSnapshots) {
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  }
  out.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return out;
}

}  // namespace

Result<Digest> read_store_id(const std::string& path) {
  auto format = read_file(path + "/FORMAT", 4096);
  if (!format) return with_context("store " + path, format.error());
  return decode_format(path + "/FORMAT", *format);
}

View::View(const Store& store) : store_(store), snapshot_(store.db_->GetSnapshot()) {}
View::~View() {
  store_.db_->ReleaseSnapshot(snapshot_);
}

void Batch::put(Family family, std::string_view key, std::string_view sealed_value) {
  batch_.Put(store_.handle(family), slice(key), slice(sealed_value));
}
void Batch::erase(Family family, std::string_view key) {
  batch_.Delete(store_.handle(family), slice(key));
}
void Batch::erase_range(Family family, std::string_view from, std::string_view to) {
  batch_.DeleteRange(store_.handle(family), slice(from), slice(to));
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

Result<std::unique_ptr<Store>> Store::open(const std::string& path, const StoreOptions& options) {
  std::unique_ptr<Store> store(new Store);
  store->path_ = path;
  store->options_ = options;
  store->clock_ = options.clock != nullptr ? options.clock : &system_clock();

  const std::string format_path = path + "/FORMAT";
  const std::string mark_path = path + "/high-water";
  std::error_code ec;
  bool create = false;
  if (fs::exists(path + "/rebuilt", ec)) {
    auto taken = take_rebuilt(path);
    if (!taken) return taken.error();
  }
  auto format = read_file(format_path, 4096);
  if (!format && format.error().code == ErrorCode::kNotFound) {
    if (fs::exists(path + "/db", ec) || fs::exists(mark_path, ec)) {
      return corruption(fmt::format("store {}: its file FORMAT is missing", path));
    }
    if (!options.create_if_missing) return not_found(fmt::format("there is no store at {}", path));
    if (fs::exists(path, ec) && !fs::is_directory(path, ec)) {
      return io_error(fmt::format("store {}: there is a file of that name, not a folder", path));
    }
    fs::create_directories(path, ec);
    if (ec) return io_error(fmt::format("store {}: cannot create the folder: {}", path, ec.message()));
    store->id_ = options.store_id ? *options.store_id : random_id();
    auto written = write_file_atomic(format_path, encode_format(kStoreFormatVersion, store->id_));
    if (!written) return with_context("store " + path, written.error());
    create = true;
    LONGHAUL_FAULT_POINT("store.format_written");
  } else if (!format) {
    return with_context("store " + path, format.error());
  } else {
    auto id = decode_format(format_path, *format);
    if (!id) return id.error();
    store->id_ = *id;
    // A creation that was cut off: the mark comes last, so before it nothing was acknowledged.
    create = !fs::exists(mark_path, ec) && !options.accept_without_high_water;
  }

  auto opened = store->open_database(create || options.accept_without_high_water);
  if (!opened) return opened.error();
  if (create) LONGHAUL_FAULT_POINT("store.db_created");
  auto checked = store->check_high_water(create);
  if (!checked) return checked.error();
  if (create) LONGHAUL_FAULT_POINT("store.created");
  auto dropped = store->drop_orphans();
  if (!dropped) return dropped.error();
  return store;
}

Result<void> Store::check_space(std::uint64_t bytes) const {
  struct statvfs about;
  if (::statvfs(path_.c_str(), &about) != 0) return {};  // then the write itself will tell
  const std::uint64_t free = std::uint64_t{about.f_bavail} * about.f_frsize;
  if (free >= bytes) return {};
  return io_error(fmt::format("store {}: no space left on the disk: {} bytes free, {} needed", path_, free, bytes));
}

rocksdb::DBOptions Store::database_options() {
  rocksdb::DBOptions db_options;
  rocksdb::Env* base = options_.env != nullptr ? options_.env : rocksdb::Env::Default();
  env_ = rocksdb::NewCompositeEnv(std::make_shared<GuardFs>(base->GetFileSystem()));
  db_options.env = env_.get();
  db_options.paranoid_checks = true;
  db_options.track_and_verify_wals_in_manifest = true;
  // The default recovery would stop at the first damaged record and forget every acknowledged one after it.
  db_options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  db_options.max_total_wal_size = options_.log_bytes_max;
  db_options.bytes_per_sync = 1 << 20;
  db_options.file_checksum_gen_factory = rocksdb::GetFileChecksumGenCrc32cFactory();
  db_options.keep_log_file_num = 2;
  db_options.info_log_level = rocksdb::InfoLogLevel::WARN_LEVEL;
  db_options.stats_dump_period_sec = 0;
  db_options.stats_persist_period_sec = 0;
  statistics_ = rocksdb::CreateDBStatistics();
  statistics_->set_stats_level(rocksdb::StatsLevel::kExceptHistogramOrTimers);
  db_options.statistics = statistics_;
  db_options.max_bgerror_resume_count = 0;  // we ask for it ourselves, at the next write
  return db_options;
}

std::vector<rocksdb::ColumnFamilyDescriptor> Store::families() const {
  const auto cache = rocksdb::NewLRUCache(options_.block_cache_bytes);
  std::vector<rocksdb::ColumnFamilyDescriptor> out;
  for (int i = 0; i < kFamilies; ++i) {
    const auto family = static_cast<Family>(i);
    out.emplace_back(std::string(family_name(family)), family_options(options_, family, cache));
  }
  return out;
}

Result<void> Store::open_database(bool create) {
  auto space = check_space(kSpareBytes);
  if (!space) return space.error();
  rocksdb::DBOptions db_options = database_options();
  db_options.create_if_missing = create;
  db_options.create_missing_column_families = create;
  const auto families = this->families();
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  rocksdb::Status status = rocksdb::DB::Open(db_options, path_ + "/db", families, &handles, &db);
  if (status.IsCorruption() && torn_by_power_loss(db_options, families)) {
    log(LogLevel::kWarn, "log_tail_dropped", fmt::format("store={} reason=\"{}\"", path_, status.ToString()));
    db_options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
    status = rocksdb::DB::Open(db_options, path_ + "/db", families, &handles, &db);
  }
  if (!status.ok()) {
    if (status.IsIOError() && status.ToString().find("/LOCK") != std::string::npos) {
      return make_error(ErrorCode::kConflict,
                        fmt::format("store {} is in use by another process (its lock is held)", path_));
    }
    if (!create && status.IsInvalidArgument() && status.ToString().find("does not exist") != std::string::npos) {
      return corruption(
          fmt::format("store {}: the database in db/ is missing or incomplete: {}", path_, status.ToString()));
    }
    return error_of(status, "opening");
  }
  db_.reset(db);
  std::copy(handles.begin(), handles.end(), handles_.begin());
  return {};
}

// A power loss can leave the end of the log such that it reads as damage and not as an end (zeros behind a torn
// record). Stopping there is right if, and only if, the machine has been started anew since the mark was written and
// everything the mark knows to have been synced comes before. That is looked at without writing anything.
bool Store::torn_by_power_loss(const rocksdb::DBOptions& db_options,
                               const std::vector<rocksdb::ColumnFamilyDescriptor>& families) const {
  auto mark = HighWater::read(path_ + "/high-water");
  const Digest boot = options_.boot_id ? *options_.boot_id : current_boot_id();
  if (!mark || mark->store_id != id_ || mark->boot_id == boot) return false;
  rocksdb::DBOptions looking = db_options;
  looking.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  if (!rocksdb::DB::OpenForReadOnly(looking, path_ + "/db", families, &handles, &db).ok()) return false;
  const bool whole = db->GetLatestSequenceNumber() >= mark->synced;
  for (auto* each : handles) db->DestroyColumnFamilyHandle(each);
  delete db;
  return whole;
}

Store::~Store() {
  if (high_water_ != nullptr && db_ != nullptr) {
    // Only while the process is well: what is lost here is a stronger check, nothing else.
    if (!failed_ && db_->SyncWAL().ok()) {
      static_cast<void>(high_water_->advance({db_->GetLatestSequenceNumber(), true, 0, 0, 0}).has_value());
      static_cast<void>(high_water_->sync().has_value());
    }
  }
  for (auto* handle : handles_) {
    if (handle != nullptr) db_->DestroyColumnFamilyHandle(handle);
  }
}

Result<void> Store::check_high_water(bool created) {
  const std::string path = path_ + "/high-water";
  Digest boot = options_.boot_id ? *options_.boot_id : current_boot_id();
  const std::uint64_t latest = db_->GetLatestSequenceNumber();
  auto opened = HighWater::open(path, *clock_);
  if (!opened && (created || options_.accept_without_high_water)) {
    if (!options_.accept_without_high_water) {
      // The folder's mark was never there. If the database holds a session, somebody took it away.
      bool empty = true;
      auto scanned = scan(Family::kCatalog, {}, {}, nullptr, [&](std::string_view, std::string_view) {
        empty = false;
        return false;
      });
      if (!scanned) return scanned.error();
      if (!empty) {
        return corruption(
            fmt::format("store {}: the high-water mark is missing, but the database holds sessions", path_));
      }
    }
    auto synced = db_->SyncWAL();
    if (!synced.ok()) return error_of(synced, "syncing the log");
    Mark mark;
    mark.written = mark.synced = latest;
    mark.store_id = id_;
    mark.boot_id = boot;
    auto made = HighWater::create(path, mark, *clock_);
    if (!made) return with_context("store " + path_, made.error());
    high_water_ = std::move(*made);
    return {};
  }
  if (!opened) return with_context("store " + path_, opened.error());
  const Mark mark = (*opened)->mark();
  if (mark.store_id != id_) {
    return corruption(fmt::format("store {}: the high-water mark is of store {}, this one is {}", path_,
                                  mark.store_id.hex(), id_.hex()));
  }
  const bool same_boot = mark.boot_id == boot && boot != Digest{};
  const std::uint64_t expected = same_boot ? mark.written : mark.synced;
  if (latest < expected && !options_.accept_without_high_water) {
    return corruption(fmt::format(
        "store {}: the database ends at write {}, but writes up to {} had been acknowledged; the end of its log is "
        "missing or damaged",
        path_, latest, expected));
  }
  if (mark.branch != 0 && !options_.accept_without_high_water) {
    const std::string key = journal_key(mark.branch, mark.sequence);
    auto value = get(Family::kJournal, key);
    if (!value) return value.error();
    const std::string place =
        fmt::format("store {}: journal record {} of branch {}", path_, mark.sequence, mark.branch);
    if (!*value) return corruption(place + " was acknowledged last and is missing");
    auto record = unseal_record(key, **value);
    if (!record) return with_context(place, record.error());
    if (record->link != mark.link) {
      return corruption(
          fmt::format("{}: chain link {:016x}, the high-water mark says {:016x}", place, record->link, mark.link));
    }
  }
  if (latest < expected) {
    // Accepted as it is: from here on the mark follows the database again.
    auto made = HighWater::create(path, Mark{mark.counter, latest, latest, id_, boot, 0, 0, 0}, *clock_);
    if (!made) return with_context("store " + path_, made.error());
    high_water_ = std::move(*made);
    return {};
  }
  high_water_ = std::move(*opened);
  auto set = high_water_->set_boot(boot);
  if (!set) return with_context("store " + path_, set.error());
  return {};
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

Result<bool> Store::get_bulk(Family family, std::string_view key, rocksdb::PinnableSlice& value) const {
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  const rocksdb::Status status = db_->Get(options, handle(family), slice(key), &value);
  if (status.IsNotFound()) return false;
  if (!status.ok()) return error_of(status, std::string("reading ").append(family_name(family)));
  return true;
}

Result<void> Store::writable() const {
  if (rescue_) return io_error(fmt::format("store {}: it was opened only to be read", path_));
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
  return error_of(status, doing);
}

Result<void> Store::write(Batch& batch, bool sync) {
  auto ready = writable();
  if (!ready) return ready.error();
  auto space = check_space(batch.bytes() + kSpareBytes / 4);
  if (!space) return space.error();
  rocksdb::WriteOptions write_options;
  write_options.sync = sync;
  const rocksdb::Status status = db_->Write(write_options, &batch.batch_);
  if (!status.ok()) return write_failed(status, "writing");
  ++writes_;
  if (sync) ++synced_writes_;
  batch_bytes_ += batch.bytes();
  if (batch.bulk_) end_bulk(*batch.bulk_);
  // The batch's header holds the sequence number it was given; the last one is what the mark speaks of. Other threads'
  // later, unsynced writes must not be taken for synced, so the database's latest number would not do.
  ByteReader header(std::string_view(batch.batch_.Data()).substr(0, 12));
  const std::uint64_t first = header.u64();
  const std::uint64_t last = first + header.u32() - 1;
  auto advanced = high_water_->advance({last, sync, batch.branch_, batch.sequence_, batch.link_});
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
  auto advanced = high_water_->advance({latest, true, 0, 0, 0});
  if (!advanced && !mark_failed_.exchange(true)) {
    log(LogLevel::kWarn, "high_water_not_written",
        fmt::format("store={} error=\"{}\"", path_, advanced.error().message));
  }
  return {};
}

Result<std::uint64_t> Store::take_number() {
  const std::lock_guard lock(numbers_mutex_);
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

// Numbers in use, in order: generations by a manifest, branches by their entry. The gaps between them are looked at for
// states and pages, and for journals. Only gaps are read, and only their index blocks unless there is something:
// opening does not touch what is stored.
Result<void> Store::find_orphans(const Numbers& numbers, Batch& batch, bool& found) {
  struct Look {
    Family index;
    std::string from, to;
    std::vector<Family> bulk;
  };
  for (const Look& look :
       {Look{Family::kSnapshots,
             generation_key(numbers.clean),
             generation_key(numbers.reserved),
             {Family::kStates, Family::kPages, Family::kSummaries}},
        Look{Family::kCatalog, branch_key(numbers.clean), branch_key(numbers.reserved), {Family::kJournal}}}) {
    std::vector<std::uint64_t> used;
    auto scanned = scan(look.index, look.from, look.to, nullptr, [&](std::string_view key, std::string_view) {
      used.push_back(read_big_endian(key.substr(1)));
      return true;
    });
    if (!scanned) return scanned.error();
    used.push_back(numbers.reserved);
    std::uint64_t from = numbers.clean;
    for (const std::uint64_t next : used) {
      for (const Family family : look.bulk) {
        if (from >= next) continue;
        auto gap =
            scan(family, big_endian(from), big_endian(next), nullptr, [&](std::string_view key, std::string_view) {
              batch.erase(family, key);
              found = true;
              return true;
            });
        // Damage there must not keep a person from the rest: nothing refers to orphans, and verify names what is read.
        if (!gap) {
          clean_ = numbers.clean;
          bulk_in_flight_.insert(clean_);  // nor is it behind us
          log(LogLevel::kWarn, "orphans_not_looked_for",
              fmt::format("store={} error=\"{}\"", path_, gap.error().message));
        }
      }
      from = next + 1;
    }
  }
  return {};
}

Result<void> Store::drop_orphans() {
  auto value = get(Family::kMeta, numbers_key());
  if (!value) return value.error();
  Numbers numbers;
  if (*value) {
    auto payload = unseal(Family::kMeta, numbers_key(), **value, ValueKind::kNumbers);
    if (!payload) return with_context(fmt::format("store {}: numbers", path_), payload.error());
    auto decoded = decode_numbers(*payload);
    if (!decoded) return with_context(fmt::format("store {}", path_), decoded.error());
    numbers = *decoded;
  } else {
    bool empty = true;
    auto scanned = scan(Family::kCatalog, {}, {}, nullptr, [&](std::string_view, std::string_view) {
      empty = false;
      return false;
    });
    if (!scanned) return scanned.error();
    if (!empty) return corruption(fmt::format("store {}: the numbers entry is missing", path_));
  }
  next_number_ = numbers_end_ = numbers.reserved;
  clean_ = numbers.reserved;

  Batch batch(*this);
  bool found = false;
  auto looked = find_orphans(numbers, batch, found);
  if (!looked) return looked.error();
  if (found) {
    LONGHAUL_FAULT_POINT("store.orphan_found");
    auto written = write(batch, true);
    // A full disk must not keep a person from reading; they are in nobody's way and are looked for again next time.
    if (!written) {
      clean_ = numbers.clean;
      bulk_in_flight_.insert(clean_);  // nor is it behind us
      log(LogLevel::kWarn, "orphans_kept", fmt::format("store={} error=\"{}\"", path_, written.error().message));
      return {};
    }
    LONGHAUL_FAULT_POINT("store.orphans_deleted");
  }
  std::error_code ec;
  fs::remove_all(path_ + "/ingest", ec);
  return {};
}

Result<void> Store::ingest(std::uint64_t generation, const std::vector<KeyValue>& states,
                           const std::vector<KeyValue>& pages, const std::vector<KeyValue>& summaries) {
  auto ready = writable();
  if (!ready) return ready.error();
  std::uint64_t bytes = kSpareBytes;
  for (const KeyValue& row : states) bytes += row.value.size();
  for (const KeyValue& row : pages) bytes += row.value.size();
  for (const KeyValue& row : summaries) bytes += row.value.size();
  auto space = check_space(bytes);
  if (!space) return space.error();
  BulkTables tables(*this, generation);
  for (const auto& [family, rows] : {std::pair(Family::kStates, &states), std::pair(Family::kPages, &pages),
                                     std::pair(Family::kSummaries, &summaries)}) {
    for (const KeyValue& row : *rows) {
      auto put = tables.put(family, row.key, row.value);
      if (!put) return put.error();
    }
  }
  auto finished = tables.finish();
  if (!finished) return finished.error();
  LONGHAUL_FAULT_POINT("commit.tables_written");
  auto ingested = tables.ingest();
  if (!ingested) return ingested.error();
  LONGHAUL_FAULT_POINT("commit.tables_ingested");
  return {};
}

void Store::begin_bulk(std::uint64_t label) {
  const std::lock_guard lock(numbers_mutex_);
  bulk_in_flight_.insert(label);
}
void Store::end_bulk(std::uint64_t label) {
  const std::lock_guard lock(numbers_mutex_);
  bulk_in_flight_.erase(label);
}

rocksdb::Options Store::table_options(Family family) const {
  rocksdb::Options options(rocksdb::DBOptions(), family_options(options_, family, nullptr));
  if (options_.env != nullptr) options.env = options_.env;
  options.bytes_per_sync = 1 << 20;
  return options;
}

Result<void> Store::ingest_tables(const std::vector<rocksdb::IngestExternalFileArg>& arguments) {
  auto ready = writable();
  if (!ready) return ready.error();
  if (arguments.empty()) return {};
  const rocksdb::Status status = db_->IngestExternalFiles(arguments);
  if (!status.ok()) return write_failed(status, "ingesting tables");
  return {};
}

Result<std::uint64_t> Store::disk_bytes() const {
  std::uint64_t bytes = 0;
  std::error_code ec;
  for (fs::recursive_directory_iterator it(path_, ec), end; !ec && it != end; it.increment(ec)) {
    std::error_code gone;  // the database removes files while we look
    const auto size = it->is_regular_file(gone) ? it->file_size(gone) : 0;
    if (!gone) bytes += size;
  }
  if (ec) return io_error(fmt::format("store {}: cannot list its folder: {}", path_, ec.message()));
  return bytes;
}

StoreCounters Store::counters() const {
  StoreCounters out;
  out.writes = writes_;
  out.synced_writes = synced_writes_;
  out.batch_bytes = batch_bytes_;
  out.log_bytes = statistics_->getTickerCount(rocksdb::WAL_FILE_BYTES);
  out.flush_bytes = statistics_->getTickerCount(rocksdb::FLUSH_WRITE_BYTES);
  out.compact_bytes = statistics_->getTickerCount(rocksdb::COMPACT_WRITE_BYTES);
  out.ingest_bytes = ingest_bytes_;
  out.mark_bytes = writes_ * kMarkBytes;
  out.tokens_sampled = tokens_sampled_;
  return out;
}

Result<void> Store::give_back_space() {
  auto ready = writable();
  if (!ready) return ready.error();
  for (int i = 0; i < kFamilies; ++i) {
    auto* family = handle(static_cast<Family>(i));
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
