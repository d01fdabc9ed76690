// Expressions, kept small by the usual laws.
#include "tools/regex.h"

#include <algorithm>
#include <boost/container/small_vector.hpp>

#include "runtime/base/check.h"
#include "tools/regex_lengths.h"
#include "tools/utf8.h"

namespace longhaul::tools {
namespace {

// Deriving makes many short lists: on the stack, as far as they stay short.
template <class T, std::size_t kInline = 32>
using ShortList = boost::container::small_vector<T, kInline>;

}  // namespace

RegexPool::RegexPool() {
  add({.kind = Kind::kNothing});
  exprs_[kNoText].shortest = kUnbounded;
  add({.kind = Kind::kEmpty, .nullable = true});
  // Its part comes after it, so that it can have its fixed number.
  Expr any{.kind = Kind::kRepeat, .nullable = true, .a = 3, .min = 0, .max = kUnbounded};
  any.longest = kUnbounded;
  any.positions = 1;
  add(any);
  const RegexId all = chars(CharSet::all());
  LONGHAUL_CHECK(all == 3, "the part of kAnyText");
}

RegexId RegexPool::add(Expr expr, std::span<const RegexId> parts) {
  WordHash h;
  h.mix(static_cast<std::uint64_t>(expr.kind));
  h.mix((std::uint64_t{expr.a} << 32) | expr.b);
  h.mix((std::uint64_t{expr.min} << 32) | expr.max);
  for (const RegexId part : parts) h.mix(part);
  const RegexId same = ids_.find(h.value(), [&](RegexId id) {
    const Expr& known = exprs_[id];
    if (known.kind != expr.kind) return false;
    if (!parts.empty()) return std::ranges::equal(this->parts(known), parts);
    return known.a == expr.a && known.b == expr.b && known.min == expr.min && known.max == expr.max;
  });
  if (same != IdTable::kNone) return same;
  const auto id = static_cast<RegexId>(exprs_.size());
  bytes_ += sizeof(Expr) + 64 + 4 * parts.size();
  if (!parts.empty()) {
    expr.a = static_cast<std::uint32_t>(parts_.size());
    expr.b = static_cast<std::uint32_t>(parts.size());
    parts_.insert(parts_.end(), parts.begin(), parts.end());
  }
  exprs_.push_back(expr);
  rows_.emplace_back();
  ids_.add(h.value(), id);
  return id;
}

const RegexPool::Info& RegexPool::info(RegexId id) const {
  // Not settled (yet): taken to be alive, with any length.
  static const Info unknown{true, 0, kUnbounded, kLengthMax};
  const auto found = infos_.find(id);
  return found == infos_.end() ? unknown : found->second;
}

std::uint32_t RegexPool::set_of(std::span<const CharSet::Range> ranges) {
  WordHash h;
  for (const auto& [first, last] : ranges) h.mix((std::uint64_t{first} << 32) | last);
  const std::uint32_t known =
      set_ids_.find(h.value(), [&](std::uint32_t set) { return std::ranges::equal(this->ranges(sets_[set]), ranges); });
  if (known != IdTable::kNone) return known;
  const auto set = static_cast<std::uint32_t>(sets_.size());
  Set fresh{.first = static_cast<std::uint32_t>(ranges_.size()), .count = static_cast<std::uint32_t>(ranges.size())};
  for (const auto& [first, last] : ranges) {
    for (std::uint32_t c = first; c <= last && c < 128; ++c) fresh.ascii[c / 64] |= std::uint64_t{1} << (c % 64);
  }
  ranges_.insert(ranges_.end(), ranges.begin(), ranges.end());
  sets_.push_back(fresh);
  set_ids_.add(h.value(), set);
  bytes_ += sizeof(Set) + 24 + sizeof(CharSet::Range) * ranges.size();
  return set;
}

RegexId RegexPool::chars(std::span<const CharSet::Range> ranges) {
  if (ranges.empty()) return kNoText;
  Expr expr{.kind = Kind::kChars, .a = set_of(ranges)};
  expr.shortest = expr.longest = expr.positions = 1;
  return add(expr);
}

CharSet RegexPool::char_set(std::uint32_t set) const {
  const auto found = ranges(sets_[set]);
  return CharSet({found.begin(), found.end()});
}

bool RegexPool::has(const Set& set, std::uint32_t c) const {
  if (c < 128) return (set.ascii[c / 64] >> (c % 64) & 1) != 0;
  const auto all = ranges(set);
  const auto after = std::upper_bound(all.begin(), all.end(), c,
                                      [](std::uint32_t value, const CharSet::Range& r) { return value < r.first; });
  return after != all.begin() && c <= std::prev(after)->second;
}

RegexId RegexPool::literal(std::string_view utf8) {
  ShortList<std::uint32_t> code_points;
  for (std::size_t i = 0; i < utf8.size();) {
    const auto lead = static_cast<std::uint8_t>(utf8[i]);
    const int n = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    std::uint32_t c = n == 1 ? lead : lead & (0x7F >> n);
    for (int k = 1; k < n && i + static_cast<std::size_t>(k) < utf8.size(); ++k) {
      c = (c << 6) | (static_cast<std::uint8_t>(utf8[i + static_cast<std::size_t>(k)]) & 0x3F);
    }
    code_points.push_back(c);
    i += static_cast<std::size_t>(n);
  }
  RegexId result = kEmptyText;
  for (auto c = code_points.rbegin(); c != code_points.rend(); ++c) {
    const CharSet::Range one{*c, *c};
    result = concat(chars(std::span(&one, 1)), result);
  }
  return result;
}

RegexId RegexPool::concat(RegexId first, RegexId rest) {
  if (first == kEmptyText || rest == kNoText) return rest;
  // Right-nested, so that a derivative touches the front only.
  ShortList<RegexId> fronts;
  while (exprs_[first].kind == Kind::kConcat) {
    fronts.push_back(exprs_[first].a);
    first = exprs_[first].b;
  }
  fronts.push_back(first);
  RegexId result = rest;
  for (auto front = fronts.rbegin(); front != fronts.rend(); ++front) {
    const RegexId a = *front;
    if (a == kNoText || result == kNoText) return kNoText;
    if (a == kEmptyText) continue;
    if (result == kEmptyText) {
      result = a;
      continue;
    }
    if (a == kAnyText &&
        (exprs_[result].nullable || (exprs_[result].kind == Kind::kConcat && exprs_[result].a == kAnyText))) {
      if (exprs_[result].nullable) result = kAnyText;
      continue;
    }
    if (result == kAnyText && exprs_[a].nullable) continue;
    const Expr &x = exprs_[a], &y = exprs_[result];
    Expr expr{.kind = Kind::kConcat,
              .nullable = x.nullable && y.nullable,
              .positive = x.positive && y.positive,
              .a = a,
              .b = result};
    expr.shortest = plus(x.shortest, y.shortest);
    expr.longest = plus(x.longest, y.longest);
    expr.positions = plus(x.positions, y.positions);
    result = add(expr);
  }
  return result;
}

RegexId RegexPool::repeat(RegexId part, std::uint32_t min, std::uint32_t max) {
  if (max == 0 || part == kEmptyText) return kEmptyText;
  if (part == kNoText) return min == 0 ? kEmptyText : kNoText;
  if (exprs_[part].nullable) min = 0;
  if (min == 1 && max == 1) return part;
  if (exprs_[part].kind == Kind::kRepeat) {
    const Expr inner = exprs_[part];
    // Rounds of at most one least element leave no gaps; equal counts multiply.
    const bool exact = inner.min == inner.max && min == max;
    const std::uint32_t most = inner.max == kUnbounded || max == kUnbounded ? kUnbounded : times(inner.max, max);
    if ((inner.min <= 1 || exact) && (most == kUnbounded || most < kLengthMax)) {
      return repeat(inner.a, times(inner.min, min), most);
    }
  }
  const Expr& x = exprs_[part];
  Expr expr{.kind = Kind::kRepeat, .nullable = min == 0, .positive = x.positive, .a = part, .min = min, .max = max};
  expr.shortest = times(x.shortest, min);
  expr.longest = times(x.longest, max);
  expr.positions = times(x.positions, max == kUnbounded ? std::max(min, 1U) : max);
  return add(expr);
}

RegexId RegexPool::either(std::span<const RegexId> parts) {
  // Most often one way is left.
  const auto dead = [](RegexId id) { return id == kNoText; };
  const auto first = std::ranges::find_if_not(parts, dead);
  if (first == parts.end()) return kNoText;
  if (std::all_of(first + 1, parts.end(), [&](RegexId id) { return dead(id) || id == *first; })) return *first;
  ShortList<RegexId> flat;
  RegexId only = kNoText;      // the one set of characters so far,
  std::optional<CharSet> set;  // or all of them
  bool nullable = false, empty = false;
  const auto take = [&](RegexId id) {
    const Expr& x = exprs_[id];
    if (id == kEmptyText) {
      empty = true;
    } else if (x.kind == Kind::kChars) {
      if (only != kNoText && only != id) set = (set ? *set : char_set(exprs_[only].a)) | char_set(x.a);
      only = id;
    } else if (id != kNoText) {
      nullable = nullable || x.nullable;
      flat.push_back(id);
    }
  };
  for (const RegexId id : parts) {
    if (id == kAnyText) return kAnyText;
    if (exprs_[id].kind == Kind::kOr) {
      for (const RegexId part : this->parts(exprs_[id])) take(part);
    } else {
      take(id);
    }
  }
  if (only != kNoText) flat.push_back(set ? chars(*set) : only);
  if (empty && !nullable) flat.push_back(kEmptyText);
  std::sort(flat.begin(), flat.end());
  flat.erase(std::unique(flat.begin(), flat.end()), flat.end());
  if (flat.empty()) return kNoText;
  if (flat.size() == 1) return flat[0];
  Expr expr{.kind = Kind::kOr, .nullable = nullable || empty};
  expr.shortest = kUnbounded;
  for (const RegexId id : flat) {
    const Expr& x = exprs_[id];
    if (x.kind == Kind::kNot && std::binary_search(flat.begin(), flat.end(), x.a)) return kAnyText;
    expr.positive = expr.positive && x.positive;
    expr.shortest = std::min(expr.shortest, x.shortest);
    expr.longest = std::max(expr.longest, x.longest);
    expr.positions = plus(expr.positions, x.positions);
  }
  return add(expr, flat);
}

RegexId RegexPool::both(std::span<const RegexId> parts) {
  ShortList<RegexId> flat;
  RegexId only = kNoText;      // the one set of characters so far,
  std::optional<CharSet> set;  // or what they have in common
  bool nullable = true, empty = false;
  const auto take = [&](RegexId id) {
    const Expr& x = exprs_[id];
    nullable = nullable && x.nullable;
    if (id == kEmptyText) {
      empty = true;
    } else if (x.kind == Kind::kChars) {
      if (only != kNoText && only != id) set = (set ? *set : char_set(exprs_[only].a)) & char_set(x.a);
      only = id;
    } else if (id != kAnyText) {
      flat.push_back(id);
    }
  };
  for (const RegexId id : parts) {
    if (id == kNoText) return kNoText;
    if (exprs_[id].kind == Kind::kAnd) {
      for (const RegexId part : this->parts(exprs_[id])) take(part);
    } else {
      take(id);
    }
  }
  if (empty) return nullable ? kEmptyText : kNoText;
  if (only != kNoText) {
    const RegexId id = set ? chars(*set) : only;
    if (id == kNoText) return kNoText;
    flat.push_back(id);
  }
  std::sort(flat.begin(), flat.end());
  flat.erase(std::unique(flat.begin(), flat.end()), flat.end());
  if (flat.empty()) return kAnyText;
  if (flat.size() == 1) return flat[0];
  for (const RegexId id : flat) {
    if (exprs_[id].kind == Kind::kNot && std::binary_search(flat.begin(), flat.end(), exprs_[id].a)) return kNoText;
  }
  return add({.kind = Kind::kAnd, .nullable = nullable, .positive = false}, flat);
}

RegexId RegexPool::complement(RegexId part) {
  if (part == kNoText) return kAnyText;
  if (part == kAnyText) return kNoText;
  if (exprs_[part].kind == Kind::kNot) return exprs_[part].a;
  return add({.kind = Kind::kNot, .nullable = !exprs_[part].nullable, .positive = false, .a = part});
}

RegexId RegexPool::leap_rest(std::uint32_t hour, std::optional<std::uint32_t> ten) {
  Expr expr{.kind = Kind::kLoop, .a = kUnbounded, .b = hour | (ten ? *ten + 1 : 0) << 8};
  const bool greenwich = hour == 23 && (!ten || *ten == 5);
  expr.shortest = (greenwich ? 6 : 11) - (ten ? 1 : 0);  // MM:60Z or MM:60+HH:MM
  expr.longest = kUnbounded;
  expr.positions = ten ? 250 : 1500;
  return add(expr);
}

}  // namespace longhaul::tools
