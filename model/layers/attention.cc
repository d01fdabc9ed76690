#include "model/layers/attention.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/check.h"

namespace longhaul::model {
namespace {

std::unique_ptr<KvPage> new_page(const StateLayout& layout) {
  auto page = std::make_unique<KvPage>();
  page->bytes.resize(layout.page_bytes());
  return page;
}

KvPage& page_for(const StateLayout& layout, const KvTarget& target, std::int64_t position) {
  AttentionLayerState& cache = *target.cache;
  const bool in_open = position / kPageTokens == static_cast<std::int64_t>(cache.full.size());
  if (target.overflow == nullptr) {
    LONGHAUL_DCHECK(in_open, "an ordinary row goes to the open page");
    if (cache.open == nullptr) cache.open = new_page(layout);
    return *cache.open;
  }
  if (in_open && cache.open != nullptr) return *cache.open;
  if (*target.overflow == nullptr) *target.overflow = new_page(layout);
  return **target.overflow;
}

std::vector<const std::byte*> pages_of(const KvTarget& target) {
  std::vector<const std::byte*> pages;
  for (const auto& page : target.cache->full) pages.push_back(page->bytes.data());
  if (target.cache->open != nullptr) pages.push_back(target.cache->open->bytes.data());
  if (target.overflow != nullptr && *target.overflow != nullptr) pages.push_back((*target.overflow)->bytes.data());
  return pages;
}

}  // namespace

AttentionLayer load_attention(Loader& loader, const ModelConfig& config, const std::string& prefix) {
  const std::int64_t q = config.n_heads * config.head_dim, kv = config.n_kv_heads * config.head_dim;
  AttentionLayer layer;
  layer.q_proj = loader.linear(prefix + "q_proj", q, config.d_model, config.attention_bias);
  layer.k_proj = loader.linear(prefix + "k_proj", kv, config.d_model, config.attention_bias);
  layer.v_proj = loader.linear(prefix + "v_proj", kv, config.d_model, config.attention_bias);
  layer.o_proj = loader.linear(prefix + "o_proj", config.d_model, q, config.attention_bias);
  return layer;
}

void append_kv(const StateLayout& layout, const KvTarget& target, const float* k, const float* v) {
  const std::int64_t heads = layout.n_kv_heads, head_dim = layout.head_dim;
  const auto head_bytes = head_dim * static_cast<std::int64_t>(layout.stored_bytes());
  for (std::int64_t i = 0; i < target.n_rows; ++i) {
    const std::int64_t position = target.position + i, slot = position % kPageTokens;
    std::byte* page = page_for(layout, target, position).bytes.data();
    const std::int64_t row = (target.first_row + i) * heads * head_dim;
    for (std::int64_t head = 0; head < heads; ++head) {
      store_values(layout.stored, k + row + head * head_dim, head_dim, page + (head * kPageTokens + slot) * head_bytes);
      store_values(layout.stored, v + row + head * head_dim, head_dim,
                   page + ((heads + head) * kPageTokens + slot) * head_bytes);
    }
    if (target.overflow == nullptr && slot == kPageTokens - 1) {
      target.cache->full.push_back(std::shared_ptr<const KvPage>(std::move(target.cache->open)));
    }
  }
}

void accept_kv(std::int64_t position, std::int64_t n_tokens, AttentionLayerState& cache,
               std::unique_ptr<KvPage>& overflow) {
  if (n_tokens == 0) return;
  const std::int64_t end = position + n_tokens;
  if (cache.open == nullptr) cache.open = std::move(overflow);
  if (end / kPageTokens == position / kPageTokens) return;
  cache.full.push_back(std::shared_ptr<const KvPage>(std::move(cache.open)));
  if (end % kPageTokens != 0) cache.open = std::move(overflow);
}

void attention_forward(const StepContext& step, const AttentionLayer& layer, std::span<const KvTarget> targets,
                       const float* normed, float* residual) {
  const ModelConfig& config = step.config;
  const std::int64_t q_width = config.n_heads * config.head_dim, kv_width = config.n_kv_heads * config.head_dim;
  float* q = step.work.projection.floats(step.n_rows * (q_width + 2 * kv_width));
  float* k = q + step.n_rows * q_width;
  float* v = k + step.n_rows * kv_width;
  apply(step, layer.q_proj, normed, step.n_rows, q);
  apply(step, layer.k_proj, normed, step.n_rows, k);
  apply(step, layer.v_proj, normed, step.n_rows, v);

  // Blocks of queries share the reading of each page. Eight is chosen, not measured.
  constexpr std::int64_t kQueries = 8;
  struct Block {
    std::size_t target;
    std::int64_t first, n;
  };
  std::vector<std::vector<const std::byte*>> pages;
  std::vector<Block> blocks;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    append_kv(step.layout, targets[i], k, v);
    pages.push_back(pages_of(targets[i]));
    for (std::int64_t first = 0; first < targets[i].n_rows; first += kQueries) {
      blocks.push_back({i, first, std::min(kQueries, targets[i].n_rows - first)});
    }
  }

  const std::int64_t group = config.n_heads / config.n_kv_heads;
  const float scale = 1.0F / std::sqrt(static_cast<float>(config.head_dim));
  float* mixed = step.work.inner.floats(step.n_rows * q_width);
  step.pool.run(static_cast<std::int64_t>(blocks.size()) * config.n_kv_heads, [&](std::int64_t task, int worker) {
    const Block& block = blocks[static_cast<std::size_t>(task / config.n_kv_heads)];
    const KvTarget& target = targets[block.target];
    const std::int64_t kv_head = task % config.n_kv_heads;
    const std::int64_t offset = (target.first_row + block.first) * q_width + kv_head * group * config.head_dim;
    AttentionArgs args{.pages = pages[block.target].data(),
                       .bf16 = step.layout.stored == StoredType::kBf16,
                       .n_kv_heads = config.n_kv_heads,
                       .kv_head = kv_head,
                       .head_dim = config.head_dim,
                       .n_group = group,
                       .first_position = target.position + block.first,
                       .n_queries = block.n,
                       .scale = scale,
                       .q = q + offset,
                       .q_stride = q_width,
                       .out = mixed + offset,
                       .out_stride = q_width};
    args.scratch = step.work.per_worker[static_cast<std::size_t>(worker)].floats(args.scratch_floats());
    step.kernels.attention(args);
  });
  float* result = step.work.result.floats(step.n_rows * config.d_model);
  apply(step, layer.o_proj, mixed, step.n_rows, result);
  add_rows(result, step.n_rows * config.d_model, residual);
}

}  // namespace longhaul::model
