#include "model/layers/moe.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "model/kernels/scalar_math.h"

namespace longhaul::model {
namespace {

// Rows of the step sorted by expert: `rows` holds for each expert's slots the row they belong to, `slot_of[row][i]` the
// slot of the row's i-th expert.
struct Assignment {
  std::vector<std::int64_t> first;  // [n_experts + 1] slots
  std::vector<std::int64_t> rows;
  std::vector<std::int64_t> slot_of;
};

Assignment sort_by_expert(const std::vector<ExpertChoice>& chosen, std::int64_t n_experts, std::int64_t per_row) {
  Assignment result;
  result.first.assign(static_cast<std::size_t>(n_experts + 1), 0);
  for (const ExpertChoice& choice : chosen) ++result.first[static_cast<std::size_t>(choice.expert) + 1];
  for (std::size_t e = 1; e < result.first.size(); ++e) result.first[e] += result.first[e - 1];
  std::vector<std::int64_t> next(result.first.begin(), result.first.end() - 1);
  result.rows.resize(chosen.size());
  result.slot_of.resize(chosen.size());
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const std::int64_t slot = next[static_cast<std::size_t>(chosen[i].expert)]++;
    result.rows[static_cast<std::size_t>(slot)] = static_cast<std::int64_t>(i) / per_row;
    result.slot_of[i] = slot;
  }
  return result;
}

// One matrix of every expert that has rows, over its own rows: in and out are in slot order.
void apply_experts(const StepContext& step, const MoeLayer& layer, const Assignment& assignment, bool up,
                   const float* in, float* out) {
  struct Piece {
    const Linear* linear;
    std::int64_t expert, first_panel, n_panels;
  };
  // All experts' panels in one list of tasks, so that few experts with few rows still feed every thread.
  const std::int64_t grain = step.pool.n_threads() == 1 ? std::numeric_limits<std::int32_t>::max() : 32;
  std::vector<Piece> pieces;
  for (std::size_t e = 0; e < layer.experts.size(); ++e) {
    if (assignment.first[e] == assignment.first[e + 1]) continue;
    const Linear& linear = up ? layer.experts[e].up_proj : layer.experts[e].down_proj;
    const std::int64_t n_panels = linear.weight.view().n_panels();
    for (std::int64_t first = 0; first < n_panels; first += grain) {
      pieces.push_back({&linear, static_cast<std::int64_t>(e), first, std::min(grain, n_panels - first)});
    }
  }
  step.pool.run(static_cast<std::int64_t>(pieces.size()), [&](std::int64_t task, int) {
    const Piece& piece = pieces[static_cast<std::size_t>(task)];
    const PackedView& w = piece.linear->weight.view();
    const std::int64_t first = assignment.first[static_cast<std::size_t>(piece.expert)];
    const std::int64_t n_rows = assignment.first[static_cast<std::size_t>(piece.expert) + 1] - first;
    step.kernels.matmul({.w = w,
                         .x = in + first * w.n_in,
                         .x_stride = w.n_in,
                         .n_rows = n_rows,
                         .y = out + first * w.n_out,
                         .y_stride = w.n_out,
                         .first_panel = piece.first_panel,
                         .n_panels = piece.n_panels});
  });
}

}  // namespace

MoeLayer load_moe(Loader& loader, const ModelConfig& config, const std::string& prefix) {
  MoeLayer layer;  // no biases: none is published, and references differ on where they would go
  layer.gate = loader.linear(prefix + "gate", config.n_experts, config.d_model, false);
  layer.correction_bias = loader.vector(prefix + "gate.e_score_correction_bias", config.n_experts);
  if (config.d_latent != 0) {
    layer.fc1_latent = loader.linear(prefix + "fc1_latent_proj", config.d_latent, config.d_model, false);
    layer.fc2_latent = loader.linear(prefix + "fc2_latent_proj", config.d_model, config.d_latent, false);
  }
  for (std::int64_t e = 0; e < config.n_experts && loader.ok(); ++e) {
    layer.experts.push_back(
        load_mlp(loader, config.expert_io(), config.d_expert, false, prefix + "experts." + std::to_string(e) + "."));
  }
  if (config.d_shared_expert != 0) {
    layer.shared = load_mlp(loader, config.d_model, config.d_shared_expert, false, prefix + "shared_experts.");
  }
  return layer;
}

