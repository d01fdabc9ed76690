// The layer loop. A step's tokens are cut into slices of at most kSliceRows rows (of several sequences); each slice
// goes through the whole model. Cutting changes nothing in the results (contract C2) and bounds the buffers, however
// long a prompt is.
#include "model/cpu_engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "model/layers/attention.h"
#include "model/layers/mamba2.h"
#include "model/layers/mlp.h"
#include "model/layers/moe.h"
#include "model/mtp.h"
#include "runtime/base/check.h"

namespace longhaul::model {
namespace {

// Rows of a slice. More rows share one reading of an expert's weights; 512 rows of the largest published model need
// some hundred MiB of buffers. Chosen, not measured.
constexpr std::int64_t kSliceRows = 512;
constexpr std::int64_t kMaxProvisional = 64;  // engine.h promises it; less than a page, so one overflow page suffices
static_assert(kMaxProvisional <= kPageTokens);
constexpr int kMaxThreads = 1024;
// Of one sequence in one step: 16 thousand rows of the published vocabulary. Longer prompts that want every row are
// stepped in parts, which changes nothing.
constexpr std::int64_t kMaxLogits = std::int64_t{1} << 31;

struct Block {
  LayerKind kind = LayerKind::kMamba;
  std::size_t index = 0;  // among the layers of its kind
  std::vector<float> norm;
  Mamba2Layer mamba;
  AttentionLayer attention;
  MoeLayer moe;
  MlpLayer mlp;
};

// One sequence's part of a slice.
struct Work {
  std::size_t batch_index = 0;
  std::int64_t first_token = 0;
  Segment segment;
};

StateLayout layout_of(const ModelConfig& config, StoredType stored) {
  StateLayout layout;
  const auto count = [](const std::vector<LayerKind>& layers, LayerKind kind) {
    return static_cast<std::uint32_t>(std::count(layers.begin(), layers.end(), kind));
  };
  layout.n_mamba_layers = count(config.layers, LayerKind::kMamba);
  layout.n_attention_layers = count(config.layers, LayerKind::kAttention);
  layout.n_mtp_attention_layers = count(config.mtp_layers, LayerKind::kAttention);
  if (layout.n_mamba_layers > 0) {
    layout.conv_channels = static_cast<std::uint32_t>(config.conv_channels());
    layout.conv_rows = static_cast<std::uint32_t>(config.d_conv - 1);
    layout.n_mamba_heads = static_cast<std::uint32_t>(config.n_mamba_heads);
    layout.mamba_head_dim = static_cast<std::uint32_t>(config.mamba_head_dim);
    layout.d_state = static_cast<std::uint32_t>(config.d_state);
  }
  if (layout.n_attention_layers + layout.n_mtp_attention_layers > 0) {
    layout.n_kv_heads = static_cast<std::uint32_t>(config.n_kv_heads);
    layout.head_dim = static_cast<std::uint32_t>(config.head_dim);
  }
  layout.stored = stored;
  return layout;
}

Result<void> check_kv_mode(const KvMode& mode) {
  if (mode.budget != 0 && mode.error != 0) {
    return invalid_argument(
        fmt::format("engine: a KV budget ({}) and a KV error ({}) exclude one another", mode.budget, mode.error));
  }
  if (mode.budget != 0 && mode.budget < kKvPagesAlways) {
    return invalid_argument(fmt::format("engine: a KV budget of {} pages; {} are always read, so it must be {} or more",
                                        mode.budget, kKvPagesAlways, kKvPagesAlways));
  }
  if (!(mode.error >= 0 && mode.error < 1)) {
    return invalid_argument(
        fmt::format("engine: a KV error of {}; a share of attention is above 0 and below 1", mode.error));
  }
  return {};
}

Result<void> check_supported(const ModelConfig& config, const EngineOptions& options) {
  if (options.n_threads < 1 || options.n_threads > kMaxThreads) {
    return invalid_argument(
        fmt::format("engine: n_threads is {}, must be from 1 to {}", options.n_threads, kMaxThreads));
  }
  if (auto r = check_kv_mode(options.kv); !r) return r;
  if (config.layers.empty()) return invalid_argument("engine: the config has no layers");
  const auto has = [&](LayerKind kind) {
    return std::find(config.layers.begin(), config.layers.end(), kind) != config.layers.end();
  };
  if (has(LayerKind::kMamba) && (config.d_conv < 2 || config.d_conv > kMaxConv)) {
    return unsupported(fmt::format("engine: conv_kernel is {}; from 2 to {} is supported", config.d_conv, kMaxConv));
  }
  if (!config.mtp_layers.empty() && options.mtp) {
    if (auto r = check_mtp_schedule(config); !r) return r;
  }
  return {};
}

class CpuEngine : public Engine {
 public:
  CpuEngine(const ModelConfig& config, const Kernels& kernels, const EngineOptions& options,
            std::shared_ptr<const void> keep)
      : config_(config), kernels_(kernels), kv_(options.kv), pool_(options.n_threads), keep_(std::move(keep)) {
    work_.per_worker.resize(static_cast<std::size_t>(options.n_threads));
  }

