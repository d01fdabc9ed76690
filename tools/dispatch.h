// What a tool's result looks like to the model: text, cut to a limit with a notice, always valid UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace longhaul::tools {

inline constexpr std::size_t kResultBytesMax = 256 << 10;

// Success: the text as it is. Invalid UTF-8 becomes U+FFFD; beyond `bytes_max` the text ends at a whole character,
// followed by "\n[cut: N of M bytes shown]".
std::string result_text(std::string_view text, std::size_t bytes_max = kResultBytesMax);

// Failure: "error: MESSAGE", under the same rules.
std::string error_text(std::string_view message, std::size_t bytes_max = kResultBytesMax);

// How a call ended.
struct ToolOutcome {
  enum class Kind : std::uint8_t {
    kOk,         // text is the result
    kError,      // the tool said no; text is its message
    kLimit,      // a limit of memory, time or output stopped it
    kTimeout,    // it did not answer in time
    kDead,       // its process died
    kCancelled,  // somebody stopped it
  };
  Kind kind = Kind::kOk;
  std::string text;

  // The tool itself came to an end: what it meant to do is done or was refused.
  bool ended() const { return kind == Kind::kOk || kind == Kind::kError; }
};
std::string_view to_string(ToolOutcome::Kind kind);

// What the model is told.
std::string model_text(const ToolOutcome& outcome, std::size_t bytes_max = kResultBytesMax);

}  // namespace longhaul::tools
