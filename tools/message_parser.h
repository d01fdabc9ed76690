// Reads one assistant message token by token with the grammar that masks it: what may come next, what came, and in the
// end reasoning, text and calls with complete arguments. How the text was cut into tokens changes nothing.
//
//   MessageParser parser(grammar, /*thinking=*/true);
//   while (!parser.finished()) {
//     TokenId t = draw(logits, *parser.mask());
//     if (auto ok = parser.accept(t); !ok) return ok.error();
//     for (MessageEvent& e : parser.take_events()) show(e);
//   }
//   ParsedMessage message = parser.result();
//
// Confined to one thread at a time; the grammar may be shared. Copying is a fork: it costs the text read so far.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/base/result.h"
#include "tools/grammar.h"
#include "tools/utf8.h"

namespace longhaul::tools {

struct MessageEvent {
  enum class Kind {
    kReasoning,  // text: more reasoning
    kReasoningEnd,
    kContent,    // text: more of the message
    kCallStart,  // text: the tool's name; call: its index in the message
    kArgument,   // text: an argument's name
    kValue,      // text: more of its raw value, as written (never part of the terminator); where arguments are one JSON
                 // object, more of that, and there is no kArgument
    kArgumentEnd,  // text: the value as JSON
    kCallEnd,      // text: all arguments as one JSON object
    kMessageEnd,
  };
  Kind kind = Kind::kContent;
  std::size_t call = 0;
  std::string text;  // valid UTF-8, whole characters
  bool raw = false;  // kArgument: the value is a string and comes as it is, so it can be shown before its end

  friend bool operator==(const MessageEvent&, const MessageEvent&) = default;
};

struct ParsedCall {
  std::string name;
  json::object arguments;  // in the order written; fits the tool's schema

  friend bool operator==(const ParsedCall&, const ParsedCall&) = default;
};

struct ParsedMessage {
  // As written, line ends included; bytes that are not UTF-8 as U+FFFD. Nano's template puts "\n" before </think> and
  // after it: strip one from the end of `reasoning` and trim `content` before rendering them into history again.
  std::string reasoning, content;
  std::vector<ParsedCall> calls;  // whole ones only: a call that was cut off is not a call
  bool reasoning_closed = true;   // false: the message stopped inside reasoning
  bool cut_call = false;          // the message stopped inside a call
  bool complete = false;          // ended by a stop token
};

// A call's arguments as one JSON text in pieces, as APIs stream them: feed it every event of a message. The pieces of a
// call join to JSON of its arguments, however the text was cut.
class ArgumentStream {
 public:
  std::string push(const MessageEvent& event);

 private:
  std::size_t n_arguments_ = 0;
  bool raw_ = false, whole_ = false;
};

class MessageParser {
 public:
  // `thinking`: the prompt ended inside <think>.
  explicit MessageParser(std::shared_ptr<Grammar> grammar, bool thinking);

  // kInvalidArgument: the mask does not allow the token; nothing has changed. kInternal: the arguments read do not fit
  // their schema (a bug: the grammar let them through); the parser is finished and the message has no such call.
  Result<void> accept(TokenId token);
  // The tokens that accept() takes now. Empty (not null) when finished.
  std::shared_ptr<const AllowedTokens> allowed() const;
  std::shared_ptr<const model::TokenMask> mask() const;
  std::shared_ptr<const AllowedTokens> allowed_if_kept() const;  // as Grammar's
  std::shared_ptr<const AllowedTokens> allowed_if_quick() const;
  // Is `token` allowed? Cheaper than a mask that is not cached yet.
  bool allows(TokenId token) const;
  // A stop token was read.
  bool finished() const { return finished_; }
  bool in_reasoning() const { return in_reasoning_; }
  // Inside reasoning, only </think> may come from now on (a thinking budget is spent). No effect elsewhere.
  void force_close_thinking() { forced_ = in_reasoning_; }

  // What has been read since the last call. Which pieces text comes in depends on the tokens; what they join to does
  // not.
  std::vector<MessageEvent> take_events();
  // The message so far; `complete` tells whether it has ended.
  ParsedMessage result() const;
  // The automaton's state, for drafts: grammar().advance(state(), token), grammar().mask(...).
  State state() const { return state_; }
  const Grammar& grammar() const { return *grammar_; }
  std::shared_ptr<const Grammar> shared_grammar() const { return grammar_; }

 private:
  void observe(const StepInfo& info, std::uint8_t byte);
  void text_event(MessageEvent::Kind kind, std::uint8_t byte, Utf8Repair& repair, std::string& whole);
  void emit(MessageEvent::Kind kind, std::string text);
  void release_content(std::size_t keep);
  void end_content(std::size_t trigger);
  void begin_call();
  void end_call();
  NodeId value_node() const;
  bool value_is_raw() const;
  Result<json::value> read_argument() const;
  void flush_value(std::size_t safe);
  void end_value(std::size_t terminator);

  std::shared_ptr<Grammar> grammar_;
  State state_;
  bool finished_ = false, in_reasoning_ = false, forced_ = false, in_call_ = false;
  Error failure_;
  bool failed_ = false;
  std::string reasoning_, content_;
  std::string content_held_;  // may yet be a trigger
  Utf8Repair reasoning_repair_, content_repair_;
  std::vector<ParsedCall> calls_;
  std::size_t call_index_ = 0;
  std::uint32_t tool_ = 0, property_ = 0;
  ParsedCall open_;  // the call being read
  std::string key_,
      value_;        // of the argument being read; the key of a parameter outside the schema is read as it comes
  std::string tag_;  // markup since the last value
  std::size_t value_shown_ = 0;
  bool in_value_ = false;
  std::vector<MessageEvent> events_;
};

}  // namespace longhaul::tools
