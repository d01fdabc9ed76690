// Expressions kept small by the usual laws, and their derivatives.
#include "tools/regex.h"

#include <algorithm>

#include "runtime/base/check.h"
#include "tools/regex_lengths.h"
#include "tools/utf8.h"

namespace longhaul::tools {
namespace {

constexpr std::size_t kAlikePartsMax = 16;  // alternatives that alike() looks at one by one

}  // namespace

RegexPool::RegexPool() {
  add({.kind = Kind::kNothing, .parts = {}});
  exprs_[kNoText].shortest = kUnbounded;
  add({.kind = Kind::kEmpty, .nullable = true, .parts = {}});
  // Its part comes after it, so that it can have its fixed number.
  Expr any{.kind = Kind::kRepeat, .nullable = true, .a = 3, .min = 0, .max = kUnbounded, .parts = {}};
  any.longest = kUnbounded;
  any.positions = 1;
  add(std::move(any));
  const RegexId all = chars(CharSet::all());
  LONGHAUL_CHECK(all == 3, "the part of kAnyText");
}

RegexId RegexPool::add(Expr expr) {
  WordHash h;
  h.mix(static_cast<std::uint64_t>(expr.kind));
  h.mix((std::uint64_t{expr.a} << 32) | expr.b);
  h.mix((std::uint64_t{expr.min} << 32) | expr.max);
  for (const RegexId part : expr.parts) h.mix(part);
  const RegexId same = ids_.find(h.value(), [&](RegexId id) {
    const Expr& known = exprs_[id];
    return known.kind == expr.kind && known.a == expr.a && known.b == expr.b && known.min == expr.min &&
           known.max == expr.max && known.parts == expr.parts;
  });
  if (same != IdTable::kNone) return same;
  const auto id = static_cast<RegexId>(exprs_.size());
  bytes_ += sizeof(Expr) + 64 + 4 * expr.parts.size();
  exprs_.push_back(std::move(expr));
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

RegexId RegexPool::chars(CharSet set) {
  if (set.empty()) return kNoText;
  const auto [at, fresh] = set_ids_.emplace(set.ranges(), static_cast<std::uint32_t>(sets_.size()));
  if (fresh) {
    bytes_ += 16 * set.ranges().size() + 64;
    sets_.push_back(std::move(set));
  }
  Expr expr{.kind = Kind::kChars, .a = at->second, .parts = {}};
  expr.shortest = expr.longest = expr.positions = 1;
  return add(std::move(expr));
}

RegexId RegexPool::literal(std::string_view utf8) {
  std::vector<std::uint32_t> code_points;
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
  for (auto c = code_points.rbegin(); c != code_points.rend(); ++c) result = concat(chars(CharSet::one(*c)), result);
  return result;
}

RegexId RegexPool::concat(RegexId first, RegexId rest) {
  // Right-nested, so that a derivative touches the front only.
  std::vector<RegexId> fronts;
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
              .b = result,
              .parts = {}};
    expr.shortest = plus(x.shortest, y.shortest);
    expr.longest = plus(x.longest, y.longest);
    expr.positions = plus(x.positions, y.positions);
    result = add(std::move(expr));
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
  Expr expr{.kind = Kind::kRepeat,
            .nullable = min == 0,
            .positive = x.positive,
            .a = part,
            .min = min,
            .max = max,
            .parts = {}};
  expr.shortest = times(x.shortest, min);
  expr.longest = times(x.longest, max);
  expr.positions = times(x.positions, max == kUnbounded ? std::max(min, 1U) : max);
  return add(std::move(expr));
}

RegexId RegexPool::either(std::vector<RegexId> parts) {
  std::vector<RegexId> flat;
  std::optional<CharSet> set;
  bool nullable = false, empty = false;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const RegexId id = parts[i];
    const Expr& x = exprs_[id];
    if (id == kNoText) continue;
    if (id == kAnyText) return kAnyText;
    if (id == kEmptyText) {
      empty = true;
    } else if (x.kind == Kind::kOr) {
      const std::vector<RegexId> inner = x.parts;
      parts.insert(parts.end(), inner.begin(), inner.end());
    } else if (x.kind == Kind::kChars) {
      set = set ? *set | sets_[x.a] : sets_[x.a];
    } else {
      nullable = nullable || x.nullable;
      flat.push_back(id);
    }
  }
  if (set) flat.push_back(chars(std::move(*set)));
  if (empty && !nullable) flat.push_back(kEmptyText);
  std::sort(flat.begin(), flat.end());
  flat.erase(std::unique(flat.begin(), flat.end()), flat.end());
  if (flat.empty()) return kNoText;
  if (flat.size() == 1) return flat[0];
  Expr expr{.kind = Kind::kOr, .nullable = nullable || empty, .parts = {}};
  expr.shortest = kUnbounded;
  for (const RegexId id : flat) {
    const Expr& x = exprs_[id];
    if (x.kind == Kind::kNot && std::binary_search(flat.begin(), flat.end(), x.a)) return kAnyText;
    expr.positive = expr.positive && x.positive;
    expr.shortest = std::min(expr.shortest, x.shortest);
    expr.longest = std::max(expr.longest, x.longest);
    expr.positions = plus(expr.positions, x.positions);
  }
  expr.parts = std::move(flat);
  return add(std::move(expr));
}

