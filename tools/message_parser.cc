#include "tools/message_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace longhaul::tools {

MessageParser::MessageParser(std::shared_ptr<Grammar> grammar, bool thinking)
    : grammar_(std::move(grammar)), state_(grammar_->start(thinking)), in_reasoning_(thinking) {}

bool MessageParser::allows(TokenId token) const {
  if (finished_) return false;
  if (forced_ && token != grammar_->think_close()) return false;
  return !grammar_->advance(state_, token).dead();
}

std::shared_ptr<const AllowedTokens> MessageParser::allowed() const {
  if (!finished_ && !forced_) return grammar_->allowed(state_);
  auto only = std::make_shared<AllowedTokens>();
  only->mask = model::TokenMask(grammar_->vocabulary().size());
  only->few = true;
  if (!finished_) {
    only->mask.allow(grammar_->think_close());
    only->ids.push_back(grammar_->think_close());
  }
  return only;
}

std::shared_ptr<const AllowedTokens> MessageParser::allowed_if_kept() const {
  return finished_ || forced_ ? allowed() : grammar_->allowed_if_kept(state_);
}

std::shared_ptr<const AllowedTokens> MessageParser::allowed_if_quick() const {
  return finished_ || forced_ ? allowed() : grammar_->allowed_if_quick(state_);
}

std::shared_ptr<const model::TokenMask> MessageParser::mask() const {
  auto set = allowed();
  const model::TokenMask* mask = &set->mask;
  return {std::move(set), mask};
}

Result<void> MessageParser::accept(TokenId token) {
  if (failed_) return failure_;
  if (finished_) return invalid_argument(fmt::format("token {} after the end of the message", token));
  State next;
  if (!forced_ || token == grammar_->think_close()) {
    next = grammar_->advance(state_, token, [&](const StepInfo& info, std::uint8_t byte) { observe(info, byte); });
  }
  if (next.dead()) return invalid_argument(fmt::format("token {} is not allowed here", token));
  state_ = next;
  if (failed_) {
    finished_ = true;
    return failure_;
  }
  return {};
}

void MessageParser::emit(MessageEvent::Kind kind, std::string text) {
  const bool joins = kind == MessageEvent::Kind::kReasoning || kind == MessageEvent::Kind::kContent ||
                     kind == MessageEvent::Kind::kValue;
  if (joins && text.empty()) return;
  if (joins && !events_.empty() && events_.back().kind == kind) {
    events_.back().text += text;
    return;
  }
  events_.push_back({kind, call_index_, std::move(text)});
}

void MessageParser::text_event(MessageEvent::Kind kind, std::uint8_t byte, Utf8Repair& repair, std::string& whole) {
  const std::size_t before = whole.size();
  repair.push(byte, whole);
  emit(kind, whole.substr(before));
}

// What might be a trigger is not shown before it is known to be none.
void MessageParser::release_content(std::size_t keep) {
  const std::size_t n = content_held_.size() - std::min(keep, content_held_.size());
  for (std::size_t i = 0; i < n; ++i) {
    text_event(MessageEvent::Kind::kContent, static_cast<std::uint8_t>(content_held_[i]), content_repair_, content_);
  }
  content_held_.erase(0, n);
}

void MessageParser::end_content(std::size_t trigger) {
  release_content(trigger);
  content_held_.clear();
  const std::size_t before = content_.size();
  content_repair_.finish(content_);
  emit(MessageEvent::Kind::kContent, content_.substr(before));
}

void MessageParser::begin_call() {
  in_call_ = true;
  open_ = ParsedCall{};
  call_index_ = calls_.size();
}

void MessageParser::end_call() {
  in_call_ = false;
  if (!failed_) {
    emit(MessageEvent::Kind::kCallEnd, to_json(open_.arguments));
    calls_.push_back(std::move(open_));
  }
  open_ = ParsedCall{};
}

