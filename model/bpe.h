// Byte-pair merges of one pre-token. The order of merging is that of `tokenizers`: the pair of lowest rank first, of
// equal ones the leftmost; a pair that changed since it was queued is taken if it still makes the same token.
// O(n log n) in the length of the pre-token. Immutable once filled.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/vocabulary.h"

namespace longhaul::model {

class Bpe {
 public:
  // `n_merges` sizes the table; more may be added than it says, slower.
  explicit Bpe(std::size_t n_merges);

  void set_byte(std::uint8_t byte, TokenId id) { byte_ids_[byte] = id; }
  // A later merge of the same pair replaces an earlier one, as `tokenizers` reads its list.
  void add_merge(TokenId left, TokenId right, std::uint32_t rank, TokenId merged);
  // A whole pre-token that is emitted at once without looking at merges (ignore_merges). `bytes` must stay alive.
  void add_word(std::string_view bytes, TokenId id) { words_.emplace(bytes, id); }

  // Appends the ids of one pre-token.
  void encode(std::string_view piece, std::vector<TokenId>& out) const;

 private:
  struct Merge {
    std::uint64_t pair;
    std::uint32_t rank;
    TokenId merged;
  };
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};
  const Merge* find(TokenId left, TokenId right) const;
  void grow();

  std::array<TokenId, 256> byte_ids_ = {};
  std::vector<Merge> table_;  // open addressing, a power of two
  std::size_t n_used_ = 0;
  std::unordered_map<std::string_view, TokenId> words_;
};

}  // namespace longhaul::model
