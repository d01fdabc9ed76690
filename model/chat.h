// The family's chat layout, rendered to tokens with scaffolding and content apart: a control token's name inside user
// text, tool results or tool declarations is text, never control. Layout facts: the templates published with the
// checkpoints (Nano/Super and Ultra/Lightning variants).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"
#include "model/tokenizer.h"
#include "runtime/base/json.h"
#include "runtime/base/result.h"

namespace longhaul::model {

enum class Role { kSystem, kUser, kAssistant, kTool };

struct ChatToolCall {
  std::string name;
  json::object arguments;
};

struct ChatMessage {
  Role role = Role::kUser;
  std::string content;
  std::optional<std::string> reasoning;  // assistant only
  std::vector<ChatToolCall> tool_calls;  // assistant only
};

struct ChatTool {
  std::string name;
  std::string description;
  bool has_description = true;
  json::object parameters;  // JSON Schema, in the order its author wrote
  json::object extras;      // further fields of the declaration ("strict", ...), shown behind the parameters
};

enum class Effort { kDefault, kLow, kEfficient };

struct ChatOptions {
  ChatVariant variant = ChatVariant::kNano;
  bool thinking = true;          // the generation prompt only
  bool truncate_history = true;  // drop reasoning of turns before the last user message
  bool generation_prompt = true;
  Effort effort = Effort::kDefault;  // suffix on the last user text
};

// Pieces of a rendered prompt. `scaffold` pieces may hold control tokens; the others are content: user and system text,
// tool results, names and texts of declarations and calls, and also an assistant's own text and reasoning.
struct ChatPiece {
  std::string text;
  bool scaffold = true;
};

std::vector<ChatPiece> render_chat(const std::vector<ChatMessage>& messages, const std::vector<ChatTool>& tools,
                                   const ChatOptions& options);
std::string to_text(const std::vector<ChatPiece>& pieces);
// Control tokens are looked for in scaffolding only. All text between two of them is encoded as one, across pieces: so
// the ids are those that encode(to_text(pieces)) gives, and the model was trained on, whenever no content holds a
// control token's name.
std::vector<TokenId> to_tokens(const std::vector<ChatPiece>& pieces, const Tokenizer& tokenizer);

// The parts that a running trajectory appends one by one; concatenated they equal render_chat of the same messages
// (without history truncation). Each begins with a control token, so their tokens concatenate as well.
std::vector<ChatPiece> render_system(std::string_view text, const std::vector<ChatTool>& tools);
std::vector<ChatPiece> render_user(std::string_view text, Effort effort = Effort::kDefault);
// Consecutive tool results share one user block.
std::vector<ChatPiece> render_tool_results(const std::vector<std::string>& results);
std::vector<ChatPiece> render_generation_prompt(bool thinking);
// One assistant message of history as the template renders it; `keep_reasoning` false: the dropped form.
std::vector<ChatPiece> render_assistant(const ChatMessage& message, ChatVariant variant, bool keep_reasoning);

// Which variant a checkpoint wants: `override_name` ("nano"/"ultra") when given, else the digest of its
// chat_template.jinja (or tokenizer_config.json's chat_template) if known, else config's chat_format, else the
// published model whose shape the config has. kUnsupported says how to name one.
Result<ChatVariant> choose_chat_variant(const std::string& folder, const ModelConfig& config,
                                        std::string_view override_name);

}  // namespace longhaul::model
