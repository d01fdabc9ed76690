#include "tools/schema_graph.h"

#include <fmt/format.h>

#include <algorithm>

namespace longhaul::tools {
namespace {

constexpr int kProbeDepthMax = 6;            // levels looked down to find a combination empty
constexpr std::size_t kProbesMax = 20'000;   // of one schema
constexpr std::uint64_t kNamedClassMax = 8;  // classes of at most so many keys become properties

std::string at(std::string_view place) {
  return place.empty() ? "#" : "#" + std::string(place);
}

bool scalar(const Node& node) {
  return (node.types & (kArrayBit | kObjectBit)) == 0;
}

}  // namespace

SchemaGraph::SchemaGraph(RegexPool& patterns, std::size_t terms_max) : patterns_(patterns), terms_max_(terms_max) {
  term(free_node(""));
  exprs_.emplace_back(Kind::kOr, Parts{}, 0, "");
  known_[{Kind::kOr, {}}] = kNoneExpr;
}

Node SchemaGraph::free_node(std::string place) {
  Node node;
  node.place = std::move(place);
  node.array.items = kAllExpr;
  node.object.classes.push_back({kAnyText, kAllExpr, kManyKeys});
  return node;
}

TermId SchemaGraph::add_term(Node node) {
  if (terms_.size() >= terms_max_) {
    fail(make_error(ErrorCode::kResourceExhausted,
                    fmt::format("schema has more than {} nodes at {}", terms_max_, at(node.place))));
    return 0;
  }
  terms_.push_back(std::move(node));
  return static_cast<TermId>(terms_.size() - 1);
}

ExprId SchemaGraph::term(Node node) {
  std::string place = node.place;
  const TermId id = add_term(std::move(node));
  exprs_.emplace_back(Kind::kTerm, Parts{}, id, std::move(place));
  return static_cast<ExprId>(exprs_.size() - 1);
}

ExprId SchemaGraph::add(Kind kind, const Parts& parts, const std::string& place) {
  const std::pair key{kind, parts};
  if (const auto known = known_.find(key); known != known_.end()) return known->second;
  const auto id = static_cast<ExprId>(exprs_.size());
  known_.emplace(key, id);
  exprs_.emplace_back(kind, parts, 0, place);
  return id;
}

ExprId SchemaGraph::both(const Parts& parts, const std::string& place) {
  return join(Kind::kAnd, kAllExpr, kNoneExpr, parts, place);
}

ExprId SchemaGraph::either(const Parts& parts, const std::string& place) {
  return join(Kind::kOr, kNoneExpr, kAllExpr, parts, place);
}

ExprId SchemaGraph::join(Kind kind, ExprId neutral, ExprId absorbing, const Parts& given, const std::string& place) {
  Parts parts = given, flat;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i] == absorbing) return absorbing;
    if (parts[i] == neutral) continue;
    if (exprs_[parts[i]].kind == kind) {
      const Parts& inner = exprs_[parts[i]].parts;
      parts.insert(parts.end(), inner.begin(), inner.end());
    } else {
      flat.push_back(parts[i]);
    }
  }
  std::sort(flat.begin(), flat.end());
  flat.erase(std::unique(flat.begin(), flat.end()), flat.end());
  if (flat.empty()) return neutral;
  if (flat.size() == 1) return flat[0];
  return add(kind, flat, place);
}

ExprId SchemaGraph::negation(ExprId part, const std::string& place) {
  if (part == kAllExpr) return kNoneExpr;
  if (part == kNoneExpr) return kAllExpr;
  if (exprs_[part].kind == Kind::kNot) return exprs_[part].parts[0];
  return add(Kind::kNot, {part}, place);
}

ExprId SchemaGraph::exactly_one(const Parts& given, const std::string& place) {
  Parts parts;
  std::copy_if(given.begin(), given.end(), std::back_inserter(parts), [](ExprId part) { return part != kNoneExpr; });
  if (parts.empty()) return kNoneExpr;
  if (parts.size() == 1) return parts[0];
  exprs_.emplace_back(Kind::kOne, parts, 0, place);
  return static_cast<ExprId>(exprs_.size() - 1);
}

