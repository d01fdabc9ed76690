// The slow, plain reading of JSON Schema: one function a keyword, over values. It shares no code with the compiler
// and the automaton beyond the finding of references and the formats, so it can judge them.
#include <fmt/format.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cmath>
#include <memory>
#include <set>

#include "tools/formats.h"
#include "tools/json_schema.h"
#include "tools/schema_references.h"

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

// Does `pattern` occur in `text`? By another engine than the grammar's, so that the two can be compared.
Result<bool> pattern_found(std::string_view pattern, std::string_view text) {
  const std::unique_ptr<pcre2_compile_context, void (*)(pcre2_compile_context*)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_ANYCRLF);
  pcre2_set_compile_extra_options(context.get(), PCRE2_EXTRA_ALT_BSUX);
  int error = 0;
  PCRE2_SIZE offset = 0;
  const std::unique_ptr<pcre2_code, void (*)(pcre2_code*)> code(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_UTF | PCRE2_ALT_BSUX | PCRE2_ALLOW_EMPTY_CLASS | PCRE2_DOLLAR_ENDONLY, &error, &offset,
                    context.get()),
      pcre2_code_free);
  // What it cannot read (a property by its long name) is left to our own.
  auto own = [&]() -> Result<bool> {
    RegexPool pool;
    auto id = pool.pattern(pattern);
    if (!id) return id.error();
    return pool.matches(*id, text);
  };
  if (code == nullptr) return own();
  const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> match(
      pcre2_match_data_create_from_pattern(code.get(), nullptr), pcre2_match_data_free);
  const int found =
      pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, 0, match.get(), nullptr);
  if (found < 0 && found != PCRE2_ERROR_NOMATCH) return own();  // its limit on backtracking
  return found >= 0;
}

class Validator {
 public:
  explicit Validator(const json::value& root) : references_(root, draft_of(root)), draft_(draft_of(root)) {}

  // What of a value the schemas that hold have looked at.
  struct Seen {
    std::set<std::string, std::less<>> names;
    std::set<std::size_t> items;

    void add(const Seen& more) {
      names.insert(more.names.begin(), more.names.end());
      items.insert(more.items.begin(), more.items.end());
    }
  };
  struct At {
    std::string place;  // in the value
    std::uint32_t resource = 0;
    std::vector<std::uint32_t> scope;
    int depth = 0;
  };

  Result<void> check(const json::value& schema, const json::value& value, const At& given, Seen& seen) const {
    if (given.depth > kDepthMax)
      return make_error(ErrorCode::kResourceExhausted, "validation nested too deep at " + name_of(given));
    if (const bool* allowed = schema.if_bool()) {
      if (*allowed) return {};
      return invalid_argument("nothing is allowed at " + name_of(given));
    }
    const auto* object = schema.if_object();
    if (object == nullptr) return invalid_argument("a schema is an object or a boolean, at " + name_of(given));
    At at = given;
    ++at.depth;
    at.resource = references_.resource_at(&schema, given.resource);
    if (at.scope.empty() || at.scope.back() != at.resource) at.scope.push_back(at.resource);
    const bool alone = draft_ != 0 && draft_ < 8 && object->contains("$ref");
    Seen mine;
    for (const auto& member : *object) {
      const std::string_view key = member.key();
      if ((alone && key != "$ref") || key == "unevaluatedProperties" || key == "unevaluatedItems") continue;
      auto ok = keyword(*object, key, member.value(), value, at, mine);
      if (!ok) return ok.error();
    }
    // These look at what all the others have left.
    for (const char* key : {"unevaluatedProperties", "unevaluatedItems"}) {
      const auto* rule = object->if_contains(key);
      if (rule == nullptr || alone) continue;
      auto ok = rest(*rule, value, at, mine, key[11] == 'P');
      if (!ok) return ok.error();
    }
    seen.add(mine);
    return {};
  }

