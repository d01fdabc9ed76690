#include "tools/pattern_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "tools/regex.h"

namespace longhaul::tools {
namespace {

using NodePtr = std::shared_ptr<const PatternNode>;
using Kind = PatternNode::Kind;

constexpr int kNestingMax = 100;
constexpr std::uint32_t kCountMax = 1U << 28;

NodePtr make(PatternNode node) {
  node.plain = node.kind <= Kind::kRepeat;
  for (const NodePtr& part : node.parts) node.plain = node.plain && part->plain;
  std::uint64_t shortest = 0;
  switch (node.kind) {
    case Kind::kChars:
      shortest = 1;
      break;
    case Kind::kSequence:
      for (const NodePtr& part : node.parts) shortest += part->shortest;
      break;
    case Kind::kChoice:
      shortest = kUnbounded;
      for (const NodePtr& part : node.parts) shortest = std::min<std::uint64_t>(shortest, part->shortest);
      break;
    case Kind::kRepeat:
      shortest = std::uint64_t{node.parts[0]->shortest} * node.min;
      break;
    default:
      break;
  }
  node.shortest = static_cast<std::uint32_t>(std::min<std::uint64_t>(shortest, kCountMax));
  return std::make_shared<const PatternNode>(std::move(node));
}

class TreeReader {
 public:
  explicit TreeReader(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
      const auto lead = static_cast<std::uint8_t>(text[i]);
      const int n = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
      std::uint32_t c = n == 1 ? lead : lead & (0x7FU >> n);
      for (int k = 1; k < n; ++k)
        c = (c << 6) | (static_cast<std::uint8_t>(text[i + static_cast<std::size_t>(k)]) & 0x3F);
      text_.push_back(c);
      i += static_cast<std::size_t>(n);
    }
  }

  Result<NodePtr> read() {
    auto node = choice(0);
    if (!node) return node;
    if (at_ < text_.size()) return wrong("a parenthesis that nothing opened");
    return node;
  }

 private:
  Error wrong(std::string_view what) const { return invalid_argument(fmt::format("{}, at character {}", what, at_)); }
  Error refused(std::string_view what) const { return unsupported(fmt::format("{}, at character {}", what, at_)); }
  bool more() const { return at_ < text_.size(); }
  std::uint32_t peek(std::size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : kUnbounded;
  }
  bool take(std::uint32_t c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }

  Result<NodePtr> choice(int depth) {
    if (depth > kNestingMax) {
      return make_error(ErrorCode::kResourceExhausted, fmt::format("groups nested deeper than {}", kNestingMax));
    }
    PatternNode node;
    node.kind = Kind::kChoice;
    do {
      auto part = sequence(depth);
      if (!part) return part;
      node.parts.push_back(std::move(*part));
    } while (take('|'));
    if (node.parts.size() == 1) return node.parts[0];
    return make(std::move(node));
  }

  Result<NodePtr> sequence(int depth) {
    PatternNode node;
    while (more() && peek() != '|' && peek() != ')') {
      auto part = term(depth);
      if (!part) return part;
      node.parts.push_back(std::move(*part));
    }
    if (node.parts.size() == 1) return node.parts[0];
    return make(std::move(node));
  }

  Result<NodePtr> term(int depth) {
    const std::size_t begin = at_;
    auto part = atom(depth);
    if (!part) return part;
    const bool assertion = (*part)->kind > Kind::kRepeat;
    std::uint32_t min = 1, max = 1;
    auto quantified = quantifier(min, max);
    if (!quantified) return quantified.error();
    if (!*quantified) return part;
    if (assertion) {
      at_ = begin;
      return wrong("an assertion cannot be repeated");
    }
    take('?');  // a lazy repeat matches the same texts
    std::uint32_t again = 0;
    if (auto twice = quantifier(again, again); !twice || *twice) return wrong("two quantifiers");
    PatternNode node;
    node.kind = Kind::kRepeat;
    node.min = min;
    node.max = max;
    node.parts.push_back(std::move(*part));
    return make(std::move(node));
  }

