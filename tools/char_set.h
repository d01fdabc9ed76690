// Sets of code points: what a character class of a pattern stands for. Surrogates are in none.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace longhaul::tools {

inline constexpr std::uint32_t kCodePointMax = 0x10FFFF;

class CharSet {
 public:
  using Range = std::pair<std::uint32_t, std::uint32_t>;  // both ends inside

  CharSet() = default;
  explicit CharSet(std::vector<Range> ranges);  // in any order, overlapping or not
  static CharSet one(std::uint32_t c) { return CharSet({{c, c}}); }
  static const CharSet& all();

  const std::vector<Range>& ranges() const { return ranges_; }  // sorted, apart
  bool empty() const { return ranges_.empty(); }
  bool has(std::uint32_t c) const;
  std::uint64_t size() const;

  CharSet operator|(const CharSet& other) const;
  CharSet operator&(const CharSet& other) const;
  CharSet operator~() const;
  friend bool operator==(const CharSet&, const CharSet&) = default;

 private:
  std::vector<Range> ranges_;
};

// Of ECMA-262.
const CharSet& digit_set();     // \d
const CharSet& word_set();      // \w
const CharSet& space_set();     // \s
const CharSet& line_end_set();  // what . leaves out
// \p{name} with a general category ("Lu", "Letter"), "Script=Greek", "Script_Extensions=Greek" or one of the binary
// properties that the Unicode tables at hand know; none: an unknown name. Built once a process.
std::optional<CharSet> property_set(std::string_view name);

}  // namespace longhaul::tools
