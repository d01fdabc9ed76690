// Schema to nodes. A schema object becomes the intersection of its parts: its own keywords as one node, each $ref
// target, each member of allOf, the union of anyOf. Intersections are built eagerly and remembered by pair, so that
// recursive schemas end. Values that no node can hold are found last, by a least fixed point over nesting heights.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "tools/json_schema.h"

namespace longhaul::tools {
namespace {

constexpr std::array<std::string_view, 8> kAnnotations{"title",    "description", "default",  "examples",
                                                       "$comment", "deprecated",  "readOnly", "writeOnly"};
constexpr std::array<std::string_view, 19> kKnownFormats{
    "date-time",     "date",          "time",         "duration", "email",        "idn-email",
    "hostname",      "idn-hostname",  "ipv4",         "ipv6",     "uri",          "iri",
    "uri-reference", "iri-reference", "uri-template", "uuid",     "json-pointer", "relative-json-pointer",
    "regex"};
constexpr std::size_t kUnionMax = 4096;

// Looked at before anything walks the document without a limit of its own (copying it, for one).
bool nested_deeper(const json::value& value, std::size_t levels) {
  if (!value.is_structured()) return false;
  if (levels == 0) return true;
  if (const auto* array = value.if_array()) {
    return std::any_of(array->begin(), array->end(),
                       [&](const json::value& v) { return nested_deeper(v, levels - 1); });
  }
  const auto& object = value.get_object();
  return std::any_of(object.begin(), object.end(), [&](const auto& m) { return nested_deeper(m.value(), levels - 1); });
}

std::string at(std::string_view place) {
  return place.empty() ? "#" : "#" + std::string(place);
}

}  // namespace

class SchemaCompiler {
 public:
  SchemaCompiler(const json::value& schema, const SchemaOptions& options)
      : schema_(std::make_shared<Schema>()), options_(options) {
    schema_->document_ = schema;
  }

  Result<std::shared_ptr<const Schema>> run() {
    auto dialect = read_dialect();
    if (!dialect) return dialect.error();
    auto root = compile(schema_->document_, "", 0);
    if (!root) return root.error();
    schema_->root_ = *root;
    settle();
    if (schema_->nodes_[*root].height == kNoLimit) {
      return invalid_argument("no value fits the schema at " + at(blame(*root)));
    }
    prune();
    return std::shared_ptr<const Schema>(schema_);
  }

 private:
  Node& node(NodeId id) { return schema_->nodes_[id]; }

  Result<NodeId> add(Node node) {
    if (schema_->nodes_.size() >= options_.nodes_max) {
      return make_error(ErrorCode::kResourceExhausted,
                        fmt::format("schema has more than {} nodes", options_.nodes_max));
    }
    schema_->nodes_.push_back(std::move(node));
    complete_.push_back(true);
    return static_cast<NodeId>(schema_->nodes_.size() - 1);
  }

  Result<NodeId> any() {
    if (any_ == kNoNode) {
      auto id = add(Node{});
      if (!id) return id;
      any_ = *id;
      node(any_).array.items = any_;
      node(any_).object.additional = any_;
    }
    return any_;
  }

  Result<NodeId> nothing(const std::string& place) {
    Node none;
    none.types = 0;
    none.place = place;
    return add(std::move(none));
  }

  Result<void> read_dialect() {
    const auto* object = schema_->document_.if_object();
    if (object == nullptr) return {};
    const auto* name = object->if_contains("$schema");
    if (name == nullptr) return {};
    if (!name->is_string()) return invalid_argument("$schema is not a string at #/$schema");
    std::string_view text = name->get_string();
    for (std::string_view scheme : {"https://", "http://"}) {
      if (text.substr(0, scheme.size()) == scheme) text.remove_prefix(scheme.size());
    }
    while (!text.empty() && (text.back() == '#' || text.back() == '/')) text.remove_suffix(1);
    if (text == "json-schema.org/draft/2020-12/schema") return {};
    if (text == "json-schema.org/draft/2019-09/schema") {
      draft_ = 8;
      return {};
    }
    for (int draft : {4, 6, 7}) {
      if (text == fmt::format("json-schema.org/draft-0{}/schema", draft)) {
        draft_ = draft;
        return {};
      }
    }
    if (text == "json-schema.org/schema") return {};
    return unsupported(fmt::format("dialect \"{}\" at #/$schema", std::string_view(name->get_string())));
  }

  void note(const std::string& place, std::string_view keyword, std::string text = {}) {
    schema_->annotations_.push_back({at(place), std::string(keyword), std::move(text)});
  }

