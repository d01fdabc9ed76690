#include "runtime/response_format.h"

#include <fmt/format.h>

namespace longhaul::runtime {

Result<json::object> normal_response_format(const json::object& format) {
  if (format.empty()) return format;
  json::object out;
  for (const auto& field : format) {
    const std::string_view key = field.key();
    const json::value& value = field.value();
    if (key != "schema" && key != "regex" && key != "grammar") {
      return invalid_argument(
          fmt::format("response_format: unknown field \"{}\", expected schema, regex or grammar", key));
    }
    if (key == "schema" && value.is_string()) {
      auto schema = parse_json(value.get_string());
      if (!schema) return with_context("response_format: schema", schema.error());
      out[key] = std::move(*schema);
    } else if (key == "schema" ? value.is_object() || value.is_bool() : value.is_string()) {
      out[key] = value;
    } else if (key == "schema" && value.is_array() && value.get_array().empty()) {
      out[key] = json::object{};  // an empty Lua table
    } else {
      return invalid_argument(fmt::format("response_format: {} is {}, expected {}", key, to_json(value),
                                          key == "schema" ? "a JSON Schema" : "a text"));
    }
  }
  if (out.size() != 1) return invalid_argument("response_format: one of schema, regex and grammar, not several");
  const json::value& value = out.begin()->value();
  if (out.contains("schema") && !value.is_object() && !value.is_bool()) {
    return invalid_argument(fmt::format("response_format: schema is {}, expected a JSON Schema", to_json(value)));
  }
  return out;
}

Result<tools::ResponseFormat> compile_response_format(const json::object& given) {
  tools::ResponseFormat response;
  auto format = normal_response_format(given);
  if (!format) return format.error();
  if (const json::value* schema = format->if_contains("schema")) {
    auto compiled = tools::compile_schema(*schema, {.refuse_unknown = true});
    if (!compiled) return with_context("response_format: schema", compiled.error());
    response.schema = std::move(*compiled);
  } else if (const json::value* regex = format->if_contains("regex")) {
    auto compiled = tools::compile_regex(regex->get_string());
    if (!compiled) return with_context("response_format: regex", compiled.error());
    response.text = std::move(*compiled);
  } else if (const json::value* grammar = format->if_contains("grammar")) {
    auto compiled = tools::compile_ebnf(grammar->get_string());
    if (!compiled) return with_context("response_format: grammar", compiled.error());
    response.text = std::move(*compiled);
  }
  return response;
}

}  // namespace longhaul::runtime
