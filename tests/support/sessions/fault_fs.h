// The disk under RocksDB, with its bad days: everything not synced can be lost, the last write torn, any operation
// fail. kill -9 keeps the page cache and so proves nothing about fsync; this does.
#pragma once

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace longhaul::sessions::test {

class FaultFs : public rocksdb::FileSystemWrapper {
 public:
  using IOStatus = rocksdb::IOStatus;
  using IOOptions = rocksdb::IOOptions;
  using IODebugContext = rocksdb::IODebugContext;

  explicit FaultFs(std::shared_ptr<rocksdb::FileSystem> base) : FileSystemWrapper(std::move(base)) {}
  static const char* kClassName() { return "FaultFs"; }
  const char* Name() const override { return kClassName(); }

  // From now on nothing reaches the disk: the power is gone. Close the database, then call lose_unsynced.
  void cut_power() {
    const std::lock_guard lock(mutex_);
    dead_ = true;
  }

  // What a disk may show after a power loss: files end somewhere between what was synced and what was written, or go on
  // in zeros; new names and renames whose folder was not synced may be gone.
  void lose_unsynced(std::mt19937_64& random) {
    const std::lock_guard lock(mutex_);
    namespace fs = std::filesystem;
    std::error_code ec;
    for (auto& [path, file] : files_) {
      if (!fs::exists(path, ec) || file->length <= file->synced) continue;
      const std::uint64_t keep = file->synced + random() % (file->length - file->synced + 1);
      fs::resize_file(path, keep, ec);
      if (random() % 3 == 0) fs::resize_file(path, file->length, ec);  // the rest reads as zeros
    }
    for (const std::string& path : new_names_) {
      if (random() % 2 == 0) fs::remove(path, ec);
    }
    for (auto it = renames_.rbegin(); it != renames_.rend(); ++it) {
      if (random() % 2 != 0 || !it->old_content) continue;
      std::ofstream(it->target, std::ios::binary | std::ios::trunc) << *it->old_content;
    }
    files_.clear();
    new_names_.clear();
    renames_.clear();
    dead_ = false;
  }

  // The n-th writing operation from now on fails, and so do `length` - 1 after it (0: all, until heal).
  void fail_after(std::uint64_t n, std::uint64_t length, bool no_space) {
    const std::lock_guard lock(mutex_);
    countdown_ = n;
    failing_length_ = length;
    no_space_ = no_space;
    failing_ = armed_ = true;
    failures_ = 0;
  }
  void heal() {
    const std::lock_guard lock(mutex_);
    armed_ = false;
  }
  std::uint64_t failures() const { return failures_; }
  // Its folder was not synced since it was made.
  bool name_may_be_lost(const std::string& path) {
    const std::lock_guard lock(mutex_);
    return new_names_.contains(path);
  }
  // Not all of it was synced since it was written.
  bool content_may_be_lost(const std::string& path) {
    const std::lock_guard lock(mutex_);
    const auto known = files_.find(path);
    return known != files_.end() && known->second->synced < known->second->length;
  }

  IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                           std::unique_ptr<rocksdb::FSWritableFile>* result, IODebugContext* dbg) override {
    IOStatus status = begin();
    if (!status.ok()) return status;
    status = target()->NewWritableFile(path, options, result, dbg);
    if (!status.ok()) return status;
    const std::lock_guard lock(mutex_);
    files_[path] = std::make_shared<FileState>();
    new_names_.insert(path);
    result->reset(new File(std::move(*result), *this, files_[path]));
    return status;
  }
  IOStatus ReopenWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                              std::unique_ptr<rocksdb::FSWritableFile>* result, IODebugContext* dbg) override {
    IOStatus status = begin();
    if (!status.ok()) return status;
    status = target()->ReopenWritableFile(path, options, result, dbg);
    if (!status.ok()) return status;
    const std::lock_guard lock(mutex_);
    const auto known = files_.find(path);
    if (known == files_.end()) return IOStatus::IOError("a file of another life (test)", path);
    result->reset(new File(std::move(*result), *this, known->second));
    return status;
  }
  IOStatus ReuseWritableFile(const std::string& path, const std::string&, const rocksdb::FileOptions&,
                             std::unique_ptr<rocksdb::FSWritableFile>*, IODebugContext*) override {
    return IOStatus::NotSupported("reusing", path);
  }
  IOStatus NewDirectory(const std::string& path, const IOOptions& options,
                        std::unique_ptr<rocksdb::FSDirectory>* result, IODebugContext* dbg) override {
    IOStatus status = target()->NewDirectory(path, options, result, dbg);
    if (status.ok()) result->reset(new Directory(std::move(*result), *this, path));
    return status;
  }
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                      IODebugContext* dbg) override {
    IOStatus status = begin();
    if (!status.ok()) return status;
    std::optional<std::string> old;
    if (std::ifstream in(to, std::ios::binary); in) {
      old.emplace(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
    }
    status = target()->RenameFile(from, to, options, dbg);
    if (!status.ok()) return status;
    const std::lock_guard lock(mutex_);
    renames_.push_back({to, std::move(old)});
    const auto known = files_.find(from);
    if (known != files_.end()) {
      files_[to] = known->second;
      files_.erase(from);
    }
    new_names_.erase(from);
    return status;
  }
  IOStatus LinkFile(const std::string& from, const std::string& to, const IOOptions& options,
                    IODebugContext* dbg) override {
    IOStatus status = begin();
    if (!status.ok()) return status;
    status = target()->LinkFile(from, to, options, dbg);
    if (!status.ok()) return status;
    const std::lock_guard lock(mutex_);
    const auto known = files_.find(from);
    if (known != files_.end()) files_[to] = known->second;
    new_names_.insert(to);
    return status;
  }
  IOStatus DeleteFile(const std::string& path, const IOOptions& options, IODebugContext* dbg) override {
    IOStatus status = begin();
    if (!status.ok()) return status;
    const std::lock_guard lock(mutex_);
    files_.erase(path);
    new_names_.erase(path);
    return target()->DeleteFile(path, options, dbg);
  }

 private:
  struct FileState {
    std::uint64_t length = 0, synced = 0;
  };
  struct Rename {
    std::string target;
    std::optional<std::string> old_content;
  };

  // Before each operation that writes.
  IOStatus begin() {
    const std::lock_guard lock(mutex_);
    if (dead_) return IOStatus::IOError("the power is gone");
    if (!armed_) return IOStatus::OK();
    if (countdown_ > 1) {
      --countdown_;
      return IOStatus::OK();
    }
    if (failing_length_ != 0 && failures_ >= failing_length_) return IOStatus::OK();
    ++failures_;
    return no_space_ ? IOStatus::NoSpace("no space left on device (test)") : IOStatus::IOError("EIO (test)");
  }

  class File : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    File(std::unique_ptr<rocksdb::FSWritableFile>&& file, FaultFs& fs, std::shared_ptr<FileState> state)
        : FSWritableFileOwnerWrapper(std::move(file)), fs_(fs), state_(std::move(state)) {}
    IOStatus Append(const rocksdb::Slice& data, const IOOptions& options, IODebugContext* dbg) override {
      IOStatus status = fs_.begin();
      if (!status.ok()) return status;
      status = FSWritableFileOwnerWrapper::Append(data, options, dbg);
      if (status.ok()) grown(data.size());
      return status;
    }
    IOStatus Append(const rocksdb::Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo& info,
                    IODebugContext* dbg) override {
      IOStatus status = fs_.begin();
      if (!status.ok()) return status;
      status = FSWritableFileOwnerWrapper::Append(data, options, info, dbg);
      if (status.ok()) grown(data.size());
      return status;
    }
    IOStatus Sync(const IOOptions& options, IODebugContext* dbg) override {
      IOStatus status = fs_.begin();
      if (!status.ok()) return status;
      status = FSWritableFileOwnerWrapper::Flush(options, dbg);  // durable here means: noted as synced
      if (status.ok()) synced();
      return status;
    }
    IOStatus Fsync(const IOOptions& options, IODebugContext* dbg) override { return Sync(options, dbg); }

   private:
    void grown(std::uint64_t n) {
      const std::lock_guard lock(fs_.mutex_);
      state_->length += n;
    }
    void synced() {
      const std::lock_guard lock(fs_.mutex_);
      state_->synced = state_->length;
    }
    FaultFs& fs_;
    std::shared_ptr<FileState> state_;
  };

  class Directory : public rocksdb::FSDirectoryWrapper {
   public:
    Directory(std::unique_ptr<rocksdb::FSDirectory>&& directory, FaultFs& fs, std::string path)
        : FSDirectoryWrapper(std::move(directory)), fs_(fs), path_(std::move(path)) {}
    IOStatus Fsync(const IOOptions&, IODebugContext*) override { return synced(); }
    IOStatus FsyncWithDirOptions(const IOOptions&, IODebugContext*, const rocksdb::DirFsyncOptions&) override {
      return synced();
    }

   private:
    IOStatus synced() {
      IOStatus status = fs_.begin();
      if (!status.ok()) return status;
      const std::lock_guard lock(fs_.mutex_);
      const auto inside = [&](const std::string& name) {
        return std::filesystem::path(name).parent_path() == std::filesystem::path(path_ + "/x").parent_path();
      };
      std::erase_if(fs_.new_names_, inside);
      std::erase_if(fs_.renames_, [&](const Rename& r) { return inside(r.target); });
      return status;
    }
    FaultFs& fs_;
    std::string path_;
  };

  std::mutex mutex_;
  bool dead_ = false, armed_ = false, failing_ = false, no_space_ = false;
  std::uint64_t countdown_ = 0, failing_length_ = 0, failures_ = 0;
  std::map<std::string, std::shared_ptr<FileState>> files_;  // one for all names that a file has
  std::set<std::string> new_names_;
  std::vector<Rename> renames_;
};

}  // namespace longhaul::sessions::test
