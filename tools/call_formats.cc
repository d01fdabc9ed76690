// The formats besides the one that call_format.cc renders, and what they share.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tools/call_format.h"

namespace longhaul::tools {
namespace {

CallFormat make_hermes() {
  CallFormat format;
  format.name = "hermes";
  format.arguments = CallFormat::Arguments::kJson;
  format.function_open = "\n{\"name\": ";
  format.function_name_end = ", \"arguments\": ";
  format.parameter_open = format.parameter_key_end = format.value_open = format.value_close = "";
  format.function_close = "}";
  return format;
}

CallFormat make_openai() {
  CallFormat format = make_hermes();
  format.name = "openai";
  format.control = false;
  format.single = true;
  format.call_open = "[";
  format.call_close = "]";
  format.call_separator = ", ";
  format.function_open = "{\"name\": ";
  format.function_close_end = "";
  return format;
}

CallFormat make_pythonic() {
  CallFormat format = make_openai();
  format.name = "pythonic";
  format.arguments = CallFormat::Arguments::kPython;
  format.single = false;
  format.function_open = "";
  format.function_name_end = "(";
  format.parameter_open = ", ";
  format.parameter_key_end = "=";
  format.function_close = ")";
  return format;
}

void python(const json::value& value, std::string& out) {
  switch (value.kind()) {
    case json::kind::null:
      out += "None";
      return;
    case json::kind::bool_:
      out += value.get_bool() ? "True" : "False";
      return;
    case json::kind::array: {
      out += '[';
      bool first = true;
      for (const json::value& element : value.get_array()) {
        if (!first) out += ", ";
        first = false;
        python(element, out);
      }
      out += ']';
      return;
    }
    case json::kind::object: {
      out += '{';
      bool first = true;
      for (const auto& member : value.get_object()) {
        if (!first) out += ", ";
        first = false;
        out += to_json(json::value(member.key()));
        out += ": ";
        python(member.value(), out);
      }
      out += '}';
      return;
    }
    default:
      out += to_json_spaced(value);
  }
}

bool word_char(char c) {
  return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

}  // namespace

const CallFormat& hermes_format() {
  static const CallFormat format = make_hermes();
  return format;
}
const CallFormat& openai_format() {
  static const CallFormat format = make_openai();
  return format;
}
const CallFormat& pythonic_format() {
  static const CallFormat format = make_pythonic();
  return format;
}

Result<CallFormat> call_format(std::string_view name) {
  for (const CallFormat* format : {&nemotron_format(), &hermes_format(), &openai_format(), &pythonic_format()}) {
    if (format->name == name) return *format;
  }
  return not_found(fmt::format("no call format is named \"{}\": nemotron, hermes, openai, pythonic", name));
}

std::string render_python(const json::value& value) {
  std::string out;
  python(value, out);
  return out;
}

Result<json::value> read_python(std::string_view text, bool single_quotes) {
  // Outside quotes only the three names differ from JSON; inside single quotes, the quotes.
  std::string converted;
  for (std::size_t i = 0; i < text.size();) {
    const char quote = text[i];
    if (quote == '"' || (quote == '\'' && single_quotes)) {
      converted += '"';
      for (++i; i < text.size() && text[i] != quote; ++i) {
        if (text[i] == '\\' && i + 1 < text.size()) {
          if (text[i + 1] != '\'') converted += '\\';
          converted += text[++i];
        } else if (text[i] == '"') {
          converted += "\\\"";
        } else {
          converted += text[i];
        }
      }
      if (i == text.size()) return invalid_argument("a string has no end");
      converted += '"';
      ++i;
      continue;
    }
    if (!word_char(quote)) {
      converted += text[i++];
      continue;
    }
    std::size_t end = i;
    while (end < text.size() && word_char(text[end])) ++end;
    const std::string_view word = text.substr(i, end - i);
    if (word == "true" || word == "false" || word == "null")
      return invalid_argument(fmt::format("\"{}\" is no literal", word));
    converted += word == "True" ? "true" : word == "False" ? "false" : word == "None" ? "null" : word;
    i = end;
  }
  return parse_json(converted);
}

Result<std::string> render_calls(const std::vector<RenderedCall>& calls, const CallFormat& format) {
  std::string text;
  const bool list = !format.control && !(format.single && calls.size() == 1);
  if (list && !calls.empty()) text += format.call_open;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const RenderedCall& call = calls[i];
    if (i > 0) text += format.control ? "\n" : format.call_separator;
    if (format.arguments == CallFormat::Arguments::kParameters) {
      auto one = render_call(call.name, *call.arguments, call.keys, format);
      if (!one) return one.error();
      text += *one;
      continue;
    }
    if (format.control) text += format.call_open;
    text += format.function_open;
    if (format.arguments == CallFormat::Arguments::kJson) {
      text += to_json(json::value(call.name)) + format.function_name_end + to_json_spaced(*call.arguments);
    } else {
      text += std::string(call.name) + format.function_name_end;
      bool first = true;
      for (const auto& member : *call.arguments) {
        if (!is_python_name(member.key())) {
          return invalid_argument(
              fmt::format("argument name \"{}\" of {} is no Python name", std::string_view(member.key()), call.name));
        }
        if (!first) text += format.parameter_open;
        first = false;
        text += std::string(member.key()) + format.parameter_key_end + render_python(member.value());
      }
    }
    text += format.function_close + format.function_close_end;
    if (format.control) text += format.call_close;
  }
  if (list && !calls.empty()) text += format.call_close;
  return text;
}

bool is_python_name(std::string_view name) {
  return !name.empty() && !(name[0] >= '0' && name[0] <= '9') && std::all_of(name.begin(), name.end(), word_char);
}

}  // namespace longhaul::tools
