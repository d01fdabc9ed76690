// `longhaul grammar check --batch`: schemas against instances, one JSON object a line in (grammar_batch.h), one out.
//
//   {"status":"ok","compile_us":12.3,"tests":[{"accepted":true,"valid":true}, ...]}
//   {"status":"refused","reason":"\"not\" of uniqueItems at #/not is not enforced","place":"#/not","compile_us":...,
//    "tests":[]}
//
// Instances are judged a byte at a time; with a tokenizer, token by token: each must be in the mask.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "model/tokenizer.h"
#include "model/vocabulary.h"
#include "runtime/base/result.h"
#include "tools/token_trie.h"

namespace longhaul::tools {

// Not thread-safe.
class GrammarChecker {
 public:
  // `tokenizer` may be null; it must outlive the checker.
  explicit GrammarChecker(const model::Tokenizer* tokenizer = nullptr);
  GrammarChecker(const GrammarChecker&) = delete;
  GrammarChecker& operator=(const GrammarChecker&) = delete;

  // kInvalidArgument: the line is not such an object. A refused schema is an answer, not an error.
  Result<std::string> check_line(std::string_view line);

 private:
  const model::Tokenizer* tokenizer_;
  model::Vocabulary vocabulary_;  // empty: bytes are enough
  std::shared_ptr<const TokenIndex> index_;
};

}  // namespace longhaul::tools
