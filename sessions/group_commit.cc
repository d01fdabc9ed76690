#include "sessions/group_commit.h"

#include <utility>
#include <vector>

#include "sessions/store.h"

namespace longhaul::sessions {
namespace {

// The members' batches are copied behind one another. One larger than this is written by itself.
constexpr std::size_t kGroupBytesMax = std::size_t{1} << 20;

}  // namespace

struct GroupCommit::Group {
  std::vector<Batch*> members;  // until `done`, guarded by mutex_ until `closed`
  std::size_t bytes = 0;
  bool sync = false;
  bool closed = false;
  std::atomic<int> turn{0};  // int: what the system waits for directly
  std::atomic<int> done{0};
  Result<void> outcome;  // from `done` on
};

std::shared_ptr<GroupCommit::Group> GroupCommit::join(Batch& batch, bool sync, bool& first) {
  const std::lock_guard lock(mutex_);
  first = groups_.empty() || groups_.back()->closed || groups_.back()->bytes + batch.bytes() > kGroupBytesMax;
  if (first) {
    groups_.push_back(std::make_shared<Group>());
    if (groups_.size() == 1) groups_.back()->turn = 1;
  }
  std::shared_ptr<Group> group = groups_.back();
  group->members.push_back(&batch);
  group->bytes += batch.bytes();
  group->sync = group->sync || sync;
  return group;
}

Result<void> GroupCommit::run(Batch& batch, bool sync) {
  bool first = false;
  const std::shared_ptr<Group> group = join(batch, sync, first);
  if (!first) {
    group->done.wait(0);
    return group->outcome;
  }
  group->turn.wait(0);
  {
    const std::lock_guard lock(mutex_);
    group->closed = true;
  }
  group->outcome = write_(group->members, group->sync);
  std::shared_ptr<Group> next;
  {
    const std::lock_guard lock(mutex_);
    groups_.pop_front();
    if (!groups_.empty()) next = groups_.front();
  }
  // The next one first: the disk is what everybody waits for.
  if (next != nullptr) {
    next->turn = 1;
    next->turn.notify_one();
  }
  group->done = 1;
  group->done.notify_all();
  return group->outcome;
}

std::size_t GroupCommit::waiting() const {
  const std::lock_guard lock(mutex_);
  std::size_t n = 0;
  for (const auto& group : groups_) n += group->members.size();
  return n;
}

}  // namespace longhaul::sessions
