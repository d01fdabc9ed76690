// Live sessions of the built-in model cycling through a memory budget: each visit takes a session up where it is (from
// memory, or from the store if it was parked), feeds it some tokens, journals them, and lets others push it out again.
// Reports sessions parked and resumed a second, and the process's resident memory as it goes: it must be flat. The
// budget is what --memory is: states and the cache of KV pages together.
//
// parking_bench [--json] STORE [SESSIONS=10000] [CYCLES=2] [BUDGET=512M] [TOKENS=64]
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/base/sizes.h"
#include "runtime/model_host.h"
#include "runtime/resident_set.h"
#include "sessions/session_manager.h"

namespace longhaul::runtime {
namespace {

using Clock = std::chrono::steady_clock;

std::uint64_t resident_memory() {
  std::ifstream status("/proc/self/statm");
  std::uint64_t pages = 0, resident = 0;
  status >> pages >> resident;
  return resident * 4096;
}

struct Times {
  double park_s = 0, resume_s = 0;
  std::uint64_t parked = 0, resumed = 0;
};

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class LiveSession final : public ResidentSet::Tenant {
 public:
  LiveSession(std::string name, sessions::SessionManager& manager, ModelHost& model, ResidentSet& set, Times& times)
      : name_(std::move(name)), manager_(manager), model_(model), set_(set), times_(times) {}

  std::string tenant_name() const override { return name_; }

  Result<void> park() override {
    const Clock::time_point start = Clock::now();
    if (auto saved = session_->save_state(*state_, false); !saved) return saved.error();
    state_.reset();
    session_.reset();
    times_.park_s += since(start);
    ++times_.parked;
    return {};
  }

  Result<void> visit(std::uint32_t seed, std::size_t n_tokens) {
    if (!session_) {
      if (auto ok = take_up(); !ok) return ok.error();
    }
    std::vector<model::TokenId> ids(n_tokens);
    for (std::size_t i = 0; i < n_tokens; ++i) ids[i] = 20 + static_cast<model::TokenId>((seed + i * 7) % 500);
    if (auto fed = session_->feed_tokens(ids); !fed) return fed.error();
    const model::SequenceStep step{.state = &*state_, .tokens = ids, .wanted = model::LogitsWanted::kNone, .rows = {}};
    if (auto stepped = model_.engine().step({&step, 1}); !stepped) return stepped.error();
    return set_.use(*this, state_->resident_bytes());
  }

 private:
  Result<void> take_up() {
    const sessions::SessionIdentity identity{model_.fingerprint(), model_.numerics_tag()};
    if (!made_) {
      auto made = manager_.create(name_, {identity, model_.engine().layout(), 1, "{}"});
      if (!made) return made.error();
      session_ = std::move(*made);
      state_.emplace(model_.engine().layout());
      made_ = true;
      return {};
    }
    const Clock::time_point start = Clock::now();
    auto opened = manager_.open_session(name_, identity);
    if (!opened) return opened.error();
    auto loaded = (*opened)->load_state();
    if (!loaded) return loaded.error();
    if (!loaded->state || !loaded->tokens_to_feed.empty()) return internal_error(name_ + " was not parked as a whole");
    session_ = std::move(*opened);
    state_ = std::move(*loaded->state);
    times_.resume_s += since(start);
    ++times_.resumed;
    return {};
  }

  std::string name_;
  sessions::SessionManager& manager_;
  ModelHost& model_;
  ResidentSet& set_;
  Times& times_;
  std::unique_ptr<sessions::Session> session_;
  std::optional<model::SequenceState> state_;
  bool made_ = false;
};

// One line of the table of scripts/bench.sh.
void json_line(const std::string& what, double value, const std::string& unit, const std::string& note) {
  fmt::print("{}\n", to_json(json::object{{"what", what},
                                          {"median", value},
                                          {"low", value},
                                          {"high", value},
                                          {"unit", unit},
                                          {"bound", 0},
                                          {"note", note}}));
}

Result<void> run(const std::string& store, std::size_t n_sessions, int n_cycles, std::uint64_t budget,
                 std::size_t n_tokens, bool as_json) {
  auto model = ModelHost::load({}, [](std::uint64_t, std::uint64_t) {});
  if (!model) return model.error();
  sessions::StoreOptions options;
  const MemorySplit memory = split_memory(budget, options.page_cache_bytes);
  options.page_cache_bytes = memory.page_cache;
  auto manager = sessions::SessionManager::open(store, options);
  if (!manager) return manager.error();
  ResidentSet set(memory.states);
  Times times;
  std::vector<std::unique_ptr<LiveSession>> sessions;
  for (std::size_t i = 0; i < n_sessions; ++i) {
    sessions.push_back(std::make_unique<LiveSession>(fmt::format("s{:06}", i), **manager, **model, set, times));
  }
  if (!as_json) {
    fmt::print("{} sessions, {} tokens a visit, budget {} ({} for states, {} for pages); {} before\n", n_sessions,
               n_tokens, human_bytes(budget), human_bytes(memory.states), human_bytes(memory.page_cache),
               human_bytes(resident_memory()));
  }
  const std::uint64_t empty = resident_memory();
  std::uint64_t highest = 0, first_highest = 0, held = 0;
  for (int cycle = 0; cycle < n_cycles; ++cycle) {
    const Times before = times;
    const Clock::time_point start = Clock::now();
    for (std::size_t i = 0; i < n_sessions; ++i) {
      if (auto ok =
              sessions[i]->visit(static_cast<std::uint32_t>(i) + 31U * static_cast<std::uint32_t>(cycle), n_tokens);
          !ok) {
        return ok.error();
      }
      highest = std::max(highest, resident_memory());
      if ((i + 1) % (n_sessions / 4) == 0) {
        const std::uint64_t pages = (*manager)->page_cache().resident_bytes;
        held = std::max(held, set.resident_bytes() + pages);
        if (as_json) continue;
        fmt::print("  cycle {} at {:>6}: {:>5} resident in {}, {} of pages, process {}\n", cycle + 1, i + 1,
                   set.n_resident(), human_bytes(set.resident_bytes()), human_bytes(pages),
                   human_bytes(resident_memory()));
      }
    }
    const std::uint64_t parked = times.parked - before.parked, resumed = times.resumed - before.resumed;
    const double park_s = times.park_s - before.park_s, resume_s = times.resume_s - before.resume_s;
    const double parks = parked == 0 ? 0 : static_cast<double>(parked) / park_s;
    const double resumes = resumed == 0 ? 0 : static_cast<double>(resumed) / resume_s;
    if (cycle == 0) first_highest = highest;
    if (!as_json) {
      fmt::print("cycle {}: {:.1f} s; {} parked, {:.0f}/s; {} resumed, {:.0f}/s\n", cycle + 1, since(start), parked,
                 parks, resumed, resumes);
    } else if (cycle + 1 == n_cycles) {
      const std::string what = fmt::format("{} sessions of pico in {}", n_sessions, human_bytes(budget));
      json_line(what + ": parked", parks, "1/s", fmt::format("{} in cycle {}", parked, cycle + 1));
      json_line(what + ": resumed", resumes, "1/s", fmt::format("{} in cycle {}", resumed, cycle + 1));
      json_line(
          what + ": memory", static_cast<double>(highest) / (1 << 20), "MiB",
          fmt::format("of the process, at most; {} before the first session, {} after cycle 1; states and pages {}",
                      human_bytes(empty), human_bytes(first_highest), human_bytes(held)));
    }
  }
  if (!as_json) fmt::print("highest memory of the process: {}\n", human_bytes(highest));
  for (auto& session : sessions) set.leave(*session);
  return {};
}

}  // namespace
}  // namespace longhaul::runtime

int main(int argc, char** argv) {
  using namespace longhaul;
  const bool as_json = argc > 1 && std::string(argv[1]) == "--json";
  if (as_json) --argc, ++argv;
  if (argc < 2) {
    fmt::print(stderr, "parking_bench [--json] STORE [SESSIONS=10000] [CYCLES=2] [BUDGET=512M] [TOKENS=64]\n");
    return 2;
  }
  const auto number = [&](int i, std::size_t otherwise) {
    return argc > i ? static_cast<std::size_t>(std::strtoull(argv[i], nullptr, 10)) : otherwise;
  };
  auto budget = parse_bytes(argc > 4 ? argv[4] : "512M");
  Result<void> done = budget ? runtime::run(argv[1], std::max<std::size_t>(4, number(2, 10'000)),
                                            static_cast<int>(number(3, 2)), *budget, number(5, 64), as_json)
                             : Result<void>(budget.error());
  if (!done) {
    fmt::print(stderr, "parking_bench: {}\n", done.error().message);
    return 1;
  }
  return 0;
}