  Result<void> load(WeightSource& source, bool mtp);

  const ModelConfig& config() const override { return config_; }
  const StateLayout& layout() const override { return layout_; }
  const std::string& numerics_tag() const override { return numerics_tag_; }
  std::string_view kernels() const override { return kernels_.name; }
  Result<std::vector<StepResult>> step(std::span<const SequenceStep> batch) override;
  Result<void> accept(SequenceState& state, std::int64_t n_tokens) override;
  Result<std::vector<TokenId>> draft(SequenceState& state, std::span<const float> hidden, TokenId next,
                                     int n_drafts) override;

 private:
  StepContext context(std::span<const Segment> segments, std::int64_t n_rows) {
    return {config_, layout_, kernels_, pool_, work_, segments, n_rows, kv_};
  }
  Result<void> check(std::span<const SequenceStep> batch) const;
  Result<void> run_slice(std::span<const SequenceStep> batch, std::span<const Work> slice,
                         std::vector<StepResult>& results);
  Result<void> run_layers(const StepContext& step, float* x);
  bool keep_states(std::span<const SequenceStep> batch);
  void collect(const StepContext& step, std::span<const SequenceStep> batch, std::span<const Work> slice,
               const float* hidden, std::vector<StepResult>& results);
  void dense_logits(const StepContext& step, const float* hidden, std::int64_t n_rows, float* logits);
  void sparse_logits(const StepContext& step, const float* hidden, std::int64_t n_rows, std::span<const TokenId> rows,
                     float* logits);
  void embed(TokenId token, float* out) const {
    read_floats(embedding_, token * config_.d_model, config_.d_model, out);
  }

  // Consumed tokens of one sequence and their hidden rows, for the draft cache.
  struct Consumed {
    SequenceState* state;
    std::span<const TokenId> tokens;
    const float* hidden;  // [tokens.size()][d_model]
  };
  void fill_draft_cache(std::span<const Consumed> consumed);

