// The built-in model's own tokens through the grammar of the shipped tools: what it was trained to write is accepted,
// token by token as its tokenizer cuts it.
#include <gtest/gtest.h>

#include <filesystem>

#include "model/tokenizer.h"
#include "runtime/base/file.h"
#include "tools/message_parser.h"
#include "tools/registry.h"

namespace longhaul::tools {
namespace {

namespace fs = std::filesystem;

// The schemas as the plugins' sources have them: name = "...", parameters = [[...]].
std::vector<GrammarTool> shipped_tools() {
  std::vector<GrammarTool> tools;
  for (const auto& entry : fs::directory_iterator(fs::path(LONGHAUL_SOURCE_DIR) / "tools/plugins")) {
    if (entry.path().extension() != ".lua") continue;
    const std::string source = *read_file(entry.path().string(), 1 << 20);
    const std::size_t name = source.find("name = \""), parameters = source.find("parameters = [[");
    if (name == std::string::npos || parameters == std::string::npos) {
      ADD_FAILURE() << entry.path() << " is written otherwise";
      continue;
    }
    const std::size_t from = name + 8, begin = parameters + 15;
    auto schema = compile_schema(*parse_json(source.substr(begin, source.find("]]", begin) - begin)));
    EXPECT_TRUE(schema) << entry.path() << ": " << schema.error().message;
    if (schema) tools.push_back({source.substr(from, source.find('"', from) - from), *schema});
  }
  return tools;
}

TEST(Pico, ItsTokensPassTheGrammar) {
  const std::string folder = std::string(LONGHAUL_SOURCE_DIR) + "/model/pico";
  if (!fs::exists(folder + "/tokenizer.json")) GTEST_SKIP() << folder << " has no tokenizer.json";
  auto tokenizer = model::Tokenizer::load(folder);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  const model::Vocabulary& vocabulary = (*tokenizer)->vocabulary();
  const std::vector<GrammarTool> tools = shipped_tools();
  ASSERT_GE(tools.size(), 6U);
  MessageGrammarOptions options;
  options.stop = {*vocabulary.control("<|im_end|>")};
  auto grammar = Grammar::for_message(vocabulary, tools, options);
  ASSERT_TRUE(grammar) << grammar.error().message;
  const std::vector<std::pair<std::string, std::string>> messages{
      {"<tool_call>\n<function=calc>\n<parameter=expression>\n3*(4+5)\n</parameter>\n</function>\n</"
       "tool_call>\n<|im_end|>",
       R"x(calc{"expression":"3*(4+5)"})x"},
      {"\n<tool_call>\n<function=convert>\n<parameter=value>\n12.5\n</parameter>\n<parameter=to>\nmiles\n</"
       "parameter>\n<parameter=from>\n"
       "km\n</parameter>\n</function>\n</tool_call><|im_end|>",
       R"(convert{"value":12.5,"to":"miles","from":"km"})"},
      {"<tool_call>\n<function=clock>\n</function>\n</tool_call>\n<|im_end|>", "clock{}"},
      {"Both.\n<tool_call>\n<function=kv_get>\n<parameter=key>\nka\n</parameter>\n</function>\n</"
       "tool_call>\n<tool_call>\n"
       "<function=kv_get>\n<parameter=key>\nko\n</parameter>\n</function>\n</tool_call>\n<|im_end|>",
       R"(kv_get{"key":"ka"}kv_get{"key":"ko"})"},
      {"The answer is 27.<|im_end|>", ""}};
  for (const bool thinking : {false, true}) {
    for (const auto& [text, expected] : messages) {
      MessageParser parser(*grammar, thinking);
      for (const TokenId token : (*tokenizer)->encode((thinking ? "2/5 store it\n</think>\n" : "") + text)) {
        ASSERT_TRUE(parser.mask()->allowed(token))
            << text << ": token " << token << " \"" << vocabulary.bytes(token) << "\"";
        ASSERT_TRUE(parser.accept(token));
      }
      const ParsedMessage message = parser.result();
      EXPECT_TRUE(message.complete) << text;
      std::string calls;
      for (const ParsedCall& call : message.calls) calls += call.name + to_json(call.arguments);
      EXPECT_EQ(calls, expected);
    }
  }
}

}  // namespace
}  // namespace longhaul::tools
