// The layout in one place. An assistant's body goes through string operations (split at the last </think>, trim) that
// do not care where scaffolding ends, so it is built as one text with marks and cut into pieces at the end.
#include "model/chat.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "model/utf8.h"
#include "runtime/base/file.h"
#include "runtime/base/hash.h"

namespace longhaul::model {
namespace {

constexpr std::string_view kToolsHeader = "# Tools\n\nYou have access to the following functions:\n\n<tools>";

// 817 bytes, the same in every published template
// (sha256 c618bf70de036a3337fbf9cfaf7171d7b700d3e116d61b6f4a40511e1ab4e25b).
constexpr std::string_view kToolsInstructions =
    "\n\nIf you choose to call a function ONLY reply in the following format with NO suffix:\n\n<tool_call>\n"
    "<function=example_function_name>\n<parameter=example_parameter_1>\nvalue_1\n</parameter>\n"
    "<parameter=example_parameter_2>\nThis is the value for the second parameter\nthat can span\nmultiple lines\n"
    "</parameter>\n</function>\n</tool_call>\n\n<IMPORTANT>\nReminder:\n"
    "- Function calls MUST follow the specified format: an inner <function=...></function> block must be nested within "
    "<tool_call></tool_call> XML tags\n"
    "- Required parameters MUST be specified\n"
    "- You may provide optional reasoning for your function call in natural language BEFORE the function call, but NOT "
    "after\n"
    "- If there is no function call available, answer the question like normal with your current knowledge and do not "
    "tell the user about function calls\n</IMPORTANT>";
static_assert(kToolsInstructions.size() == 817);

constexpr std::array<std::string_view, 8> kControlNames = {"<|im_start|>",    "<|im_end|>",      "<think>",
                                                           "</think>",        "<tool_call>",     "</tool_call>",
                                                           "<tool_response>", "</tool_response>"};

// What Python's str.strip() takes away.
bool is_space(std::uint32_t c) {
  return (c >= 0x9 && c <= 0xD) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

// [begin, end) of `text` without white space at both ends.
std::pair<std::size_t, std::size_t> trimmed(std::string_view text) {
  std::size_t begin = 0, end = 0;
  bool seen = false;
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Step step = next_utf8(text.substr(i));
    const bool space = step.kind == Utf8Step::Kind::kCharacter && is_space(step.code_point);
    if (!space && !seen) {
      begin = i;
      seen = true;
    }
    i += step.length;
    if (!space) end = i;
  }
  return {begin, seen ? end : begin};
}

std::string_view trim(std::string_view text) {
  const auto [begin, end] = trimmed(text);
  return text.substr(begin, end - begin);
}

// A text that knows which of its bytes are scaffolding.
class Marked {
 public:
  void scaffold(std::string_view text) { append(text, true); }
  void content(std::string_view text) { append(text, false); }
  const std::string& text() const { return text_; }

  Marked slice(std::size_t begin, std::size_t end) const {
    Marked out;
    std::size_t start = 0;
    for (const auto& [stop, is_scaffold] : runs_) {
      const std::size_t from = std::max(begin, start), to = std::min(end, stop);
      if (from < to) out.append(std::string_view(text_).substr(from, to - from), is_scaffold);
      start = stop;
    }
    return out;
  }
  Marked trim() const {
    const auto [begin, end] = trimmed(text_);
    return slice(begin, end);
  }
  void append(const Marked& other) {
    std::size_t start = 0;
    for (const auto& [stop, is_scaffold] : other.runs_) {
      append(std::string_view(other.text_).substr(start, stop - start), is_scaffold);
      start = stop;
    }
  }
  void move_to(std::vector<ChatPiece>& pieces) const {
    std::size_t start = 0;
    for (const auto& [stop, is_scaffold] : runs_) {
      pieces.push_back({text_.substr(start, stop - start), is_scaffold});
      start = stop;
    }
  }

 private:
  void append(std::string_view text, bool is_scaffold) {
    if (text.empty()) return;
    text_ += text;
    if (!runs_.empty() && runs_.back().second == is_scaffold) {
      runs_.back().first = text_.size();
    } else {
      runs_.emplace_back(text_.size(), is_scaffold);
    }
  }

  std::string text_;
  std::vector<std::pair<std::size_t, bool>> runs_;  // end of each run, whether it is scaffolding
};

// A string as Python's repr() writes it inside a list.
std::string python_quoted(std::string_view text) {
  const bool single = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = single ? '"' : '\'';
  std::string out(1, quote);
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == quote || c == '\\') {
      out += {'\\', c};
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out.push_back(c);
    }
  }
  out.push_back(quote);
  return out;
}

