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
      const std::size_t before = content_.size();
      content_repair_.finish(content_);
      emit(Kind::kContent, content_.substr(before));
    }
    if (info.call_begun) {
      in_call_ = true;
      open_ = ParsedCall{};
      call_index_ = calls_.size();
    }
    if (info.call_ended) {
      in_call_ = false;
      if (!failed_) {
        emit(Kind::kCallEnd, to_json(open_.arguments));
        calls_.push_back(std::move(open_));
      }
      open_ = ParsedCall{};
    }
    if (info.region == Region::kEnd) {
      finished_ = true;
      emit(Kind::kMessageEnd, {});
    }
    return;
  }
  if (info.region == Region::kReasoning) return text_event(Kind::kReasoning, byte, reasoning_repair_, reasoning_);
  if (info.region == Region::kContent) return text_event(Kind::kContent, byte, content_repair_, content_);
  if (info.region == Region::kValue) {
    if (in_value_) {
      value_ += static_cast<char>(byte);
      flush_value(value_.size() - info.pending);
    } else {
      // The byte that ended value_open: the value begins after it.
      in_value_ = true;
      value_.clear();
      value_shown_ = 0;
    }
    return;
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
    tag_.clear();
  }
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
  const Schema& schema = *grammar_->tools()[tool_].parameters;
  NodeId node = kNoNode;
  for (const NodeId choice : schema.node(schema.root()).choices) {
    const Node& n = schema.node(choice);
    if ((n.types & kObjectBit) == 0) continue;
    node = property_ == kExtraProperty ? n.object.additional() : n.object.properties[property_].node;
  }
  auto value = read_value(value_, schema, node);
  if (!value) {
    failed_ = true;
    failure_ = internal_error(fmt::format("argument \"{}\" of {}: {}", key_, open_.name, value.error().message));
  } else {
    open_.arguments[key_] = std::move(*value);
  }
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
  reasoning.finish(message.reasoning);
  content.finish(message.content);
  message.calls = calls_;
  message.reasoning_closed = !in_reasoning_;
  message.cut_call = in_call_;
  message.complete = finished_ && !failed_;
  return message;
}

}  // namespace longhaul::tools
