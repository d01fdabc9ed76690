// A store with many sessions: writers at once, forks and rewinds, opening after SIGKILL, listing; tokens lost by a
// kill.
#include <sys/wait.h>

#include <atomic>
#include <thread>

#include "sessions/bench_support.h"
#include "sessions/session_manager.h"

namespace longhaul::sessions::bench {
namespace {

const SessionIdentity kIdentity{"bench", "none"};

CreateRequest request(const model::StateLayout& layout) {
  return {kIdentity, layout, 1, "{}"};
}

// Durable records a second with so many sessions appending at once.
double commits_per_second(SessionManager& manager, int n_writers, std::chrono::milliseconds span) {
  std::vector<std::unique_ptr<Session>> sessions;
  for (int i = 0; i < n_writers; ++i)
    sessions.push_back(must(manager.open_session("w" + std::to_string(i), kIdentity)));
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> n{0};
  std::vector<std::thread> threads;
  const auto start = Steady::now();
  for (auto& session : sessions) {
    threads.emplace_back([&, s = session.get()] {
      while (!stop) {
        must(s->append(Note{"{\"progress\":1}"}, Sync::kAlways));
        ++n;
      }
    });
  }
  std::this_thread::sleep_for(span);
  stop = true;
  for (auto& thread : threads) thread.join();
  return static_cast<double>(n) / (ms_since(start) / 1000);
}

void writers(const Folder& folder) {
  auto manager = must(SessionManager::open(folder / "writers"));
  for (int i = 0; i < 64; ++i) must(manager->create("w" + std::to_string(i), request(test::pico_layout())));
  std::vector<double> one, many, ratios;
  // By turns, so that what else the machine does meets both alike; the figure is the middle one of the rounds' ratios.
  for (int round = 0; round < 11; ++round) {
    one.push_back(commits_per_second(*manager, 1, std::chrono::milliseconds(600)));
    many.push_back(commits_per_second(*manager, 64, std::chrono::milliseconds(600)));
    ratios.push_back(many.back() / one.back());
  }
  line("durable records, 1 writer", spread(one), "1/s", 0, "");
  line("durable records, 64 writers", spread(many), "1/s", 0,
       fmt::format("{:.0f} x one writer ({:.0f} to {:.0f})", spread(ratios).median, spread(ratios).low,
                   spread(ratios).high));
}

void forks(const Folder& folder) {
  auto manager = must(SessionManager::open(folder / "forks"));
  for (const int n_turns : {10, 100, 1'000}) {
    const std::string name = "h" + std::to_string(n_turns);
    const StoreCounters before = manager->counters();
    auto session = must(manager->create(name, request(test::pico_layout())));
    model::SequenceState state(test::pico_layout());
    for (int turn = 1; turn <= n_turns; ++turn) {
      must(session->append(UserMessage{"go on"}));
      must(session->feed_tokens(std::vector<TokenId>(100, 7)));
      for (int i = 0; i < 100; ++i) must(session->sample_token(9, session->context().n_draws()));
      grow(state, turn * 200);
      CommitRequest commit;
      commit.state = &state;
      must(session->commit(commit));
    }
    session.reset();
    const StoreCounters after = manager->counters();
    const auto drawn = static_cast<double>(after.tokens_sampled - before.tokens_sampled);
    const double bytes = static_cast<double>(after.bytes_written() - before.bytes_written()) / drawn;
    line(
        fmt::format("bytes written per generated token, {} turns", n_turns), {bytes, bytes, bytes}, "B", 0,
        "100 fed, 100 drawn a turn, pico's layout; a state of 0.1 MiB and 1.6 pages a layer a turn; log, tables, mark");
    std::vector<double> fork_ms, rewind_ms, sync_ms;
    for (int i = 0; i < 15; ++i) {
      auto start = Steady::now();
      must(manager->fork(name, fmt::format("{}-{}", name, i)));
      fork_ms.push_back(ms_since(start));
      start = Steady::now();
      sync_ms.push_back(raw_write_ms(folder / "raw", 512));
      if (n_turns < 100) continue;
      start = Steady::now();
      must(manager->rewind(fmt::format("{}-{}", name, i), Cut::at_turn(static_cast<std::uint64_t>(n_turns) - 100)));
      rewind_ms.push_back(ms_since(start));
    }
    const double raw = spread(sync_ms).median;
    line(fmt::format("fork, {} turns, {} tokens", n_turns, n_turns * 200), spread(fork_ms), "ms", raw, "0 page bytes");
    if (!rewind_ms.empty()) {
      line(fmt::format("rewind across 100 of {} turns", n_turns), spread(rewind_ms), "ms", raw, "opening included");
    }
  }
}

// In a child: sessions, and then SIGKILL with the log as it is. The parent opens.
template <class Work>
void in_killed_child(Work work) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    work();
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (!WIFSIGNALED(status)) std::exit(1);
}

void ten_thousand(const Folder& folder) {
  constexpr int kSessions = 10'000;
  const std::string settings = "{\"plugins\":\"" + std::string(15'000, 'x') + "\"}";
  std::vector<double> open_ms, list_ms;
  for (int round = 0; round < 5; ++round) {
    in_killed_child([&] {
      auto manager = must(SessionManager::open(folder / "many"));
      // The first round makes them; later ones work on some, as a day would. Many at once, else fsync sets the pace.
      const int n = round == 0 ? kSessions : 1'000;
      std::vector<std::thread> threads;
      for (int t = 0; t < 50; ++t) {
        threads.emplace_back([&, t] {
          model::SequenceState state(test::pico_layout());
          grow(state, 150);
          for (int i = t; i < n; i += 50) {
            const std::string name = fmt::format("s{:05}", i);
            CreateRequest create = request(test::pico_layout());
            create.settings_json = settings;
            auto session = must(round == 0 ? manager->create(name, create) : manager->open_session(name, kIdentity));
            must(session->append(UserMessage{"hello"}));
            must(session->feed_tokens(std::vector<TokenId>(150, 7)));
            CommitRequest commit;
            commit.state = round == 0 ? &state : nullptr;
            must(session->commit(commit));
          }
        });
      }
      for (auto& thread : threads) thread.join();
    });
    const auto start = Steady::now();
    auto manager = must(SessionManager::open(folder / "many"));
    open_ms.push_back(ms_since(start));
    const auto listing = Steady::now();
    if (must(manager->list()).size() != kSessions) std::exit(1);
    list_ms.push_back(ms_since(listing));
  }
  line("opening 10,000 sessions after SIGKILL", spread(open_ms), "ms", 0, "at most 250 wanted");
  line("listing 10,000 sessions", spread(list_ms), "ms", 0, "no journal is read");
}

void recovery(const Folder& folder) {
  std::vector<double> ms;
  std::uint64_t lost = 0, written = 0;
  for (int round = 0; round < 9; ++round) {
    int pipe_fds[2];
    if (::pipe(pipe_fds) != 0) std::exit(1);
    const std::string store = folder / ("kill" + std::to_string(round));
    in_killed_child([&] {
      auto manager = must(SessionManager::open(store));
      auto session = must(manager->create("a", request(test::pico_layout())));
      must(session->feed_tokens(std::vector<TokenId>(8'000, 7)));
      model::SequenceState state(test::pico_layout());
      grow(state, 8'000);
      CommitRequest commit;
      commit.state = &state;
      must(session->commit(commit));
      for (std::uint64_t i = 0; i < 60; ++i) {
        must(session->sample_token(static_cast<TokenId>(i), i));
        if (::write(pipe_fds[1], "t", 1) != 1) std::abort();
      }
    });
    ::close(pipe_fds[1]);
    std::uint64_t n = 0;
    for (char c = 0; ::read(pipe_fds[0], &c, 1) == 1;) ++n;
    ::close(pipe_fds[0]);
    const auto start = Steady::now();
    auto manager = must(SessionManager::open(store));
    auto session = must(manager->open_session("a", kIdentity));
    const LoadedState loaded = must(session->load_state());
    ms.push_back(ms_since(start));
    written += n;
    lost += 8'000 + n - session->context().tokens().size();
    if (!loaded.state || loaded.tokens_to_feed.size() != n) std::exit(1);
  }
  line("recovery after SIGKILL, 8,000 tokens", spread(ms), "ms", 0,
       fmt::format("open, fold, load; {} of {} drawn tokens lost; then 60 tokens are fed", lost, written));
}

}  // namespace
}  // namespace longhaul::sessions::bench

int main(int argc, char** argv) {
  using namespace longhaul::sessions::bench;
  Folder folder;
  const std::string only = argc > 1 ? argv[1] : "";
  if (only.empty() || only == "open") ten_thousand(folder);
  if (only.empty() || only == "recovery") recovery(folder);
  if (only.empty() || only == "fork") forks(folder);
  if (only.empty() || only == "writers") writers(folder);
  return 0;
}
