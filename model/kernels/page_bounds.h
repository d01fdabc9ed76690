// How large the score of a query with any key of a page can be, from the page's summary alone (page_summary.h): for
// query head h and page p, over the channels d,
//   s = sum max(q[d] * min[d], q[d] * max[d]);  t = sum |q[d] * min[d]| + |q[d] * max[d]|   (sixteen virtual lanes,
//   bound = (s + t * slack) * scale                                                          fixed tree, no fma)
// For every key k between min and max, the score that the attention kernels compute is at most that: a sum in their
// order errs by less than (head_dim / 16 + 6) * 2^-24 * sum |q[d] k[d]|, this one by as much again, and slack is
// (head_dim / 16 + 16) * 2^-22. A NaN (a NaN or infinite key) becomes +infinity: such a page is never skipped.
#pragma once

#include <cstddef>
#include <cstdint>

#include "model/kernels/simd_targets.h"

namespace longhaul::model {

struct PageBoundsArgs {
  const std::byte* summaries = nullptr;  // [n_pages] of page_summary.h
  std::int64_t n_pages = 0;
  bool bf16 = false;
  std::int64_t n_kv_heads = 0, head_dim = 0;
  std::int64_t n_group = 0;  // query heads that share a kv head
  float scale = 0;           // not negative
  const float* q = nullptr;  // [n_kv_heads * n_group][head_dim]
  float* out = nullptr;      // [n_kv_heads * n_group] rows of n_pages, out_stride apart
  std::int64_t out_stride = 0;

  float slack() const { return static_cast<float>(head_dim / 16 + 16) * 0x1p-22F; }
};

using PageBoundsFunction = void (*)(const PageBoundsArgs&);
void page_bounds_scalar(const PageBoundsArgs& args);
PageBoundsFunction page_bounds_simd(SimdTarget target);

}  // namespace longhaul::model