ExprId SchemaGraph::names(ExprId part, const std::string& place) {
  if (part == kAllExpr) return kAllExpr;
  exprs_.emplace_back(Kind::kNames, Parts{part}, 0, place);
  return static_cast<ExprId>(exprs_.size() - 1);
}

ExprId SchemaGraph::declare(const std::string& place) {
  exprs_.emplace_back(Kind::kOpen, Parts{}, 0, place);
  return static_cast<ExprId>(exprs_.size() - 1);
}

void SchemaGraph::define(ExprId id, ExprId meaning) {
  exprs_[id].parts = {meaning};
}

RegexId SchemaGraph::settled(RegexId id, const std::string& place) {
  auto ok = patterns_.settle(id);
  if (ok) return patterns_.empty(id) ? kNoText : id;
  fail(make_error(ErrorCode::kResourceExhausted, ok.error().message + " at " + at(place)));
  return kNoText;
}

RegexId SchemaGraph::language(const StringRule& rule) {
  if (rule.is_set) {
    std::vector<RegexId> all;
    for (const std::string& value : rule.values) all.push_back(patterns_.literal(value));
    return patterns_.either(std::move(all));
  }
  std::vector<RegexId> parts{rule.pattern};
  if (rule.min != 0 || rule.max != kNoLimit) {
    parts.push_back(
        patterns_.repeat(patterns_.chars(CharSet::all()), rule.min, rule.max == kNoLimit ? kUnbounded : rule.max));
  }
  return patterns_.both(std::move(parts));
}

// --- unions

TermIds SchemaGraph::terms(ExprId id) {
  if (error_) return {};
  Expr& expr = exprs_[id];  // a deque's elements stay where they are
  if (expr.normal) return *expr.normal;
  if (expr.computing >= 0) {
    if (expr.computing < probing_) {
      unknown_ = true;
    } else {
      fail(invalid_argument("a schema that refers to itself without an end at " + at(expr.place)));
    }
    return {};
  }
  expr.computing = probing_;
  TermIds result = compute(expr);
  expr.computing = -1;
  if (error_ || unknown_) return {};
  expr.normal = result;
  return result;
}

TermIds SchemaGraph::compute(const Expr& expr) {
  TermIds result;
  switch (expr.kind) {
    case Kind::kTerm: {
      if (expr.term != 0 && !clean(terms_[expr.term], {})) return {};
      return {expr.term};
    }
    case Kind::kOpen:
      return terms(expr.parts[0]);
    case Kind::kAnd:
      result = terms(expr.parts[0]);
      for (std::size_t i = 1; i < expr.parts.size() && !error_ && !unknown_; ++i) {
        const TermIds more = terms(expr.parts[i]);
        result = product(result, more, expr.place);
      }
      return result;
    case Kind::kOr:
      for (const ExprId part : expr.parts) {
        const TermIds more = terms(part);
        result.insert(result.end(), more.begin(), more.end());
        if (error_ || unknown_) return {};
      }
      if (std::find(result.begin(), result.end(), 0U) != result.end()) return {0};
      std::sort(result.begin(), result.end());
      result.erase(std::unique(result.begin(), result.end()), result.end());
      if (result.size() > kSchemaUnionMax) {
        fail(make_error(ErrorCode::kResourceExhausted,
                        fmt::format("more than {} combinations at {}", kSchemaUnionMax, at(expr.place))));
      }
      merge_scalars(result, expr.place);
      return result;
    case Kind::kNot: {
      const TermIds parts = terms(expr.parts[0]);
      if (error_ || unknown_) return {};
      result = {0};
      for (const TermId part : parts) {
        result = product(result, others(part, expr.place), expr.place);
        if (error_ || unknown_) return {};
      }
      merge_scalars(result, expr.place);
      return result;
    }
    case Kind::kOne:
      return one_of(expr);
    case Kind::kNames:
      return named(expr);
  }
  return result;
}

