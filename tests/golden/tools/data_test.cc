// Public cases: the JSON Schema Test Suite against the grammar, and calls there and back.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "runtime/base/file.h"
#include "tests/support/test_vocabulary.h"
#include "tools/call_format.h"
#include "tools/grammar_check.h"
#include "tools/message_parser.h"

namespace longhaul::tools {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> lines_of(const fs::path& path) {
  std::ifstream in(path);
  EXPECT_TRUE(in.good()) << path;
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

const fs::path kGolden = fs::path(LONGHAUL_SOURCE_DIR) / "tests/golden/tools";

struct Counts {
  int accepted_schemas = 0, refused_schemas = 0, right = 0, wrong = 0, lost = 0;
};

// Every test of an accepted schema must come out as it says.
void check_schema_line(GrammarChecker& checker, const std::string& line, const std::string& name, Counts& counts) {
  auto answer = checker.check_line(line);
  ASSERT_TRUE(answer) << name << ": " << answer.error().message;
  const json::value result = *parse_json(*answer);
  const json::array& tests = result.at("tests").get_array();
  if (result.at("status").get_string() != "ok") {
    ++counts.refused_schemas;
    EXPECT_EQ(result.at("status").get_string(), "refused");
    EXPECT_TRUE(std::string_view(result.at("place").get_string()).starts_with("#")) << *answer;
    EXPECT_TRUE(tests.empty());
    counts.lost += static_cast<int>(parse_json(line)->at("tests").get_array().size());
    return;
  }
  ++counts.accepted_schemas;
  for (std::size_t i = 0; i < tests.size(); ++i) {
    const bool right = tests[i].at("accepted") == tests[i].at("valid");
    (right ? counts.right : counts.wrong) += 1;
    EXPECT_TRUE(right) << name << ", test " << i << ": " << line.substr(0, 600);
  }
}

TEST(Golden, JsonSchemaTestSuite) {
  GrammarChecker checker;
  Counts counts;
  for (const std::string& line : lines_of(kGolden / "json_schema_test_suite/suite.jsonl")) {
    check_schema_line(checker, line, "suite", counts);
  }
  EXPECT_EQ(counts.wrong, 0);
  // Falls when a keyword that was enforced is lost.
  EXPECT_GE(counts.accepted_schemas, 169);
  EXPECT_GE(counts.right, 556);
}

// Each keyword, and the combinations that take most: none is refused, none is wrong.
TEST(Golden, EveryKeyword) {
  GrammarChecker checker;
  Counts counts;
  for (const std::string& line : lines_of(kGolden / "keywords/keywords.jsonl")) {
    check_schema_line(checker, line, "keywords", counts);
  }
  EXPECT_EQ(counts.wrong, 0);
  EXPECT_EQ(counts.refused_schemas, 0);
  EXPECT_GE(counts.right, 222);
}

TEST(Golden, AllPublicSchemas) {
  const char* data = std::getenv("LONGHAUL_DATA");
  if (data == nullptr) GTEST_SKIP() << "LONGHAUL_DATA names no folder with the public schemas";
  GrammarChecker checker;
  Counts suite, bench;
  auto run = [&](const fs::path& folder, bool annotate, Counts& counts) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (entry.path().extension() != ".json") continue;
      const json::value document = *parse_json(*read_file(entry.path().string(), 64 << 20));
      json::array groups;
      if (document.is_array()) {
        groups = document.get_array();
      } else {
        groups.push_back(document);
      }
      for (const json::value& group : groups) {
        json::object line{{"schema", group.at("schema")}, {"format", annotate ? "annotate" : "assert"}};
        line["tests"] = group.at("tests");
        check_schema_line(checker, to_json(line), entry.path().filename().string(), counts);
      }
    }
  };
  run(fs::path(data) / "schemas/json-schema-test-suite/draft2020-12", true, suite);
  run(fs::path(data) / "schemas/maskbench", false, bench);
  for (const auto& [name, c] : std::map<std::string, Counts>{{"suite", suite}, {"maskbench", bench}}) {
    EXPECT_EQ(c.wrong, 0) << name;
    std::printf("%s: %d schemas accepted, %d refused; %d tests right, %d wrong, %d of refused schemas\n", name.c_str(),
                c.accepted_schemas, c.refused_schemas, c.right, c.wrong, c.lost);
  }
}

