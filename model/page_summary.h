// What stands beside a full page and can be read without it: for each kv head the smallest and the largest value of
// every channel of its keys, in the stored type (keys are rounded to that type when they are made, so nothing is lost):
//   [kv_head][min, max][head_dim]
// 1/128 of a page. A channel with a NaN among its keys has NaN in both.
#pragma once

#include <cstddef>

#include "model/sequence_state.h"

namespace longhaul::model {

inline std::size_t summary_bytes(const StateLayout& layout) {
  return 2 * layout.row_bytes();
}

// `page` is layout.page_bytes() long, `to` summary_bytes(layout).
void summarise_page(const StateLayout& layout, const std::byte* page, std::byte* to);

}  // namespace longhaul::model