// Python's str() of a value; inside lists and objects repr() of strings.
std::string python_str(const json::value& value, bool nested = false) {
  switch (value.kind()) {
    case json::kind::null:
      return "None";
    case json::kind::bool_:
      return value.get_bool() ? "True" : "False";
    case json::kind::int64:
      return std::to_string(value.get_int64());
    case json::kind::uint64:
      return std::to_string(value.get_uint64());
    case json::kind::double_:
      return python_repr(value.get_double());
    case json::kind::string: {
      const std::string_view text(value.get_string().data(), value.get_string().size());
      return nested ? python_quoted(text) : std::string(text);
    }
    case json::kind::array: {
      std::string out;
      for (const auto& entry : value.get_array()) out += (out.empty() ? "" : ", ") + python_str(entry, true);
      return "[" + out + "]";
    }
    case json::kind::object: {
      std::string out;
      for (const auto& member : value.get_object()) {
        const std::string_view key(member.key().data(), member.key().size());
        out += (out.empty() ? "" : ", ") + python_quoted(key) + ": " + python_str(member.value(), true);
      }
      return "{" + out + "}";
    }
  }
  return "";
}

// JSON for lists and objects, Python's str() for the rest.
std::string printed(const json::value& value) {
  return value.is_array() || value.is_object() ? to_json_spaced(value) : python_str(value);
}

void add_extras(const json::object& object, std::initializer_list<std::string_view> known, Marked& out) {
  for (const auto& member : object) {
    const std::string_view key(member.key().data(), member.key().size());
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    out.scaffold("\n<");
    out.content(key);
    out.scaffold(">");
    out.content(printed(member.value()));
    out.scaffold("</");
    out.content(key);
    out.scaffold(">");
  }
}

void add_field(std::string_view name, std::string_view text, Marked& out) {
  out.scaffold(fmt::format("\n<{}>", name));
  out.content(text);
  out.scaffold(fmt::format("</{}>", name));
}

void add_parameter(std::string_view name, const json::value& schema, Marked& out) {
  out.scaffold("\n<parameter>");
  add_field("name", name, out);
  if (const json::object* fields = schema.if_object()) {
    if (const json::value* type = fields->if_contains("type")) add_field("type", python_str(*type), out);
    if (const json::value* text = fields->if_contains("description")) {
      add_field("description", trim(python_str(*text)), out);
    }
    if (const json::value* values = fields->if_contains("enum")) add_field("enum", to_json_spaced(*values), out);
    add_extras(*fields, {"name", "type", "description", "enum"}, out);
  }
  out.scaffold("\n</parameter>");
}

void add_declaration(const ChatTool& tool, Marked& out) {
  out.scaffold("\n<function>");
  add_field("name", tool.name, out);
  if (tool.has_description) add_field("description", trim(tool.description), out);
  out.scaffold("\n<parameters>");
  if (const json::value* properties = tool.parameters.if_contains("properties")) {
    if (const json::object* fields = properties->if_object()) {
      for (const auto& member : *fields) {
        add_parameter({member.key().data(), member.key().size()}, member.value(), out);
      }
    }
  }
  add_extras(tool.parameters, {"type", "properties", "required"}, out);
  if (const json::value* required = tool.parameters.if_contains("required")) {
    add_field("required", to_json_spaced(*required), out);
  }
  out.scaffold("\n</parameters>");
  add_extras(tool.extras, {"type", "name", "description", "parameters"}, out);
  out.scaffold("\n</function>");
}

void add_call(const ChatToolCall& call, Marked& out) {
  out.scaffold("<tool_call>\n<function=");
  out.content(call.name);
  out.scaffold(">\n");
  for (const auto& member : call.arguments) {
    out.scaffold("<parameter=");
    out.content({member.key().data(), member.key().size()});
    out.scaffold(">\n");
    out.content(printed(member.value()));
    out.scaffold("\n</parameter>\n");
  }
  out.scaffold("</function>\n</tool_call>\n");
}

void add_system(std::string_view text, const std::vector<ChatTool>& tools, Marked& out) {
  out.scaffold("<|im_start|>system\n");
  out.content(text);
  if (!tools.empty()) {
    if (!text.empty()) out.scaffold("\n\n");
    out.scaffold(kToolsHeader);
    for (const ChatTool& tool : tools) add_declaration(tool, out);
    out.scaffold("\n</tools>");
    out.scaffold(kToolsInstructions);
  }
  out.scaffold("<|im_end|>\n");
}

void add_user(std::string_view text, Effort effort, Marked& out) {
  out.scaffold("<|im_start|>user\n");
  out.content(text);
  if (effort == Effort::kLow) out.scaffold("\n\n{reasoning effort: low}");
  if (effort == Effort::kEfficient) out.scaffold("\n\n{reasoning effort: efficient}");
  out.scaffold("<|im_end|>\n");
}

