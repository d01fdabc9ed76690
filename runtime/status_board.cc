#include "runtime/status_board.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "runtime/base/clock.h"

namespace longhaul::runtime {
namespace {

constexpr auto kPause = std::chrono::milliseconds(250);  // between two writings; chosen, not measured
constexpr std::int64_t kRateWindowNs = 2'000'000'000;

// Not synced: after a crash of the machine nobody owns the store, and the file is not believed.
void replace_file(const std::string& path, const std::string& bytes) {
  const std::string temporary = path + ".tmp";
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return;
  const bool whole = ::write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
  ::close(fd);
  if (!whole || ::rename(temporary.c_str(), path.c_str()) != 0) ::unlink(temporary.c_str());
}

std::string text_of(const json::object& fields, std::string_view key) {
  const json::value* value = fields.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

// What the session is after an event of this kind.
std::string_view status_after(EventKind kind) {
  switch (kind) {
    case EventKind::kSuspended:
      return "suspended";
    case EventKind::kInDoubt:
      return "in_doubt";
    case EventKind::kSleeping:
      return "sleeping";
    case EventKind::kApprovalNeeded:
      return "needs_approval";
    case EventKind::kAnswer:
      return "answered";
    default:
      return "running";
  }
}

}  // namespace

struct StatusBoard::Impl {
  struct Live {
    SessionLine line;
    std::uint64_t seen = 0;                                    // tokens fed and sampled since the board knows it
    std::deque<std::pair<std::int64_t, std::uint64_t>> marks;  // (time, seen) at the last writings
  };

  std::string path;
  std::function<std::vector<SessionLine>()> in_store;
  std::int64_t started_ms = system_clock().unix_ms();

  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, Live, std::less<>> live;
  bool dirty = true, stop = false;
  bool idle = false;  // the thread waits for a change
  std::thread thread;

  // With the mutex held.
  StoreStatus snapshot(const std::vector<SessionLine>& stored) {
    StoreStatus status;
    status.pid = ::getpid();
    status.started_ms = started_ms;
    status.written_ms = system_clock().unix_ms();
    const std::int64_t now = system_clock().monotonic_ns();
    for (auto& [name, session] : live) {
      session.marks.emplace_back(now, session.seen);
      while (session.marks.size() > 1 && now - session.marks.front().first > kRateWindowNs) session.marks.pop_front();
      const auto& [since, seen] = session.marks.front();
      session.line.tokens_per_second =
          now > since ? static_cast<double>(session.seen - seen) * 1e9 / static_cast<double>(now - since) : 0;
      status.sessions.push_back(session.line);
    }
    status.n_sessions = status.sessions.size();
    for (const SessionLine& line : stored) {
      if (live.contains(line.name)) continue;
      ++status.n_sessions;
      status.sessions.push_back(line);
    }
    return status;
  }

  void run() {
    std::vector<SessionLine> stored = in_store();
    std::sort(stored.begin(), stored.end(),
              [](const SessionLine& a, const SessionLine& b) { return a.updated_ms > b.updated_ms; });
    std::unique_lock lock(mutex);
    while (!stop) {
      // A rate that falls to nothing is a change, too.
      const bool moving = std::any_of(live.begin(), live.end(),
                                      [](const auto& entry) { return entry.second.line.tokens_per_second > 0; });
      if (dirty || moving) {
        dirty = false;
        const std::string bytes = encode_status(snapshot(stored));
        lock.unlock();
        replace_file(path, bytes);
        lock.lock();
        changed.wait_for(lock, kPause, [&] { return stop; });
      } else {
        idle = true;
        changed.wait(lock, [&] { return dirty || stop; });
        idle = false;
      }
    }
  }

  void touch() {
    dirty = true;
    if (idle) changed.notify_one();
  }
};

StatusBoard::StatusBoard(std::string store, std::function<std::vector<SessionLine>()> in_store)
    : impl_(std::make_unique<Impl>()) {
  impl_->path = status_path(store);
  impl_->in_store = std::move(in_store);
  impl_->thread = std::thread([this] { impl_->run(); });
}

StatusBoard::~StatusBoard() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stop = true;
    impl_->changed.notify_one();
  }
  impl_->thread.join();
  ::unlink(impl_->path.c_str());
}

void StatusBoard::add(const std::string& session, std::string status, std::uint64_t turns, std::uint64_t tokens) {
  const std::lock_guard lock(impl_->mutex);
  SessionLine& line = impl_->live[session].line;
  line.name = session;
  line.status = std::move(status);
  line.live = true;
  line.turns = turns;
  line.tokens = tokens;
  line.updated_ms = system_clock().unix_ms();
  impl_->touch();
}

void StatusBoard::on_event(const Event& event) {
  const std::lock_guard lock(impl_->mutex);
  const auto found = impl_->live.find(event.session);
  if (found == impl_->live.end()) return;
  SessionLine& line = found->second.line;
  line.status = status_after(event.kind);
  line.event = to_string(event.kind);
  line.event_ms = line.updated_ms = system_clock().unix_ms();
  line.tokens = static_cast<std::uint64_t>(event.position);
  if (event.kind == EventKind::kToolCall) {
    line.call = text_of(event.fields, "name") + " " + text_of(event.fields, "id");
  } else if (event.kind != EventKind::kText && event.kind != EventKind::kReasoning) {
    line.call.clear();
  }
  if (event.kind == EventKind::kCommitted) {
    if (const json::value* turn = event.fields.if_contains("turn"); turn != nullptr && turn->is_number()) {
      line.turns = turn->to_number<std::uint64_t>();
    }
  }
  impl_->touch();
}

void StatusBoard::on_progress(const Progress& progress) {
  const std::lock_guard lock(impl_->mutex);
  const auto found = impl_->live.find(progress.session);
  if (found == impl_->live.end()) return;
  found->second.seen += progress.n_tokens;
  found->second.line.tokens = static_cast<std::uint64_t>(progress.position);
  if (progress.state_bytes) found->second.line.state_bytes = *progress.state_bytes;
  impl_->touch();
}

}  // namespace longhaul::runtime
