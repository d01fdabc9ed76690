#include "model/sequence_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "runtime/base/check.h"

namespace longhaul::model {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "stored states are little-endian, and copied as they lie");

std::unique_ptr<KvPage> copy_page(const std::unique_ptr<KvPage>& page) {
  return page == nullptr ? nullptr : std::make_unique<KvPage>(*page);
}

void copy_layers(const std::vector<AttentionLayerState>& from, std::vector<AttentionLayerState>& to) {
  to.resize(from.size());
  for (std::size_t i = 0; i < from.size(); ++i) {
    to[i].n_stored = from[i].n_stored;
    to[i].full = from[i].full;
    to[i].summaries = from[i].summaries;
    if (from[i].open != nullptr && to[i].open != nullptr) {
      *to[i].open = *from[i].open;
    } else {
      to[i].open = copy_page(from[i].open);
    }
  }
}

// Calls f(offset in the page, bytes) for each run of rows that an open page of `n_tokens` really holds.
template <class F>
void for_each_open_run(const StateLayout& layout, std::int64_t n_tokens, F f) {
  const std::size_t head_bytes = std::size_t{layout.head_dim} * layout.stored_bytes();
  const std::size_t stride = kPageTokens * head_bytes;
  for (std::size_t run = 0; run < 2 * std::size_t{layout.n_kv_heads}; ++run) {
    f(run * stride, static_cast<std::size_t>(n_tokens) * head_bytes);
  }
}

bool same_open(const StateLayout& layout, std::int64_t n_tokens, const KvPage& a, const KvPage& b) {
  bool same = true;
  for_each_open_run(layout, n_tokens, [&](std::size_t offset, std::size_t bytes) {
    same = same && std::memcmp(a.bytes.data() + offset, b.bytes.data() + offset, bytes) == 0;
  });
  return same;
}

std::size_t layer_bytes(const std::vector<AttentionLayerState>& layers) {
  std::size_t bytes = 0;
  for (const AttentionLayerState& layer : layers) {
    for (const auto& page : layer.full) bytes += page->bytes.size();
    if (layer.open != nullptr) bytes += layer.open->bytes.size();
  }
  return bytes;
}

}  // namespace

SequenceState::SequenceState(const StateLayout& layout) : layout_(layout) {
  mamba.resize(layout.n_mamba_layers);
  for (MambaLayerState& layer : mamba) {
    layer.conv.resize(layout.conv_bytes());
    layer.ssm.resize(layout.ssm_floats());
  }
  attention.resize(layout.n_attention_layers);
  mtp_attention.resize(layout.n_mtp_attention_layers);
}

SequenceState SequenceState::clone() const {
  SequenceState copy{StateLayout{}};
  copy.assign(*this);
  return copy;
}

void SequenceState::assign(const SequenceState& other) {
  layout_ = other.layout_;
  position_ = other.position_;
  stored_ = other.stored_;
  mamba = other.mamba;
  copy_layers(other.attention, attention);
  copy_layers(other.mtp_attention, mtp_attention);
  mtp_position = other.mtp_position;
  mtp_hidden = other.mtp_hidden;
  pending.reset();
}

void SequenceState::drop_pages() {
  for (auto* layers : {&attention, &mtp_attention}) {
    for (AttentionLayerState& layer : *layers) layer.full.clear();
  }
  stored_.reset();
}

std::size_t SequenceState::resident_bytes() const {
  return layout_.fixed_bytes() + layer_bytes(attention) + layer_bytes(mtp_attention) +
         mtp_hidden.size() * sizeof(float);
}

std::vector<std::string_view> SequenceState::fixed_parts() const {
  std::vector<std::string_view> out;
  for (const MambaLayerState& layer : mamba) {
    out.emplace_back(reinterpret_cast<const char*>(layer.conv.data()), layer.conv.size());
    out.emplace_back(reinterpret_cast<const char*>(layer.ssm.data()), layer.ssm.size() * sizeof(float));
  }
  return out;
}