 private:
  static int draft_of(const json::value& root) {
    const auto* object = root.if_object();
    const auto* dialect = object != nullptr ? object->if_contains("$schema") : nullptr;
    if (dialect == nullptr || !dialect->is_string()) return 0;
    const std::string_view name = dialect->get_string();
    for (const auto& [text, draft] :
         {std::pair<std::string_view, int>{"draft-04", 4}, {"draft-06", 6}, {"draft-07", 7}, {"2019-09", 8}}) {
      if (name.find(text) != name.npos) return draft;
    }
    return 0;
  }
  static std::string name_of(const At& at) { return at.place.empty() ? "#" : at.place; }
  static At below(const At& at, std::string_view key) {
    At inner = at;
    inner.place = pointer_append(at.place, key);
    return inner;
  }
  bool fits(const json::value& schema, const json::value& value, const At& at, Seen& seen) const {
    Seen mine;
    if (!check(schema, value, at, mine)) return false;
    seen.add(mine);
    return true;
  }

  bool has_type(const json::value& value, std::string_view type) const {
    if (type == "integer") {
      if (value.is_int64() || value.is_uint64()) return true;
      return draft_ != 4 && value.is_double() && std::floor(value.get_double()) == value.get_double();
    }
    return type_name(value) == type;
  }

  Result<void> rest(const json::value& rule, const json::value& value, const At& at, Seen& seen,
                    bool properties) const {
    if (const auto* object = value.if_object(); object != nullptr && properties) {
      for (const auto& member : *object) {
        if (seen.names.count(std::string_view(member.key())) != 0) continue;
        Seen inner;
        auto ok = check(rule, member.value(), below(at, member.key()), inner);
        if (!ok) return ok.error();
        seen.names.emplace(member.key());
      }
    }
    if (const auto* array = value.if_array(); array != nullptr && !properties) {
      for (std::size_t i = 0; i < array->size(); ++i) {
        if (seen.items.count(i) != 0) continue;
        Seen inner;
        auto ok = check(rule, (*array)[i], below(at, std::to_string(i)), inner);
        if (!ok) return ok.error();
        seen.items.insert(i);
      }
    }
    return {};
  }

  Result<void> reference(std::string_view key, const json::value& rule, const json::value& value, const At& at,
                         Seen& seen) const {
    auto target = references_.find(at.resource, rule.as_string());
    if (!target) return target.error();
    At there = at;
    there.resource = target->resource;
    const json::value* schema = target->schema;
    const bool recursive = key == "$recursiveRef" && references_.resource(target->resource).dynamic.count("") != 0;
    if (recursive || (key == "$dynamicRef" && !target->dynamic.empty())) {
      const std::string name = recursive ? "" : target->dynamic;
      for (const std::uint32_t entered : at.scope) {
        const auto& dynamic = references_.resource(entered).dynamic;
        if (const auto found = dynamic.find(name); found != dynamic.end()) {
          schema = found->second.first;
          there.resource = entered;
          break;
        }
      }
    }
    return check(*schema, value, there, seen);
  }

