#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "model/tokenizer.h"
#include "model/utf8.h"

namespace longhaul::model {
namespace {

constexpr std::uint64_t kSeed = 20260701;

// Text of characters of every length, broken here and there.
std::string random_bytes(std::mt19937_64& random) {
  static const std::vector<std::string> kPieces = {"a",
                                                   "Z",
                                                   " ",
                                                   "\n",
                                                   "0",
                                                   "\xC3\xA9",
                                                   "\xE4\xB8\xAD",
                                                   "\xF0\x9F\x98\x80",
                                                   "\xE2\x80\x8D",
                                                   "\xCC\x81",
                                                   "\xF0\x9F\x98",
                                                   "\xE4",
                                                   "\xFF",
                                                   "\x80",
                                                   "\xC0\xAF",
                                                   "\xED\xA0\x80",
                                                   "\xF4\x90\x80\x80",
                                                   "<|im_end|>",
                                                   "<think>",
                                                   "hello",
                                                   std::string(1, '\0')};
  std::string text;
  const std::size_t n = random() % 30;
  for (std::size_t i = 0; i < n; ++i) {
    text += random() % 8 == 0 ? std::string(1, static_cast<char>(random())) : kPieces[random() % kPieces.size()];
  }
  return text;
}

// Decoding with replacement, all at once: what Utf8Stream must give however the bytes are cut.
std::string with_replacement(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const Utf8Step step = next_utf8(text);
    out += step.kind == Utf8Step::Kind::kCharacter ? std::string(text.substr(0, step.length)) : "\xEF\xBF\xBD";
    text.remove_prefix(step.length);
  }
  return out;
}

TEST(Utf8Stream, CutsNeverMatterAndCharactersStayWhole) {
  std::mt19937_64 random(kSeed);
  for (int run = 0; run < 20000; ++run) {
    const std::string text = random_bytes(random);
    Utf8Stream stream;
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t n = std::min<std::size_t>(random() % 4, text.size() - at);
      const std::string shown = stream.push(std::string_view(text).substr(at, n));
      EXPECT_EQ(with_replacement(shown), shown) << "seed " << kSeed << " run " << run;
      out += shown;
      at += n;
    }
    out += stream.flush();
    EXPECT_EQ(out, with_replacement(text)) << "seed " << kSeed << " run " << run;
    EXPECT_EQ(stream.flush(), "");
  }
}

// Nothing is held back longer than needed: a whole character comes out at once, at most three bytes wait.
TEST(Utf8Stream, ShowsAllItCan) {
  Utf8Stream stream;
  EXPECT_EQ(stream.push("a\xF0\x9F\x98"), "a");
  EXPECT_EQ(stream.push("\x80"), "\xF0\x9F\x98\x80");
  EXPECT_EQ(stream.push("\xE4\xB8"), "");
  EXPECT_EQ(stream.push("x"), "\xEF\xBF\xBDx");
  EXPECT_EQ(stream.push("\xE4"), "");
  EXPECT_EQ(stream.flush(), "\xEF\xBF\xBD");
  EXPECT_EQ(stream.push("b"), "b");
}

TEST(TokenizerProperty, ContentRoundTripsAndHoldsNoControl) {
  const std::string path = std::string(LONGHAUL_SOURCE_DIR) + "/tests/golden/model/tokenizer/tekken_small.json";
  std::ifstream in(path, std::ios::binary);
  auto tokenizer =
      Tokenizer::parse(std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()), path);
  ASSERT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
  std::mt19937_64 random(kSeed);
  for (int run = 0; run < 5000; ++run) {
    const std::string text = random_bytes(random);
    const auto ids = (*tokenizer)->encode_content(text);
    EXPECT_EQ(*(*tokenizer)->decode(ids), text) << "seed " << kSeed << " run " << run;
    for (TokenId id : ids) EXPECT_FALSE((*tokenizer)->vocabulary().is_control(id));
    // Without blanks to swallow, encode() loses nothing either.
    EXPECT_EQ(*(*tokenizer)->decode((*tokenizer)->encode(text)), text);
  }
}

}  // namespace
}  // namespace longhaul::model
