// Numbers of things by their hashes: open addressing, one word an entry, so that looking up a known thing touches one
// cache line here. The things themselves stay with the caller, who compares them.
#pragma once

#include <cstdint>
#include <vector>

namespace longhaul::tools {

// A good hash of a few words, mixed in one after the other.
class WordHash {
 public:
  void mix(std::uint64_t word) {
    h_ = (h_ ^ word) * 0xD6E8FEB86659FD93ULL;
    h_ ^= h_ >> 32;
  }
  std::uint64_t value() const { return h_; }

 private:
  std::uint64_t h_ = 0x9E3779B97F4A7C15ULL;
};

class IdTable {
 public:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  // The number added with this hash for which same(number) holds, or kNone.
  template <class Same>
  std::uint32_t find(std::uint64_t hash, Same&& same) const {
    if (slots_.empty()) return kNone;
    for (std::size_t at = hash & (slots_.size() - 1);; at = (at + 1) & (slots_.size() - 1)) {
      const Slot& slot = slots_[at];
      if (slot.id == kNone) return kNone;
      if (slot.tag == tag(hash) && same(slot.id)) return slot.id;
    }
  }
  // `id` is not in the table yet, and not kNone.
  void add(std::uint64_t hash, std::uint32_t id) {
    if (2 * (size_ + 1) > slots_.size()) grow();
    ++size_;
    put(slots_, {tag(hash), static_cast<std::uint32_t>(hash), id});
  }
  void clear() {
    slots_.clear();
    size_ = 0;
  }
  std::size_t bytes() const { return slots_.capacity() * sizeof(Slot); }

 private:
  struct Slot {
    std::uint32_t tag = 0, place = 0;  // high and low half of the hash
    std::uint32_t id = kNone;
  };
  static std::uint32_t tag(std::uint64_t hash) { return static_cast<std::uint32_t>(hash >> 32); }
  static void put(std::vector<Slot>& slots, const Slot& slot) {
    std::size_t at = slot.place & (slots.size() - 1);
    while (slots[at].id != kNone) at = (at + 1) & (slots.size() - 1);
    slots[at] = slot;
  }
  void grow() {
    std::vector<Slot> more(slots_.empty() ? 64 : 4 * slots_.size());
    for (const Slot& slot : slots_) {
      if (slot.id != kNone) put(more, slot);
    }
    slots_.swap(more);
  }

  std::vector<Slot> slots_;  // a power of two, at most half full
  std::size_t size_ = 0;
};

}  // namespace longhaul::tools
