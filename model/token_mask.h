// Which tokens may come next: one bit a token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/vocabulary.h"

namespace longhaul::model {

class TokenMask {
 public:
  TokenMask() = default;
  explicit TokenMask(std::size_t n_tokens, bool value = false)
      : n_tokens_(n_tokens), words_((n_tokens + 63) / 64, value ? ~std::uint64_t{0} : 0) {
    clear_tail();
  }

  std::size_t size() const { return n_tokens_; }
  bool allowed(TokenId id) const { return (words_[id >> 6] >> (id & 63)) & 1; }
  void allow(TokenId id) { words_[id >> 6] |= std::uint64_t{1} << (id & 63); }
  void forbid(TokenId id) { words_[id >> 6] &= ~(std::uint64_t{1} << (id & 63)); }
  std::size_t count() const {
    std::size_t n = 0;
    for (std::uint64_t word : words_) n += static_cast<std::size_t>(__builtin_popcountll(word));
    return n;
  }
  bool none() const {
    for (std::uint64_t word : words_) {
      if (word != 0) return false;
    }
    return true;
  }
  // 64 tokens a word, lowest id in the lowest bit; bits past size() are zero.
  std::span<const std::uint64_t> words() const { return words_; }
  std::span<std::uint64_t> words() { return words_; }

  // The union; both are over the same vocabulary.
  TokenMask& operator|=(const TokenMask& other) {
    for (std::size_t w = 0; w < words_.size(); ++w) words_[w] |= other.words_[w];
    return *this;
  }
  friend bool operator==(const TokenMask&, const TokenMask&) = default;

 private:
  void clear_tail() {
    if (n_tokens_ % 64 != 0 && !words_.empty()) words_.back() &= (std::uint64_t{1} << (n_tokens_ % 64)) - 1;
  }

  std::size_t n_tokens_ = 0;
  std::vector<std::uint64_t> words_;
};

}  // namespace longhaul::model