RegexId RegexPool::both(std::vector<RegexId> parts) {
  std::vector<RegexId> flat;
  std::optional<CharSet> set;
  bool nullable = true, empty = false;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const RegexId id = parts[i];
    const Expr& x = exprs_[id];
    if (id == kNoText) return kNoText;
    if (id == kAnyText) continue;
    nullable = nullable && x.nullable;
    if (id == kEmptyText) {
      empty = true;
    } else if (x.kind == Kind::kAnd) {
      const std::vector<RegexId> inner = x.parts;
      parts.insert(parts.end(), inner.begin(), inner.end());
    } else if (x.kind == Kind::kChars) {
      set = set ? *set & sets_[x.a] : sets_[x.a];
    } else {
      flat.push_back(id);
    }
  }
  if (empty) return nullable ? kEmptyText : kNoText;
  if (set) {
    const RegexId id = chars(std::move(*set));
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
  return add({.kind = Kind::kAnd, .nullable = nullable, .positive = false, .parts = std::move(flat)});
}

RegexId RegexPool::complement(RegexId part) {
  if (part == kNoText) return kAnyText;
  if (part == kAnyText) return kNoText;
  if (exprs_[part].kind == Kind::kNot) return exprs_[part].a;
  return add({.kind = Kind::kNot, .nullable = !exprs_[part].nullable, .positive = false, .a = part, .parts = {}});
}

RegexId RegexPool::leap_rest(std::uint32_t hour, std::optional<std::uint32_t> ten) {
  Expr expr{.kind = Kind::kLoop, .a = kUnbounded, .b = hour | (ten ? *ten + 1 : 0) << 8, .parts = {}};
  const bool greenwich = hour == 23 && (!ten || *ten == 5);
  expr.shortest = (greenwich ? 6 : 11) - (ten ? 1 : 0);  // MM:60Z or MM:60+HH:MM
  expr.longest = kUnbounded;
  expr.positions = ten ? 250 : 1500;
  return add(std::move(expr));
}

RegexId RegexPool::derive(RegexId id, std::uint32_t c) {
  const Expr x = exprs_[id];  // a copy: the table grows below
  switch (x.kind) {
    case Kind::kNothing:
    case Kind::kEmpty:
      return kNoText;
    case Kind::kChars:
      return sets_[x.a].has(c) ? kEmptyText : kNoText;
    case Kind::kConcat: {
      const RegexId front = concat(derive(x.a, c), x.b);
      if (!exprs_[x.a].nullable) return front;
      return either({front, derive(x.b, c)});
    }
    case Kind::kRepeat: {
      if (id == kAnyText) return kAnyText;
      const RegexId after = derive(x.a, c);
      if (after == kNoText) return kNoText;
      return concat(after, repeat(x.a, x.min == 0 ? 0 : x.min - 1, x.max == kUnbounded ? x.max : x.max - 1));
    }
    case Kind::kOr:
    case Kind::kAnd: {
      std::vector<RegexId> parts;
      for (const RegexId part : x.parts) {
        const RegexId after = derive(part, c);
        if (x.kind == Kind::kOr ? after == kAnyText : after == kNoText) return after;
        parts.push_back(after);
      }
      return x.kind == Kind::kOr ? either(std::move(parts)) : both(std::move(parts));
    }
    case Kind::kNot:
      return complement(derive(x.a, c));
    case Kind::kLoop:
      return derive(unfold(id), c);
  }
  return kNoText;
}

// The classes that the next code point is held against.
void RegexPool::first_sets(RegexId id, std::vector<std::uint32_t>& sets, int depth) {
  const Expr x = exprs_[id];
  switch (x.kind) {
    case Kind::kNothing:
    case Kind::kEmpty:
      return;
    case Kind::kChars:
      sets.push_back(x.a);
      return;
    case Kind::kConcat:
      first_sets(x.a, sets, depth + 1);
      if (exprs_[x.a].nullable) first_sets(x.b, sets, depth + 1);
      return;
    case Kind::kRepeat:
    case Kind::kNot:
      return first_sets(x.a, sets, depth + 1);
    case Kind::kOr:
    case Kind::kAnd:
      for (const RegexId part : x.parts) first_sets(part, sets, depth + 1);
      return;
    case Kind::kLoop:
      return first_sets(unfold(id), sets, depth + 1);
  }
}

