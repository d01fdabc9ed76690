#include "model/layers/page_walk.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace longhaul::model {
namespace {

// How far a walk has come.
struct Cursor {
  std::int64_t n_stored = 0;  // the first so many pages of the list are in the source
  std::int64_t window = 0;
  std::int64_t first = 0, end = 0;  // of the list
  std::vector<PagePin> pins;
  std::vector<const std::byte*> pages;
};

const std::byte* own_page(const KvTarget& target, std::int64_t index) {
  const AttentionLayerState& cache = *target.cache;
  const std::int64_t own = index - cache.n_stored, n_full = static_cast<std::int64_t>(cache.full.size());
  if (own < n_full) return cache.full[static_cast<std::size_t>(own)]->bytes.data();
  if (own == n_full && cache.open != nullptr) return cache.open->bytes.data();
  return (*target.overflow)->bytes.data();
}

std::span<const std::int64_t> stored_part(const PageWalk& walk, const Cursor& at, std::int64_t first) {
  const std::int64_t end = std::min(first + at.window, at.n_stored);
  if (first >= end) return {};
  return std::span(walk.pages).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(end - first));
}

// Moves on to the next window and takes hold of its pages.
Result<void> advance(const PageWalk& walk, Cursor& at) {
  const auto n_pages = static_cast<std::int64_t>(walk.pages.size());
  at.first = at.end;
  const auto stored = stored_part(walk, at, at.first);
  at.end = at.first + static_cast<std::int64_t>(stored.size());
  if (at.end == at.n_stored) at.end = n_pages;  // own pages need no window
  at.pages.clear();
  at.pins.assign(stored.size(), {});
  if (!stored.empty()) {
    const KvTarget& target = *walk.target;
    // What comes next is read while these are waited for and computed with.
    const auto next = stored_part(walk, at, at.first + at.window);
    if (!next.empty()) target.stored->prefetch(target.layer, next);
    if (auto r = target.stored->load(target.layer, stored, at.pins); !r) return r.error();
  }
  for (const PagePin& pin : at.pins) at.pages.push_back(pin.bytes);
  for (std::int64_t i = at.first + static_cast<std::int64_t>(stored.size()); i < at.end; ++i) {
    at.pages.push_back(own_page(*walk.target, walk.pages[static_cast<std::size_t>(i)]));
  }
  return {};
}

}  // namespace

PageWalk whole_walk(const KvTarget& target) {
  PageWalk walk{&target, 0, target.n_rows, {}, target.position};
  walk.pages.resize(static_cast<std::size_t>((target.position + target.n_rows - 1) / kPageTokens + 1));
  std::iota(walk.pages.begin(), walk.pages.end(), 0);
  return walk;
}

Result<void> walk_pages(const StepContext& step, std::span<const PageWalk> walks, const WalkRows& rows, float* maxima,
                        float* sums) {
  const ModelConfig& config = step.config;
  const std::int64_t group = config.n_heads / config.n_kv_heads, width = config.n_heads * config.head_dim;
  struct Block {
    std::size_t walk;
    std::int64_t first, n;
  };
  std::vector<Block> blocks;
  std::vector<Cursor> cursors(walks.size());
  std::int64_t n_lazy = 0;
  for (std::size_t i = 0; i < walks.size(); ++i) {
    const PageWalk& walk = walks[i];
    for (std::int64_t first = 0; first < walk.n; first += kQueryBlock) {
      blocks.push_back({i, first, std::min(kQueryBlock, walk.n - first)});
    }
    const std::int64_t n_stored = walk.target->cache->n_stored;
    cursors[i].n_stored = std::lower_bound(walk.pages.begin(), walk.pages.end(), n_stored) - walk.pages.begin();
    if (cursors[i].n_stored > 0) ++n_lazy;
  }
  for (std::size_t i = 0; i < walks.size(); ++i) {
    if (cursors[i].n_stored == 0) continue;
    cursors[i].window = std::max<std::int64_t>(1, walks[i].target->stored->window() / n_lazy);
    walks[i].target->stored->prefetch(walks[i].target->layer, stored_part(walks[i], cursors[i], 0));
  }

  const std::int64_t running_floats = 2 * kQueryBlock * group;
  const auto n_tasks = static_cast<std::int64_t>(blocks.size()) * config.n_kv_heads;
  float* running = step.work.running.floats(n_tasks * running_floats);
  const float scale = 1.0F / std::sqrt(static_cast<float>(config.head_dim));
  for (bool more = true; more;) {
    more = false;
    for (std::size_t i = 0; i < walks.size(); ++i) {
      if (auto r = advance(walks[i], cursors[i]); !r) return r;
      more = more || cursors[i].end < static_cast<std::int64_t>(walks[i].pages.size());
    }
    step.pool.run(n_tasks, [&](std::int64_t task, int worker) {
      const Block& block = blocks[static_cast<std::size_t>(task / config.n_kv_heads)];
      const PageWalk& walk = walks[block.walk];
      const Cursor& at = cursors[block.walk];
      if (at.first == at.end) return;  // it has come to its end before the others
      const std::int64_t kv_head = task % config.n_kv_heads;
      const std::int64_t offset =
          (walk.target->first_row + walk.first + block.first) * width + kv_head * group * config.head_dim;
      AttentionArgs args{.pages = at.pages.data(),
                         .first_page = at.first,
                         .end_page = at.end,
                         .finish = at.end == static_cast<std::int64_t>(walk.pages.size()),
                         .bf16 = step.layout.stored == StoredType::kBf16,
                         .n_kv_heads = config.n_kv_heads,
                         .kv_head = kv_head,
                         .head_dim = config.head_dim,
                         .n_group = group,
                         .first_position = walk.list_position + block.first,
                         .n_queries = block.n,
                         .scale = scale,
                         .q = rows.q + offset,
                         .q_stride = width,
                         .out = rows.out + offset,
                         .out_stride = width,
                         .running = running + task * running_floats};
      args.scratch = step.work.per_worker[static_cast<std::size_t>(worker)].floats(args.scratch_floats());
      step.kernels.attention(args);
    });
  }
  if (maxima == nullptr) return {};
  for (std::int64_t task = 0; task < n_tasks; ++task) {
    const float* from = running + task * running_floats;  // walk by walk, kv head by kv head: [2][1][group]
    std::copy_n(from, group, maxima + task * group);
    std::copy_n(from + group, group, sums + task * group);
  }
  return {};
}

}  // namespace longhaul::model
