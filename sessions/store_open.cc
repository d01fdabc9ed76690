// Opening a store: its format file, its database, what the high-water mark says, what a crash left behind.
#include <fmt/format.h>
#include <rocksdb/cache.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/statistics.h>
#include <rocksdb/table.h>

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <random>

#include "runtime/base/file.h"
#include "runtime/base/log.h"
#include "sessions/bytes.h"
#include "sessions/fault_point.h"
#include "sessions/file_checksum.h"
#include "sessions/guard_fs.h"
#include "sessions/manifest_tail.h"
#include "sessions/store.h"

namespace longhaul::sessions {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFormatMagic = "LHSTORE\n";
constexpr std::size_t kManifestBytesMax = std::size_t{1} << 30;
constexpr std::size_t kFormatBytes = 8 + 4 + 16 + 8;

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

class DatabaseLog final : public rocksdb::Logger {
 public:
  DatabaseLog() : Logger(rocksdb::InfoLogLevel::WARN_LEVEL) {}
  using Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    std::array<char, 1024> text;
    if (std::vsnprintf(text.data(), text.size(), format, arguments) > 0) log(LogLevel::kDebug, "database", text.data());
  }
};

// After a full disk the database would go on by itself as soon as there is space, from a thread of its own, and an
// assert of librocksdb 7.8 ends the process if meanwhile another write or its manifest has failed as well. A write that
// failed is followed by nothing here until the store is opened anew, so there is nothing to resume.
class NoRecovery final : public rocksdb::EventListener {
 public:
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status, bool* recover) override {
    *recover = false;
  }
};

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

std::shared_ptr<rocksdb::Logger> database_log() {
  return std::make_shared<DatabaseLog>();
}

Result<Digest> read_store_id(const std::string& path) {
  auto format = read_file(path + "/FORMAT", 4096);
  if (!format) return with_context("store " + path, format.error());
  return decode_format(path + "/FORMAT", *format);
}

std::string Store::unwritable(const std::string& path) {
  for (const std::string& folder : {path, path + "/db"}) {
    if (::access(folder.c_str(), W_OK) == 0 || errno == ENOENT) continue;
    return fmt::format("{} cannot be written to: {}", folder, std::strerror(errno));
  }
  struct statvfs about;
  if (::statvfs(path.c_str(), &about) != 0) return "";
  const std::uint64_t free = std::uint64_t{about.f_bavail} * about.f_frsize;
  if (free >= kSpareBytes) return "";
  return fmt::format("no space left on the disk: {} bytes free, {} needed", free, kSpareBytes);
}

// As open(), with the same refusals, but nothing is written: no number raised, no orphan deleted, no mark moved.
Result<std::unique_ptr<Store>> Store::open_to_look(const std::string& path, const StoreOptions& options,
                                                   std::string reason) {
  auto id = read_store_id(path);
  if (!id) return id.error();
  std::error_code ec;
  if (fs::exists(path + "/rebuilt/db", ec)) {
    return io_error(
        fmt::format("store {}: a repair of it was cut off and has to be finished first, but {}", path, reason));
  }
  std::unique_ptr<Store> store(new Store);
  store->path_ = path;
  store->options_ = options;
  store->clock_ = options.clock != nullptr ? options.clock : &system_clock();
  store->ownership_ = std::make_unique<Ownership>(path, *store->clock_);
  store->id_ = *id;
  store->read_only_ = std::move(reason);
  rocksdb::DBOptions db_options = store->database_options(false);
  // Nobody may write meanwhile. Without the right to write, the lock can only be asked for; then this process cannot
  // hold it either, so closing the file lets go of nothing.
  const std::string lock_path = path + "/db/LOCK";
  const Error in_use =
      make_error(ErrorCode::kConflict, fmt::format("store {} is in use by another process (its lock is held)", path));
  if (::access(lock_path.c_str(), W_OK) == 0) {
    if (!store->env_->LockFile(lock_path, &store->lock_).ok()) return in_use;
  } else if (const int fd = ::open(lock_path.c_str(), O_RDONLY | O_CLOEXEC); fd >= 0) {
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    const bool held = ::fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    ::close(fd);
    if (held) return in_use;
  }
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status =
      rocksdb::DB::OpenForReadOnly(db_options, path + "/db", store->families(), &handles, &db);
  if (!status.ok()) return store->error_of(status, "opening it for reading");
  store->db_.reset(db);
  std::copy(handles.begin(), handles.end(), store->handles_.begin());
  std::string damage;
  auto mark = HighWater::read(path + "/high-water", &damage);
  if (!mark) return with_context("store " + path, mark.error());
  auto fits = store->fits_mark(*mark);
  if (!fits) return fits.error();
  auto numbers = store->read_numbers();
  if (!numbers) return numbers.error();
  store->next_number_ = store->numbers_end_ = numbers->reserved;
  store->clean_ = numbers->clean;
  if (!damage.empty()) store->notes_.push_back(std::move(damage));
  for (std::string& note : store->stale_writes_.notes()) store->notes_.push_back(std::move(note));
  store->notes_.push_back("it was opened only to be read: " + store->read_only_);
  log(LogLevel::kWarn, "store_only_read", fmt::format("store={} reason=\"{}\"", path, store->read_only_));
  return store;
}

