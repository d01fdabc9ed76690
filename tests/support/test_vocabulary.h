// Vocabularies for tests: the family's control tokens, every byte, and pieces of text as BPE would have them.
#pragma once

#include <cstdint>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "model/vocabulary.h"

namespace longhaul::test {

inline const std::vector<std::string>& control_names() {
  static const std::vector<std::string> names{
      "<unk>",    "<s>",         "</s>",         "<|im_start|>",    "<|im_end|>",      "<think>",
      "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"};
  return names;
}

inline model::Vocabulary make_vocabulary(const std::set<std::string>& pieces) {
  std::vector<model::Vocabulary::Token> tokens;
  for (const std::string& name : control_names()) tokens.push_back({name, true});
  for (int byte = 0; byte < 256; ++byte) tokens.push_back({std::string(1, static_cast<char>(byte)), false});
  for (const std::string& piece : pieces) {
    if (piece.size() > 1) tokens.push_back({piece, false});
  }
  return model::Vocabulary(std::move(tokens));
}

// About 700 tokens: what tool calls are made of.
inline model::Vocabulary small_vocabulary() {
  std::set<std::string> pieces{"\n<function=",
                               ">\n<parameter=",
                               "</parameter>\n",
                               "</function>\n",
                               "\n</parameter>",
                               "<parameter=",
                               "parameter",
                               "function",
                               ">\n",
                               "</",
                               "\n\n",
                               "\n</",
                               "=",
                               "true",
                               "false",
                               "null",
                               "True",
                               "False",
                               "None",
                               "\":",
                               "\": ",
                               "\",",
                               "\", \"",
                               "{\"",
                               "\"}",
                               "\"]",
                               "[\"",
                               "[[",
                               "]]",
                               "}}",
                               "{}",
                               "[]",
                               "},",
                               "],",
                               "\\n",
                               "\\u",
                               "\\\"",
                               "00",
                               "12",
                               "0.",
                               ".0",
                               "e+",
                               "1e",
                               "-1",
                               "é",
                               "日本",
                               "\xF0\x9F\x98\x80",
                               "\xE6\x97",
                               "\x97\xA5",
                               "\xA5",
                               "  ",
                               "    ",
                               "\n  ",
                               "\n    ",
                               " \"",
                               "\"\n",
                               "1\n",
                               "}\n",
                               "]\n",
                               "path",
                               "name",
                               "value",
                               "content",
                               "unit",
                               "city",
                               "a\n",
                               "\xC3",
                               "</think",
                               "tool_call"};
  std::mt19937_64 random(11);
  const std::string letters = "etaoinshrdlucmfwypvbgkjqxz";
  while (pieces.size() < 430) {
    std::string word = random() % 3 == 0 ? " " : "";
    for (std::size_t n = 2 + random() % 5; n > 0; --n) word += letters[random() % (1 + random() % letters.size())];
    pieces.insert(word);
  }
  return make_vocabulary(pieces);
}

// About 8,000 tokens, with pieces that cross every kind of border.
inline model::Vocabulary large_vocabulary() {
  std::mt19937_64 random(12);
  std::set<std::string> pieces;
  const std::vector<std::string> atoms{
      "\"", "\\",       "{", "}",  "[",        "]",        ":",   ",",    " ",    "\n", "\t",        "true",  "null",
      "1",  "0",        "-", ".",  "e",        "a",        "b",   "path", "name", "</", "parameter", ">",     "<",
      "=",  "function", "é", "日", "\xF0\x9F", "\x98\x80", "u00", "d83d", "\\u",  "x",  "key",       "value", "\r"};
  while (pieces.size() < 7700) {
    std::string piece;
    for (std::size_t n = 1 + random() % 5; n > 0; --n) {
      if (random() % 8 == 0) {
        piece += static_cast<char>(random());
      } else {
        piece += atoms[random() % atoms.size()];
      }
    }
    pieces.insert(piece);
  }
  return make_vocabulary(pieces);
}

}  // namespace longhaul::test
