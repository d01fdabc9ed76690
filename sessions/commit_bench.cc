// What a turn costs the disk: commit time and bytes by context length, beside a raw write + fsync of the same bytes.
// Estimate for pico's layout: fixed state 110 KB + up to 64 KiB open pages a layer + one page of 64 KiB a layer per 128
// tokens; a commit is one synced write of about 0.3 MB, so it should stay near one fsync.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "sessions/session_manager.h"
#include "tests/support/sessions/fake_model.h"

namespace {

using namespace longhaul;
using namespace longhaul::sessions;
using Steady = std::chrono::steady_clock;

double ms_since(Steady::time_point start) {
  return std::chrono::duration<double, std::milli>(Steady::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double raw_write_ms(const std::string& path, std::size_t bytes) {
  const std::string content(bytes, 'x');
  const auto start = Steady::now();
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (::write(fd, content.data(), content.size()) != static_cast<ssize_t>(content.size())) std::abort();
  ::fsync(fd);
  ::close(fd);
  return ms_since(start);
}

template <class T>
T must(Result<T> result) {
  if (!result) {
    fmt::print(stderr, "{}\n", result.error().message);
    std::exit(1);
  }
  return std::move(*result);
}

}  // namespace

int main(int argc, char** argv) {
  const int n_turns = argc > 1 ? std::atoi(argv[1]) : 24;
  // On a real disk, else fsync costs nothing.
  std::string folder = (std::filesystem::temp_directory_path() / "longhaul-bench-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) return 1;
  auto manager = must(SessionManager::open(folder + "/store"));
  fmt::print("pico layout, {} turns of 200 tokens (100 fed, 100 sampled) behind each context length\n", n_turns);
  fmt::print("{:>9} {:>12} {:>12} {:>13} {:>12} {:>14} {:>12}\n", "context", "commit ms", "raw ms", "bytes/turn",
             "bytes/token", "us/token put", "load ms");
  for (const std::uint64_t context : {1'000U, 8'000U, 64'000U}) {
    CreateRequest request{{"bench", "none"}, test::pico_layout(), 1, "{}"};
    const std::string name = fmt::format("c{}", context);
    auto session = must(manager->create(name, request));
    model::SequenceState state(request.layout);
    std::vector<TokenId> ids(context);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<TokenId>(i % 1000);
    static_cast<void>(session->feed_tokens(ids).has_value());
    test::feed(state, ids);
    CommitRequest commit;
    commit.state = &state;
    must(session->commit(commit));
    std::vector<double> commit_ms, raw_ms, put_us;
    std::uint64_t bytes = 0;
    for (int turn = 0; turn < n_turns; ++turn) {
      const std::vector<TokenId> prompt(100, 7);
      static_cast<void>(session->feed_tokens(prompt).has_value());
      test::feed(state, prompt);
      const auto put_start = Steady::now();
      for (int i = 0; i < 100; ++i) {
        static_cast<void>(session->sample_token(static_cast<TokenId>(i), session->context().n_draws()).has_value());
      }
      put_us.push_back(ms_since(put_start) * 10);
      test::feed(state, prompt);
      const auto start = Steady::now();
      const CommitReport report = must(session->commit(commit));
      commit_ms.push_back(ms_since(start));
      bytes += report.bytes;
      raw_ms.push_back(raw_write_ms(folder + "/raw", report.bytes));
    }
    const auto load_start = Steady::now();
    static_cast<void>(must(session->load_state()).position);
    const double load_ms = ms_since(load_start);
    fmt::print("{:>9} {:>12.2f} {:>12.2f} {:>13} {:>12} {:>14.1f} {:>12.1f}\n", context, median(commit_ms),
               median(raw_ms), bytes / static_cast<std::uint64_t>(n_turns),
               bytes / static_cast<std::uint64_t>(n_turns) / 200, median(put_us), load_ms);
  }
  manager.reset();
  std::filesystem::remove_all(folder);
  return 0;
}