const RegexPool::Row& RegexPool::row(RegexId id) {
  if (rows_[id] != nullptr) return *rows_[id];
  std::vector<std::uint32_t> sets;
  first_sets(id, sets, 0);
  std::sort(sets.begin(), sets.end());
  sets.erase(std::unique(sets.begin(), sets.end()), sets.end());
  // Between two neighbouring edges of these classes all code points do the same, and so do runs of the same classes.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> edges{{0, kUnbounded}};  // code point, class that changes
  for (std::uint32_t i = 0; i < sets.size(); ++i) {
    for (const auto& [first, last] : sets_[sets[i]].ranges()) {
      edges.push_back({first, i});
      if (last < kCodePointMax) edges.push_back({last + 1, i});
    }
  }
  std::sort(edges.begin(), edges.end());
  auto made = std::make_shared<Row>();
  std::string inside(sets.size(), '\0');
  std::unordered_map<std::string, RegexId> known;
  for (std::size_t i = 0; i < edges.size();) {
    const std::uint32_t from = edges[i].first;
    for (; i < edges.size() && edges[i].first == from; ++i) {
      if (edges[i].second != kUnbounded) inside[edges[i].second] ^= 1;
    }
    auto [at, fresh] = known.emplace(inside, kNoText);
    if (fresh) {
      RegexId target = derive(id, from);
      if (!exprs_[target].positive && !info(target).live) target = kNoText;
      at->second = target;
    }
    if (!made->to.empty() && made->to.back() == at->second) continue;
    made->from.push_back(from);
    made->to.push_back(at->second);
  }
  for (std::uint32_t c = 0, run = 0; c < 128; ++c) {
    while (run + 1 < made->from.size() && made->from[run + 1] <= c) ++run;
    made->ascii[c] = made->to[run];
  }
  bytes_ += sizeof(Row) + 8 * made->from.size() + 64;
  rows_[id] = std::move(made);
  return *rows_[id];
}

RegexPool::Alike RegexPool::alike_of(const Row& row) {
  // Where each class leads, as far as all its characters agree.
  constexpr RegexId kUnseen = ~RegexId{0}, kTorn = kUnseen - 1;
  std::array<RegexId, kCharClassCount> to;
  to.fill(kUnseen);
  auto see = [&](int c, RegexId target) {
    RegexId& known = to[static_cast<std::size_t>(c)];
    known = known == kUnseen || known == target ? target : kTorn;
  };
  for (std::uint32_t c = 0; c < 128; ++c) see(ascii_class(static_cast<std::uint8_t>(c)), row.ascii[c]);
  static const std::vector<std::pair<std::uint32_t, int>> wide = [] {  // where another class begins
    std::vector<std::uint32_t> edges{0x80};
    for (const auto& [first, last] : space_set().ranges()) {
      if (first >= 0x80) edges.insert(edges.end(), {first, last + 1});
    }
    for (const auto& [first, last] : line_end_set().ranges()) {
      if (first >= 0x80) edges.insert(edges.end(), {first, last + 1});
    }
    edges.insert(edges.end(), {0xD800, 0xE000});
    std::sort(edges.begin(), edges.end());
    edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
    std::vector<std::pair<std::uint32_t, int>> runs;
    for (const std::uint32_t c : edges) runs.emplace_back(c, c == 0xD800 ? -1 : wide_class(c));
    return runs;
  }();
  std::size_t w = 0, run = 0;
  for (std::uint32_t at = 0x80; at <= kCodePointMax;) {
    while (run + 1 < row.from.size() && row.from[run + 1] <= at) ++run;
    while (w + 1 < wide.size() && wide[w + 1].first <= at) ++w;
    if (wide[w].second >= 0) see(wide[w].second, row.to[run]);
    at = std::min(run + 1 < row.from.size() ? row.from[run + 1] : kCodePointMax + 1,
                  w + 1 < wide.size() ? wide[w + 1].first : kCodePointMax + 1);
  }
  Alike alike;
  for (const int c : {kClassLower, kClassWide, kClassUpper, kClassLowerHex, kClassUpperHex, kClassDigit}) {
    const RegexId target = to[static_cast<std::size_t>(c)];
    if (alike.to == kNoText && target != kTorn) alike.to = target;
  }
  for (std::size_t c = 0; c < to.size(); ++c) {
    if (alike.to == kNoText && to[c] != kTorn) alike.to = to[c];
    if (alike.to != kNoText && to[c] == alike.to) alike.classes |= CharClasses{1} << c;
  }
  return alike;
}

RegexPool::Alike RegexPool::alike(RegexId id) {
  if (const auto known = alikes_.find(id); known != alikes_.end()) return known->second;
  Alike best = alike_of(row(id));
  auto better = [&](const Alike& other) {
    if (__builtin_popcountll(other.classes) > __builtin_popcountll(best.classes)) best = other;
  };
  // What one alternative goes on with, the whole goes on with: a search for some word stays one whatever comes.
  const Expr x = exprs_[id];
  if (x.positive && x.kind == Kind::kOr && x.parts.size() <= kAlikePartsMax) {
    for (const RegexId part : x.parts) better(alike(part));
  } else if (x.positive && x.kind == Kind::kConcat) {
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

RegexId RegexPool::step(RegexId id, std::uint32_t c) {
  if (id == kAnyText || id == kNoText) return id;
  const Row& r = row(id);
  if (c < 128) return r.ascii[c];
  const auto after = std::upper_bound(r.from.begin(), r.from.end(), c);
  return r.to[static_cast<std::size_t>(after - r.from.begin()) - 1];
}

}  // namespace longhaul::tools