TermIds SchemaGraph::product(const TermIds& a, const TermIds& b, const std::string& place) {
  TermIds result;
  for (const TermId x : a) {
    for (const TermId y : b) {
      const TermIds more = meet(x, y, place);
      if (error_ || unknown_) return {};
      result.insert(result.end(), more.begin(), more.end());
      if (result.size() > kSchemaUnionMax) {
        fail(make_error(ErrorCode::kResourceExhausted,
                        fmt::format("more than {} combinations at {}", kSchemaUnionMax, at(place))));
        return {};
      }
    }
  }
  std::sort(result.begin(), result.end());
  result.erase(std::unique(result.begin(), result.end()), result.end());
  return result;
}

// Many small sets of scalars (constants, most often) are one set.
void SchemaGraph::merge_scalars(TermIds& terms, const std::string& place) {
  auto mergeable = [&](TermId id) {
    const Node& n = terms_[id];
    if (!scalar(n)) return false;
    if ((n.types & kStringBit) != 0 && !n.string.is_set) return false;
    const NumberRule& r = n.number;
    return (n.types & kNumberBit) == 0 || (!r.integer && !r.multiple && r.not_multiples.empty());
  };
  if (std::count_if(terms.begin(), terms.end(), mergeable) < 2) return;
  Node all = free_node(place);
  all.types = 0;
  all.number.intervals.clear();
  all.string.is_set = true;
  TermIds rest;
  for (const TermId id : terms) {
    if (!mergeable(id)) {
      rest.push_back(id);
      continue;
    }
    const Node& n = terms_[id];
    all.types |= n.types;
    if ((n.types & kNumberBit) != 0) {
      all.number.intervals.insert(all.number.intervals.end(), n.number.intervals.begin(), n.number.intervals.end());
    }
    if ((n.types & kStringBit) != 0) {
      all.string.values.insert(all.string.values.end(), n.string.values.begin(), n.string.values.end());
    }
  }
  std::sort(all.string.values.begin(), all.string.values.end());
  all.string.values.erase(std::unique(all.string.values.begin(), all.string.values.end()), all.string.values.end());
  all.number.normalise();
  rest.push_back(add_term(std::move(all)));
  terms = std::move(rest);
}

// Exactly one: each part without those others that it overlaps with.
TermIds SchemaGraph::one_of(const Expr& expr) {
  TermIds result;
  const std::size_t n = expr.parts.size();
  std::vector<std::vector<bool>> overlap(n, std::vector<bool>(n, false));
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = i + 1; j < n; ++j) {
      const TermIds xs = terms(expr.parts[i]), ys = terms(expr.parts[j]);
      if (error_ || unknown_) return {};
      const bool meets = expr.parts[i] == expr.parts[j] || !product(xs, ys, expr.place).empty();
      if (error_ || unknown_) return {};
      overlap[i][j] = overlap[j][i] = meets;
    }
  }
  for (std::size_t i = 0; i < n; ++i) {
    TermIds mine = terms(expr.parts[i]);
    for (std::size_t j = 0; j < n && !mine.empty(); ++j) {
      if (i == j || !overlap[i][j]) continue;
      if (expr.parts[i] == expr.parts[j]) {
        mine.clear();
        break;
      }
      const TermIds theirs = terms(expr.parts[j]);
      for (const TermId part : theirs) {
        const TermIds rest = others(part, expr.place);
        if (error_ && error_->code == ErrorCode::kUnsupported) {
          const Error why = *error_;
          error_.reset();
          fail(unsupported(fmt::format("keyword \"oneOf\" is not enforced: branches {} and {} overlap, and {}, at {}",
                                       std::min(i, j), std::max(i, j), why.message, at(expr.place))));
        }
        mine = product(mine, rest, expr.place);
        if (error_ || unknown_) return {};
      }
    }
    result.insert(result.end(), mine.begin(), mine.end());
  }
  merge_scalars(result, expr.place);
  return result;
}

