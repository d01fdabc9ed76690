#include "model/page_summary.h"

#include <vector>

#include "model/layers/layer.h"

namespace longhaul::model {

void summarise_page(const StateLayout& layout, const std::byte* page, std::byte* to) {
  const std::size_t width = layout.head_dim, row = width * layout.stored_bytes();
  const auto n = static_cast<std::int64_t>(width);
  std::vector<float> key(width), low(width), high(width);
  for (std::uint32_t head = 0; head < layout.n_kv_heads; ++head) {
    const std::byte* keys = page + std::size_t{head} * kPageTokens * row;
    for (std::int64_t token = 0; token < kPageTokens; ++token) {
      load_values(layout.stored, keys + static_cast<std::size_t>(token) * row, n, key.data());
      if (token == 0) low = high = key;
      // Without branches, so that it is done several at a time. A comparison with NaN is false: once NaN, always NaN.
      for (std::size_t d = 0; d < width; ++d) {
        const float x = key[d];
        const bool is_nan = x != x;
        low[d] = ((x < low[d]) | is_nan) ? x : low[d];
        high[d] = ((x > high[d]) | is_nan) ? x : high[d];
      }
    }
    store_values(layout.stored, low.data(), n, to + 2 * head * row);
    store_values(layout.stored, high.data(), n, to + (2 * head + 1) * row);
  }
}

}  // namespace longhaul::model
