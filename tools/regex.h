// Languages of texts over code points, as expressions with union, intersection and complement, made deterministic one
// state at a time by derivatives: a state is an expression (what may still follow), equal expressions are one state,
// and a state's row of transitions is made when it is first left. Nothing is unrolled: x{1000} is one expression.
//
// Patterns are those of ECMA-262 with the u flag (and, as people write them, needless escapes of punctuation and
// literal braces). Look-behind and references back are refused by name. Assertions become languages while the pattern
// is read from its end: "A then the rest K" turns a look-ahead (?=L) before K into (L followed by anything) & K.
//
// Whether a text can still be completed is syntactic while there is neither "and" nor "not" in an expression; settle()
// explores the others once, within a limit.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/base/result.h"
#include "tools/char_class.h"
#include "tools/char_set.h"
#include "tools/id_table.h"

namespace longhaul::tools {

using RegexId = std::uint32_t;
inline constexpr RegexId kNoText = 0;     // no text at all: a dead end
inline constexpr RegexId kEmptyText = 1;  // only ""
inline constexpr RegexId kAnyText = 2;    // every text
inline constexpr std::uint32_t kUnbounded = ~std::uint32_t{0};

struct PatternNode;  // pattern_tree.h
class SharedLanguage;

// Bounds on the length still to come, in code points.
struct LengthWindow {
  std::uint32_t min = 0, max = kUnbounded;
};

// Not thread-safe; copying gives an independent pool in which ids mean the same.
class RegexPool {
 public:
  RegexPool();

  // The texts in which `pattern` is found (as JSON Schema's "pattern" means it). kInvalidArgument: not a pattern, with
  // the offset. kUnsupported: a construct that is refused, by name. kResourceExhausted: too large.
  Result<RegexId> pattern(std::string_view pattern);
  Result<RegexId> pattern(const PatternNode& tree);  // as read_pattern() gives it

  RegexId literal(std::string_view utf8);
  RegexId chars(const CharSet& set) { return chars(std::span(set.ranges())); }
  RegexId concat(RegexId first, RegexId rest);
  RegexId repeat(RegexId part, std::uint32_t min, std::uint32_t max);
  RegexId either(std::span<const RegexId> parts);
  RegexId either(std::initializer_list<RegexId> parts) { return either(std::span(parts.begin(), parts.size())); }
  RegexId both(std::span<const RegexId> parts);
  RegexId both(std::initializer_list<RegexId> parts) { return both(std::span(parts.begin(), parts.size())); }
  RegexId complement(RegexId part);
  // A language that others use, too: its states and rows come from there. It must outlive the pool and its copies.
  RegexId shared(SharedLanguage& language);
  // What follows "HH:", or "HH:M" with `ten` being that M, in the spellings of a leap second (formats.h); made when it
  // is reached.
  RegexId leap_rest(std::uint32_t hour, std::optional<std::uint32_t> ten = std::nullopt);

  // Makes empty(), step() and the rest exact for `id`; needed before they are asked. kResourceExhausted: more states
  // than are explored.
  Result<void> settle(RegexId id);

  bool empty(RegexId id) const { return id == kNoText || (!exprs_[id].positive && !info(id).live); }
  bool accepts_empty(RegexId id) const { return exprs_[id].nullable; }
  // The state after a code point; kNoText if no text of the language goes on so.
  RegexId step(RegexId id, std::uint32_t code_point);
  // After any character of these classes a text of `to` may follow, and then it has some: where an expression is
  // empty() is told for those reached. As many classes as can easily be told; kNoText and none at a dead end.
  struct Alike {
    RegexId to = kNoText;
    CharClasses classes = 0;
    bool exact = true;     // `to` is what step() gives
    CharClasses dead = 0;  // no text goes on with a character of these
  };
  Alike alike(RegexId id);
  // Whatever comes, the state stays this one.
  bool stays(RegexId id) { return row(id).to.size() == 1 && row(id).to[0] == id; }
  // Is there a code point of [from, to] after which a text of a length within the window may follow?
  bool open_between(RegexId id, std::uint32_t from, std::uint32_t to, LengthWindow rest);
  // Is there a text of this length? `rest` counts from here.
  bool fits(RegexId id, LengthWindow rest);
  // fits() needs no more than this: the window is wide, or the states between are few.
  Result<void> check_window(RegexId id, LengthWindow window);
  // The most states met at one distance from `id`, as far as its states are looked at: `states_max` of them, and until
  // there are more than `width_max`. A language that counts is long but narrow; one whose parts overlap gets wide.
  std::size_t widest(RegexId id, std::size_t states_max, std::size_t width_max);
  // Least and greatest length; kUnbounded: as long as one likes.
  std::uint32_t shortest(RegexId id) const { return exprs_[id].positive ? exprs_[id].shortest : info(id).shortest; }
  std::uint32_t longest(RegexId id) const { return exprs_[id].positive ? exprs_[id].longest : info(id).longest; }
  // At most this many states can be met from here: longer texts pass one twice. Saturating.
  std::uint32_t positions(RegexId id) const { return exprs_[id].positive ? exprs_[id].positions : info(id).positions; }
  // How many texts there are, up to `limit`.
  std::uint64_t count(RegexId id, std::uint64_t limit);
  // All of them, which are no more than `limit` (else nothing).
  std::optional<std::vector<std::string>> list(RegexId id, std::size_t limit);
  bool matches(RegexId id, std::string_view utf8);
  std::size_t size() const { return exprs_.size(); }
  std::size_t bytes() const { return bytes_; }

