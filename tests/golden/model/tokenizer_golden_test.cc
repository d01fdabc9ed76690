// Ids recorded from the `tokenizers` library by scripts/golden/tokenizer_corpus.py.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "model/tokenizer.h"
#include "runtime/base/json.h"

namespace longhaul::model {
namespace {

using Ids = std::vector<TokenId>;

std::string read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
}

const std::string kFolder = std::string(LONGHAUL_SOURCE_DIR) + "/tests/golden/model/tokenizer/";

std::string from_base64(std::string_view text) {
  static constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  std::uint32_t bits = 0;
  int n_bits = 0;
  for (char c : text) {
    if (c == '=') break;
    bits = bits << 6 | static_cast<std::uint32_t>(kDigits.find(c));
    n_bits += 6;
    if (n_bits >= 8) {
      n_bits -= 8;
      out.push_back(static_cast<char>(bits >> n_bits));
      bits &= (1U << n_bits) - 1;
    }
  }
  return out;
}

// As scripts/golden/tokenizer_corpus.py packs them: base-128 digits, lowest first.
Ids ids_of(const json::value& packed) {
  Ids ids;
  TokenId id = 0;
  int shift = 0;
  for (char c : from_base64(packed.get_string())) {
    const auto byte = static_cast<std::uint8_t>(c);
    id |= static_cast<TokenId>(byte & 127) << shift;
    shift += 7;
    if (byte >= 128) continue;
    ids.push_back(id);
    id = 0;
    shift = 0;
  }
  return ids;
}

// The full vocabulary is 8 MB and not part of the repository; scripts/golden/tekken.py writes it.
std::unique_ptr<Tokenizer> full_tekken() {
  const std::string path = std::string(LONGHAUL_BINARY_DIR) + "/tekken.json";
  if (!std::filesystem::exists(path)) return nullptr;
  auto tokenizer = Tokenizer::parse(read(path), path);
  EXPECT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
  return std::move(*tokenizer);
}

#define SKIP_WITHOUT(tokenizer) \
  if ((tokenizer) == nullptr)   \
  GTEST_SKIP() << "no build/tekken.json; `python3 scripts/golden/tekken.py build/tekken.json` writes it"

std::string fnv1a(std::string_view text) {
  std::uint64_t value = 0xCBF29CE484222325;
  for (char c : text) value = (value ^ static_cast<std::uint8_t>(c)) * 0x100000001B3;
  return fmt::format("{:016x}", value);
}

// Lines of `name`; the first one says which tokenizer.json the ids are of.
template <class Check>
int for_each_line(const std::string& name, const std::string& tokenizer_path, Check check) {
  std::ifstream in(kFolder + name);
  std::string line;
  EXPECT_TRUE(std::getline(in, line)) << name;
  EXPECT_EQ(parse_json(line)->at("fnv1a").get_string(), fnv1a(read(tokenizer_path)))
      << tokenizer_path << " changed: record its ids anew with\n  python3 scripts/golden/tokenizer_corpus.py --golden "
      << "tests/golden/model/tokenizer/" << name << " " << tokenizer_path;
  int n = 0;
  while (std::getline(in, line)) {
    auto entry = parse_json(line);
    EXPECT_TRUE(entry.has_value());
    check(entry->get_object());
    ++n;
  }
  return n;
}

void expect_recorded_ids(const std::string& name, const std::string& path, int n_least) {
  auto tokenizer = Tokenizer::parse(read(path), path);
  ASSERT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
  const int n = for_each_line(name, path, [&](const json::object& entry) {
    const std::string text = from_base64(entry.at("b").get_string());
    EXPECT_EQ((*tokenizer)->encode(text), ids_of(entry.at("s"))) << text;
    const json::value* content = entry.if_contains("c");
    EXPECT_EQ((*tokenizer)->encode_content(text), ids_of(content != nullptr ? *content : entry.at("s"))) << text;
    EXPECT_EQ(*(*tokenizer)->decode((*tokenizer)->encode_content(text)), text);
  });
  EXPECT_GT(n, n_least);
}

TEST(TokenizerGolden, SmallTekkenGivesTheLibrarysIds) {
  expect_recorded_ids("lines.jsonl", kFolder + "tekken_small.json", 500);
}

TEST(TokenizerGolden, PicoGivesTheLibrarysIds) {
  expect_recorded_ids("pico.jsonl", std::string(LONGHAUL_SOURCE_DIR) + "/model/pico/tokenizer.json", 300);
}

TEST(TokenizerGolden, FullTekkenGivesTheLibrarysIds) {
  auto tokenizer = full_tekken();
  SKIP_WITHOUT(tokenizer);
  for_each_line("lines.jsonl", kFolder + "tekken_small.json", [&](const json::object& entry) {
    const std::string text = from_base64(entry.at("b").get_string());
    EXPECT_EQ(tokenizer->encode(text), ids_of(entry.at("f"))) << text;
  });
}

// Vectors of the family's checkpoints.
TEST(TokenizerGolden, FamilyVectors) {
  auto tokenizer = full_tekken();
  SKIP_WITHOUT(tokenizer);
  EXPECT_EQ(tokenizer->vocabulary().size(), 131072U);
  for (const auto& [text, ids] : std::vector<std::pair<std::string, Ids>>{
           {"<|im_start|>system\n", {10, 25708, 1010}},
           {"<|im_start|>user\n", {10, 3263, 1010}},
           {"<|im_start|>assistant\n", {10, 1503, 19464, 1010}},
           {"<|im_end|>\n", {11, 1010}},
           {"<think>\n", {12, 1010}},
           {"<tool_call>\n", {14, 1010}},
           {"<tool_response>\n", {16, 1010}},
           {"\n\n", {1267}},
           {".\n\n", {1338}},
           {">\n", {1561}},
           {"Hello, world!", {22177, 1044, 4304, 1033}},
           {"You are a helpful assistant.", {4568, 1584, 1261, 20351, 27089, 1046}},
           {"<function=", {1060, 5165, 1061}},
           {"<parameter=", {1060, 31960, 1061}},
           {"</function>\n", {1885, 5165, 1561}},
           {"</parameter>\n", {1885, 31960, 1561}},
           {"12345", {1049, 1050, 1051, 1052, 1053}},
           {"don't", {21797, 2405}},
           {"{reasoning effort: low}", {1123, 80277, 1302, 8267, 1058, 4253, 1125}},
       }) {
    EXPECT_EQ(tokenizer->encode(text), ids) << text;
    EXPECT_EQ(*tokenizer->decode(ids), text);
  }
  const Ids content = tokenizer->encode_content("<|im_start|>");
  EXPECT_GT(content.size(), 1U);
  for (TokenId id : content) EXPECT_GE(id, 1000U);
}

}  // namespace
}  // namespace longhaul::model
