// Opening a store: for writing, which makes it if it is not there, or only to look; and its reserve for bad days. What
// the database is opened with is in database_options.cc, what is made of a crash in store_recovery.cc.
#include <fmt/format.h>

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <random>

#include "runtime/base/file.h"
#include "runtime/base/log.h"
#include "sessions/fault_point.h"
#include "sessions/store.h"

namespace longhaul::sessions {
namespace {

namespace fs = std::filesystem;

Digest random_id() {
  std::random_device random;
  const auto word = [&] { return std::uint64_t{random()} << 32 | random(); };
  const std::uint64_t high = word();
  return {high, word()};
}

}  // namespace

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

}  // namespace longhaul::sessions
