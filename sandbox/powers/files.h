// The power `files`: one granted folder, behind a broker process (file_broker.h). read: text; list: names, sorted,
// folders with a `/` at the end; write: atomic, makes missing folders; append: at the end, makes the file.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "runtime/base/result.h"
#include "sandbox/channel.h"
#include "sandbox/powers/powers.h"
#include "sandbox/zygote.h"

namespace longhaul::sandbox {

// Thread-safe: one request at a time, up to 20 s (a cancel token is not looked at meanwhile). Borrows the zygote. A
// broker that dies or hangs is replaced for the next request; the request in flight gets an error that says whether it
// may have happened.
class Files : public Power {
 public:
  // kNotFound, kInvalidArgument (not a folder), kIo. Waits for effects in progress in the folder, also those of a host
  // that was killed (lock_folder): once it has returned, what the files say is what happened before. With `writable`
  // false write and append answer an error.
  static Result<std::unique_ptr<Files>> open(Zygote& zygote, const std::string& folder, bool writable);
  ~Files() override;

  HostAnswer answer(const HostCall& call) override;

  const std::string& folder() const { return folder_; }
  // The layers around the broker; starts it if need be.
  Result<LayerReport> layers();
  // -1 while none runs. For tests.
  pid_t broker_pid() const;

 private:
  Files(Zygote& zygote, std::string folder, Fd root, bool writable)
      : zygote_(zygote), folder_(std::move(folder)), root_(std::move(root)), writable_(writable) {}
  Result<void> start();
  void stop();

  Zygote& zygote_;
  const std::string folder_;
  const Fd root_;
  const bool writable_;

  mutable std::mutex mutex_;
  Spawned process_;                   // guarded by mutex_
  std::unique_ptr<Channel> channel_;  // guarded by mutex_; null: no broker
  LayerReport layers_;                // guarded by mutex_
  std::uint64_t n_requests_ = 0;      // guarded by mutex_
};

}  // namespace longhaul::sandbox
