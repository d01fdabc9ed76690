// A model ready to run: checkpoint, tokenizer, chat layout, engine, and what sessions need to know of it.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "model/chat.h"
#include "model/checkpoint.h"
#include "model/engine.h"
#include "model/tokenizer.h"
#include "runtime/base/result.h"
#include "tools/token_trie.h"

namespace longhaul::runtime {

class MaskAhead;

// What a command needs beside the weights. A folder without tokenizer or with an unknown chat layout still has logits.
enum class ModelUse {
  kTokens,  // token ids in, logits out
  kText,    // and the tokenizer
  kChat,    // and the chat layout
};

struct ModelOptions {
  std::string folder;  // empty: the built-in model
  int n_threads = 1;
  std::string kernels = "auto";
  model::KvMode kv = {};  // which KV pages attention reads
  bool mtp = false;       // load the draft module too
  ModelUse use = ModelUse::kChat;
  std::string chat_format;   // "nano" or "ultra"; empty: from the checkpoint
  std::string digest_cache;  // file that remembers the digests of large checkpoints; empty: none
};

class ModelHost {
 public:
  // `progress` gets bytes digested and total, for checkpoints whose digest is not known yet. The built-in model's
  // digest is always checked against the one compiled in: kCorruption names both.
  static Result<std::unique_ptr<ModelHost>> load(const ModelOptions& options,
                                                 const std::function<void(std::uint64_t, std::uint64_t)>& progress);

  ~ModelHost();

  model::Engine& engine() { return *engine_; }
  const model::Tokenizer& tokenizer() const { return *tokenizer_; }  // kText and up
  bool has_tokenizer() const { return tokenizer_ != nullptr; }
  const model::ModelConfig& config() const { return checkpoint_->config(); }
  const model::Checkpoint& checkpoint() const { return *checkpoint_; }
  model::ChatVariant chat_variant() const { return chat_variant_; }  // kChat
  const std::string& fingerprint() const { return fingerprint_; }    // hex digest of the checkpoint
  const std::string& numerics_tag() const { return engine_->numerics_tag(); }
  const std::string& folder() const { return folder_; }
  // A message ends with any of these: the config's end tokens and, where there is a tokenizer, <|im_end|>.
  const std::vector<model::TokenId>& stop_tokens() const { return stop_tokens_; }
  // What all grammars over this vocabulary share; made when first asked for (0.2 s for a large vocabulary). Any thread.
  const std::shared_ptr<const tools::TokenIndex>& token_index() const;
  // Who makes masks while the engine computes; null where the engine has every core. LONGHAUL_MASKS_AHEAD=0: never;
  // 1: always, whether it pays or not.
  MaskAhead* mask_ahead() { return mask_ahead_.get(); }

 private:
  ModelHost();

  std::string folder_;
  std::shared_ptr<const model::Checkpoint> checkpoint_;
  std::unique_ptr<model::Tokenizer> tokenizer_;
  std::unique_ptr<model::Engine> engine_;
  model::ChatVariant chat_variant_ = model::ChatVariant::kNano;
  std::string fingerprint_;
  std::vector<model::TokenId> stop_tokens_;
  mutable std::once_flag index_once_;
  mutable std::shared_ptr<const tools::TokenIndex> index_;
  std::unique_ptr<MaskAhead> mask_ahead_;  // last: its thread uses the vocabulary
};

// The folder of the built-in model, or kNotFound.
Result<std::string> builtin_model_folder();

}  // namespace longhaul::runtime