void Store::give_up_reserve() {
  std::error_code ec;
  const std::string path = path_ + "/reserve";
  if (unwritable(path_).empty() || !fs::exists(path, ec)) return;
  short_of_space_ = true;
  fs::remove(path, ec);
  log(LogLevel::kWarn, ec ? "reserve_not_given_up" : "reserve_given_up", fmt::format("store={}", path_));
}

// Not worth an error: without it, a full disk is only harder to leave.
Result<void> Store::keep_reserve() {
  constexpr std::uint64_t kPlenty = 8;  // times the reserve must be free
  const std::string path = path_ + "/reserve";
  std::error_code ec;
  if (options_.reserve_bytes == 0 || options_.access == StoreAccess::kMakeRoom) return {};
  if (fs::exists(path, ec) && fs::file_size(path, ec) == options_.reserve_bytes) return {};
  if (!check_space(kPlenty * options_.reserve_bytes)) return {};
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return io_error(fmt::format("cannot create {}: {}", path, std::strerror(errno)));
  LONGHAUL_FAULT_POINT("reserve.created");
  int error = ::ftruncate(fd, static_cast<off_t>(options_.reserve_bytes)) == 0 ? 0 : errno;
  if (error == 0) error = ::posix_fallocate(fd, 0, static_cast<off_t>(options_.reserve_bytes));
  ::close(fd);
  if (error == 0) return {};
  fs::remove(path, ec);
  return io_error(fmt::format("cannot reserve {} bytes in {}: {}", options_.reserve_bytes, path, std::strerror(error)));
}

Result<std::unique_ptr<Store>> Store::open(const std::string& path, const StoreOptions& options) {
  std::error_code ec;
  if (options.access != StoreAccess::kLook || !fs::exists(path + "/FORMAT", ec)) return open_to_write(path, options);
  const std::string reason = unwritable(path);
  if (!reason.empty()) return open_to_look(path, options, reason);
  auto opened = open_to_write(path, options);
  if (opened || opened.error().code != ErrorCode::kIo) return opened;
  // The log to be replayed into tables may need more than what was free.
  auto looked = open_to_look(path, options, opened.error().message);
  return looked ? std::move(looked) : std::move(opened);
}

Result<std::unique_ptr<Store>> Store::open_to_write(const std::string& path, const StoreOptions& options) {
  std::unique_ptr<Store> store(new Store);
  store->path_ = path;
  store->options_ = options;
  store->clock_ = options.clock != nullptr ? options.clock : &system_clock();
  store->ownership_ = std::make_unique<Ownership>(path, *store->clock_);

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

  if (options.access == StoreAccess::kMakeRoom) store->give_up_reserve();
  auto opened = store->open_database(create || options.accept_without_high_water);
  if (!opened) return opened.error();
  if (create) LONGHAUL_FAULT_POINT("store.db_created");
  auto checked = store->check_high_water(create);
  if (!checked) return checked.error();
  if (create) LONGHAUL_FAULT_POINT("store.created");
  auto dropped = store->drop_orphans();
  if (!dropped) return dropped.error();
  if (auto kept = store->keep_reserve(); !kept) {
    log(LogLevel::kWarn, "no_reserve", fmt::format("store={} error=\"{}\"", path, kept.error().message));
  }
  return store;
}

