// unevaluatedProperties and unevaluatedItems: the schema is taken apart into branches, each of which knows which names,
// patterns and elements the schemas that hold in it have looked at; the rest of each branch gets the keyword's schema.
// More schemas that hold only mean more that was looked at, so it is enough to go through the sets of alternatives that
// hold at least.
#include <fmt/format.h>

#include <algorithm>

#include "tools/schema_reader.h"

namespace longhaul::tools {
namespace {

constexpr std::size_t kBranchesMax = 512;
constexpr std::size_t kAlternativesMax = 8;  // of an anyOf that look at properties or elements
constexpr int kDepthMax = 64;

std::string at(std::string_view place) {
  return place.empty() ? "#" : "#" + std::string(place);
}

bool is_applicator(std::string_view key) {
  constexpr std::string_view kKeys[] = {"$ref",  "$dynamicRef", "$recursiveRef",    "allOf",       "anyOf",
                                        "oneOf", "if",          "dependentSchemas", "dependencies"};
  return std::find(std::begin(kKeys), std::end(kKeys), key) != std::end(kKeys);
}

}  // namespace

Result<SchemaReader::Evaluated> SchemaReader::own_evaluated(const json::object& schema, const Source& source) {
  Evaluated e;
  if (const auto* properties = schema.if_contains("properties"); properties != nullptr && properties->is_object()) {
    for (const auto& member : properties->get_object()) e.names.emplace(member.key());
  }
  if (const auto* patterns = schema.if_contains("patternProperties"); patterns != nullptr && patterns->is_object()) {
    for (const auto& member : patterns->get_object()) {
      auto id = pattern(member.key(), pointer_append(source.place + "/patternProperties", member.key()));
      if (!id) return id.error();
      e.patterns.push_back(*id);
    }
  }
  e.all_properties = schema.contains("additionalProperties");
  const auto* items = schema.if_contains("items");
  const auto* prefix = schema.if_contains("prefixItems");
  if (items != nullptr && items->is_array()) {
    prefix = items;
    e.all_items = schema.contains("additionalItems");
  } else {
    e.all_items = items != nullptr;
  }
  if (prefix != nullptr && prefix->is_array()) e.n_items = static_cast<std::uint32_t>(prefix->get_array().size());
  if (const auto* contains = schema.if_contains("contains"); contains != nullptr && draft_ == 0) {
    auto part = child(*contains, pointer_append(source.place, "contains"), source);
    if (!part) return part.error();
    e.contains.push_back(*part);
  }
  return e;
}

// Does the schema, or one it applies to the same value, look at properties or elements?
Result<bool> SchemaReader::evaluates(const Source& source, std::set<const json::value*>& seen) {
  const auto* schema = source.schema->if_object();
  if (schema == nullptr || !seen.insert(source.schema).second) return false;
  for (const char* key : {"properties", "patternProperties", "additionalProperties", "unevaluatedProperties", "items",
                          "prefixItems", "contains", "unevaluatedItems"}) {
    if (!alone(*schema) && schema->contains(key)) return true;
  }
  Source here = source;
  here.resource = references_.resource_at(source.schema, source.resource);
  here.scope = enter(source.scope, here.resource);
  for (const auto& member : *schema) {
    const std::string_view key = member.key();
    if (!is_applicator(key)) continue;
    std::vector<Source> parts;
    const std::string place = pointer_append(source.place, key);
    if (key == "$ref" || key == "$dynamicRef" || key == "$recursiveRef") {
      auto to = target(here, key, member.value());
      if (!to) return to.error();
      parts.push_back(*to);
    } else if (const auto* list = member.value().if_array()) {
      for (const json::value& part : *list) parts.push_back(inner(part, place, here));
    } else if (key == "if") {
      for (const char* name : {"if", "then", "else"}) {
        if (const auto* part = schema->if_contains(name)) parts.push_back(inner(*part, place, here));
      }
    } else if (const auto* table = member.value().if_object()) {
      for (const auto& m : *table) parts.push_back(inner(m.value(), place, here));
    }
    for (const Source& part : parts) {
      auto yes = evaluates(part, seen);
      if (!yes || *yes) return yes;
    }
  }
  return false;
}

Result<std::vector<SchemaReader::Branch>> SchemaReader::product(const std::vector<Branch>& a,
                                                                const std::vector<Branch>& b,
                                                                const std::string& place) const {
  std::vector<Branch> result;
  if (a.size() * b.size() > kBranchesMax) {
    return make_error(ErrorCode::kResourceExhausted,
                      fmt::format("more than {} ways to evaluate properties or items at {}", kBranchesMax, at(place)));
  }
  for (const Branch& x : a) {
    for (const Branch& y : b) {
      Branch both = x;
      both.parts.insert(both.parts.end(), y.parts.begin(), y.parts.end());
      Evaluated& e = both.evaluated;
      const Evaluated& f = y.evaluated;
      e.names.insert(f.names.begin(), f.names.end());
      e.patterns.insert(e.patterns.end(), f.patterns.begin(), f.patterns.end());
      e.contains.insert(e.contains.end(), f.contains.begin(), f.contains.end());
      e.all_properties = e.all_properties || f.all_properties;
      e.all_items = e.all_items || f.all_items;
      e.n_items = std::max(e.n_items, f.n_items);
      result.push_back(std::move(both));
    }
  }
  return result;
}

Result<std::vector<SchemaReader::Branch>> SchemaReader::branches(const Source& source, int depth) {
  if (depth > kDepthMax) {
    return invalid_argument("a schema that refers to itself without an end at " + at(source.place));
  }
  std::set<const json::value*> seen;
  auto looks = evaluates(source, seen);
  if (!looks) return looks.error();
  auto whole = compile(source);
  if (!whole) return whole.error();
  if (!*looks) return std::vector<Branch>{{{*whole}, {}}};
  const json::object& schema = source.schema->get_object();
  Source here = source;
  here.resource = references_.resource_at(source.schema, source.resource);
  here.scope = enter(source.scope, here.resource);
  auto result = object_branches(schema, here, depth);
  if (!result) return result;
  if (schema.contains("unevaluatedProperties") || schema.contains("unevaluatedItems")) {
    for (Branch& branch : *result) {
      branch.parts.push_back(*whole);
      branch.evaluated.all_properties |= schema.contains("unevaluatedProperties");
      branch.evaluated.all_items |= schema.contains("unevaluatedItems");
    }
  }
  return result;
}

Result<std::vector<SchemaReader::Branch>> SchemaReader::object_branches(const json::object& schema,
                                                                        const Source& source, int depth) {
  auto mine = own(schema, source);
  if (!mine) return mine.error();
  Branch first{{*mine}, {}};
  if (!alone(schema)) {
    auto evaluated = own_evaluated(schema, source);
    if (!evaluated) return evaluated.error();
    first.evaluated = std::move(*evaluated);
  }
  std::vector<Branch> result{std::move(first)};
  auto times = [&](const std::vector<Branch>& more) -> Result<void> {
    auto all = product(result, more, source.place);
    if (!all) return all.error();
    result = std::move(*all);
    return {};
  };
  for (const auto& member : schema) {
    const std::string_view key = member.key();
    const json::value& value = member.value();
    if (alone(schema) && key != "$ref") continue;
    if (!is_applicator(key)) {
      if (key != "not") continue;
      auto part = applicator(schema, key, value, source);
      if (!part) return part.error();
      auto ok = times({{{*part}, {}}});
      if (!ok) return ok.error();
      continue;
    }
    const std::string here = pointer_append(source.place, key);
    // Reports what is wrong with the keyword, too.
    auto whole = applicator(schema, key, value, source);
    if (!whole) return whole.error();
    std::vector<Branch> more;
    if (key == "$ref" || key == "$dynamicRef" || key == "$recursiveRef") {
      auto to = target(source, key, value);
      if (!to) return to.error();
      auto part = branches(*to, depth + 1);
      if (!part) return part;
      more = std::move(*part);
    } else if (key == "allOf" || key == "anyOf" || key == "oneOf") {
      std::vector<std::vector<Branch>> parts;
      Parts silent;  // look at nothing
      std::vector<std::vector<Branch>> looking;
      const json::array& list = value.get_array();
      for (std::size_t i = 0; i < list.size(); ++i) {
        const Source part = inner(list[i], pointer_append(here, std::to_string(i)), source);
        auto one = branches(part, depth + 1);
        if (!one) return one;
        std::set<const json::value*> seen;
        auto looks = evaluates(part, seen);
        if (!looks) return looks.error();
        if (*looks) {
          looking.push_back(*one);
        } else {
          silent.push_back(one->front().parts.front());
        }
        parts.push_back(std::move(*one));
      }
      if (key == "allOf") {
        for (const auto& part : parts) {
          auto ok = times(part);
          if (!ok) return ok.error();
        }
        continue;
      }
      if (key == "oneOf") {
        for (std::vector<Branch>& part : parts) {
          for (Branch& branch : part) {
            branch.parts.push_back(*whole);
            more.push_back(std::move(branch));
          }
        }
      } else {
        if (looking.size() > kAlternativesMax) {
          return unsupported(fmt::format("unevaluated properties or items after an anyOf of {} alternatives at {}",
                                         looking.size(), at(here)));
        }
        if (!silent.empty()) more.push_back({{graph_.either(silent, here)}, {}});
        for (std::uint32_t set = 1; set < (1U << looking.size()); ++set) {
          std::vector<Branch> together{{}};
          for (std::size_t i = 0; i < looking.size(); ++i) {
            if ((set >> i & 1) == 0) continue;
            auto all = product(together, looking[i], here);
            if (!all) return all;
            together = std::move(*all);
          }
          more.insert(more.end(), together.begin(), together.end());
        }
      }
    } else if (key == "if") {
      std::vector<Branch> yes, no;
      auto condition = branches(inner(value, here, source), depth + 1);
      if (!condition) return condition;
      yes = std::move(*condition);
      auto negated = compile(inner(value, here, source));
      if (!negated) return negated.error();
      no.push_back({{graph_.negation(*negated, here)}, {}});
      for (const char* name : {"then", "else"}) {
        const auto* part = schema.if_contains(name);
        if (part == nullptr) continue;
        auto one = branches(inner(*part, pointer_append(source.place, name), source), depth + 1);
        if (!one) return one;
        std::vector<Branch>& side = name[0] == 't' ? yes : no;
        auto all = product(side, *one, here);
        if (!all) return all;
        side = std::move(*all);
      }
      more = std::move(yes);
      more.insert(more.end(), no.begin(), no.end());
    } else {
      for (const auto& m : value.get_object()) {
        if (!m.value().is_object() && !m.value().is_bool()) continue;
        Node without = SchemaGraph::free_node(here), with = SchemaGraph::free_node(here);
        without.object.properties.push_back({std::string(m.key()), kNoneExpr, false, {}});
        with.types = kObjectBit;
        with.object.properties.push_back({std::string(m.key()), kAllExpr, true, {}});
        auto part = branches(inner(m.value(), pointer_append(here, m.key()), source), depth + 1);
        if (!part) return part;
        std::vector<Branch> either{{{graph_.term(std::move(without))}, {}}};
        const ExprId there = graph_.term(std::move(with));
        for (Branch& branch : *part) {
          branch.parts.push_back(there);
          either.push_back(std::move(branch));
        }
        auto ok = times(either);
        if (!ok) return ok.error();
      }
      continue;
    }
    auto ok = times(more);
    if (!ok) return ok.error();
  }
  return result;
}

Result<ExprId> SchemaReader::unevaluated(const json::object& schema, const Source& source) {
  ExprId rest[2] = {kAllExpr, kAllExpr};
  const char* const keys[2] = {"unevaluatedProperties", "unevaluatedItems"};
  for (int i = 0; i < 2; ++i) {
    const auto* value = schema.if_contains(keys[i]);
    if (value == nullptr) continue;
    if (draft_ != 0 && draft_ < 8) {
      note(source.place, keys[i]);
      continue;
    }
    auto part = child(*value, pointer_append(source.place, keys[i]), source);
    if (!part) return part;
    rest[i] = *part;
  }
  auto all = object_branches(schema, source, 0);
  if (!all) return all.error();
  Parts parts;
  for (Branch& branch : *all) {
    const Evaluated& e = branch.evaluated;
    Node node = SchemaGraph::free_node(source.place);
    if (rest[0] != kAllExpr && !e.all_properties) {
      std::vector<RegexId> seen = e.patterns;
      RegexId unseen = graph_.patterns().complement(graph_.patterns().either(seen));
      unseen = graph_.settled(unseen, source.place);
      const RegexId looked_at = graph_.settled(graph_.patterns().complement(unseen), source.place);
      node.object.classes.clear();
      if (unseen != kNoText && rest[0] != kNoneExpr) node.object.classes.push_back({unseen, rest[0], kManyKeys});
      if (looked_at != kNoText) node.object.classes.push_back({looked_at, kAllExpr, kManyKeys});
      for (const std::string& name : e.names) node.object.properties.push_back({name, kAllExpr, false, {}});
    }
    if (rest[1] != kAllExpr && !e.all_items) {
      node.array.prefix.assign(e.n_items, kAllExpr);
      Parts allowed = e.contains;
      allowed.push_back(rest[1]);
      node.array.items = graph_.either(std::move(allowed), source.place);
    }
    branch.parts.push_back(graph_.term(std::move(node)));
    parts.push_back(graph_.both(std::move(branch.parts), source.place));
  }
  if (graph_.error()) return *graph_.error();
  return graph_.either(parts, source.place);
}

}  // namespace longhaul::tools
