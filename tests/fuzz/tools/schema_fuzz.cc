// A schema, a line end, a text: whatever compiles must judge any text without a crash, and what it accepts must be JSON
// that the validator accepts.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/base/check.h"
#include "tools/grammar.h"

using namespace longhaul;
using namespace longhaul::tools;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t cut = std::min(input.find('\n'), input.size());
  auto schema = parse_json(input.substr(0, cut), {.bytes_max = 1 << 16});
  if (!schema) return 0;
  auto compiled = compile_schema(*schema, {.nodes_max = 2000});
  if (!compiled) return 0;
  static const model::Vocabulary none;
  auto grammar = Grammar::for_json(none, *compiled);
  if (!grammar || cut == input.size()) return 0;
  const std::string_view text = input.substr(cut + 1);
  if (text.size() > 4096) return 0;
  const State end = (*grammar)->advance((*grammar)->start(), text);
  if (end.dead() || !(*grammar)->complete(end)) return 0;
  auto value = parse_json(text);
  if (!value) {
    // The grammar has no range of numbers; a double has.
    LONGHAUL_CHECK(value.error().message.find("out of range") != std::string::npos, "accepted text is JSON");
    return 0;
  }
  // Digits beyond a double's are the validator's trouble.
  if (text.size() > 15 && text.find_first_of("0123456789") != text.npos) return 0;
  LONGHAUL_CHECK(validate(*schema, *value).has_value(), "accepted text is valid");
  return 0;
}
