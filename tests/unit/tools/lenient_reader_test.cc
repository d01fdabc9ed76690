#include "tools/lenient_reader.h"

#include <gtest/gtest.h>

namespace longhaul::tools {
namespace {

const std::vector<GrammarTool>& some_tools() {
  static const std::vector<GrammarTool> tools = [] {
    const auto schema = *compile_schema(*parse_json(
        R"({"type":"object","properties":{"q":{"type":"string"},"n":{"type":["integer","null"]}},"required":["q"]})"));
    return std::vector<GrammarTool>{{"f", schema}, {"m.g", schema}};
  }();
  return tools;
}

LenientMessage read(std::string_view text, const CallFormat& format, bool thinking = false) {
  return read_lenient(text, some_tools(), format, thinking);
}

std::string arguments(const LenientMessage& message, std::size_t i) {
  return i < message.calls.size() ? message.calls[i].name + to_json(message.calls[i].arguments) : "no call";
}

std::string parameter(std::string_view key, std::string_view value) {
  return "<parameter=" + std::string(key) + ">\n" + std::string(value) + "\n</parameter>\n";
}

TEST(LenientReader, WhatIsRightIsReadWithoutRemark) {
  auto message = read("hm\n</think>\nSo.\n<tool_call>\n<function=f>\n" + parameter("q", " a\n</parameter>\nb ") +
                          parameter("n", "None") + "</function>\n</tool_call>\n",
                      nemotron_format(), true);
  EXPECT_EQ(message.reasoning, "hm\n");
  EXPECT_EQ(message.content, "\nSo.\n\n");
  EXPECT_EQ(arguments(message, 0), R"(f{"q":" a\n</parameter>\nb ","n":null})");
  EXPECT_TRUE(message.problems.empty()) << message.problems[0];
  message =
      read("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"q\": \"</tool_call>\"}}\n</tool_call>", hermes_format());
  EXPECT_EQ(arguments(message, 0), R"(f{"q":"</tool_call>"})");
  message =
      read("[{\"name\": \"f\", \"arguments\": {\"q\": \"\"}}, {\"name\": \"m.g\", \"arguments\": {\"q\": \"1\"}}]",
           openai_format());
  EXPECT_EQ(arguments(message, 1), R"(m.g{"q":"1"})");
  message = read("[f(q=\"a, n=1)\", n=3), m.g(q=\"\")]", pythonic_format());
  EXPECT_EQ(arguments(message, 0), "f{\"q\":\"a, n=1)\",\"n\":3}");
  EXPECT_EQ(message.calls.size(), 2U);
  EXPECT_TRUE(message.problems.empty());
}

TEST(LenientReader, MissingOpenersAndClosers) {
  auto message = read("Now: <function=f>\n" + parameter("q", "a") + "</function>\n</tool_call>", nemotron_format());
  EXPECT_EQ(message.content, "Now: ");
  EXPECT_EQ(arguments(message, 0), R"(f{"q":"a"})");
  EXPECT_EQ(message.problems.size(), 1U);
  message = read("<tool_call><function=f>\n<parameter=q>\na\n<parameter=n>\n3\n</tool_call>", nemotron_format());
  EXPECT_TRUE(message.calls.empty());  // the last value has no end that could be told from its text
  message = read("<tool_call><function=f>\n<parameter=q>\na\n<parameter=n>\n3\n</parameter></tool_call> end",
                 nemotron_format());
  EXPECT_EQ(arguments(message, 0), R"(f{"q":"a","n":3})");
  EXPECT_EQ(message.content, " end");
  EXPECT_EQ(message.problems.size(), 2U);
  message = read("why<tool_call>\n<function=f>\n" + parameter("q", "a") + "</function>\n</tool_call>",
                 nemotron_format(), true);
  EXPECT_EQ(message.reasoning, "why");
  EXPECT_EQ(message.calls.size(), 1U);
  // Text about calls is text.
  EXPECT_EQ(read("Use <function=other> here", nemotron_format()).content, "Use <function=other> here");
  message = read("ok {\"name\": \"f\", \"arguments\": {\"q\": \"a\"}}\n", hermes_format());
  EXPECT_EQ(arguments(message, 0), R"(f{"q":"a"})");
}

TEST(LenientReader, AnUnknownToolStaysTextAndHarmsNoOther) {
  const std::string unknown = "<tool_call>\n<function=zap>\n" + parameter("q", "a") + "</function>\n</tool_call>";
  const std::string known = "<tool_call>\n<function=f>\n" + parameter("q", "a") + "</function>\n</tool_call>";
  auto message = read(unknown + known + unknown, nemotron_format());
  EXPECT_EQ(message.content, unknown + unknown);
  EXPECT_EQ(message.calls.size(), 1U);
  EXPECT_EQ(message.problems.size(), 2U);
  EXPECT_FALSE(message.cut_call);
}

TEST(LenientReader, ACutCallIsNone) {
  const std::string whole = "A<tool_call>\n<function=f>\n" + parameter("q", "a") + "</function>";
  for (std::size_t n = std::string("A<tool_call>").size(); n < whole.size(); ++n) {
    auto message = read(whole.substr(0, n), nemotron_format());
    EXPECT_TRUE(message.calls.empty()) << n;
    EXPECT_TRUE(message.cut_call || message.content.size() > 1) << n;
  }
  const std::string json = R"({"name": "f", "arguments": {"q": "a", "n": 1)";
  for (const CallFormat* format : {&hermes_format(), &openai_format()}) {
    auto message = read((format->control ? "<tool_call>" : "") + json, *format);
    EXPECT_TRUE(message.cut_call) << format->name;
    EXPECT_TRUE(message.calls.empty());
    EXPECT_EQ(message.content, "");
  }
  auto message = read("[f(q=\"a\"), m.g(q=\"", pythonic_format());
  EXPECT_TRUE(message.cut_call);
  EXPECT_EQ(message.calls.size(), 1U);
}

TEST(LenientReader, ArgumentsThatDoNotFitAreNoCall) {
  // (A parameter of no known name would be part of the value before it, as the format has it.)
  for (const std::string& body : {parameter("n", "3"), parameter("q", "a") + parameter("n", "x"),
                                  parameter("q", "a") + parameter("q", "b"), parameter("z", "a")}) {
    auto message = read("<tool_call>\n<function=f>\n" + body + "</function>\n</tool_call>", nemotron_format());
    EXPECT_TRUE(message.calls.empty()) << body;
    EXPECT_EQ(message.problems.size(), 1U) << body;
    EXPECT_EQ(message.content, "");
  }
  EXPECT_EQ(read(R"({"name": "f", "arguments": {}})", openai_format()).problems.size(), 1U);
}

TEST(LenientReader, OtherSpellings) {
  auto message = read("```json\n{\"name\": \"f\", \"parameters\": \"{\\\"q\\\": 1}\"}\n```", openai_format());
  EXPECT_TRUE(message.calls.empty());
  EXPECT_EQ(message.problems.size(), 4U);  // fences, parameters, a string, and that q is no string
  message =
      read(R"([{"type": "function", "function": {"name": "f", "arguments": "{\"q\": \"a\"}"}}])", openai_format());
  EXPECT_EQ(arguments(message, 0), R"(f{"q":"a"})");
  message = read("[f(q='it\\'s \"b\"', n=None)]", pythonic_format());
  EXPECT_EQ(arguments(message, 0), R"(f{"q":"it's \"b\"","n":null})");
  for (const char* text : {"[1, 2]", "{\"a\": 1}", "[f]", "f(q=1)", "", "[", "```\n```", "[{\"name\": \"zap\"}]"}) {
    for (const CallFormat* format : {&openai_format(), &pythonic_format()}) {
      EXPECT_EQ(read(text, *format).content, text) << format->name;
      EXPECT_TRUE(read(text, *format).calls.empty());
    }
  }
}

}  // namespace
}  // namespace longhaul::tools