  // The node of the schema at `place`; each place is compiled once, so that references can close loops.
  Result<NodeId> compile(const json::value& schema, const std::string& place, std::size_t depth) {
    if (depth > options_.depth_max) {
      return make_error(ErrorCode::kResourceExhausted,
                        fmt::format("schema nested deeper than {} at {}", options_.depth_max, at(place)));
    }
    if (const auto known = by_place_.find(place); known != by_place_.end()) return known->second;
    if (const bool* allowed = schema.if_bool()) {
      auto id = *allowed ? any() : nothing(place);
      if (id) by_place_[place] = *id;
      return id;
    }
    const auto* object = schema.if_object();
    if (object == nullptr) return invalid_argument("a schema is an object or a boolean, at " + at(place));
    // A placeholder first: recursion may come back here.
    auto id = add(Node{});
    if (!id) return id;
    complete_[*id] = false;
    by_place_[place] = *id;
    auto content = compile_object(*object, place, depth, *id);
    if (!content) return content.error();
    if (*content != *id) {
      // An alias: a union of one.
      Node alias;
      alias.any_of = {*content};
      alias.place = place;
      node(*id) = std::move(alias);
    }
    complete_[*id] = true;
    return *id;
  }

  Result<NodeId> compile_object(const json::object& schema, const std::string& place, std::size_t depth, NodeId self) {
    Node own;
    own.place = place;
    auto all = any();
    if (!all) return all;
    own.array.items = *all;
    own.object.additional = *all;
    bool constrains = false;
    std::vector<NodeId> parts;
    if (draft_ != 0 && draft_ < 8 && schema.contains("$ref") && schema.size() > 1) {
      for (const auto& member : schema) {
        if (member.key() != "$ref" && !is_annotation(member.key()) && !is_holder(member.key()) &&
            !(place.empty() && (member.key() == "$schema" || member.key() == "id" || member.key() == "$id"))) {
          return unsupported(fmt::format("keyword \"{}\" beside $ref (ignored by draft {}) at {}",
                                         std::string_view(member.key()), draft_, at(place)));
        }
      }
    }
    for (const auto& member : schema) {
      auto ok = keyword(schema, member.key(), member.value(), place, depth, own, parts, constrains);
      if (!ok) return ok.error();
    }
    auto required = apply_required(schema, place, own);
    if (!required) return required.error();
    constrains = constrains || *required;
    if (draft_ == 4 && schema.contains("const")) {
      return unsupported("keyword \"const\" at " + at(place) + " does not exist in draft 4");
    }
    if (schema.contains("enum") || schema.contains("const")) {
      auto values = enumerate(schema, place);
      if (!values) return values;
      // The siblings have done their part by choosing among the values.
      return *values;
    }
    if (!constrains && parts.empty()) return *all;
    own.number.normalise();
    if (constrains) {
      if (parts.empty()) {
        node(self) = std::move(own);
        return self;
      }
      auto id = add(std::move(own));
      if (!id) return id;
      parts.push_back(*id);
    }
    if (parts.size() == 1 && parts[0] == self) {
      node(self).any_of = {self};  // a reference to itself: no value fits it
      node(self).place = place;
    }
    NodeId result = parts[0];
    for (std::size_t i = 1; i < parts.size(); ++i) {
      auto both = intersect(result, parts[i], place, 0);
      if (!both) return both;
      result = *both;
    }
    return result;
  }

  static bool is_annotation(std::string_view key) {
    return std::find(kAnnotations.begin(), kAnnotations.end(), key) != kAnnotations.end();
  }
  static bool is_holder(std::string_view key) { return key == "$defs" || key == "definitions"; }

  Result<std::uint32_t> bound(const json::value& value, std::string_view key, const std::string& place) {
    // 2.0 is an integer too.
    const bool number = value.is_int64() || value.is_uint64() || value.is_double();
    if (!number || decimal_of(value).negative || !decimal_of(value).integer()) {
      return invalid_argument(fmt::format("{} is {}, not a count, at {}", key, to_json(value), at(place)));
    }
    if (compare(decimal_of(value), decimal_of(std::int64_t{1} << 30)) > 0) {
      if (key.substr(0, 3) == "max") return kNoLimit - 1;
      return make_error(ErrorCode::kResourceExhausted,
                        fmt::format("{} {} is above {} at {}", key, to_json(value), 1 << 30, at(place)));
    }
    return static_cast<std::uint32_t>(value.to_number<double>());
  }

