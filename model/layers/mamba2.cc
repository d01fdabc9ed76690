#include "model/layers/mamba2.h"

#include <algorithm>
#include <cstring>

namespace longhaul::model {
namespace {

constexpr std::int64_t kConvBlock = 32;  // rows of a convolution task; chosen, not measured

// The rows before a chunk, as fp32: [d_conv - 1][conv_channels].
void load_history(const StepContext& step, const MambaLayerState& state, float* history) {
  load_values(step.layout.stored, state.conv.data(), (step.config.d_conv - 1) * step.config.conv_channels(), history);
}

// Convolves rows first .. first + n - 1 of a chunk `x` (stride apart) that follows `history`.
void convolve(const StepContext& step, const Mamba2Layer& layer, const float* history, const float* x,
              std::int64_t stride, std::int64_t first, std::int64_t n, float* y) {
  const std::int64_t channels = step.config.conv_channels();
  const bool inside = first >= step.config.d_conv - 1;
  step.kernels.conv({.history = inside ? x + (first - (step.config.d_conv - 1)) * stride : history,
                     .history_stride = inside ? stride : channels,
                     .x = x + first * stride,
                     .x_stride = stride,
                     .weight = layer.conv_weight.data(),
                     .bias = layer.conv_bias.data(),
                     .y = y + first * channels,
                     .n_rows = n,
                     .n_channels = channels,
                     .d_conv = step.config.d_conv});
}

// The last d_conv - 1 rows of history and chunk become the state's.
void keep_last_rows(const StepContext& step, const float* history, const float* x, std::int64_t stride, std::int64_t n,
                    MambaLayerState& state) {
  const std::int64_t channels = step.config.conv_channels(), n_kept = step.config.d_conv - 1;
  const auto row_bytes = channels * static_cast<std::int64_t>(step.layout.stored_bytes());
  for (std::int64_t i = 0; i < n_kept; ++i) {
    const std::int64_t row = n - n_kept + i;  // in the chunk; negative: still history
    const float* from = row < 0 ? history + (row + n_kept) * channels : x + row * stride;
    store_values(step.layout.stored, from, channels, state.conv.data() + i * row_bytes);
  }
}

SsmScanArgs scan_args(const ModelConfig& config, const Mamba2Layer& layer, std::int64_t head, const float* mixed,
                      const float* dt, float* state) {
  const std::int64_t group = head / (config.n_mamba_heads / config.n_groups);
  const float* b = mixed + config.d_inner() + group * config.d_state;
  return {.state = state,
          .head_dim = config.mamba_head_dim,
          .d_state = config.d_state,
          .a = layer.a[static_cast<std::size_t>(head)],
          .d = layer.d[static_cast<std::size_t>(head)],
          .x = mixed + head * config.mamba_head_dim,
          .b = b,
          .c = b + config.n_groups * config.d_state,
          .stride = config.conv_channels(),
          .dt = dt + head,
          .dt_stride = config.n_mamba_heads};
}

}  // namespace

Mamba2Layer load_mamba2(Loader& loader, const ModelConfig& config, const Kernels& kernels, const std::string& prefix) {
  const std::int64_t channels = config.conv_channels(), heads = config.n_mamba_heads;
  Mamba2Layer layer;
  layer.in_proj = loader.linear(prefix + "in_proj", config.in_proj_rows(), config.d_model, config.mamba_proj_bias);
  const TensorView conv = loader.tensor(prefix + "conv1d.weight", {channels, 1, config.d_conv});
  if (loader.ok()) {
    layer.conv_weight.resize(static_cast<std::size_t>(channels * config.d_conv));
    std::vector<float> taps(static_cast<std::size_t>(config.d_conv));
    for (std::int64_t c = 0; c < channels; ++c) {
      read_floats(conv, c * config.d_conv, config.d_conv, taps.data());
      for (std::int64_t j = 0; j < config.d_conv; ++j) {
        layer.conv_weight[static_cast<std::size_t>(j * channels + c)] = taps[static_cast<std::size_t>(j)];
      }
    }
  }
  layer.conv_bias = config.use_conv_bias ? loader.vector(prefix + "conv1d.bias", channels)
                                         : std::vector<float>(static_cast<std::size_t>(channels));
  layer.a = loader.vector(prefix + "A_log", heads);
  kernels.exp({.x = layer.a.data(), .y = layer.a.data(), .n = static_cast<std::int64_t>(layer.a.size())});
  for (float& a : layer.a) a = -a;
  layer.d = loader.vector(prefix + "D", heads);
  layer.dt_bias = loader.vector(prefix + "dt_bias", heads);
  layer.norm = loader.vector(prefix + "norm.weight", config.d_inner());
  layer.out_proj = loader.linear(prefix + "out_proj", config.d_model, config.d_inner(), config.mamba_proj_bias);
  return layer;
}

void mamba2_forward(const StepContext& step, const Mamba2Layer& layer, std::size_t index, const float* normed,
                    float* residual) {
  const ModelConfig& config = step.config;
  const std::int64_t width = config.in_proj_rows(), inner = config.d_inner(), channels = config.conv_channels();
  const std::int64_t heads = config.n_mamba_heads, n_history = (config.d_conv - 1) * channels;
  const auto n_segments = static_cast<std::int64_t>(step.segments.size());
  float* projection = step.work.projection.floats(step.n_rows * width);
  apply(step, layer.in_proj, normed, step.n_rows, projection);

  // Pre-convolution rows are rounded to their stored type before any use, also within the chunk (contract C2).
  float* dt = step.work.dt.floats(step.n_rows * heads);
  for (std::int64_t t = 0; t < step.n_rows; ++t) {
    round_to(step.layout.stored, projection + t * width + inner, channels);
    const float* raw = projection + t * width + inner + channels;
    for (std::int64_t h = 0; h < heads; ++h) dt[t * heads + h] = raw[h] + layer.dt_bias[static_cast<std::size_t>(h)];
  }
  step.kernels.softplus({.x = dt, .y = dt, .n = step.n_rows * heads});

  struct Block {
    std::int64_t segment, first, n;
  };
  float* history = step.work.history.floats(n_segments * n_history);
  std::vector<Block> blocks;
  for (std::int64_t s = 0; s < n_segments; ++s) {
    const Segment& segment = step.segments[static_cast<std::size_t>(s)];
    load_history(step, segment.state->mamba[index], history + s * n_history);
    for (std::int64_t first = 0; first < segment.n_rows; first += kConvBlock) {
      blocks.push_back({s, first, std::min(kConvBlock, segment.n_rows - first)});
    }
  }
  float* mixed = step.work.mixed.floats(step.n_rows * channels);
  step.pool.run(static_cast<std::int64_t>(blocks.size()), [&](std::int64_t task, int) {
    const Block& block = blocks[static_cast<std::size_t>(task)];
    const Segment& segment = step.segments[static_cast<std::size_t>(block.segment)];
    convolve(step, layer, history + block.segment * n_history, projection + segment.first_row * width + inner, width,
             block.first, block.n, mixed + segment.first_row * channels);
  });

  float* y = step.work.inner.floats(step.n_rows * inner);
  const std::int64_t head_floats = config.mamba_head_dim * config.d_state;
  step.pool.run(n_segments * heads, [&](std::int64_t task, int worker) {
    const Segment& segment = step.segments[static_cast<std::size_t>(task / heads)];
    const std::int64_t head = task % heads, row = segment.first_row;
    float* state = segment.state->mamba[index].ssm.data() + head * head_floats;
    if (segment.pending != nullptr) {  // the state stays where it is: work on a copy of one head
      float* scratch = step.work.per_worker[static_cast<std::size_t>(worker)].floats(head_floats);
      std::memcpy(scratch, state, static_cast<std::size_t>(head_floats) * sizeof(float));
      state = scratch;
    }
    SsmScanArgs args = scan_args(config, layer, head, mixed + row * channels, dt + row * heads, state);
    args.n_tokens = segment.n_rows;
    args.y = y + row * inner + head * config.mamba_head_dim;
    args.y_stride = inner;
    step.kernels.ssm_scan(args);
  });

  for (std::int64_t s = 0; s < n_segments; ++s) {
    const Segment& segment = step.segments[static_cast<std::size_t>(s)];
    const float* rows = projection + segment.first_row * width + inner;
    if (segment.pending == nullptr) {
      keep_last_rows(step, history + s * n_history, rows, width, segment.n_rows, segment.state->mamba[index]);
      continue;
    }
    PendingStep::Mamba& pending = segment.pending->mamba[index];
    pending.xbc.resize(static_cast<std::size_t>(segment.n_rows * channels));
    for (std::int64_t t = 0; t < segment.n_rows; ++t) {
      std::copy_n(rows + t * width, channels, pending.xbc.data() + t * channels);
    }
    pending.dt.assign(dt + segment.first_row * heads, dt + (segment.first_row + segment.n_rows) * heads);
  }

  constexpr std::int64_t kNormBlock = 8;
  step.pool.run((step.n_rows + kNormBlock - 1) / kNormBlock, [&](std::int64_t task, int) {
    const std::int64_t first = task * kNormBlock;
    step.kernels.gated_rms_norm({.x = y + first * inner,
                                 .x_stride = inner,
                                 .z = projection + first * width,
                                 .z_stride = width,
                                 .weight = layer.norm.data(),
                                 .y = y + first * inner,
                                 .y_stride = inner,
                                 .n_rows = std::min(kNormBlock, step.n_rows - first),
                                 .n = inner,
                                 .n_groups = config.n_groups,
                                 .eps = config.norm_eps});
  });
  float* result = step.work.result.floats(step.n_rows * config.d_model);
  apply(step, layer.out_proj, y, step.n_rows, result);
  add_rows(result, step.n_rows * config.d_model, residual);
}

void mamba2_replay(const StepContext& step, const Mamba2Layer& layer, const PendingStep::Mamba& pending,
                   std::int64_t n_tokens, MambaLayerState& state) {
  const ModelConfig& config = step.config;
  const std::int64_t channels = config.conv_channels(), head_floats = config.mamba_head_dim * config.d_state;
  float* history = step.work.history.floats((config.d_conv - 1) * channels);
  load_history(step, state, history);
  float* mixed = step.work.mixed.floats(n_tokens * channels);
  convolve(step, layer, history, pending.xbc.data(), channels, 0, n_tokens, mixed);
  step.pool.run(config.n_mamba_heads, [&](std::int64_t head, int) {
    SsmScanArgs args = scan_args(config, layer, head, mixed, pending.dt.data(), state.ssm.data() + head * head_floats);
    args.n_tokens = n_tokens;
    step.kernels.ssm_scan(args);
  });
  keep_last_rows(step, history, pending.xbc.data(), channels, n_tokens, state);
}

}  // namespace longhaul::model
