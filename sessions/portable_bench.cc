// Export and import beside a raw write + fsync of the same bytes, by turns. Estimate: an export reads every value once
// (checksum, copy), hashes what it writes twice and writes it raw; an import does the same the other way and builds
// tables. Both are to stay within 1/0.7 of the raw write.
//   portable_bench [--quick]   --quick: without the million tokens
#include "sessions/bench_support.h"
#include "sessions/session_manager.h"

int main(int argc, char** argv) {
  using namespace longhaul;
  using namespace longhaul::sessions;
  using namespace longhaul::sessions::bench;
  constexpr int kRounds = 5;
  const bool quick = argc > 1 && std::string(argv[1]) == "--quick";
  for (const auto& [name, layout, context] : {std::tuple("pico's layout", test::pico_layout(), 64'000U),
                                              std::tuple("pico's layout", test::pico_layout(), 1'000'000U),
                                              std::tuple("Nano's layout", nano_layout(), 64'000U)}) {
    if (quick && context > 64'000) continue;
    Folder folder;
    auto manager = must(SessionManager::open(folder / "store"));
    auto session = must(manager->create("a", {{"bench", "none"}, layout, 1, "{}"}));
    model::SequenceState state(layout);
    constexpr std::uint64_t kTurn = 8'000;
    for (std::uint64_t at = kTurn; at <= context; at += kTurn) {
      must(session->feed_tokens(std::vector<TokenId>(kTurn, 7)));
      grow(state, static_cast<std::int64_t>(at));
      CommitRequest commit;
      commit.state = &state;
      must(session->commit(commit));
    }
    session.reset();
    std::vector<double> export_ms, import_ms, raw_ms;
    std::uint64_t bytes = 0;
    auto other = must(SessionManager::open(folder / "other"));
    for (int round = 0; round < kRounds; ++round) {
      const std::string file = folder / "a.lhx";
      auto start = Steady::now();
      bytes = must(manager->export_session("a", file)).bytes;
      export_ms.push_back(ms_since(start));
      raw_ms.push_back(raw_write_ms(folder / "raw", bytes));
      start = Steady::now();
      must(other->import_session(file));
      import_ms.push_back(ms_since(start));
      raw_ms.push_back(raw_write_ms(folder / "raw", bytes));
      must(other->remove("a"));
      must(other->gc());
      std::filesystem::remove(file);
    }
    const Spread raw = spread(raw_ms);
    for (const auto& [what, ms] : {std::pair("export", &export_ms), std::pair("import", &import_ms)}) {
      const Spread value = spread(*ms);
      line(fmt::format("{}, {}, {} tokens", what, name, context), value, "ms", raw.median,
           fmt::format("{} bytes; {:.0f} % of the raw bound (raw {:.0f} to {:.0f} ms)", bytes,
                       100 * raw.median / value.median, raw.low, raw.high));
    }
  }
  return 0;
}