  ModelConfig config_;
  const Kernels& kernels_;
  KvMode kv_;
  ThreadPool pool_;
  std::shared_ptr<const void> keep_;
  StateLayout layout_;
  std::string numerics_tag_;
  TensorView embedding_;
  std::vector<Block> blocks_;
  std::vector<float> final_norm_;
  Linear lm_head_;
  std::unique_ptr<MtpModule> mtp_;
  Workspace work_;
  std::vector<SequenceState> kept_;  // copies from before a step that may fail in the middle
};

Result<void> CpuEngine::load(WeightSource& source, bool mtp) {
  Loader loader(source);
  embedding_ = loader.tensor("backbone.embeddings.weight", {config_.vocab_size, config_.d_model});
  // What is stored between steps follows the checkpoint's own type.
  layout_ = layout_of(config_, embedding_.dtype == DType::kBf16 ? StoredType::kBf16 : StoredType::kF32);
  numerics_tag_ = layout_.stored == StoredType::kBf16 ? "cpu-f32-v1/kv-bf16" : "cpu-f32-v1/kv-f32";
  numerics_tag_ += kv_mode_tag(kv_);
  std::size_t n_mamba = 0, n_attention = 0;
  for (std::size_t i = 0; i < config_.layers.size() && loader.ok(); ++i) {
    const std::string prefix = fmt::format("backbone.layers.{}.", i), mixer = prefix + "mixer.";
    Block block;
    block.kind = config_.layers[i];
    block.norm = loader.vector(prefix + "norm.weight", config_.d_model);
    switch (block.kind) {
      case LayerKind::kMamba:
        block.index = n_mamba++;
        block.mamba = load_mamba2(loader, config_, kernels_, mixer);
        break;
      case LayerKind::kAttention:
        block.index = n_attention++;
        block.attention = load_attention(loader, config_, mixer);
        break;
      case LayerKind::kMoe:
        block.moe = load_moe(loader, config_, mixer);
        break;
      case LayerKind::kMlp:
        block.mlp = load_mlp(loader, config_.d_model, config_.d_mlp, config_.mlp_bias, mixer);
        break;
    }
    blocks_.push_back(std::move(block));
  }
  final_norm_ = loader.vector("backbone.norm_f.weight", config_.d_model);
  lm_head_ = loader.linear(config_.tie_word_embeddings ? "backbone.embeddings" : "lm_head", config_.vocab_size,
                           config_.d_model, false);
  if (mtp && !config_.mtp_layers.empty() && loader.ok()) {
    mtp_ = std::make_unique<MtpModule>(load_mtp(loader, config_));
  }
  if (!loader.ok()) return loader.error();
  return {};
}

Result<void> CpuEngine::check(std::span<const SequenceStep> batch) const {
  std::vector<const SequenceState*> seen;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const SequenceStep& item = batch[i];
    if (item.state == nullptr) return invalid_argument(fmt::format("step: sequence {} has no state", i));
    if (!(item.state->layout() == layout_)) {
      return invalid_argument(fmt::format("step: the state of sequence {} has another layout than the model", i));
    }
    if (item.tokens.empty()) return invalid_argument(fmt::format("step: sequence {} has no tokens", i));
    for (std::size_t t = 0; t < item.tokens.size(); ++t) {
      if (item.tokens[t] >= config_.vocab_size) {
        return invalid_argument(fmt::format("step: token {} of sequence {} is {}, the vocabulary has {}", t, i,
                                            item.tokens[t], config_.vocab_size));
      }
    }
    for (TokenId row : item.rows) {
      if (row >= config_.vocab_size) {
        return invalid_argument(fmt::format("step: sequence {} asks for the logit of token {}, the vocabulary has {}",
                                            i, row, config_.vocab_size));
      }
    }
    const auto n_tokens = static_cast<std::int64_t>(item.tokens.size());
    if (item.wanted == LogitsWanted::kAll && n_tokens > kMaxLogits / config_.vocab_size) {
      return invalid_argument(fmt::format("step: sequence {} wants {} rows of logits at once, at most {} are allowed",
                                          i, n_tokens, kMaxLogits / config_.vocab_size));
    }
    if (item.provisional && n_tokens > kMaxProvisional) {
      return invalid_argument(fmt::format("step: sequence {} has {} provisional tokens, at most {} are allowed", i,
                                          n_tokens, kMaxProvisional));
    }
    seen.push_back(item.state);
  }
  std::sort(seen.begin(), seen.end());
  const auto twice = std::adjacent_find(seen.begin(), seen.end());
  if (twice == seen.end()) return {};
  for (std::size_t i = 0;; ++i) {
    if (batch[i].state == *twice) {
      return invalid_argument(fmt::format("step: the state of sequence {} is in the batch twice", i));
    }
  }
}

Result<std::vector<StepResult>> CpuEngine::step(std::span<const SequenceStep> batch) {
  if (auto r = check(batch); !r) return r.error();
  std::vector<StepResult> results(batch.size());
  const bool kept = keep_states(batch);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const SequenceStep& item = batch[i];
    item.state->pending.reset();
    const auto n_tokens = item.tokens.size();
    const std::size_t n_logits = item.wanted == LogitsWanted::kNone   ? 0
                                 : item.wanted == LogitsWanted::kLast ? 1
                                                                      : n_tokens;
    if (item.state->stored() != nullptr) results[i].kv.bytes_read = item.state->stored()->bytes_read();
    if (!kv_.exact()) results[i].kv.mass_bound.resize(layout_.n_attention_layers);
    results[i].logits.resize(n_logits * static_cast<std::size_t>(config_.vocab_size));
    if (!item.provisional) continue;
    item.state->pending = std::make_shared<PendingStep>();
    item.state->pending->tokens.assign(item.tokens.begin(), item.tokens.end());
    item.state->pending->mamba.resize(layout_.n_mamba_layers);
    item.state->pending->overflow.resize(layout_.n_attention_layers);
  }