  // A schema's number, kept exactly or refused.
  Result<Decimal> exact_number(const json::value& value, std::string_view key, const std::string& place) {
    if (!value.is_int64() && !value.is_uint64() && !value.is_double()) {
      return invalid_argument(fmt::format("{} is {}, not a number, at {}", key, to_json(value), at(place)));
    }
    if (value.is_double() && !std::isfinite(value.get_double())) {
      return unsupported(fmt::format("{}: number out of range at {}", key, at(place)));
    }
    Decimal result = decimal_of(value);
    if (value.is_double() && result.digits.size() > 15) {
      return unsupported(
          fmt::format("{}: {} has more digits than are kept exactly, at {}", key, to_json(value), at(place)));
    }
    return result;
  }

  Result<void> check_exact(const json::value& value, const std::string& place, int depth) {
    if (depth > 256) return make_error(ErrorCode::kResourceExhausted, "value nested too deep at " + at(place));
    if (value.is_double()) {
      auto number = exact_number(value, "value", place);
      if (!number) return number.error();
    }
    if (const auto* array = value.if_array()) {
      for (const auto& element : *array) {
        auto ok = check_exact(element, place, depth + 1);
        if (!ok) return ok.error();
      }
    }
    if (const auto* object = value.if_object()) {
      for (const auto& member : *object) {
        auto ok = check_exact(member.value(), place, depth + 1);
        if (!ok) return ok.error();
      }
    }
    return {};
  }

