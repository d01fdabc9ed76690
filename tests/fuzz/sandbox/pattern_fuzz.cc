// The matcher with any pattern on any subject: within its steps, within the subject.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "sandbox/lua_pattern.h"

using namespace longhaul::sandbox;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::size_t cut = std::min<std::size_t>(data[0], text.size());
  const std::string_view pattern = text.substr(0, cut), subject = text.substr(cut);
  PatternMatcher matcher(subject, pattern, 20'000);
  for (std::size_t at = 0; at <= subject.size(); ++at) {
    if (matcher.match_at(at)) {
      if (matcher.end() < at || matcher.end() > subject.size()) std::abort();
      for (const PatternCapture& capture : matcher.captures()) {
        if (capture.begin > subject.size()) std::abort();
        if (capture.length >= 0 && capture.begin + static_cast<std::size_t>(capture.length) > subject.size()) {
          std::abort();
        }
      }
    }
    if (!matcher.error().empty()) break;
  }
  return 0;
}
