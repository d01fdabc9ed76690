// What the database is opened with, and tables are written with.
#include <rocksdb/cache.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/statistics.h>
#include <rocksdb/table.h>

#include <array>
#include <cstdio>

#include "runtime/base/log.h"
#include "sessions/file_checksum.h"
#include "sessions/guard_fs.h"
#include "sessions/store.h"

namespace longhaul::sessions {
namespace {

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

rocksdb::DBOptions Store::database_options(bool owned) {
  rocksdb::DBOptions db_options;
  rocksdb::Env* base = options_.env != nullptr ? options_.env : rocksdb::Env::Default();
  guard_ = std::make_shared<GuardFs>(base->GetFileSystem(), owned ? ownership_.get() : nullptr);
  env_ = rocksdb::NewCompositeEnv(guard_);
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

rocksdb::Options Store::table_options(Family family) const {
  rocksdb::Options options(rocksdb::DBOptions(), family_options(options_, family, nullptr));
  options.env = env_.get();
  options.bytes_per_sync = 1 << 20;
  options.writable_file_max_buffer_size = 128 << 10;
  options.file_checksum_gen_factory = file_checksum_factory();  // as the database's own tables
  return options;
}

}  // namespace longhaul::sessions
