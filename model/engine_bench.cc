// Tokens per second of a model of the built-in one's shape (5 million parameters, random weights). Bounds: decoding
// one sequence, active weights (some 3.5 million, bf16: 7 MB) / bandwidth of the cache they stay in; prefill and
// batches, 2 * active weights / peak multiply-adds.
#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

#include "model/cpu_engine.h"
#include "model/kernels/scalar_math.h"

namespace longhaul::model {
namespace {

class SmallRandomWeights : public WeightSource {
 public:
  Result<TensorView> get(std::string_view name, const std::vector<std::int64_t>& shape) override {
    std::int64_t n = 1;
    for (std::int64_t extent : shape) n *= extent;
    auto bytes = std::make_unique<std::vector<std::uint16_t>>(static_cast<std::size_t>(n));
    std::uint32_t word = static_cast<std::uint32_t>(name.size()) * 2654435761U;
    for (std::uint16_t& value : *bytes) {
      word = word * 1664525U + 1013904223U;
      value = to_bf16((static_cast<float>(word >> 8) * 0x1p-23F - 1.0F) * 0.1F);
    }
    tensors_.push_back(std::move(bytes));
    return TensorView{"", DType::kBf16, shape, std::as_bytes(std::span(*tensors_.back()))};
  }

 private:
  std::vector<std::unique_ptr<std::vector<std::uint16_t>>> tensors_;
};

ModelConfig pico_config() {
  ModelConfig config;
  config.d_model = 256;
  config.vocab_size = 768;
  for (char c : std::string_view("MEM*EM*E")) config.layers.push_back(static_cast<LayerKind>(c));
  for (char c : std::string_view("*E")) config.mtp_layers.push_back(static_cast<LayerKind>(c));
  config.n_mamba_heads = 8;
  config.mamba_head_dim = 64;
  config.d_state = 64;
  config.n_groups = 1;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.head_dim = 64;
  config.n_experts = 8;
  config.n_experts_per_token = 2;
  config.d_expert = 192;
  config.d_latent = 128;
  config.d_shared_expert = 384;
  return config;
}

// Arguments: tokens of a step, sequences, threads, tokens already in each sequence.
void BM_Step(benchmark::State& state) {
  const std::int64_t n_tokens = state.range(0), n_sequences = state.range(1), depth = state.range(3);
  auto weights = std::make_shared<SmallRandomWeights>();
  auto engine = make_cpu_engine(pico_config(), *weights, {.n_threads = static_cast<int>(state.range(2))}, weights);
  if (!engine) return state.SkipWithError(engine.error().message.c_str());
  state.SetLabel(std::string((*engine)->kernels()));
  std::vector<TokenId> tokens(static_cast<std::size_t>(n_tokens)), prompt(static_cast<std::size_t>(depth));
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<TokenId>(i * 7 % 768);
  for (std::size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<TokenId>(i * 5 % 768);
  std::vector<SequenceState> start;
  for (std::int64_t i = 0; i < n_sequences; ++i) {
    start.emplace_back((*engine)->layout());
    const SequenceStep step{.state = &start.back(), .tokens = prompt, .wanted = LogitsWanted::kNone};
    if (depth > 0 && !(*engine)->step({&step, 1})) return state.SkipWithError("prompt");
  }
  std::vector<SequenceState> states;
  for (auto _ : state) {
    if (states.empty() || states[0].position() > depth + 256) {  // so that the depth stays what it says
      state.PauseTiming();
      states.clear();
      for (const SequenceState& s : start) states.push_back(s.clone());
      state.ResumeTiming();
    }
    std::vector<SequenceStep> batch;
    for (SequenceState& s : states) batch.push_back({.state = &s, .tokens = tokens});
    auto results = (*engine)->step(batch);
    benchmark::DoNotOptimize(results);
  }
  state.SetItemsProcessed(state.iterations() * n_tokens * n_sequences);
}
BENCHMARK(BM_Step)
    ->Args({1, 1, 1, 0})
    ->Args({1, 1, 1, 2000})
    ->Args({1, 16, 1, 0})
    ->Args({512, 1, 1, 0})
    ->Args({1, 1, 2, 0})
    ->Args({512, 1, 2, 0})
    ->UseRealTime();

}  // namespace
}  // namespace longhaul::model

BENCHMARK_MAIN();