  Result<void> keyword(const json::object& schema, std::string_view key, const json::value& value,
                       const std::string& place, std::size_t depth, Node& own, std::vector<NodeId>& parts,
                       bool& constrains) {
    const std::string here = pointer_append(place, key);
    if (is_annotation(key)) {
      note(place, key);
      return {};
    }
    if (key == "format") {
      if (!value.is_string()) return invalid_argument("format is not a string at " + at(here));
      const std::string_view name = value.get_string();
      if (!options_.formats_annotate &&
          std::find(kKnownFormats.begin(), kKnownFormats.end(), name) != kKnownFormats.end()) {
        return unsupported(fmt::format("keyword \"format\" (\"{}\") at {} is not enforced", name, at(here)));
      }
      note(place, key, std::string(name));
      return {};
    }
    if (place.empty() && (key == "$schema" || key == "$id" || (key == "id" && value.is_string()))) {
      note(place, key);
      return {};
    }
    if (is_holder(key)) {
      if (!value.is_object()) return invalid_argument(std::string(key) + " is not an object at " + at(here));
      for (const auto& member : value.get_object()) {
        // Compiled even if nothing refers to them: what is not enforced must be known.
        auto id = compile(member.value(), pointer_append(here, member.key()), depth + 1);
        if (!id) return id.error();
      }
      return {};
    }
    if (key == "enum" || key == "const" || key == "required") return {};  // after the others
    if (key == "type") {
      constrains = true;
      return apply_type(value, here, own);
    }
    if (key == "properties") {
      constrains = true;
      if (!value.is_object()) return invalid_argument("properties is not an object at " + at(here));
      for (const auto& member : value.get_object()) {
        auto id = compile(member.value(), pointer_append(here, member.key()), depth + 1);
        if (!id) return id.error();
        own.object.properties.push_back({std::string(member.key()), *id, false});
      }
      std::sort(own.object.properties.begin(), own.object.properties.end(),
                [](const Property& a, const Property& b) { return a.name < b.name; });
      return {};
    }
    if (key == "additionalProperties") {
      constrains = true;
      auto id = compile(value, here, depth + 1);
      if (!id) return id.error();
      own.object.additional = *id;
      own.object.additional_given = true;
      return {};
    }
    if (key == "items") {
      constrains = true;
      if (value.is_array()) return unsupported("keyword \"items\" as a list at " + at(here) + " is not enforced");
      auto id = compile(value, here, depth + 1);
      if (!id) return id.error();
      own.array.items = *id;
      return {};
    }
    if (key == "prefixItems" && draft_ == 0) {
      constrains = true;
      if (!value.is_array()) return invalid_argument("prefixItems is not a list at " + at(here));
      for (std::size_t i = 0; i < value.get_array().size(); ++i) {
        auto id = compile(value.get_array()[i], pointer_append(here, std::to_string(i)), depth + 1);
        if (!id) return id.error();
        own.array.prefix.push_back(*id);
      }
      return {};
    }
    if (key == "minItems" || key == "maxItems" || key == "minLength" || key == "maxLength" || key == "minProperties" ||
        key == "maxProperties") {
      constrains = true;
      auto n = bound(value, key, here);
      if (!n) return n.error();
      (key == "minItems"        ? own.array.min
       : key == "maxItems"      ? own.array.max
       : key == "minLength"     ? own.string.min
       : key == "maxLength"     ? own.string.max
       : key == "minProperties" ? own.object.min
                                : own.object.max) = *n;
      return {};
    }
    if (key == "minimum" || key == "maximum" || key == "exclusiveMinimum" || key == "exclusiveMaximum") {
      if (value.is_bool() || (draft_ == 4 && key.substr(0, 9) == "exclusive"))
        return unsupported(fmt::format("keyword \"{}\" as a boolean at {} is not enforced", key, at(here)));
      constrains = true;
      auto number = exact_number(value, key, here);
      if (!number) return number.error();
      NumberRule rule;
      const bool open = key.substr(0, 9) == "exclusive";
      if (key == "minimum" || key == "exclusiveMinimum") {
        rule.intervals[0].lo = *number;
        rule.intervals[0].lo_open = open;
      } else {
        rule.intervals[0].hi = *number;
        rule.intervals[0].hi_open = open;
      }
      own.number = tools::intersect(own.number, rule);
      return {};
    }
    if (key == "$ref") {
      if (!value.is_string()) return invalid_argument("$ref is not a string at " + at(here));
      const std::string_view reference = value.get_string();
      const json::value* target = nullptr;
      std::string pointer;
      if (reference == "#") {
        target = &schema_->document_;
      } else if (reference.substr(0, 2) == "#/") {
        pointer = std::string(reference.substr(1));
        target = resolve_pointer(schema_->document_, pointer);
      } else {
        return unsupported(fmt::format("keyword \"$ref\" to \"{}\" at {} is not enforced", reference, at(here)));
      }
      if (target == nullptr)
        return invalid_argument(fmt::format("$ref to \"{}\", which does not exist, at {}", reference, at(here)));
      auto id = compile(*target, canonical_pointer(*target, pointer), depth + 1);
      if (!id) return id.error();
      parts.push_back(*id);
      return {};
    }
    if (key == "allOf" || key == "anyOf" || key == "oneOf") {
      if (!value.is_array() || value.get_array().empty()) {
        return invalid_argument(fmt::format("{} is not a list of schemas at {}", key, at(here)));
      }
      std::vector<NodeId> branches;
      for (std::size_t i = 0; i < value.get_array().size(); ++i) {
        auto id = compile(value.get_array()[i], pointer_append(here, std::to_string(i)), depth + 1);
        if (!id) return id.error();
        branches.push_back(*id);
      }
      if (key == "allOf") {
        parts.insert(parts.end(), branches.begin(), branches.end());
        return {};
      }
      if (key == "oneOf") {
        auto ok = exclusive(branches, here);
        if (!ok) return ok.error();
      }
      Node choice;
      choice.any_of = std::move(branches);
      choice.place = here;
      auto id = add(std::move(choice));
      if (!id) return id.error();
      parts.push_back(*id);
      return {};
    }
    static_cast<void>(schema);
    return unsupported(fmt::format("keyword \"{}\" at {} is not enforced", key, at(here)));
  }

  // References may spell a place in several ways (percent-encoding); one spelling a place.
  std::string canonical_pointer(const json::value& target, const std::string& pointer) {
    const auto [known, fresh] = by_target_.emplace(&target, pointer);
    static_cast<void>(fresh);
    return known->second;
  }

  Result<void> apply_type(const json::value& value, const std::string& here, Node& own) {
    std::uint8_t types = 0;
    bool integer = false, number = false;
    auto one = [&](const json::value& name) -> Result<void> {
      if (!name.is_string()) return invalid_argument("type is not a string at " + at(here));
      const std::string_view text = name.get_string();
      if (text == "null") {
        types |= kNullBit;
      } else if (text == "boolean") {
        types |= kTrueBit | kFalseBit;
      } else if (text == "integer") {
        integer = true;
        types |= kNumberBit;
      } else if (text == "number") {
        number = true;
        types |= kNumberBit;
      } else if (text == "string") {
        types |= kStringBit;
      } else if (text == "array") {
        types |= kArrayBit;
      } else if (text == "object") {
        types |= kObjectBit;
      } else {
        return invalid_argument(fmt::format("type \"{}\" does not exist, at {}", text, at(here)));
      }
      return {};
    };
    if (const auto* list = value.if_array()) {
      if (list->empty()) return invalid_argument("type lists no types at " + at(here));
      for (const auto& name : *list) {
        auto ok = one(name);
        if (!ok) return ok.error();
      }
    } else {
      auto ok = one(value);
      if (!ok) return ok.error();
    }
    own.types = types;
    if (integer && !number) {
      NumberRule rule;
      rule.integer = true;
      rule.plain = draft_ == 4;
      own.number = tools::intersect(own.number, rule);
    }
    return {};
  }

