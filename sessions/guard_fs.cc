#include "sessions/guard_fs.h"

#include <future>
#include <utility>

#include "sessions/table_check.h"

namespace longhaul::sessions {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

namespace {

constexpr std::string_view kManifest = "MANIFEST-";
thread_local GuardFs::Ingestion* ingestion = nullptr;  // this thread's

}  // namespace

GuardFs::Ingestion::Ingestion() {
  ingestion = this;
}
GuardFs::Ingestion::~Ingestion() {
  ingestion = nullptr;
}

class GuardFs::Manifest final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  Manifest(std::unique_ptr<rocksdb::FSWritableFile>&& file, GuardFs& fs)
      : FSWritableFileOwnerWrapper(std::move(file)), fs_(fs) {}
  ~Manifest() override {
    const std::lock_guard lock(fs_.waiting_mutex_);
    if (fs_.waiting_ == this) fs_.waiting_ = nullptr;
  }

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
    const std::lock_guard lock(fs_.waiting_mutex_);
    if (ingestion != nullptr) {
      fs_.waiting_ = this;
      return IOStatus::OK();
    }
    return sync_locked(options, debug);
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override { return Sync(options, debug); }
  IOStatus sync_locked(const IOOptions& options, IODebugContext* debug) {
    if (fs_.waiting_ == this) fs_.waiting_ = nullptr;
    return noted(FSWritableFileOwnerWrapper::Sync(options, debug));
  }

 private:
  IOStatus noted(IOStatus status) {
    if (!status.ok()) fs_.manifest_failed_ = true;
    return status;
  }

  GuardFs& fs_;
};

// One that is to be ingested, and synced when it has its last name.
class GuardFs::NewTable final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  using FSWritableFileOwnerWrapper::FSWritableFileOwnerWrapper;
  IOStatus Sync(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus Fsync(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
};

// The same, opened once more by the database, only to be synced; the folder's sync, which follows, does that too.
class GuardFs::LinkedTable final : public rocksdb::FSWritableFileWrapper {
 public:
  explicit LinkedTable(std::shared_ptr<rocksdb::FSWritableFile> file)
      : FSWritableFileWrapper(file.get()), file_(std::move(file)) {}
  IOStatus Sync(const IOOptions&, IODebugContext*) override {
    ingestion->unsynced_.push_back(file_);
    return IOStatus::OK();
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override { return Sync(options, debug); }

 private:
  std::shared_ptr<rocksdb::FSWritableFile> file_;
};

class GuardFs::Directory final : public rocksdb::FSDirectoryWrapper {
 public:
  using FSDirectoryWrapper::FSDirectoryWrapper;
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return with_tables([&] { return FSDirectoryWrapper::Fsync(options, debug); });
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug,
                               const rocksdb::DirFsyncOptions& why) override {
    return with_tables([&] { return FSDirectoryWrapper::FsyncWithDirOptions(options, debug, why); });
  }

 private:
  template <class Sync>
  IOStatus with_tables(Sync sync) {
    std::vector<std::future<IOStatus>> tables;
    if (ingestion != nullptr) {
      for (auto& file : std::exchange(ingestion->unsynced_, {})) {
        tables.push_back(std::async([file] { return file->Sync(IOOptions(), nullptr); }));
      }
    }
    IOStatus status = sync();
    for (auto& table : tables) {
      const IOStatus synced = table.get();
      if (status.ok()) status = synced;
    }
    return status;
  }
};

IOStatus GuardFs::sync_manifest() {
  const std::lock_guard lock(waiting_mutex_);
  return waiting_ != nullptr ? waiting_->sync_locked(IOOptions(), nullptr) : IOStatus::OK();
}

IOStatus GuardFs::NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                  std::unique_ptr<rocksdb::FSWritableFile>* result, IODebugContext* debug) {
  IOStatus status = owned();
  if (status.ok()) status = target()->NewWritableFile(path, options, result, debug);
  if (!status.ok()) return status;
  const std::size_t slash = path.rfind('/');
  const std::string_view folder = std::string_view(path).substr(0, slash);
  if (path.compare(slash + 1, kManifest.size(), kManifest) == 0) {
    result->reset(new Manifest(std::move(*result), *this));
  } else if (folder.ends_with("/ingest")) {
    result->reset(new NewTable(std::move(*result)));
  }
  return status;
}

IOStatus GuardFs::ReopenWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                     std::unique_ptr<rocksdb::FSWritableFile>* result, IODebugContext* debug) {
  if (ingestion == nullptr) return IOStatus::NotSupported("a file is written once", path);
  const IOStatus status = target()->ReopenWritableFile(path, options, result, debug);
  // The database would go on without.
  if (status.IsNotSupported()) return IOStatus::IOError("a table cannot be opened to be synced", path);
  if (status.ok()) *result = std::make_unique<LinkedTable>(std::move(*result));
  return status;
}

IOStatus GuardFs::NewDirectory(const std::string& path, const IOOptions& options,
                               std::unique_ptr<rocksdb::FSDirectory>* result, IODebugContext* debug) {
  const IOStatus status = target()->NewDirectory(path, options, result, debug);
  if (status.ok()) *result = std::make_unique<Directory>(std::move(*result));
  return status;
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
  IOStatus status = owned();
  if (status.ok()) status = sync_manifest();
  return status.ok() ? target()->DeleteFile(path, options, debug) : status;
}

IOStatus GuardFs::RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                             IODebugContext* debug) {
  IOStatus status = owned();
  if (status.ok() && to.ends_with("/CURRENT")) {
    status = sync_manifest();
    if (!status.ok()) return status;
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
