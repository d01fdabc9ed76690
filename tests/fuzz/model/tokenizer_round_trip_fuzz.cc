// Any bytes as content: no control token, and decoding gives the bytes back.
#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "model/tokenizer.h"
#include "runtime/base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using longhaul::model::Tokenizer;
  static const auto tokenizer = [] {
    const std::string path = LONGHAUL_SOURCE_DIR "/tests/golden/model/tokenizer/tekken_small.json";
    std::ifstream in(path, std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    auto parsed = Tokenizer::parse(text, path);
    LONGHAUL_CHECK(parsed.has_value(), "the small vocabulary is there");
    return std::move(*parsed);
  }();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto ids = tokenizer->encode_content(text);
  for (auto id : ids) LONGHAUL_CHECK(!tokenizer->vocabulary().is_control(id), "content is never control");
  LONGHAUL_CHECK(*tokenizer->decode(ids) == text, "decode(encode_content(bytes)) is bytes");
  LONGHAUL_CHECK(*tokenizer->decode(tokenizer->encode(text)) == text,
                 "and no token of this vocabulary swallows blanks");
  return 0;
}
