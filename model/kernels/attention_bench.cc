// Bound for one query: K and V of a kv head are read once for the whole group of query heads, 2 * tokens * head_dim * 2
// bytes / memory bandwidth; with 16 query heads a group there are 16 multiply-adds for each element, so the arithmetic
// (2 * 16 * tokens * head_dim multiply-adds / 16 lanes) is the larger part from a few GiB/s of bandwidth on.
#include <benchmark/benchmark.h>

#include <vector>

#include "model/kernels/bench_support.h"
#include "model/sequence_state.h"

namespace longhaul::model {
namespace {

// Arguments: kernels, tokens in sight, queries, query heads a group, head_dim.
void BM_Attention(benchmark::State& state) {
  const Kernels& kernels = bench_kernels(state);
  const std::int64_t n_tokens = state.range(1), n_queries = state.range(2), group = state.range(3);
  const std::int64_t head_dim = state.range(4);
  std::vector<std::vector<std::byte>> pages;
  std::vector<const std::byte*> pointers;
  for (std::int64_t first = 0; first < n_tokens; first += kPageTokens) {
    pages.emplace_back(static_cast<std::size_t>(2 * kPageTokens * head_dim * 2), std::byte{0x3C});
  }
  for (const auto& page : pages) pointers.push_back(page.data());
  const std::vector<float> q(static_cast<std::size_t>(n_queries * group * head_dim), 0.1F);
  std::vector<float> out(q.size());
  AttentionArgs args{.pages = pointers.data(),
                     .end_page = static_cast<std::int64_t>(pointers.size()),
                     .bf16 = true,
                     .n_kv_heads = 1,
                     .kv_head = 0,
                     .head_dim = head_dim,
                     .n_group = group,
                     .first_position = n_tokens - n_queries,
                     .n_queries = n_queries,
                     .scale = 0.1F,
                     .q = q.data(),
                     .q_stride = group * head_dim,
                     .out = out.data(),
                     .out_stride = group * head_dim};
  std::vector<float> scratch(static_cast<std::size_t>(args.scratch_floats()));
  args.scratch = scratch.data();
  std::vector<float> running(static_cast<std::size_t>(args.running_floats()));
  args.running = running.data();
  for (auto _ : state) {
    kernels.attention(args);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * n_queries);
  state.counters["flops"] = benchmark::Counter(4.0 * static_cast<double>(n_queries * group * n_tokens * head_dim),
                                               benchmark::Counter::kIsIterationInvariantRate);
}
void attention_sizes(benchmark::internal::Benchmark* bench) {
  for (std::int64_t set = 0; set < n_bench_kernels(); ++set) {
    bench->Args({set, 1024, 1, 16, 128});
    bench->Args({set, 16384, 1, 16, 128});
    bench->Args({set, 1024, 8, 16, 128});
    bench->Args({set, 1024, 1, 2, 64});
  }
}
BENCHMARK(BM_Attention)->Apply(attention_sizes);

}  // namespace
}  // namespace longhaul::model
