#include "tools/grammar_batch.h"

#include <fmt/format.h>
#include <simdjson.h>

namespace longhaul::tools {
namespace {

// The text of a value inside the line, without whitespace around it.
Result<std::string> raw_text(simdjson::ondemand::value value) {
  std::string_view text;
  simdjson::ondemand::json_type type;
  if (auto error = value.type().get(type)) return invalid_argument(simdjson::error_message(error));
  if (type == simdjson::ondemand::json_type::array) {
    simdjson::ondemand::array array;
    if (auto error = value.get_array().get(array)) return invalid_argument(simdjson::error_message(error));
    if (auto error = array.raw_json().get(text)) return invalid_argument(simdjson::error_message(error));
  } else if (type == simdjson::ondemand::json_type::object) {
    simdjson::ondemand::object object;
    if (auto error = value.get_object().get(object)) return invalid_argument(simdjson::error_message(error));
    if (auto error = object.raw_json().get(text)) return invalid_argument(simdjson::error_message(error));
  } else {
    text = value.raw_json_token();
  }
  while (!text.empty() && (text.back() == ' ' || text.back() == '\n' || text.back() == '\t' || text.back() == '\r')) {
    text.remove_suffix(1);
  }
  return std::string(text);
}

}  // namespace

Result<std::unique_ptr<BatchLine>> read_batch_line(std::string_view line) {
  // The line as values first: this also finds what is not JSON at all.
  auto parsed = parse_json(line, {.bytes_max = std::size_t{256} << 20, .depth_max = 2'000});
  if (!parsed) return parsed.error();
  auto batch = std::make_unique<BatchLine>();
  batch->document = std::move(*parsed);
  const json::object* object = batch->document.if_object();
  if (object == nullptr) return invalid_argument("the line is not an object");
  batch->schema = object->if_contains("schema");
  if (batch->schema == nullptr) return invalid_argument("the line has no \"schema\"");
  if (const json::value* format = object->if_contains("format")) {
    if (!format->is_string() || (format->get_string() != "assert" && format->get_string() != "annotate")) {
      return invalid_argument("\"format\" is neither \"assert\" nor \"annotate\": " + to_json(*format));
    }
    batch->options.formats_annotate = format->get_string() == "annotate";
  }
  const json::value* tests = object->if_contains("tests");
  if (tests == nullptr) return batch;
  if (!tests->is_array()) return invalid_argument("\"tests\" is not a list");

  simdjson::ondemand::parser parser;
  const simdjson::padded_string padded(line);
  simdjson::ondemand::document document;
  if (auto error = parser.iterate(padded).get(document)) return invalid_argument(simdjson::error_message(error));
  simdjson::ondemand::array list;
  if (auto error = document["tests"].get_array().get(list)) return invalid_argument(simdjson::error_message(error));
  for (auto element : list) {
    const std::size_t i = batch->tests.size();
    const json::value* test = i < tests->get_array().size() ? &tests->get_array()[i] : nullptr;
    if (test == nullptr || !test->is_object() || !test->get_object().contains("data")) {
      return invalid_argument(fmt::format("tests[{}] has no \"data\"", i));
    }
    simdjson::ondemand::value data;
    if (auto error = element["data"].get(data)) return invalid_argument(simdjson::error_message(error));
    auto text = raw_text(data);
    if (!text) return text.error();
    batch->tests.push_back({std::move(*text), test->get_object().if_contains("valid")});
  }
  return batch;
}

}  // namespace longhaul::tools
