// Random schemas of the enforced keywords, random values near them, random spellings of values.
#pragma once

#include <random>
#include <string>

#include "runtime/base/json.h"
#include "tools/utf8.h"

namespace longhaul::test {

class SchemaMaker {
 public:
  explicit SchemaMaker(std::uint64_t seed) : random_(seed) {}

  std::uint64_t pick(std::uint64_t n) { return random_() % n; }
  bool chance(int percent) { return pick(100) < static_cast<std::uint64_t>(percent); }

  json::value schema(int depth) {
    if (chance(3)) return chance(70);
    json::object result;
    if (chance(10)) {
      result[chance(50) ? "anyOf" : "allOf"] = json::array{schema(depth - 1), schema(depth - 1)};
      if (chance(60)) return result;
    }
    if (chance(12)) {
      json::array values;
      for (std::uint64_t n = 1 + pick(4); n > 0; --n) values.push_back(value(depth > 0 ? 1 : 0));
      result["enum"] = std::move(values);
      if (chance(50)) return result;
    } else if (chance(4)) {
      result["const"] = value(1);
    }
    if (chance(85)) {
      if (chance(25)) {
        json::array types;
        for (std::uint64_t n = 1 + pick(3); n > 0; --n) types.push_back(json::string(type(depth)));
        result["type"] = std::move(types);
      } else {
        result["type"] = type(depth);
      }
    }
    if (depth > 0 && chance(60)) {
      json::object properties;
      for (std::uint64_t n = pick(4); n > 0; --n) properties[key()] = schema(depth - 1);
      json::array required;
      for (const auto& p : properties) {
        if (chance(40)) required.push_back(json::string(p.key()));
      }
      if (chance(10)) required.push_back(json::string("extra"));
      result["properties"] = std::move(properties);
      if (!required.empty()) result["required"] = std::move(required);
      if (chance(50)) result["additionalProperties"] = chance(50) ? json::value(false) : schema(depth - 1);
      if (chance(15)) result["minProperties"] = pick(3);
      if (chance(15)) result["maxProperties"] = pick(4);
    }
    if (depth > 0 && chance(50)) {
      result["items"] = schema(depth - 1);
      if (chance(25)) result["prefixItems"] = json::array{schema(depth - 1), schema(depth - 1)};
      if (chance(25)) result["minItems"] = pick(3);
      if (chance(25)) result["maxItems"] = pick(4);
    }
    if (chance(20)) result["minLength"] = pick(4);
    if (chance(20)) result["maxLength"] = pick(6);
    if (chance(15)) result[chance(50) ? "minimum" : "exclusiveMinimum"] = number();
    if (chance(15)) result[chance(50) ? "maximum" : "exclusiveMaximum"] = number();
    if (chance(50)) more(result, depth);
    return result;
  }

  // The keywords that are rarer, one or two at a time.
  void more(json::object& result, int depth) {
    const int inner = depth > 0 ? depth - 1 : 0;
    for (std::uint64_t n = 1 + pick(2); n > 0; --n) {
      switch (pick(20)) {
        case 0:
          result["pattern"] = pattern();
          break;
        case 1:
          result["multipleOf"] = multiple();
          break;
        case 2:
          result["patternProperties"] = json::object{{pattern(), schema(inner)}};
          if (chance(30)) result["patternProperties"].get_object()[pattern()] = schema(inner);
          break;
        case 3:
          result["propertyNames"] = chance(60) ? json::value(json::object{{"pattern", pattern()}})
                                               : json::value(json::object{{"maxLength", pick(4)}});
          break;
        case 4:
          result["dependentRequired"] = json::object{{key(), json::array{json::string(key())}}};
          break;
        case 5:
          result["dependentSchemas"] = json::object{{key(), schema(inner)}};
          break;
        case 6:
        case 7:
          result["oneOf"] = json::array{schema(inner), schema(inner)};
          if (chance(30)) result["oneOf"].get_array().push_back(schema(inner));
          break;
        case 8:
        case 9:
          result["not"] = schema(inner);
          break;
        case 10:
          result["if"] = schema(inner);
          result["then"] = schema(inner);
          if (chance(50)) result["else"] = schema(inner);
          break;
        case 11:
        case 12:
          result["contains"] = schema(inner);
          if (chance(40)) result["minContains"] = pick(3);
          if (chance(40)) result["maxContains"] = pick(3);
          break;
        case 13:
        case 14:
          result["uniqueItems"] = true;
          break;
        case 15:
          result["unevaluatedProperties"] = chance(50) ? json::value(false) : schema(inner);
          break;
        case 16:
          result["unevaluatedItems"] = chance(50) ? json::value(false) : schema(inner);
          break;
        case 17:
          result["format"] = json::string(chance(50) ? "date" : chance(50) ? "ipv4" : "json-pointer");
          break;
        case 18:
          result["prefixItems"] = json::array{schema(inner)};
          break;
        default:
          result["anyOf"] = json::array{schema(inner), schema(inner)};
          if (depth > 0 && chance(30)) result["$ref"] = "#";
      }
    }
  }

