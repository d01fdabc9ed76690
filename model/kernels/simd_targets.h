// Which of Highway's instruction sets this project uses, and their names. Included before any Highway header. The floor
// is AVX2 with FMA, or NEON: without fused multiply-adds in hardware there is no fast path with the same bits, so the
// 128-bit x86 targets are not built.
#pragma once

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)

namespace longhaul::model {
enum class SimdTarget { kAvx2, kAvx3, kNeon };
}  // namespace longhaul::model

// The function `name` of namespace longhaul::model compiled for `target`, or nullptr if this build has none. Used once
// a file, after all targets were compiled. (Highway's own dynamic dispatch is one choice for the whole process; engines
// and tests choose for themselves.)
#if defined(__x86_64__)
#define LONGHAUL_SIMD_FUNCTION(target, name) \
  ((target) == SimdTarget::kAvx3 ? &N_AVX3::name : (target) == SimdTarget::kAvx2 ? &N_AVX2::name : nullptr)
#elif defined(__aarch64__)
#define LONGHAUL_SIMD_FUNCTION(target, name) ((target) == SimdTarget::kNeon ? &N_NEON::name : nullptr)
#else
#define LONGHAUL_SIMD_FUNCTION(target, name) (static_cast<decltype(&name##_scalar)>(nullptr))
#endif

// Before a short loop of constant length over registers: a loop left standing would keep them in memory.
#if defined(__clang__)
#define LONGHAUL_UNROLL _Pragma("clang loop unroll(full)")
#else
#define LONGHAUL_UNROLL _Pragma("GCC unroll 32")
#endif