void MessageParser::observe(const StepInfo& info, std::uint8_t byte) {
  using Kind = MessageEvent::Kind;
  if (info.control) {
    if (in_reasoning_) {
      const std::size_t before = reasoning_.size();
      reasoning_repair_.finish(reasoning_);
      emit(Kind::kReasoning, reasoning_.substr(before));
      in_reasoning_ = false;
      forced_ = false;
      emit(Kind::kReasoningEnd, {});
    } else if (info.call_begun || info.region == Region::kEnd) {
      end_content(0);
    }
    if (info.call_begun) begin_call();
    if (info.call_ended) end_call();
    if (info.region == Region::kEnd) {
      finished_ = true;
      emit(Kind::kMessageEnd, {});
    }
    return;
  }
  if (info.region == Region::kReasoning) return text_event(Kind::kReasoning, byte, reasoning_repair_, reasoning_);
  if (info.call_begun && info.trigger > 0) end_content(info.trigger - 1);
  if (info.call_begun) begin_call();
  if (info.region == Region::kContent && !info.call_ended) {
    content_held_ += static_cast<char>(byte);
    return release_content(info.pending);
  }
  if (info.region == Region::kValue && !info.named) {
    const CallFormat& format = grammar_->options().format;
    if (!in_value_ && !format.value_open.empty()) {
      // The byte that ended value_open: the value begins after it.
      in_value_ = true;
      value_.clear();
      value_shown_ = 0;
      return;
    }
    if (!in_value_) {
      in_value_ = true;
      value_.clear();
      value_shown_ = 0;
    }
    value_ += static_cast<char>(byte);
    return flush_value(value_.size() - info.pending);
  }
  if (info.value_ended) {
    value_ += static_cast<char>(byte);
    end_value(info.terminator);
    tag_.clear();
  } else {
    tag_ += static_cast<char>(byte);
  }
  if (info.named) {
    tool_ = info.tool;
    open_.name = grammar_->tools()[tool_].name;
    emit(Kind::kCallStart, open_.name);
    tag_.clear();
  }
  if (info.keyed) {
    property_ = info.property;
    const CallFormat& format = grammar_->options().format;
    if (property_ == kExtraProperty || info.value_ended == false) {
      // The name is the latest markup: [parameter_open] NAME parameter_key_end.
      std::size_t from = tag_.find(format.parameter_open);
      from = from == std::string::npos ? 0 : from + format.parameter_open.size();
      key_ = tag_.substr(from, tag_.size() - from - format.parameter_key_end.size());
    }
    emit(Kind::kArgument, key_);
    events_.back().raw = value_is_raw();
    tag_.clear();
  }
  if (info.call_ended) end_call();
}

NodeId MessageParser::value_node() const {
  const Schema& schema = *grammar_->tools()[tool_].parameters;
  if (grammar_->options().format.arguments == CallFormat::Arguments::kJson) return schema.root();
  NodeId node = kNoNode;
  for (const NodeId choice : schema.node(schema.root()).choices) {
    const Node& n = schema.node(choice);
    if ((n.types & kObjectBit) == 0) continue;
    node = property_ == kExtraProperty ? n.object.additional() : n.object.properties[property_].node;
  }
  return node;
}

bool MessageParser::value_is_raw() const {
  if (grammar_->options().format.arguments != CallFormat::Arguments::kParameters) return false;
  const Schema& schema = *grammar_->tools()[tool_].parameters;
  const NodeId node = value_node();
  if (node == kNoNode) return false;
  const auto& choices = schema.node(node).choices;
  return std::all_of(choices.begin(), choices.end(),
                     [&](NodeId choice) { return (schema.node(choice).types & ~kStringBit) == 0; });
}

Result<json::value> MessageParser::read_argument() const {
  const Schema& schema = *grammar_->tools()[tool_].parameters;
  const auto style = grammar_->options().format.arguments;
  if (style == CallFormat::Arguments::kParameters) return read_value(value_, schema, value_node());
  auto value = style == CallFormat::Arguments::kJson ? parse_json(value_) : read_python(value_);
  if (value && !node_accepts(schema, value_node(), *value))
    return invalid_argument("the value does not fit its schema");
  return value;
}

