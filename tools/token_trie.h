// A vocabulary as a trie of bytes, laid out in depth-first order so that one forward walk visits it all and a refused
// byte skips its whole subtree. Control tokens are not in it: they are not text. Immutable once built.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "model/token_mask.h"
#include "model/vocabulary.h"

namespace longhaul::tools {

class TokenTrie {
 public:
  struct Node {
    std::uint32_t end = 0;    // index after the subtree
    std::uint32_t first = 0;  // tokens that end here: ids()[first .. first + count)
    std::uint16_t count = 0;
    std::uint16_t depth = 0;  // bytes from the root, this node's included
    std::uint8_t byte = 0;
  };

  // All text tokens for which `keep` is true; tokens without bytes never are. Token lengths up to 65535 bytes.
  explicit TokenTrie(
      const model::Vocabulary& vocabulary,
      const std::function<bool(model::TokenId)>& keep = [](model::TokenId) { return true; });

  // Nodes in depth-first order, the (byteless) root not among them.
  std::span<const Node> nodes() const { return nodes_; }
  std::span<const model::TokenId> ids(const Node& node) const { return {ids_.data() + node.first, node.count}; }
  std::size_t depth_max() const { return depth_max_; }
  std::size_t token_count() const { return ids_.size(); }
  std::size_t bytes() const { return nodes_.size() * sizeof(Node) + ids_.size() * sizeof(model::TokenId); }

 private:
  std::vector<Node> nodes_;
  std::vector<model::TokenId> ids_;
  std::size_t depth_max_ = 0;
};

// What all grammars of a vocabulary share. Immutable; built once a model (0.1 to 0.2 s for 131,072 tokens), shared
// because grammars come and go with sessions. Borrows the vocabulary.
struct TokenIndex {
  static std::shared_ptr<const TokenIndex> build(const model::Vocabulary& vocabulary);

  std::size_t bytes() const;

  const model::Vocabulary* vocabulary = nullptr;
  std::size_t longest_token = 1;  // bytes; no token holds more code points
  model::TokenMask text;          // all that are text
  model::TokenMask in_string;     // whole characters that a JSON string may hold unescaped
  model::TokenMask in_raw;        // whole characters without a line end
  std::unique_ptr<TokenTrie> all, not_in_string, not_in_raw;
};

}  // namespace longhaul::tools
