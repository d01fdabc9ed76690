// Attention of some queries over some pages of their sequence, in order. Pages that are not in memory are asked for
// window by window, the next one while this one is computed with, and let go behind it, so that what is held at a time
// does not grow with the context.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/layers/attention.h"

namespace longhaul::model {

// Queries of a block share the reading of each page. Eight is chosen, not measured.
inline constexpr std::int64_t kQueryBlock = 8;

struct PageWalk {
  const KvTarget* target = nullptr;
  std::int64_t first = 0, n = 0;    // queries: rows of the target
  std::vector<std::int64_t> pages;  // ascending; ends with the page of the last query
  // Where the first query is if the pages are counted as they stand in the list: 128 * place of its page + place in it.
  std::int64_t list_position = 0;
};

// All pages that the target's queries see.
PageWalk whole_walk(const KvTarget& target);

// Rows of queries and results, [step.n_rows][n_heads * head_dim].
struct WalkRows {
  const float* q = nullptr;
  float* out = nullptr;
};

// An error of a page source names the page; `out` is then undefined. For walks of one query, max and sum of its heads
// ([walk][n_heads], see kernels/attention.h) are in `maxima` and `sums`, if they are wanted.
Result<void> walk_pages(const StepContext& step, std::span<const PageWalk> walks, const WalkRows& rows,
                        float* maxima = nullptr, float* sums = nullptr);

}  // namespace longhaul::model
