// What a trajectory tells the outside while it runs. Text and reasoning are provisional until `committed`; a tool's
// call is told after its intent is durable, its result after the result is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/base/json.h"

namespace longhaul::runtime {

enum class EventKind {
  kTurnStarted,     // turn
  kText,            // text: a piece of the answer or of the words before a call
  kReasoning,       // text: a piece of the reasoning
  kToolCall,        // id, name, arguments
  kToolResult,      // id, name, ok, text
  kCommitted,       // turn
  kSuspended,       // reason
  kInDoubt,         // id, name, arguments
  kCompacted,       // dropped: calls whose results have left the context; tokens_before, tokens_after
  kSleeping,        // id, name, wake_ms: the call runs again then
  kApprovalNeeded,  // id, name, arguments, reason: the call is not made before somebody says yes
  kError,           // message
  kAnswer,          // text: the whole final answer; finish: "stop" or "length"
};
std::string_view to_string(EventKind kind);

struct Event {
  EventKind kind = EventKind::kText;
  std::string session;
  std::int64_t position = 0;  // tokens of context so far
  json::object fields;        // see EventKind
};

// The model has consumed tokens. Not an event for people: often once a token.
struct Progress {
  std::string_view session;
  std::int64_t position = 0;  // tokens of context
  std::uint64_t n_tokens = 0;
  std::optional<std::uint64_t> state_bytes;  // held by the model's state now
};

// Called on the thread that runs the trajectory; must not block for long.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void on_event(const Event& event) = 0;
  virtual void on_progress(const Progress&) {}
};

}  // namespace longhaul::runtime