  json::string pattern() {
    static const char* const patterns[] = {
        "^a",      "b$",      "^[a-c]*$",      "a.c|x", "^(ab|\xC3\xA9)+$", "^\\d+$", "^.{2,3}$", "^(?!a)", "^[ab]$",
        "\\bname", "^[^a]*$", "^(?=.*b).{2}$", "e",     "^[a-z]{1,3}$",     "^$",     "^\\p{L}+$"};
    return json::string(patterns[pick(std::size(patterns))]);
  }

  json::value multiple() {
    switch (pick(6)) {
      case 0:
        return 0.5;
      case 1:
        return 0.01;
      case 2:
        return 1.5;
      default:
        return static_cast<std::int64_t>(pick(9)) + 2;
    }
  }

  json::value value(int depth) {
    switch (pick(depth > 0 ? 7 : 5)) {
      case 0:
        return nullptr;
      case 1:
        return chance(50);
      case 2:
        return number();
      case 3:
      case 4:
        return json::string(text());
      case 5: {
        json::array array;
        for (std::uint64_t n = pick(4); n > 0; --n) array.push_back(value(depth - 1));
        return array;
      }
      default: {
        json::object object;
        for (std::uint64_t n = pick(4); n > 0; --n) object[key()] = value(depth - 1);
        return object;
      }
    }
  }

  // A value that has a fair chance to fit.
  json::value near(const json::value& schema, int depth) {
    if (!schema.is_object() || depth <= 0 || chance(6)) return value(depth > 1 ? 1 : 0);
    const json::object& s = schema.get_object();
    if (const auto* list = s.if_contains("enum")) return list->get_array()[pick(list->get_array().size())];
    if (const auto* only = s.if_contains("const")) return *only;
    for (const char* name : {"anyOf", "allOf", "oneOf"}) {
      if (const auto* list = s.if_contains(name); list != nullptr && (s.size() == 1 || chance(40))) {
        return near(list->get_array()[pick(list->get_array().size())], depth - 1);
      }
    }
    std::string kind = type(1);
    if (const auto* t = s.if_contains("type")) {
      kind = t->is_string() ? std::string(t->get_string())
                            : std::string(t->get_array()[pick(t->get_array().size())].get_string());
    }
    if (kind == "object") {
      json::object object;
      if (const auto* properties = s.if_contains("properties")) {
        for (const auto& p : properties->get_object()) {
          if (chance(75)) object[p.key()] = near(p.value(), depth - 1);
        }
      }
      if (chance(30))
        object[key()] =
            near(s.contains("additionalProperties") ? s.at("additionalProperties") : json::value(true), depth - 1);
      return object;
    }
    if (kind == "array") {
      json::array array;
      for (std::uint64_t n = pick(4); n > 0; --n)
        array.push_back(near(s.contains("items") ? s.at("items") : json::value(true), depth - 1));
      return array;
    }
    if (kind == "string") return json::string(text());
    if (kind == "integer") return static_cast<std::int64_t>(pick(30)) - 10;
    if (kind == "number") return number();
    if (kind == "boolean") return chance(50);
    return nullptr;
  }

  // JSON in one of its many spellings.
  std::string spell(const json::value& value) {
    switch (value.kind()) {
      case json::kind::int64:
      case json::kind::uint64:
      case json::kind::double_:
        return spell_number(value);
      case json::kind::string:
        return spell_string(value.get_string());
      case json::kind::array: {
        std::string out = "[" + space();
        bool first = true;
        for (const auto& element : value.get_array()) {
          if (!first) out += "," + space();
          first = false;
          out += spell(element) + space();
        }
        return out + "]";
      }
      case json::kind::object: {
        std::string out = "{" + space();
        bool first = true;
        for (const auto& member : value.get_object()) {
          if (!first) out += "," + space();
          first = false;
          out += spell_string(member.key()) + space() + ":" + space() + spell(member.value()) + space();
        }
        return out + "}";
      }
      default:
        return to_json(value);
    }
  }

