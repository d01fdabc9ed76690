#include "sessions/guard_fs.h"

#include "sessions/table_check.h"

namespace longhaul::sessions {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

class GuardFs::Manifest final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  Manifest(std::unique_ptr<rocksdb::FSWritableFile>&& file, std::atomic<bool>& failed)
      : FSWritableFileOwnerWrapper(std::move(file)), failed_(failed) {}

  IOStatus Append(const rocksdb::Slice& data, const IOOptions& options, IODebugContext* debug) override {
    return noted(FSWritableFileOwnerWrapper::Append(data, options, debug));
  }
  IOStatus Append(const rocksdb::Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo& info,
                  IODebugContext* debug) override {
    return noted(FSWritableFileOwnerWrapper::Append(data, options, info, debug));
  }
  IOStatus Flush(const IOOptions& options, IODebugContext* debug) override {
    return noted(FSWritableFileOwnerWrapper::Flush(options, debug));
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    return noted(FSWritableFileOwnerWrapper::Sync(options, debug));
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return noted(FSWritableFileOwnerWrapper::Fsync(options, debug));
  }

 private:
  IOStatus noted(IOStatus status) {
    if (!status.ok()) failed_ = true;
    return status;
  }

  std::atomic<bool>& failed_;
};

IOStatus GuardFs::NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                  std::unique_ptr<rocksdb::FSWritableFile>* result, IODebugContext* debug) {
  IOStatus status = owned();
  if (status.ok()) status = target()->NewWritableFile(path, options, result, debug);
  if (status.ok() && path.find("/MANIFEST-") != std::string::npos) {
    result->reset(new Manifest(std::move(*result), manifest_failed_));
  }
  return status;
}

IOStatus GuardFs::ReopenWritableFile(const std::string& path, const rocksdb::FileOptions&,
                                     std::unique_ptr<rocksdb::FSWritableFile>*, IODebugContext*) {
  return IOStatus::NotSupported("a file is written once", path);
}

IOStatus GuardFs::NewRandomAccessFile(const std::string& path, const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSRandomAccessFile>* result, IODebugContext* debug) {
  IOStatus status = target()->NewRandomAccessFile(path, options, result, debug);
  if (!status.ok() || !path.ends_with(".sst")) return status;
  std::uint64_t file_bytes = 0;
  status = target()->GetFileSize(path, IOOptions(), &file_bytes, debug);
  if (!status.ok()) return status;
  const auto read = [&](std::uint64_t offset, std::size_t n_bytes) -> Result<std::string> {
    std::string buffer(n_bytes, '\0');
    rocksdb::Slice got;
    status = (*result)->Read(offset, n_bytes, IOOptions(), &got, buffer.data(), debug);
    if (!status.ok()) return io_error(status.ToString());
    if (got.size() != n_bytes) return corruption("it ends too early");
    return got.ToString();
  };
  auto checked = check_table(file_bytes, read);
  if (checked) return IOStatus::OK();
  result->reset();
  return status.ok() ? IOStatus::Corruption("table " + path, checked.error().message) : status;
}

IOStatus GuardFs::DeleteFile(const std::string& path, const IOOptions& options, IODebugContext* debug) {
  if (manifest_failed_ && path.ends_with(".sst")) {
    return IOStatus::IOError("kept, since a manifest that failed may name it", path);
  }
  const IOStatus status = owned();
  return status.ok() ? target()->DeleteFile(path, options, debug) : status;
}

IOStatus GuardFs::RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                             IODebugContext* debug) {
  IOStatus status = owned();
  if (status.ok() && to.ends_with("/CURRENT")) {
    // The manifest it is to name was made a moment ago, and its name is not durable before its folder is synced.
    std::unique_ptr<rocksdb::FSDirectory> folder;
    status = target()->NewDirectory(to.substr(0, to.rfind('/')), options, &folder, debug);
    if (status.ok()) status = folder->Fsync(options, debug);
  }
  return status.ok() ? target()->RenameFile(from, to, options, debug) : status;
}

IOStatus GuardFs::LinkFile(const std::string& from, const std::string& to, const IOOptions& options,
                           IODebugContext* debug) {
  const IOStatus status = owned();
  return status.ok() ? target()->LinkFile(from, to, options, debug) : status;
}

IOStatus GuardFs::LockFile(const std::string& path, const IOOptions& options, rocksdb::FileLock** lock,
                           IODebugContext* debug) {
  const IOStatus status = target()->LockFile(path, options, lock, debug);
  if (!status.ok() || ownership_ == nullptr) return status;
  auto raised = ownership_->raise();
  if (raised) {
    taken_ = true;
    return status;
  }
  static_cast<void>(target()->UnlockFile(*lock, options, debug));
  *lock = nullptr;
  return IOStatus::IOError(raised.error().message);
}

IOStatus GuardFs::owned() const {
  if (!taken_) return IOStatus::OK();
  auto checked = ownership_->check();
  return checked ? IOStatus::OK() : IOStatus::IOError(checked.error().message);
}

}  // namespace longhaul::sessions