std::string SequenceState::encode_fixed() const {
  std::string out;
  out.reserve(layout_.fixed_bytes());
  for (const std::string_view part : fixed_parts()) out.append(part);
  return out;
}

std::string SequenceState::encode_open_pages() const {
  const std::int64_t n_tokens = position_ % kPageTokens;
  std::string out;
  if (n_tokens == 0) return out;
  out.reserve(attention.size() * 2 * static_cast<std::size_t>(n_tokens) * layout_.row_bytes());
  for (const AttentionLayerState& layer : attention) {
    LONGHAUL_CHECK(layer.open != nullptr, "a sequence inside a page has an open page in every attention layer");
    for_each_open_run(layout_, n_tokens, [&](std::size_t offset, std::size_t bytes) {
      out.append(reinterpret_cast<const char*>(layer.open->bytes.data()) + offset, bytes);
    });
  }
  return out;
}

Result<PagePin> SequenceState::page(std::uint32_t layer, std::int64_t index) const {
  LONGHAUL_CHECK(layer < attention.size(), "attention layer out of range");
  const AttentionLayerState& cache = attention[layer];
  LONGHAUL_CHECK(index >= 0 && index < cache.n_full(), "page out of range");
  PagePin pin;
  if (index < cache.n_stored) {
    if (auto r = stored_->load(layer, {&index, 1}, {&pin, 1}); !r) return r.error();
    return pin;
  }
  const auto& page = cache.full[static_cast<std::size_t>(index - cache.n_stored)];
  return PagePin{page, page->bytes.data()};
}

void SequenceState::give_pages(std::shared_ptr<const PageSource> source, std::int64_t n) {
  LONGHAUL_CHECK(source != nullptr && n <= source->n_pages() && n <= n_full_pages(), "the source has these pages");
  for (AttentionLayerState& layer : attention) {
    LONGHAUL_CHECK(n >= layer.n_stored, "pages are given once");
    const auto given = static_cast<std::size_t>(n - layer.n_stored);
    layer.full.erase(layer.full.begin(), layer.full.begin() + static_cast<std::ptrdiff_t>(given));
    const std::size_t summaries = std::min(layer.summaries.size(), given * 2 * layout_.row_bytes());
    layer.summaries.erase(layer.summaries.begin(), layer.summaries.begin() + static_cast<std::ptrdiff_t>(summaries));
    layer.n_stored = n;
  }
  stored_ = std::move(source);
}

Result<SequenceState> SequenceState::decode_parts(const StateLayout& layout, std::int64_t position,
                                                  std::string_view fixed, std::string_view open_pages) {
  if (position < 0) return corruption(fmt::format("sequence state: position is {}, which is negative", position));
  if (fixed.size() != layout.fixed_bytes()) {
    return corruption(fmt::format("sequence state: the fixed part has {} bytes, the layout needs {}", fixed.size(),
                                  layout.fixed_bytes()));
  }
  const std::int64_t n_open = position % kPageTokens;
  const std::size_t open_bytes =
      std::size_t{layout.n_attention_layers} * 2 * static_cast<std::size_t>(n_open) * layout.row_bytes();
  if (open_pages.size() != open_bytes) {
    return corruption(fmt::format("sequence state: the open pages have {} bytes, position {} needs {}",
                                  open_pages.size(), position, open_bytes));
  }
  SequenceState state(layout);
  state.position_ = position;
  const char* from = fixed.data();
  for (MambaLayerState& layer : state.mamba) {
    if (!layer.conv.empty()) std::memcpy(layer.conv.data(), from, layer.conv.size());
    from += layer.conv.size();
    if (!layer.ssm.empty()) std::memcpy(layer.ssm.data(), from, layer.ssm.size() * sizeof(float));
    from += layer.ssm.size() * sizeof(float);
  }
  from = open_pages.data();
  for (AttentionLayerState& layer : state.attention) {
    if (n_open == 0) break;
    layer.open = std::make_unique<KvPage>();
    layer.open->bytes.resize(layout.page_bytes());
    for_each_open_run(layout, n_open, [&](std::size_t offset, std::size_t bytes) {
      std::memcpy(layer.open->bytes.data() + offset, from, bytes);
      from += bytes;
    });
  }
  return state;
}

