// Byte-level BPE from a Hugging Face tokenizer.json, equal id for id to the `tokenizers` library.
// Immutable after loading; safe to use from any thread.
//
// Bytes that are not UTF-8 (which `tokenizers` cannot be given): the text is cut into longest valid and invalid runs;
// valid runs are split by the pattern each on its own, an invalid run is one pre-token whose bytes are merged as any
// others. So decode(encode_content(b)) == b for every b.
//
// Control tokens are the added tokens with "special": true and, whatever their flag, the family's scaffolding names
// (<s> </s> <unk> <|im_start|> <|im_end|> <think> </think> <tool_call> </tool_call> <tool_response> </tool_response>
// <SPECIAL_n>).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/vocabulary.h"
#include "runtime/base/result.h"

namespace longhaul::model {

class Tokenizer {
 public:
  // Reads `folder`/tokenizer.json. Errors name file and place: kNotFound, kCorruption for a damaged file, kUnsupported
  // for what would not be done exactly as `tokenizers` does it (normalizers, other models or decoders, some patterns).
  static Result<std::unique_ptr<Tokenizer>> load(const std::string& folder);
  static Result<std::unique_ptr<Tokenizer>> parse(std::string_view tokenizer_json, std::string_view place);
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  const Vocabulary& vocabulary() const;

  // What tokenizer.json's post-processor would put in front of a raw completion (usually nothing or the id of <s>).
  // encode() does not apply it: chat prompts have none.
  const std::vector<TokenId>& prefix_tokens() const;

  // Scaffolding: control tokens in `text` become their ids. As `tokenizers` encodes with added tokens.
  std::vector<TokenId> encode(std::string_view text) const;
  // Content (user text, tool results): control tokens are ordinary text here; "<|im_start|>" becomes several tokens.
  // Any bytes are accepted; invalid UTF-8 goes through as bytes.
  std::vector<TokenId> encode_content(std::string_view text) const;

  // Bytes of the ids, control tokens included by name if `with_control`. kInvalidArgument names an id out of range.
  Result<std::string> decode(std::span<const TokenId> ids, bool with_control = true) const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// A model computes `vocab_size` logits; every token needs one. More logits than tokens is padding and fine, more tokens
// than logits is kCorruption with both numbers: tokenizer and weights are not of one model.
Result<void> check_vocabulary(const Vocabulary& vocabulary, std::int64_t vocab_size, std::string_view place);

// Turns a stream of tokens into text that never ends inside a UTF-8 character. Bytes that cannot start or continue a
// character are passed on as U+FFFD only by flush() or when a following byte proves them broken.
class Utf8Stream {
 public:
  std::string push(std::string_view bytes);  // what can be shown now
  std::string flush();                       // what is left

 private:
  std::string pending_;
};

}  // namespace longhaul::model
