// Tokens by the kinds of characters in them, so that where a pattern goes on with any characters of some kinds, the
// tokens that have no others are copied instead of looked for. In a vocabulary of 131,072 there are some 1,900
// different sets of kinds, and a few dozen of them hold nearly all tokens. Immutable.
#pragma once

#include <cstdint>
#include <vector>

#include "model/token_mask.h"
#include "model/vocabulary.h"
#include "tools/char_class.h"

namespace longhaul::tools {

class TokenClasses {
 public:
  // Longer tokens are in none of the sets.
  static constexpr std::size_t kBytesMax = 32;

  explicit TokenClasses(const model::Vocabulary& vocabulary);

  // Adds the tokens of at most `bytes` bytes all of whose characters are of these kinds. A character that a token only
  // begins counts as kClassWide, bytes that are no UTF-8 as kNoChar.
  void add_within(CharClasses classes, std::size_t bytes, model::TokenMask& mask) const;
  std::size_t bytes() const;

 private:
  struct Set {
    CharClasses classes = 0;
    std::uint32_t first = 0, last = 0;  // of ids_
    std::int32_t mask = -1;             // the same, where they are many
  };
  std::vector<Set> sets_;
  std::vector<model::TokenId> ids_;    // of each set, shortest first
  std::vector<std::uint8_t> lengths_;  // in bytes, of ids_
  std::vector<model::TokenMask> masks_;
};

}  // namespace longhaul::tools
