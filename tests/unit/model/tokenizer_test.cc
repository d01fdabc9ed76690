#include "model/tokenizer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace longhaul::model {
namespace {

// A tokenizer.json of 256 bytes and a few merges, spelled out by hand.
struct Spec {
  std::string normalizer = "null";
  std::string pre_tokenizer =
      R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\p{L}+|\\p{N}|\\s+|[^\\s\\p{L}\\p{N}]+"},)"
      R"("behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})";
  std::string decoder = R"({"type":"ByteLevel"})";
  std::string post_processor = "null";
  std::string model_extra = R"("dropout":null,"unk_token":null,"byte_fallback":false,"ignore_merges":false,)";
  std::string merges = R"([["a","b"],["ab","c"],"b c",["c","d"]])";
  std::string vocab_extra = R"(,"ab":256,"abc":257,"bc":258,"cd":259,"whole":260)";
  std::string added =
      R"([{"id":300,"content":"<|im_start|>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},)"
      R"({"id":301,"content":"<think>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":false},)"
      R"({"id":302,"content":"||","single_word":false,"lstrip":true,"rstrip":true,"normalized":false,"special":false},)"
      R"({"id":303,"content":"cat","single_word":true,"lstrip":false,"rstrip":false,"normalized":true,"special":false},)"
      R"({"id":304,"content":"|||","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":false}])";
  std::string skip_byte;  // this byte's token is left out

  std::string json() const {
    std::string vocab;
    std::uint32_t next = 0x100;
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      const std::uint32_t character = printable ? byte : next++;
      const std::string name = fmt::format("\\u{:04x}", character);
      if (name == skip_byte) continue;
      vocab += fmt::format("{}\"{}\":{}", vocab.empty() ? "" : ",", name, byte);
    }
    return fmt::format(
        R"({{"version":"1.0","truncation":null,"padding":null,"added_tokens":{},"normalizer":{},"pre_tokenizer":{},)"
        R"("post_processor":{},"decoder":{},"model":{{"type":"BPE",{}"vocab":{{{}{}}},"merges":{}}}}})",
        added, normalizer, pre_tokenizer, post_processor, decoder, model_extra, vocab, vocab_extra, merges);
  }
};

std::unique_ptr<Tokenizer> make(const Spec& spec = {}) {
  auto tokenizer = Tokenizer::parse(spec.json(), "/t/tokenizer.json");
  EXPECT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
  return tokenizer.has_value() ? std::move(*tokenizer) : nullptr;
}

std::string error_of(const Spec& spec) {
  auto tokenizer = Tokenizer::parse(spec.json(), "/t/tokenizer.json");
  EXPECT_FALSE(tokenizer.has_value());
  if (tokenizer.has_value()) return "";
  EXPECT_TRUE(tokenizer.error().message.starts_with("/t/tokenizer.json: ")) << tokenizer.error().message;
  return tokenizer.error().message;
}

using Ids = std::vector<TokenId>;

TEST(Tokenizer, MergesByRankThenFromTheLeft) {
  auto tokenizer = make();
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->encode("abc"), (Ids{257}));
  EXPECT_EQ(tokenizer->encode("bcd"), (Ids{258, 'd'}));
  EXPECT_EQ(tokenizer->encode("abab"), (Ids{256, 256}));
  EXPECT_EQ(tokenizer->encode("abcd ab1"), (Ids{257, 'd', ' ', 256, '1'}));
  EXPECT_EQ(tokenizer->encode(""), Ids{});
  EXPECT_EQ(tokenizer->encode("whole"), (Ids{'w', 'h', 'o', 'l', 'e'}));
}

TEST(Tokenizer, AWholeWordIgnoresMerges) {
  Spec spec;
  spec.model_extra = R"("ignore_merges":true,)";
  auto tokenizer = make(spec);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->encode("whole"), (Ids{260}));
  EXPECT_EQ(tokenizer->encode("wholes"), (Ids{'w', 'h', 'o', 'l', 'e', 's'}));
}

