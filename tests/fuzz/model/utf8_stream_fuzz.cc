// Any bytes in any cuts (the first byte steers them): the same text as in one piece, valid UTF-8 at every moment.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "model/tokenizer.h"
#include "model/utf8.h"
#include "runtime/base/check.h"

namespace {

bool is_valid(std::string_view text) {
  while (!text.empty()) {
    const auto step = longhaul::model::next_utf8(text);
    if (step.kind != longhaul::model::Utf8Step::Kind::kCharacter) return false;
    text.remove_prefix(step.length);
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using longhaul::model::Utf8Stream;
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  Utf8Stream whole, cut;
  std::string once = whole.push(text);
  once += whole.flush();
  std::string parts;
  std::uint32_t state = data[0] * 2654435761U + 1;
  for (std::size_t at = 0; at < text.size();) {
    state = state * 1664525 + 1013904223;
    const std::size_t n = std::min<std::size_t>(state >> 29, text.size() - at);
    const std::string shown = cut.push(text.substr(at, n));
    LONGHAUL_CHECK(is_valid(shown), "what is shown is valid UTF-8");
    parts += shown;
    at += n;
  }
  parts += cut.flush();
  LONGHAUL_CHECK(parts == once && is_valid(once), "cuts do not matter");
  LONGHAUL_CHECK(!is_valid(text) || once == text, "valid text is passed on as it is");
  return 0;
}
