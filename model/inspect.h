// What a checkpoint holds and what it costs to run: parameters by kind of layer, bytes on disk and in memory, state per
// sequence, KV per token. Arithmetic over names and shapes; no weight is read, so headers are enough.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/checkpoint.h"
#include "model/sequence_state.h"
#include "runtime/base/json.h"

namespace longhaul::model {

struct ModelReport {
  struct Part {
    std::string name;             // "embeddings", "mamba", "attention", "moe", "mlp", "mtp"
    std::int64_t n_layers = 0;    // 0 for embeddings
    std::int64_t parameters = 0;  // of all these layers
    std::int64_t active = 0;      // of them, used for one token (routed experts: those that are chosen)
  };
  struct Type {
    DType dtype = DType::kF32;
    std::int64_t n_tensors = 0;
    std::uint64_t bytes = 0;
  };

  std::string folder;
  std::string schedule;  // one character a layer
  std::int64_t d_model = 0, vocab_size = 0, n_experts = 0, n_experts_per_token = 0, d_latent = 0;
  std::int64_t n_tensors = 0;
  std::vector<Part> parts;
  std::int64_t parameters = 0, active_parameters = 0, mtp_parameters = 0;  // the first two without the MTP module
  std::vector<Type> types;
  std::uint64_t disk_bytes = 0;  // tensors' data
  bool quantised = false;        // then memory below is that of the stored form, which is not computed with yet

  // Memory. Matrices are packed in panels in their stored type, vectors widened to fp32; the embedding table stays in
  // the mapped file, whose pages the system may drop.
  std::uint64_t weights_bytes = 0, mapped_bytes = 0;
  StateLayout layout;
  std::uint64_t ssm_bytes = 0, conv_bytes = 0;                       // a sequence, fixed
  std::uint64_t kv_bytes_per_token = 0, mtp_kv_bytes_per_token = 0;  // the second is a cache
};

ModelReport inspect(const Checkpoint& checkpoint);

json::object to_json(const ModelReport& report);
std::string to_table(const ModelReport& report);

// "Would it fit?" Sequences hold whole pages of KV, for the MTP module too.
struct PlanRequest {
  std::uint64_t memory_bytes = 0;
  std::int64_t context = 0;      // tokens a sequence
  std::int64_t n_sequences = 1;  // at once in memory
};

struct Plan {
  PlanRequest request;
  std::uint64_t weights_bytes = 0;   // packed, and the mapped embedding table
  std::uint64_t sequence_bytes = 0;  // one sequence at the full context
  std::uint64_t total_bytes = 0;     // saturates instead of overflowing
  bool fits = false;
  std::int64_t context_max = 0;      // for this many sequences; 0: none fits, not even without context
  std::int64_t n_sequences_max = 0;  // for this context
};

// kInvalidArgument: a context below 0 or fewer than 1 sequence.
Result<Plan> plan(const ModelReport& report, const PlanRequest& request);
json::object to_json(const Plan& plan);
std::string to_table(const Plan& plan);

}  // namespace longhaul::model