TEST(Tokenizer, AddedTokens) {
  auto tokenizer = make();
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->encode("a<|im_start|>b<think>"), (Ids{'a', 300, 'b', 301}));
  // Blanks around are swallowed, the longer token wins, whole words only.
  EXPECT_EQ(tokenizer->encode("a \n|| \xE2\x80\x83 b"), (Ids{'a', 302, 'b'}));
  EXPECT_EQ(tokenizer->encode("a ||| b"), (Ids{'a', ' ', 304, ' ', 'b'}));
  EXPECT_EQ(tokenizer->encode("cat cats(cat)"), (Ids{303, ' ', 'c', 'a', 't', 's', '(', 303, ')'}));
  EXPECT_EQ(tokenizer->encode("\xC3\xA9"
                              "cat"),
            (Ids{0xC3, 0xA9, 'c', 'a', 't'}));
}

TEST(Tokenizer, ControlTokensInContentAreText) {
  auto tokenizer = make();
  ASSERT_NE(tokenizer, nullptr);
  const Ids ids = tokenizer->encode_content("x<|im_start|><think>||");
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 300U), 0);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 301U), 0) << "<think> is scaffolding whatever its flag";
  EXPECT_EQ(ids.back(), 302U) << "other added tokens still match";
  EXPECT_EQ(*tokenizer->vocabulary().control("<think>"), 301U);
  EXPECT_FALSE(tokenizer->vocabulary().control("||").has_value());
  EXPECT_FALSE(tokenizer->vocabulary().control("").has_value());
  EXPECT_TRUE(tokenizer->vocabulary().is_control(270)) << "an id without a token is never text";
  EXPECT_EQ(tokenizer->vocabulary().size(), 305U);
}

TEST(Tokenizer, ATokenWithAControlNameNeverComesOutOfText) {
  Spec spec;
  spec.vocab_extra += R"(,"<t":270,"hi":271,"nk>":272,"<s":273,"<s>":274)";
  spec.merges = R"([["<","s"],["<s",">"]])";
  spec.added = "[]";
  spec.model_extra = R"("ignore_merges":true,)";
  auto tokenizer = make(spec);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->encode("<s>"), (Ids{'<', 's', '>'}));  // the split keeps them apart
  spec.pre_tokenizer = R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\S+"},)"
                       R"("behavior":"Isolated"},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})";
  tokenizer = make(spec);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->encode_content("<s>"), (Ids{273, '>'}));
}

TEST(Tokenizer, RemovedAndInvertedSplits) {
  Spec spec;
  spec.merges = "[]";
  for (auto [behavior, invert, expected] : {std::tuple{"Isolated", "false", Ids{'a', ' ', 'b'}},
                                            {"Removed", "false", Ids{'a', 'b'}},
                                            {"Removed", "true", Ids{' '}},
                                            {"Isolated", "true", Ids{'a', ' ', 'b'}}}) {
    spec.pre_tokenizer = fmt::format(
        R"({{"type":"Sequence","pretokenizers":[{{"type":"Split","pattern":{{"String":" "}},"behavior":"{}","invert":{}}},)"
        R"({{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}}]}})",
        behavior, invert);
    auto tokenizer = make(spec);
    ASSERT_NE(tokenizer, nullptr);
    EXPECT_EQ(tokenizer->encode("a b"), expected) << behavior << invert;
  }
}

TEST(Tokenizer, ByteLevelAloneUsesItsOwnPattern) {
  Spec spec;
  spec.pre_tokenizer = R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true})";
  spec.merges = R"([["\u0120","a"],["a","1"]])";
  spec.vocab_extra = R"(,"\u0120a":256,"a1":257)";
  spec.added = "[]";
  auto tokenizer = make(spec);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->encode("a1 a"), (Ids{'a', '1', 256}));
}

