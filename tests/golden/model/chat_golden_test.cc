// Random conversations as two jinja templates render them (scripts/golden/chat_conversations.py), and what must hold
// for the parts of a running trajectory.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "model/chat.h"

namespace longhaul::model {
namespace {

std::string_view view(const json::string& text) {
  return {text.data(), text.size()};
}

struct Case {
  std::vector<ChatMessage> messages;
  std::vector<ChatTool> tools;
  ChatOptions options;
  std::string nano, ultra;
};

Case read_case(const json::object& object) {
  Case out;
  for (const auto& value : object.at("messages").get_array()) {
    const json::object& source = value.get_object();
    ChatMessage message;
    const std::string_view role = view(source.at("role").get_string());
    message.role = role == "system" ? Role::kSystem
                   : role == "user" ? Role::kUser
                   : role == "tool" ? Role::kTool
                                    : Role::kAssistant;
    message.content = view(source.at("content").get_string());
    if (const json::value* reasoning = source.if_contains("reasoning_content"))
      message.reasoning = view(reasoning->get_string());
    if (const json::value* calls = source.if_contains("tool_calls")) {
      for (const auto& entry : calls->get_array()) {
        const json::object* call = &entry.get_object();
        if (const json::value* inner = call->if_contains("function")) call = &inner->get_object();
        message.tool_calls.push_back(
            {std::string(view(call->at("name").get_string())), call->at("arguments").get_object()});
      }
    }
    out.messages.push_back(std::move(message));
  }
  for (const auto& value : object.at("tools").get_array()) {
    const json::object* source = &value.get_object();
    if (const json::value* inner = source->if_contains("function")) source = &inner->get_object();
    ChatTool tool;
    tool.name = view(source->at("name").get_string());
    tool.has_description = source->contains("description");
    if (tool.has_description) tool.description = view(source->at("description").get_string());
    tool.parameters = source->at("parameters").get_object();
    if (source->contains("strict")) tool.extras["strict"] = source->at("strict");
    out.tools.push_back(std::move(tool));
  }
  out.options.thinking = object.at("thinking").get_bool();
  out.options.truncate_history = object.at("truncate").get_bool();
  out.options.generation_prompt = object.at("generate").get_bool();
  const std::string_view effort = view(object.at("effort").get_string());
  out.options.effort = effort == "low" ? Effort::kLow : effort == "efficient" ? Effort::kEfficient : Effort::kDefault;
  out.nano = view(object.at("nano").get_string());
  out.ultra = object.contains("ultra") ? view(object.at("ultra").get_string()) : out.nano;
  return out;
}

std::vector<Case> read_cases() {
  std::ifstream in(std::string(LONGHAUL_SOURCE_DIR) + "/tests/golden/model/chat/conversations.jsonl");
  std::vector<Case> cases;
  std::string line;
  while (std::getline(in, line)) {
    auto value = parse_json(line);
    EXPECT_TRUE(value.has_value()) << line;
    if (value.has_value()) cases.push_back(read_case(value->get_object()));
  }
  return cases;
}

// The golden file has the fixed block of 817 bytes as [I].
std::string without_instructions(std::string text) {
  static const std::string block = [] {
    const std::string system = to_text(render_system("", {ChatTool{"f", "", false, {}, {}}}));
    const std::size_t begin = system.find("\n</tools>") + 9;
    return system.substr(begin, system.rfind("<|im_end|>") - begin);
  }();
  EXPECT_EQ(block.size(), 817U);
  for (std::size_t at; (at = text.find(block)) != std::string::npos;) text.replace(at, block.size(), "[I]");
  return text;
}

TEST(ChatGolden, RendersAsTheTemplatesDo) {
  const std::vector<Case> cases = read_cases();
  ASSERT_GT(cases.size(), 150U);
  for (const Case& test : cases) {
    ChatOptions options = test.options;
    EXPECT_EQ(without_instructions(to_text(render_chat(test.messages, test.tools, options))), test.nano);
    options.variant = ChatVariant::kUltra;
    EXPECT_EQ(without_instructions(to_text(render_chat(test.messages, test.tools, options))), test.ultra);
  }
}

// What a running trajectory appends part by part is the whole.
TEST(ChatGolden, PartsOfATrajectoryMakeTheWhole) {
  for (const Case& test : read_cases()) {
    for (ChatVariant variant : {ChatVariant::kNano, ChatVariant::kUltra}) {
      ChatOptions options = test.options;
      options.variant = variant;
      options.truncate_history = false;
      const auto& messages = test.messages;
      const bool has_system = !messages.empty() && messages[0].role == Role::kSystem;
      // A result that comes first of all has no opening in the templates; a trajectory has none such.
      if (messages.size() > (has_system ? 1U : 0U) && messages[has_system ? 1 : 0].role == Role::kTool) continue;
      std::size_t last_user = messages.size();
      for (std::size_t i = 0; i < messages.size(); ++i) {
        if (messages[i].role == Role::kUser) last_user = i;
      }
      std::string parts = to_text(render_system(has_system ? messages[0].content : "", test.tools));
      for (std::size_t i = has_system ? 1 : 0; i < messages.size(); ++i) {
        const ChatMessage& message = messages[i];
        if (message.role == Role::kSystem) parts += to_text(render_system(message.content, {}));
        if (message.role == Role::kUser) {
          parts += to_text(render_user(message.content, i == last_user ? options.effort : Effort::kDefault));
        }
        if (message.role == Role::kAssistant) parts += to_text(render_assistant(message, variant, true));
        if (message.role == Role::kTool) {
          std::vector<std::string> results{message.content};
          while (i + 1 < messages.size() && messages[i + 1].role == Role::kTool)
            results.push_back(messages[++i].content);
          parts += to_text(render_tool_results(results));
        }
      }
      if (options.generation_prompt) parts += to_text(render_generation_prompt(options.thinking));
      EXPECT_EQ(parts, to_text(render_chat(messages, test.tools, options)));
    }
  }
}

// Without control names in the content the tokens are those of the whole text; with them, none of them is control.
void expect_control_in_scaffolding_only(const std::string& file) {
  const std::string path = std::string(LONGHAUL_SOURCE_DIR) + file;
  std::ifstream in(path, std::ios::binary);
  auto tokenizer =
      Tokenizer::parse(std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()), path);
  ASSERT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
  const Vocabulary& vocabulary = (*tokenizer)->vocabulary();
  int n_plain = 0, n_with_names = 0;
  for (const Case& test : read_cases()) {
    const auto pieces = render_chat(test.messages, test.tools, test.options);
    const std::string text = to_text(pieces);
    const auto ids = to_tokens(pieces, **tokenizer);
    EXPECT_EQ(*(*tokenizer)->decode(ids), text);
    const auto whole = (*tokenizer)->encode(text);
    std::size_t n_scaffold = 0;
    for (const ChatPiece& piece : pieces) {
      if (!piece.scaffold) continue;
      const auto control = (*tokenizer)->encode(piece.text);
      n_scaffold += static_cast<std::size_t>(
          std::count_if(control.begin(), control.end(), [&](TokenId id) { return vocabulary.is_control(id); }));
    }
    auto n_control = [&](const std::vector<TokenId>& list) {
      return static_cast<std::size_t>(
          std::count_if(list.begin(), list.end(), [&](TokenId id) { return vocabulary.is_control(id); }));
    };
    EXPECT_EQ(n_control(ids), n_scaffold) << text;
    if (n_control(whole) == n_scaffold) {
      EXPECT_EQ(ids, whole) << text;
      ++n_plain;
    } else {
      EXPECT_GT(n_control(whole), n_scaffold);
      ++n_with_names;
    }
  }
  EXPECT_GT(n_plain, 20);
  EXPECT_GT(n_with_names, 20);
}

TEST(ChatGolden, TokensKeepControlToTheScaffolding) {
  expect_control_in_scaffolding_only("/tests/golden/model/tokenizer/tekken_small.json");
}

// Whose added tokens reach over scaffolding and content: whole declarations, the ends of calls.
TEST(ChatGolden, PicosTokensKeepControlToTheScaffolding) {
  expect_control_in_scaffolding_only("/model/pico/tokenizer.json");
}

}  // namespace
}  // namespace longhaul::model
