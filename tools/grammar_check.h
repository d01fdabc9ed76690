// `longhaul grammar check --batch`: schemas against instances, one JSON object a line in, one out.
//
//   {"schema": ..., "format": "assert" | "annotate" (default assert), "tests": [{"data": ..., "valid": true}, ...]}
//   {"status":"ok","compile_us":12.3,"tests":[{"accepted":true,"valid":true}, ...]}
//   {"status":"refused","reason":"keyword \"not\" at #/not is not
//   enforced","place":"#/not","compile_us":...,"tests":[]}
//
// `data` is checked as the JSON text it is in the line, of any type, a byte at a time; so 1.0 and "\u0061" are judged
// as written. Other members of the line are ignored.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "model/vocabulary.h"
#include "runtime/base/result.h"
#include "tools/token_trie.h"

namespace longhaul::tools {

// Not thread-safe.
class GrammarChecker {
 public:
  GrammarChecker();
  GrammarChecker(const GrammarChecker&) = delete;
  GrammarChecker& operator=(const GrammarChecker&) = delete;

  // kInvalidArgument: the line is not such an object. A refused schema is an answer, not an error.
  Result<std::string> check_line(std::string_view line);

 private:
  model::Vocabulary vocabulary_;  // empty: bytes are enough
  std::shared_ptr<const TokenIndex> index_;
};

}  // namespace longhaul::tools
