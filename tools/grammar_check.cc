#include "tools/grammar_check.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <chrono>
#include <cmath>

#include "tools/grammar.h"

namespace longhaul::tools {
namespace {

// The text of a value inside the line, without whitespace around it.
Result<std::string_view> raw_text(simdjson::ondemand::value value) {
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
  return text;
}

// The place that ends the compiler's messages: " at #/..." up to a space.
std::string place_of(std::string_view message) {
  const std::size_t at = message.rfind(" #");
  if (at == message.npos) return "#";
  const std::string_view rest = message.substr(at + 1);
  return std::string(rest.substr(0, rest.find_first_of(" ,:")));
}

}  // namespace

GrammarChecker::GrammarChecker() : index_(TokenIndex::build(vocabulary_)) {}

Result<std::string> GrammarChecker::check_line(std::string_view line) {
  // The line as values first: this also finds what is not JSON at all.
  auto parsed = parse_json(line, {.bytes_max = std::size_t{256} << 20, .depth_max = 2'000});
  if (!parsed && parsed.error().code == ErrorCode::kResourceExhausted) {
    return to_json(json::object{{"status", "refused"},
                                {"compile_us", 0.0},
                                {"reason", parsed.error().message},
                                {"place", "#"},
                                {"tests", json::array{}}});
  }
  if (!parsed) return parsed.error();
  const json::object* object = parsed->if_object();
  if (object == nullptr) return invalid_argument("the line is not an object");
  const json::value* schema = object->if_contains("schema");
  if (schema == nullptr) return invalid_argument("the line has no \"schema\"");
  SchemaOptions options;
  if (const json::value* format = object->if_contains("format")) {
    if (!format->is_string() || (format->get_string() != "assert" && format->get_string() != "annotate")) {
      return invalid_argument("\"format\" is neither \"assert\" nor \"annotate\": " + to_json(*format));
    }
    options.formats_annotate = format->get_string() == "annotate";
  }
  const json::value* tests = object->if_contains("tests");
  if (tests != nullptr && !tests->is_array()) return invalid_argument("\"tests\" is not a list");

  const auto begin = std::chrono::steady_clock::now();
  auto compiled = compile_schema(*schema, options);
  std::shared_ptr<Grammar> grammar;
  Error refused;
  if (compiled) {
    auto made = Grammar::for_json(index_, *compiled);
    if (made) {
      grammar = std::move(*made);
    } else {
      refused = made.error();
    }
  } else {
    refused = compiled.error();
  }
  const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
  json::object answer;
  answer["status"] = grammar != nullptr ? "ok" : "refused";
  answer["compile_us"] = std::round(took.count() * 10) / 10;
  json::array results;
  if (grammar == nullptr) {
    answer["reason"] = refused.message;
    answer["place"] = place_of(refused.message);
  } else {
    if (!(*compiled)->annotations().empty()) {
      json::array notes;
      for (const SchemaNote& note : (*compiled)->annotations()) {
        notes.push_back(json::object{{"place", note.place}, {"keyword", note.keyword}});
      }
      answer["annotations"] = std::move(notes);
    }
    simdjson::ondemand::parser parser;
    const simdjson::padded_string padded(line);
    simdjson::ondemand::document document;
    if (auto error = parser.iterate(padded).get(document)) return invalid_argument(simdjson::error_message(error));
    simdjson::ondemand::array list;
    if (tests != nullptr && document["tests"].get_array().get(list) == simdjson::SUCCESS) {
      std::size_t i = 0;
      for (auto element : list) {
        const json::value& test = tests->get_array()[i];
        if (!test.is_object() || !test.get_object().contains("data")) {
          return invalid_argument(fmt::format("tests[{}] has no \"data\"", i));
        }
        simdjson::ondemand::value data;
        if (auto error = element["data"].get(data)) return invalid_argument(simdjson::error_message(error));
        auto text = raw_text(data);
        if (!text) return text.error();
        const State end = grammar->advance(grammar->start(), *text);
        json::object result{{"accepted", !end.dead() && grammar->complete(end)}};
        if (const json::value* valid = test.get_object().if_contains("valid")) result["valid"] = *valid;
        results.push_back(std::move(result));
        ++i;
      }
    }
  }
  answer["tests"] = std::move(results);
  return to_json(answer);
}

}  // namespace longhaul::tools
