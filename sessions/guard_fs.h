// Keeps the tables a manifest may name. RocksDB 7.8 takes an ingested table away again when writing its manifest fails,
// but a failed sync does not say that the record is not in the file: the next opening would read it, miss the table,
// and refuse the whole database. So once a manifest has failed, tables are not deleted until the store is opened anew,
// which reads what the manifest really holds and drops the rest.
#pragma once

#include <rocksdb/file_system.h>

#include <atomic>
#include <memory>
#include <string>

namespace longhaul::sessions {

class GuardFs final : public rocksdb::FileSystemWrapper {
 public:
  explicit GuardFs(std::shared_ptr<rocksdb::FileSystem> base) : FileSystemWrapper(std::move(base)) {}
  static const char* kClassName() { return "LonghaulGuardFs"; }
  const char* Name() const override { return kClassName(); }

  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;

 private:
  class Manifest;

  std::atomic<bool> manifest_failed_{false};
};

}  // namespace longhaul::sessions
