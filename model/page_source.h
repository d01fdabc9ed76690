// Full KV pages that are not in a sequence's own memory: where the engine gets them from, and what is known of them
// without reading them. The sessions room implements it over its store; this room only asks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "runtime/base/result.h"

namespace longhaul::model {

// One full page, laid out as KvPage::bytes; good for as long as `keep` is held.
struct PagePin {
  std::shared_ptr<const void> keep;
  const std::byte* bytes = nullptr;
};

// Summaries of pages [first, first + n) of one layer (page_summary.h), one after the other.
struct SummaryBlock {
  std::int64_t first = 0, n = 0;
  std::shared_ptr<const void> keep;
  const std::byte* bytes = nullptr;
};

// Immutable in what it gives; shared by sequences and their clones; every method may be called from any thread.
class PageSource {
 public:
  virtual ~PageSource() = default;

  virtual std::int64_t n_pages() const = 0;  // pages [0, n_pages) of every attention layer of the backbone
  // How many pages one reader should hold at a time, so that what is held and what is read ahead fit the cache.
  virtual std::int64_t window() const = 0;

  // The given pages (ascending) of a layer, checked. kCorruption and kIo name the page that is damaged or unreadable;
  // then nothing is pinned. `out` is as long as `pages`.
  virtual Result<void> load(std::uint32_t layer, std::span<const std::int64_t> pages, std::span<PagePin> out) const = 0;
  // Says that `load` will ask for these soon. Returns at once; pages that cannot be read are load's to report.
  virtual void prefetch(std::uint32_t layer, std::span<const std::int64_t> pages) const = 0;
  // Of all pages, in order.
  virtual Result<std::vector<SummaryBlock>> summaries(std::uint32_t layer) const = 0;

  virtual std::uint64_t bytes_read() const = 0;  // so far, for this source, from wherever pages are kept
};

}  // namespace longhaul::model
