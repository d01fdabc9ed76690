// grammar check, bench: schemas with instances, a line in, a line out.
#include <fmt/format.h>

#include <fstream>
#include <functional>
#include <iostream>

#include "runtime/cli/support.h"
#include "tools/grammar_bench.h"
#include "tools/grammar_check.h"

namespace longhaul::cli {
namespace {

// Each line of the batch that is not blank. One bad line does not hide what is said of the others.
int for_each_line(const GrammarOptions& options,
                  const std::function<Result<void>(const std::string& line, std::size_t number)>& action) {
  std::ifstream file;
  if (options.batch != "-") {
    file.open(options.batch, std::ios::binary);
    if (!file) return fail(options.common, not_found(fmt::format("cannot open {}", options.batch)));
  }
  std::istream& in = options.batch == "-" ? std::cin : file;
  std::string line;
  std::size_t number = 0;
  int status = kExitDone;
  while (std::getline(in, line)) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (auto ok = action(line, number); !ok) {
      print_json({{"status", "error"}, {"line", number}, {"reason", ok.error().message}});
      status = kExitFailed;
    }
  }
  if (in.bad()) return fail(options.common, io_error(fmt::format("cannot read {}", options.batch)));
  return status;
}

void print_row(const char* name, const json::value& times) {
  auto at = [&](const char* key) { return times.at(key).to_number<double>(); };
  fmt::print("{:<16} {:>9} {:>10.3f} {:>10.3f} {:>10.3f} {:>10.3f} {:>10.3f}\n", name,
             times.at("n").to_number<std::uint64_t>(), at("p50"), at("p99"), at("p999"), at("max"), at("mean"));
}

}  // namespace

int grammar_check(const GrammarOptions& options) {
  std::unique_ptr<model::Tokenizer> tokenizer;
  if (!options.tokenizer.empty()) {
    auto loaded = model::Tokenizer::load(options.tokenizer);
    if (!loaded) return fail(options.common, loaded.error());
    tokenizer = std::move(*loaded);
  }
  tools::GrammarChecker checker(tokenizer.get());
  return for_each_line(options, [&](const std::string& line, std::size_t) -> Result<void> {
    auto result = checker.check_line(line);
    if (!result) return result.error();
    fmt::print("{}\n", *result);
    return {};
  });
}

int grammar_bench(const GrammarOptions& options) {
  auto tokenizer =
      options.tokenizer.empty() ? load_tokenizer(options.common) : model::Tokenizer::load(options.tokenizer);
  if (!tokenizer) return fail(options.common, tokenizer.error());
  std::ofstream replays;
  if (!options.replays.empty()) {
    replays.open(options.replays, std::ios::binary | std::ios::trunc);
    if (!replays) return fail(options.common, io_error(fmt::format("cannot write {}", options.replays)));
  }
  tools::GrammarBench bench(**tokenizer, {.n_random = options.n_random, .seed = options.seed});
  const int status = for_each_line(options, [&](const std::string& line, std::size_t number) -> Result<void> {
    auto result = bench.run_line(line, [&](const tools::Replay& replay) {
      if (!replays.is_open()) return;
      replays << to_json(json::object{{"line", number},
                                      {"test", replay.test},
                                      {"tokens", json::array(replay.tokens.begin(), replay.tokens.end())},
                                      {"mask_us", json::array(replay.mask_us.begin(), replay.mask_us.end())},
                                      {"accept_us", json::array(replay.accept_us.begin(), replay.accept_us.end())}})
              << '\n';
    });
    replays.flush();
    if (!result) return result.error();
    if (!options.common.json) return {};
    json::object row{{"line", number}};
    for (const auto& member : *result) row[member.key()] = member.value();
    print_json(row);
    std::fflush(stdout);  // a line in, a line out, also through pipes
    return {};
  });
  if (replays.is_open() && !replays.flush()) {
    return fail(options.common, io_error(fmt::format("cannot write {}", options.replays)));
  }
  const json::object summary = bench.summary();
  if (options.common.json) {
    print_json({{"summary", summary}});
    return status;
  }
  fmt::print("{} tokens, indexed in {:.0f} ms ({}); {} schemas, {} refused\n",
             summary.at("vocabulary").to_number<std::uint64_t>(), summary.at("index_ms").to_number<double>(),
             human_bytes(summary.at("index_bytes").to_number<std::uint64_t>()),
             summary.at("schemas").to_number<std::uint64_t>(), summary.at("refused").to_number<std::uint64_t>());
  fmt::print("{:<16} {:>9} {:>10} {:>10} {:>10} {:>10} {:>10}\n", "microseconds", "n", "p50", "p99", "p99.9", "max",
             "mean");
  print_row("compile", summary.at("compile_us"));
  print_row("mask", summary.at("mask_us"));
  print_row("accept a token", summary.at("accept_us"));
  print_row("go back, fork", summary.at("rollback_us"));
  for (const auto& [name, key] : {std::pair("tables", "table_bytes"), std::pair("cached masks", "mask_bytes")}) {
    const json::object& bytes = summary.at(key).as_object();
    const auto at = [&](const char* point) { return human_bytes(bytes.at(point).to_number<std::uint64_t>()); };
    fmt::print("{} of a grammar: p50 {}, p90 {}, max {}\n", name, at("p50"), at("p90"), at("max"));
  }
  return status;
}

}  // namespace longhaul::cli
