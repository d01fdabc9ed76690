// Text through the tokenizer, in bytes a second, and what loading costs (a start of the program pays it).
#include <benchmark/benchmark.h>

#include <string>

#include "model/tokenizer.h"

namespace longhaul::model {
namespace {

std::string sample(std::size_t bytes) {
  static constexpr std::string_view kText =
      "The quick brown fox read 3 files from /srv/data and wrote naïve results: {\"ok\": true, \"n\": 1234}.\n"
      "    for (int i = 0; i < n; ++i) total += values[i];  // 中文注释 😀\n";
  std::string text;
  while (text.size() < bytes) text += kText;
  return text;
}

void load(benchmark::State& state, const std::string& folder) {
  for (auto _ : state) {
    auto tokenizer = Tokenizer::load(folder);
    if (!tokenizer) {
      state.SkipWithError(tokenizer.error().message.c_str());
      return;
    }
    benchmark::DoNotOptimize(tokenizer);
  }
}

void encode(benchmark::State& state, const std::string& folder) {
  auto tokenizer = Tokenizer::load(folder);
  if (!tokenizer) {
    state.SkipWithError(tokenizer.error().message.c_str());
    return;
  }
  const std::string text = sample(1 << 20);
  std::size_t n_tokens = 0;
  for (auto _ : state) n_tokens += (*tokenizer)->encode_content(text).size();
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * text.size()));
  state.counters["tokens/s"] = benchmark::Counter(static_cast<double>(n_tokens), benchmark::Counter::kIsRate);
}

// From the root of the repository; the second folder is what scripts/golden/tekken.py writes as tokenizer.json.
BENCHMARK_CAPTURE(load, pico, "model/pico")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(load, tekken, "build/tekken")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, pico, "model/pico")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, tekken, "build/tekken")->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace longhaul::model
