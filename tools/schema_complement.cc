// What a term leaves out, as a union of terms: for each type one rule for every way in which its rule can be missed.
#include <fmt/format.h>

#include <algorithm>

#include "tools/schema_graph.h"

namespace longhaul::tools {

std::vector<StringRule> SchemaGraph::other_strings(const StringRule& rule) {
  std::vector<StringRule> result;
  if (rule.is_set) {
    StringRule other;
    other.pattern = patterns_.complement(language(rule));
    return {other};
  }
  if (rule.pattern != kAnyText) {
    StringRule other;
    other.pattern = patterns_.complement(rule.pattern);
    result.push_back(std::move(other));
  }
  if (rule.min > 0) {
    StringRule shorter;
    shorter.max = rule.min - 1;
    result.push_back(std::move(shorter));
  }
  if (rule.max != kNoLimit) {
    StringRule longer;
    longer.min = rule.max + 1;
    result.push_back(std::move(longer));
  }
  return result;
}

std::vector<ArrayRule> SchemaGraph::other_arrays(const ArrayRule& rule, const std::string& place) {
  std::vector<ArrayRule> result;
  ArrayRule free;
  free.items = kAllExpr;
  auto add = [&](ArrayRule other) { result.push_back(std::move(other)); };
  if (rule.unique)
    fail(unsupported("\"not\" of uniqueItems at " + (place.empty() ? "#" : "#" + place) + " is not enforced"));
  if (rule.min > 0) {
    ArrayRule shorter = free;
    shorter.max = rule.min - 1;
    add(std::move(shorter));
  }
  if (rule.max != kNoLimit) {
    ArrayRule longer = free;
    longer.min = rule.max + 1;
    add(std::move(longer));
  }
  for (std::size_t i = 0; i < rule.prefix.size(); ++i) {
    if (rule.prefix[i] == kAllExpr || i >= rule.max) continue;
    ArrayRule wrong = free;
    wrong.min = static_cast<std::uint32_t>(i + 1);
    wrong.prefix.assign(i, kAllExpr);
    wrong.prefix.push_back(negation(rule.prefix[i], place));
    add(std::move(wrong));
  }
  const auto n = static_cast<std::uint32_t>(rule.prefix.size());
  if (rule.items == kNoneExpr) {
    if (n < rule.max) {
      ArrayRule longer = free;
      longer.min = n + 1;
      add(std::move(longer));
    }
  } else if (rule.items != kAllExpr) {
    ArrayRule wrong = free;
    wrong.contains.push_back({negation(rule.items, place), n, 1, kNoLimit});
    add(std::move(wrong));
  }
  for (const Contains& c : rule.contains) {
    if (c.min > 0) {
      ArrayRule fewer = free;
      fewer.contains.push_back({c.node, c.from, 0, c.min - 1});
      add(std::move(fewer));
    }
    if (c.max != kNoLimit) {
      ArrayRule more = free;
      more.contains.push_back({c.node, c.from, c.max + 1, kNoLimit});
      add(std::move(more));
    }
  }
  return result;
}

std::vector<ObjectRule> SchemaGraph::other_objects(const ObjectRule& rule, const std::string& place) {
  std::vector<ObjectRule> result;
  ObjectRule free;
  free.classes.push_back({kAnyText, kAllExpr, kManyKeys});
  auto add = [&](ObjectRule other) { result.push_back(std::move(other)); };
  if (rule.min > 0) {
    ObjectRule fewer = free;
    fewer.max = rule.min - 1;
    add(std::move(fewer));
  }
  if (rule.max != kNoLimit) {
    ObjectRule more = free;
    more.min = rule.max + 1;
    add(std::move(more));
  }
  for (const Property& p : rule.properties) {
    if (p.required) {
      ObjectRule missing = free;
      missing.properties.push_back({p.name, kNoneExpr, false, {}});
      add(std::move(missing));
    }
    if (p.node != kAllExpr) {
      ObjectRule wrong = free;
      wrong.properties.push_back({p.name, negation(p.node, place), true, {}});
      add(std::move(wrong));
    }
    for (const std::uint32_t i : p.brings) {
      ObjectRule alone = free;
      ensure_property(*this, alone, p.name);
      ensure_property(*this, alone, rule.properties[i].name);
      for (Property& q : alone.properties) {
        if (q.name == p.name) q.required = true;
        if (q.name == rule.properties[i].name) q.node = kNoneExpr;
      }
      add(std::move(alone));
    }
  }
  // A key that no property names: in a class with a value that is wrong there, or in no class at all. The named ones
  // are kept as free properties, so that the class is about the others.
  auto some = [&](RegexId names, ExprId node) {
    names = settled(names, place);
    if (names == kNoText) return;
    ObjectRule one = free;
    one.classes.clear();
    one.classes.push_back({names, kAllExpr, kManyKeys});
    const RegexId rest = settled(patterns_.complement(names), place);
    if (rest != kNoText) one.classes.push_back({rest, kAllExpr, kManyKeys});
    for (const Property& p : rule.properties) ensure_property(*this, one, p.name);
    one.some.push_back({0, node});
    add(std::move(one));
  };
  std::vector<RegexId> all;
  for (const KeyClass& c : rule.classes) {
    all.push_back(c.names);
    if (c.node != kAllExpr) some(c.names, negation(c.node, place));
  }
  some(patterns_.complement(patterns_.either(all)), kAllExpr);
  for (const SomeKey& s : rule.some) {
    ObjectRule none = free;
    const RegexId names = rule.classes[s.key_class].names;
    none.classes = {{names, negation(s.node, place), kManyKeys}};
    const RegexId rest = settled(patterns_.complement(names), place);
    if (rest != kNoText) none.classes.push_back({rest, kAllExpr, kManyKeys});
    for (const Property& p : rule.properties) {
      ensure_property(*this, none, p.name);
      for (Property& q : none.properties) {
        if (q.name == p.name) q.node = kAllExpr;
      }
    }
    add(std::move(none));
  }
  return result;
}

TermIds SchemaGraph::others(TermId term, const std::string& place) {
  if (const auto known = others_.find(term); known != others_.end()) return known->second;
  const Node& x = terms_[term];
  // Rules of different types do not get in each other's way, so one term holds the first of each, and so on.
  std::vector<Node> made(1, free_node(place));
  made[0].types = kAllTypes & static_cast<std::uint8_t>(~x.types);
  auto with = [&](std::size_t i, std::uint8_t type) -> Node& {
    while (made.size() <= i) {
      made.push_back(free_node(place));
      made.back().types = 0;
    }
    made[i].types |= type;
    return made[i];
  };
  if ((x.types & kNumberBit) != 0) {
    const std::vector<NumberRule> rules = complement(x.number);
    for (std::size_t i = 0; i < rules.size(); ++i) with(i, kNumberBit).number = rules[i];
  }
  if ((x.types & kStringBit) != 0) {
    const std::vector<StringRule> rules = other_strings(x.string);
    for (std::size_t i = 0; i < rules.size(); ++i) with(i, kStringBit).string = rules[i];
  }
  if ((x.types & kArrayBit) != 0) {
    const std::vector<ArrayRule> rules = other_arrays(x.array, place);
    for (std::size_t i = 0; i < rules.size(); ++i) with(i, kArrayBit).array = rules[i];
  }
  if ((x.types & kObjectBit) != 0) {
    const std::vector<ObjectRule> rules = other_objects(x.object, place);
    for (std::size_t i = 0; i < rules.size(); ++i) with(i, kObjectBit).object = rules[i];
  }
  TermIds result;
  if (error_) return result;
  for (Node& node : made) {
    std::vector<std::string> checked;
    for (const Property& p : node.object.properties) checked.push_back(p.name);
    if (clean(node, checked)) result.push_back(add_term(std::move(node)));
    if (error_) return {};
  }
  others_[term] = result;
  return result;
}

}  // namespace longhaul::tools
