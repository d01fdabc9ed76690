#include "tools/call_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

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
          if (n >= node.string.min && n <= node.string.max) return true;
        }
        break;
      }
      case json::kind::array: {
        const auto& array = value.get_array();
        const ArrayRule& rule = node.array;
        bool ok = (node.types & kArrayBit) != 0 && array.size() >= rule.min && array.size() <= rule.max;
        for (std::size_t i = 0; ok && i < array.size(); ++i) {
          ok = fits(schema, i < rule.prefix.size() ? rule.prefix[i] : rule.items, array[i], true, reading);
        }
        if (ok) return true;
        break;
      }
      case json::kind::object: {
        const auto& object = value.get_object();
        const ObjectRule& rule = node.object;
        bool ok = (node.types & kObjectBit) != 0 && object.size() >= rule.min && object.size() <= rule.max;
        std::uint32_t required = 0;
        for (auto member = object.begin(); ok && member != object.end(); ++member) {
          const std::string_view key = member->key();
          const auto found = std::lower_bound(rule.properties.begin(), rule.properties.end(), key,
                                              [](const Property& p, std::string_view k) { return p.name < k; });
          const bool known = found != rule.properties.end() && found->name == key;
          ok = fits(schema, known ? found->node : rule.additional, member->value(), true, reading);
          required += known && found->required ? 1 : 0;
        }
        if (ok && required == rule.n_required) return true;
        break;
      }
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
