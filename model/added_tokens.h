// Finds added tokens in text: leftmost, longest, not overlapping, with the blank-swallowing and whole-word rules of
// `tokenizers`. Works on bytes, so it needs no valid UTF-8. Immutable once filled.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/vocabulary.h"

namespace longhaul::model {

struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool single_word = false;  // only between non-word characters
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space behind it
  bool normalized = false;   // looked for after the others
  bool special = false;
};

class AddedTokens {
 public:
  void add(AddedToken token);
  bool empty() const { return tokens_.empty(); }

  // Calls `each(piece, id)` in order: id is set for a token (its piece may be wider than its content), unset for text.
  void split(std::string_view text, const std::function<void(std::string_view, std::optional<TokenId>)>& each) const;

 private:
  // A trie of the contents; children of a node are few, so they are a list.
  struct Node {
    std::vector<std::pair<char, std::uint32_t>> children;
    std::int32_t token = -1;  // index into tokens_
  };
  // The longest token that begins `text`; -1 if there is none.
  std::int32_t longest(std::string_view text) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_ = std::vector<Node>(1);
  bool starts_[256] = {};
};

}  // namespace longhaul::model
