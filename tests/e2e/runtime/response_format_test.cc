// Answers and plain continuations in a given form, by the real program: whatever the model would say, what it says
// fits; also after a stop in between, and from an agent file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/trajectory_fixture.h"
#include "tools/json_schema.h"

namespace longhaul::testing_support {
namespace {

using testing::HasSubstr;

constexpr const char* kSchema = R"({"type":"object","properties":{"total":{"type":"integer","minimum":0},
  "words":{"type":"array","items":{"enum":["low","high"]},"maxItems":3}},"required":["total","words"],
  "additionalProperties":false})";

class ResponseForm : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_builtin_model()) GTEST_SKIP() << "the built-in model is not in this checkout";
    write_all(folder_.file("schema.json"), kSchema);
    write_all(folder_.file("answer.gbnf"), "root ::= [A-Za-z0-9 =.,]{1,60} ask\nask ::= \"??\" | \"(\" ask \")\"\n");
  }
  std::vector<std::string> run_arguments(const std::string& store) {
    return {"run", "--json", "--store", folder_.file(store), "--session", "s"};
  }
  RunResult run(std::vector<std::string> arguments, const std::vector<std::string>& more, const std::string& task) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    arguments.push_back(task);
    return run_program(arguments, {});
  }
  std::string answer_of(const RunResult& result) {
    std::string text = "(no answer)";
    std::istringstream lines(result.out);
    for (std::string line; std::getline(lines, line);) {
      auto value = parse_json(line);
      if (value && value->at("event") == "answer") text = value->at("text").as_string();
    }
    return text;
  }
  json::value tokens_of(const std::string& store) {
    const RunResult result = run_program({"sessions", "show", "--json", "--store", folder_.file(store), "s"});
    auto value = parse_json(result.out);
    return value ? value->at("tokens") : json::value();
  }

  TemporaryFolder folder_;
  const std::string task_ = "1) calculate 4821 * 3\n2) add 17\n3) store it under total";
};

TEST_F(ResponseForm, AnswerFitsItsSchema) {
  write_all(folder_.file("agent.lua"), "return { system = \"Answer.\", tools = {} }");
  for (const char* temperature : {"0", "0.7", "1.5"}) {
    const RunResult result = run(run_arguments(std::string("t") + temperature),
                                 {"--response-schema", folder_.file("schema.json"), "--temperature", temperature,
                                  "--agent", folder_.file("agent.lua")},
                                 "how much is it?");
    ASSERT_EQ(result.status, 0) << result.err << result.out;
    auto answer = parse_json(answer_of(result));
    ASSERT_TRUE(answer.has_value()) << answer_of(result);
    EXPECT_TRUE(tools::validate(*parse_json(kSchema), *answer)) << answer_of(result);
  }
}

TEST_F(ResponseForm, StoppedAndResumedIsTheSameAndStillInForm) {
  const std::vector<std::string> form{"--response-regex", "[A-Za-z0-9 =.,]{1,100}!!", "--temperature", "0.3"};
  const RunResult whole = run(run_arguments("whole"), form, task_);
  ASSERT_EQ(whole.status, 0) << whole.err;
  EXPECT_THAT(whole.out, HasSubstr("\"event\":\"tool_call\""));
  EXPECT_THAT(answer_of(whole), testing::MatchesRegex("[A-Za-z0-9 =.,]+!!"));
  std::vector<std::string> limited = form;
  limited.insert(limited.end(), {"--max-turns", "1"});
  const RunResult first = run(run_arguments("parts"), limited, task_);
  ASSERT_EQ(first.status, 1) << first.out;
  const RunResult rest =
      run_program({"resume", "--json", "--store", folder_.file("parts"), "--max-turns", "50", "--speculate", "3", "s"});
  ASSERT_EQ(rest.status, 0) << rest.err;
  EXPECT_EQ(answer_of(rest), answer_of(whole));
  EXPECT_EQ(tokens_of("parts"), tokens_of("whole"));
  // Another form for the next message, and none for the one after.
  const RunResult grammar = run_program({"resume", "--json", "--store", folder_.file("parts"), "--response-grammar",
                                         folder_.file("answer.gbnf"), "s", "what is the total?"},
                                        {});
  ASSERT_EQ(grammar.status, 0) << grammar.err;
  EXPECT_THAT(answer_of(grammar), testing::MatchesRegex("[A-Za-z0-9 =.,]+\\(*[?][?]\\)*"));
  const RunResult free = run_program(
      {"resume", "--json", "--store", folder_.file("parts"), "--response-free", "s", "what is the total?"}, {});
  ASSERT_EQ(free.status, 0) << free.err;
  EXPECT_THAT(answer_of(free), testing::Not(HasSubstr("??")));
}

