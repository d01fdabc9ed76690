#include "tools/char_set.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "tools/char_class.h"
#include "tools/utf8.h"

namespace longhaul::tools {

CharSet::CharSet(std::vector<Range> ranges) {
  std::sort(ranges.begin(), ranges.end());
  for (const Range& r : ranges) {
    if (!ranges_.empty() && r.first <= ranges_.back().second + 1) {
      ranges_.back().second = std::max(ranges_.back().second, r.second);
    } else {
      ranges_.push_back(r);
    }
  }
  // Without surrogates: text in UTF-8 has none.
  std::vector<Range> kept;
  for (const Range& r : ranges_) {
    if (r.first < 0xD800) kept.push_back({r.first, std::min<std::uint32_t>(r.second, 0xD7FF)});
    if (r.second > 0xDFFF) kept.push_back({std::max<std::uint32_t>(r.first, 0xE000), r.second});
  }
  ranges_ = std::move(kept);
}

const CharSet& CharSet::all() {
  static const CharSet set({{0, kCodePointMax}});
  return set;
}

bool CharSet::has(std::uint32_t c) const {
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), c,
                                      [](std::uint32_t value, const Range& r) { return value < r.first; });
  return after != ranges_.begin() && c <= std::prev(after)->second;
}

std::uint64_t CharSet::size() const {
  std::uint64_t n = 0;
  for (const Range& r : ranges_) n += r.second - r.first + 1;
  return n;
}

CharSet CharSet::operator|(const CharSet& other) const {
  std::vector<Range> both = ranges_;
  both.insert(both.end(), other.ranges_.begin(), other.ranges_.end());
  return CharSet(std::move(both));
}

CharSet CharSet::operator&(const CharSet& other) const {
  std::vector<Range> both;
  for (std::size_t i = 0, j = 0; i < ranges_.size() && j < other.ranges_.size();) {
    const std::uint32_t from = std::max(ranges_[i].first, other.ranges_[j].first);
    const std::uint32_t to = std::min(ranges_[i].second, other.ranges_[j].second);
    if (from <= to) both.push_back({from, to});
    (ranges_[i].second < other.ranges_[j].second ? i : j) += 1;
  }
  return CharSet(std::move(both));
}

CharSet CharSet::operator~() const {
  std::vector<Range> rest;
  std::uint32_t next = 0;
  for (const Range& r : ranges_) {
    if (r.first > next) rest.push_back({next, r.first - 1});
    next = r.second + 1;
  }
  if (next <= kCodePointMax) rest.push_back({next, kCodePointMax});
  return CharSet(std::move(rest));
}

const CharSet& digit_set() {
  static const CharSet set({{'0', '9'}});
  return set;
}

const CharSet& word_set() {
  static const CharSet set({{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}});
  return set;
}

const CharSet& space_set() {
  static const CharSet set({{9, 13},
                            {' ', ' '},
                            {0xA0, 0xA0},
                            {0x1680, 0x1680},
                            {0x2000, 0x200A},
                            {0x2028, 0x2029},
                            {0x202F, 0x202F},
                            {0x205F, 0x205F},
                            {0x3000, 0x3000},
                            {0xFEFF, 0xFEFF}});
  return set;
}

const CharSet& line_end_set() {
  static const CharSet set({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}});
  return set;
}

int wide_class(std::uint32_t c) {
  if (line_end_set().has(c)) return kClassWideLineEnd;
  return space_set().has(c) ? kClassWideSpace : kClassWide;
}

