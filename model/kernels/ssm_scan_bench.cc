// Bound: a token of a head of 64 x 128 makes 8192 elements with a multiplication and two multiply-adds each, from a
// state that stays in the first-level cache: 8192 / 16 * (1 load + 1 store + 3 operations) is about 1000 cycles on
// processors with one 512-bit store a cycle. Beside the projections of the same token (2688 x 10304 + 4096 x 2688
// multiply-adds over 64 heads: 0.6 million a head) it is a few percent.
#include <benchmark/benchmark.h>

#include <vector>

#include "model/kernels/bench_support.h"

namespace longhaul::model {
namespace {

// Arguments: kernels, tokens, head_dim, d_state.
void BM_SsmScan(benchmark::State& state) {
  const Kernels& kernels = bench_kernels(state);
  const std::int64_t n_tokens = state.range(1), head_dim = state.range(2), d_state = state.range(3);
  const std::int64_t stride = head_dim + 2 * d_state;
  std::vector<float> ssm(static_cast<std::size_t>(head_dim * d_state), 0.1F);
  const std::vector<float> rows(static_cast<std::size_t>(n_tokens * stride), 0.01F);
  const std::vector<float> dt(static_cast<std::size_t>(n_tokens), 0.1F);
  std::vector<float> y(static_cast<std::size_t>(n_tokens * head_dim));
  for (auto _ : state) {
    kernels.ssm_scan({.state = ssm.data(),
                      .n_tokens = n_tokens,
                      .head_dim = head_dim,
                      .d_state = d_state,
                      .a = -1,
                      .d = 1,
                      .x = rows.data(),
                      .b = rows.data() + head_dim,
                      .c = rows.data() + head_dim + d_state,
                      .stride = stride,
                      .dt = dt.data(),
                      .dt_stride = 1,
                      .y = y.data(),
                      .y_stride = head_dim});
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * n_tokens);
}
void scan_sizes(benchmark::internal::Benchmark* bench) {
  for (std::int64_t set = 0; set < n_bench_kernels(); ++set) {
    for (std::int64_t tokens : {1, 128}) {
      bench->Args({set, tokens, 64, 128});
      bench->Args({set, tokens, 32, 32});
    }
  }
}
BENCHMARK(BM_SsmScan)->Apply(scan_sizes);

}  // namespace
}  // namespace longhaul::model
