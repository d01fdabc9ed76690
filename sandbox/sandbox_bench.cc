// What the sandbox costs: start of a zygote, of a worker, a call's round trip, a host call, a file through the broker.
// Prints one line each: name, median, 90th percentile, in microseconds. Usage: sandbox_bench [rounds]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <vector>

#include "sandbox/powers/files.h"
#include "sandbox/worker_pool.h"

using namespace longhaul;
using namespace longhaul::sandbox;

namespace {

void measure(const char* name, int rounds, const std::function<void()>& body) {
  std::vector<double> us;
  for (int i = 0; i < rounds; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    body();
    us.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
  }
  std::sort(us.begin(), us.end());
  fmt::print("{:<44} {:>10.1f} us median {:>10.1f} us p90\n", name, us[us.size() / 2], us[us.size() * 9 / 10]);
}

template <class T>
T take(Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "{}\n", result.error().message);
  std::exit(1);
}

class Answers : public HostPowers {
 public:
  HostAnswer answer(const HostCall&) override { return HostAnswer::of("x"); }
};

PluginSource plugin(const std::string& body) {
  return {"bench.lua",
          "return { name='b', description='d', effect='read', parameters='{}', powers={clock=true, files='write'}, "
          "run=function(args, ctx) " +
              body + " end }"};
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 300;
  auto zygote = take(Zygote::start());
  measure("zygote: fork", std::max(1, rounds / 10), [] { take(Zygote::start()); });
  measure("worker: start, hello, end", rounds, [&] {
    auto worker = take(zygote->spawn_worker(std::int64_t{256} << 20));
    Channel channel(worker.socket.get());
    take(channel.receive(Deadline::in_ms(10'000), nullptr));
    take(zygote->finish(worker));
  });
  auto pool = take(WorkerPool::start(*zygote));
  Answers answers;
  CallRequest request;
  const auto run = [&](const PluginSource& source, HostPowers& powers) {
    const CallOutcome outcome = pool->call(source, request, powers);
    if (outcome.kind != CallOutcome::Kind::kOk) {
      fmt::print(stderr, "{}\n", outcome.text);
      std::exit(1);
    }
  };
  const PluginSource plain = plugin("return 'x'"), hundred = plugin("for i = 1, 100 do ctx.clock.now() end return 'x'");
  measure("call: warm worker", rounds, [&] { run(plain, answers); });
  measure("call: warm worker, 100 host calls", rounds, [&] { run(hundred, answers); });
  const std::string folder = (std::filesystem::temp_directory_path() / "longhaul-sandbox-bench").string();
  std::filesystem::create_directories(folder);
  auto files = take(Files::open(*zygote, folder, true));
  measure("files: write 4 KiB (two syncs)", rounds, [&] {
    files->answer({"files", "write", {"a.txt", std::string(4096, 'x')}});
  });
  measure("files: read 4 KiB", rounds, [&] { files->answer({"files", "read", {"a.txt"}}); });
  std::filesystem::remove_all(folder);
  PoolOptions fresh;
  fresh.n_idle_max = 0;
  pool = take(WorkerPool::start(*zygote, fresh));
  measure("call: fresh worker", rounds, [&] { run(plain, answers); });
  return 0;
}
