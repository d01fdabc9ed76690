// Grammars that users write, for a whole text: EBNF rules or one regular expression, compiled for the automaton.
//
//   auto text = compile_ebnf("root ::= \"yes\" | \"no\"");   // or compile_regex("[a-z]+@[a-z]+\\.com")
//   auto grammar = Grammar::for_text(index, *text, {.stop = eos_tokens});
//
// What needs no stack becomes languages of regex.h (a rule that does not come back to itself is put in where it is
// named), so most grammars are one deterministic automaton. The rest is a network: each rule has positions, a position
// is such a language or the call of a rule, and the automaton's stack holds the calls that are open, at most 256 deep.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/result.h"
#include "tools/regex.h"

namespace longhaul::tools {

// Immutable; shared by grammars and threads.
class TextGrammar {
 public:
  static constexpr std::uint32_t kNoRule = ~std::uint32_t{0};

  // A place in a rule's body: text of `part`, or the call of `rule`.
  struct Position {
    RegexId part = kNoText;
    std::uint32_t rule = kNoRule;
    bool last = false;       // the rule may end here
    bool tail = false;       // nothing may follow in the rule, so a call here needs no way back
    std::uint16_t need = 0;  // calls that must be opened here or on the shortest way to the rule's end
    std::uint32_t follow_from = 0, follow_to = 0;  // of follows()
  };
  struct Rule {
    bool nullable = false;
    std::uint32_t first_from = 0, first_to = 0;  // of follows(): the positions that it begins with
  };

  const RegexPool& pool() const { return pool_; }
  const std::vector<Rule>& rules() const { return rules_; }
  const std::vector<Position>& positions() const { return positions_; }
  const std::vector<std::uint32_t>& follows() const { return follows_; }
  std::uint32_t root() const { return root_; }
  bool accepts_empty() const { return rules_[root_].nullable; }

 private:
  friend class TextGrammarCompiler;
  RegexPool pool_;
  std::vector<Rule> rules_;
  std::vector<Position> positions_;
  std::vector<std::uint32_t> follows_;
  std::uint32_t root_ = 0;
};

inline constexpr std::uint32_t kTextNestingMax = 256;

// The dialect is ebnf_reader.h's; the rule `root` is the text. A rule whose alternatives begin with itself is read as
// the repetition that it is. kInvalidArgument with line and column: not a grammar, a name without a rule, a rule that
// is never used or that no text can end, one that begins with itself by way of others. kUnsupported: a construct that
// is refused, by name. kResourceExhausted: a limit on size, nesting or states.
Result<std::shared_ptr<const TextGrammar>> compile_ebnf(std::string_view text);

// The whole text must fit the pattern (ECMA-262 with the u flag, as in schemas; anchors are allowed). Errors as
// RegexPool::pattern; kInvalidArgument also if no text fits.
Result<std::shared_ptr<const TextGrammar>> compile_regex(std::string_view pattern);

}  // namespace longhaul::tools
