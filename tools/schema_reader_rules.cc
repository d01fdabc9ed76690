// The part of the reader that makes rules of keywords: types, bounds, formats, elements, properties, constants.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "tools/formats.h"
#include "tools/schema_reader.h"

namespace longhaul::tools {
namespace {

std::string at(std::string_view place) {
  return place.empty() ? "#" : "#" + std::string(place);
}

Error with_place(const Error& error, const std::string& place) {
  return make_error(error.code, error.message + " at " + at(place));
}

}  // namespace

Result<void> SchemaReader::read_type(const json::value& value, const Source& source, Node& node) {
  const auto here = [&] { return pointer_append(source.place, "type"); };
  std::uint8_t types = 0;
  bool integer = false, number = false;
  auto one = [&](const json::value& name) -> Result<void> {
    if (!name.is_string()) return invalid_argument("type is not a string at " + at(here()));
    const std::string_view text = name.get_string();
    constexpr std::array<std::pair<std::string_view, std::uint8_t>, 7> kTypes{{{"null", kNullBit},
                                                                               {"boolean", kTrueBit | kFalseBit},
                                                                               {"integer", kNumberBit},
                                                                               {"number", kNumberBit},
                                                                               {"string", kStringBit},
                                                                               {"array", kArrayBit},
                                                                               {"object", kObjectBit}}};
    for (const auto& [known, bits] : kTypes) {
      if (text != known) continue;
      types |= bits;
      integer = integer || text == "integer";
      number = number || text == "number";
      return {};
    }
    return invalid_argument(fmt::format("type \"{}\" does not exist, at {}", text, at(here())));
  };
  if (const auto* list = value.if_array()) {
    if (list->empty()) return invalid_argument("type lists no types at " + at(here()));
    for (const auto& name : *list) {
      auto ok = one(name);
      if (!ok) return ok.error();
    }
  } else {
    auto ok = one(value);
    if (!ok) return ok.error();
  }
  node.types = types;
  if (integer && !number) {
    NumberRule rule;
    rule.integer = true;
    rule.plain = draft_ == 4;
    node.number = tools::intersect(node.number, rule);
  }
  return {};
}

Result<void> SchemaReader::read_format(const json::value& value, const Source& source, Node& node) {
  const std::string here = pointer_append(source.place, "format");
  if (!value.is_string()) return invalid_argument("format is not a string at " + at(here));
  const std::string_view name = value.get_string();
  if (options_.formats_annotate || !known_format(name)) {
    note(source.place, "format", std::string(name));
    return {};
  }
  auto language = format_language(graph_.patterns(), name);
  if (!language) return with_place(language.error(), here);
  node.string.pattern = graph_.patterns().both({node.string.pattern, language->pattern});
  if (language->length_max != kUnbounded) node.string.max = std::min(node.string.max, language->length_max);
  return {};
}

Result<void> SchemaReader::read_bound(const json::object& schema, std::string_view key, const json::value& value,
                                      const Source& source, Node& node) {
  const auto here = [&] { return pointer_append(source.place, key); };
  const bool exclusive = key.substr(0, 9) == "exclusive";
  if (value.is_bool()) {
    // Draft 4: a boolean beside minimum or maximum, which reads it.
    if (exclusive && (draft_ == 0 || draft_ == 4)) return {};
    return invalid_argument(fmt::format("{} is {}, not a number, at {}", key, to_json(value), at(here())));
  }
  if (exclusive && draft_ == 4) return invalid_argument(fmt::format("{} is not a boolean at {}", key, at(here())));
  auto bound = number(value, key, here());
  if (!bound) return bound.error();
  NumberRule rule;
  if (key == "multipleOf") {
    if (bound->zero() || bound->negative) {
      return invalid_argument(fmt::format("multipleOf is {}, not above zero, at {}", to_json(value), at(here())));
    }
    if (!usable_multiple(*bound)) {
      return unsupported(
          fmt::format("multipleOf {} at {} is not enforced: too many digits", to_json(value), at(here())));
    }
    rule.multiple = *bound;
    node.number = tools::intersect(node.number, rule);
    return {};
  }
  const bool low = key == "minimum" || key == "exclusiveMinimum";
  const auto* flag = exclusive ? nullptr : schema.if_contains(low ? "exclusiveMinimum" : "exclusiveMaximum");
  const bool open = exclusive || (flag != nullptr && flag->is_bool() && flag->get_bool());
  (low ? rule.intervals[0].lo : rule.intervals[0].hi) = *bound;
  (low ? rule.intervals[0].lo_open : rule.intervals[0].hi_open) = open;
  node.number = tools::intersect(node.number, rule);
  return {};
}

Result<void> SchemaReader::read_array_keywords(const json::object& schema, const Source& source, Node& node) {
  const auto* items = schema.if_contains("items");
  const auto* prefix = schema.if_contains("prefixItems");
  std::string items_key = "items";
  if (items != nullptr && items->is_array()) {
    // Older spelling: the list is the prefix, additionalItems the rest.
    if (prefix != nullptr) return invalid_argument("items is a list beside prefixItems at " + at(source.place));
    prefix = items;
    items = schema.if_contains("additionalItems");
    items_key = "additionalItems";
  } else if (schema.contains("additionalItems")) {
    note(source.place, "additionalItems");
  }
  if (prefix != nullptr) {
    const std::string here = pointer_append(source.place, items_key == "items" ? "prefixItems" : "items");
    if (items_key == "items" && draft_ != 0) {
      note(source.place, "prefixItems");
    } else {
      if (!prefix->is_array()) return invalid_argument("prefixItems is not a list at " + at(here));
      for (std::size_t i = 0; i < prefix->get_array().size(); ++i) {
        auto part = child(prefix->get_array()[i], pointer_append(here, std::to_string(i)), source);
        if (!part) return part.error();
        node.array.prefix.push_back(*part);
      }
    }
  }
  if (items != nullptr) {
    auto part = child(*items, pointer_append(source.place, items_key), source);
    if (!part) return part.error();
    node.array.items = *part;
  }
  if (const auto* contains = schema.if_contains("contains"); contains != nullptr && draft_ != 4) {
    Contains rule;
    auto part = child(*contains, pointer_append(source.place, "contains"), source);
    if (!part) return part.error();
    rule.node = *part;
    for (const char* key : {"minContains", "maxContains"}) {
      const auto* value = schema.if_contains(key);
      if (value == nullptr || (draft_ != 0 && draft_ < 8)) continue;
      auto n = count(*value, key, source);
      if (!n) return n.error();
      (key[1] == 'i' ? rule.min : rule.max) = *n;
    }
    if (rule.node == kAllExpr) {
      node.array.min = std::max(node.array.min, rule.min);
      node.array.max = std::min(node.array.max, rule.max);
    } else if (rule.min > rule.max) {
      node.types &= ~kArrayBit;
    } else if (rule.min > 0 || rule.max != kNoLimit) {
      node.array.contains.push_back(rule);
    }
  } else {
    for (const char* key : {"minContains", "maxContains"}) {
      if (schema.contains(key)) note(source.place, key);
    }
  }
  return {};
}

Result<void> SchemaReader::read_object_keywords(const json::object& schema, const Source& source, Node& node) {
  ObjectRule& rule = node.object;
  ExprId additional = kAllExpr;
  if (const auto* value = schema.if_contains("additionalProperties")) {
    auto part = child(*value, pointer_append(source.place, "additionalProperties"), source);
    if (!part) return part.error();
    additional = *part;
    rule.additional_given = true;
  }
  // The keys in classes, by which patterns they match.
  struct Part {
    RegexId names;
    Parts nodes;
  };
  std::vector<Part> classes{{kAnyText, {}}};
  std::vector<std::pair<RegexId, ExprId>> matching;
  if (const auto* patterns = schema.if_contains("patternProperties")) {
    const std::string here = pointer_append(source.place, "patternProperties");
    if (!patterns->is_object()) return invalid_argument("patternProperties is not an object at " + at(here));
    for (const auto& member : patterns->get_object()) {
      const std::string there = pointer_append(here, member.key());
      auto id = pattern(member.key(), there);
      if (!id) return id.error();
      auto part = child(member.value(), there, source);
      if (!part) return part.error();
      matching.emplace_back(*id, *part);
      std::vector<Part> split;
      for (const Part& c : classes) {
        const RegexId in = graph_.settled(graph_.patterns().both({c.names, *id}), there);
        const RegexId out = graph_.settled(graph_.patterns().both({c.names, graph_.patterns().complement(*id)}), there);
        if (graph_.error()) return *graph_.error();
        if (in != kNoText) {
          split.push_back({in, c.nodes});
          split.back().nodes.push_back(*part);
        }
        if (out != kNoText) split.push_back({out, c.nodes});
      }
      classes = std::move(split);
      if (classes.size() > 64) {
        return make_error(ErrorCode::kResourceExhausted,
                          "patterns of keys that overlap in too many ways at " + at(here));
      }
    }
  }
  rule.classes.clear();
  for (const Part& c : classes) {
    const ExprId id = c.nodes.empty() ? additional : graph_.both(c.nodes, source.place);
    if (id != kNoneExpr) rule.classes.push_back({c.names, id, kManyKeys});
  }
  if (const auto* properties = schema.if_contains("properties")) {
    const std::string here = pointer_append(source.place, "properties");
    if (!properties->is_object()) return invalid_argument("properties is not an object at " + at(here));
    for (const auto& member : properties->get_object()) {
      auto part = child(member.value(), pointer_append(here, member.key()), source);
      if (!part) return part.error();
      Parts all{*part};
      for (const auto& [names, id] : matching) {
        if (graph_.patterns().matches(names, member.key())) all.push_back(id);
      }
      Property property;
      property.name = std::string(member.key());
      property.node = graph_.both(all, source.place);
      rule.properties.push_back(std::move(property));
    }
    std::sort(rule.properties.begin(), rule.properties.end(),
              [](const Property& a, const Property& b) { return a.name < b.name; });
  }
  return read_required(schema, source, node);
}

Result<void> SchemaReader::read_required(const json::object& schema, const Source& source, Node& node) {
  ObjectRule& rule = node.object;
  if (const auto* required = schema.if_contains("required")) {
    const std::string here = source.place + "/required";
    if (!required->is_array()) return invalid_argument("required is not a list at " + at(here));
    for (const auto& name : required->get_array()) {
      if (!name.is_string()) return invalid_argument("required lists something that is no name, at " + at(here));
      rule.properties[ensure_property(graph_, rule, std::string(name.get_string()))].required = true;
    }
  }
  for (const char* key : {"dependentRequired", "dependencies"}) {
    const auto* table = schema.if_contains(key);
    if (table == nullptr) continue;
    const std::string here = pointer_append(source.place, key);
    if (!table->is_object()) return invalid_argument(std::string(key) + " is not an object at " + at(here));
    for (const auto& member : table->get_object()) {
      std::vector<std::string> names;
      if (const auto* list = member.value().if_array()) {
        for (const auto& name : *list) {
          if (!name.is_string())
            return invalid_argument(std::string(key) + " lists something that is no name, at " + at(here));
          names.emplace_back(name.get_string());
        }
      } else if (std::string_view(key) == "dependencies") {  // a string, or a schema that is read elsewhere
        if (!member.value().is_string() || draft_ != 0) continue;
        names.emplace_back(member.value().get_string());
      } else {
        return invalid_argument(
            fmt::format("{} is not a list of names at {}", key, at(pointer_append(here, member.key()))));
      }
      for (const std::string& name : names) {
        ensure_property(graph_, rule, std::string(member.key()));
        const std::uint32_t to = ensure_property(graph_, rule, name);
        const std::uint32_t from = ensure_property(graph_, rule, std::string(member.key()));
        auto& brings = rule.properties[from].brings;
        if (std::find(brings.begin(), brings.end(), to) == brings.end()) brings.push_back(to);
      }
    }
  }
  return {};
}

Result<ExprId> SchemaReader::read_values(const json::object& schema, const Source& source) {
  Parts both;
  for (const char* key : {"enum", "const"}) {
    const auto* value = schema.if_contains(key);
    if (value == nullptr) continue;
    const std::string here = pointer_append(source.place, key);
    if (key[0] == 'e' && !value->is_array()) return invalid_argument("enum is not a list at " + at(here));
    auto exact = check_exact(*value, here, 0);
    if (!exact) return exact.error();
    Node scalars = SchemaGraph::free_node(source.place);
    scalars.types = 0;
    scalars.number.intervals.clear();
    scalars.string.is_set = true;
    Parts parts;
    auto add = [&](const json::value& one) -> Result<void> {
      if (one.is_null()) {
        scalars.types |= kNullBit;
      } else if (one.is_bool()) {
        scalars.types |= one.get_bool() ? kTrueBit : kFalseBit;
      } else if (one.is_string()) {
        scalars.types |= kStringBit;
        scalars.string.values.emplace_back(one.get_string());
      } else if (one.is_structured()) {
        auto part = constant(one, source.place, 0);
        if (!part) return part.error();
        parts.push_back(*part);
      } else {
        scalars.types |= kNumberBit;
        Interval point;
        point.lo = point.hi = decimal_of(one);
        scalars.number.intervals.push_back(std::move(point));
      }
      return {};
    };
    if (key[0] == 'c') {
      auto ok = add(*value);
      if (!ok) return ok.error();
    } else {
      for (const json::value& one : value->get_array()) {
        auto ok = add(one);
        if (!ok) return ok.error();
      }
    }
    std::sort(scalars.string.values.begin(), scalars.string.values.end());
    scalars.string.values.erase(std::unique(scalars.string.values.begin(), scalars.string.values.end()),
                                scalars.string.values.end());
    scalars.number.normalise();
    if (scalars.types != 0) parts.push_back(graph_.term(std::move(scalars)));
    both.push_back(graph_.either(parts, source.place));
  }
  return graph_.both(both, source.place);
}

Result<ExprId> SchemaReader::constant(const json::value& value, const std::string& place, int depth) {
  Node node = SchemaGraph::free_node(place);
  if (const auto* array = value.if_array()) {
    node.types = kArrayBit;
    node.array.items = kNoneExpr;
    node.array.min = node.array.max = static_cast<std::uint32_t>(array->size());
    for (const auto& element : *array) {
      auto part = constant(element, place, depth + 1);
      if (!part) return part;
      node.array.prefix.push_back(*part);
    }
    return graph_.term(std::move(node));
  }
  if (const auto* object = value.if_object()) {
    node.types = kObjectBit;
    node.object.classes.clear();
    for (const auto& member : *object) {
      auto part = constant(member.value(), place, depth + 1);
      if (!part) return part;
      node.object.properties.push_back({std::string(member.key()), *part, true, {}});
    }
    std::sort(node.object.properties.begin(), node.object.properties.end(),
              [](const Property& a, const Property& b) { return a.name < b.name; });
    return graph_.term(std::move(node));
  }
  node.types = 0;
  node.number.intervals.clear();
  node.string.is_set = true;
  if (value.is_null()) {
    node.types = kNullBit;
  } else if (value.is_bool()) {
    node.types = value.get_bool() ? kTrueBit : kFalseBit;
  } else if (value.is_string()) {
    node.types = kStringBit;
    node.string.values.emplace_back(value.get_string());
  } else {
    node.types = kNumberBit;
    Interval point;
    point.lo = point.hi = decimal_of(value);
    node.number.intervals.push_back(std::move(point));
  }
  return graph_.term(std::move(node));
}

Result<std::uint32_t> SchemaReader::count(const json::value& value, std::string_view key, const Source& source) {
  const auto place = [&] { return pointer_append(source.place, key); };
  // 2.0 is an integer too.
  const bool is_number = value.is_int64() || value.is_uint64() || value.is_double();
  if (!is_number || decimal_of(value).negative || !decimal_of(value).integer()) {
    return invalid_argument(fmt::format("{} is {}, not a count, at {}", key, to_json(value), at(place())));
  }
  if (compare(decimal_of(value), decimal_of(std::int64_t{1} << 30)) > 0) {
    if (key.substr(0, 3) == "max") return kNoLimit;
    return make_error(ErrorCode::kResourceExhausted,
                      fmt::format("{} {} is above {} at {}", key, to_json(value), 1 << 30, at(place())));
  }
  return static_cast<std::uint32_t>(value.to_number<double>());
}

// A schema's number, kept exactly or refused.
Result<Decimal> SchemaReader::number(const json::value& value, std::string_view key, const std::string& place) {
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

Result<void> SchemaReader::check_exact(const json::value& value, const std::string& place, int depth) {
  if (depth > 256) return make_error(ErrorCode::kResourceExhausted, "value nested too deep at " + at(place));
  if (value.is_double()) {
    auto exact = number(value, "value", place);
    if (!exact) return exact.error();
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

Result<RegexId> SchemaReader::pattern(std::string_view text, const std::string& place) {
  if (const auto known = patterns_.find(text); known != patterns_.end()) return known->second;
  auto id = graph_.patterns().pattern(text);
  if (!id)
    return make_error(id.error().code, fmt::format("pattern \"{}\": {}, at {}", text, id.error().message, at(place)));
  const RegexId settled = graph_.settled(*id, place);
  if (graph_.error()) return *graph_.error();
  patterns_.emplace(std::string(text), settled);
  return settled;
}

}  // namespace longhaul::tools