void choose_experts(const ModelConfig& config, const float* scores, const float* correction_bias,
                    ExpertChoice* chosen) {
  constexpr float kLast = -std::numeric_limits<float>::infinity();
  const auto n = static_cast<std::size_t>(config.n_experts), k = static_cast<std::size_t>(config.n_experts_per_token);
  struct Option {
    float score = 0;
    std::int32_t id = 0;
  };
  const auto before = [](const Option& a, const Option& b) {
    return a.score != b.score ? a.score > b.score : a.id < b.id;
  };
  std::vector<Option> options(n);
  for (std::size_t e = 0; e < n; ++e) {
    const float score = scores[e] + correction_bias[e];
    options[e] = {std::isnan(score) ? kLast : score, static_cast<std::int32_t>(e)};
  }
  if (config.n_expert_groups > 1 && config.n_top_groups < config.n_expert_groups) {
    // A group's score is the sum of its two best experts; experts of other groups are the last choice.
    const auto n_groups = static_cast<std::size_t>(config.n_expert_groups), width = n / n_groups;
    std::vector<Option> groups(n_groups);
    for (std::size_t g = 0; g < n_groups; ++g) {
      float best = kLast, second = kLast;
      for (std::size_t e = g * width; e < (g + 1) * width; ++e) {
        const float score = options[e].score;
        if (score > best) {
          second = best;
          best = score;
        } else if (score > second) {
          second = score;
        }
      }
      groups[g] = {width > 1 ? best + second : best, static_cast<std::int32_t>(g)};
    }
    std::sort(groups.begin(), groups.end(), before);
    for (std::size_t i = static_cast<std::size_t>(config.n_top_groups); i < n_groups; ++i) {
      const std::size_t first = static_cast<std::size_t>(groups[i].id) * width;
      for (std::size_t e = first; e < first + width; ++e) options[e].score = kLast;
    }
  }
  std::nth_element(options.begin(), options.begin() + static_cast<std::ptrdiff_t>(k - 1), options.end(), before);
  std::sort(options.begin(), options.begin() + static_cast<std::ptrdiff_t>(k),
            [](const Option& a, const Option& b) { return a.id < b.id; });
  float lanes[16] = {};
  for (std::size_t i = 0; i < k; ++i) {
    const std::int32_t id = options[i].id;
    chosen[i] = {id, scores[id]};
    lanes[i % 16] += scores[id];
  }
  const float sum = scalar::tree_sum(lanes) + 1e-20F;
  for (std::size_t i = 0; i < k; ++i) {
    if (config.norm_topk_prob) chosen[i].weight = chosen[i].weight / sum;
    chosen[i].weight = chosen[i].weight * config.routed_scaling_factor;
  }
}

void moe_forward(const StepContext& step, const MoeLayer& layer, const float* normed, float* residual) {
  const ModelConfig& config = step.config;
  const std::int64_t n_experts = config.n_experts, per_row = config.n_experts_per_token, width = config.expert_io();
  float* scores = step.work.router.floats(step.n_rows * n_experts);
  apply(step, layer.gate, normed, step.n_rows, scores);
  step.kernels.sigmoid({.x = scores, .y = scores, .n = step.n_rows * n_experts});
  std::vector<ExpertChoice> chosen(static_cast<std::size_t>(step.n_rows * per_row));
  for (std::int64_t t = 0; t < step.n_rows; ++t) {
    choose_experts(config, scores + t * n_experts, layer.correction_bias.data(), chosen.data() + t * per_row);
  }
  const Assignment assignment = sort_by_expert(chosen, n_experts, per_row);

  const float* input = normed;
  if (config.d_latent != 0) {
    float* latent = step.work.latent.floats(2 * step.n_rows * width);
    apply(step, layer.fc1_latent, normed, step.n_rows, latent);
    input = latent;
  }
  const std::int64_t n_slots = step.n_rows * per_row;
  float* gathered = step.work.gathered.floats(n_slots * width);
  for (std::int64_t slot = 0; slot < n_slots; ++slot) {
    std::copy_n(input + assignment.rows[static_cast<std::size_t>(slot)] * width, width, gathered + slot * width);
  }
  float* middle = step.work.middle.floats(n_slots * config.d_expert);
  apply_experts(step, layer, assignment, true, gathered, middle);
  relu_squared(middle, n_slots * config.d_expert);
  float* expert_rows = step.work.expert_rows.floats(n_slots * width);
  apply_experts(step, layer, assignment, false, middle, expert_rows);

  float* sum = config.d_latent != 0 ? step.work.latent.floats(2 * step.n_rows * width) + step.n_rows * width
                                    : step.work.result.floats(step.n_rows * width);
  step.pool.run(step.n_rows, [&](std::int64_t t, int) {
    float* out = sum + t * width;
    std::fill_n(out, width, 0.0F);
    for (std::int64_t i = 0; i < per_row; ++i) {  // ascending expert id
      const auto index = static_cast<std::size_t>(t * per_row + i);
      const float* row = expert_rows + assignment.slot_of[index] * width;
      const float weight = chosen[index].weight;
      for (std::int64_t d = 0; d < width; ++d) out[d] += weight * row[d];
    }
  });
  if (config.d_latent != 0) {
    float* result = step.work.result.floats(step.n_rows * config.d_model);
    apply(step, layer.fc2_latent, sum, step.n_rows, result);
    sum = result;
  }
  add_rows(sum, step.n_rows * config.d_model, residual);
  if (config.d_shared_expert != 0) mlp_forward(step, layer.shared, normed, residual);
}

}  // namespace longhaul::model
