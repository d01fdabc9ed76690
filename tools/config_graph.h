// The sets of configurations that walks over a vocabulary meet, numbered, each with the steps already taken from it: a
// walk meets the same few sets again and again, and then goes on in a few nanoseconds. A set's number is given up when
// there are too many. Internal to tools/, confined to the thread that holds the grammar's tables.
//
// What cannot matter within a token is left out of a set, so that more of them are the same: the count of a text far
// from its bounds, the hash of a quoted text that is being read, and the object or array that a value is in (a walk
// keeps both beside the number, see Place).
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
    std::uint32_t parent = 0;  // the frame left out
    std::uint64_t hash = 0;    // what stands for the hashes left out
    Configs loose;             // kLoose: the set itself
  };

  // Where a walk begins. Places of walks before it are no longer good.
  void begin(const Configs& configs, Place& place);
  // false: nothing follows.
  bool step(const Place& from, std::uint8_t byte, Place& to) {
    if (from.id != kLoose && sets_[from.id].row != kNotAsked) {
      const Next known = rows_[sets_[from.id].row][byte];
      if (known == kNone) return false;
      if (known > kAnew) {
        to.id = known & kIds;
        to.parent = (known & kPushes) != 0 ? sets_[from.id].below : from.parent;
        to.hash = (known & kOpens) != 0 ? kHashBasis : hash_step(from.hash, byte);
        return true;
      }
    }
    return step_slow(from, byte, to);
  }
  // No other bytes may follow.
  ByteSet live(const Place& place) {
    constexpr std::uint64_t kAll = ~std::uint64_t{0};
    if (place.id == kLoose) return {kAll, kAll, kAll, kAll};
    if (sets_[place.id].row == kNotAsked) add_row(place.id);
    return sets_[place.id].live;
  }
  // How many configurations there are.
  std::size_t width(const Place& place) const {
    return place.id == kLoose ? place.loose.size() : sets_[place.id].n_configs;
  }
  // null: no characters may follow whichever they are.
  const FreeChars* free_chars(const Place& place) {
    if (place.id == kLoose || sets_[place.id].free == kNoFree) return nullptr;
    return sets_[place.id].free == kNotAsked ? ask_free(place.id) : &free_[sets_[place.id].free];
  }
  // A token can reach a bound of the text being read, so that the count so far matters to what may follow.
  bool near_limit(const Config& config) const;
  std::size_t bytes() const;

 private:
  // Values in rows that are no sets. Real ones begin behind them.
  static constexpr Id kUnknown = 0, kNone = 1, kAnew = 2 /* depends on what was left out */, kFirst = 3;
  static constexpr Id kLoose = ~Id{0};
  using Next = std::uint16_t;
  // Added: a text with a hash begins; a value begins, in the set's `below`.
  static constexpr Next kOpens = 1 << 15, kPushes = 1 << 14, kIds = kPushes - 1;
  static constexpr std::uint32_t kNotAsked = ~std::uint32_t{0}, kNoFree = kNotAsked - 1;
  static constexpr std::size_t kKept = 2048;    // sets that outlive a walk
  static constexpr std::size_t kMost = 16'384;  // sets of one walk; the others are loose
  static constexpr std::size_t kWidthMax = 16;  // wider sets are loose

  struct Set {
    std::uint32_t first_config = 0, n_configs = 0;
    std::uint32_t free = kNotAsked;
    std::uint32_t row = kNotAsked;  // made when the set is first left, as many never are
    std::uint32_t below = 0;        // what the values that begin here are in; 0: none yet
    bool hashed = false;            // a hash was left out
    bool alone = false;             // a frame was left out
    ByteSet live{};                 // with a row: bytes that are not known to be refused
  };

  bool step_slow(const Place& from, std::uint8_t byte, Place& to);
  bool simplify(Configs& configs, Place& place, bool& hashed) const;
  Id intern(const Configs& configs, bool hashed);
  void clear();
  void add_row(Id id);
  const FreeChars* ask_free(Id id);

  const GrammarProgram& p_;
  Automaton& automaton_;
  const std::uint32_t above_;
  std::vector<Set> sets_;
  std::vector<Config> configs_;
  using Row = std::array<Next, 256>;  // by byte
  std::vector<Row> rows_;
  std::vector<FreeChars> free_;
  IdTable ids_;
  Configs at_, next_;
};

}  // namespace longhaul::tools