void MessageParser::flush_value(std::size_t safe) {
  // Whole characters only; values are valid UTF-8 in the end.
  while (safe > value_shown_ && safe < value_.size() && (static_cast<std::uint8_t>(value_[safe]) & 0xC0) == 0x80)
    --safe;
  if (safe == value_.size()) {
    std::size_t at = safe;
    int back = 0;
    while (at > value_shown_ && back < 4) {
      const auto byte = static_cast<std::uint8_t>(value_[--at]);
      ++back;
      if ((byte & 0xC0) == 0x80) continue;
      const int length = byte < 0x80 ? 1 : byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
      if (length > back) safe = at;
      break;
    }
  }
  if (safe <= value_shown_) return;
  emit(MessageEvent::Kind::kValue, value_.substr(value_shown_, safe - value_shown_));
  value_shown_ = safe;
}

void MessageParser::end_value(std::size_t terminator) {
  in_value_ = false;
  const std::string markup = value_.substr(value_.size() - terminator);
  value_.resize(value_.size() - terminator);
  if (value_shown_ < value_.size()) emit(MessageEvent::Kind::kValue, value_.substr(value_shown_));
  auto value = read_argument();
  if (!value) {
    failed_ = true;
    failure_ = internal_error(fmt::format("argument \"{}\" of {}: {}", key_, open_.name, value.error().message));
  } else if (grammar_->options().format.arguments != CallFormat::Arguments::kJson) {
    emit(MessageEvent::Kind::kArgumentEnd, to_json(*value));
    open_.arguments[key_] = std::move(*value);
  } else if (value->is_object()) {
    open_.arguments = std::move(value->get_object());
  }
  if (grammar_->options().format.arguments == CallFormat::Arguments::kJson) return;
  // With known keys the terminator ends in the next one's name.
  const CallFormat& format = grammar_->options().format;
  const std::string head = format.value_close + format.parameter_open;
  if (markup.size() > head.size() && markup.compare(0, head.size(), head) == 0) {
    key_ = markup.substr(head.size(), markup.size() - head.size() - format.parameter_key_end.size());
  }
}

std::vector<MessageEvent> MessageParser::take_events() {
  return std::exchange(events_, {});
}

ParsedMessage MessageParser::result() const {
  ParsedMessage message;
  message.reasoning = reasoning_;
  message.content = content_;
  Utf8Repair reasoning = reasoning_repair_, content = content_repair_;
  for (const char c : content_held_) content.push(static_cast<std::uint8_t>(c), message.content);
  reasoning.finish(message.reasoning);
  content.finish(message.content);
  message.calls = calls_;
  message.reasoning_closed = !in_reasoning_;
  message.cut_call = in_call_;
  message.complete = finished_ && !failed_;
  return message;
}

std::string ArgumentStream::push(const MessageEvent& event) {
  using Kind = MessageEvent::Kind;
  const auto quoted = [](const std::string& text) {
    const std::string json = to_json(json::value(text));
    return json.substr(1, json.size() - 2);
  };
  switch (event.kind) {
    case Kind::kCallStart:
      *this = ArgumentStream{};
      return {};
    case Kind::kArgument: {
      const std::string key = (n_arguments_++ > 0 ? "," : "{") + to_json(json::value(event.text)) + ":";
      raw_ = event.raw;
      return raw_ ? key + "\"" : key;
    }
    case Kind::kValue:
      whole_ = whole_ || n_arguments_ == 0;
      return whole_ ? event.text : raw_ ? quoted(event.text) : std::string();
    case Kind::kArgumentEnd:
      return raw_ ? "\"" : event.text;
    case Kind::kCallEnd:
      return whole_ ? "" : n_arguments_ > 0 ? "}" : "{}";
    default:
      return {};
  }
}

}  // namespace longhaul::tools
