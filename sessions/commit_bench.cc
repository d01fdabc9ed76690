// What a turn costs the disk: time and bytes of a commit after 200 tokens, by context length, beside a raw write +
// fsync of the same bytes taken by turns with it; and what the policy for states weighs: a commit with and without the
// state, and feeding tokens again. Estimate: a commit writes the fixed state, the open pages and one or
// two new pages a layer, whatever the context: for pico's layout about 0.3 MB in one synced batch, near one fsync; for
// Nano's 48 MiB in tables that are ingested, near the raw write plus two small waits for the disk.
//   commit_bench [--real | --states [MIB ...]]   --real: also contexts really run with the built-in model
//   (LONGHAUL_MODEL or model/pico); --states: only the states of 4, 32 and 160 MiB, or of those sizes
#include "model/engine.h"
#include "sessions/bench_support.h"
#include "sessions/session_manager.h"

namespace longhaul::sessions::bench {
namespace {

constexpr int kTurns = 9;
constexpr std::uint64_t kTurnTokens = 200;

struct Figures {
  std::vector<double> commit_ms, raw_ms;
  std::uint64_t bytes = 0;
};

// `advance` brings the state to a position.
template <class Advance>
Figures measure(SessionManager& manager, const Folder& folder, const std::string& name, model::SequenceState& state,
                std::uint64_t context, Advance advance) {
  auto session = must(manager.create(name, {{"bench", "none"}, state.layout(), 1, "{}"}));
  const std::vector<TokenId> ids(context, 7);
  must(session->feed_tokens(ids));
  advance(state, context);
  CommitRequest commit;
  commit.state = &state;
  must(session->commit(commit));
  Figures out;
  const std::vector<TokenId> turn(kTurnTokens, 9);
  for (int i = 0; i < kTurns; ++i) {
    must(session->feed_tokens(turn));
    advance(state, context + static_cast<std::uint64_t>(i + 1) * kTurnTokens);
    const auto start = Steady::now();
    const CommitReport report = must(session->commit(commit));
    out.commit_ms.push_back(ms_since(start));
    out.bytes = std::max(out.bytes, report.bytes);
    out.raw_ms.push_back(raw_write_ms(folder / fmt::format("raw{}", i), report.bytes, /*keep=*/true));
  }
  for (int i = 0; i < kTurns; ++i) std::filesystem::remove(folder / fmt::format("raw{}", i));
  session.reset();
  must(manager.remove(name));
  return out;
}

void report(const std::string& layout, std::uint64_t context, const Figures& figures, double& first_ms) {
  const Spread commit = spread(figures.commit_ms), raw = spread(figures.raw_ms);
  if (first_ms == 0) first_ms = commit.median;
  line(fmt::format("commit, {}, {} tokens", layout, context), commit, "ms", raw.median,
       fmt::format("{} bytes a turn; {:.2f} x the figure at 1k", figures.bytes, commit.median / first_ms));
}

// Pico's layout with a state of about so many MiB, in layers of 1 MiB.
model::StateLayout with_state(std::uint32_t mib) {
  model::StateLayout layout = test::pico_layout();
  layout.n_mamba_layers = mib;
  layout.n_mamba_heads = 32;
  layout.mamba_head_dim = 64;
  layout.d_state = 128;
  return layout;
}

// For the policy: what a turn's commit costs without the state, and with it.
void report_policy(SessionManager& manager, const std::string& name, const model::StateLayout& layout) {
  for (const auto& [what, wish] : {std::pair("without", StateWish::kNever), std::pair("with", StateWish::kAlways)}) {
    auto session = must(manager.create(std::string("policy-") + what, {{"bench", "none"}, layout, 1, "{}"}));
    model::SequenceState state(layout);
    CommitRequest commit;
    commit.state = &state;
    commit.wish = wish;
    std::vector<double> ms;
    std::uint64_t bytes = 0;
    for (std::uint64_t i = 1; i <= 2 * kTurns; ++i) {
      must(session->feed_tokens(std::vector<TokenId>(kTurnTokens, 9)));
      grow(state, static_cast<std::int64_t>(i * kTurnTokens));
      const auto start = Steady::now();
      bytes = std::max(bytes, must(session->commit(commit)).bytes);
      ms.push_back(ms_since(start));
    }
    line(fmt::format("commit {} the state, {}", what, name), spread(ms), "ms", 0, fmt::format("{} bytes", bytes));
    session.reset();
    must(manager.remove(std::string("policy-") + what));
  }
}

}  // namespace
}  // namespace longhaul::sessions::bench

