// Opening a store that may be damaged, to read it only; and putting a rebuilt one in its place.
#include <fmt/format.h>
#include <rocksdb/env.h>
#include <unistd.h>

#include <filesystem>

#include "runtime/base/file.h"
#include "runtime/base/log.h"
#include "sessions/bytes.h"
#include "sessions/fault_point.h"
#include "sessions/store.h"

namespace longhaul::sessions {
namespace {

namespace fs = std::filesystem;

}  // namespace

Result<std::unique_ptr<Store>> Store::open_for_rescue(const std::string& path, const std::string& work,
                                                      const StoreOptions& options, std::vector<std::string>& notes) {
  std::unique_ptr<Store> store(new Store);
  store->path_ = path;
  store->options_ = options;
  store->clock_ = options.clock != nullptr ? options.clock : &system_clock();
  store->ownership_ = std::make_unique<Ownership>(path, *store->clock_);
  store->read_only_ = "to see what is whole of it";
  std::error_code ec;
  if (!fs::is_directory(path + "/db", ec)) return not_found(fmt::format("there is no store at {}", path));
  auto id = read_store_id(path);
  if (id) {
    store->id_ = *id;
  } else if (id.error().code == ErrorCode::kVersionMismatch) {
    return id.error();
  } else {
    notes.push_back(id.error().message);
  }

  rocksdb::DBOptions db_options = store->database_options(false);
  db_options.paranoid_checks = false;
  // Tracking of logs stays on: read-only and without it, this version ends the process where logs were tracked before.
  db_options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  db_options.info_log = database_log();
  // Nobody may write meanwhile. (Reading only, the database itself takes no lock.)
  rocksdb::FileLock* lock = nullptr;
  const rocksdb::Status locked = store->env_->LockFile(path + "/db/LOCK", &lock);
  if (locked.IsIOError() && fs::exists(path + "/db/LOCK", ec) && ::access((path + "/db/LOCK").c_str(), W_OK) == 0) {
    return make_error(ErrorCode::kConflict,
                      fmt::format("store {} is in use by another process (its lock is held)", path));
  }
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  rocksdb::Status status = rocksdb::DB::OpenForReadOnly(db_options, path + "/db", store->families(), &handles, &db);
  if (!status.ok()) {
    notes.push_back(fmt::format("store {}: the database does not open: {}", path, status.ToString()));
    fs::create_directories(work, ec);
    if (!ec) fs::copy(path + "/db", work + "/db", fs::copy_options::recursive, ec);
    if (ec) {
      status = rocksdb::Status::IOError("copying it to " + work, ec.message());
    } else {
      status = rocksdb::RepairDB(work + "/db", db_options, store->families());
      if (status.ok()) {
        status = rocksdb::DB::OpenForReadOnly(db_options, work + "/db", store->families(), &handles, &db);
      }
    }
  }
  if (lock != nullptr) static_cast<void>(store->env_->UnlockFile(lock).ok());
  if (!status.ok()) return store->error_of(status, "opening it for reading");
  store->db_.reset(db);
  std::copy(handles.begin(), handles.end(), store->handles_.begin());
  store->compare_with_mark(notes);
  return store;
}

void Store::compare_with_mark(std::vector<std::string>& notes) const {
  auto mark = HighWater::read(path_ + "/high-water");
  if (!mark) {
    notes.push_back(mark.error().message);
    return;
  }
  if (id_ != Digest{} && mark->store_id != id_) {
    notes.push_back(fmt::format("store {}: the high-water mark is of another store", path_));
    return;
  }
  const std::uint64_t latest = db_->GetLatestSequenceNumber();
  if (latest < mark->written) {
    notes.push_back(fmt::format(
        "store {}: the database ends at write {}; writes up to {} had been handed to the system, up to {} synced",
        path_, latest, mark->written, mark->synced));
  }
  if (mark->branch == 0) return;
  const std::string place =
      fmt::format("store {}: journal record {} of branch {}", path_, mark->sequence, mark->branch);
  const std::string key = journal_key(mark->branch, mark->sequence);
  auto value = get(Family::kJournal, key);
  auto record = value && *value ? unseal_record(key, **value) : Result<UnsealedRecord>(corruption("missing"));
  if (!record || record->link != mark->link)
    notes.push_back(place + " was acknowledged last, and is missing or another");
}

Result<void> Store::take_rebuilt(const std::string& path) {
  const std::string from = path + "/rebuilt";
  std::error_code ec;
  // Whoever has the store open all the same must notice before its files are moved.
  auto raised = Ownership(path, system_clock()).raise();
  if (!raised) return raised.error();
  const auto move = [&](const std::string& what, const std::string& to) -> Result<void> {
    fs::rename(what, to, ec);
    if (ec) return io_error(fmt::format("store {}: renaming {} to {}: {}", path, what, to, ec.message()));
    return {};
  };
  if (fs::exists(from + "/db", ec)) {
    if (fs::exists(path + "/db", ec)) {
      fs::remove_all(path + "/damaged", ec);
      auto moved = move(path + "/db", path + "/damaged");
      if (!moved) return moved.error();
      LONGHAUL_FAULT_POINT("repair.old_moved");
    }
    auto moved = move(from + "/db", path + "/db");
    if (!moved) return moved.error();
  }
  LONGHAUL_FAULT_POINT("repair.new_moved");
  for (const char* name : {"high-water", "FORMAT"}) {
    const std::string file = "/" + std::string(name);
    if (!fs::exists(from + file, ec)) continue;
    auto moved = move(from + file, path + file);
    if (!moved) return moved.error();
  }
  auto synced = sync_folder(path);
  if (!synced) return synced.error();
  fs::remove_all(from, ec);
  if (ec) return io_error(fmt::format("store {}: removing {}: {}", path, from, ec.message()));
  log(LogLevel::kInfo, "rebuilt_taken", fmt::format("store={}", path));
  return {};
}

}  // namespace longhaul::sessions
