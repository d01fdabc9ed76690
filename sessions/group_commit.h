// Writers who wait for the same disk share one write and one sync. Whoever comes while nothing is written writes at
// once, alone. Whoever comes meanwhile joins the group that is next: its first member waits for its turn, writes for
// all of them in the order in which they came, and tells everyone how it went. Internal to this room.
//
// The database has such groups of its own, but in them each writer asks for space, owner and mark by itself and is
// woken twice (README.md has the measurement).
//
// `run` may be called from any thread, also by one that holds locks, as long as `Write` needs none of those.
#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>

#include "runtime/base/result.h"

namespace longhaul::sessions {

class Batch;

class GroupCommit {
 public:
  // Of one call at a time. All of it or nothing; with `sync` it is durable when it returns.
  using Write = std::function<Result<void>(std::span<Batch* const>, bool sync)>;
  explicit GroupCommit(Write write) : write_(std::move(write)) {}
  GroupCommit(const GroupCommit&) = delete;
  GroupCommit& operator=(const GroupCommit&) = delete;

  // Returns when the batch's group was written: what `Write` gave for it. It was synced if any member asked for it.
  Result<void> run(Batch& batch, bool sync);
  std::size_t waiting() const;  // calls of run that have not returned, those being written among them

 private:
  struct Group;
  std::shared_ptr<Group> join(Batch& batch, bool sync, bool& first);

  Write write_;
  mutable std::mutex mutex_;
  std::deque<std::shared_ptr<Group>> groups_;  // front: being written, or about to be. Shared with members that wake up
};

}  // namespace longhaul::sessions