  Result<bool> quantifier(std::uint32_t& min, std::uint32_t& max) {
    if (take('*')) {
      min = 0;
      max = kUnbounded;
    } else if (take('+')) {
      min = 1;
      max = kUnbounded;
    } else if (take('?')) {
      min = 0;
      max = 1;
    } else if (peek() == '{') {
      const std::size_t begin = at_++;
      auto low = number();
      max = low.value_or(0);
      bool ok = low.has_value();
      if (ok && take(',')) {
        const auto high = number();
        max = high.value_or(kUnbounded);
        if (!high && peek() != '}') ok = false;
      }
      if (!ok || !take('}')) {
        at_ = begin;  // a literal brace
        return false;
      }
      min = *low;
      if (min > max) return wrong("a repeat with its bounds the wrong way round");
    } else {
      return false;
    }
    return true;
  }

  std::optional<std::uint32_t> number() {
    if (peek() < '0' || peek() > '9') return std::nullopt;
    std::uint64_t value = 0;
    while (peek() >= '0' && peek() <= '9')
      value = std::min<std::uint64_t>(value * 10 + (text_[at_++] - '0'), kCountMax);
    return static_cast<std::uint32_t>(value);
  }

  NodePtr chars(CharSet set) {
    PatternNode node;
    node.kind = Kind::kChars;
    node.set = std::move(set);
    return make(std::move(node));
  }
  NodePtr assertion(Kind kind) {
    PatternNode node;
    node.kind = kind;
    return make(std::move(node));
  }

  Result<NodePtr> atom(int depth) {
    const std::uint32_t c = text_[at_];
    switch (c) {
      case '^':
        ++at_;
        return assertion(Kind::kStart);
      case '$':
        ++at_;
        return assertion(Kind::kEnd);
      case '.':
        ++at_;
        return chars(~line_end_set());
      case '(':
        return group(depth);
      case '[':
        return bracket();
      case '*':
      case '+':
      case '?':
        return wrong("a quantifier with nothing before it");
      case '{': {
        std::uint32_t low = 0, high = 0;
        auto quantified = quantifier(low, high);
        if (!quantified || *quantified) return wrong("a quantifier with nothing before it");
        ++at_;
        return chars(CharSet::one('{'));
      }
      case '\\':
        break;
      default:
        ++at_;
        return chars(CharSet::one(c));
    }
    ++at_;
    if (!more()) return wrong("a pattern that ends with a backslash");
    const std::uint32_t e = peek();
    if (e == 'b' || e == 'B') {
      ++at_;
      return assertion(e == 'b' ? Kind::kWordEdge : Kind::kNoWordEdge);
    }
    if ((e >= '1' && e <= '9') || e == 'k') return refused("a reference back to a group is not enforced");
    auto set = escape(false);
    if (!set) return set.error();
    return chars(std::move(*set));
  }

  Result<NodePtr> group(int depth) {
    ++at_;
    std::optional<Kind> look;
    if (take('?')) {
      if (take(':')) {
      } else if (take('=')) {
        look = Kind::kAhead;
      } else if (take('!')) {
        look = Kind::kNotAhead;
      } else if (take('<')) {
        if (peek() == '=' || peek() == '!') return refused("look-behind is not enforced");
        const std::size_t begin = at_;
        while (more() && peek() != '>') {
          const std::uint32_t n = text_[at_];
          const bool letter = word_set().has(n) || n == '$' || n >= 128;
          if (!letter || (at_ == begin && n >= '0' && n <= '9')) return wrong("a group's name has a wrong character");
          ++at_;
        }
        if (at_ == begin || !take('>')) return wrong("a group's name does not end");
      } else {
        return refused("a group of this kind is not enforced");
      }
    }
    auto inner = choice(depth + 1);
    if (!inner) return inner;
    if (!take(')')) return wrong("a group that does not end");
    if (!look) {
      // A group of one assertion may be repeated; the assertion itself may not.
      if ((*inner)->kind <= Kind::kRepeat) return inner;
      PatternNode node;
      node.parts.push_back(std::move(*inner));
      return make(std::move(node));
    }
    PatternNode node;
    node.kind = *look;
    node.parts.push_back(std::move(*inner));
    return make(std::move(node));
  }