TEST(Tokenizer, PrefixOfRawCompletions) {
  Spec spec;
  EXPECT_TRUE(make(spec)->prefix_tokens().empty());
  spec.post_processor =
      R"({"type":"Sequence","processors":[{"type":"ByteLevel"},{"type":"TemplateProcessing","single":[{"SpecialToken":)"
      R"({"id":"<|im_start|>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":)"
      R"({"<|im_start|>":{"id":"<|im_start|>","ids":[300],"tokens":["<|im_start|>"]}}}]})";
  auto tokenizer = make(spec);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->prefix_tokens(), (Ids{300}));
  EXPECT_EQ(tokenizer->encode("a"), (Ids{'a'}));
}

TEST(Tokenizer, DecodeNamesAnIdOutOfRange) {
  auto tokenizer = make();
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(*tokenizer->decode(Ids{300, 257, 301}), "<|im_start|>abc<think>");
  EXPECT_EQ(*tokenizer->decode(Ids{300, 257, 301}, false), "abc");
  auto wrong = tokenizer->decode(Ids{1, 305});
  ASSERT_FALSE(wrong.has_value());
  EXPECT_EQ(wrong.error().message, "token 305 at position 1: the vocabulary has 305 tokens");
}

TEST(Tokenizer, VocabularyAndModelMustFit) {
  auto tokenizer = make();
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_TRUE(check_vocabulary(tokenizer->vocabulary(), 305, "m").has_value());
  EXPECT_TRUE(check_vocabulary(tokenizer->vocabulary(), 512, "m").has_value());
  auto wrong = check_vocabulary(tokenizer->vocabulary(), 304, "m");
  ASSERT_FALSE(wrong.has_value());
  EXPECT_EQ(wrong.error().message, "m: the tokenizer has 305 tokens, the model computes 304 logits");
}

