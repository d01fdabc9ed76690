#include "tools/schema_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <tuple>

namespace longhaul::tools {
namespace {

constexpr std::array<std::string_view, 8> kAnnotations{"title",    "description", "default",  "examples",
                                                       "$comment", "deprecated",  "readOnly", "writeOnly"};
// Other schemas for the same value.
constexpr std::array<std::string_view, 9> kApplicators{
    "$ref", "$dynamicRef", "$recursiveRef", "allOf", "anyOf", "oneOf", "not", "if", "dependentSchemas"};
// Read together with another keyword.
constexpr std::array<std::string_view, 21> kTogether{"properties",
                                                     "patternProperties",
                                                     "additionalProperties",
                                                     "required",
                                                     "dependentRequired",
                                                     "items",
                                                     "prefixItems",
                                                     "additionalItems",
                                                     "contains",
                                                     "minContains",
                                                     "maxContains",
                                                     "enum",
                                                     "const",
                                                     "then",
                                                     "else",
                                                     "dependencies",
                                                     "$defs",
                                                     "definitions",
                                                     "unevaluatedProperties",
                                                     "unevaluatedItems",
                                                     "$vocabulary"};
constexpr std::array<std::string_view, 4> kOldConstraints{"extends", "disallow", "divisibleBy", "$data"};

template <std::size_t N>
bool among(const std::array<std::string_view, N>& names, std::string_view key) {
  return std::find(names.begin(), names.end(), key) != names.end();
}

std::string at(std::string_view place) {
  return place.empty() ? "#" : "#" + std::string(place);
}

Error with_place(const Error& error, const std::string& place) {
  return make_error(error.code, error.message + " at " + at(place));
}

bool is_free(const Node& n) {
  const ArrayRule& a = n.array;
  const ObjectRule& o = n.object;
  return n.types == kAllTypes && n.number.any() && n.string.any() && a.prefix.empty() && a.items == kAllExpr &&
         a.min == 0 && a.max == kNoLimit && !a.unique && a.contains.empty() && o.properties.empty() && o.min == 0 &&
         o.max == kNoLimit && !o.additional_given && o.additional() == kAllExpr;
}

}  // namespace

SchemaReader::SchemaReader(const json::value& document, const SchemaOptions& options, SchemaGraph& graph, int draft)
    : document_(document), options_(options), graph_(graph), draft_(draft), references_(document, draft) {}

Result<ExprId> SchemaReader::read() {
  Source root;
  root.schema = &document_;
  root.scope = enter(0, 0);
  auto meaning = compile(std::move(root));
  drop_repeated_notes();
  return meaning;
}

// A schema that is read for several scopes, or for what it evaluates, says the same again.
void SchemaReader::drop_repeated_notes() {
  const auto less = [](const SchemaNote* a, const SchemaNote* b) {
    return std::tie(a->place, a->keyword) < std::tie(b->place, b->keyword);
  };
  std::vector<const SchemaNote*> order;
  for (const SchemaNote& one : annotations_) order.push_back(&one);
  std::stable_sort(order.begin(), order.end(), less);
  std::vector<bool> repeated(annotations_.size(), false);
  for (std::size_t i = 1; i < order.size(); ++i) {
    repeated[static_cast<std::size_t>(order[i] - annotations_.data())] = !less(order[i - 1], order[i]);
  }
  std::size_t kept = 0;
  for (std::size_t i = 0; i < annotations_.size(); ++i) {
    if (repeated[i]) continue;
    if (kept != i) annotations_[kept] = std::move(annotations_[i]);
    ++kept;
  }
  annotations_.resize(kept);
}

void SchemaReader::note(const std::string& place, std::string_view keyword, std::string text) {
  annotations_.push_back({at(place), std::string(keyword), std::move(text)});
}

std::uint32_t SchemaReader::enter(std::uint32_t scope, std::uint32_t resource) {
  if (!references_.any_dynamic() || references_.resource(resource).dynamic.empty()) return scope;
  std::vector<std::uint32_t> entered = scopes_[scope];
  if (std::find(entered.begin(), entered.end(), resource) != entered.end()) return scope;
  entered.push_back(resource);
  const auto found = std::find(scopes_.begin(), scopes_.end(), entered);
  if (found != scopes_.end()) return static_cast<std::uint32_t>(found - scopes_.begin());
  scopes_.push_back(std::move(entered));
  return static_cast<std::uint32_t>(scopes_.size() - 1);
}

SchemaReader::Source SchemaReader::inner(const json::value& schema, std::string place, const Source& parent) const {
  Source source;
  source.schema = &schema;
  source.place = std::move(place);
  source.resource = parent.resource;
  source.scope = parent.scope;
  source.depth = parent.depth + 1;
  return source;
}

Result<ExprId> SchemaReader::child(const json::value& schema, std::string place, const Source& parent) {
  return compile(inner(schema, std::move(place), parent));
}

// Each place is compiled once (for a scope), so that references can close loops.
Result<ExprId> SchemaReader::compile(Source source) {
  if (source.depth > options_.depth_max) {
    return make_error(ErrorCode::kResourceExhausted,
                      fmt::format("schema nested deeper than {} at {}", options_.depth_max, at(source.place)));
  }
  if (const bool* allowed = source.schema->if_bool()) {
    const ExprId id = *allowed ? kAllExpr : kNoneExpr;
    return id;
  }
  const auto* object = source.schema->if_object();
  if (object == nullptr) return invalid_argument("a schema is an object or a boolean, at " + at(source.place));
  source.resource = references_.resource_at(source.schema, source.resource);
  source.scope = enter(source.scope, source.resource);
  const std::pair key{source.schema, source.scope};
  if (const auto known = known_.find(key); known != known_.end()) return known->second;
  const ExprId id = graph_.declare(source.place);
  known_[key] = id;
  auto meaning = compile_object(*object, source);
  if (!meaning) return meaning.error();
  graph_.define(id, *meaning);
  if (*meaning == kAllExpr || *meaning == kNoneExpr) {
    known_[key] = *meaning;
    return *meaning;
  }
  read_.push_back(id);
  return id;
}

Result<ExprId> SchemaReader::compile_object(const json::object& schema, const Source& source) {
  if (!alone(schema) && (schema.contains("unevaluatedProperties") || schema.contains("unevaluatedItems"))) {
    return unevaluated(schema, source);
  }
  Parts parts;
  auto mine = own(schema, source);
  if (!mine) return mine;
  parts.push_back(*mine);
  for (const auto& member : schema) {
    const std::string_view key = member.key();
    if (alone(schema) && key != "$ref") continue;
    if (!among(kApplicators, key) && key != "dependencies") continue;
    auto part = applicator(schema, key, member.value(), source);
    if (!part) return part;
    parts.push_back(*part);
  }
  return graph_.both(parts, source.place);
}

Result<ExprId> SchemaReader::own(const json::object& schema, const Source& source) {
  if (alone(schema)) {
    // What stands beside $ref in these drafts says nothing.
    for (const auto& member : schema) {
      if (member.key() != "$ref") note(source.place, member.key());
    }
    return kAllExpr;
  }
  Node node = SchemaGraph::free_node(source.place);
  Parts parts;
  for (const auto& member : schema) {
    auto ok = own_keyword(schema, member.key(), member.value(), source, node, parts);
    if (!ok) return ok.error();
  }
  auto arrays = read_array_keywords(schema, source, node);
  if (!arrays) return arrays.error();
  auto objects = read_object_keywords(schema, source, node);
  if (!objects) return objects.error();
  node.number.normalise();
  if (!is_free(node)) parts.push_back(graph_.term(std::move(node)));
  if (schema.contains("enum") || schema.contains("const")) {
    if (draft_ == 4 && schema.contains("const")) {
      return unsupported("keyword \"const\" at " + at(source.place) + " does not exist in draft 4");
    }
    auto values = read_values(schema, source);
    if (!values) return values;
    parts.push_back(*values);
  }
  return graph_.both(parts, source.place);
}

Result<void> SchemaReader::own_keyword(const json::object& schema, std::string_view key, const json::value& value,
                                       const Source& source, Node& node, Parts& parts) {
  const auto here = [&] { return pointer_append(source.place, key); };  // most keywords have no need of it
  if ((key == "$defs" || key == "definitions") && !value.is_object()) {
    return invalid_argument(fmt::format("{} is not an object at {}", key, at(here())));
  }
  if (among(kApplicators, key) || among(kTogether, key)) return {};
  if (among(kAnnotations, key)) {
    note(source.place, key);
    return {};
  }
  if (key == "type") return read_type(value, source, node);
  if (key == "format") return read_format(value, source, node);
  if (key == "pattern") {
    if (!value.is_string()) return invalid_argument("pattern is not a string at " + at(here()));
    auto id = pattern(value.get_string(), here());
    if (!id) return id.error();
    node.string.pattern = graph_.patterns().both({node.string.pattern, *id});
    return {};
  }
  if (key == "minItems" || key == "maxItems" || key == "minLength" || key == "maxLength" || key == "minProperties" ||
      key == "maxProperties") {
    auto n = count(value, key, source);
    if (!n) return n.error();
    std::uint32_t& bound = key == "minItems"        ? node.array.min
                           : key == "maxItems"      ? node.array.max
                           : key == "minLength"     ? node.string.min
                           : key == "maxLength"     ? node.string.max
                           : key == "minProperties" ? node.object.min
                                                    : node.object.max;
    bound = key.substr(0, 3) == "min" ? std::max(bound, *n) : std::min(bound, *n);
    return {};
  }
  if (key == "minimum" || key == "maximum" || key == "exclusiveMinimum" || key == "exclusiveMaximum" ||
      key == "multipleOf") {
    return read_bound(schema, key, value, source, node);
  }
  if (key == "propertyNames") {
    auto part = child(value, here(), source);
    if (!part) return part.error();
    parts.push_back(graph_.names(*part, here()));
    return {};
  }
  if (key == "uniqueItems") {
    if (!value.is_bool()) return invalid_argument("uniqueItems is not a boolean at " + at(here()));
    node.array.unique = value.get_bool();
    return {};
  }
  if (key == "$id" || key == "$schema" || key == "$anchor" || key == "$dynamicAnchor" || key == "$recursiveAnchor" ||
      key == "id") {
    note(source.place, key);
    return {};
  }
  if (among(kOldConstraints, key)) {
    return unsupported(fmt::format("keyword \"{}\" at {} is not enforced", key, at(here())));
  }
  // A name that no dialect gives a meaning to.
  if (options_.refuse_unknown && key.substr(0, 2) != "x-") {
    return unsupported(fmt::format("unknown keyword \"{}\" at {} (names of one's own begin with x-)", key, at(here())));
  }
  note(source.place, key);
  return {};
}

Result<SchemaReader::Source> SchemaReader::target(const Source& source, std::string_view key,
                                                  const json::value& value) {
  const std::string here = pointer_append(source.place, key);
  if (!value.is_string()) return invalid_argument(fmt::format("{} is not a string at {}", key, at(here)));
  auto found = references_.find(source.resource, value.get_string());
  if (!found) {
    if (found.error().code == ErrorCode::kUnsupported) {
      return unsupported(fmt::format("keyword \"{}\" at {} is not enforced: {}", key, at(here), found.error().message));
    }
    return with_place(found.error(), here);
  }
  // A dynamic reference that starts at a dynamic anchor ends at the outermost one of that name.
  std::optional<std::string> name;
  if (key == "$dynamicRef" && !found->dynamic.empty()) name = found->dynamic;
  if (key == "$recursiveRef" && references_.resource(found->resource).dynamic.count("") != 0) name = "";
  Source result = inner(*found->schema, found->place, source);
  result.resource = found->resource;
  if (name) {
    for (const std::uint32_t entered : scopes_[source.scope]) {
      const auto& dynamic = references_.resource(entered).dynamic;
      const auto outer = dynamic.find(*name);
      if (outer == dynamic.end()) continue;
      result.schema = outer->second.first;
      result.place = outer->second.second;
      result.resource = entered;
      break;
    }
  }
  result.scope = enter(source.scope, result.resource);
  return result;
}

Result<ExprId> SchemaReader::applicator(const json::object& schema, std::string_view key, const json::value& value,
                                        const Source& source) {
  const std::string here = pointer_append(source.place, key);
  if (key == "$ref" || key == "$dynamicRef" || key == "$recursiveRef") {
    auto to = target(source, key, value);
    if (!to) return to.error();
    return compile(std::move(*to));
  }
  if (key == "allOf" || key == "anyOf" || key == "oneOf") {
    if (!value.is_array() || value.get_array().empty()) {
      return invalid_argument(fmt::format("{} is not a list of schemas at {}", key, at(here)));
    }
    Parts parts;
    for (std::size_t i = 0; i < value.get_array().size(); ++i) {
      auto part = child(value.get_array()[i], pointer_append(here, std::to_string(i)), source);
      if (!part) return part;
      parts.push_back(*part);
    }
    if (key == "allOf") return graph_.both(parts, here);
    if (key == "anyOf") return graph_.either(parts, here);
    if (parts.size() > 128) {
      return make_error(ErrorCode::kResourceExhausted,
                        fmt::format("oneOf of {} branches, at most 128, at {}", parts.size(), at(here)));
    }
    return graph_.exactly_one(parts, here);
  }
  if (key == "not") {
    auto part = child(value, here, source);
    if (!part) return part;
    return graph_.negation(*part, here);
  }
  if (key == "if") {
    if (draft_ == 4 || draft_ == 6) {
      note(source.place, key);
      return kAllExpr;
    }
    ExprId parts[3] = {kAllExpr, kAllExpr, kAllExpr};
    const char* const names[3] = {"if", "then", "else"};
    for (int i = 0; i < 3; ++i) {
      const auto* part = schema.if_contains(names[i]);
      if (part == nullptr) continue;
      auto id = child(*part, pointer_append(source.place, names[i]), source);
      if (!id) return id;
      parts[i] = *id;
    }
    if (parts[1] == kAllExpr && parts[2] == kAllExpr) return kAllExpr;
    return graph_.either(
        {graph_.both({parts[0], parts[1]}, here), graph_.both({graph_.negation(parts[0], here), parts[2]}, here)},
        here);
  }
  // dependentSchemas, and the schemas among "dependencies".
  if (!value.is_object()) return invalid_argument(fmt::format("{} is not an object at {}", key, at(here)));
  Parts all;
  for (const auto& member : value.get_object()) {
    if (key == "dependencies" && !member.value().is_object() && !member.value().is_bool()) continue;
    auto part = child(member.value(), pointer_append(here, member.key()), source);
    if (!part) return part;
    Node without = SchemaGraph::free_node(here), with = SchemaGraph::free_node(here);
    without.object.properties.push_back({std::string(member.key()), kNoneExpr, false, {}});
    with.types = kObjectBit;
    with.object.properties.push_back({std::string(member.key()), kAllExpr, true, {}});
    all.push_back(graph_.either(
        {graph_.term(std::move(without)), graph_.both({graph_.term(std::move(with)), *part}, here)}, here));
  }
  return graph_.both(all, here);
}

}  // namespace longhaul::tools
