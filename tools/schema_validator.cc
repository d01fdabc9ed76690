// The slow, plain reading of JSON Schema: one function a keyword, over values. It shares no code with the compiler
// and the automaton, so it can judge them.
#include <fmt/format.h>

#include <cmath>
#include <set>

#include "tools/json_schema.h"

namespace longhaul::tools {
namespace {

constexpr int kDepthMax = 600;

std::string_view type_name(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return "null";
    case json::kind::bool_:
      return "boolean";
    case json::kind::int64:
    case json::kind::uint64:
    case json::kind::double_:
      return "number";
    case json::kind::string:
      return "string";
    case json::kind::array:
      return "array";
    case json::kind::object:
      return "object";
  }
  return "?";
}

bool is_number(const json::value& value) {
  return value.is_int64() || value.is_uint64() || value.is_double();
}

class Validator {
 public:
  Validator(const json::value& root) : root_(root) {
    if (const auto* object = root.if_object()) {
      if (const auto* dialect = object->if_contains("$schema"); dialect != nullptr && dialect->is_string()) {
        const std::string_view name = dialect->get_string();
        old_integers_ = name.find("draft-04") != name.npos;
      }
    }
  }

  Result<void> check(const json::value& schema, const json::value& value, const std::string& place, int depth) const {
    if (depth > kDepthMax)
      return make_error(ErrorCode::kResourceExhausted, "validation nested too deep at " + at(place));
    if (const bool* allowed = schema.if_bool()) {
      if (*allowed) return {};
      return invalid_argument("nothing is allowed at " + at(place));
    }
    const auto* object = schema.if_object();
    if (object == nullptr) return invalid_argument("a schema is an object or a boolean, at " + at(place));
    for (const auto& member : *object) {
      auto ok = keyword(*object, member.key(), member.value(), value, place, depth);
      if (!ok) return ok.error();
    }
    return {};
  }

 private:
  static std::string at(const std::string& place) { return place.empty() ? "#" : place; }

  bool has_type(const json::value& value, std::string_view type) const {
    if (type == "integer") {
      if (value.is_int64() || value.is_uint64()) return true;
      return !old_integers_ && value.is_double() && std::floor(value.get_double()) == value.get_double();
    }
    return type_name(value) == type;
  }

  Result<void> keyword(const json::object& schema, std::string_view key, const json::value& rule,
                       const json::value& value, const std::string& place, int depth) const {
    const auto wrong = [&](const std::string& why) -> Result<void> {
      return invalid_argument(fmt::format("{} at {}", why, at(place)));
    };
    if (key == "type") {
      if (rule.is_string()) {
        if (has_type(value, rule.get_string())) return {};
        return wrong(fmt::format("expected {}, found {}", std::string_view(rule.get_string()), type_name(value)));
      }
      for (const auto& name : rule.as_array()) {
        if (has_type(value, name.as_string())) return {};
      }
      return wrong(fmt::format("a {} is none of the allowed types", type_name(value)));
    }
    if (key == "enum") {
      for (const auto& allowed : rule.as_array()) {
        if (json_equal(allowed, value)) return {};
      }
      return wrong(fmt::format("{} is not one of the allowed values", to_json(value)));
    }
    if (key == "const") {
      if (json_equal(rule, value)) return {};
      return wrong(fmt::format("{} is not {}", to_json(value), to_json(rule)));
    }
    if (key == "$ref") {
      const std::string_view reference = rule.as_string();
      const json::value* target = reference.substr(0, 1) == "#" ? resolve_pointer(root_, reference.substr(1)) : nullptr;
      if (target == nullptr) return unsupported("reference " + std::string(reference));
      return check(*target, value, place, depth + 1);
    }
    if (key == "allOf") {
      for (const auto& branch : rule.as_array()) {
        auto ok = check(branch, value, place, depth + 1);
        if (!ok) return ok.error();
      }
      return {};
    }
    if (key == "anyOf" || key == "oneOf") {
      int fits = 0;
      for (const auto& branch : rule.as_array()) fits += check(branch, value, place, depth + 1) ? 1 : 0;
      if (fits == 0) return wrong("none of the alternatives fits");
      if (key == "oneOf" && fits > 1) return wrong("more than one alternative fits");
      return {};
    }
    if (key == "minimum" || key == "maximum" || key == "exclusiveMinimum" || key == "exclusiveMaximum") {
      if (!is_number(value) || rule.is_bool()) return {};
      const int order = compare(decimal_of(value), decimal_of(rule));
      const bool ok = key == "minimum"            ? order >= 0
                      : key == "maximum"          ? order <= 0
                      : key == "exclusiveMinimum" ? order > 0
                                                  : order < 0;
      return ok ? Result<void>() : wrong(fmt::format("{} is outside {} {}", to_json(value), key, to_json(rule)));
    }
    if (key == "minLength" || key == "maxLength") {
      if (!value.is_string()) return {};
      const auto n = static_cast<double>(count_code_points(value.get_string()));
      const double bound = rule.to_number<double>();
      const bool ok = key == "minLength" ? n >= bound : n <= bound;
      return ok ? Result<void>() : wrong(fmt::format("{} code points, {} {}", n, key, to_json(rule)));
    }
    if (const auto* array = value.if_array()) {
      auto ok = array_keyword(schema, key, rule, *array, place, depth);
      if (!ok) return ok.error();
    }
    if (const auto* object = value.if_object()) {
      auto ok = object_keyword(schema, key, rule, *object, place, depth);
      if (!ok) return ok.error();
    }
    return {};
  }

