#include "tools/grammar_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <set>

#include "tools/grammar_batch.h"

namespace longhaul::tools {
namespace {

using Ticks = std::chrono::steady_clock;

double us(Ticks::duration d) {
  return std::chrono::duration<double, std::micro>(d).count();
}

double rounded(double value) {
  return static_cast<double>(static_cast<std::int64_t>(value * 1000 + 0.5)) / 1000;
}

json::object spread(std::vector<std::size_t> bytes) {
  std::sort(bytes.begin(), bytes.end());
  const auto at = [&](std::size_t tenths) {
    return bytes.empty() ? 0 : bytes[std::min(bytes.size() - 1, bytes.size() * tenths / 10)];
  };
  return {{"p50", at(5)}, {"p90", at(9)}, {"max", at(10)}};
}

}  // namespace

json::object Timings::to_json() const {
  std::vector<double> sorted = values_;
  std::sort(sorted.begin(), sorted.end());
  auto at = [&](double share) {
    if (sorted.empty()) return 0.0;
    return rounded(
        sorted[std::min(sorted.size() - 1, static_cast<std::size_t>(share * static_cast<double>(sorted.size())))]);
  };
  double sum = 0;
  for (const double value : sorted) sum += value;
  return {{"n", sorted.size()}, {"p50", at(0.5)},
          {"p99", at(0.99)},    {"p999", at(0.999)},
          {"max", at(1)},       {"mean", sorted.empty() ? 0.0 : rounded(sum / static_cast<double>(sorted.size()))}};
}

std::vector<TokenId> random_cut(const TokenIndex& index, std::string_view text, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<TokenId> result;
  const auto nodes = index.all->nodes();
  while (!text.empty()) {
    std::vector<TokenId> fits;
    std::size_t depth = 0;
    for (std::size_t i = 0; i < nodes.size() && depth < text.size();) {
      if (nodes[i].depth <= depth) break;  // back above the path: nothing longer fits
      if (nodes[i].byte != static_cast<std::uint8_t>(text[depth])) {
        i = nodes[i].end;
        continue;
      }
      for (const TokenId id : index.all->ids(i)) fits.push_back(id);
      ++depth;
      ++i;
    }
    if (fits.empty()) return {};  // a byte that the vocabulary lacks
    const TokenId token = fits[random() % fits.size()];
    result.push_back(token);
    text.remove_prefix(index.vocabulary->bytes(token).size());
  }
  return result;
}

GrammarBench::GrammarBench(const model::Tokenizer& tokenizer, const GrammarBenchOptions& options)
    : tokenizer_(tokenizer), options_(options) {
  const auto begin = Ticks::now();
  index_ = TokenIndex::build(tokenizer.vocabulary());
  index_ms_ = us(Ticks::now() - begin) / 1000;
  for (const char* name : {"<|im_end|>", "</s>"}) {
    if (stop_.empty()) {
      if (const auto id = tokenizer.vocabulary().control(name)) stop_.push_back(*id);
    }
  }
  std::vector<double> empty;
  for (int i = 0; i < 10'000; ++i) {
    const auto from = Ticks::now();
    empty.push_back(us(Ticks::now() - from));
  }
  std::nth_element(empty.begin(), empty.begin() + 5'000, empty.end());
  clock_us_ = empty[5'000];
}

Result<void> GrammarBench::replay(const Grammar& grammar, Replay& replay, Figures& figures) const {
  const std::vector<TokenId>& tokens = replay.tokens;
  State state = grammar.start();
  std::vector<State> path{state};
  auto took = [&](Ticks::time_point begin, Ticks::time_point end) {
    return std::max(0.0, us(end - begin) - clock_us_);
  };
  for (std::size_t i = 0; i <= tokens.size(); ++i) {
    auto begin = Ticks::now();
    const auto mask = grammar.mask(state);
    auto end = Ticks::now();
    replay.mask_us.push_back(took(begin, end));
    if (i == tokens.size()) {
      for (const TokenId stop : stop_) {
        if (!mask->allowed(stop)) return internal_error("the end is not in the mask of a whole valid instance");
      }
      break;
    }
    if (!mask->allowed(tokens[i])) {
      return internal_error(fmt::format("token {} at {} of a valid instance is not in its mask", tokens[i], i));
    }
    begin = Ticks::now();
    state = grammar.advance(state, tokens[i]);
    end = Ticks::now();
    replay.accept_us.push_back(took(begin, end));
    if (state.dead()) return internal_error(fmt::format("token {} at {} is in the mask but refused", tokens[i], i));
    path.push_back(state);
  }
  // Going back eight tokens and forking are assignments of a state; the mask there must be the one from before.
  constexpr std::size_t kRounds = 256;
  std::uint32_t sum = 0;
  const auto begin = Ticks::now();
  for (std::size_t i = 0; i < kRounds; ++i) {
    volatile const State* source = &path[i * 7 % path.size()];
    State back;
    back.id = source->id;
    back.count = source->count;
    sum += back.id;
  }
  const auto end = Ticks::now();
  if (sum == 0) return internal_error("every state on the way is dead");
  figures.rollback.add(took(begin, end) / kRounds);
  figures.mask.add(replay.mask_us);
  figures.accept.add(replay.accept_us);
  return {};
}

Result<json::object> GrammarBench::run_line(std::string_view line, const std::function<void(const Replay&)>& replayed) {
  auto read = read_batch_line(line);
  if (!read) return read.error();
  const BatchLine& batch = **read;
  JsonGrammarOptions options;
  options.stop = stop_;
  Figures figures;
  const auto begin = Ticks::now();
  auto compiled = compile_schema(*batch.schema, batch.options);
  std::shared_ptr<Grammar> grammar;
  Error refused;
  if (compiled) {
    auto made = Grammar::for_json(index_, *compiled, options);
    if (made) {
      grammar = std::move(*made);
    } else {
      refused = made.error();
    }
  } else {
    refused = compiled.error();
  }
  const double compile_us = std::max(0.0, us(Ticks::now() - begin) - clock_us_);
  ++all_.schemas;
  if (grammar == nullptr) {
    ++all_.refused;
    return json::object{{"status", "refused"}, {"reason", refused.message}};
  }
  figures.compile.add(compile_us);
  for (std::size_t i = 0; i < batch.tests.size(); ++i) {
    const BatchTest& test = batch.tests[i];
    if (!test.is_valid()) continue;
    for (int cut = 0; cut <= options_.n_random; ++cut) {
      Replay one;
      one.test = i;
      one.tokens =
          cut == 0 ? tokenizer_.encode_content(test.text)
                   : random_cut(*index_, test.text, options_.seed + 1'000'003 * i + static_cast<std::uint64_t>(cut));
      if (one.tokens.empty()) continue;
      if (auto ok = replay(*grammar, one, figures); !ok) {
        return with_context(fmt::format("tests[{}], cut {} with seed {}", i, cut, options_.seed), ok.error());
      }
      if (replayed) replayed(one);
    }
  }
  const std::size_t tables = grammar->table_bytes(), masks = grammar->mask_bytes();
  all_.compile.add(figures.compile);
  all_.mask.add(figures.mask);
  all_.accept.add(figures.accept);
  all_.rollback.add(figures.rollback);
  all_.table_bytes.push_back(tables);
  all_.mask_bytes.push_back(masks);
  return json::object{{"status", "ok"},
                      {"compile_us", rounded(compile_us)},
                      {"mask_us", figures.mask.to_json()},
                      {"accept_us", figures.accept.to_json()},
                      {"states", grammar->state_count()},
                      {"table_bytes", tables},
                      {"mask_bytes", masks}};
}

json::object GrammarBench::summary() const {
  return {{"vocabulary", tokenizer_.vocabulary().size()},
          {"index_ms", rounded(index_ms_)},
          {"index_bytes", index_->bytes()},
          {"schemas", all_.schemas},
          {"refused", all_.refused},
          {"compile_us", all_.compile.to_json()},
          {"mask_us", all_.mask.to_json()},
          {"accept_us", all_.accept.to_json()},
          {"rollback_us", all_.rollback.to_json()},
          {"table_bytes", spread(all_.table_bytes)},
          {"mask_bytes", spread(all_.mask_bytes)}};
}

}  // namespace longhaul::tools
