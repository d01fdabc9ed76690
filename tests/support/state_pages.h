// A full page of a state as text, and pages served from memory the way a store serves them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "model/page_summary.h"
#include "model/sequence_state.h"

namespace longhaul::model {

inline std::string page_text(const SequenceState& state, std::uint32_t layer, std::int64_t index) {
  auto page = state.page(layer, index);
  if (!page) {
    ADD_FAILURE() << page.error().message;
    return {};
  }
  return {reinterpret_cast<const char*>(page->bytes), state.layout().page_bytes()};
}

// Copies of a state's full pages. Counts what is asked for, gives each page other memory every time (so that one that
// is used after it was let go is found by the sanitizers), and can have damaged pages.
class MemoryPages : public PageSource {
 public:
  explicit MemoryPages(const SequenceState& state, std::int64_t window = 3) : layout_(state.layout()), window_(window) {
    n_pages_ = state.n_full_pages();
    pages_.resize(layout_.n_attention_layers);
    summaries_.resize(layout_.n_attention_layers);
    for (std::uint32_t layer = 0; layer < layout_.n_attention_layers; ++layer) {
      for (std::int64_t i = 0; i < n_pages_; ++i) {
        pages_[layer].push_back(page_text(state, layer, i));
        std::string summary(summary_bytes(layout_), '\0');
        summarise_page(layout_, reinterpret_cast<const std::byte*>(pages_[layer].back().data()),
                       reinterpret_cast<std::byte*>(summary.data()));
        summaries_[layer].push_back(std::move(summary));
      }
    }
  }

  std::int64_t n_pages() const override { return n_pages_; }
  std::int64_t window() const override { return window_; }

  Result<void> load(std::uint32_t layer, std::span<const std::int64_t> pages, std::span<PagePin> out) const override {
    for (std::size_t i = 0; i < pages.size(); ++i) {
      if (damaged_.contains({layer, pages[i]})) {
        return corruption("page " + std::to_string(pages[i]) + " of attention layer " + std::to_string(layer));
      }
      const auto& page = pages_[layer][static_cast<std::size_t>(pages[i])];
      auto copy = std::make_shared<std::vector<std::byte>>(page.size());
      std::memcpy(copy->data(), page.data(), page.size());
      bytes_read_ += page.size();
      out[i] = {copy, copy->data()};
      held_max_ = std::max<std::int64_t>(held_max_, static_cast<std::int64_t>(pages.size()));
    }
    return {};
  }
  void prefetch(std::uint32_t, std::span<const std::int64_t>) const override {}
  // In blocks of three pages, as a store with many commits gives them.
  Result<std::vector<SummaryBlock>> summaries(std::uint32_t layer) const override {
    std::vector<SummaryBlock> out;
    for (std::int64_t first = 0; first < n_pages_; first += 3) {
      SummaryBlock block{first, std::min<std::int64_t>(3, n_pages_ - first), nullptr, nullptr};
      auto bytes = std::make_shared<std::string>();
      for (std::int64_t i = 0; i < block.n; ++i) *bytes += summaries_[layer][static_cast<std::size_t>(first + i)];
      block.keep = bytes;
      block.bytes = reinterpret_cast<const std::byte*>(bytes->data());
      out.push_back(std::move(block));
    }
    return out;
  }
  std::uint64_t bytes_read() const override { return bytes_read_; }

  void damage(std::uint32_t layer, std::int64_t page) { damaged_[{layer, page}] = true; }
  void repair() { damaged_.clear(); }
  std::int64_t held_max() const { return held_max_; }  // pages asked for at once

 private:
  StateLayout layout_;
  std::int64_t window_, n_pages_ = 0;
  std::vector<std::vector<std::string>> pages_, summaries_;
  std::map<std::pair<std::uint32_t, std::int64_t>, bool> damaged_;
  mutable std::atomic<std::uint64_t> bytes_read_{0};
  mutable std::int64_t held_max_ = 0;
};

}  // namespace longhaul::model