  Result<void> array_keyword(const json::object& schema, std::string_view key, const json::value& rule,
                             const json::array& array, const std::string& place, int depth) const {
    if (key == "minItems" || key == "maxItems") {
      const auto n = static_cast<double>(array.size());
      const double bound = rule.to_number<double>();
      if (key == "minItems" ? n < bound : n > bound) {
        return invalid_argument(fmt::format("{} items, {} {} at {}", array.size(), key, to_json(rule), at(place)));
      }
    }
    if (key == "prefixItems") {
      const auto& prefix = rule.as_array();
      for (std::size_t i = 0; i < prefix.size() && i < array.size(); ++i) {
        auto ok = check(prefix[i], array[i], pointer_append(place, std::to_string(i)), depth + 1);
        if (!ok) return ok.error();
      }
    }
    if (key == "items") {
      std::size_t first = 0;
      if (const auto* prefix = schema.if_contains("prefixItems")) first = prefix->as_array().size();
      for (std::size_t i = first; i < array.size(); ++i) {
        auto ok = check(rule, array[i], pointer_append(place, std::to_string(i)), depth + 1);
        if (!ok) return ok.error();
      }
    }
    return {};
  }

  Result<void> object_keyword(const json::object& schema, std::string_view key, const json::value& rule,
                              const json::object& object, const std::string& place, int depth) const {
    if (key == "minProperties" || key == "maxProperties") {
      const auto n = static_cast<double>(object.size());
      const double bound = rule.to_number<double>();
      if (key == "minProperties" ? n < bound : n > bound) {
        return invalid_argument(
            fmt::format("{} properties, {} {} at {}", object.size(), key, to_json(rule), at(place)));
      }
    }
    if (key == "required") {
      for (const auto& name : rule.as_array()) {
        if (!object.contains(name.as_string())) {
          return invalid_argument(
              fmt::format("required property \"{}\" is missing at {}", std::string_view(name.as_string()), at(place)));
        }
      }
    }
    if (key == "properties") {
      for (const auto& property : rule.as_object()) {
        if (const auto* member = object.if_contains(property.key())) {
          auto ok = check(property.value(), *member, pointer_append(place, property.key()), depth + 1);
          if (!ok) return ok.error();
        }
      }
    }
    if (key == "additionalProperties") {
      const json::value* known = schema.if_contains("properties");
      for (const auto& member : object) {
        if (known != nullptr && known->as_object().contains(member.key())) continue;
        if (rule.is_bool() && !rule.get_bool()) {
          return invalid_argument(
              fmt::format("property \"{}\" is not allowed at {}", std::string_view(member.key()), at(place)));
        }
        auto ok = check(rule, member.value(), pointer_append(place, member.key()), depth + 1);
        if (!ok) return ok.error();
      }
    }
    return {};
  }

