#include "model/bpe.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace longhaul::model {
namespace {

std::size_t slot_of(std::uint64_t pair) {
  // Fibonacci hashing of both halves; ids are small and consecutive, so the product's high bits are what is spread.
  return static_cast<std::size_t>((pair ^ (pair >> 29)) * 0x9E3779B97F4A7C15U >> 20);
}

constexpr std::uint32_t kNone = ~std::uint32_t{0};

// A symbol of the word being merged, in a list through the array. Dead once it was merged into its left neighbour.
struct Symbol {
  TokenId id;
  std::uint32_t previous, next;
  bool dead() const { return next == kNone - 1; }
  void kill() { next = kNone - 1; }
};

struct Candidate {
  std::uint32_t rank, position;
  TokenId merged;
  // For a heap whose top is the lowest rank, then the leftmost.
  friend bool operator<(const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  }
};

}  // namespace

Bpe::Bpe(std::size_t n_merges) : table_(std::bit_ceil(std::max<std::size_t>(16, n_merges * 2)), Merge{kEmpty, 0, 0}) {}

void Bpe::grow() {
  std::vector<Merge> old(table_.size() * 2, Merge{kEmpty, 0, 0});
  old.swap(table_);
  n_used_ = 0;
  for (const Merge& merge : old) {
    if (merge.pair == kEmpty) continue;
    add_merge(static_cast<TokenId>(merge.pair >> 32), static_cast<TokenId>(merge.pair), merge.rank, merge.merged);
  }
}

void Bpe::add_merge(TokenId left, TokenId right, std::uint32_t rank, TokenId merged) {
  if ((n_used_ + 1) * 2 > table_.size()) grow();
  const std::uint64_t pair = std::uint64_t{left} << 32 | right;
  const std::size_t mask = table_.size() - 1;
  std::size_t slot = slot_of(pair) & mask;
  while (table_[slot].pair != kEmpty && table_[slot].pair != pair) slot = (slot + 1) & mask;
  n_used_ += table_[slot].pair == kEmpty;
  table_[slot] = {pair, rank, merged};
}

const Bpe::Merge* Bpe::find(TokenId left, TokenId right) const {
  const std::uint64_t pair = std::uint64_t{left} << 32 | right;
  const std::size_t mask = table_.size() - 1;
  for (std::size_t slot = slot_of(pair) & mask; table_[slot].pair != kEmpty; slot = (slot + 1) & mask) {
    if (table_[slot].pair == pair) return &table_[slot];
  }
  return nullptr;
}

void Bpe::encode(std::string_view piece, std::vector<TokenId>& out) const {
  if (piece.empty()) return;
  if (!words_.empty()) {
    if (auto it = words_.find(piece); it != words_.end()) {
      out.push_back(it->second);
      return;
    }
  }
  if (piece.size() == 1) {
    out.push_back(byte_ids_[static_cast<std::uint8_t>(piece[0])]);
    return;
  }

  // Kept between calls, because most pre-tokens are short; given back after a long one.
  thread_local std::vector<Symbol> symbols;
  thread_local std::vector<Candidate> heap;
  const auto n = static_cast<std::uint32_t>(piece.size());
  symbols.clear();
  symbols.reserve(n);
  heap.clear();
  for (std::uint32_t i = 0; i < n; ++i) {
    symbols.push_back(
        {byte_ids_[static_cast<std::uint8_t>(piece[i])], i == 0 ? kNone : i - 1, i + 1 < n ? i + 1 : kNone});
  }
  for (std::uint32_t i = 0; i + 1 < n; ++i) {
    if (const Merge* merge = find(symbols[i].id, symbols[i + 1].id)) heap.push_back({merge->rank, i, merge->merged});
  }
  std::make_heap(heap.begin(), heap.end());
  auto queue = [&](std::uint32_t left, std::uint32_t right) {
    if (const Merge* merge = find(symbols[left].id, symbols[right].id)) {
      heap.push_back({merge->rank, left, merge->merged});
      std::push_heap(heap.begin(), heap.end());
    }
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate best = heap.back();
    heap.pop_back();
    Symbol& left = symbols[best.position];
    if (left.dead() || left.next == kNone) continue;
    const std::uint32_t right_at = left.next;
    Symbol& right = symbols[right_at];
    const Merge* merge = find(left.id, right.id);
    if (merge == nullptr || merge->merged != best.merged) continue;
    left.id = best.merged;
    left.next = right.next;
    right.kill();
    if (left.next != kNone) symbols[left.next].previous = best.position;
    if (left.previous != kNone) queue(left.previous, best.position);
    if (left.next != kNone) queue(best.position, left.next);
  }
  for (std::uint32_t i = 0; i != kNone; i = symbols[i].next) out.push_back(symbols[i].id);
  if (n > (1U << 20)) {
    std::vector<Symbol>().swap(symbols);
    std::vector<Candidate>().swap(heap);
  }
}

}  // namespace longhaul::model
