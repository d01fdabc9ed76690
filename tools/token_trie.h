// A vocabulary as a trie of bytes, laid out in depth-first order so that one forward walk visits it all and a refused
// byte skips its whole subtree. Control tokens are not in it: they are not text. Immutable once built.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "model/token_mask.h"
#include "model/vocabulary.h"
#include "tools/char_class.h"

namespace longhaul::tools {

inline constexpr std::string_view kJsonWhitespace = " \t\n\r";

class TokenTrie {
 public:
  // 12 bytes: a walk reads them all, in order.
  struct Node {
    std::uint32_t end = 0;    // index after the subtree
    std::uint32_t first = 0;  // of the tokens that end here; the next node's `first` is behind the last of them
    std::uint16_t depth = 0;  // bytes from the root, this node's included
    std::uint8_t byte = 0;
    std::uint8_t height = 0;  // bytes to the deepest node of the subtree, this node's included; 255: or more
  };

  // All text tokens for which `keep` is true; tokens without bytes never are. Token lengths up to 65535 bytes.
  explicit TokenTrie(
      const model::Vocabulary& vocabulary,
      const std::function<bool(model::TokenId)>& keep = [](model::TokenId) { return true; });
  // Tokens by what is left of them behind the whitespace that they begin with.
  static TokenTrie behind_whitespace(const model::Vocabulary& vocabulary,
                                     const std::function<bool(std::string_view)>& keep);

  // Nodes in depth-first order, the (byteless) root not among them.
  std::span<const Node> nodes() const { return {nodes_.data(), nodes_.size() - 1}; }
  // Tokens that end at node `i`; that end at the nodes `from` to `to` (not included).
  std::span<const model::TokenId> ids(std::size_t i) const { return ids(i, i + 1); }
  std::span<const model::TokenId> ids(std::size_t from, std::size_t to) const {
    return {ids_.data() + nodes_[from].first, ids_.data() + nodes_[to].first};
  }
  // A node's children by their bytes. Those of few children, and those far down, have none: they are found by going
  // from node to node.
  struct Branches {
    ByteSet bytes{};
    std::uint32_t first = 0;  // of the children, in the order of their bytes
  };
  static constexpr std::uint32_t kBranchDepthMax = 16;  // bytes from the root
  // null: no table. Of the root; of node `i`.
  const Branches* branches() const { return branch_of_.empty() ? nullptr : &branches_[0]; }
  const Branches* branches(std::size_t i) const { return branch_of_[i] == 0 ? nullptr : &branches_[branch_of_[i]]; }
  const std::uint32_t* children(const Branches& branches) const { return children_.data() + branches.first; }
  // `none`: there is none of this byte.
  std::size_t child(const Branches& branches, std::uint8_t byte, std::size_t none) const {
    const std::size_t w = byte / 64;
    const std::uint64_t bit = std::uint64_t{1} << (byte % 64);
    if ((branches.bytes[w] & bit) == 0) return none;
    std::size_t n = count_bits(branches.bytes[w] & (bit - 1));
    for (std::size_t i = 0; i < w; ++i) n += count_bits(branches.bytes[i]);
    return children_[branches.first + n];
  }
  // The characters below (and of) node `i`, read from the root on; kNoChar if there are bytes that are no UTF-8. A
  // character that a token only begins counts as kClassWide.
  CharClasses classes(std::size_t i) const { return class_sets_[class_set_of_[i]]; }
  std::size_t depth_max() const { return depth_max_; }
  std::size_t token_count() const { return ids_.size(); }
  std::size_t bytes() const {
    return nodes_.size() * (sizeof(Node) + sizeof(std::uint16_t)) + ids_.size() * sizeof(model::TokenId) +
           class_sets_.size() * sizeof(CharClasses) + branch_of_.size() * sizeof(std::uint16_t) +
           branches_.size() * sizeof(Branches) + children_.size() * sizeof(std::uint32_t);
  }

 private:
  struct Entry {
    std::string_view text;
    model::TokenId id = 0;
  };
  explicit TokenTrie(std::vector<Entry> entries);
  void classify();
  void branch();
  std::vector<Node> nodes_;  // and one more, which ends the last one's tokens
  std::vector<model::TokenId> ids_;
  std::vector<std::uint16_t> class_set_of_;  // by node; into
  std::vector<CharClasses> class_sets_;
  std::vector<std::uint16_t> branch_of_;  // by node; into
  std::vector<Branches> branches_;        // the root's first
  std::vector<std::uint32_t> children_;
  std::size_t depth_max_ = 0;
};

struct RawTokens;
struct StringTokens;
class TokenClasses;

// What all grammars of a vocabulary share. Built once a model (0.05 to 0.1 s for 131,072 tokens), shared because
// grammars come and go with sessions. Borrows the vocabulary. Safe to use from several threads.
class TokenIndex {
 public:
  static std::shared_ptr<const TokenIndex> build(const model::Vocabulary& vocabulary);
  ~TokenIndex();

  const model::Vocabulary* vocabulary = nullptr;
  std::size_t longest_token = 1;  // bytes; no token holds more code points
  model::TokenMask text;          // all that are text
  std::unique_ptr<TokenTrie> all;
  std::unique_ptr<StringTokens> strings;
  std::unique_ptr<TokenClasses> classes;
  // Whitespace as JSON means it: tokens of nothing else; those with something of JSON behind it, by that.
  std::vector<model::TokenId> whitespace;
  std::unique_ptr<TokenTrie> spaced;
  // For raw text whose terminators begin with `close`; made at its first use.
  const RawTokens& raw(std::string_view close) const;
  // The text tokens that hold `text`; found at its first use (1 ms for a large vocabulary).
  const std::vector<model::TokenId>& holding(std::string_view text) const;
  std::size_t bytes() const;

 private:
  TokenIndex();
  struct Raw;
  std::unique_ptr<Raw> raw_;
};

}  // namespace longhaul::tools
