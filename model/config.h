// Dimensions and layer schedule of a Nemotron 3 checkpoint, from config.json with all the spellings in use.
// Facts: the family's published config.json files. Values are checked here, so later code may rely on them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/vocabulary.h"
#include "runtime/base/result.h"

namespace longhaul::model {

enum class LayerKind : char { kMamba = 'M', kAttention = '*', kMoe = 'E', kMlp = '-' };

// How the chat template lays out reasoning (kNano: Nano and Super; kUltra: Ultra and Lightning).
enum class ChatVariant { kNano, kUltra };

struct ModelConfig {
  std::int64_t d_model = 0;  // hidden_size
  std::int64_t vocab_size = 0;
  std::vector<LayerKind> layers;      // the schedule; its length is the depth
  std::vector<LayerKind> mtp_layers;  // schedule of one MTP step; empty if there is none

  // Mamba-2. d_inner = n_mamba_heads * mamba_head_dim (never expand * d_model).
  std::int64_t n_mamba_heads = 0, mamba_head_dim = 0, d_state = 0, n_groups = 0, d_conv = 4;
  bool mamba_proj_bias = false, use_conv_bias = true;
  std::int64_t d_inner() const { return n_mamba_heads * mamba_head_dim; }
  std::int64_t conv_channels() const { return d_inner() + 2 * n_groups * d_state; }
  std::int64_t in_proj_rows() const { return 2 * d_inner() + 2 * n_groups * d_state + n_mamba_heads; }

  // Attention, without positions.
  std::int64_t n_heads = 0, n_kv_heads = 0, head_dim = 0;
  bool attention_bias = false;

  // Dense MLP and experts: down(relu(up(x))^2).
  std::int64_t d_mlp = 0;  // intermediate_size, for '-' layers
  bool mlp_bias = false;
  std::int64_t n_experts = 0, n_experts_per_token = 0, d_expert = 0, d_latent = 0 /* 0: none */, d_shared_expert = 0;
  std::int64_t n_expert_groups = 1, n_top_groups = 1;
  bool norm_topk_prob = true;
  float routed_scaling_factor = 1.0F;
  std::int64_t expert_io() const { return d_latent != 0 ? d_latent : d_model; }

  float norm_eps = 1e-5F;
  bool tie_word_embeddings = false;
  std::int64_t max_position_embeddings = 0;  // advisory: there are no positions
  TokenId bos_token = 1;
  std::vector<TokenId> eos_tokens;  // from config.json and generation_config.json, sorted, without repeats
  std::string chat_format;          // "longhaul_chat_format" if the config has it: "nano" or "ultra"

  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;
};

// Both texts as published. `place` names the file in errors. A bare Infinity or NaN (not legal JSON, but published)
// is read as "unbounded". Unknown layer characters, missing or contradictory fields are named.
Result<ModelConfig> parse_model_config(std::string_view config_json, std::string_view generation_config_json,
                                       std::string_view place);

}  // namespace longhaul::model
