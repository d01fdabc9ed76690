// The multi-token prediction module: guesses the token after the next one from a hidden row and the next token.
//   x = eh_proj(concat(norm(embedding[next]; enorm), norm(h; hnorm)));  x += attention, x += experts (each with its
//   norm) o = norm(x; final_layernorm);  logits = lm_head(o);  the following guess takes h = o
// Its KV is a cache in the sequence state. Rows for consumed tokens are computed as they are consumed (for them only K
// and V matter, so it costs a fraction of a layer); rows of guesses are forgotten after drafting.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "model/layers/attention.h"
#include "model/layers/mlp.h"
#include "model/layers/moe.h"

namespace longhaul::model {

struct MtpModule {
  std::vector<float> enorm, hnorm;  // [d_model]
  Linear eh_proj;                   // [d_model, 2 d_model]: the embedding half first
  std::vector<float> attention_norm;
  AttentionLayer attention;
  struct Feed {  // what follows the attention: experts or a dense MLP
    LayerKind kind = LayerKind::kMoe;
    std::vector<float> norm;
    MoeLayer moe;
    MlpLayer mlp;
  };
  std::vector<Feed> feeds;
  std::vector<float> final_norm;
};

// kUnsupported (through the loader's caller) if the schedule is not one attention layer followed by others without
// state.
Result<void> check_mtp_schedule(const ModelConfig& config);
MtpModule load_mtp(Loader& loader, const ModelConfig& config);

// Rows of (embedding of a token, hidden row before it) side by side, [n_rows][2 d_model], not normalised; becomes x.
void mtp_join(const StepContext& step, const MtpModule& module, float* pairs, float* x);
// Adds the targets' rows to the draft cache: x as mtp_join left it.
void mtp_cache(const StepContext& step, const MtpModule& module, std::span<const KvTarget> targets, const float* x);
// x becomes o.
void mtp_forward(const StepContext& step, const MtpModule& module, const KvTarget& target, float* x);

}  // namespace longhaul::model