rocksdb::DBOptions Store::database_options(bool owned) {
  rocksdb::DBOptions db_options;
  rocksdb::Env* base = options_.env != nullptr ? options_.env : rocksdb::Env::Default();
  env_ = rocksdb::NewCompositeEnv(std::make_shared<GuardFs>(base->GetFileSystem(), owned ? ownership_.get() : nullptr));
  db_options.env = env_.get();
  db_options.paranoid_checks = true;
  // What is read in order is read ahead by the system; a read at random stays what it is.
  db_options.advise_random_on_open = false;
  db_options.track_and_verify_wals_in_manifest = true;
  // The default recovery would stop at the first damaged record and forget every acknowledged one after it.
  db_options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  db_options.max_total_wal_size = options_.log_bytes_max;
  db_options.bytes_per_sync = 1 << 20;
  db_options.file_checksum_gen_factory = file_checksum_factory();
  db_options.info_log = database_log();
  db_options.stats_dump_period_sec = 0;
  db_options.stats_persist_period_sec = 0;
  statistics_ = rocksdb::CreateDBStatistics();
  statistics_->set_stats_level(rocksdb::StatsLevel::kExceptHistogramOrTimers);
  db_options.statistics = statistics_;
  db_options.wal_filter = &stale_writes_;
  // Where space is short, what the log holds is not written into tables before something could be deleted, and no file
  // is given space in advance.
  db_options.avoid_flush_during_recovery = options_.access == StoreAccess::kMakeRoom;
  db_options.allow_fallocate = options_.access != StoreAccess::kMakeRoom;
  db_options.max_bgerror_resume_count = 0;
  db_options.listeners.push_back(std::make_shared<NoRecovery>());
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
  constexpr std::string_view kAdvice =
      "; it can still be looked at, and `sessions delete` and `sessions gc` use what it keeps in reserve";
  auto space = check_space(kSpareBytes);
  if (!space) return io_error(space.error().message + std::string(kAdvice));
  rocksdb::DBOptions db_options = database_options(true);
  db_options.create_if_missing = create;
  db_options.create_missing_column_families = create;
  const auto families = this->families();
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  stale_writes_.begin();
  rocksdb::Status status = rocksdb::DB::Open(db_options, path_ + "/db", families, &handles, &db);
  if (status.IsCorruption() && cut_torn_manifest()) {
    log(LogLevel::kWarn, "manifest_tail_dropped", fmt::format("store={} reason=\"{}\"", path_, status.ToString()));
    stale_writes_.begin();
    status = rocksdb::DB::Open(db_options, path_ + "/db", families, &handles, &db);
  }
  if (status.IsCorruption() && torn_by_power_loss(db_options, families)) {
    log(LogLevel::kWarn, "log_tail_dropped", fmt::format("store={} reason=\"{}\"", path_, status.ToString()));
    db_options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
    stale_writes_.begin();
    status = rocksdb::DB::Open(db_options, path_ + "/db", families, &handles, &db);
  }
  if (!status.ok()) {
    if (ownership_->refusal()) return *ownership_->refusal();
    const std::string text = status.ToString();
    if (status.IsIOError() && text.find("/LOCK") != std::string::npos &&
        text.find("open a file for lock") == std::string::npos) {
      return make_error(ErrorCode::kConflict,
                        fmt::format("store {} is in use by another process (its lock is held)", path_));
    }
    if (!create && status.IsInvalidArgument() && text.find("does not exist") != std::string::npos) {
      return corruption(fmt::format("store {}: the database in db/ is missing or incomplete: {}", path_, text));
    }
    const Error error = error_of(status, "opening");
    return status.IsNoSpace() ? io_error(error.message + std::string(kAdvice)) : error;
  }
  db_.reset(db);
  std::copy(handles.begin(), handles.end(), handles_.begin());
  if (!ownership_->note().empty()) notes_.push_back(ownership_->note());
  // The file was missing or damaged, and the log has seen higher numbers: ours must stand above.
  if (stale_writes_.highest() >= ownership_->owner().epoch) {
    auto raised = ownership_->raise(stale_writes_.highest());
    if (!raised) return raised.error();
  }
  for (std::string& note : stale_writes_.notes()) notes_.push_back(std::move(note));
  for (const std::string& note : notes_) {
    log(LogLevel::kWarn, "store_healed", fmt::format("store={} what=\"{}\"", path_, note));
  }
  return {};
}

