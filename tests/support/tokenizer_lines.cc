// For scripts/golden/tokenizer_corpus.py: encodes texts with our tokenizer. Usage: tokenizer_lines TOKENIZER.json
// [content] Standard input: records of a 4-byte little-endian length and that many bytes. Standard output: for each
// record a 4-byte count and that many 4-byte ids. With "content", control tokens are text. Every id sequence is also
// decoded and compared with the bytes it came from (not for encode(), whose added tokens may swallow blanks).
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#include "model/tokenizer.h"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: tokenizer_lines TOKENIZER.json [content]\n");
    return 2;
  }
  const bool content = argc > 2;
  // "content-lossy": for tokenizers whose split drops text or whose added tokens swallow blanks.
  const bool check = content && std::strcmp(argv[2], "content") == 0;
  std::ifstream in(argv[1], std::ios::binary);
  const std::string json((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  auto tokenizer = longhaul::model::Tokenizer::parse(json, argv[1]);
  if (!tokenizer) {
    std::fprintf(stderr, "%s\n", tokenizer.error().message.c_str());
    return 1;
  }
  std::uint32_t length = 0;
  std::string text;
  while (std::fread(&length, 4, 1, stdin) == 1) {
    text.resize(length);
    if (length != 0 && std::fread(text.data(), 1, length, stdin) != length) return 1;
    const auto ids = content ? (*tokenizer)->encode_content(text) : (*tokenizer)->encode(text);
    if (content && check && *(*tokenizer)->decode(ids) != text) {
      std::fprintf(stderr, "decode(encode_content(x)) is not x\n");
      return 1;
    }
    const auto count = static_cast<std::uint32_t>(ids.size());
    std::fwrite(&count, 4, 1, stdout);
    std::fwrite(ids.data(), 4, ids.size(), stdout);
  }
  return 0;
}