Result<SequenceState> SequenceState::decode(const StateLayout& layout, std::int64_t position, std::string_view fixed,
                                            std::string_view open_pages,
                                            std::vector<std::vector<std::shared_ptr<const KvPage>>> pages) {
  auto state = decode_parts(layout, position, fixed, open_pages);
  if (!state) return state.error();
  if (pages.size() != layout.n_attention_layers) {
    return corruption(fmt::format("sequence state: pages of {} attention layers, the layout has {}", pages.size(),
                                  layout.n_attention_layers));
  }
  const auto n_full = static_cast<std::size_t>(position / kPageTokens);
  for (std::size_t layer = 0; layer < pages.size(); ++layer) {
    if (pages[layer].size() != n_full) {
      return corruption(fmt::format("sequence state: attention layer {} has {} full pages, position {} needs {}", layer,
                                    pages[layer].size(), position, n_full));
    }
    for (std::size_t index = 0; index < n_full; ++index) {
      if (pages[layer][index] == nullptr) {
        return corruption(fmt::format("sequence state: page {} of attention layer {} is missing", index, layer));
      }
      if (pages[layer][index]->bytes.size() != layout.page_bytes()) {
        return corruption(fmt::format("sequence state: page {} of attention layer {} has {} bytes, the layout needs {}",
                                      index, layer, pages[layer][index]->bytes.size(), layout.page_bytes()));
      }
    }
    state->attention[layer].full = std::move(pages[layer]);
  }
  return state;
}

Result<SequenceState> SequenceState::decode(const StateLayout& layout, std::int64_t position, std::string_view fixed,
                                            std::string_view open_pages, std::shared_ptr<const PageSource> pages) {
  auto state = decode_parts(layout, position, fixed, open_pages);
  if (!state) return state.error();
  const std::int64_t n_full = layout.n_attention_layers == 0 ? 0 : position / kPageTokens;
  const std::int64_t n_there = pages == nullptr ? 0 : pages->n_pages();
  if (n_there < n_full) {
    return corruption(
        fmt::format("sequence state: {} full pages are stored, position {} needs {}", n_there, position, n_full));
  }
  if (n_full == 0) return state;
  for (AttentionLayerState& layer : state->attention) layer.n_stored = n_full;
  state->stored_ = std::move(pages);
  return state;
}

Result<bool> SequenceState::compare(const SequenceState& other) const {
  if (!(layout_ == other.layout_) || position_ != other.position_) return false;
  for (std::size_t i = 0; i < mamba.size(); ++i) {
    const MambaLayerState &a = mamba[i], &b = other.mamba[i];
    if (a.conv != b.conv) return false;
    // Bytes, not values: two NaNs are the same state, and -0 is not 0.
    if (!a.ssm.empty() && std::memcmp(a.ssm.data(), b.ssm.data(), a.ssm.size() * sizeof(float)) != 0) return false;
  }
  const std::int64_t n_open = position_ % kPageTokens;
  for (std::size_t i = 0; i < attention.size(); ++i) {
    const AttentionLayerState &a = attention[i], &b = other.attention[i];
    if (a.n_full() != b.n_full()) return false;
    for (std::int64_t index = 0; index < a.n_full(); ++index) {
      auto from_a = page(static_cast<std::uint32_t>(i), index),
           from_b = other.page(static_cast<std::uint32_t>(i), index);
      if (!from_a) return from_a.error();
      if (!from_b) return from_b.error();
      if (from_a->bytes != from_b->bytes && std::memcmp(from_a->bytes, from_b->bytes, layout_.page_bytes()) != 0) {
        return false;
      }
    }
    if (n_open != 0 && !same_open(layout_, n_open, *a.open, *b.open)) return false;
  }
  return true;
}

bool SequenceState::same_as(const SequenceState& other) const {
  const auto same = compare(other);
  return same.has_value() && *same;
}

}  // namespace longhaul::model