  std::vector<Work> slice;
  std::int64_t n_rows = 0;
  Result<void> outcome;
  const auto flush = [&] {
    if (!slice.empty() && outcome) outcome = run_slice(batch, slice, results);
    slice.clear();
    n_rows = 0;
  };
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const SequenceStep& item = batch[i];
    const auto n_tokens = static_cast<std::int64_t>(item.tokens.size());
    if (item.provisional && n_rows + n_tokens > kSliceRows) flush();  // a provisional step is never cut
    for (std::int64_t first = 0; first < n_tokens;) {
      const std::int64_t n = std::min(n_tokens - first, kSliceRows - n_rows);
      slice.push_back({i, first, {item.state, n_rows, n, item.state->pending.get(), &results[i].kv}});
      n_rows += n;
      first += n;
      if (n_rows == kSliceRows) flush();
    }
  }
  flush();
  LONGHAUL_CHECK(outcome || kept, "only a page of a source can be missing");
  for (std::size_t i = 0; i < batch.size() && kept; ++i) {
    if (!outcome) batch[i].state->assign(kept_[i]);
    kept_[i].drop_pages();
  }
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (batch[i].state->stored() == nullptr) continue;
    results[i].kv.bytes_read = batch[i].state->stored()->bytes_read() - results[i].kv.bytes_read;
  }
  if (outcome) return results;
  return with_context("step", outcome.error());
}

// A page that has to be read can turn out damaged when the layers before it have moved on already. The copy is the
// price of leaving the states as they were: one write of the fixed part a step, in memory that is used again.
bool CpuEngine::keep_states(std::span<const SequenceStep> batch) {
  const bool stored =
      std::any_of(batch.begin(), batch.end(), [](const SequenceStep& item) { return item.state->stored() != nullptr; });
  if (!stored) return false;
  while (kept_.size() < batch.size()) kept_.emplace_back(layout_);
  for (std::size_t i = 0; i < batch.size(); ++i) kept_[i].assign(*batch[i].state);
  return true;
}

Result<void> CpuEngine::run_slice(std::span<const SequenceStep> batch, std::span<const Work> slice,
                                  std::vector<StepResult>& results) {
  const std::int64_t d = config_.d_model;
  std::vector<Segment> segments;
  for (const Work& work : slice) segments.push_back(work.segment);
  const std::int64_t n_rows = segments.back().first_row + segments.back().n_rows;
  const StepContext step = context(segments, n_rows);
  float* x = work_.residual.floats(n_rows * d);
  for (const Work& work : slice) {
    const SequenceStep& item = batch[work.batch_index];
    for (std::int64_t t = 0; t < work.segment.n_rows; ++t) {
      embed(item.tokens[static_cast<std::size_t>(work.first_token + t)], x + (work.segment.first_row + t) * d);
    }
  }
  if (auto r = run_layers(step, x); !r) return r;
  float* hidden = work_.hidden.floats(n_rows * d);
  rms_norm(step, final_norm_, x, n_rows, hidden);
  collect(step, batch, slice, hidden, results);

  std::vector<Consumed> consumed;
  for (const Work& work : slice) {
    const Segment& segment = work.segment;
    const float* rows = hidden + segment.first_row * d;
    if (segment.pending != nullptr) {
      segment.pending->hidden.assign(rows, rows + segment.n_rows * d);
      continue;
    }
    segment.state->set_position(segment.state->position() + segment.n_rows);
    consumed.push_back({segment.state,
                        batch[work.batch_index].tokens.subspan(static_cast<std::size_t>(work.first_token),
                                                               static_cast<std::size_t>(segment.n_rows)),
                        rows});
  }
  fill_draft_cache(consumed);
  return {};
}