  const json::value& root_;
  bool old_integers_ = false;
};

}  // namespace

Result<void> validate(const json::value& schema, const json::value& value) {
  return validate_part(schema, schema, value);
}

Result<void> validate_part(const json::value& schema, const json::value& part, const json::value& value) {
  try {
    return Validator(schema).check(part, value, "", 0);
  } catch (const std::exception& error) {
    // Boost.JSON throws where a keyword's value has the wrong type; compile_schema would have said so.
    return invalid_argument(fmt::format("not a schema: {}", error.what()));
  }
}

Decimal decimal_of(const json::value& number) {
  if (number.is_int64()) return decimal_of(number.get_int64());
  if (number.is_uint64()) return decimal_of(number.get_uint64());
  return decimal_of(number.get_double());
}

bool json_equal(const json::value& a, const json::value& b) {
  if (is_number(a) || is_number(b)) return is_number(a) && is_number(b) && decimal_of(a) == decimal_of(b);
  if (a.kind() != b.kind()) return false;
  if (a.is_array()) {
    const auto &x = a.get_array(), &y = b.get_array();
    if (x.size() != y.size()) return false;
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (!json_equal(x[i], y[i])) return false;
    }
    return true;
  }
  if (a.is_object()) {
    const auto &x = a.get_object(), &y = b.get_object();
    if (x.size() != y.size()) return false;
    for (const auto& member : x) {
      const auto* other = y.if_contains(member.key());
      if (other == nullptr || !json_equal(member.value(), *other)) return false;
    }
    return true;
  }
  return a == b;
}

std::size_t count_code_points(std::string_view text) {
  std::size_t n = 0;
  for (char c : text) n += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
  return n;
}

std::string pointer_append(std::string_view pointer, std::string_view key) {
  std::string result(pointer);
  result += '/';
  for (char c : key) {
    if (c == '~') {
      result += "~0";
    } else if (c == '/') {
      result += "~1";
    } else {
      result += c;
    }
  }
  return result;
}

const json::value* resolve_pointer(const json::value& document, std::string_view pointer) {
  // A pointer inside a URI fragment is percent-encoded.
  std::string decoded;
  for (std::size_t i = 0; i < pointer.size(); ++i) {
    if (pointer[i] != '%') {
      decoded += pointer[i];
      continue;
    }
    auto hex = [&](std::size_t at) {
      if (at >= pointer.size()) return -1;
      const char c = pointer[at];
      return c >= '0' && c <= '9'   ? c - '0'
             : c >= 'a' && c <= 'f' ? c - 'a' + 10
             : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                    : -1;
    };
    const int high = hex(i + 1), low = hex(i + 2);
    if (high < 0 || low < 0) return nullptr;
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  const json::value* at = &document;
  std::size_t from = 0;
  while (from < decoded.size()) {
    if (decoded[from] != '/') return nullptr;
    const std::size_t end = std::min(decoded.find('/', from + 1), decoded.size());
    std::string key;
    for (std::size_t i = from + 1; i < end; ++i) {
      if (decoded[i] == '~') {
        if (i + 1 >= end || (decoded[i + 1] != '0' && decoded[i + 1] != '1')) return nullptr;
        key += decoded[++i] == '0' ? '~' : '/';
      } else {
        key += decoded[i];
      }
    }
    if (const auto* object = at->if_object()) {
      at = object->if_contains(key);
    } else if (const auto* array = at->if_array()) {
      if (key.empty() || key.size() > 9 || key.find_first_not_of("0123456789") != key.npos ||
          (key.size() > 1 && key[0] == '0'))
        return nullptr;
      const std::size_t index = std::stoul(key);
      at = index < array->size() ? &(*array)[index] : nullptr;
    } else {
      return nullptr;
    }
    if (at == nullptr) return nullptr;
    from = end;
  }
  return at;
}

}  // namespace longhaul::tools
