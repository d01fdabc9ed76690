#include "tools/grammar_check.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>

#include "tools/grammar.h"
#include "tools/grammar_batch.h"

namespace longhaul::tools {
namespace {

// The place that ends the compiler's messages: " at #/..." up to a space.
std::string place_of(std::string_view message) {
  const std::size_t at = message.rfind(" #");
  if (at == message.npos) return "#";
  const std::string_view rest = message.substr(at + 1);
  return std::string(rest.substr(0, rest.find_first_of(" ,:")));
}

}  // namespace

GrammarChecker::GrammarChecker(const model::Tokenizer* tokenizer)
    : tokenizer_(tokenizer), index_(TokenIndex::build(tokenizer != nullptr ? tokenizer->vocabulary() : vocabulary_)) {}

Result<std::string> GrammarChecker::check_line(std::string_view line) {
  auto read = read_batch_line(line);
  if (!read && read.error().code == ErrorCode::kResourceExhausted) {
    return to_json(json::object{{"status", "refused"},
                                {"compile_us", 0.0},
                                {"reason", read.error().message},
                                {"place", "#"},
                                {"tests", json::array{}}});
  }
  if (!read) return read.error();
  const BatchLine& batch = **read;

  const auto begin = std::chrono::steady_clock::now();
  auto compiled = compile_schema(*batch.schema, batch.options);
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
    for (const BatchTest& test : batch.tests) {
      State end = grammar->start();
      if (tokenizer_ == nullptr) {
        end = grammar->advance(end, test.text);
      } else {
        for (const TokenId token : tokenizer_->encode_content(test.text)) {
          end = grammar->mask(end)->allowed(token) ? grammar->advance(end, token) : State{};
          if (end.dead()) break;
        }
      }
      json::object result{{"accepted", !end.dead() && grammar->complete(end)}};
      if (test.valid != nullptr) result["valid"] = *test.valid;
      results.push_back(std::move(result));
    }
  }
  answer["tests"] = std::move(results);
  return to_json(answer);
}

}  // namespace longhaul::tools
