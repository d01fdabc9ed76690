// Grouped-query attention without positions, over the KV pages of each sequence. K and V are rounded to their stored
// type and put into the pages before any query looks at them, also within a chunk.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "model/engine.h"
#include "model/layers/layer.h"

namespace longhaul::model {

struct AttentionLayer {
  Linear q_proj, k_proj, v_proj, o_proj;
};

AttentionLayer load_attention(Loader& loader, const ModelConfig& config, const std::string& prefix);

// Where the rows of one segment go: after the first `position` tokens of `cache`. With `overflow` the cache does not
// move: rows of the open page are written behind the position, where nothing reads them, and the page after it (or the
// page that would be opened) is *overflow. At most kPageTokens rows then.
struct KvTarget {
  std::int64_t first_row = 0, n_rows = 0, position = 0;
  AttentionLayerState* cache = nullptr;
  std::unique_ptr<KvPage>* overflow = nullptr;
  const PageSource* stored = nullptr;  // where the cache's first pages are, if any
  std::uint32_t layer = 0;             // in `stored`
  KvReport* report = nullptr;          // not null: pages are chosen by StepContext::kv, and accounted for here
};

// Puts K and V rows ([n_rows][n_kv_heads * head_dim] fp32, starting at the target's first row) into the pages.
void append_kv(const StateLayout& layout, const KvTarget& target, const float* k, const float* v);
// After a provisional append: the cache's pages take the first n_tokens of it.
void accept_kv(std::int64_t position, std::int64_t n_tokens, AttentionLayerState& cache,
               std::unique_ptr<KvPage>& overflow);

// residual += mixer(normed) for the rows of all targets. An error names the page that could not be had; then K and V
// have been appended and the residual is as it was.
Result<void> attention_forward(const StepContext& step, const AttentionLayer& layer, std::span<const KvTarget> targets,
                               const float* normed, float* residual);

}  // namespace longhaul::model
