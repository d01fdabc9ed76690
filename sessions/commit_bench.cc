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

constexpr int kTurns = 11;
constexpr std::uint64_t kTurnTokens = 200;

// One session that grows by turns.
struct Line {
  std::uint64_t context = 0;
  model::SequenceState state;
  std::string name;
  std::unique_ptr<Session> session;
  std::vector<double> commit_ms, raw_ms;
  std::uint64_t bytes = 0;
};

// Sessions of all lengths, each a turn further by turns, so that what else the machine does meets all alike. `advance`
// brings a state to a position.
template <class Advance>
void measure(SessionManager& manager, const Folder& folder, const std::string& what, std::vector<Line>& lines,
             Advance advance) {
  CommitRequest commit;
  for (Line& one : lines) {
    one.name = fmt::format("c{}", one.context);
    one.session = must(manager.create(one.name, {{"bench", "none"}, one.state.layout(), 1, "{}"}));
    must(one.session->feed_tokens(std::vector<TokenId>(one.context, 7)));
    advance(one.state, one.context);
    commit.state = &one.state;
    must(one.session->commit(commit));
  }
  const std::vector<TokenId> turn(kTurnTokens, 9);
  std::vector<std::string> raw_files;
  for (int i = 0; i < kTurns; ++i) {
    for (Line& one : lines) {
      must(one.session->feed_tokens(turn));
      advance(one.state, one.context + static_cast<std::uint64_t>(i + 1) * kTurnTokens);
      commit.state = &one.state;
      const auto start = Steady::now();
      const CommitReport report = must(one.session->commit(commit));
      one.commit_ms.push_back(ms_since(start));
      one.bytes = std::max(one.bytes, report.bytes);
      raw_files.push_back(folder / fmt::format("raw{}", raw_files.size()));
      one.raw_ms.push_back(raw_write_ms(raw_files.back(), report.bytes, /*keep=*/true));
    }
  }
  for (const std::string& file : raw_files) std::filesystem::remove(file);
  const double first_ms = spread(lines[0].commit_ms).median;
  for (Line& one : lines) {
    const Spread ms = spread(one.commit_ms), raw = spread(one.raw_ms);
    line(fmt::format("commit, {}, {} tokens", what, one.context), ms, "ms", raw.median,
         fmt::format("{} bytes a turn; {:.2f} x the figure at {}", one.bytes, ms.median / first_ms, lines[0].context));
    one.session.reset();
    must(manager.remove(one.name));
  }
  must(manager.gc());
}

// As measure(), of states that nothing has computed.
void measure_generated(SessionManager& manager, const Folder& folder, const std::string& what,
                       const model::StateLayout& layout, const std::vector<std::uint64_t>& contexts) {
  std::vector<Line> lines;
  for (const std::uint64_t context : contexts) lines.push_back({context, model::SequenceState(layout), {}, {}, {}, {}});
  measure(manager, folder, what, lines, [](model::SequenceState& state, std::uint64_t position) {
    grow(state, static_cast<std::int64_t>(position));
  });
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
    std::vector<Line> lines;
    for (const std::uint64_t context : {1'000U, 8'000U, 64'000U}) {
      advance(state, context);
      lines.push_back({context, state.clone(), {}, {}, {}, {}});
    }
    measure(*manager, folder, "pico, really run", lines, advance);
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
  if (!only_states) {
    const std::vector<std::uint64_t> contexts = {1'000, 8'000, 64'000, 256'000, 1'000'000};
    measure_generated(*manager, folder, "pico's layout", sessions::test::pico_layout(), contexts);
    measure_generated(*manager, folder, "Nano's layout", nano_layout(), contexts);
  }
  std::vector<std::uint32_t> sizes;
  for (int i = 2; only_states && i < argc; ++i) sizes.push_back(static_cast<std::uint32_t>(std::stoul(argv[i])));
  if (sizes.empty()) sizes = {4, 32, 160};
  for (const std::uint32_t mib : sizes) {
    measure_generated(*manager, folder, fmt::format("state of {} MiB", mib), with_state(mib), {1'000, 1'000'000});
  }
  return 0;
}
