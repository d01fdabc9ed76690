// Which classes of characters (char_class.h) a state goes on with alike.
#include <algorithm>
#include <bit>
#include <boost/container/small_vector.hpp>

#include "tools/regex.h"

namespace longhaul::tools {
namespace {

constexpr std::size_t kAlikePartsMax = 16;  // alternatives that alike() looks at one by one

using Bits = std::array<std::uint64_t, 2>;  // bit c: the character of ASCII is in a set

constexpr std::array<Bits, kClassMark> kManyCharClasses = [] {
  std::array<Bits, kClassMark> of{};
  for (std::uint32_t c = 0; c < 128; ++c) {
    const int id = ascii_class(static_cast<std::uint8_t>(c));
    if (id < kClassMark) of[static_cast<std::size_t>(id)][c / 64] |= std::uint64_t{1} << (c % 64);
  }
  return of;
}();

// The classes of which all characters are in a set.
CharClasses classes_in(const Bits& set) {
  // Marks are numbered in their order: between digits and letters there are four stretches of them.
  constexpr auto stretch = [](std::uint64_t bits, char from, char to) {
    return (bits >> (from % 64) & ((std::uint64_t{1} << (to - from + 1)) - 1))
           << ascii_class(static_cast<std::uint8_t>(from));
  };
  CharClasses classes = stretch(set[0], ' ', '/') | stretch(set[0], ':', '?') | stretch(set[1], '@', '@') |
                        stretch(set[1], '[', '`') | stretch(set[1], '{', '\x7F');
  for (std::size_t c = 0; c < kManyCharClasses.size(); ++c) {
    const Bits& all = kManyCharClasses[c];
    if ((all[0] & ~set[0]) == 0 && (all[1] & ~set[1]) == 0) classes |= CharClasses{1} << c;
  }
  return classes;
}

constexpr std::size_t kWideClassCount = kCharClassCount - kClassWide;
constexpr CharClasses kWideClasses = ((CharClasses{1} << kWideClassCount) - 1) << kClassWide;

// No character beyond ASCII is in the set: 0; all are; or some are: nothing.
std::optional<CharClasses> wide_classes_in(std::span<const CharSet::Range> set) {
  if (set.back().second < 128) return 0;
  const bool all = set.size() > 1 && set.back() == CharSet::Range{0xE000, kCodePointMax} &&
                   set[set.size() - 2].first <= 128 && set[set.size() - 2].second == 0xD7FF;
  return all ? std::optional(kWideClasses) : std::nullopt;
}

// Where another class begins beyond ASCII; -1: surrogates.
const std::vector<std::pair<std::uint32_t, int>>& wide_classes() {
  static const std::vector<std::pair<std::uint32_t, int>> runs = [] {
    std::vector<std::uint32_t> edges{0x80, 0xD800, 0xE000};
    for (const CharSet* set : {&space_set(), &line_end_set()}) {
      for (const auto& [first, last] : set->ranges()) {
        if (first >= 0x80) edges.insert(edges.end(), {first, last + 1});
      }
    }
    std::sort(edges.begin(), edges.end());
    edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
    std::vector<std::pair<std::uint32_t, int>> made;
    for (const std::uint32_t c : edges) made.emplace_back(c, c == 0xD800 ? -1 : wide_class(c));
    return made;
  }();
  return runs;
}

}  // namespace

RegexPool::Alike RegexPool::alike_of(const Row& row) {
  // The classes that lead to each target, as far as all their characters agree.
  boost::container::small_vector<std::pair<RegexId, CharClasses>, 16> found;
  boost::container::small_vector<std::pair<RegexId, Bits>, 16> ascii;
  Bits none{};
  std::size_t run = 0;
  for (; run < row.from.size() && row.from[run] < 128; ++run) {
    auto at = std::find_if(ascii.begin(), ascii.end(), [&](const auto& known) { return known.first == row.to[run]; });
    const bool dead = row.to[run] == kNoText;
    if (!dead && at == ascii.end()) at = ascii.insert(at, {row.to[run], Bits{}});
    Bits& bits = dead ? none : at->second;
    const std::uint32_t end = run + 1 < row.from.size() ? std::min<std::uint32_t>(row.from[run + 1], 128) : 128;
    for (std::uint32_t c = row.from[run]; c < end; ++c) bits[c / 64] |= std::uint64_t{1} << (c % 64);
  }
  CharClasses dead = classes_in(none);
  for (const auto& [target, bits] : ascii) found.push_back({target, classes_in(bits)});
  constexpr RegexId kUnseen = ~RegexId{0}, kTorn = kUnseen - 1;
  std::array<RegexId, kWideClassCount> wide;
  wide.fill(kUnseen);
  --run;  // the one of U+0080
  const auto& classes = wide_classes();
  std::size_t w = 0;
  for (std::uint32_t at = 0x80; at <= kCodePointMax;) {
    while (run + 1 < row.from.size() && row.from[run + 1] <= at) ++run;
    while (w + 1 < classes.size() && classes[w + 1].first <= at) ++w;
    if (classes[w].second >= 0) {
      RegexId& known = wide[static_cast<std::size_t>(classes[w].second - kClassWide)];
      known = known == kUnseen || known == row.to[run] ? row.to[run] : kTorn;
    }
    at = std::min(run + 1 < row.from.size() ? row.from[run + 1] : kCodePointMax + 1,
                  w + 1 < classes.size() ? classes[w + 1].first : kCodePointMax + 1);
  }
  for (std::size_t c = 0; c < wide.size(); ++c) {
    if (wide[c] == kNoText) dead |= CharClasses{1} << (kClassWide + static_cast<int>(c));
    if (wide[c] == kTorn || wide[c] == kNoText) continue;
    auto at = std::find_if(found.begin(), found.end(), [&](const auto& known) { return known.first == wide[c]; });
    if (at == found.end()) at = found.insert(at, {wide[c], 0});
    at->second |= CharClasses{1} << (kClassWide + static_cast<int>(c));
  }
  // Letters tell patterns from each other best; else the first class that leads anywhere.
  for (const int c : {kClassLower, kClassWide, kClassUpper, kClassLowerHex, kClassUpperHex, kClassDigit}) {
    for (const auto& [target, led] : found) {
      if ((led >> c & 1) != 0) return {target, led, true, dead};
    }
  }
  Alike first;
  for (const auto& [target, led] : found) {
    if (led != 0 && (first.classes == 0 || std::countr_zero(led) < std::countr_zero(first.classes)))
      first = {target, led};
  }
  first.dead = dead;
  return first;
}

// Without a row, where the first character is of one set and all of it leads to one state, which has texts.
std::optional<RegexPool::Alike> RegexPool::alike_by_set(const Expr& x) {
  if (!x.positive) return std::nullopt;
  const auto way = only_way(x);
  if (!way) return std::nullopt;
  const auto wide = wide_classes_in(ranges(sets_[way->set]));
  if (!wide) return std::nullopt;
  const Bits& ascii = sets_[way->set].ascii;
  const CharClasses classes = classes_in(ascii) | *wide;
  const CharClasses dead = classes_in({~ascii[0], ~ascii[1]}) | (*wide == 0 ? kWideClasses : 0);
  return Alike{classes == 0 ? kNoText : way->to, classes, true, dead};
}

RegexPool::Alike RegexPool::alike(RegexId id) {
  if (const auto known = alikes_.find(id); known != alikes_.end()) return known->second;
  const Expr x = exprs_[id];  // a copy: the table grows below
  const auto by_set = alike_by_set(x);
  Alike best = by_set ? *by_set : x.kind == Kind::kShared ? shared_alike(x) : alike_of(row(id));
  auto better = [&](const Alike& other) {
    if (__builtin_popcountll(other.classes) <= __builtin_popcountll(best.classes)) return;
    best = {other.to, other.classes, false, best.dead};
  };
  // What one alternative goes on with, the whole goes on with: a search for some word stays one whatever comes.
  if (x.positive && x.kind == Kind::kOr && x.b <= kAlikePartsMax) {
    for (std::uint32_t i = 0; i < x.b; ++i) better(alike(parts_[x.a + i]));
  } else if (x.positive && x.kind == Kind::kConcat && !by_set) {
    Alike first = alike(x.a);
    if (first.to != kNoText) {
      first.to = concat(first.to, x.b);
      better(first);
    }
  }
  alikes_.emplace(id, best);
  bytes_ += 48;
  return best;
}

}  // namespace longhaul::tools
