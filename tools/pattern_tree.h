// A pattern of ECMA-262 as a tree. Internal to tools/: regex_parser.cc makes languages of it.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "runtime/base/result.h"
#include "tools/char_set.h"

namespace longhaul::tools {

struct PatternNode {
  enum class Kind { kChars, kSequence, kChoice, kRepeat, kStart, kEnd, kWordEdge, kNoWordEdge, kAhead, kNotAhead };
  Kind kind = Kind::kSequence;
  bool plain = true;  // no assertion inside
  CharSet set;
  std::vector<std::shared_ptr<const PatternNode>> parts;
  std::uint32_t min = 0, max = 0;
  std::uint32_t shortest = 0;  // assertions count as nothing
};

// kInvalidArgument: not a pattern. kUnsupported: a construct that is refused. Both with the character's number.
Result<std::shared_ptr<const PatternNode>> read_pattern(std::string_view utf8);
// Does the next character always tell which part of the pattern it belongs to? Then a state is one position, however
// large the counts. `after`: what may follow the node.
bool one_way(const PatternNode& node, const CharSet& after);

}  // namespace longhaul::tools
