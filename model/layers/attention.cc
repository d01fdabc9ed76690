#include "model/layers/attention.h"

#include <algorithm>
#include <numeric>

#include "model/layers/page_choice.h"
#include "model/layers/page_walk.h"
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
  const bool in_open = position / kPageTokens == cache.n_full();
  if (target.overflow == nullptr) {
    LONGHAUL_DCHECK(in_open, "an ordinary row goes to the open page");
    if (cache.open == nullptr) cache.open = new_page(layout);
    return *cache.open;
  }
  if (in_open && cache.open != nullptr) return *cache.open;
  if (*target.overflow == nullptr) *target.overflow = new_page(layout);
  return **target.overflow;
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

// The next attention layer's first window is read while the layers in between compute.
void read_next_layer(const StepContext& step, std::span<const KvTarget> targets) {
  if (!step.kv.exact()) return;  // which pages it will want is not known yet
  for (const KvTarget& target : targets) {
    if (target.stored == nullptr || target.layer + 1 >= step.layout.n_attention_layers) continue;
    std::vector<std::int64_t> pages(
        static_cast<std::size_t>(std::min(target.stored->window(), target.cache->n_stored)));
    std::iota(pages.begin(), pages.end(), 0);
    target.stored->prefetch(target.layer + 1, pages);
  }
}

Result<void> attention_forward(const StepContext& step, const AttentionLayer& layer, std::span<const KvTarget> targets,
                               const float* normed, float* residual) {
  const ModelConfig& config = step.config;
  const std::int64_t q_width = config.n_heads * config.head_dim, kv_width = config.n_kv_heads * config.head_dim;
  float* q = step.work.projection.floats(step.n_rows * (q_width + 2 * kv_width));
  float* k = q + step.n_rows * q_width;
  float* v = k + step.n_rows * kv_width;
  apply(step, layer.q_proj, normed, step.n_rows, q);
  apply(step, layer.k_proj, normed, step.n_rows, k);
  apply(step, layer.v_proj, normed, step.n_rows, v);
  for (const KvTarget& target : targets) append_kv(step.layout, target, k, v);

  float* mixed = step.work.inner.floats(step.n_rows * q_width);
  if (targets.front().report != nullptr) {
    if (auto r = attend_chosen(step, targets, {q, mixed}); !r) return r;
  } else {
    std::vector<PageWalk> walks;
    for (const KvTarget& target : targets) walks.push_back(whole_walk(target));
    if (auto r = walk_pages(step, walks, {q, mixed}); !r) return r;
  }
  read_next_layer(step, targets);
  float* result = step.work.result.floats(step.n_rows * config.d_model);
  apply(step, layer.o_proj, mixed, step.n_rows, result);
  add_rows(result, step.n_rows * config.d_model, residual);
  return {};
}

}  // namespace longhaul::model
