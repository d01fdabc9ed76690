// `longhaul grammar bench --batch`: times of compiling, masking, accepting and going back, over the tokens of the valid
// instances of a batch (grammar_batch.h). Each instance is replayed as the tokenizer cuts it and in seeded random other
// cuts; every schema gets a fresh grammar (its tables start empty), the process and the token index stay warm.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/tokenizer.h"
#include "runtime/base/json.h"
#include "runtime/base/result.h"
#include "tools/grammar.h"

namespace longhaul::tools {

// Microseconds, the clock's own cost taken off.
class Timings {
 public:
  void add(double us) { values_.push_back(us); }
  void add(const std::vector<double>& us) { values_.insert(values_.end(), us.begin(), us.end()); }
  void add(const Timings& other) { add(other.values_); }
  // {"n", "p50", "p99", "p999", "max", "mean"}; zeros if there are none.
  json::object to_json() const;

 private:
  std::vector<double> values_;
};

// One cut of one instance, with what each step took.
struct Replay {
  std::size_t test = 0;
  std::vector<TokenId> tokens;
  std::vector<double> mask_us;    // before each token, and at the end
  std::vector<double> accept_us;  // each token
};

struct GrammarBenchOptions {
  int n_random = 3;  // cuts of each instance besides the tokenizer's own
  std::uint64_t seed = 1;
};

// A random way to cut `text` into tokens of the vocabulary: at each place any token that fits, long or short.
std::vector<TokenId> random_cut(const TokenIndex& index, std::string_view text, std::uint64_t seed);

// Not thread-safe.
class GrammarBench {
 public:
  // `tokenizer` must outlive the bench.
  GrammarBench(const model::Tokenizer& tokenizer, const GrammarBenchOptions& options);
  GrammarBench(const GrammarBench&) = delete;
  GrammarBench& operator=(const GrammarBench&) = delete;

  // One line's figures. `replayed` (may be null) is told of every replay, for comparisons with others.
  // kInvalidArgument: no such object. kInternal: a valid instance's token is not in its mask.
  Result<json::object> run_line(std::string_view line, const std::function<void(const Replay&)>& replayed);
  // All lines so far together.
  json::object summary() const;

 private:
  struct Figures {
    Timings compile, mask, accept, rollback;
    std::size_t refused = 0, schemas = 0;
    std::vector<std::size_t> table_bytes, mask_bytes;  // by grammar, after all its instances
  };
  Result<void> replay(const Grammar& grammar, Replay& replay, Figures& figures) const;

  const model::Tokenizer& tokenizer_;
  GrammarBenchOptions options_;
  std::shared_ptr<const TokenIndex> index_;
  double index_ms_ = 0, clock_us_ = 0;
  std::vector<TokenId> stop_;
  Figures all_;
};

}  // namespace longhaul::tools