  std::optional<std::uint32_t> hex(int digits) {
    std::uint32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      const std::uint32_t c = peek(static_cast<std::size_t>(i));
      std::uint32_t d = 0;
      if (c >= '0' && c <= '9') {
        d = c - '0';
      } else if (c >= 'a' && c <= 'f') {
        d = c - 'a' + 10;
      } else if (c >= 'A' && c <= 'F') {
        d = c - 'A' + 10;
      } else {
        return std::nullopt;
      }
      value = value * 16 + d;
    }
    at_ += static_cast<std::size_t>(digits);
    return value;
  }

  // After the backslash. `in_class`: \b is a backspace there and - may be escaped.
  Result<CharSet> escape(bool in_class) {
    const std::uint32_t e = text_[at_++];
    switch (e) {
      case 'd':
        return digit_set();
      case 'D':
        return ~digit_set();
      case 'w':
        return word_set();
      case 'W':
        return ~word_set();
      case 's':
        return space_set();
      case 'S':
        return ~space_set();
      case 't':
        return CharSet::one('\t');
      case 'n':
        return CharSet::one('\n');
      case 'v':
        return CharSet::one('\v');
      case 'f':
        return CharSet::one('\f');
      case 'r':
        return CharSet::one('\r');
      case '0':
        if (peek() >= '0' && peek() <= '9') return wrong("an octal escape");
        return CharSet::one(0);
      case 'b':
        if (in_class) return CharSet::one('\b');
        break;
      case 'c': {
        const std::uint32_t letter = peek();
        if ((letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z')) {
          ++at_;
          return CharSet::one(letter % 32);
        }
        return wrong("\\c without a letter");
      }
      case 'x': {
        const auto value = hex(2);
        if (!value) return wrong("\\x without two hexadecimal digits");
        return CharSet::one(*value);
      }
      case 'u':
        return unicode();
      case 'p':
      case 'P': {
        if (!take('{')) return wrong("\\p without a name in braces");
        std::string name;
        while (more() && peek() != '}') {
          if (peek() >= 128) return wrong("a property's name has a wrong character");
          name += static_cast<char>(text_[at_++]);
        }
        if (!take('}')) return wrong("\\p without a closing brace");
        const auto set = property_set(name);
        if (!set) return refused(fmt::format("the property \"{}\" is not known", name));
        return e == 'p' ? *set : ~*set;
      }
      default:
        break;
    }
    // Punctuation may be escaped without need, as people do; letters and digits would mean something.
    if (e >= 128 || word_set().has(e)) {
      if (e == '_') return CharSet::one(e);
      --at_;
      return refused("an escape that ECMA-262 does not know is not enforced");
    }
    return CharSet::one(e);
  }

  Result<CharSet> unicode() {
    if (take('{')) {
      std::uint32_t value = 0;
      std::size_t digits = 0;
      while (const auto digit = hex(1)) {
        value = std::min<std::uint32_t>(value * 16 + *digit, kCodePointMax + 1);
        ++digits;
      }
      if (digits == 0 || !take('}') || value > kCodePointMax) return wrong("\\u{...} without a code point");
      return CharSet::one(value);
    }
    const auto high = hex(4);
    if (!high) return wrong("\\u without four hexadecimal digits");
    if (*high >= 0xD800 && *high < 0xDC00 && peek() == '\\' && peek(1) == 'u') {
      const std::size_t back = at_;
      at_ += 2;
      const auto low = hex(4);
      if (low && *low >= 0xDC00 && *low <= 0xDFFF) {
        return CharSet::one(0x10000 + ((*high - 0xD800) << 10) + (*low - 0xDC00));
      }
      at_ = back;
    }
    return CharSet::one(*high);
  }

  Result<NodePtr> bracket() {
    ++at_;
    const bool negated = take('^');
    std::vector<CharSet::Range> ranges;
    auto one = [&](bool& single, std::uint32_t& value) -> Result<CharSet> {
      single = true;
      value = text_[at_++];
      if (value != '\\') return CharSet::one(value);
      if (!more()) return wrong("a class that does not end");
      const std::uint32_t e = peek();
      auto set = escape(true);
      if (!set) return set;
      single = std::string_view("dDwWsSpP").find(static_cast<char>(e < 128 ? e : 0)) == std::string_view::npos;
      if (single && set->empty()) single = false;  // a lone surrogate
      if (single) value = set->ranges()[0].first;
      return set;
    };
    while (more() && peek() != ']') {
      bool first_single = false, last_single = false;
      std::uint32_t first = 0, last = 0;
      auto low = one(first_single, first);
      if (!low) return low.error();
      if (peek() == '-' && peek(1) != ']' && peek(1) != kUnbounded) {
        const std::size_t dash = at_++;
        auto high = one(last_single, last);
        if (!high) return high.error();
        if (first_single && last_single) {
          if (first > last) return wrong("a range with its ends the wrong way round");
          ranges.push_back({first, last});
          continue;
        }
        // [\w-x]: the dash stands for itself.
        static_cast<void>(dash);
        ranges.push_back({'-', '-'});
        ranges.insert(ranges.end(), high->ranges().begin(), high->ranges().end());
      }
      ranges.insert(ranges.end(), low->ranges().begin(), low->ranges().end());
    }
    if (!take(']')) return wrong("a class that does not end");
    CharSet set(std::move(ranges));
    return chars(negated ? ~set : std::move(set));
  }

  std::vector<std::uint32_t> text_;
  std::size_t at_ = 0;
};

}  // namespace

