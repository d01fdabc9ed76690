// What all layers share: the rows of one step, where each sequence's rows and state are, and the buffers of a step.
// Activations are fp32 throughout; a layer gets the normalised rows and adds its result to the residual rows.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "model/config.h"
#include "model/engine.h"
#include "model/kernels/kernels.h"
#include "model/sequence_state.h"
#include "model/thread_pool.h"
#include "model/weights.h"

namespace longhaul::model {

// A provisional step's tokens and what moves the state over any prefix of them: the recurrence's inputs (kilobytes a
// token and layer), the page that the tokens would open, and the hidden rows that the draft cache is filled from. K and
// V that fit the open page already stand there, behind the position, where nothing reads them.
struct PendingStep {
  struct Mamba {
    std::vector<float> xbc;  // [n][conv_channels] before the convolution, rounded to the stored type
    std::vector<float> dt;   // [n][n_mamba_heads] after softplus
  };
  std::vector<TokenId> tokens;
  std::vector<Mamba> mamba;                       // [n_mamba_layers]
  std::vector<std::unique_ptr<KvPage>> overflow;  // [n_attention_layers]
  std::vector<float> hidden;                      // [n][d_model]
};

// Consecutive rows of one sequence in the step's row-major buffers.
struct Segment {
  SequenceState* state = nullptr;
  std::int64_t first_row = 0, n_rows = 0;
  PendingStep* pending = nullptr;  // null: an ordinary step, which moves the state
  KvReport* report = nullptr;
};

// Grows, never shrinks: after the first steps nothing is allocated.
class Buffer {
 public:
  float* floats(std::int64_t n) {
    if (static_cast<std::int64_t>(values_.size()) < n) values_.resize(static_cast<std::size_t>(n));
    return values_.data();
  }

 private:
  std::vector<float> values_;
};

struct Workspace {
  Buffer residual, normed, hidden, projection, mixed, inner, dt, result;  // rows of a layer
  Buffer router, gathered, middle, expert_rows, latent;                   // experts
  Buffer logits, wanted, mtp_pairs, mtp_rows;                             // the ends of the model
  Buffer history, running, bounds;
  std::vector<Buffer> per_worker;  // [n_threads]
};

struct StepContext {
  const ModelConfig& config;
  const StateLayout& layout;
  const Kernels& kernels;
  ThreadPool& pool;
  Workspace& work;
  std::span<const Segment> segments;
  std::int64_t n_rows = 0;
  KvMode kv = {};
};

// y = x W^T + bias over all rows, outputs split over the threads.
void apply(const StepContext& step, const Linear& linear, const float* x, std::int64_t n_rows, float* y);
// The same for some panels (MatmulArgs::panel_ids): y is [n_rows][16 * panel_ids.size()], no bias.
void apply_panels(const StepContext& step, const Linear& linear, const float* x, std::int64_t n_rows,
                  std::span<const std::int32_t> panel_ids, float* y);
void rms_norm(const StepContext& step, const std::vector<float>& weight, const float* x, std::int64_t n_rows, float* y);
void add_rows(const float* x, std::int64_t n, float* y);  // y += x
void relu_squared(float* x, std::int64_t n);
// The values as they will be read back from a sequence state.
void round_to(StoredType stored, float* x, std::int64_t n);
void store_values(StoredType stored, const float* x, std::int64_t n, std::byte* to);
void load_values(StoredType stored, const std::byte* from, std::int64_t n, float* x);

}  // namespace longhaul::model
