// What each token does inside a string, worked out once a vocabulary: most stay inside whatever surrounds the string,
// a few hundred end it and go on with one of a few hundred suffixes. So the mask of any string state is a copy of one
// of these masks and a walk over the suffixes from what encloses the string. Lengths are classes: masks[k] holds the
// tokens that begin at most k characters, so a bound costs as much as none. Immutable.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/token_mask.h"
#include "model/vocabulary.h"
#include "tools/token_trie.h"

namespace longhaul::tools {

// Tokens by how many characters they begin.
class LengthClasses {
 public:
  LengthClasses(std::size_t n_tokens, const std::vector<std::pair<model::TokenId, std::uint32_t>>& counts);
  // All of them.
  const model::TokenMask& all() const { return masks_.back(); }
  // Adds those that begin at most `n` characters. True if there are any.
  bool add_at_most(std::uint64_t n, model::TokenMask& mask) const;
  std::size_t bytes() const { return masks_.size() * masks_[0].words().size_bytes(); }

 private:
  // A class costs a mask, so tokens of more characters than this (there are none in real vocabularies) are listed.
  static constexpr std::uint32_t kClassesMax = 128;
  std::vector<model::TokenMask> masks_;                           // [k]: at most k; the last one: all
  std::vector<std::pair<std::uint32_t, model::TokenId>> longer_;  // only in the last one; by characters
};

struct StringTokens {
  // For JSON strings, from between two characters.
  explicit StringTokens(const model::Vocabulary& vocabulary);

  struct Exit {
    model::TokenId id = 0;
    std::uint32_t code_points = 0;  // before the quote
  };
  // Distinct texts after the closing quote, sorted; the tokens that have it, by code points.
  struct Suffix {
    std::string text;
    std::size_t n_quotes = 0;  // in `text`
    std::vector<Exit> exits;
  };
  // The suffixes as a trie in depth-first order; the empty suffix is suffixes[0] (present even without tokens).
  struct Node {
    std::uint32_t end = 0;     // index after the subtree
    std::int32_t suffix = -1;  // that ends here
    std::uint16_t depth = 0;
    std::uint8_t byte = 0;
  };
  // Distinct texts before the closing quote, sorted, "" first.
  struct Prefix {
    std::string text;
    std::vector<std::pair<std::uint32_t, model::TokenId>> exits;  // suffix, token; by suffix
    bool escaped = false;                                         // `text` has an escape
    bool twice = false;                                           // some suffix has two quotes
  };

  // By token: characters, if it is whole characters that stay inside; 0: it is not (or has more than fit here).
  std::vector<std::uint8_t> whole;
  LengthClasses stays;  // those that stay inside
  TokenTrie rest;       // the others
  std::vector<Suffix> suffixes;
  std::vector<Node> nodes;
  std::vector<Prefix> prefixes;
  std::uint32_t depth_max = 0;  // of `nodes`
  std::size_t bytes() const;

 private:
  StringTokens(const model::Vocabulary& vocabulary, struct Reading&& reading);
};

// The same for raw text that ends at a terminator: tokens that are UTF-8 (or end inside a character).
struct RawTokens {
  // `close`: how every terminator begins; not empty.
  RawTokens(const model::Vocabulary& vocabulary, std::string_view close);

  std::vector<std::uint8_t> whole;      // by token: characters, if it is whole ones without that byte; else 0
  model::TokenMask any;                 // all of them
  LengthClasses plain;                  // without the first byte of `close`: they can begin no terminator
  TokenTrie rest;                       // the others
  std::vector<model::TokenId> closing;  // that hold all of `close`
  std::size_t bytes() const { return whole.size() + any.words().size_bytes() + plain.bytes() + rest.bytes(); }
};

}  // namespace longhaul::tools
