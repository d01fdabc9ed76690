// Bounds. One row: every weight is read once, so bytes of weights / memory bandwidth (the report's bytes_per_second is
// to be held against a plain read of memory, BM_ReadMemory). Many rows: 2 * n_out * n_in * rows / peak, where peak is 2
// multiply-adds of 8 (AVX2) or 16 lanes a cycle; processors that split 512-bit operations in halves make one.
#include <benchmark/benchmark.h>

#include <vector>

#include "model/kernels/bench_support.h"

namespace longhaul::model {
namespace {

void BM_ReadMemory(benchmark::State& state) {
  std::vector<std::uint64_t> memory(256 << 17, 1);  // 256 MiB
  for (auto _ : state) {
    std::uint64_t sums[8] = {};
    for (std::size_t i = 0; i + 8 <= memory.size(); i += 8) {
      for (std::size_t j = 0; j < 8; ++j) sums[j] ^= memory[i + j];
    }
    benchmark::DoNotOptimize(sums);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(memory.size() * 8));
}
BENCHMARK(BM_ReadMemory);

// Arguments: kernels (index, widest first), rows, n_out, n_in, bf16.
void BM_Matmul(benchmark::State& state) {
  const Kernels& kernels = bench_kernels(state);
  const std::int64_t rows = state.range(1), n_out = state.range(2), n_in = state.range(3);
  const bool bf16 = state.range(4) != 0;
  const BenchMatrix matrix(n_out, n_in, bf16);
  const std::vector<float> x(static_cast<std::size_t>(rows * n_in), 0.5F);
  std::vector<float> y(static_cast<std::size_t>(rows * n_out));
  const MatmulArgs args{.w = matrix.packed.view(),
                        .x = x.data(),
                        .x_stride = n_in,
                        .n_rows = rows,
                        .y = y.data(),
                        .y_stride = n_out,
                        .first_panel = 0,
                        .n_panels = matrix.packed.view().n_panels()};
  for (auto _ : state) {
    kernels.matmul(args);
    benchmark::DoNotOptimize(y.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * n_out * n_in * (bf16 ? 2 : 4));
  state.counters["flops"] =
      benchmark::Counter(2.0 * static_cast<double>(rows * n_out * n_in), benchmark::Counter::kIsIterationInvariantRate);
}
void matmul_sizes(benchmark::internal::Benchmark* bench) {
  for (std::int64_t set = 0; set < n_bench_kernels(); ++set) {
    for (std::int64_t rows : {1, 4, 64, 512}) {
      bench->Args({set, rows, 384, 256, 1});     // the built-in model's sizes: in the second-level cache
      bench->Args({set, rows, 10304, 2688, 1});  // in_proj of the 30B model
    }
  }
}
BENCHMARK(BM_Matmul)->Apply(matmul_sizes);

}  // namespace
}  // namespace longhaul::model
