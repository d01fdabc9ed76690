// The model core: advances many sequences, each by its own number of tokens, and gives logits. Prefill chunk and decode
// token are the same thing with different lengths. On the CPU a sequence's results do not depend on what else is in the
// batch, how its tokens were split over calls, the number of threads or the vector width (contract C2).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/checkpoint.h"
#include "model/sequence_state.h"
#include "model/token_mask.h"
#include "runtime/base/result.h"

namespace longhaul::model {

// Which full pages attention reads (layers/page_choice.h says how they are chosen). Part of the numerics tag.
struct KvMode {
  std::int64_t budget = 0;  // pages a layer and row, kKvPagesAlways or more; 0: no budget
  double error = 0;         // pages until the rest holds less than this share of a head's softmax mass; 0: not asked
  bool exact() const { return budget == 0 && error == 0; }
  friend bool operator==(const KvMode&, const KvMode&) = default;
};
// Of the full pages before a row's own, so many are always read: the first and the last two.
inline constexpr std::int64_t kKvPagesAlways = 3;
// "", "/kv-budget-64", "/kv-error-0.01": what a mode adds to the numerics tag.
std::string kv_mode_tag(const KvMode& mode);
// The mode in a numerics tag that ends with what kv_mode_tag gave; exact if there is none.
KvMode kv_mode_of(std::string_view numerics_tag);

// What a step read and left, of one sequence; all zero in exact mode.
struct KvReport {
  std::int64_t pages_read = 0, pages_skipped = 0;  // full pages before each row's own, over rows and layers
  std::uint64_t bytes_read = 0;                    // from where pages are kept, in any mode; depends on caches
  std::vector<float> mass_bound;  // [n_attention_layers] the largest share of a head's softmax mass that skipped pages
                                  // can have held, over the step's rows
};

enum class LogitsWanted : std::uint8_t { kNone, kLast, kAll };

struct SequenceStep {
  SequenceState* state = nullptr;        // advanced in place; borrowed for the call; each state at most once a batch
  std::span<const TokenId> tokens = {};  // appended; at least one
  LogitsWanted wanted = LogitsWanted::kLast;  // kAll: at most 2^31 logits a sequence and step
  // If not empty: only these rows of the output matrix are computed; other logits are -infinity. Same bits as without.
  std::span<const TokenId> rows = {};
  // Instead of `rows`, where they take time to find: called by step(), on its thread, when all layers are done, once a
  // slice of the step's tokens; empty: all rows. Each time the same, and good until step() returns. A token outside the
  // vocabulary is a broken program, not an error.
  std::function<std::span<const TokenId>()> rows_later = {};
  // Verification of drafts: the state is left where it was, with what is needed to move it forward by any prefix of
  // `tokens` (Engine::accept). At most 64 tokens.
  bool provisional = false;
};

struct StepResult {
  std::vector<float> logits;       // [n][vocab_size], n = 0, 1 or tokens.size()
  std::vector<float> last_hidden;  // [d_model] after norm_f of the last token: what the MTP module starts from
  KvReport kv = {};
  std::vector<float> hidden;  // provisional steps only: [tokens.size()][d_model], as last_hidden for every token
};

struct EngineOptions {
  int n_threads = 1;
  std::string kernels = "auto";  // "auto", "scalar", or a name from Engine::kernel_names(); unknown is an error
  KvMode kv =
      {};  // exact unless asked; kInvalidArgument for a budget under kKvPagesAlways, an error outside (0, 1), both
  bool mtp = true;  // load the MTP module, if there is one, and keep its draft cache; false: draft() gives nothing
};

class Engine {
 public:
  virtual ~Engine() = default;

  // Loads and packs the weights; `checkpoint` may be closed afterwards only if load copied them (it is kept otherwise).
  static Result<std::unique_ptr<Engine>> load(std::shared_ptr<const Checkpoint> checkpoint,
                                              const EngineOptions& options);
  static std::vector<std::string> kernel_names();  // what this processor can run, widest first; "scalar" last

  virtual const ModelConfig& config() const = 0;
  virtual const StateLayout& layout() const = 0;
  // What must agree for results to be bit-identical: backend, arithmetic, stored types, KV mode. E.g.
  // "cpu-f32-v1/bf16".
  virtual const std::string& numerics_tag() const = 0;
  virtual std::string_view kernels() const = 0;  // the instruction set in use

  // One call from one thread at a time. kInvalidArgument names the sequence and the reason (token id out of range with
  // both values, state of another layout, empty tokens, a state twice) and changes nothing. kCorruption or kIo name a
  // page of a state's source that could not be read; every state of the batch is then as it was, without its drafts.
  virtual Result<std::vector<StepResult>> step(std::span<const SequenceStep> batch) = 0;

  // After a provisional step: consumes the first `n_tokens` of its tokens (0 to all). The state is then bit-identical
  // to one that was fed exactly these tokens. kInvalidArgument without a provisional step, or for more tokens than it
  // had.
  virtual Result<void> accept(SequenceState& state, std::int64_t n_tokens) = 0;

  // Drafts up to `n_drafts` tokens greedily with the MTP module: `hidden` is the hidden row of the last consumed token
  // (StepResult), `next` the token sampled after it (not consumed yet). Empty if the model has no MTP. Never affects
  // tokens: its own KV is a cache in the state, and an empty one (after a resume) costs acceptance only.
  virtual Result<std::vector<TokenId>> draft(SequenceState& state, std::span<const float> hidden, TokenId next,
                                             int n_drafts) = 0;
};

}  // namespace longhaul::model