Result<std::shared_ptr<const PatternNode>> read_pattern(std::string_view utf8) {
  return TreeReader(utf8).read();
}

namespace {

CharSet first_of(const PatternNode& node, bool& empty);

CharSet first_of_all(const std::vector<NodePtr>& parts, std::size_t from, bool& empty) {
  CharSet result;
  empty = true;
  for (std::size_t i = from; i < parts.size() && empty; ++i) {
    bool may_be_empty = false;
    result = result | first_of(*parts[i], may_be_empty);
    empty = may_be_empty;
  }
  return result;
}

CharSet first_of(const PatternNode& node, bool& empty) {
  empty = false;
  CharSet result;
  switch (node.kind) {
    case Kind::kChars:
      return node.set;
    case Kind::kSequence:
      return first_of_all(node.parts, 0, empty);
    case Kind::kChoice:
      for (const NodePtr& part : node.parts) {
        bool one = false;
        result = result | first_of(*part, one);
        empty = empty || one;
      }
      return result;
    case Kind::kRepeat:
      result = first_of(*node.parts[0], empty);
      empty = empty || node.min == 0;
      return result;
    default:
      empty = true;
      return result;
  }
}

}  // namespace

bool one_way(const PatternNode& node, const CharSet& after) {
  switch (node.kind) {
    case Kind::kSequence:
      for (std::size_t i = 0; i < node.parts.size(); ++i) {
        bool empty = false;
        CharSet next = first_of_all(node.parts, i + 1, empty);
        if (empty) next = next | after;
        if (!one_way(*node.parts[i], next)) return false;
      }
      return true;
    case Kind::kChoice: {
      CharSet seen;
      for (const NodePtr& part : node.parts) {
        bool empty = false;
        const CharSet first = first_of(*part, empty);
        if (!(seen & first).empty() || (empty && !(first & after).empty()) || !one_way(*part, after)) return false;
        seen = seen | first;
      }
      return true;
    }
    case Kind::kRepeat: {
      bool empty = false;
      const CharSet first = first_of(*node.parts[0], empty);
      const bool fixed = node.min == node.max;
      if (empty || (!fixed && !(first & after).empty())) return false;
      return one_way(*node.parts[0], fixed && node.max == 1 ? after : first | after);
    }
    default:
      return true;
  }
}

}  // namespace longhaul::tools
