#include "tools/token_trie.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <string>

#include "tests/support/test_vocabulary.h"
#include "tools/token_classes.h"
#include "tools/utf8.h"

namespace longhaul::tools {
namespace {

using model::TokenId;

const model::Vocabulary& words() {
  static const model::Vocabulary vocabulary = [] {
    const std::vector<std::string> atoms{"a",  "f",    "g",      "Z",    "9",    "-",    "\"",       " ",
                                         "\n", "\t",   "é",      "日",   "\xC3", "\xE3", "\xE2\x80", "😀",
                                         "{",  "true", "\u00a0", "tree", "  ",   "}",    ":",        "\x80"};
    std::mt19937_64 random(5);
    std::set<std::string> pieces;
    while (pieces.size() < 2000) {
      std::string piece;
      for (std::size_t n = 1 + random() % 12; n > 0; --n) piece += atoms[random() % atoms.size()];
      pieces.insert(piece);
    }
    return test::make_vocabulary(pieces);
  }();
  return vocabulary;
}

TEST(TokenTrie, BranchesAreTheChildren) {
  const TokenTrie trie(words());
  const auto nodes = trie.nodes();
  std::size_t n_tables = 0;
  const auto check = [&](const TokenTrie::Branches* branches, std::size_t from, std::size_t to) {
    if (branches == nullptr) return;
    ++n_tables;
    std::map<int, std::size_t> children;
    for (std::size_t i = from; i < to; i = nodes[i].end) children[nodes[i].byte] = i;
    for (int byte = 0; byte < 256; ++byte) {
      const auto at = children.find(byte);
      EXPECT_EQ(trie.child(*branches, static_cast<std::uint8_t>(byte), to), at == children.end() ? to : at->second);
      EXPECT_EQ((branches->bytes[static_cast<std::size_t>(byte / 64)] >> (byte % 64)) & 1,
                at != children.end() ? 1 : 0);
    }
  };
  check(trie.branches(), 0, nodes.size());
  for (std::size_t i = 0; i < nodes.size(); ++i) check(trie.branches(i), i + 1, nodes[i].end);
  EXPECT_GT(n_tables, 20U);
}

TEST(TokenTrie, WhatComesBehindWhitespace) {
  const auto index = TokenIndex::build(words());
  std::multimap<std::string, TokenId> expected;
  std::set<TokenId> whitespace;
  for (TokenId id = 0; id < words().size(); ++id) {
    const std::string bytes(words().bytes(id));
    if (words().is_control(id)) continue;
    const std::size_t n = bytes.find_first_not_of(" \t\r\n");
    if (n == std::string::npos) whitespace.insert(id);
    if (n == 0 || n == std::string::npos) continue;
    const std::string rest = bytes.substr(n);
    const std::string marks = "\"-0123456789{}[],:";
    bool kept = marks.find(rest[0]) != std::string::npos;
    for (const std::string literal : {"true", "false", "null", "True", "False", "None"}) {
      kept = kept || rest.substr(0, literal.size()) == literal.substr(0, rest.size());
    }
    if (kept) expected.emplace(rest, id);
  }
  EXPECT_EQ(std::set<TokenId>(index->whitespace.begin(), index->whitespace.end()), whitespace);
  std::multimap<std::string, TokenId> found;
  std::string path;
  const auto nodes = index->spaced->nodes();
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    path.resize(nodes[i].depth - 1U);
    path += static_cast<char>(nodes[i].byte);
    for (const TokenId id : index->spaced->ids(i)) found.emplace(path, id);
  }
  EXPECT_GT(found.size(), 100U);
  EXPECT_EQ(std::multiset(found.begin(), found.end()), std::multiset(expected.begin(), expected.end()));
}

TEST(TokenClasses, AddsTheTokensOfSuchCharacters) {
  const TokenClasses classes(words());
  std::mt19937_64 random(6);
  std::size_t n_added = 0;
  for (int round = 0; round < 300; ++round) {
    CharClasses open = random() & random();
    if (round % 3 == 0) open |= CharClasses{1} << kClassWide | CharClasses{1} << kClassLower;
    if (round % 7 == 0) open = kAllChars;
    const std::size_t bytes = round % 2 == 0 ? TokenClasses::kBytesMax : 1 + random() % TokenClasses::kBytesMax;
    model::TokenMask mask(words().size());
    classes.add_within(open, bytes, mask);
    for (TokenId id = 0; id < words().size(); ++id) {
      const std::string_view text = words().bytes(id);
      bool within = !words().is_control(id) && !text.empty() && text.size() <= bytes;
      CharInPart part;
      for (std::size_t i = 0; i < text.size(); ++i) {
        const bool whole = within && part.add(static_cast<std::uint8_t>(text[i]));
        if (part.phase == kUtf8Wrong) within = within && (open & kNoChar) != 0;
        if (part.phase == kUtf8Wrong || !within) break;
        const int kind = !whole              ? kClassWide
                         : part.value < 0x80 ? ascii_class(static_cast<std::uint8_t>(part.value))
                                             : wide_class(part.value);
        // A character counts as what it is once it is whole.
        if (whole || i + 1 == text.size()) within = ((open >> kind) & 1) != 0;
      }
      ASSERT_EQ(mask.allowed(id), within) << testing::PrintToString(std::string(text)) << " " << open << " " << bytes;
      n_added += within ? 1 : 0;
    }
  }
  EXPECT_GT(n_added, 1000U);
}

}  // namespace
}  // namespace longhaul::tools