  // Required names without a schema of their own fall under `additionalProperties`.
  Result<bool> apply_required(const json::object& schema, const std::string& place, Node& own) {
    const auto* required = schema.if_contains("required");
    if (required == nullptr) return false;
    const std::string here = place + "/required";
    if (!required->is_array()) {
      return invalid_argument("required is not a list at " + at(here));
    }
    for (const auto& name : required->get_array()) {
      if (!name.is_string()) return invalid_argument("required lists something that is no name, at " + at(here));
      const std::string text(name.get_string());
      auto& properties = own.object.properties;
      auto found = std::lower_bound(properties.begin(), properties.end(), text,
                                    [](const Property& p, const std::string& n) { return p.name < n; });
      if (found == properties.end() || found->name != text) {
        found = properties.insert(found, {text, own.object.additional, false});
      }
      if (!found->required) ++own.object.n_required;
      found->required = true;
    }
    return true;
  }

  Result<NodeId> enumerate(const json::object& schema, const std::string& place) {
    std::vector<const json::value*> values;
    if (const auto* list = schema.if_contains("enum")) {
      if (!list->is_array()) return invalid_argument("enum is not a list at " + at(place + "/enum"));
      for (const auto& value : list->get_array()) values.push_back(&value);
    } else {
      values.push_back(&schema.at("const"));
    }
    const json::value whole(schema);
    Node scalars;
    scalars.types = 0;
    scalars.place = place;
    scalars.number.intervals.clear();
    scalars.string.is_set = true;
    std::vector<NodeId> branches;
    std::vector<const json::value*> kept;
    for (const json::value* value : values) {
      auto exact = check_exact(*value, place, 0);
      if (!exact) return exact.error();
      if (!validate_part(schema_->document_, whole, *value)) continue;
      if (!value->is_structured()) {
        add_scalar(*value, scalars);
        continue;
      }
      // Deep values are rare and few; equal ones would only be two branches.
      if (std::any_of(kept.begin(), kept.end(), [&](const json::value* k) { return json_equal(*k, *value); })) continue;
      kept.push_back(value);
      auto id = constant(*value, place);
      if (!id) return id;
      branches.push_back(*id);
    }
    finish_scalars(scalars);
    if (branches.empty()) return add(std::move(scalars));
    if (scalars.types != 0) {
      auto id = add(std::move(scalars));
      if (!id) return id;
      branches.push_back(*id);
    }
    Node choice;
    choice.any_of = std::move(branches);
    choice.place = place;
    return add(std::move(choice));
  }

  void add_scalar(const json::value& value, Node& node) {
    if (value.is_null()) {
      node.types |= kNullBit;
    } else if (value.is_bool()) {
      node.types |= value.get_bool() ? kTrueBit : kFalseBit;
    } else if (value.is_string()) {
      node.types |= kStringBit;
      node.string.values.emplace_back(value.get_string());
    } else {
      node.types |= kNumberBit;
      Interval point;
      point.lo = point.hi = decimal_of(value);
      node.number.intervals.push_back(std::move(point));
    }
  }

  void finish_scalars(Node& node) {
    std::sort(node.string.values.begin(), node.string.values.end());
    node.string.values.erase(std::unique(node.string.values.begin(), node.string.values.end()),
                             node.string.values.end());
    node.number.normalise();
  }

  Result<NodeId> constant(const json::value& value, const std::string& place) {
    Node result;
    result.place = place;
    if (!value.is_structured()) {
      result.types = 0;
      result.number.intervals.clear();
      result.string.is_set = true;
      add_scalar(value, result);
      finish_scalars(result);
      return add(std::move(result));
    }
    if (const auto* array = value.if_array()) {
      result.types = kArrayBit;
      result.array.items = kNoNode;
      result.array.min = result.array.max = static_cast<std::uint32_t>(array->size());
      for (const auto& element : *array) {
        auto id = constant(element, place);
        if (!id) return id;
        result.array.prefix.push_back(*id);
      }
      return add(std::move(result));
    }
    result.types = kObjectBit;
    result.object.additional = kNoNode;
    for (const auto& member : value.get_object()) {
      auto id = constant(member.value(), place);
      if (!id) return id;
      result.object.properties.push_back({std::string(member.key()), *id, true});
    }
    result.object.n_required = static_cast<std::uint32_t>(result.object.properties.size());
    std::sort(result.object.properties.begin(), result.object.properties.end(),
              [](const Property& a, const Property& b) { return a.name < b.name; });
    return add(std::move(result));
  }