  std::string spell_string(std::string_view text) {
    std::string out = "\"";
    for (std::size_t i = 0; i < text.size();) {
      const auto byte = static_cast<unsigned char>(text[i]);
      const std::size_t n = byte < 0x80 ? 1 : byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
      std::uint32_t c = n == 1 ? byte : byte & (0x3FU >> (n - 1));
      for (std::size_t k = 1; k < n; ++k) c = (c << 6) | (static_cast<unsigned char>(text[i + k]) & 0x3F);
      if (c < 0x20 || c == '"' || c == '\\' || chance(15)) {
        char buffer[16];
        const char* form = chance(50) ? "\\u%04x" : "\\u%04X";
        if (c >= 0x10000) {
          std::snprintf(buffer, sizeof buffer, form, 0xD800 + ((c - 0x10000) >> 10));
          out += buffer;
          std::snprintf(buffer, sizeof buffer, form, 0xDC00 + ((c - 0x10000) & 0x3FF));
        } else {
          std::snprintf(buffer, sizeof buffer, form, c);
        }
        out += buffer;
      } else {
        out += text.substr(i, n);
      }
      i += n;
    }
    return out + "\"";
  }

  std::string spell_number(const json::value& value) {
    std::string text = to_json(value);
    if (text.find('e') != std::string::npos || chance(50)) return text;
    const bool negative = text[0] == '-';
    if (negative) text.erase(0, 1);
    if (chance(40)) text += text.find('.') == std::string::npos ? ".000" : "0";
    // Move the point left and say so in the exponent.
    const std::size_t point = text.find('.') == std::string::npos ? text.size() : text.find('.');
    if (point > 1 && chance(50)) {
      std::string digits = text.substr(0, point) + (point < text.size() ? text.substr(point + 1) : "");
      if (digits[0] != '0')
        text = digits.substr(0, 1) + "." + digits.substr(1) + (chance(50) ? "e" : "E+0") + std::to_string(point - 1);
    } else if (chance(50)) {
      text += chance(50) ? "e0" : "E-00";
    }
    return (negative ? "-" : "") + text;
  }

  json::value number() {
    switch (pick(5)) {
      case 0:
        return static_cast<std::int64_t>(pick(12)) - 4;
      case 1:
        return static_cast<double>(static_cast<std::int64_t>(pick(80)) - 30) / 4;
      case 2:
        return static_cast<std::int64_t>(pick(5000)) - 700;
      case 3:
        return static_cast<double>(pick(5));
      default:
        return static_cast<double>(pick(1000)) / 1000;
    }
  }

  std::string text() {
    static const char* const words[] = {"",
                                        "a",
                                        "ab",
                                        "abc",
                                        "a\nb",
                                        "é",
                                        "日本",
                                        "\xF0\x9F\x98\x80",
                                        "\"",
                                        "\\",
                                        "x",
                                        "</",
                                        "\x01",
                                        "None",
                                        "</parameter>\n",
                                        "longer text",
                                        "true",
                                        "12",
                                        "<parameter=a>",
                                        "\n"};
    std::string result = words[pick(std::size(words))];
    if (chance(25)) result += words[pick(std::size(words))];
    return result;
  }

  std::string key() {
    static const char* const keys[] = {"a", "b", "ab", "abc", "name", "é", "k v", "path"};
    return keys[pick(std::size(keys))];
  }

  std::mt19937_64& engine() { return random_; }

 private:
  std::string type(int depth) {
    static const char* const types[] = {"string", "integer", "number", "boolean", "null",
                                        "string", "object",  "array",  "object"};
    return types[pick(depth > 0 ? 9 : 6)];
  }
  std::string space() {
    static const char* const spaces[] = {"", "", "", " ", "\n", "\t ", "\r\n"};
    return spaces[pick(std::size(spaces))];
  }

  std::mt19937_64 random_;
};

}  // namespace longhaul::test