int main(int argc, char** argv) {
  using namespace longhaul;
  using namespace longhaul::sessions::bench;
  const bool real = argc > 1 && std::string(argv[1]) == "--real";
  const bool only_states = argc > 1 && std::string(argv[1]) == "--states";
  Folder folder;
  auto manager = must(sessions::SessionManager::open(folder / "store"));
  if (real) {
    const char* given = std::getenv("LONGHAUL_MODEL");
    auto checkpoint = must(model::Checkpoint::open(given != nullptr ? given : "model/pico"));
    std::shared_ptr<const model::Checkpoint> shared = std::move(checkpoint);
    auto engine = must(model::Engine::load(shared, {.n_threads = 1, .kernels = "auto", .mtp = false}));
    double first_ms = 0;
    std::uint64_t random = 1;
    const auto advance = [&](model::SequenceState& state, std::uint64_t position) {
      while (static_cast<std::uint64_t>(state.position()) < position) {
        std::vector<model::TokenId> ids(
            std::min<std::uint64_t>(512, position - static_cast<std::uint64_t>(state.position())));
        for (auto& id : ids) id = static_cast<model::TokenId>((random = sessions::test::mix(random, 1)) % 256);
        const model::SequenceStep step{
            .state = &state, .tokens = ids, .wanted = model::LogitsWanted::kNone, .rows = {}};
        must(engine->step({&step, 1}));
      }
    };
    model::SequenceState state(engine->layout());
    for (const std::uint64_t context : {1'000U, 8'000U, 64'000U}) {
      advance(state, context);
      model::SequenceState copy = state.clone();
      report("pico, really run", context,
             measure(*manager, folder, fmt::format("r{}", context), copy, context, advance), first_ms);
    }
    for (const std::uint64_t n : {64U, 256U, 1'024U}) {
      std::vector<double> ms;
      for (int i = 0; i < kTurns; ++i) {
        model::SequenceState again(engine->layout());
        advance(again, 1'000);
        const auto start = Steady::now();
        advance(again, 1'000 + n);
        ms.push_back(ms_since(start));
      }
      line(fmt::format("feeding {} tokens again, pico", n), spread(ms), "ms", 0,
           "what a state that is not stored costs");
    }
  }
  if (!only_states) {
    report_policy(*manager, "pico's layout", sessions::test::pico_layout());
    report_policy(*manager, "Nano's layout", nano_layout());
  }
  for (const auto& [name, layout] :
       {std::pair("pico's layout", sessions::test::pico_layout()), std::pair("Nano's layout", nano_layout())}) {
    if (only_states) break;
    double first_ms = 0;
    for (const std::uint64_t context : {1'000U, 8'000U, 64'000U, 256'000U, 1'000'000U}) {
      model::SequenceState state(layout);
      const auto advance = [](model::SequenceState& s, std::uint64_t position) {
        grow(s, static_cast<std::int64_t>(position));
      };
      report(name, context, measure(*manager, folder, fmt::format("g{}", context), state, context, advance), first_ms);
      must(manager->gc());
    }
  }
  std::vector<std::uint32_t> sizes;
  for (int i = 2; only_states && i < argc; ++i) sizes.push_back(static_cast<std::uint32_t>(std::stoul(argv[i])));
  if (sizes.empty()) sizes = {4, 32, 160};
  for (const std::uint32_t mib : sizes) {
    double first_ms = 0;
    for (const std::uint64_t context : {1'000U, 1'000'000U}) {
      model::SequenceState state(with_state(mib));
      const auto advance = [](model::SequenceState& s, std::uint64_t position) {
        grow(s, static_cast<std::int64_t>(position));
      };
      report(fmt::format("state of {} MiB", mib), context,
             measure(*manager, folder, fmt::format("s{}-{}", mib, context), state, context, advance), first_ms);
      must(manager->gc());
    }
  }
  return 0;
}