  // oneOf as anyOf, if no value can fit two branches.
  Result<void> exclusive(const std::vector<NodeId>& branches, const std::string& here) {
    if (branches.size() > 64) {
      return make_error(ErrorCode::kResourceExhausted,
                        fmt::format("oneOf of {} branches, at most 64, at {}", branches.size(), at(here)));
    }
    std::vector<std::tuple<NodeId, std::size_t, std::size_t>> both;
    for (std::size_t i = 0; i < branches.size(); ++i) {
      for (std::size_t j = i + 1; j < branches.size(); ++j) {
        auto id = intersect(branches[i], branches[j], here, 0);
        if (!id) return id.error();
        both.push_back({*id, i, j});
      }
    }
    settle();
    for (const auto& [id, i, j] : both) {
      if (node(id).height != kNoLimit) {
        return unsupported(
            fmt::format("keyword \"oneOf\" at {} is not enforced: branches {} and {} overlap", at(here), i, j));
      }
    }
    return {};
  }

  Result<NodeId> intersect(NodeId a, NodeId b, const std::string& place, int depth) {
    if (a == b || b == any_) return a;
    if (a == any_) return b;
    if (a > b) std::swap(a, b);
    if (const auto known = pairs_.find({a, b}); known != pairs_.end()) return known->second;
    if (depth > 512) return make_error(ErrorCode::kResourceExhausted, "intersection nested too deep at " + at(place));
    if (!complete_[a] || !complete_[b]) {
      return unsupported("a recursive reference combined with other keywords at " + at(place) + " is not enforced");
    }
    auto id = add(Node{});
    if (!id) return id;
    pairs_[{a, b}] = *id;
    complete_[*id] = false;
    Node result;
    result.place = place;
    if (!node(a).any_of.empty() || !node(b).any_of.empty()) {
      const std::vector<NodeId> xs = node(a).any_of.empty() ? std::vector<NodeId>{a} : node(a).any_of;
      const std::vector<NodeId> ys = node(b).any_of.empty() ? std::vector<NodeId>{b} : node(b).any_of;
      if (xs.size() * ys.size() > kUnionMax) {
        return make_error(ErrorCode::kResourceExhausted,
                          fmt::format("more than {} combinations at {}", kUnionMax, at(place)));
      }
      for (NodeId x : xs) {
        for (NodeId y : ys) {
          auto both = intersect(x, y, place, depth + 1);
          if (!both) return both;
          result.any_of.push_back(*both);
        }
      }
    } else {
      auto ok = intersect_rules(a, b, place, depth, result);
      if (!ok) return ok.error();
    }
    node(*id) = std::move(result);
    complete_[*id] = true;
    return *id;
  }

