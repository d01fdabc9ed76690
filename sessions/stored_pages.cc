#include "sessions/stored_pages.h"

#include <fmt/format.h>

#include <algorithm>

#include "model/page_summary.h"
#include "sessions/page_run.h"

namespace longhaul::sessions {
namespace {

// What a reader holds at a time, at most: enough for a disk to run at its sequential speed. Chosen, not measured.
constexpr std::size_t kWindowBytes = std::size_t{8} << 20;

}  // namespace

StoredPages::StoredPages(std::shared_ptr<PageCache> cache, const model::StateLayout& layout, std::vector<PageRun> runs,
                         std::int64_t n_pages, std::string place, const StoredPages* before)
    : cache_(std::move(cache)),
      layout_(layout),
      runs_(std::move(runs)),
      n_pages_(n_pages),
      place_(std::move(place)),
      counter_(before != nullptr ? before->counter_ : std::make_shared<std::atomic<std::uint64_t>>(0)) {
  // A window is held and another read ahead, and there should be room for a second reader.
  const std::size_t bytes = std::min(kWindowBytes, cache_->budget() / 4);
  window_ = std::max<std::int64_t>(1, static_cast<std::int64_t>(bytes / std::max<std::size_t>(1, layout.page_bytes())));
  summaries_.resize(runs_.size());
  if (before == nullptr) return;
  const std::lock_guard lock(before->mutex_);
  for (std::size_t i = 0; i < runs_.size() && i < before->runs_.size(); ++i) {
    if (runs_[i].generation == before->runs_[i].generation) summaries_[i] = before->summaries_[i];
  }
}

std::size_t StoredPages::run_of(std::uint64_t index) const {
  const auto after = std::upper_bound(runs_.begin(), runs_.end(), index,
                                      [](std::uint64_t page, const PageRun& run) { return page < run.first; });
  return static_cast<std::size_t>(after - runs_.begin()) - 1;
}

ObjectRef StoredPages::object_of(std::uint32_t layer, std::uint64_t index) const {
  const PageRun& run = runs_[run_of(index)];
  const PageObjectPlace place = object_place(run, index);
  return {{run.generation, layer, place.first}, place.n, layout_.page_bytes(), counter_};
}

std::string StoredPages::page_place(std::uint32_t layer, std::uint64_t index) const {
  return fmt::format("{}: {}", place_, sessions::page_place(runs_[run_of(index)], layer, index));
}

Result<void> StoredPages::load(std::uint32_t layer, std::span<const std::int64_t> pages,
                               std::span<model::PagePin> out) const {
  std::vector<ObjectRef> refs;
  std::vector<std::size_t> ref_of(pages.size());
  for (std::size_t i = 0; i < pages.size(); ++i) {
    const auto index = static_cast<std::uint64_t>(pages[i]);
    if (refs.empty() || index >= refs.back().key.first_page + refs.back().n_pages) {
      refs.push_back(object_of(layer, index));
    }
    ref_of[i] = refs.size() - 1;
  }
  auto objects = cache_->get(refs);
  if (!objects) {
    // Which of them it was is asked again, one by one: this is the rare case.
    for (std::size_t i = 0; i < pages.size(); ++i) {
      auto one = cache_->get({&refs[ref_of[i]], 1});
      if (!one) return with_context(page_place(layer, static_cast<std::uint64_t>(pages[i])), one.error());
    }
    return with_context(place_, objects.error());
  }
  for (std::size_t i = 0; i < pages.size(); ++i) {
    const auto& object = (*objects)[ref_of[i]];
    const auto index = static_cast<std::uint64_t>(pages[i]);
    const auto within = static_cast<std::uint32_t>(index - refs[ref_of[i]].key.first_page);
    if (const Error* problem = object->problem(within)) {
      std::fill(out.begin(), out.end(), model::PagePin{});
      return with_context(page_place(layer, index), *problem);
    }
    out[i] = {object, object->page(within)};
  }
  return {};
}

void StoredPages::prefetch(std::uint32_t layer, std::span<const std::int64_t> pages) const {
  std::vector<ObjectRef> refs;
  for (const std::int64_t page : pages) {
    const auto index = static_cast<std::uint64_t>(page);
    if (refs.empty() || index >= refs.back().key.first_page + refs.back().n_pages) {
      refs.push_back(object_of(layer, index));
    }
  }
  cache_->prefetch(refs);
}

Result<std::vector<model::SummaryBlock>> StoredPages::summaries(std::uint32_t layer) const {
  const std::size_t each = model::summary_bytes(layout_);
  std::vector<model::SummaryBlock> out;
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < runs_.size() && runs_[i].first < static_cast<std::uint64_t>(n_pages_); ++i) {
    const PageRun& run = runs_[i];
    const std::string place = fmt::format("{}: summaries of pages {} to {} (branch {}, generation {})", place_,
                                          run.first, run.first + run.n - 1, run.branch, run.generation);
    if (summaries_[i] == nullptr) {
      auto sealed = cache_->summaries(run.generation);
      if (!sealed) return with_context(place, sealed.error());
      auto payload = unseal(Family::kSummaries, summaries_key(run.generation), **sealed, ValueKind::kSummaries);
      if (!payload) return with_context(place, payload.error());
      auto value = decode_summaries(*payload, each);
      if (!value) return with_context(place, value.error());
      if (value->n_layers != layout_.n_attention_layers || value->n_pages < run.n) {
        return corruption(fmt::format("{}: {} layers of {} pages, {} of {} are needed", place, value->n_layers,
                                      value->n_pages, layout_.n_attention_layers, run.n));
      }
      counter_->fetch_add((*sealed)->size());
      summaries_[i] = *sealed;
    }
    // Checked when it was read; only its place in the value is worked out again.
    const std::string_view payload = std::string_view(*summaries_[i]).substr(8, summaries_[i]->size() - kEnvelopeBytes);
    auto value = decode_summaries(payload, each);
    if (!value) return with_context(place, value.error());
    const std::uint64_t n = std::min<std::uint64_t>(run.n, static_cast<std::uint64_t>(n_pages_) - run.first);
    const char* bytes = value->bytes.data() + std::size_t{layer} * value->n_pages * each;
    out.push_back({static_cast<std::int64_t>(run.first), static_cast<std::int64_t>(n), summaries_[i],
                   reinterpret_cast<const std::byte*>(bytes)});
  }
  return out;
}

}  // namespace longhaul::sessions