void add_tool_result(std::string_view text, Marked& out) {
  out.scaffold("<tool_response>\n");
  out.content(text);
  out.scaffold("\n</tool_response>\n");
}

void add_assistant(const ChatMessage& message, ChatVariant variant, bool keep, Marked& out) {
  const bool nano = variant == ChatVariant::kNano;
  Marked body;
  if (message.reasoning && !trim(*message.reasoning).empty()) {
    body.scaffold("<think>\n");
    body.content(*message.reasoning);
    body.scaffold(nano ? "\n</think>\n" : "</think>");
  } else if (message.content.find("<think>") == std::string::npos &&
             message.content.find("</think>") == std::string::npos) {
    body.scaffold("<think></think>");
  }
  body.content(message.content);

  const std::size_t open = body.text().find("<think>"), close = body.text().rfind("</think>");
  const bool calls = !message.tool_calls.empty();
  out.scaffold("<|im_start|>assistant\n");
  if (keep) {
    out.append(body.trim());
  } else if (calls) {
    // What stands behind the last </think>, or before a <think> that was never closed.
    Marked rest = close != std::string::npos ? body.slice(close + 8, body.text().size()) : body.slice(0, open);
    out.scaffold("<think></think>");
    out.append(nano ? rest.trim() : rest);
  } else if (open != std::string::npos && close != std::string::npos) {
    Marked dropped;
    dropped.scaffold("<think></think>");
    dropped.append(body.slice(close + 8, body.text().size()));
    out.append(dropped.trim());
  } else {
    out.append(body.trim());
  }
  if (calls) out.scaffold("\n");
  for (const ChatToolCall& call : message.tool_calls) add_call(call, out);
  out.scaffold("<|im_end|>\n");
}

std::vector<ChatPiece> pieces_of(const Marked& text) {
  std::vector<ChatPiece> pieces;
  text.move_to(pieces);
  return pieces;
}

}  // namespace

std::vector<ChatPiece> render_chat(const std::vector<ChatMessage>& messages, const std::vector<ChatTool>& tools,
                                   const ChatOptions& options) {
  const bool has_system = !messages.empty() && messages[0].role == Role::kSystem;
  Marked out;
  add_system(has_system ? std::string_view(messages[0].content) : std::string_view(), tools, out);
  const std::size_t first = has_system ? 1 : 0;
  std::size_t last_user = messages.size();  // none
  for (std::size_t i = first; i < messages.size(); ++i) {
    if (messages[i].role == Role::kUser) last_user = i;
  }
  const bool has_user = last_user < messages.size();
  for (std::size_t i = first; i < messages.size(); ++i) {
    const ChatMessage& message = messages[i];
    switch (message.role) {
      case Role::kSystem:
        add_system(message.content, {}, out);
        break;
      case Role::kUser:
        add_user(message.content, i == last_user ? options.effort : Effort::kDefault, out);
        break;
      case Role::kAssistant:
        add_assistant(message, options.variant, !(options.truncate_history && has_user && i < last_user), out);
        break;
      case Role::kTool: {
        // Results that follow each other share one block. The templates open it on the change of role, so a result that
        // comes first of all has no opening.
        if (i > first && messages[i - 1].role != Role::kTool) out.scaffold("<|im_start|>user\n");
        add_tool_result(message.content, out);
        if (i + 1 == messages.size() || messages[i + 1].role != Role::kTool) out.scaffold("<|im_end|>\n");
        break;
      }
    }
  }
  std::vector<ChatPiece> pieces = pieces_of(out);
  if (options.generation_prompt) {
    for (ChatPiece& piece : render_generation_prompt(options.thinking)) pieces.push_back(std::move(piece));
  }
  return pieces;
}

std::string to_text(const std::vector<ChatPiece>& pieces) {
  std::string text;
  for (const ChatPiece& piece : pieces) text += piece.text;
  return text;
}

std::vector<TokenId> to_tokens(const std::vector<ChatPiece>& pieces, const Tokenizer& tokenizer) {
  std::vector<TokenId> ids;
  std::string run;  // text since the last control token
  auto flush = [&] {
    const std::vector<TokenId> encoded = tokenizer.encode_content(run);
    ids.insert(ids.end(), encoded.begin(), encoded.end());
    run.clear();
  };
  for (const ChatPiece& piece : pieces) {
    std::string_view rest = piece.text;
    while (piece.scaffold && !rest.empty()) {
      const std::size_t at = rest.find('<');
      if (at == std::string_view::npos) break;
      std::optional<TokenId> control;
      std::size_t length = 1;
      for (std::string_view name : kControlNames) {
        if (!rest.substr(at).starts_with(name)) continue;
        control = tokenizer.vocabulary().control(name);
        length = control ? name.size() : 1;
      }
      run += rest.substr(0, control ? at : at + 1);
      rest.remove_prefix(at + length);
      if (control) {
        flush();
        ids.push_back(*control);
      }
    }
    run += rest;
  }
  flush();
  return ids;
}