// Calls as the template would render them, read back by the parser, rendered again.
void round_trip(const fs::path& path, const CallFormat& format, std::map<std::string, int>& counts) {
  static const model::Vocabulary vocabulary = test::small_vocabulary();
  for (const std::string& line : lines_of(path)) {
    const json::value document = *parse_json(line);
    const json::object& o = document.get_object();
    const std::string id(o.at("id").get_string());
    auto flag = [&](const char* name) {
      const json::value* value = o.if_contains(name);
      return value != nullptr && value->is_bool() && value->get_bool();
    };
    std::vector<GrammarTool> tools;
    std::map<std::string, std::vector<std::string>> keys;
    bool loaded = true;
    for (const json::value& tool : o.at("tools").get_array()) {
      const json::object& function = tool.at("function").get_object();
      const std::string name(function.at("name").get_string());
      auto schema = compile_schema(function.at("parameters"));
      if (!schema) {
        EXPECT_NE(schema.error().message.find("#/"), std::string::npos) << schema.error().message;
        loaded = false;
        break;
      }
      tools.push_back({name, *schema});
      if (const auto* properties = function.at("parameters").get_object().if_contains("properties")) {
        for (const auto& p : properties->get_object()) keys[name].emplace_back(p.key());
      }
    }
    MessageGrammarOptions options;
    options.stop = {*vocabulary.control("<|im_end|>")};
    options.unnamed_parameters = true;
    options.format = format;
    auto grammar =
        loaded ? Grammar::for_message(vocabulary, tools, options) : Result<std::shared_ptr<Grammar>>(Error{});
    if (!grammar) {
      ++counts["refused at load"];
      continue;
    }
    std::vector<RenderedCall> written;
    for (const json::value& call : o.at("calls").get_array()) {
      const std::string name(call.at("name").get_string());
      written.push_back({call.at("name").get_string(), &call.at("arguments").get_object(), keys[name]});
    }
    auto first = render_calls(written, format);
    if (!first && format.arguments == CallFormat::Arguments::kPython) {
      ++counts["not to be written"];
      continue;
    }
    ASSERT_TRUE(first) << id << ": " << first.error().message;
    const std::string text = *first;
    // Control tokens stand only where the format has them; inside values their names are text.
    MessageParser parser(*grammar, false);
    bool accepted = true;
    for (std::string_view rest = text; accepted && !rest.empty();) {
      TokenId token = static_cast<TokenId>(test::control_names().size() + static_cast<std::uint8_t>(rest[0]));
      std::size_t n = 1;
      for (const char* name : {"<tool_call>", "</tool_call>"}) {
        if (!format.control) break;
        const TokenId control = *vocabulary.control(name);
        if (rest.substr(0, std::string_view(name).size()) == name && parser.allows(control)) {
          token = control;
          n = std::string_view(name).size();
        }
      }
      accepted = parser.accept(token).has_value();
      rest.remove_prefix(n);
    }
    if (accepted && format.control) {  // it may end here
      accepted = parser.allows(*vocabulary.control("<|im_end|>"));
    }
    if (flag("must_reject")) {
      EXPECT_FALSE(accepted) << id;
      ++counts["rejected"];
      continue;
    }
    if (const json::value* valid = o.if_contains("schema_valid"); valid != nullptr && !valid->get_bool()) {
      ++counts["against its schema"];
      continue;
    }
    ASSERT_TRUE(accepted) << id << "\n" << text;
    const ParsedMessage message = parser.result();
    const json::array& calls = o.at("calls").get_array();
    ASSERT_EQ(message.calls.size(), calls.size()) << id;
    std::string again;
    for (std::size_t i = 0; i < calls.size(); ++i) {
      EXPECT_EQ(message.calls[i].name, std::string(calls[i].at("name").get_string()));
      const bool exact = !flag("ambiguous_in_xml") || format.arguments != CallFormat::Arguments::kParameters;
      if (exact) {
        EXPECT_TRUE(json_equal(message.calls[i].arguments, calls[i].at("arguments")))
            << id << ": " << to_json(message.calls[i].arguments);
      }
      written[i] = {message.calls[i].name, &message.calls[i].arguments, keys[message.calls[i].name]};
    }
    auto rendered = render_calls(written, format);
    ASSERT_TRUE(rendered) << id;
    again = *rendered;
    if (flag("ambiguous_in_xml") && format.arguments == CallFormat::Arguments::kParameters) {
      ++counts["ambiguous"];
      continue;
    }
    EXPECT_EQ(again, text) << id;
    ++counts["there and back"];
  }
}

TEST(Golden, CallsThereAndBack) {
  std::map<std::string, int> counts;
  for (const CallFormat* format : {&nemotron_format(), &hermes_format(), &openai_format(), &pythonic_format()}) {
    counts.clear();
    round_trip(kGolden / "calls/bfcl_sample.jsonl", *format, counts);
    round_trip(kGolden / "calls/hostile.jsonl", *format, counts);
    // Names that are no Python names cannot be arguments of pythonic calls.
    EXPECT_GE(counts["there and back"], format->arguments == CallFormat::Arguments::kPython ? 84 : 85) << format->name;
    EXPECT_GE(counts["rejected"], 2) << format->name;
  }
}

TEST(Golden, AllPublicCalls) {
  const char* data = std::getenv("LONGHAUL_DATA");
  if (data == nullptr) GTEST_SKIP() << "LONGHAUL_DATA names no folder with the public calls";
  for (const char* name : {"bfcl_calls.jsonl", "hostile_roundtrip.jsonl"}) {
    for (const CallFormat* format : {&nemotron_format(), &hermes_format(), &openai_format(), &pythonic_format()}) {
      std::map<std::string, int> counts;
      round_trip(fs::path(data) / "calls" / name, *format, counts);
      for (const auto& [what, n] : counts) std::printf("%s, %s: %d %s\n", name, format->name.c_str(), n, what.c_str());
    }
  }
}

}  // namespace
}  // namespace longhaul::tools
