#include "tools/call_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "tools/array_plan.h"

namespace longhaul::tools {
namespace {

bool any_finite(const json::value& value) {
  if (value.is_double()) return std::isfinite(value.get_double());
  if (const auto* array = value.if_array()) return std::all_of(array->begin(), array->end(), any_finite);
  if (const auto* object = value.if_object()) {
    return std::all_of(object->begin(), object->end(), [](const auto& member) { return any_finite(member.value()); });
  }
  return true;
}

// 64-bit integers are kept exactly; a double that stands for a larger one may be any of many.
bool beyond_64_bits(const json::value& value) {
  return value.is_double() &&
         (value.get_double() >= 18446744073709551616.0 || value.get_double() < -9223372036854775808.0);
}

bool fits(const Schema& schema, NodeId id, const json::value& value, bool strings, bool reading);

bool fits_array(const Schema& schema, const ArrayRule& rule, const json::array& array, bool reading) {
  if (array.size() < rule.min || array.size() > rule.max) return false;
  for (std::size_t i = 0; rule.unique && i < array.size(); ++i) {
    for (std::size_t k = 0; k < i; ++k) {
      if (json_equal(array[i], array[k])) return false;
    }
  }
  if (rule.contains.empty()) {
    for (std::size_t i = 0; i < array.size(); ++i) {
      if (!fits(schema, i < rule.prefix.size() ? rule.prefix[i] : rule.items, array[i], true, reading)) return false;
    }
    return true;
  }
  // All counts that the elements so far can make.
  std::set<std::vector<std::uint32_t>> reached{std::vector<std::uint32_t>(rule.contains.size(), 0)};
  for (std::size_t i = 0; i < array.size(); ++i) {
    std::set<std::vector<std::uint32_t>> next;
    for (const Element& e : rule.elements[std::min(i, rule.elements.size() - 1)]) {
      if (!fits(schema, e.node, array[i], true, reading)) continue;
      for (std::vector<std::uint32_t> counts : reached) {
        if (array_count(rule, e, counts)) next.insert(std::move(counts));
      }
    }
    reached = std::move(next);
  }
  return std::any_of(reached.begin(), reached.end(), [&](const std::vector<std::uint32_t>& counts) {
    return array_may_end(rule, static_cast<std::uint32_t>(array.size()), counts);
  });
}

bool fits_object(const Schema& schema, const ObjectRule& rule, const json::object& object, bool reading) {
  if (object.size() < rule.min || object.size() > rule.max) return false;
  std::uint32_t required = 0, met = 0;
  for (const auto& member : object) {
    const std::string_view key = member.key();
    const auto found = std::lower_bound(rule.properties.begin(), rule.properties.end(), key,
                                        [](const Property& p, std::string_view k) { return p.name < k; });
    if (found != rule.properties.end() && found->name == key) {
      if (!fits(schema, found->node, member.value(), true, reading)) return false;
      required += found->required ? 1 : 0;
      for (const std::uint32_t i : found->brings) {
        if (!object.contains(rule.properties[i].name)) return false;
      }
      continue;
    }
    NodeId node = kNoNode;
    for (std::uint32_t c = 0; c < rule.classes.size(); ++c) {
      if (!schema.matches(rule.classes[c].names, key)) continue;
      node = rule.classes[c].node;
      for (std::size_t i = 0; i < rule.some.size(); ++i) {
        const SomeKey& s = rule.some[i];
        if (s.key_class == c && fits(schema, s.node, member.value(), true, reading)) met |= 1U << i;
      }
    }
    if (!fits(schema, node, member.value(), true, reading)) return false;
  }
  return required == rule.n_required && met + 1 == (1U << rule.some.size());
}

// `reading`: the value was read from a call's text, so strings do not count at the top and integers must be exact.
bool fits(const Schema& schema, NodeId id, const json::value& value, bool strings, bool reading) {
  if (id == kNoNode) return false;
  for (const NodeId choice : schema.node(id).choices) {
    const Node& node = schema.node(choice);
    switch (value.kind()) {
      case json::kind::null:
        if ((node.types & kNullBit) != 0) return true;
        break;
      case json::kind::bool_:
        if ((node.types & (value.get_bool() ? kTrueBit : kFalseBit)) != 0) return true;
        break;
      case json::kind::int64:
      case json::kind::uint64:
      case json::kind::double_:
        if (reading && node.number.integer && beyond_64_bits(value)) break;
        if ((node.types & kNumberBit) != 0 && node.number.contains(decimal_of(value))) return true;
        break;
      case json::kind::string: {
        if ((node.types & kStringBit) == 0 || !strings) break;
        const std::string_view text = value.get_string();
        if (node.string.is_set) {
          if (std::binary_search(node.string.values.begin(), node.string.values.end(), text)) return true;
        } else {
          const std::size_t n = count_code_points(text);
          if (n >= node.string.min && n <= node.string.max && schema.matches(node.string.pattern, text)) return true;
        }
        break;
      }
      case json::kind::array:
        if ((node.types & kArrayBit) != 0 && fits_array(schema, node.array, value.get_array(), reading)) return true;
        break;
      case json::kind::object:
        if ((node.types & kObjectBit) != 0 && fits_object(schema, node.object, value.get_object(), reading))
          return true;
        break;
    }
  }
  return false;
}

}  // namespace

const CallFormat& nemotron_format() {
  static const CallFormat format;
  return format;
}

std::string render_value(const json::value& value) {
  if (value.is_null()) return "None";
  if (value.is_bool()) return value.get_bool() ? "True" : "False";
  if (value.is_string()) return std::string(value.get_string());
  if (value.is_double()) return std::isfinite(value.get_double()) ? python_repr(value.get_double()) : "None";
  return to_json_spaced(value);
}

bool key_fits(std::string_view key) {
  return !key.empty() && key.find_first_of("<>\n\r") == std::string_view::npos;
}

Result<std::string> render_call(std::string_view name, const json::object& arguments,
                                const std::vector<std::string>& keys, const CallFormat& format) {
  std::string text = format.call_open + format.function_open + std::string(name) + format.function_name_end;
  for (const auto& member : arguments) {
    const std::string_view key = member.key();
    if (!key_fits(key)) return invalid_argument(fmt::format("argument name \"{}\" of {} cannot be written", key, name));
    const std::string value = render_value(member.value());
    // The closing text counts too: a value may begin a terminator that its own closing completes.
    const std::string closed = value + format.value_close;
    for (std::size_t at = closed.find(format.value_close); at < value.size();
         at = closed.find(format.value_close, at + 1)) {
      const std::string_view rest = std::string_view(closed).substr(at + format.value_close.size());
      bool ends = rest.substr(0, format.function_close.size()) == format.function_close;
      if (rest.substr(0, format.parameter_open.size()) == format.parameter_open) {
        const std::string_view after = rest.substr(format.parameter_open.size());
        for (const std::string& known : keys) {
          const std::string whole = known + format.parameter_key_end;
          ends = ends || after.substr(0, whole.size()) == whole;
        }
      }
      if (ends) {
        return invalid_argument(
            fmt::format("argument \"{}\" of {} holds the text that ends a value, at byte {}", key, name, at));
      }
    }
    text += format.parameter_open + std::string(key) + format.parameter_key_end + format.value_open + closed;
  }
  return text + format.function_close + format.function_close_end + format.call_close;
}

Result<json::value> read_value(std::string_view text, const Schema& schema, NodeId node) {
  json::value value;
  bool read = true;
  if (text == "True") {
    value = true;
  } else if (text == "False") {
    value = false;
  } else if (text == "None") {
    value = nullptr;
  } else {
    auto parsed = parse_json(text);
    read = parsed.has_value();
    if (read) value = std::move(*parsed);
  }
  auto space = [](char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; };
  if (read && !text.empty() && (space(text.front()) || space(text.back()))) read = false;
  if (read && !value.is_string() && any_finite(value) && fits(schema, node, value, false, true)) return value;
  const json::value raw = json::string(text);
  if (fits(schema, node, raw, true, true)) return raw;
  return invalid_argument(fmt::format("value of {} bytes does not fit {}", text.size(),
                                      schema.node(node).place.empty() ? "#" : schema.node(node).place));
}

bool node_accepts(const Schema& schema, NodeId node, const json::value& value) {
  return fits(schema, node, value, true, false);
}

}  // namespace longhaul::tools
