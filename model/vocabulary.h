// What every room may know of the model's tokens: how many there are, the bytes each one prints, which are control.
// Filled by the tokenizer; the grammar builds its trie from it. Immutable once built; share by reference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longhaul::model {

using TokenId = std::uint32_t;

class Vocabulary {
 public:
  struct Token {
    std::string bytes;     // what it prints; for control tokens their name, e.g. "<|im_start|>"
    bool control = false;  // scaffolding (<|im_start|>, <tool_call>, <think>, ...): never matches text, never is text
  };

  Vocabulary() = default;
  explicit Vocabulary(std::vector<Token> tokens);

  std::size_t size() const { return tokens_.size(); }
  std::string_view bytes(TokenId id) const { return tokens_[id].bytes; }
  bool is_control(TokenId id) const { return tokens_[id].control; }
  // A control token by its name; nothing if the vocabulary has none of that name.
  std::optional<TokenId> control(std::string_view name) const;

 private:
  std::vector<Token> tokens_;
  std::vector<std::pair<std::string, TokenId>> control_;  // sorted by name
};

}  // namespace longhaul::model
