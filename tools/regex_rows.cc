// Derivatives of expressions, and the rows of transitions made of them.
#include <algorithm>
#include <bit>
#include <boost/container/small_vector.hpp>

#include "tools/regex.h"

namespace longhaul::tools {
namespace {

// Deriving makes many short lists: on the stack, as far as they stay short.
template <class T>
using ShortList = boost::container::small_vector<T, 32>;

using Bits = std::array<std::uint64_t, 2>;  // bit c: the character of ASCII is in a set

}  // namespace

// What is left of a repeat after a round.
RegexId RegexPool::one_less(const Expr& x) {
  return repeat(x.a, x.min == 0 ? 0 : x.min - 1, x.max == kUnbounded ? x.max : x.max - 1);
}

RegexId RegexPool::derive(RegexId id, std::uint32_t c) {
  const Expr x = exprs_[id];  // a copy: the table grows below
  switch (x.kind) {
    case Kind::kNothing:
    case Kind::kEmpty:
      return kNoText;
    case Kind::kChars:
      return has(sets_[x.a], c) ? kEmptyText : kNoText;
    case Kind::kConcat: {
      const RegexId front = concat(derive(x.a, c), x.b);
      if (!exprs_[x.a].nullable) return front;
      return either({front, derive(x.b, c)});
    }
    case Kind::kRepeat: {
      if (id == kAnyText) return kAnyText;
      const RegexId after = derive(x.a, c);
      if (after == kNoText) return kNoText;
      return concat(after, one_less(x));
    }
    case Kind::kOr:
    case Kind::kAnd: {
      const bool any = x.kind == Kind::kOr;
      ShortList<RegexId> after;
      for (std::uint32_t i = 0; i < x.b; ++i) {  // by number: the list of parts grows
        const RegexId one = derive(parts_[x.a + i], c);
        if (one == (any ? kAnyText : kNoText)) return one;
        if (!any || one != kNoText) after.push_back(one);
      }
      return any ? either(after) : both(after);
    }
    case Kind::kNot:
      return complement(derive(x.a, c));
    case Kind::kLoop:
      return derive(unfold(id), c);
    case Kind::kShared:
      return shared_step(x, c);
  }
  return kNoText;
}

// The classes that the next code point is held against.
void RegexPool::first_sets(RegexId id, std::vector<std::uint32_t>& sets) {
  const Expr x = exprs_[id];
  switch (x.kind) {
    case Kind::kNothing:
    case Kind::kEmpty:
      return;
    case Kind::kChars:
      sets.push_back(x.a);
      return;
    case Kind::kConcat:
      first_sets(x.a, sets);
      if (exprs_[x.a].nullable) first_sets(x.b, sets);
      return;
    case Kind::kRepeat:
    case Kind::kNot:
      return first_sets(x.a, sets);
    case Kind::kOr:
    case Kind::kAnd:
      for (std::uint32_t i = 0; i < x.b; ++i) first_sets(parts_[x.a + i], sets);  // unfolding adds parts
      return;
    case Kind::kLoop:
      return first_sets(unfold(id), sets);
    case Kind::kShared:
      return shared_sets(x, sets);
  }
}

// If all first characters are of one set and lead to the same: that set, and what follows.
std::optional<RegexPool::Way> RegexPool::only_way(const Expr& x) {
  if (x.kind == Kind::kChars) return Way{x.a, kEmptyText};
  if (x.kind == Kind::kRepeat && exprs_[x.a].kind == Kind::kChars) return Way{exprs_[x.a].a, one_less(x)};
  if (x.kind != Kind::kConcat || exprs_[x.a].nullable) return std::nullopt;
  auto way = only_way(Expr(exprs_[x.a]));
  if (way) way->to = concat(way->to, x.b);
  return way;
}

// The alternatives of a state: those that are one way, for which nothing is derived character by character, and others.
void RegexPool::split(RegexId id, std::vector<Way>& ways, std::vector<RegexId>& others) {
  const Expr x = exprs_[id];
  if (id == kAnyText) {
    ways.push_back({kEverySet, id});
  } else if (x.kind == Kind::kOr) {
    for (std::uint32_t i = 0; i < x.b; ++i) split(parts_[x.a + i], ways, others);
  } else if (const auto way = only_way(x)) {
    ways.push_back(*way);
  } else if (x.kind == Kind::kConcat && exprs_[x.a].nullable) {
    const auto first = x.a == kAnyText ? std::optional(Way{kEverySet, kAnyText}) : only_way(Expr(exprs_[x.a]));
    if (!first) return others.push_back(id);
    ways.push_back({first->set, concat(first->to, x.b)});
    split(x.b, ways, others);
  } else {
    others.push_back(id);
  }
}

namespace {

// ASCII, in blocks of characters that are in the same of some sets.
class AsciiBlocks {
 public:
  void split(const Bits& set) {
    for (std::size_t i = 0, n = blocks_.size(); i < n; ++i) {
      const Bits in{blocks_[i][0] & set[0], blocks_[i][1] & set[1]};
      const Bits out{blocks_[i][0] & ~set[0], blocks_[i][1] & ~set[1]};
      if ((in[0] | in[1]) == 0 || (out[0] | out[1]) == 0) continue;
      blocks_[i] = in;
      blocks_.push_back(out);
    }
  }
  const ShortList<Bits>& blocks() const { return blocks_; }