  Result<void> keyword(const json::object& schema, std::string_view key, const json::value& rule,
                       const json::value& value, const At& at, Seen& seen) const {
    const auto wrong = [&](const std::string& why) -> Result<void> {
      return invalid_argument(fmt::format("{} at {}", why, name_of(at)));
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
    if (key == "$ref" || key == "$dynamicRef" || key == "$recursiveRef") return reference(key, rule, value, at, seen);
    if (key == "allOf") {
      for (const auto& branch : rule.as_array()) {
        auto ok = check(branch, value, at, seen);
        if (!ok) return ok.error();
      }
      return {};
    }
    if (key == "anyOf" || key == "oneOf") {
      int n = 0;
      for (const auto& branch : rule.as_array()) n += fits(branch, value, at, seen) ? 1 : 0;
      if (n == 0) return wrong("none of the alternatives fits");
      if (key == "oneOf" && n > 1) return wrong("more than one alternative fits");
      return {};
    }
    if (key == "not") {
      Seen none;
      return fits(rule, value, at, none) ? wrong("what must not fit does") : Result<void>();
    }
    if (key == "if" && draft_ != 4 && draft_ != 6) {
      const auto* side = schema.if_contains(fits(rule, value, at, seen) ? "then" : "else");
      return side == nullptr ? Result<void>() : check(*side, value, at, seen);
    }
    if (is_number(value) && !rule.is_bool()) return number_keyword(schema, key, rule, value, at);
    if (value.is_string()) return string_keyword(key, rule, value.get_string(), at);
    if (const auto* array = value.if_array()) return array_keyword(schema, key, rule, *array, at, seen);
    if (const auto* object = value.if_object()) return object_keyword(schema, key, rule, value, *object, at, seen);
    return {};
  }

  Result<void> number_keyword(const json::object& schema, std::string_view key, const json::value& rule,
                              const json::value& value, const At& at) const {
    bool ok = true;
    if (key == "minimum" || key == "maximum" || key == "exclusiveMinimum" || key == "exclusiveMaximum") {
      const int order = compare(decimal_of(value), decimal_of(rule));
      const bool low = key == "minimum" || key == "exclusiveMinimum";
      const auto* flag = schema.if_contains(low ? "exclusiveMinimum" : "exclusiveMaximum");
      const bool open = key[0] == 'e' || (flag != nullptr && flag->is_bool() && flag->get_bool());
      ok = low ? order > 0 || (order == 0 && !open) : order < 0 || (order == 0 && !open);
    } else if (key == "multipleOf") {
      ok = is_multiple(decimal_of(value), decimal_of(rule));
    }
    return ok ? Result<void>()
              : invalid_argument(
                    fmt::format("{} is outside {} {} at {}", to_json(value), key, to_json(rule), name_of(at)));
  }

  Result<void> string_keyword(std::string_view key, const json::value& rule, std::string_view text,
                              const At& at) const {
    if (key == "minLength" || key == "maxLength") {
      const auto n = static_cast<double>(count_code_points(text));
      const double bound = rule.to_number<double>();
      if (key == "minLength" ? n < bound : n > bound) {
        return invalid_argument(fmt::format("{} code points, {} {} at {}", n, key, to_json(rule), name_of(at)));
      }
    }
    if (key == "pattern") {
      auto found = pattern_found(rule.as_string(), text);
      if (!found) return found.error();
      if (!*found) return invalid_argument(fmt::format("pattern {} is not found at {}", to_json(rule), name_of(at)));
    }
    if (key == "format" && rule.is_string() && known_format(rule.get_string())) {
      RegexPool pool;
      auto language = format_language(pool, rule.get_string());
      if (!language) return language.error();
      if (!pool.matches(language->pattern, text) || count_code_points(text) > language->length_max) {
        return invalid_argument(fmt::format("not a {} at {}", std::string_view(rule.get_string()), name_of(at)));
      }
    }
    return {};
  }

  Result<void> array_keyword(const json::object& schema, std::string_view key, const json::value& rule,
                             const json::array& array, const At& at, Seen& seen) const {
    auto element = [&](const json::value& part, std::size_t i) -> Result<void> {
      Seen inner;
      auto ok = check(part, array[i], below(at, std::to_string(i)), inner);
      if (ok) seen.items.insert(i);
      return ok;
    };
    if (key == "minItems" || key == "maxItems") {
      const auto n = static_cast<double>(array.size());
      const double bound = rule.to_number<double>();
      if (key == "minItems" ? n < bound : n > bound) {
        return invalid_argument(fmt::format("{} items, {} {} at {}", array.size(), key, to_json(rule), name_of(at)));
      }
    }
    const auto* items = schema.if_contains("items");
    const bool old_list = items != nullptr && items->is_array();
    if ((key == "prefixItems" && draft_ == 0) || (key == "items" && old_list)) {
      const auto& prefix = rule.as_array();
      for (std::size_t i = 0; i < prefix.size() && i < array.size(); ++i) {
        auto ok = element(prefix[i], i);
        if (!ok) return ok.error();
      }
    } else if (key == "items" || (key == "additionalItems" && old_list)) {
      std::size_t first = old_list ? items->get_array().size() : 0;
      if (const auto* prefix = schema.if_contains("prefixItems"); prefix != nullptr && draft_ == 0) {
        first = prefix->as_array().size();
      }
      for (std::size_t i = first; i < array.size(); ++i) {
        auto ok = element(rule, i);
        if (!ok) return ok.error();
      }
    }
    if (key == "contains" && draft_ != 4) {
      double n = 0;
      for (std::size_t i = 0; i < array.size(); ++i) {
        Seen inner;
        if (!check(rule, array[i], below(at, std::to_string(i)), inner)) continue;
        ++n;
        if (draft_ == 0) seen.items.insert(i);
      }
      const bool counted = draft_ == 0 || draft_ == 8;
      const auto *min = schema.if_contains("minContains"), *max = schema.if_contains("maxContains");
      if (n < (counted && min != nullptr ? min->to_number<double>() : 1) ||
          (counted && max != nullptr && n > max->to_number<double>())) {
        return invalid_argument(fmt::format("contains: {} elements fit at {}", n, name_of(at)));
      }
    }
    if (key == "uniqueItems" && rule.as_bool()) {
      for (std::size_t i = 0; i < array.size(); ++i) {
        for (std::size_t k = 0; k < i; ++k) {
          if (json_equal(array[i], array[k])) {
            return invalid_argument(fmt::format("elements {} and {} are equal at {}", k, i, name_of(at)));
          }
        }
      }
    }
    return {};
  }

  Result<void> object_keyword(const json::object& schema, std::string_view key, const json::value& rule,
                              const json::value& value, const json::object& object, const At& at, Seen& seen) const {
    auto member_fits = [&](const json::value& part, const auto& member) -> Result<void> {
      Seen inner;
      auto ok = check(part, member.value(), below(at, member.key()), inner);
      if (ok) seen.names.emplace(member.key());
      return ok;
    };
    auto missing = [&](const json::value& name) -> Result<void> {
      if (object.contains(name.as_string())) return {};
      return invalid_argument(
          fmt::format("required property \"{}\" is missing at {}", std::string_view(name.as_string()), name_of(at)));
    };
    if (key == "minProperties" || key == "maxProperties") {
      const auto n = static_cast<double>(object.size());
      const double bound = rule.to_number<double>();
      if (key == "minProperties" ? n < bound : n > bound) {
        return invalid_argument(
            fmt::format("{} properties, {} {} at {}", object.size(), key, to_json(rule), name_of(at)));
      }
    }
    if (key == "required") {
      for (const auto& name : rule.as_array()) {
        auto ok = missing(name);
        if (!ok) return ok.error();
      }
    }
    if (key == "dependentRequired" || key == "dependentSchemas" || key == "dependencies") {
      for (const auto& dependency : rule.as_object()) {
        if (!object.contains(dependency.key())) continue;
        Result<void> ok;
        if (const auto* names = dependency.value().if_array()) {
          for (const auto& name : *names) {
            if (ok) ok = missing(name);
          }
        } else {
          ok =
              dependency.value().is_string() ? missing(dependency.value()) : check(dependency.value(), value, at, seen);
        }
        if (!ok) return ok.error();
      }
    }
    if (key == "propertyNames") {
      for (const auto& member : object) {
        Seen inner;
        auto ok = check(rule, json::string(member.key()), below(at, member.key()), inner);
        if (!ok) return ok.error();
      }
    }
    if (key == "properties") {
      for (const auto& property : rule.as_object()) {
        const auto member = object.find(property.key());
        if (member == object.end()) continue;
        auto ok = member_fits(property.value(), *member);
        if (!ok) return ok.error();
      }
    }
    if (key == "patternProperties" || key == "additionalProperties") {
      const auto* known = schema.if_contains("properties");
      const auto* patterns = schema.if_contains("patternProperties");
      for (const auto& member : object) {
        bool named = known != nullptr && known->as_object().contains(member.key());
        for (std::size_t i = 0; patterns != nullptr && i < patterns->as_object().size(); ++i) {
          const auto& pattern = *(patterns->as_object().begin() + static_cast<std::ptrdiff_t>(i));
          auto found = pattern_found(pattern.key(), member.key());
          if (!found) return found.error();
          if (!*found) continue;
          named = true;
          if (key != "patternProperties") continue;
          auto ok = member_fits(pattern.value(), member);
          if (!ok) return ok.error();
        }
        if (named || key != "additionalProperties") continue;
        if (rule.is_bool() && !rule.get_bool()) {
          return invalid_argument(
              fmt::format("property \"{}\" is not allowed at {}", std::string_view(member.key()), name_of(at)));
        }
        auto ok = member_fits(rule, member);
        if (!ok) return ok.error();
      }
    }
    return {};
  }

  SchemaReferences references_;
  int draft_;
};

}  // namespace

Result<void> validate(const json::value& schema, const json::value& value) {
  return validate_part(schema, schema, value);
}

Result<void> validate_part(const json::value& schema, const json::value& part, const json::value& value) {
  try {
    Validator::Seen seen;
    return Validator(schema).check(part, value, {}, seen);
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
  std::string result;
  result.reserve(pointer.size() + 1 + key.size());
  result += pointer;
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
