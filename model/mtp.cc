#include "model/mtp.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/base/check.h"

namespace longhaul::model {

Result<void> check_mtp_schedule(const ModelConfig& config) {
  bool known = !config.mtp_layers.empty() && config.mtp_layers[0] == LayerKind::kAttention;
  std::string text;
  for (std::size_t i = 0; i < config.mtp_layers.size(); ++i) {
    text += static_cast<char>(config.mtp_layers[i]);
    if (i > 0 && config.mtp_layers[i] != LayerKind::kMoe && config.mtp_layers[i] != LayerKind::kMlp) known = false;
  }
  if (known) return {};
  return unsupported(fmt::format(
      "the MTP schedule \"{}\" is not an attention layer followed by E or -; the model can be loaded without MTP",
      text));
}

MtpModule load_mtp(Loader& loader, const ModelConfig& config) {
  const std::int64_t d = config.d_model;
  MtpModule module;
  module.enorm = loader.vector("mtp.layers.0.enorm.weight", d);
  module.hnorm = loader.vector("mtp.layers.0.hnorm.weight", d);
  module.eh_proj = loader.linear("mtp.layers.0.eh_proj", d, 2 * d, false);
  module.attention_norm = loader.vector("mtp.layers.0.norm.weight", d);
  module.attention = load_attention(loader, config, "mtp.layers.0.mixer.");
  for (std::size_t i = 1; i < config.mtp_layers.size(); ++i) {
    const std::string prefix = fmt::format("mtp.layers.{}.", i);
    MtpModule::Feed feed;
    feed.kind = config.mtp_layers[i];
    feed.norm = loader.vector(prefix + "norm.weight", d);
    if (feed.kind == LayerKind::kMoe) {
      feed.moe = load_moe(loader, config, prefix + "mixer.");
    } else {
      feed.mlp = load_mlp(loader, d, config.d_mlp, config.mlp_bias, prefix + "mixer.");
    }
    module.feeds.push_back(std::move(feed));
  }
  module.final_norm =
      loader.vector(fmt::format("mtp.layers.{}.final_layernorm.weight", config.mtp_layers.size() - 1), d);
  return module;
}

void mtp_join(const StepContext& step, const MtpModule& module, float* pairs, float* x) {
  const std::int64_t d = step.config.d_model;
  for (int half = 0; half < 2; ++half) {
    step.kernels.rms_norm({.x = pairs + half * d,
                           .x_stride = 2 * d,
                           .weight = half == 0 ? module.enorm.data() : module.hnorm.data(),
                           .y = pairs + half * d,
                           .y_stride = 2 * d,
                           .n_rows = step.n_rows,
                           .n = d,
                           .eps = step.config.norm_eps});
  }
  apply(step, module.eh_proj, pairs, step.n_rows, x);
}

void mtp_cache(const StepContext& step, const MtpModule& module, std::span<const KvTarget> targets, const float* x) {
  const std::int64_t kv_width = step.config.n_kv_heads * step.config.head_dim;
  float* normed = step.work.normed.floats(step.n_rows * step.config.d_model);
  rms_norm(step, module.attention_norm, x, step.n_rows, normed);
  float* k = step.work.projection.floats(2 * step.n_rows * kv_width);
  float* v = k + step.n_rows * kv_width;
  apply(step, module.attention.k_proj, normed, step.n_rows, k);
  apply(step, module.attention.v_proj, normed, step.n_rows, v);
  for (const KvTarget& target : targets) append_kv(step.layout, target, k, v);
}

void mtp_forward(const StepContext& step, const MtpModule& module, const KvTarget& target, float* x) {
  const std::int64_t n = step.n_rows * step.config.d_model;
  float* normed = step.work.normed.floats(n);
  rms_norm(step, module.attention_norm, x, step.n_rows, normed);
  const auto attended = attention_forward(step, module.attention, {&target, 1}, normed, x);
  LONGHAUL_CHECK(attended.has_value(), "the draft cache is all in memory");
  for (const MtpModule::Feed& feed : module.feeds) {
    rms_norm(step, feed.norm, x, step.n_rows, normed);
    if (feed.kind == LayerKind::kMoe) {
      moe_forward(step, feed.moe, normed, x);
    } else {
      mlp_forward(step, feed.mlp, normed, x);
    }
  }
  rms_norm(step, module.final_norm, x, step.n_rows, normed);
  std::copy_n(normed, n, x);
}

}  // namespace longhaul::model