 private:
  ShortList<Bits> blocks_{{~std::uint64_t{0}, ~std::uint64_t{0}}};
};

// Which of some sets hold a code point beyond ASCII, and what was found for it. Only the latest are looked through: one
// that is asked again later is found again.
class KnownTargets {
 public:
  explicit KnownTargets(std::size_t n_sets) : inside_((n_sets + 63) / 64, 0) {}
  void toggle(std::uint32_t set) { inside_[set / 64] ^= std::uint64_t{1} << (set % 64); }

  template <class Make>
  RegexId target(Make&& make) {
    constexpr std::size_t kLatest = 32;
    const std::size_t words = inside_.size();
    for (std::size_t i = targets_.size(); i-- > 0 && i + kLatest >= targets_.size();) {
      if (std::equal(inside_.begin(), inside_.end(), seen_.begin() + static_cast<std::ptrdiff_t>(i * words))) {
        return targets_[i];
      }
    }
    const RegexId made = make();
    seen_.insert(seen_.end(), inside_.begin(), inside_.end());
    targets_.push_back(made);
    return made;
  }

 private:
  ShortList<std::uint64_t> inside_, seen_;
  ShortList<RegexId> targets_;
};

}  // namespace

const RegexPool::Row& RegexPool::row(RegexId id) {
  if (rows_[id] == nullptr) {
    auto made = exprs_[id].kind == Kind::kShared ? shared_row(Expr(exprs_[id])) : derived_row(id);
    bytes_ += sizeof(Row) + 8 * made->from.size() + 64;
    rows_[id] = std::move(made);
  }
  return *rows_[id];
}

std::shared_ptr<const RegexPool::Row> RegexPool::derived_row(RegexId id) {
  std::vector<Way> ways;
  std::vector<RegexId> others;
  split(id, ways, others);
  std::vector<std::uint32_t> sets;
  sets.reserve(64);
  for (const Way& way : ways) {
    if (way.set != kEverySet) sets.push_back(way.set);
  }
  for (const RegexId other : others) first_sets(other, sets);
  std::sort(sets.begin(), sets.end());
  sets.erase(std::unique(sets.begin(), sets.end()), sets.end());
  auto made = std::make_shared<Row>();
  const auto derived = [&](std::uint32_t c) {
    ShortList<RegexId> after;
    for (const Way& way : ways) {
      if (way.set == kEverySet || has(sets_[way.set], c)) after.push_back(way.to);
    }
    for (const RegexId other : others) after.push_back(derive(other, c));
    const RegexId to = either(after);
    return exprs_[to].positive || info(to).live ? to : kNoText;
  };
  const auto run = [&](std::uint32_t from, RegexId to) {
    if (!made->to.empty() && made->to.back() == to) return;
    made->from.push_back(from);
    made->to.push_back(to);
  };
  AsciiBlocks ascii;
  for (const std::uint32_t set : sets) ascii.split(sets_[set].ascii);
  for (const Bits& block : ascii.blocks()) {
    const int first = block[0] != 0 ? std::countr_zero(block[0]) : 64 + std::countr_zero(block[1]);
    const RegexId to = derived(static_cast<std::uint32_t>(first));
    for (std::uint32_t half = 0; half < 2; ++half) {
      for (std::uint64_t bits = block[half]; bits != 0; bits &= bits - 1) {
        made->ascii[64 * half + static_cast<std::uint32_t>(std::countr_zero(bits))] = to;
      }
    }
  }
  for (std::uint32_t c = 0; c < 128; ++c) run(c, made->ascii[c]);
  // Beyond, between two neighbouring edges of the sets all code points do the same, and so do runs in the same sets.
  ShortList<std::pair<std::uint32_t, std::uint32_t>> edges;  // code point, set that begins or ends
  KnownTargets known(sets.size());
  for (std::uint32_t i = 0; i < sets.size(); ++i) {
    for (const auto& [first, last] : ranges(sets_[sets[i]])) {
      if (last < 128) continue;
      edges.push_back({std::max<std::uint32_t>(first, 128), i});
      if (last < kCodePointMax) edges.push_back({last + 1, i});
    }
  }
  std::sort(edges.begin(), edges.end());
  std::size_t next = 0;
  for (std::uint32_t from = 128;;) {
    for (; next < edges.size() && edges[next].first == from; ++next) known.toggle(edges[next].second);
    run(from, known.target([&] { return derived(from); }));
    if (next == edges.size()) break;
    from = edges[next].first;
  }
  return made;
}

RegexId RegexPool::step(RegexId id, std::uint32_t c) {
  if (id == kAnyText || id == kNoText) return id;
  const Row& r = row(id);
  if (c < 128) return r.ascii[c];
  const auto after = std::upper_bound(r.from.begin(), r.from.end(), c);
  return r.to[static_cast<std::size_t>(after - r.from.begin()) - 1];
}

}  // namespace longhaul::tools
