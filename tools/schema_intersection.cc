// What two terms have in common: one rule a type, or a few where a condition on some key can be met in several ways.
#include <fmt/format.h>

#include <algorithm>

#include "tools/schema_graph.h"

namespace longhaul::tools {
namespace {

constexpr std::size_t kMeetsMax = 10'000;  // intersections of terms in one schema: a second or so

std::string at(std::string_view place) {
  return place.empty() ? "#" : "#" + std::string(place);
}

}  // namespace

ExprId SchemaGraph::node_for(const ObjectRule& rule, std::string_view name) {
  const auto found = std::lower_bound(rule.properties.begin(), rule.properties.end(), name,
                                      [](const Property& p, std::string_view n) { return p.name < n; });
  if (found != rule.properties.end() && found->name == name) return found->node;
  for (const KeyClass& c : rule.classes) {
    if (c.names == kAnyText || patterns_.matches(c.names, name)) return c.node;
  }
  return kNoneExpr;
}

std::uint32_t ensure_property(SchemaGraph& graph, ObjectRule& rule, const std::string& name) {
  const auto found = std::lower_bound(rule.properties.begin(), rule.properties.end(), name,
                                      [](const Property& p, const std::string& n) { return p.name < n; });
  const auto index = static_cast<std::uint32_t>(found - rule.properties.begin());
  if (found != rule.properties.end() && found->name == name) return index;
  Property fresh;
  fresh.name = name;
  fresh.node = kNoneExpr;
  for (const KeyClass& c : rule.classes) {
    if (c.names == kAnyText || graph.patterns().matches(c.names, name)) fresh.node = c.node;
  }
  for (Property& p : rule.properties) {
    for (std::uint32_t& i : p.brings) i += i >= index ? 1 : 0;
  }
  rule.properties.insert(found, std::move(fresh));
  return index;
}

void SchemaGraph::meet_arrays(const Node& x, const Node& y, Node& result) {
  ArrayRule& r = result.array;
  r.min = std::max(x.array.min, y.array.min);
  r.max = std::min(x.array.max, y.array.max);
  r.unique = x.array.unique || y.array.unique;
  const std::size_t n = std::max(x.array.prefix.size(), y.array.prefix.size());
  for (std::size_t i = 0; i < n; ++i) {
    r.prefix.push_back(both({i < x.array.prefix.size() ? x.array.prefix[i] : x.array.items,
                             i < y.array.prefix.size() ? y.array.prefix[i] : y.array.items},
                            result.place));
  }
  r.items = both({x.array.items, y.array.items}, result.place);
  r.contains = x.array.contains;
  for (const Contains& c : y.array.contains) {
    const auto same = std::find_if(r.contains.begin(), r.contains.end(),
                                   [&](const Contains& o) { return o.node == c.node && o.from == c.from; });
    if (same == r.contains.end()) {
      r.contains.push_back(c);
    } else {
      same->min = std::max(same->min, c.min);
      same->max = std::min(same->max, c.max);
      if (same->min > same->max) r.min = 1, r.max = 0;
    }
  }
}

namespace {

using ByName = boost::container::small_vector<const Property*, 16>;

ByName by_name(const ObjectRule& rule) {
  ByName all;
  all.reserve(rule.properties.size());
  for (const Property& p : rule.properties) all.push_back(&p);
  std::sort(all.begin(), all.end(), [](const Property* a, const Property* b) { return a->name < b->name; });
  return all;
}

}  // namespace

std::vector<ObjectRule> SchemaGraph::meet_objects(const Node& x, const Node& y, const std::string& place) {
  ObjectRule r;
  r.min = std::max(x.object.min, y.object.min);
  r.max = std::min(x.object.max, y.object.max);
  r.additional_given = x.object.additional_given || y.object.additional_given;
  const ByName xs = by_name(x.object), ys = by_name(y.object);
  r.properties.reserve(xs.size() + ys.size());
  for (std::size_t i = 0, j = 0; i < xs.size() || j < ys.size();) {
    const int order = i == xs.size() ? 1 : j == ys.size() ? -1 : xs[i]->name.compare(ys[j]->name);
    const Property* first = order <= 0 ? xs[i++] : nullptr;
    const Property* second = order >= 0 ? ys[j++] : nullptr;
    Property& p = r.properties.emplace_back();
    p.name = (first != nullptr ? first : second)->name;
    p.node = both({first != nullptr ? first->node : node_for(x.object, p.name),
                   second != nullptr ? second->node : node_for(y.object, p.name)},
                  place);
    p.required = (first != nullptr && first->required) || (second != nullptr && second->required);
  }
  const auto index = [&](std::string_view name) {
    const auto found = std::lower_bound(r.properties.begin(), r.properties.end(), name,
                                        [](const Property& p, std::string_view n) { return p.name < n; });
    return static_cast<std::uint32_t>(found - r.properties.begin());
  };
  for (const ObjectRule* side : {&x.object, &y.object}) {
    for (const Property& p : side->properties) {
      for (const std::uint32_t i : p.brings) {
        auto& brings = r.properties[index(p.name)].brings;
        const std::uint32_t to = index(side->properties[i].name);
        if (std::find(brings.begin(), brings.end(), to) == brings.end()) brings.push_back(to);
      }
    }
  }
  // Classes in pairs. from[k]: the classes that class k of the result comes from.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> from;
  for (std::uint32_t i = 0; i < x.object.classes.size(); ++i) {
    for (std::uint32_t j = 0; j < y.object.classes.size(); ++j) {
      const KeyClass &a = x.object.classes[i], &b = y.object.classes[j];
      const ExprId node = both({a.node, b.node}, place);
      if (node == kNoneExpr) continue;
      const RegexId names = settled(patterns_.both({a.names, b.names}), place);
      if (error_) return {};
      if (names == kNoText) continue;
      r.classes.push_back({names, node, kManyKeys});
      from.push_back({i, j});
    }
  }
  // "Some key of a class": one of the classes that came of it, or a property that the other side names.
  std::vector<ObjectRule> result;
  if (x.object.some.empty() && y.object.some.empty()) {
    result.push_back(std::move(r));
    return result;
  }
  result.push_back(r);
  for (const bool second : {false, true}) {
    const ObjectRule &mine = second ? y.object : x.object, &other = second ? x.object : y.object;
    for (const SomeKey& s : mine.some) {
      std::vector<ObjectRule> more;
      for (const ObjectRule& base : result) {
        for (std::uint32_t k = 0; k < from.size(); ++k) {
          if ((second ? from[k].second : from[k].first) != s.key_class) continue;
          const ExprId node = both({s.node, r.classes[k].node}, place);
          if (node == kNoneExpr) continue;
          // One key may do for several conditions.
          bool same = false;
          for (std::size_t i = 0; i < base.some.size(); ++i) {
            if (base.some[i].key_class != k) continue;
            ObjectRule one = base;
            same = same || one.some[i].node == node;
            one.some[i].node = both({one.some[i].node, node}, place);
            if (one.some[i].node != kNoneExpr) more.push_back(std::move(one));
          }
          if (same) continue;
          ObjectRule one = base;
          one.some.push_back({k, node});
          more.push_back(std::move(one));
        }
        for (const Property& p : other.properties) {
          const bool named_here = std::any_of(mine.properties.begin(), mine.properties.end(),
                                              [&](const Property& q) { return q.name == p.name; });
          const RegexId names = mine.classes[s.key_class].names;
          if (named_here || (names != kAnyText && !patterns_.matches(names, p.name))) continue;
          ObjectRule one = base;
          Property& q = one.properties[index(p.name)];
          q.required = true;
          q.node = both({q.node, s.node}, place);
          if (q.node != kNoneExpr) more.push_back(std::move(one));
        }
      }
      result = std::move(more);
      if (result.size() > kSchemaUnionMax) {
        fail(make_error(ErrorCode::kResourceExhausted,
                        fmt::format("more than {} combinations at {}", kSchemaUnionMax, at(place))));
        return {};
      }
    }
  }
  return result;
}

void SchemaGraph::conditions(ExprId id, int depth, Terms& found) const {
  constexpr int kDepthMax = 8;
  const Expr& expr = exprs_[id];
  if (expr.kind == Kind::kTerm) found.push_back(&terms_[expr.term]);
  if ((expr.kind != Kind::kAnd && expr.kind != Kind::kOpen) || depth == kDepthMax) return;
  for (const ExprId part : expr.parts) conditions(part, depth + 1, found);
}

bool SchemaGraph::told_apart(const ObjectRule& x, const ObjectRule& y) const {
  const auto apart = [](const Node* a, const Node* b) {
    if ((a->types & b->types) == 0) return true;
    if ((a->types & b->types) != kStringBit || !a->string.is_set || !b->string.is_set) return false;
    return std::none_of(a->string.values.begin(), a->string.values.end(), [&](const std::string& value) {
      return std::binary_search(b->string.values.begin(), b->string.values.end(), value);
    });
  };
  Terms ours, theirs;
  for (const Property& p : x.properties) {
    const auto q = std::lower_bound(y.properties.begin(), y.properties.end(), p.name,
                                    [](const Property& one, const std::string& name) { return one.name < name; });
    if (q == y.properties.end() || q->name != p.name || (!p.required && !q->required)) continue;
    ours.clear();
    theirs.clear();
    conditions(p.node, 0, ours);
    conditions(q->node, 0, theirs);
    for (const Node* a : ours) {
      if (std::any_of(theirs.begin(), theirs.end(), [&](const Node* b) { return apart(a, b); })) return true;
    }
  }
  return false;
}

TermIds SchemaGraph::meet(TermId a, TermId b, const std::string& place) {
  if (a == b || b == 0) return {a};
  if (a == 0) return {b};
  if (a > b) std::swap(a, b);
  const std::uint64_t pair = std::uint64_t{a} << 32 | b;
  if (const auto known = meets_.find(pair); known != meets_.end()) return known->second;
  if (meets_.size() >= kMeetsMax) {
    fail(make_error(ErrorCode::kResourceExhausted,
                    fmt::format("more than {} intersections of schemas at {}", kMeetsMax, at(place))));
    return {};
  }
  const Node &x = terms_[a], &y = terms_[b];
  if ((x.types & y.types) == 0 || ((x.types & y.types) == kObjectBit && told_apart(x.object, y.object))) {
    return meets_[pair] = TermIds();
  }
  Node result = free_node(place);
  result.types = x.types & y.types;
  if ((result.types & kNumberBit) != 0) result.number = tools::intersect(x.number, y.number);
  if ((result.types & kStringBit) != 0) {
    StringRule& s = result.string;
    s.is_set = x.string.is_set || y.string.is_set;
    if (s.is_set) {
      const StringRule& set = x.string.is_set ? x.string : y.string;
      const StringRule& other = x.string.is_set ? y.string : x.string;
      for (const std::string& value : set.values) {
        if (other.is_set) {
          if (!std::binary_search(other.values.begin(), other.values.end(), value)) continue;
        } else {
          const std::size_t n = count_code_points(value);
          if (n < other.min || n > other.max || !patterns_.matches(other.pattern, value)) continue;
        }
        s.values.push_back(value);
      }
    } else {
      s.min = std::max(x.string.min, y.string.min);
      s.max = std::min(x.string.max, y.string.max);
      s.pattern = patterns_.both({x.string.pattern, y.string.pattern});
    }
  }
  if ((result.types & kArrayBit) != 0) meet_arrays(x, y, result);
  std::vector<Node> made;
  std::vector<std::string> checked;
  if ((result.types & kObjectBit) != 0) {
    std::vector<ObjectRule> objects = meet_objects(x, y, place);
    if (error_) return {};
    // Where both sides had a say, a closer look may show that nothing is left.
    for (const Property& p : x.object.properties) {
      if (node_for(y.object, p.name) != kAllExpr) checked.push_back(p.name);
    }
    for (const Property& p : y.object.properties) {
      if (node_for(x.object, p.name) != kAllExpr) checked.push_back(p.name);
    }
    std::sort(checked.begin(), checked.end());
    if (objects.size() == 1) {
      result.object = std::move(objects[0]);
    } else {
      result.types &= ~kObjectBit;
      for (ObjectRule& object : objects) {
        Node only = free_node(place);
        only.types = kObjectBit;
        only.object = std::move(object);
        made.push_back(std::move(only));
      }
    }
  }
  made.push_back(std::move(result));
  TermIds ids;
  for (Node& node : made) {
    if (clean(node, checked)) ids.push_back(add_term(std::move(node)));
    if (error_) return {};
  }
  return meets_[pair] = ids;
}

}  // namespace longhaul::tools