TEST_F(ResponseForm, AgentFilesSayItToo) {
  for (const char* form : {"schema = { type = \"integer\" }", "schema = [[{\"type\": \"integer\"}]]",
                           "regex = \"-?[0-9]{1,12}\"", "grammar = 'root ::= [0-9]{1,12}'"}) {
    write_all(folder_.file("agent.lua"),
              std::string("return { system = \"You are a careful assistant.\", tools = { \"calc\" },\n"
                          "  limits = { turns = 6, message_tokens = 100 },\n  response_format = { ") +
                  form + " } }\n");
    const RunResult result = run(run_arguments("agent"), {"--agent", folder_.file("agent.lua")}, "calculate 2 + 3");
    ASSERT_EQ(result.status, 0) << form << result.err;
    auto answer = parse_json(answer_of(result));
    EXPECT_TRUE(answer && tools::validate(*parse_json(R"({"type":"integer"})"), *answer)) << form << answer_of(result);
    std::filesystem::remove_all(folder_.file("agent"));
  }
}

TEST_F(ResponseForm, BadFormsAreRefusedBeforeASessionIsMade) {
  const struct {
    const char *file, *text, *option, *message;
  } cases[] = {
      {"a.gbnf", "root ::= x\nx ::= y", "--response-grammar",
       "a.gbnf: response_format: grammar: line 2, column 7: the rule \"y\" is not defined"},
      {"a.json", R"({"type":"string","pattern":"(a)\\1"})", "--response-schema", "a.json: response_format: schema: "},
      {"b.json", R"({"typ":"string"})", "--response-schema", "typ"},
      {"c.json", R"({"type")", "--response-schema", "c.json: response_format: schema: "},
      {"d.json", "[1]", "--response-schema", "expected a JSON Schema"},
  };
  for (const auto& c : cases) {
    write_all(folder_.file(c.file), c.text);
    const RunResult result = run(run_arguments("bad"), {c.option, folder_.file(c.file)}, "hello");
    EXPECT_EQ(result.status, 1);
    EXPECT_THAT(result.err, HasSubstr(c.message));
  }
  EXPECT_EQ(run(run_arguments("bad"), {"--response-regex", "a(", "--response-free"}, "hello").status, 1);
  EXPECT_EQ(run(run_arguments("bad"), {"--response-regex", "a", "--response-schema", "x"}, "hello").status, 2);
  EXPECT_THAT(run(run_arguments("bad"), {"--response-grammar", folder_.file("none")}, "hello").err, HasSubstr("none"));
  const RunResult list = run_program({"sessions", "list", "--json", "--store", folder_.file("bad")}, {});
  EXPECT_EQ(list.out, "");
}

TEST_F(ResponseForm, GenerateHoldsTheWholeTextToIt) {
  auto generate = [&](std::vector<std::string> form) {
    std::vector<std::string> arguments{"generate", "--json",        "--prompt", "the answer is", "--max-tokens",
                                       "300",      "--temperature", "1",        "--seed",        "5"};
    arguments.insert(arguments.end(), form.begin(), form.end());
    const RunResult result = run_program(arguments, {});
    EXPECT_EQ(result.status, 0) << result.err;
    auto value = parse_json(result.out);
    return value ? *value : json::value();
  };
  json::value regex = generate({"--regex", "(yes|no){2,5}, [A-Z][a-z]{1,9}!"});
  EXPECT_EQ(regex.at("finish"), "stop");
  EXPECT_THAT(std::string(regex.at("text").as_string()), testing::ContainsRegex("^(yes|no)+, [A-Z][a-z]+!"));
  json::value grammar = generate({"--grammar", folder_.file("answer.gbnf")});
  EXPECT_THAT(std::string(grammar.at("text").as_string()), testing::ContainsRegex("^[A-Za-z0-9 =.,]+\\(*[?][?]"));
  json::value schema = generate({"--schema", folder_.file("schema.json")});
  EXPECT_EQ(schema.at("finish"), "stop");
  // The stop token is part of the text that is shown with --json.
  const std::string text(schema.at("text").as_string());
  auto answer = parse_json(text.substr(0, text.rfind('}') + 1));
  ASSERT_TRUE(answer.has_value()) << text;
  EXPECT_TRUE(tools::validate(*parse_json(kSchema), *answer)) << text;
  EXPECT_EQ(run_program({"generate", "--prompt", "a", "--regex", "a", "--grammar", "b"}, {}).status, 2);
}

}  // namespace
}  // namespace longhaul::testing_support
