// One page after the other, its summary read once for all heads of the group.
#include "model/kernels/page_bounds.h"

#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "model/kernels/page_bounds_simd.cc"
#include "hwy/foreach_target.h"
//
#include "model/kernels/simd-inl.h"

#ifndef LONGHAUL_NO_SIMD
HWY_BEFORE_NAMESPACE();
namespace longhaul::model {
namespace HWY_NAMESPACE {

HWY_INLINE F16 size_of(F16 a) {
  return less(a, set<F16>(0.0F), set<F16>(0.0F) - a, a);
}

template <class T>
HWY_INLINE void bound_pages(const PageBoundsArgs& args) {
  for (std::int64_t page = 0; page < args.n_pages; ++page) {
    for (std::int64_t kv_head = 0; kv_head < args.n_kv_heads; ++kv_head) {
      const T* low =
          reinterpret_cast<const T*>(args.summaries) + (page * args.n_kv_heads + kv_head) * 2 * args.head_dim;
      const T* high = low + args.head_dim;
      for (std::int64_t g = 0; g < args.n_group; ++g) {
        const std::int64_t head = kv_head * args.n_group + g;
        const float* q = args.q + head * args.head_dim;
        F16 sums = set<F16>(0.0F), sizes = set<F16>(0.0F);
        for (std::int64_t d = 0; d < args.head_dim; d += 16) {
          const F16 qd = load16(q + d);
          const F16 a = qd * load16(low + d), b = qd * load16(high + d);
          sums = sums + less(a, b, b, a);
          sizes = sizes + (size_of(a) + size_of(b));
        }
        float bound = (tree_sum(sums) + tree_sum(sizes) * args.slack()) * args.scale;
        if (std::isnan(bound)) bound = std::numeric_limits<float>::infinity();
        args.out[head * args.out_stride + page] = bound;
      }
    }
  }
}

void page_bounds(const PageBoundsArgs& args) {
  if (args.head_dim % 16 != 0) return page_bounds_scalar(args);  // no published model; the bits are the same
  if (args.bf16) {
    bound_pages<std::uint16_t>(args);
  } else {
    bound_pages<float>(args);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace longhaul::model
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
namespace longhaul::model {
PageBoundsFunction page_bounds_simd(SimdTarget target) {
  return LONGHAUL_SIMD_FUNCTION(target, page_bounds);
}
}  // namespace longhaul::model
#endif
