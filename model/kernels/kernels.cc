#include "model/kernels/simd_targets.h"
//
#include <fmt/format.h>

#include "hwy/targets.h"
#include "model/kernels/kernels.h"

namespace longhaul::model {
namespace {

Kernels simd_kernels(std::string_view name, SimdTarget target) {
  return {.name = name,
          .matmul = matmul_simd(target),
          .rms_norm = rms_norm_simd(target),
          .gated_rms_norm = gated_rms_norm_simd(target),
          .sigmoid = sigmoid_map_simd(target),
          .softplus = softplus_map_simd(target),
          .exp = exp_map_simd(target),
          .silu = silu_map_simd(target),
          .conv = conv_simd(target),
          .ssm_scan = ssm_scan_simd(target),
          .attention = attention_simd(target),
          .page_bounds = page_bounds_simd(target)};
}

std::vector<Kernels> find_kernels() {
  std::vector<Kernels> found;
  [[maybe_unused]] const std::int64_t supported = hwy::SupportedTargets();
#if defined(__x86_64__)
  if ((supported & HWY_AVX3) != 0) found.push_back(simd_kernels("avx3", SimdTarget::kAvx3));
  if ((supported & HWY_AVX2) != 0) found.push_back(simd_kernels("avx2", SimdTarget::kAvx2));
#elif defined(__aarch64__)
  found.push_back(simd_kernels("neon", SimdTarget::kNeon));
#endif
  found.push_back({.name = "scalar",
                   .matmul = matmul_scalar,
                   .rms_norm = rms_norm_scalar,
                   .gated_rms_norm = gated_rms_norm_scalar,
                   .sigmoid = sigmoid_map_scalar,
                   .softplus = softplus_map_scalar,
                   .exp = exp_map_scalar,
                   .silu = silu_map_scalar,
                   .conv = conv_scalar,
                   .ssm_scan = ssm_scan_scalar,
                   .attention = attention_scalar,
                   .page_bounds = page_bounds_scalar});
  return found;
}

}  // namespace

const std::vector<Kernels>& available_kernels() {
  static const std::vector<Kernels> kernels = find_kernels();
  return kernels;
}

Result<const Kernels*> choose_kernels(std::string_view name, const std::vector<Kernels>& known) {
  if (name == "auto") {
    if (known.front().name != "scalar") return &known.front();
    return unsupported(
        "this processor has neither AVX2 with FMA nor NEON; kernels \"scalar\" can be asked for by name");
  }
  std::string names;
  for (const Kernels& kernels : known) {
    if (kernels.name == name) return &kernels;
    names += (names.empty() ? "" : ", ") + std::string(kernels.name);
  }
  return invalid_argument(fmt::format("kernels \"{}\" are unknown here; this processor has: auto, {}", name, names));
}

}  // namespace longhaul::model
