// A Mamba-2 mixer: in_proj, causal convolution, recurrence, gated group norm, out_proj. The state it carries per
// sequence is in MambaLayerState.
#pragma once

#include <string>

#include "model/layers/layer.h"

namespace longhaul::model {

struct Mamba2Layer {
  Linear in_proj;                             // rows: z | x | B | C | dt
  std::vector<float> conv_weight, conv_bias;  // [d_conv][conv_channels], [conv_channels]
  std::vector<float> a, d, dt_bias;           // [n_mamba_heads]; a = -exp(A_log)
  std::vector<float> norm;                    // [d_inner]
  Linear out_proj;
};

Mamba2Layer load_mamba2(Loader& loader, const ModelConfig& config, const Kernels& kernels, const std::string& prefix);

// residual += mixer(normed), for all segments; `index` counts Mamba layers. Advances the states of ordinary segments
// and fills PendingStep::mamba of provisional ones.
void mamba2_forward(const StepContext& step, const Mamba2Layer& layer, std::size_t index, const float* normed,
                    float* residual);

// Moves one sequence's state of this layer over the first n_tokens of a provisional step: the same convolution and
// recurrence on the same inputs, hence the same bits.
void mamba2_replay(const StepContext& step, const Mamba2Layer& layer, const PendingStep::Mamba& pending,
                   std::int64_t n_tokens, MambaLayerState& state);

}  // namespace longhaul::model
