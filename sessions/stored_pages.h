// The full pages of one lineage, left in the store: what a loaded state reads its context from. Internal.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "model/page_source.h"
#include "sessions/lineage.h"
#include "sessions/page_cache.h"

namespace longhaul::sessions {

class StoredPages : public model::PageSource {
 public:
  // `runs` are contiguous from page 0 and cover `n_pages`. `place` begins every error. `before`, if not null, is a
  // source of the same lineage whose summaries need not be read again.
  StoredPages(std::shared_ptr<PageCache> cache, const model::StateLayout& layout, std::vector<PageRun> runs,
              std::int64_t n_pages, std::string place, const StoredPages* before = nullptr);

  std::int64_t n_pages() const override { return n_pages_; }
  std::int64_t window() const override { return window_; }
  Result<void> load(std::uint32_t layer, std::span<const std::int64_t> pages,
                    std::span<model::PagePin> out) const override;
  void prefetch(std::uint32_t layer, std::span<const std::int64_t> pages) const override;
  Result<std::vector<model::SummaryBlock>> summaries(std::uint32_t layer) const override;
  std::uint64_t bytes_read() const override { return *counter_; }

  // The value that page `index` of a layer is in.
  ObjectRef object_of(std::uint32_t layer, std::uint64_t index) const;

 private:
  std::size_t run_of(std::uint64_t index) const;
  std::string page_place(std::uint32_t layer, std::uint64_t index) const;

  std::shared_ptr<PageCache> cache_;
  model::StateLayout layout_;
  std::vector<PageRun> runs_;
  std::int64_t n_pages_, window_;
  std::string place_;
  std::shared_ptr<std::atomic<std::uint64_t>> counter_;

  mutable std::mutex mutex_;
  mutable std::vector<std::shared_ptr<const std::string>> summaries_;  // sealed, a run each; read when first wanted
};

}  // namespace longhaul::sessions
