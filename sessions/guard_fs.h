// Keeps the tables a manifest may name. RocksDB 7.8 takes an ingested table away again when writing its manifest fails,
// but a failed sync does not say that the record is not in the file: the next opening would read it, miss the table,
// and refuse the whole database. So once a manifest has failed, tables are not deleted until the store is opened anew,
// which reads what the manifest really holds and drops the rest.
//
// And lets only the store's owner (ownership.h) make, rename and delete files: the number is raised when the database
// has its lock, before it reads anything, and a process that has lost the store, whose compaction may still be running,
// touches no name of the new owner's.
//
// And has a commit wait for the disk three times instead of five (Ingestion). Tables are not synced when they are
// written, but when the database has linked them under its own names, all of them and the folder at once: one wait. The
// manifest, which the database would sync for the numbers it takes and again for the tables, is synced once behind
// both; but before any file is deleted that the manifest on the disk may still need, and before CURRENT names it. Then
// comes the batch.
//
// And lets CURRENT name a manifest only when a power loss cannot take the manifest's own name any more: RocksDB syncs
// the folder once, behind both, and in between a disk may keep the one and lose the other.
//
// And looks at each table that is opened before RocksDB believes it (table_check.h).
#pragma once

#include <rocksdb/file_system.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "sessions/ownership.h"

namespace longhaul::sessions {

class GuardFs final : public rocksdb::FileSystemWrapper {
 public:
  // `ownership` is borrowed; null: the database is only read, or nobody else can know of it.
  GuardFs(std::shared_ptr<rocksdb::FileSystem> base, Ownership* ownership)
      : FileSystemWrapper(std::move(base)), ownership_(ownership) {}
  // Lives while this thread ingests tables. What it writes to the manifest then waits for sync_manifest(), or for
  // whoever syncs it before.
  class Ingestion {
   public:
    Ingestion();
    ~Ingestion();
    Ingestion(const Ingestion&) = delete;
    Ingestion& operator=(const Ingestion&) = delete;

   private:
    friend class GuardFs;
    std::vector<std::shared_ptr<rocksdb::FSWritableFile>> unsynced_;  // tables that have been linked
  };
  // What waited, if anything did. From any thread.
  rocksdb::IOStatus sync_manifest();

  static const char* kClassName() { return "LonghaulGuardFs"; }
  const char* Name() const override { return kClassName(); }

  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus ReopenWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                       std::unique_ptr<rocksdb::FSWritableFile>* result,
                                       rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewDirectory(const std::string& path, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* result,
                                 rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewRandomAccessFile(const std::string& path, const rocksdb::FileOptions& options,
                                        std::unique_ptr<rocksdb::FSRandomAccessFile>* result,
                                        rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus LinkFile(const std::string& from, const std::string& to, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus LockFile(const std::string& path, const rocksdb::IOOptions& options, rocksdb::FileLock** lock,
                             rocksdb::IODebugContext* debug) override;

 private:
  class Directory;
  class LinkedTable;
  class Manifest;
  class NewTable;

  rocksdb::IOStatus owned() const;

  Ownership* ownership_;
  std::atomic<bool> taken_{false};  // from then on it is asked
  std::atomic<bool> manifest_failed_{false};
  std::mutex waiting_mutex_;
  Manifest* waiting_ = nullptr;  // written to and not synced
};

}  // namespace longhaul::sessions
