// A grammar as people write it, read into a tree. Internal to tools/: text_grammar.h compiles it. The dialect is the
// common one (GBNF): `name ::= body`, one rule after another; in a body literals "..." or '...', classes [a-z] and
// [^...], `.` for any character, names, groups, alternatives with |, and after any of them ? * + {n} {n,} {n,m} {,m};
// # begins a comment. Escapes: \n \r \t \\ \" \' \[ \] \- \^ \xHH \uHHHH \UHHHHHHHH, all naming code points.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/result.h"
#include "tools/char_set.h"

namespace longhaul::tools {

struct TextPlace {
  std::uint32_t line = 1, column = 1;  // the column in characters
};
std::string to_string(TextPlace place);  // "line 3, column 7"

struct EbnfNode {
  enum class Kind : std::uint8_t { kLiteral, kChars, kSequence, kChoice, kRepeat, kRule };
  Kind kind = Kind::kSequence;
  TextPlace place;
  std::string text;                  // kLiteral: UTF-8; kRule: its name
  CharSet set;                       // kChars
  std::vector<std::uint32_t> parts;  // indices of nodes; kRepeat has one
  std::uint32_t min = 0, max = 0;    // kRepeat; kUnbounded (regex.h): no limit
  std::uint32_t rule = 0;            // kRule: which one
};

struct EbnfRule {
  std::string name;
  TextPlace place;
  std::uint32_t body = 0;
};

struct Ebnf {
  std::vector<EbnfNode> nodes;
  std::vector<EbnfRule> rules;
  std::uint32_t root = 0;  // the rule that is called "root"
};

inline constexpr std::size_t kEbnfBytesMax = 256 * 1024;
inline constexpr std::size_t kEbnfNestingMax = 100;  // of groups

// kInvalidArgument with line and column: not a grammar, a rule that is there twice or not at all, no root.
// kUnsupported: tokens by name or number, look-ahead. kResourceExhausted: too large, too deep.
Result<Ebnf> read_ebnf(std::string_view text);

}  // namespace longhaul::tools