  Result<void> intersect_rules(NodeId a, NodeId b, const std::string& place, int depth, Node& result) {
    const Node x = node(a), y = node(b);  // copies: the table grows below
    result.types = x.types & y.types;
    result.number = tools::intersect(x.number, y.number);
    result.string.min = std::max(x.string.min, y.string.min);
    result.string.max = std::min(x.string.max, y.string.max);
    result.string.is_set = x.string.is_set || y.string.is_set;
    if (result.string.is_set) {
      const StringRule& set = x.string.is_set ? x.string : y.string;
      const StringRule& other = x.string.is_set ? y.string : x.string;
      for (const std::string& value : set.values) {
        const std::size_t n = count_code_points(value);
        if (n < result.string.min || n > result.string.max) continue;
        if (other.is_set && !std::binary_search(other.values.begin(), other.values.end(), value)) continue;
        result.string.values.push_back(value);
      }
      result.string.min = 0;
      result.string.max = kNoLimit;
    }
    auto meet = [&](NodeId p, NodeId q) -> Result<NodeId> {
      if (p == kNoNode || q == kNoNode) return kNoNode;
      return intersect(p, q, place, depth + 1);
    };
    if ((result.types & kArrayBit) != 0) {
      result.array.min = std::max(x.array.min, y.array.min);
      result.array.max = std::min(x.array.max, y.array.max);
      const std::size_t n = std::max(x.array.prefix.size(), y.array.prefix.size());
      for (std::size_t i = 0; i < n; ++i) {
        auto id = meet(i < x.array.prefix.size() ? x.array.prefix[i] : x.array.items,
                       i < y.array.prefix.size() ? y.array.prefix[i] : y.array.items);
        if (!id) return id.error();
        if (*id == kNoNode) {
          auto none = nothing(place);
          if (!none) return none.error();
          id = none;
        }
        result.array.prefix.push_back(*id);
      }
      auto items = meet(x.array.items, y.array.items);
      if (!items) return items.error();
      result.array.items = *items;
    }
    if ((result.types & kObjectBit) != 0) {
      result.object.min = std::max(x.object.min, y.object.min);
      result.object.max = std::min(x.object.max, y.object.max);
      result.object.additional_given = x.object.additional_given || y.object.additional_given;
      auto additional = meet(x.object.additional, y.object.additional);
      if (!additional) return additional.error();
      result.object.additional = *additional;
      std::map<std::string, std::pair<const Property*, const Property*>> names;
      for (const Property& p : x.object.properties) names[p.name].first = &p;
      for (const Property& p : y.object.properties) names[p.name].second = &p;
      for (const auto& [name, both] : names) {
        auto id = meet(both.first != nullptr ? both.first->node : x.object.additional,
                       both.second != nullptr ? both.second->node : y.object.additional);
        if (!id) return id.error();
        const bool required =
            (both.first != nullptr && both.first->required) || (both.second != nullptr && both.second->required);
        result.object.properties.push_back({name, *id, required});
        result.object.n_required += required ? 1 : 0;
      }
    }
    return {};
  }

  // Heights by rounds: a node's height is known once a value of that nesting fits. What never gets one is empty.
  void settle() {
    auto& nodes = schema_->nodes_;
    for (Node& n : nodes) n.height = kNoLimit;
    bool changed = true;
    while (changed) {
      changed = false;
      for (NodeId i = 0; i < nodes.size(); ++i) {
        const std::uint32_t height = least_height(nodes[i]);
        if (height < nodes[i].height) {
          nodes[i].height = height;
          changed = true;
        }
      }
    }
  }

  std::uint32_t height_of(NodeId id) const { return id == kNoNode ? kNoLimit : schema_->nodes_[id].height; }

  std::uint32_t least_height(const Node& n) const {
    if (!n.any_of.empty()) {
      std::uint32_t least = kNoLimit;
      for (NodeId id : n.any_of) least = std::min(least, height_of(id));
      return least;
    }
    if ((n.types & (kNullBit | kTrueBit | kFalseBit)) != 0) return 0;
    if ((n.types & kNumberBit) != 0 && !n.number.empty()) return 0;
    if ((n.types & kStringBit) != 0 && string_fits(n.string)) return 0;
    return std::min((n.types & kArrayBit) != 0 ? array_height(n.array) : kNoLimit,
                    (n.types & kObjectBit) != 0 ? object_height(n.object) : kNoLimit);
  }

  static bool string_fits(const StringRule& rule) { return rule.is_set ? !rule.values.empty() : rule.min <= rule.max; }

  std::uint32_t array_height(const ArrayRule& rule) const {
    if (rule.min > rule.max) return kNoLimit;
    std::uint32_t height = 0;
    for (std::size_t i = 0; i < rule.min && i < rule.prefix.size(); ++i)
      height = std::max(height, height_of(rule.prefix[i]));
    if (rule.min > rule.prefix.size()) height = std::max(height, height_of(rule.items));
    return height == kNoLimit ? kNoLimit : height + 1;
  }

  std::uint32_t object_height(const ObjectRule& rule) const {
    if (rule.min > rule.max || rule.n_required > rule.max) return kNoLimit;
    std::uint32_t height = 0;
    std::vector<std::uint32_t> optional;
    for (const Property& p : rule.properties) {
      if (p.required) {
        height = std::max(height, height_of(p.node));
      } else {
        optional.push_back(height_of(p.node));
      }
    }
    // minProperties asks for some of the optional ones, the flattest first; others can be made up.
    std::sort(optional.begin(), optional.end());
    const std::uint32_t other = height_of(rule.additional);
    for (std::uint32_t i = rule.n_required; i < rule.min; ++i) {
      const std::size_t k = i - rule.n_required;
      const std::uint32_t next = k < optional.size() ? std::min(optional[k], other) : other;
      height = std::max(height, next);
      if (next == kNoLimit || k >= optional.size()) break;
    }
    return height == kNoLimit ? kNoLimit : height + 1;
  }

