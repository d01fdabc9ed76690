// Bound: a greedy or masked draw reads the logits once (512 KiB at the published vocabulary, from the second-level
// cache). A draw without cuts needs two logarithms and half a Philox block for every token that could still win.
#include <benchmark/benchmark.h>

#include <vector>

#include "model/sampler.h"
#include "runtime/base/rng.h"

namespace longhaul::model {
namespace {

// Arguments: vocabulary, kind of draw.
void BM_Sample(benchmark::State& state) {
  std::vector<float> logits;
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    // Roughly what a language model gives: most tokens around -5 +- 5, some far above.
    const PhiloxBlock block = philox(1, {static_cast<std::uint32_t>(i), 0, 0, 0});
    const float u = static_cast<float>(block[0]) * 0x1p-32F, v = static_cast<float>(block[1]) * 0x1p-32F;
    logits.push_back(-10.0F + 10.0F * u + (v > 0.9995F ? 15.0F : 0.0F));
  }
  const SamplingOptions kinds[] = {
      {}, {.temperature = 1}, {.temperature = 1, .top_p = 0.95F}, {.temperature = 0.6F, .top_k = 20, .top_p = 0.95F}};
  const SamplingOptions& options = kinds[state.range(1)];
  const char* labels[] = {"greedy", "temperature", "top-p", "top-k"};
  state.SetLabel(labels[state.range(1)]);
  std::uint64_t draw = 0;
  for (auto _ : state) benchmark::DoNotOptimize(sample(logits, nullptr, {}, options, draw++));
}
BENCHMARK(BM_Sample)->ArgsProduct({{768, 131072}, {0, 1, 2, 3}});

}  // namespace
}  // namespace longhaul::model