bool Store::started_anew_since(const Mark& mark) const {
  const Digest boot = options_.boot_id ? *options_.boot_id : current_boot_id();
  return mark.store_id == id_ && mark.boot_id != boot;
}

// What the manifest's torn end said was never synced, so no table and no log counts that it alone named: RocksDB syncs
// it before it deletes what it replaces and before it acknowledges. That nothing is missing the mark says as always.
// The file as it was stays beside the database.
bool Store::cut_torn_manifest() {
  auto mark = HighWater::read(path_ + "/high-water");
  if (!mark || !started_anew_since(*mark)) return false;
  auto current = read_file(path_ + "/db/CURRENT", 256);
  if (!current || !current->starts_with("MANIFEST-") || !current->ends_with('\n')) return false;
  current->pop_back();
  if (current->find('/') != std::string::npos) return false;
  const std::string path = path_ + "/db/" + *current;
  auto bytes = read_file(path, kManifestBytesMax);
  if (!bytes) return false;
  const ManifestEnd end = manifest_end(*bytes);
  if (!end.torn) return false;
  auto kept = write_file_atomic(path_ + "/manifest-torn", *bytes);
  if (kept) kept = write_file_atomic(path, std::string_view(*bytes).substr(0, end.whole_bytes));
  if (!kept) return false;
  notes_.push_back(
      fmt::format("{}: its last {} bytes, torn by a power loss, were cut off", path, bytes->size() - end.whole_bytes));
  return true;
}

// A power loss can leave the end of the log such that it reads as damage and not as an end (zeros behind a torn
// record). Stopping there is right if, and only if, the machine has been started anew since the mark was written and
// everything the mark knows to have been synced comes before. That is looked at without writing anything.
bool Store::torn_by_power_loss(const rocksdb::DBOptions& db_options,
                               const std::vector<rocksdb::ColumnFamilyDescriptor>& families) const {
  auto mark = HighWater::read(path_ + "/high-water");
  if (!mark || !started_anew_since(*mark)) return false;
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

rocksdb::Options Store::table_options(Family family) const {
  rocksdb::Options options(rocksdb::DBOptions(), family_options(options_, family, nullptr));
  if (options_.env != nullptr) options.env = options_.env;
  options.bytes_per_sync = 1 << 20;
  options.file_checksum_gen_factory = file_checksum_factory();  // as the database's own tables
  return options;
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
  if (!(*opened)->damage().empty()) {
    notes_.push_back((*opened)->damage());
    log(LogLevel::kWarn, "store_healed", fmt::format("store={} what=\"{}\"", path_, notes_.back()));
  }
  const Mark mark = (*opened)->mark();
  auto fits = fits_mark(mark);
  if (!fits) return fits.error();
  if (latest < promised(mark)) {
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

std::uint64_t Store::promised(const Mark& mark) const {
  const Digest boot = options_.boot_id ? *options_.boot_id : current_boot_id();
  return mark.boot_id == boot && boot != Digest{} ? mark.written : mark.synced;
}

Result<void> Store::fits_mark(const Mark& mark) const {
  if (mark.store_id != id_) {
    return corruption(fmt::format("store {}: the high-water mark is of store {}, this one is {}", path_,
                                  mark.store_id.hex(), id_.hex()));
  }
  const std::uint64_t latest = db_->GetLatestSequenceNumber(), expected = promised(mark);
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
  return {};
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

Result<Numbers> Store::read_numbers() const {
  auto value = get(Family::kMeta, numbers_key());
  if (!value) return value.error();
  Numbers numbers;
  if (*value) {
    auto payload = unseal(Family::kMeta, numbers_key(), **value, ValueKind::kNumbers);
    if (!payload) return with_context(fmt::format("store {}: numbers", path_), payload.error());
    auto decoded = decode_numbers(*payload);
    if (!decoded) return with_context(fmt::format("store {}", path_), decoded.error());
    return *decoded;
  } else {
    bool empty = true;
    auto scanned = scan(Family::kCatalog, {}, {}, nullptr, [&](std::string_view, std::string_view) {
      empty = false;
      return false;
    });
    if (!scanned) return scanned.error();
    if (!empty) return corruption(fmt::format("store {}: the numbers entry is missing", path_));
  }
  return numbers;
}

Result<void> Store::drop_orphans() {
  auto read = read_numbers();
  if (!read) return read.error();
  const Numbers numbers = *read;
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

}  // namespace longhaul::sessions
