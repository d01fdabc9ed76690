// Shared by the kernels' benchmarks.
#pragma once

#include <benchmark/benchmark.h>

#include <cstring>
#include <string>
#include <vector>

#include "model/kernels/kernels.h"
#include "model/weights.h"

namespace longhaul::model {

// The scalar kernels are left out: they are read, not timed.
inline std::int64_t n_bench_kernels() {
  return static_cast<std::int64_t>(available_kernels().size()) - 1;
}

inline const Kernels& bench_kernels(benchmark::State& state) {
  const Kernels& kernels = available_kernels()[static_cast<std::size_t>(state.range(0))];
  state.SetLabel(std::string(kernels.name));
  return kernels;
}

struct BenchMatrix {
  BenchMatrix(std::int64_t n_out, std::int64_t n_in, bool bf16) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(n_out * n_in) * (bf16 ? 2 : 4), std::byte{0x3C});
    packed = PackedMatrix::pack({"w", bf16 ? DType::kBf16 : DType::kF32, {n_out, n_in}, bytes}).value();
  }
  PackedMatrix packed;
};

}  // namespace longhaul::model
