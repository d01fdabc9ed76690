#include "tools/dispatch.h"

#include <fmt/format.h>

#include "tools/utf8.h"

namespace longhaul::tools {

std::string result_text(std::string_view text, std::size_t bytes_max) {
  // Repairing can only make the text longer, so what is cut is cut from the repaired text.
  std::string whole = is_utf8(text) ? std::string(text) : to_valid_utf8(text);
  if (whole.size() <= bytes_max) return whole;
  std::size_t end = bytes_max;
  while (end > 0 && (static_cast<unsigned char>(whole[end]) & 0xC0) == 0x80) --end;
  const std::size_t all = whole.size();
  whole.resize(end);
  return whole + fmt::format("\n[cut: {} of {} bytes shown]", end, all);
}

std::string error_text(std::string_view message, std::size_t bytes_max) {
  return "error: " + result_text(message, bytes_max);
}

std::string_view to_string(ToolOutcome::Kind kind) {
  switch (kind) {
    case ToolOutcome::Kind::kOk:
      return "ok";
    case ToolOutcome::Kind::kError:
      return "error";
    case ToolOutcome::Kind::kLimit:
      return "limit";
    case ToolOutcome::Kind::kTimeout:
      return "timeout";
    case ToolOutcome::Kind::kDead:
      return "dead";
    case ToolOutcome::Kind::kCancelled:
      return "cancelled";
  }
  return "?";
}

std::string model_text(const ToolOutcome& outcome, std::size_t bytes_max) {
  switch (outcome.kind) {
    case ToolOutcome::Kind::kOk:
      return result_text(outcome.text, bytes_max);
    case ToolOutcome::Kind::kError:
      return error_text(outcome.text, bytes_max);
    case ToolOutcome::Kind::kLimit:
      return error_text("the tool was stopped: " + outcome.text, bytes_max);
    case ToolOutcome::Kind::kTimeout:
      return error_text("the tool did not answer in time: " + outcome.text, bytes_max);
    case ToolOutcome::Kind::kDead:
      return error_text("the tool's process died: " + outcome.text, bytes_max);
    case ToolOutcome::Kind::kCancelled:
      return error_text("the call was cancelled", bytes_max);
  }
  return error_text("unknown outcome", bytes_max);
}

}  // namespace longhaul::tools
