// The sets of configurations that walks over a vocabulary meet, numbered, each with the steps already taken from it: a
// walk meets the same few sets again and again, and then goes on in a few nanoseconds. A set's number is given up when
// there are too many. Internal to tools/, confined to the thread that holds the grammar's tables.
//
// What cannot matter within a token is left out of a set, so that more of them are the same: the count of a text far
// from its bounds, and the hash of a quoted text that is being read (a walk keeps it beside the number, see Place).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "tools/automaton.h"
#include "tools/char_class.h"
#include "tools/id_table.h"

namespace longhaul::tools {

class ConfigGraph {
 public:
  using Configs = std::vector<Config>;
  using Id = std::uint32_t;

  ConfigGraph(const GrammarProgram& program, Automaton& automaton);

  // A set, by its number or as it is.
  struct Place {
    Id id = 0;
    std::uint64_t hash = 0;  // what stands for the hashes left out
    Configs loose;           // kLoose: the set itself
  };

  // Where a walk begins. Places of walks before it are no longer good.
  void begin(const Configs& configs, Place& place);
  // false: nothing follows.
  bool step(const Place& from, std::uint8_t byte, Place& to) {
    if (from.id != kLoose) {
      const Next known = next_of_[std::size_t{from.id} * 256 + byte];
      if (known == kNone) return false;
      if (known != kUnknown) {
        to.id = known & ~Id{kOpens};
        to.hash = (known & kOpens) != 0 ? kHashBasis : hash_step(from.hash, byte);
        return true;
      }
    }
    return step_slow(from, byte, to);
  }
  // How many configurations there are.
  std::size_t width(const Place& place) const {
    return place.id == kLoose ? place.loose.size() : sets_[place.id].n_configs;
  }
  // Element h - 1: up to h bytes of these characters may follow, whichever they are (Automaton::free_classes); null:
  // that holds for none.
  static constexpr std::size_t kFreeLevels = 32;
  const CharClasses* free_classes(const Place& place) {
    if (place.id == kLoose || sets_[place.id].free == kNoFree) return nullptr;
    return sets_[place.id].free == kNotAsked ? ask_free(place.id) : free_[sets_[place.id].free].data();
  }
  // A token can reach a bound of the text being read, so that the count so far matters to what may follow.
  bool near_limit(const Config& config) const;
  std::size_t bytes() const;

 private:
  // Values of next_of_ that are no sets. Real ones begin behind them.
  static constexpr Id kUnknown = 0, kNone = 1, kLoose = 2, kFirst = 3;
  using Next = std::uint16_t;
  static constexpr Next kOpens = 1 << 15;  // added: a text with a hash begins
  static constexpr std::uint32_t kNotAsked = ~std::uint32_t{0}, kNoFree = kNotAsked - 1;
  static constexpr std::size_t kKept = 2048;    // sets that outlive a walk
  static constexpr std::size_t kMost = 16'384;  // sets of one walk; the others are loose
  static constexpr std::size_t kWidthMax = 16;  // wider sets are loose

  struct Set {
    std::uint32_t first_config = 0, n_configs = 0;
    std::uint32_t free = kNotAsked;
    bool hashed = false;  // a hash was left out
  };

  bool step_slow(const Place& from, std::uint8_t byte, Place& to);
  bool simplify(Configs& configs, std::uint64_t& hash, bool& hashed) const;
  Id intern(const Configs& configs, bool hashed);
  void clear();
  const CharClasses* ask_free(Id id);

  const GrammarProgram& p_;
  Automaton& automaton_;
  std::vector<Set> sets_;
  std::vector<Config> configs_;
  std::vector<Next> next_of_;  // by set and byte
  std::vector<std::array<CharClasses, kFreeLevels>> free_;
  IdTable ids_;
  Configs at_, next_;
};

}  // namespace longhaul::tools