namespace {

// Names as ECMA-262 spells them, to the short names that PCRE2 takes.
constexpr std::array<std::pair<std::string_view, std::string_view>, 38> kCategories{{
    {"Cased_Letter", "L&"},
    {"Close_Punctuation", "Pe"},
    {"Connector_Punctuation", "Pc"},
    {"Control", "Cc"},
    {"cntrl", "Cc"},
    {"Currency_Symbol", "Sc"},
    {"Dash_Punctuation", "Pd"},
    {"Decimal_Number", "Nd"},
    {"digit", "Nd"},
    {"Enclosing_Mark", "Me"},
    {"Final_Punctuation", "Pf"},
    {"Format", "Cf"},
    {"Initial_Punctuation", "Pi"},
    {"LC", "L&"},
    {"Letter", "L"},
    {"Letter_Number", "Nl"},
    {"Line_Separator", "Zl"},
    {"Lowercase_Letter", "Ll"},
    {"Mark", "M"},
    {"Combining_Mark", "M"},
    {"Math_Symbol", "Sm"},
    {"Modifier_Letter", "Lm"},
    {"Modifier_Symbol", "Sk"},
    {"Nonspacing_Mark", "Mn"},
    {"Number", "N"},
    {"Open_Punctuation", "Ps"},
    {"Other_Letter", "Lo"},
    {"Other_Number", "No"},
    {"Other_Punctuation", "Po"},
    {"Other_Symbol", "So"},
    {"Paragraph_Separator", "Zp"},
    {"Private_Use", "Co"},
    {"Punctuation", "P"},
    {"punct", "P"},
    {"Separator", "Z"},
    {"Space_Separator", "Zs"},
    {"Spacing_Mark", "Mc"},
    {"Titlecase_Letter", "Lt"},
}};
constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kMoreCategories{{
    {"Symbol", "S"},
    {"Unassigned", "Cn"},
    {"Uppercase_Letter", "Lu"},
}};

// Every code point as one text, with runs separated nowhere: matches of the class are the set's ranges.
std::optional<CharSet> ask(const std::string& name) {
  const std::string pattern = "\\p{" + name + "}+";
  int error = 0;
  PCRE2_SIZE offset = 0;
  const std::unique_ptr<pcre2_code, void (*)(pcre2_code*)> code(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP, &error,
                    &offset, nullptr),
      pcre2_code_free);
  if (code == nullptr) return std::nullopt;
  const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> match(
      pcre2_match_data_create_from_pattern(code.get(), nullptr), pcre2_match_data_free);
  std::vector<CharSet::Range> ranges;
  std::string text;
  std::vector<std::uint32_t> at;  // the code point that begins at each byte
  for (std::uint32_t block = 0; block <= kCodePointMax; block += 0x1000) {
    if (block >= 0xD800 && block < 0xE000) continue;
    text.clear();
    at.clear();
    const std::uint32_t last = block == 0xD000 ? 0xD7FF : block + 0xFFF;
    for (std::uint32_t c = block; c <= last; ++c) {
      append_utf8(c, text);
      at.resize(text.size(), c);
    }
    PCRE2_SIZE from = 0;
    while (from < text.size() && pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                                             PCRE2_NO_UTF_CHECK, match.get(), nullptr) > 0) {
      const PCRE2_SIZE* span = pcre2_get_ovector_pointer(match.get());
      ranges.push_back({at[span[0]], at[span[1] - 1]});
      from = span[1];
    }
  }
  return CharSet(std::move(ranges));
}

}  // namespace

std::optional<CharSet> property_set(std::string_view name) {
  if (name == "Any") return CharSet::all();
  if (name == "ASCII") return CharSet({{0, 127}});
  std::string asked;
  const std::size_t equals = name.find('=');
  if (equals != name.npos) {
    const std::string_view key = name.substr(0, equals), value = name.substr(equals + 1);
    if (key == "Script" || key == "sc") {
      asked = "sc:" + std::string(value);
    } else if (key == "Script_Extensions" || key == "scx") {
      asked = "scx:" + std::string(value);
    } else if (key == "General_Category" || key == "gc") {
      return value.find('=') == value.npos ? property_set(value) : std::nullopt;
    } else {
      return std::nullopt;
    }
  } else {
    asked = std::string(name);
    for (const auto& [text, category] : kCategories) {
      if (name == text) asked = std::string(category);
    }
    for (const auto& [text, category] : kMoreCategories) {
      if (name == text) asked = std::string(category);
    }
    // A script needs its key in ECMA-262; and PCRE2's own names (Xan, Xwd ...) are nobody else's.
    if (asked[0] == 'X' || (asked.size() > 2 && ask("sc:" + asked))) return std::nullopt;
  }
  if (asked.find_first_of("{}^\\") != asked.npos || asked.size() > 60) return std::nullopt;
  static std::mutex mutex;
  static std::map<std::string, std::optional<CharSet>> known;
  const std::lock_guard lock(mutex);
  const auto found = known.find(asked);
  if (found != known.end()) return found->second;
  if (known.size() > 1000) return ask(asked);
  return known.emplace(asked, ask(asked)).first->second;
}

}  // namespace longhaul::tools