Result<void> CpuEngine::run_layers(const StepContext& step, float* x) {
  std::vector<KvTarget> targets;
  for (const Block& block : blocks_) {
    float* normed = work_.normed.floats(step.n_rows * config_.d_model);
    rms_norm(step, block.norm, x, step.n_rows, normed);
    switch (block.kind) {
      case LayerKind::kMamba:
        mamba2_forward(step, block.mamba, block.index, normed, x);
        break;
      case LayerKind::kAttention:
        targets.clear();
        for (const Segment& segment : step.segments) {
          targets.push_back({segment.first_row, segment.n_rows, segment.state->position(),
                             &segment.state->attention[block.index],
                             segment.pending == nullptr ? nullptr : &segment.pending->overflow[block.index],
                             segment.state->stored().get(), static_cast<std::uint32_t>(block.index),
                             step.kv.exact() ? nullptr : segment.report});
        }
        if (auto r = attention_forward(step, block.attention, targets, normed, x); !r) return r;
        break;
      case LayerKind::kMoe:
        moe_forward(step, block.moe, normed, x);
        break;
      case LayerKind::kMlp:
        mlp_forward(step, block.mlp, normed, x);
        break;
    }
  }
  return {};
}

void CpuEngine::dense_logits(const StepContext& step, const float* hidden, std::int64_t n_rows, float* logits) {
  apply(step, lm_head_, hidden, n_rows, logits);
}

// Whole panels of 16 outputs are computed, so that each logit takes the same path as in a full row.
void CpuEngine::sparse_logits(const StepContext& step, const float* hidden, std::int64_t n_rows,
                              std::span<const TokenId> rows, float* logits) {
  std::vector<std::int32_t> panels;
  for (TokenId row : rows) {
    // rows_later: rows given with the step were checked before it.
    LONGHAUL_CHECK(row < config_.vocab_size, "a row of the output matrix that does not exist");
    panels.push_back(static_cast<std::int32_t>(row / kPanel));
  }
  std::sort(panels.begin(), panels.end());
  panels.erase(std::unique(panels.begin(), panels.end()), panels.end());
  const auto width = static_cast<std::int64_t>(panels.size()) * kPanel;
  float* wanted = work_.logits.floats(n_rows * width);
  apply_panels(step, lm_head_, hidden, n_rows, panels, wanted);
  std::fill_n(logits, n_rows * config_.vocab_size, -std::numeric_limits<float>::infinity());
  for (TokenId row : rows) {
    const auto slot = std::lower_bound(panels.begin(), panels.end(), static_cast<std::int32_t>(row / kPanel));
    const std::int64_t column = (slot - panels.begin()) * kPanel + row % kPanel;
    for (std::int64_t t = 0; t < n_rows; ++t) logits[t * config_.vocab_size + row] = wanted[t * width + column];
  }
}

