#include "runtime/events.h"

namespace longhaul::runtime {

std::string_view to_string(EventKind kind) {
  switch (kind) {
    case EventKind::kTurnStarted:
      return "turn_started";
    case EventKind::kText:
      return "text";
    case EventKind::kReasoning:
      return "reasoning";
    case EventKind::kToolCall:
      return "tool_call";
    case EventKind::kToolResult:
      return "tool_result";
    case EventKind::kCommitted:
      return "committed";
    case EventKind::kSuspended:
      return "suspended";
    case EventKind::kInDoubt:
      return "in_doubt";
    case EventKind::kCompacted:
      return "compacted";
    case EventKind::kSleeping:
      return "sleeping";
    case EventKind::kApprovalNeeded:
      return "approval_needed";
    case EventKind::kError:
      return "error";
    case EventKind::kAnswer:
      return "answer";
  }
  return "unknown";
}

}  // namespace longhaul::runtime
