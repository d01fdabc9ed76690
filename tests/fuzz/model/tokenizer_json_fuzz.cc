// Any text as tokenizer.json: refused with a message, or a tokenizer that gives back what it is given.
#include <cstdint>
#include <string_view>

#include "model/tokenizer.h"
#include "runtime/base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using longhaul::model::Tokenizer;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  auto tokenizer = Tokenizer::parse(text, "tokenizer.json");
  if (!tokenizer) {
    LONGHAUL_CHECK(tokenizer.error().message.starts_with("tokenizer.json: "), "an error names the file");
    return 0;
  }
  for (std::string_view sample : {std::string_view("Hello, <think> 12 \xE4\xB8\xAD\xFF\n\n"), text.substr(0, 200)}) {
    for (bool content : {false, true}) {
      const auto ids = content ? (*tokenizer)->encode_content(sample) : (*tokenizer)->encode(sample);
      for (auto id : ids) {
        LONGHAUL_CHECK(id < (*tokenizer)->vocabulary().size(), "ids are of the vocabulary");
        LONGHAUL_CHECK(!content || !(*tokenizer)->vocabulary().is_control(id), "content is never control");
      }
      LONGHAUL_CHECK((*tokenizer)->decode(ids).has_value(), "ids can be decoded");
    }
  }
  return 0;
}