void CpuEngine::collect(const StepContext& step, std::span<const SequenceStep> batch, std::span<const Work> slice,
                        const float* hidden, std::vector<StepResult>& results) {
  const std::int64_t d = config_.d_model, vocab = config_.vocab_size;
  struct Wanted {
    const float* hidden;
    float* logits;
    std::int64_t n_rows;
  };
  std::vector<Wanted> dense;
  for (const Work& work : slice) {
    const SequenceStep& item = batch[work.batch_index];
    StepResult& result = results[work.batch_index];
    const Segment& segment = work.segment;
    const float* rows = hidden + segment.first_row * d;
    const bool last = work.first_token + segment.n_rows == static_cast<std::int64_t>(item.tokens.size());
    if (last) result.last_hidden.assign(rows + (segment.n_rows - 1) * d, rows + segment.n_rows * d);
    if (segment.pending != nullptr) result.hidden.assign(rows, rows + segment.n_rows * d);
    const bool all = item.wanted == LogitsWanted::kAll;
    if (item.wanted == LogitsWanted::kNone || (!all && !last)) continue;
    const float* from = all ? rows : rows + (segment.n_rows - 1) * d;
    const std::int64_t n = all ? segment.n_rows : 1;
    float* logits = result.logits.data() + (all ? work.first_token * vocab : 0);
    const std::span<const TokenId> wanted_rows = item.rows_later ? item.rows_later() : item.rows;
    if (!wanted_rows.empty()) {
      sparse_logits(step, from, n, wanted_rows, logits);
    } else {
      dense.push_back({from, logits, n});
    }
  }
  if (dense.size() == 1) return dense_logits(step, dense[0].hidden, dense[0].n_rows, dense[0].logits);
  // Rows of several sequences share one reading of the output matrix, kGathered at a time.
  constexpr std::int64_t kGathered = 64;
  float* gathered = work_.wanted.floats(kGathered * d);
  std::vector<float*> to;
  const auto flush = [&] {
    const auto n = static_cast<std::int64_t>(to.size());
    if (n == 0) return;
    float* logits = work_.logits.floats(n * vocab);
    dense_logits(step, gathered, n, logits);
    for (std::int64_t i = 0; i < n; ++i) std::copy_n(logits + i * vocab, vocab, to[static_cast<std::size_t>(i)]);
    to.clear();
  };
  for (const Wanted& wanted : dense) {
    for (std::int64_t i = 0; i < wanted.n_rows; ++i) {
      std::copy_n(wanted.hidden + i * d, d, gathered + static_cast<std::int64_t>(to.size()) * d);
      to.push_back(wanted.logits + i * vocab);
      if (to.size() == kGathered) flush();
    }
  }
  flush();
}

// The cache row of a consumed token needs the hidden row of the token before it, which the state keeps from step to
// step.
void CpuEngine::fill_draft_cache(std::span<const Consumed> consumed) {
  if (mtp_ == nullptr) return;
  const std::int64_t d = config_.d_model;
  std::int64_t n_rows = 0;
  for (const Consumed& c : consumed) {
    n_rows += static_cast<std::int64_t>(c.tokens.size()) - (c.state->mtp_hidden.empty() ? 1 : 0);
  }
  float* pairs = work_.mtp_pairs.floats(n_rows * 2 * d);
  float* pair = pairs;
  std::vector<KvTarget> targets;
  std::int64_t row = 0;
  for (const Consumed& c : consumed) {
    const std::size_t first = c.state->mtp_hidden.empty() ? 1 : 0;
    for (std::size_t t = first; t < c.tokens.size(); ++t, pair += 2 * d) {
      embed(c.tokens[t], pair);
      const float* before = t == 0 ? c.state->mtp_hidden.data() : c.hidden + (static_cast<std::int64_t>(t) - 1) * d;
      std::copy_n(before, d, pair + d);
    }
    const auto n = static_cast<std::int64_t>(c.tokens.size() - first);
    if (n > 0)
      targets.push_back(
          {.first_row = row, .n_rows = n, .position = c.state->mtp_position, .cache = c.state->mtp_attention.data()});
    row += n;
    c.state->mtp_position += n;
    const float* last = c.hidden + (static_cast<std::int64_t>(c.tokens.size()) - 1) * d;
    c.state->mtp_hidden.assign(last, last + d);
  }
  if (n_rows == 0) return;
  const StepContext step = context({}, n_rows);
  float* x = work_.mtp_rows.floats(n_rows * d);
  mtp_join(step, *mtp_, pairs, x);
  mtp_cache(step, *mtp_, targets, x);
}

