// Attention without positions of a block of queries over the pages of one sequence, for one kv head and the query heads
// that share it. For a query at position i, page by page in order, over the page's tokens j <= i:
//   s[j] = (q . k[j]) * scale           (sixteen virtual lanes, fixed tree)
//   m    = max s;  e[j] = exp(s[j] - m);  l = sum e[j] (sixteen virtual lanes, fixed tree);  a[d] = fma chain e[j] *
//   v[j, d]
// and pages merge in order: m' = max(m, m2), L = fma(L, exp(m - m'), l * exp(m2 - m')), A likewise; result A / L.
// Segments are the pages themselves, so what a query gets is a function of its position and of K and V alone, never of
// how tokens were split over steps (contract C2). The first page is taken as it is.
//
// One call goes over a window of the pages, so that not all of them have to be in memory at once: calls for windows in
// order, with the same `running` and `out`, give what one call over all pages gives. m and L stay in `running`.
#pragma once

#include <cstddef>
#include <cstdint>

#include "model/kernels/simd_targets.h"

namespace longhaul::model {

struct AttentionArgs {
  const std::byte* const* pages = nullptr;  // KvPage bytes of pages [first_page, end_page), in order
  std::int64_t first_page = 0;
  std::int64_t end_page = 0;  // what no query sees is not touched
  bool finish = true;         // the last window: divide by the sums
  bool bf16 = false;          // stored type of K and V
  std::int64_t n_kv_heads = 0, kv_head = 0, head_dim = 0;
  std::int64_t n_group = 0;         // query heads that share this kv head
  std::int64_t first_position = 0;  // of the first query
  std::int64_t n_queries = 0;
  float scale = 0;
  const float* q = nullptr;  // [n_queries] rows, q_stride apart; the group's heads side by side, [n_group][head_dim]
  std::int64_t q_stride = 0;
  float* out = nullptr;  // like q
  std::int64_t out_stride = 0;
  float* running = nullptr;  // running_floats() long: [2][n_queries][n_group], maxima and sums of the pages so far
  float* scratch = nullptr;  // scratch_floats() long, any content

  std::int64_t running_floats() const { return n_queries * n_group * 2; }
  std::int64_t scratch_floats() const { return 4 * head_dim; }
};

using AttentionFunction = void (*)(const AttentionArgs&);
void attention_scalar(const AttentionArgs& args);
AttentionFunction attention_simd(SimdTarget target);

}  // namespace longhaul::model