std::vector<ChatPiece> render_system(std::string_view text, const std::vector<ChatTool>& tools) {
  Marked out;
  add_system(text, tools, out);
  return pieces_of(out);
}

std::vector<ChatPiece> render_user(std::string_view text, Effort effort) {
  Marked out;
  add_user(text, effort, out);
  return pieces_of(out);
}

std::vector<ChatPiece> render_tool_results(const std::vector<std::string>& results) {
  Marked out;
  if (results.empty()) return {};
  out.scaffold("<|im_start|>user\n");
  for (const std::string& result : results) add_tool_result(result, out);
  out.scaffold("<|im_end|>\n");
  return pieces_of(out);
}

std::vector<ChatPiece> render_generation_prompt(bool thinking) {
  return {{thinking ? "<|im_start|>assistant\n<think>\n" : "<|im_start|>assistant\n<think></think>", true}};
}

std::vector<ChatPiece> render_assistant(const ChatMessage& message, ChatVariant variant, bool keep_reasoning) {
  Marked out;
  add_assistant(message, variant, keep_reasoning, out);
  return pieces_of(out);
}

namespace {

std::optional<ChatVariant> variant_of(std::string_view name) {
  if (name == "nano") return ChatVariant::kNano;
  if (name == "ultra") return ChatVariant::kUltra;
  return std::nullopt;
}

// Templates whose text we have seen, by digest_of(text). The published checkpoints' own texts were not at hand.
struct KnownTemplate {
  std::string_view digest;
  ChatVariant variant;
};
constexpr KnownTemplate kKnownTemplates[] = {
    {"9e4a87669df55407708c56c5c1541cd3", ChatVariant::kNano},  // the built-in model's
};

// The four published models, by what tells them apart.
struct KnownShape {
  std::int64_t d_model;
  std::size_t n_layers;
  bool mtp;
  ChatVariant variant;
};
constexpr KnownShape kKnownShapes[] = {
    {2688, 52, false, ChatVariant::kNano},   // Nano
    {4096, 88, true, ChatVariant::kNano},    // Super
    {8192, 108, true, ChatVariant::kUltra},  // Ultra
    {2688, 52, true, ChatVariant::kUltra},   // Lightning
};

// The template's text: a file of its own, else a field of tokenizer_config.json.
Result<std::string> template_of(const std::string& folder) {
  constexpr std::size_t kBytesMax = 16 << 20;
  auto text = read_file(folder + "/chat_template.jinja", kBytesMax);
  if (text || text.error().code != ErrorCode::kNotFound) return text;
  const std::string path = folder + "/tokenizer_config.json";
  auto config = read_file(path, kBytesMax);
  if (!config) return config.error().code == ErrorCode::kNotFound ? Result<std::string>(std::string()) : config;
  auto value = parse_json(*config);
  if (!value) return with_context(path, value.error());
  const json::object* object = value->if_object();
  const json::value* field = object != nullptr ? object->if_contains("chat_template") : nullptr;
  if (field == nullptr || !field->is_string()) return std::string();
  return std::string(field->get_string().data(), field->get_string().size());
}

}  // namespace

Result<ChatVariant> choose_chat_variant(const std::string& folder, const ModelConfig& config,
                                        std::string_view override_name) {
  if (!override_name.empty()) {
    if (auto variant = variant_of(override_name)) return *variant;
    return invalid_argument(fmt::format("chat format \"{}\" is not known; there are nano and ultra", override_name));
  }
  auto text = template_of(folder);
  if (!text) return text.error();
  const std::string digest = text->empty() ? std::string() : digest_of(*text).hex();
  for (const KnownTemplate& known : kKnownTemplates) {
    if (known.digest == digest) return known.variant;
  }
  if (auto variant = variant_of(config.chat_format)) return *variant;
  for (const KnownShape& shape : kKnownShapes) {
    if (shape.d_model == config.d_model && shape.n_layers == config.layers.size() &&
        shape.mtp == !config.mtp_layers.empty()) {
      return shape.variant;
    }
  }
  return unsupported(
      fmt::format("{}: the chat layout is not known ({}); name it with --chat-format nano (Nano, Super) or ultra "
                  "(Ultra, Lightning)",
                  folder, digest.empty() ? "there is no chat template" : "the chat template's digest is " + digest));
}

}  // namespace longhaul::model