  // The innermost place that makes an empty node empty.
  std::string blame(NodeId id) const {
    std::set<NodeId> seen;
    while (seen.insert(id).second) {
      const Node& n = schema_->nodes_[id];
      NodeId next = kNoNode;
      if (!n.any_of.empty()) {
        next = n.any_of[0];
      } else if ((n.types & kObjectBit) != 0) {
        for (const Property& p : n.object.properties) {
          if (p.required && p.node != kNoNode && height_of(p.node) == kNoLimit) next = p.node;
        }
      } else if ((n.types & kArrayBit) != 0) {
        for (std::size_t i = 0; i < n.array.min && i < n.array.prefix.size(); ++i) {
          if (height_of(n.array.prefix[i]) == kNoLimit) next = n.array.prefix[i];
        }
        if (next == kNoNode && n.array.min > n.array.prefix.size() && n.array.items != kNoNode) next = n.array.items;
      }
      if (next == kNoNode) return n.place;
      id = next;
    }
    return schema_->nodes_[id].place;
  }

  // Takes out what cannot occur, so that the automaton never enters a dead end, and lists each union's choices.
  void prune() {
    auto& nodes = schema_->nodes_;
    auto open = [&](NodeId id) { return id != kNoNode && nodes[id].height != kNoLimit; };
    for (Node& n : nodes) {
      if (n.height == kNoLimit) {
        n.types = 0;
        continue;
      }
      if (!n.any_of.empty()) continue;
      if (n.number.empty()) n.types &= ~kNumberBit;
      if (!string_fits(n.string)) n.types &= ~kStringBit;
      n.array_height = array_height(n.array);
      n.object_height = object_height(n.object);
      if (n.array_height == kNoLimit) n.types &= ~kArrayBit;
      if (n.object_height == kNoLimit) n.types &= ~kObjectBit;
    }
    for (const auto& [place, id] : by_place_) {
      const json::value* source = resolve_pointer(schema_->document_, place);
      // A plain `false` is meant so.
      if (nodes[id].height == kNoLimit && (source == nullptr || !source->is_bool())) {
        schema_->unsatisfiable_.push_back(at(place));
      }
    }
    for (Node& n : nodes) {
      for (std::size_t i = 0; i < n.array.prefix.size(); ++i) {
        if (open(n.array.prefix[i])) continue;
        n.array.prefix.resize(i);
        n.array.items = kNoNode;
        break;
      }
      if (!open(n.array.items)) n.array.items = kNoNode;
      if (n.array.items == kNoNode) {
        n.array.max = std::min<std::uint32_t>(n.array.max, static_cast<std::uint32_t>(n.array.prefix.size()));
      }
      for (Property& p : n.object.properties) {
        if (!open(p.node)) p.node = kNoNode;
      }
      if (!open(n.object.additional)) n.object.additional = kNoNode;
    }
    for (NodeId i = 0; i < nodes.size(); ++i) {
      if (nodes[i].height == kNoLimit) continue;
      std::set<NodeId> seen;
      std::vector<NodeId> todo{i};
      while (!todo.empty()) {
        const NodeId id = todo.back();
        todo.pop_back();
        if (nodes[id].height == kNoLimit || !seen.insert(id).second) continue;
        if (nodes[id].any_of.empty()) {
          nodes[i].choices.push_back(id);
        } else {
          todo.insert(todo.end(), nodes[id].any_of.begin(), nodes[id].any_of.end());
        }
      }
      std::sort(nodes[i].choices.begin(), nodes[i].choices.end());
    }
  }

  std::shared_ptr<Schema> schema_;
  SchemaOptions options_;
  int draft_ = 0;  // 4, 6, 7; 8 for 2019-09; 0 for 2020-12
  NodeId any_ = kNoNode;
  std::vector<bool> complete_;
  std::map<std::string, NodeId> by_place_;
  std::map<const json::value*, std::string> by_target_;
  std::map<std::pair<NodeId, NodeId>, NodeId> pairs_;
};

Result<std::shared_ptr<const Schema>> compile_schema(const json::value& schema, const SchemaOptions& options) {
  // A level of schema takes two or three of the document: {"properties":{"a":{...}}}, {"anyOf":[{...}]}.
  const std::size_t levels = 3 * options.depth_max + 16;
  if (nested_deeper(schema, levels)) {
    return make_error(ErrorCode::kResourceExhausted,
                      fmt::format("schema nested deeper than {} levels of JSON at #", levels));
  }
  return SchemaCompiler(schema, options).run();
}

}  // namespace longhaul::tools
