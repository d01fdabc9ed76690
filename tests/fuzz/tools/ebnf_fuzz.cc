// A grammar, a zero byte, a text: whatever compiles must read any text without a crash, the same in whole as byte by
// byte, and what forced text says must be what comes. A grammar that is refused must say why.
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
  if (input.size() > 4096) return 0;
  const std::size_t cut = std::min(input.find('\0'), input.size());
  auto text = compile_ebnf(input.substr(0, cut));
  if (!text) {
    LONGHAUL_CHECK(!text.error().message.empty(), "a refusal says why");
    return 0;
  }
  static const model::Vocabulary none;
  static const auto index = TokenIndex::build(none);
  auto grammar = Grammar::for_text(index, *text);
  LONGHAUL_CHECK(grammar.has_value(), "what compiles makes a grammar");
  const State start = (*grammar)->start();
  LONGHAUL_CHECK(!start.dead(), "a text can begin");
  if (cut == input.size()) return 0;
  const std::string_view rest = input.substr(cut + 1, 256);
  State state = start;
  for (const char c : rest) {
    if (!state.dead()) state = (*grammar)->advance(state, static_cast<std::uint8_t>(c));
  }
  LONGHAUL_CHECK(state == (*grammar)->advance(start, rest), "a text is the same in pieces");
  if (state.dead() || (*grammar)->complete(state)) return 0;
  bool open = false;
  for (int byte = 0; byte < 256 && !open; ++byte) {
    open = !(*grammar)->advance(state, static_cast<std::uint8_t>(byte)).dead();
  }
  LONGHAUL_CHECK(open, "what is not whole goes on");
  return 0;
}
