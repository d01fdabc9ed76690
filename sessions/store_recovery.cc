// What is made of a crash when a store is opened: torn ends of manifest and log, what the high-water mark says, numbers
// that were given out, and rows that nothing names.
#include <fmt/format.h>

#include <filesystem>

#include "runtime/base/file.h"
#include "runtime/base/log.h"
#include "sessions/fault_point.h"
#include "sessions/manifest_tail.h"
#include "sessions/store.h"

namespace longhaul::sessions {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kManifestBytesMax = std::size_t{1} << 30;

}  // namespace

bool Store::started_anew_since(const Mark& mark) const {
  const Digest boot = options_.boot_id ? *options_.boot_id : current_boot_id();
  return mark.store_id == id_ && mark.boot_id != boot;
}

// What the manifest's torn end said was never synced, so no table and no log counts that it alone named: it is synced
// before what it replaces is deleted and before anything is acknowledged. That nothing is missing the mark says as
// always. The file as it was stays beside the database.
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