 private:
  friend class PatternReader;
  friend class SharedLanguage;
  enum class Kind : std::uint8_t { kNothing, kEmpty, kChars, kConcat, kRepeat, kOr, kAnd, kNot, kLoop, kShared };
  // Plain words: deriving copies expressions, and a grammar copies its schema's pool.
  struct Expr {
    Kind kind = Kind::kNothing;
    bool nullable = false;
    bool positive = true;            // no and, no not: every expression that is not kNoText has texts
    std::uint32_t a = 0, b = 0;      // chars: set; concat: first, rest; repeat, not: part; or, and: parts;
                                     // loop: index; shared: which, state
    std::uint32_t min = 0, max = 0;  // repeat
    std::uint32_t shortest = 0, longest = 0, positions = 0;
  };
  struct Set {
    std::array<std::uint64_t, 2> ascii{};  // bit c: has c
    std::uint32_t first = 0, count = 0;    // all its ranges, within ranges_
  };
  struct Info {
    bool live = true;
    std::uint32_t shortest = 0, longest = 0, positions = 0;
  };
  struct Row {
    std::array<RegexId, 128> ascii;
    std::vector<std::uint32_t> from;  // where a run of equal targets begins, ascending, the first at 0
    std::vector<RegexId> to;
  };
  static constexpr std::uint32_t kEverySet = ~std::uint32_t{0};  // surrogates, too
  struct Way {
    std::uint32_t set = kEverySet;
    RegexId to = kNoText;
  };
  // The loop of a repeat whose body holds assertions: what follows one more round, by what came before.
  struct Loop {
    std::shared_ptr<const PatternNode> body;
    std::array<RegexId, 3> rest;
    std::array<RegexId, 3> self{kNoText, kNoText, kNoText};
    std::array<RegexId, 3> unfolded{kNoText, kNoText, kNoText};
    std::array<bool, 3> done{};
  };

  RegexId add(Expr expr, std::span<const RegexId> parts = {});  // or, and: sorted parts
  RegexId chars(std::span<const CharSet::Range> ranges);        // sorted, apart
  std::uint32_t set_of(std::span<const CharSet::Range> ranges);
  std::span<const RegexId> parts(const Expr& x) const {
    if (x.kind != Kind::kOr && x.kind != Kind::kAnd) return {};
    return {parts_.data() + x.a, x.b};
  }
  std::span<const CharSet::Range> ranges(const Set& set) const { return {ranges_.data() + set.first, set.count}; }
  CharSet char_set(std::uint32_t set) const;
  bool has(const Set& set, std::uint32_t c) const;
  const Info& info(RegexId id) const;
  RegexId derive(RegexId id, std::uint32_t c);
  void first_sets(RegexId id, std::vector<std::uint32_t>& sets);
  const Row& row(RegexId id);  // stays where it is until settle()
  std::shared_ptr<const Row> derived_row(RegexId id);
  static Alike alike_of(const Row& row);
  std::optional<Alike> alike_by_set(const Expr& x);
  RegexId one_less(const Expr& x);
  std::optional<Way> only_way(const Expr& x);
  void split(RegexId id, std::vector<Way>& ways, std::vector<RegexId>& others);
  RegexId of_shared(std::uint32_t which, RegexId state);
  RegexId shared_step(const Expr& x, std::uint32_t c);
  void shared_sets(const Expr& x, std::vector<std::uint32_t>& sets);
  std::shared_ptr<const Row> shared_row(const Expr& x);
  Alike shared_alike(const Expr& x);
  RegexId unfold(RegexId id);
  bool explore(RegexId id, std::size_t limit, std::vector<RegexId>& states);

  std::vector<Expr> exprs_;
  IdTable ids_;
  std::vector<RegexId> parts_;
  std::vector<Set> sets_;
  std::vector<CharSet::Range> ranges_;
  IdTable set_ids_;
  std::vector<std::shared_ptr<const Row>> rows_;  // by expression; shared by copies of the pool, never changed
  std::unordered_map<RegexId, Alike> alikes_;     // as far as asked
  std::unordered_map<RegexId, Info> infos_;       // of settled expressions that are not positive
  std::vector<Loop> loops_;
  std::vector<SharedLanguage*> shared_;
  std::unordered_map<RegexId, RegexId> leaps_;  // what leap_rest() stands for, where it was reached
  std::map<std::array<std::uint64_t, 3>, bool> windows_;
  std::map<RegexId, std::uint64_t> counts_;
  std::size_t bytes_ = 0;
};

// A language whose states are found once for all pools that use it: a grammar starts with what others have met before.
// States are kept for good, so this is for languages known beforehand. Safe from any thread.
class SharedLanguage {
 public:
  // `make` spells it in the pool given, without "and" and "not" (whose states are to be settled for each use).
  explicit SharedLanguage(const std::function<RegexId(RegexPool&)>& make);
  SharedLanguage(const SharedLanguage&) = delete;
  SharedLanguage& operator=(const SharedLanguage&) = delete;

 private:
  friend class RegexPool;
  std::mutex mutex_;  // of pool_
  RegexPool pool_;
  const RegexId start_;
};

}  // namespace longhaul::tools