Result<void> CpuEngine::accept(SequenceState& state, std::int64_t n_tokens) {
  if (!(state.layout() == layout_)) return invalid_argument("accept: the state has another layout than the model");
  if (state.pending == nullptr) return invalid_argument("accept: there was no provisional step");
  const auto n_pending = static_cast<std::int64_t>(state.pending->tokens.size());
  if (n_tokens < 0 || n_tokens > n_pending) {
    return invalid_argument(fmt::format("accept: {} tokens, the provisional step had {}", n_tokens, n_pending));
  }
  const std::shared_ptr<PendingStep> pending = std::move(state.pending);
  if (n_tokens == 0) return {};
  const StepContext step = context({}, n_tokens);
  for (const Block& block : blocks_) {
    if (block.kind == LayerKind::kMamba) {
      mamba2_replay(step, block.mamba, pending->mamba[block.index], n_tokens, state.mamba[block.index]);
    } else if (block.kind == LayerKind::kAttention) {
      accept_kv(state.position(), n_tokens, state.attention[block.index], pending->overflow[block.index]);
    }
  }
  state.set_position(state.position() + n_tokens);
  const Consumed consumed{&state, std::span(pending->tokens).first(static_cast<std::size_t>(n_tokens)),
                          pending->hidden.data()};
  fill_draft_cache({&consumed, 1});
  return {};
}

Result<std::vector<TokenId>> CpuEngine::draft(SequenceState& state, std::span<const float> hidden, TokenId next,
                                              int n_drafts) {
  if (!(state.layout() == layout_)) return invalid_argument("draft: the state has another layout than the model");
  if (static_cast<std::int64_t>(hidden.size()) != config_.d_model) {
    return invalid_argument(
        fmt::format("draft: the hidden row has {} values, the model {}", hidden.size(), config_.d_model));
  }
  if (next >= config_.vocab_size) {
    return invalid_argument(
        fmt::format("draft: the next token is {}, the vocabulary has {}", next, config_.vocab_size));
  }
  if (n_drafts < 0 || n_drafts > kMaxProvisional) {
    return invalid_argument(fmt::format("draft: {} drafts, from 0 to {} are allowed", n_drafts, kMaxProvisional));
  }
  std::vector<TokenId> drafts;
  if (mtp_ == nullptr) return drafts;
  const std::int64_t d = config_.d_model;
  const StepContext step = context({}, 1);
  std::unique_ptr<KvPage> overflow;  // rows of guesses end with this call
  float* x = work_.mtp_rows.floats(d);
  float* logits = work_.wanted.floats(config_.vocab_size);
  std::vector<float> h(hidden.begin(), hidden.end());
  for (int i = 0; i < n_drafts; ++i) {
    float* pair = work_.mtp_pairs.floats(2 * d);
    embed(next, pair);
    std::copy(h.begin(), h.end(), pair + d);
    mtp_join(step, *mtp_, pair, x);
    mtp_forward(step, *mtp_,
                {.first_row = 0,
                 .n_rows = 1,
                 .position = state.mtp_position + i,
                 .cache = state.mtp_attention.data(),
                 .overflow = &overflow},
                x);
    dense_logits(step, x, 1, logits);
    TokenId best = 0;
    for (std::int64_t id = 1; id < config_.vocab_size; ++id) {
      if (logits[id] > logits[best]) best = static_cast<TokenId>(id);
    }
    if (std::isnan(logits[best])) break;
    drafts.push_back(best);
    next = best;
    h.assign(x, x + d);
  }
  return drafts;
}

}  // namespace

Result<std::unique_ptr<Engine>> make_cpu_engine(const ModelConfig& config, WeightSource& source,
                                                const EngineOptions& options, std::shared_ptr<const void> keep) {
  if (auto r = check_supported(config, options); !r) return r.error();
  auto kernels = choose_kernels(options.kernels);
  if (!kernels) return kernels.error();
  auto engine = std::make_unique<CpuEngine>(config, **kernels, options, std::move(keep));
  if (auto r = engine->load(source, options.mtp); !r) return r.error();
  return std::unique_ptr<Engine>(std::move(engine));
}

}  // namespace longhaul::model