TEST(Tokenizer, WhatIsNotDoneIsRefusedByName) {
  auto with = [](auto change) {
    Spec spec;
    change(spec);
    return error_of(spec);
  };
  EXPECT_NE(with([](Spec& s) { s.normalizer = R"({"type":"NFC"})"; }).find("NFC"), std::string::npos);
  EXPECT_NE(with([](Spec& s) { s.decoder = R"({"type":"WordPiece"})"; }).find("WordPiece"), std::string::npos);
  EXPECT_NE(with([](Spec& s) { s.decoder = "null"; }).find("decoder"), std::string::npos);
  EXPECT_NE(with([](Spec& s) { s.model_extra = R"("byte_fallback":true,)"; }).find("byte_fallback"), std::string::npos);
  EXPECT_NE(with([](Spec& s) { s.model_extra = R"("dropout":0.1,)"; }).find("dropout"), std::string::npos);
  EXPECT_NE(with([](Spec& s) { s.model_extra = R"("continuing_subword_prefix":"##",)"; }).find("##"),
            std::string::npos);
  EXPECT_NE(with([](Spec& s) { s.pre_tokenizer = R"({"type":"Metaspace"})"; }).find("Metaspace"), std::string::npos);
  EXPECT_NE(with([](Spec& s) { s.pre_tokenizer = "null"; }).find("pre_tokenizer"), std::string::npos);
  EXPECT_NE(with([](Spec& s) {
              s.pre_tokenizer = R"({"type":"ByteLevel","add_prefix_space":true,"use_regex":true})";
            }).find("add_prefix_space"),
            std::string::npos);
  auto pattern = [&](std::string_view regex, std::string_view behavior = "Isolated") {
    return with([&](Spec& s) {
      s.pre_tokenizer = fmt::format(
          R"({{"type":"Sequence","pretokenizers":[{{"type":"Split","pattern":{{"Regex":"{}"}},"behavior":"{}"}},)"
          R"({{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}}]}})",
          regex, behavior);
    });
  };
  EXPECT_NE(pattern("a", "MergedWithNext").find("MergedWithNext"), std::string::npos);
  EXPECT_NE(pattern("(a").find("pre_tokenizer"), std::string::npos);
  EXPECT_NE(pattern("[a").find("not closed"), std::string::npos);
  EXPECT_NE(pattern("\\\\h+").find("\\h"), std::string::npos);
  EXPECT_NE(pattern("[a[b]]").find("class inside a class"), std::string::npos);
  EXPECT_NE(pattern("[a&&b]").find("&&"), std::string::npos);
  EXPECT_NE(pattern("[\\\\W]").find("\\W inside a class"), std::string::npos);
  EXPECT_NE(pattern("a{1,2}+").find("}+"), std::string::npos);
  EXPECT_NE(pattern("(?<name>a)").find("(?<n"), std::string::npos);
  EXPECT_NE(pattern("").find("0 bytes"), std::string::npos);
}

TEST(Tokenizer, DamagedFilesAreNamed) {
  auto with = [](auto change) {
    Spec spec;
    change(spec);
    return error_of(spec);
  };
  EXPECT_NE(with([](Spec& s) { s.vocab_extra = R"(,"ab":256,"ab":257)"; }).find("\"ab\" stands there twice"),
            std::string::npos);
  EXPECT_NE(with([](Spec& s) { s.vocab_extra = R"(,"ab":255)"; }).find("id 255 stands there twice"), std::string::npos);
  EXPECT_NE(with([](Spec& s) { s.vocab_extra = R"(,"ab":-1)"; }).find("id of \"ab\" is -1"), std::string::npos);
  EXPECT_NE(with([](Spec& s) { s.vocab_extra = R"(,"ab":99999999)"; }).find("99999999"), std::string::npos);
  EXPECT_NE(with([](Spec& s) { s.skip_byte = "\\u0041"; }).find("no token for the byte 0x41"), std::string::npos);
  EXPECT_NE(with([](Spec& s) { s.merges = R"([["a","x"]])"; }).find("\"ax\" is not in model.vocab"), std::string::npos);
  EXPECT_NE(with([](Spec& s) { s.merges = R"(["a b c"])"; }).find("expected two tokens"), std::string::npos);
  EXPECT_NE(with([](Spec& s) { s.merges = R"([["a"]])"; }).find("expected two strings"), std::string::npos);
  EXPECT_NE(with([](Spec& s) { s.merges = "{}"; }).find("model.merges is not a list"), std::string::npos);
  EXPECT_NE(with([](Spec& s) { s.added = R"([{"id":5,"content":"<x>"}])"; }).find("belongs to another token"),
            std::string::npos);
  EXPECT_NE(with([](Spec& s) { s.added = R"([{"id":301,"content":""}])"; }).find("content of 0 bytes"),
            std::string::npos);
  EXPECT_NE(with([](Spec& s) { s.added = R"([{"id":301,"content":"ab"}])"; }).find("in model.vocab it has 256"),
            std::string::npos);
  EXPECT_NE(with([](Spec& s) { s.added = R"([{"id":301}])"; }).find("has no content"), std::string::npos);
  EXPECT_NE(with([](Spec& s) { s.added = "[" + s.added; }).find("not JSON"), std::string::npos);
  auto missing = Tokenizer::load("/nowhere");
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
}

// A pattern that needs exponentially many steps costs bounded time, and the text still gets through.
TEST(Tokenizer, AHostilePatternIsGivenUp) {
  Spec spec;
  spec.merges = "[]";
  spec.pre_tokenizer = R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"(?:a|aa|a+)+b|x"},)"
                       R"("behavior":"Isolated"},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})";
  auto tokenizer = make(spec);
  ASSERT_NE(tokenizer, nullptr);
  const std::string text = std::string(3000, 'a') + "x" + std::string(3000, 'a');
  EXPECT_EQ(*tokenizer->decode(tokenizer->encode_content(text)), text);
}

// A pre-token of two million bytes must not take quadratic time: at 10^12 steps this test would never end.
TEST(Tokenizer, OneLetterTwoMillionTimes) {
  Spec spec;
  spec.merges = R"([["a","a"],["aa","aa"]])";
  spec.vocab_extra = R"(,"aa":256,"aaaa":257)";
  auto tokenizer = make(spec);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->encode_content(std::string(2'000'001, 'a')).size(), 500'001U);
}

}  // namespace
}  // namespace longhaul::model