// Objects by the language of their keys.
TermIds SchemaGraph::named(const Expr& expr) {
  std::vector<RegexId> all;
  for (const TermId id : terms(expr.parts[0])) {
    if ((terms_[id].types & kStringBit) != 0) all.push_back(language(terms_[id].string));
  }
  if (error_ || unknown_) return {};
  const RegexId keys = settled(patterns_.either(std::move(all)), expr.place);
  if (error_) return {};
  Node node = free_node(expr.place);
  node.object.classes.clear();
  if (keys != kNoText) node.object.classes.push_back({keys, kAllExpr, kManyKeys});
  if (!clean(node, {})) return {};
  return {add_term(std::move(node))};
}

// --- emptiness

bool SchemaGraph::surely_empty(ExprId id) {
  if (id == kNoneExpr) return true;
  if (id == kAllExpr) return false;
  if (exprs_[id].normal) return exprs_[id].normal->empty();
  if (probing_ >= kProbeDepthMax || ++probes_ > kProbesMax || error_) return false;
  const bool outer = unknown_;
  unknown_ = false;
  ++probing_;
  const TermIds found = terms(id);
  --probing_;
  const bool known = !unknown_ && !error_;
  unknown_ = outer;
  error_.reset();  // told again by whoever needs the expression itself
  return known && found.empty();
}

bool SchemaGraph::clean(Node& node, const std::vector<std::string>& checked) {
  if ((node.types & kNumberBit) != 0) {
    if (node.number.too_fine) {
      fail(unsupported("the multiples at " + at(node.place) + " have no common multiple that is computed"));
    }
    if (node.number.empty()) node.types &= ~kNumberBit;
  }
  if ((node.types & kStringBit) != 0) {
    StringRule& s = node.string;
    if (s.is_set) {
      if (s.values.empty()) node.types &= ~kStringBit;
    } else {
      if (s.pattern != kAnyText) {
        // What fails stays as it is, so that it fails again where it is asked for and not only probed.
        const RegexId pattern = settled(s.pattern, node.place);
        if (error_) return false;
        s.pattern = pattern;
      }
      const LengthWindow window{s.min, s.max == kNoLimit ? kUnbounded : s.max};
      if (auto ok = patterns_.check_window(s.pattern, window); !ok) {
        fail(make_error(ErrorCode::kResourceExhausted, ok.error().message + " at " + at(node.place)));
      } else if (!patterns_.fits(s.pattern, window) || s.min > s.max) {
        node.types &= ~kStringBit;
      } else if (s.pattern != kAnyText) {
        // Bounds that the pattern keeps by itself need no counting.
        if (patterns_.shortest(s.pattern) >= s.min) s.min = 0;
        if (patterns_.longest(s.pattern) != kUnbounded && patterns_.longest(s.pattern) <= s.max) s.max = kNoLimit;
      }
    }
  }
  if ((node.types & kArrayBit) != 0 && node.array.min > node.array.max) node.types &= ~kArrayBit;
  if ((node.types & kObjectBit) != 0) {
    ObjectRule& rule = node.object;
    for (std::size_t i = 0; i < rule.classes.size(); ++i) {
      KeyClass& c = rule.classes[i];
      if (c.names == kAnyText) continue;
      // Few keys are properties like others.
      const bool needed =
          std::any_of(rule.some.begin(), rule.some.end(), [&](const SomeKey& s) { return s.key_class == i; });
      if (needed) continue;
      if (const auto keys = patterns_.list(c.names, kNamedClassMax)) {
        for (const std::string& key : *keys) ensure_property(*this, rule, key);
        rule.classes.erase(rule.classes.begin() + static_cast<std::ptrdiff_t>(i));
        for (SomeKey& s : rule.some) s.key_class -= s.key_class > i ? 1 : 0;
        --i;
      }
    }
    rule.n_required = 0;
    bool possible = rule.min <= rule.max;
    for (const Property& p : rule.properties) {
      if (!p.required) continue;
      ++rule.n_required;
      if (p.node == kNoneExpr || (std::binary_search(checked.begin(), checked.end(), p.name) && surely_empty(p.node))) {
        possible = false;
      }
    }
    if (rule.n_required > rule.max) possible = false;
    if (!possible) node.types &= ~kObjectBit;
  }
  return node.types != 0 && !error_;
}

}  // namespace longhaul::tools
