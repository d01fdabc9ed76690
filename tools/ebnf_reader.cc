#include "tools/ebnf_reader.h"

#include <fmt/format.h>

#include <map>
#include <optional>

#include "tools/regex.h"
#include "tools/utf8.h"

namespace longhaul::tools {
namespace {

constexpr std::uint32_t kCountMax = 1'000'000'000;  // in {n,m}

bool starts_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool in_name(char c) {
  return starts_name(c) || (c >= '0' && c <= '9') || c == '-';
}

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  Result<Ebnf> read() {
    skip();
    while (!at_end() && !failed_) rule();
    if (!failed_) resolve();
    if (failed_) return error_;
    return std::move(out_);
  }

 private:
  // --- characters

  bool at_end() const { return at_ >= text_.size(); }
  char peek(std::size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool next_is(std::string_view expected) const { return text_.substr(at_).starts_with(expected); }

  void step() {
    const auto byte = static_cast<std::uint8_t>(text_[at_++]);
    if (byte == '\n') {
      ++place_.line;
      place_.column = 1;
    } else if ((static_cast<std::uint8_t>(peek()) & 0xC0) != 0x80 || at_end()) {
      ++place_.column;
    }
  }
  void step(std::size_t n) {
    while (n-- > 0) step();
  }

  void skip() {
    while (!at_end()) {
      const char c = peek();
      if (c == '#') {
        while (!at_end() && peek() != '\n') step();
      } else if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
        step();
      } else {
        return;
      }
    }
  }

  std::string shown() const {
    if (at_end()) return "the end";
    std::string c(1, peek());
    for (std::size_t i = 1; (static_cast<std::uint8_t>(peek(i)) & 0xC0) == 0x80; ++i) c += peek(i);
    if (static_cast<std::uint8_t>(c[0]) < 0x20) return fmt::format("the character {}", static_cast<int>(c[0]));
    return fmt::format("\"{}\"", c);
  }

  void fail(Error error, TextPlace place) {
    if (failed_) return;
    failed_ = true;
    error.message = fmt::format("{}: {}", to_string(place), error.message);
    error_ = std::move(error);
  }
  void fail(std::string message, TextPlace place) { fail(invalid_argument(std::move(message)), place); }
  void fail(std::string message) { fail(std::move(message), place_); }

  std::uint32_t add(EbnfNode node) {
    out_.nodes.push_back(std::move(node));
    return static_cast<std::uint32_t>(out_.nodes.size() - 1);
  }

  // --- rules

  std::string name() {
    std::string result;
    while (in_name(peek())) {
      result += peek();
      step();
    }
    return result;
  }

  // A name that `::=` follows begins the next rule.
  bool at_rule() const {
    std::size_t i = at_;
    if (i >= text_.size() || !starts_name(text_[i])) return false;
    while (i < text_.size() && in_name(text_[i])) ++i;
    while (i < text_.size() && (text_[i] == ' ' || text_[i] == '\t')) ++i;
    return text_.substr(i).starts_with("::=");
  }

  void rule() {
    EbnfRule made;
    made.place = place_;
    if (!starts_name(peek())) return fail(fmt::format("{} where a rule's name should be", shown()));
    made.name = name();
    while (peek() == ' ' || peek() == '\t') step();
    if (!next_is("::=")) return fail(fmt::format("{} where ::= should follow the name \"{}\"", shown(), made.name));
    step(3);
    const auto [at, fresh] = by_name_.emplace(made.name, static_cast<std::uint32_t>(out_.rules.size()));
    if (!fresh) {
      return fail(
          fmt::format("the rule \"{}\" is there already, at {}", made.name, to_string(out_.rules[at->second].place)),
          made.place);
    }
    made.body = choice(0);
    if (failed_) return;
    if (!at_end() && !at_rule()) return fail(fmt::format("{} in the rule \"{}\"", shown(), made.name));
    out_.rules.push_back(std::move(made));
  }

  std::uint32_t choice(std::size_t depth) {
    EbnfNode all;
    all.kind = EbnfNode::Kind::kChoice;
    skip();
    all.place = place_;
    if (depth > kEbnfNestingMax) {
      fail(make_error(ErrorCode::kResourceExhausted, fmt::format("groups nested more than {} deep", kEbnfNestingMax)),
           place_);
      return 0;
    }
    all.parts.push_back(sequence(depth));
    while (!failed_ && peek() == '|') {
      step();
      all.parts.push_back(sequence(depth));
    }
    if (failed_) return 0;
    return all.parts.size() == 1 ? all.parts[0] : add(std::move(all));
  }

  std::uint32_t sequence(std::size_t depth) {
    EbnfNode all;
    skip();
    all.place = place_;
    while (!failed_ && !at_end() && peek() != '|' && peek() != ')' && !at_rule()) {
      std::optional<std::uint32_t> part = atom(depth);
      if (!part) break;
      all.parts.push_back(counted(*part));
      skip();
    }
    if (failed_) return 0;
    return all.parts.size() == 1 ? all.parts[0] : add(std::move(all));
  }

  std::optional<std::uint32_t> atom(std::size_t depth) {
    EbnfNode node;
    node.place = place_;
    const char c = peek();
    if (c == '"' || c == '\'') {
      node.kind = EbnfNode::Kind::kLiteral;
      node.text = literal(c);
    } else if (c == '[') {
      node.kind = EbnfNode::Kind::kChars;
      node.set = char_class();
    } else if (c == '.') {
      step();
      node.kind = EbnfNode::Kind::kChars;
      node.set = CharSet::all();
    } else if (c == '(') {
      step();
      if (peek() == '=' || peek() == '?') {
        fail(unsupported("look-ahead is not supported"), node.place);
        return std::nullopt;
      }
      const std::uint32_t inner = choice(depth + 1);
      if (failed_) return std::nullopt;
      if (peek() != ')') {
        fail(fmt::format("{} where the group begun at {} should end", shown(), to_string(node.place)));
        return std::nullopt;
      }
      step();
      return inner;
    } else if (starts_name(c)) {
      node.kind = EbnfNode::Kind::kRule;
      node.text = name();
    } else if (c == '<' || c == '!') {
      fail(unsupported("tokens by name or number are not supported: a grammar is about text"), node.place);
      return std::nullopt;
    } else {
      fail(fmt::format("{} is no part of a rule", shown()));
      return std::nullopt;
    }
    if (failed_) return std::nullopt;
    return add(std::move(node));
  }

  std::uint32_t counted(std::uint32_t part) {
    for (int rounds = 0; !failed_; ++rounds) {
      std::uint32_t min = 0, max = kUnbounded;
      const TextPlace place = place_;
      switch (peek()) {
        case '?':
          max = 1;
          step();
          break;
        case '*':
          step();
          break;
        case '+':
          min = 1;
          step();
          break;
        case '{':
          if (!bounds(min, max)) return part;
          break;
        default:
          return part;
      }
      if (rounds >= 8) {
        fail("more than 8 repeats of a repeat", place);
        return part;
      }
      EbnfNode node;
      node.kind = EbnfNode::Kind::kRepeat;
      node.place = place;
      node.parts.push_back(part);
      node.min = min;
      node.max = max;
      part = add(std::move(node));
    }
    return part;
  }

  bool bounds(std::uint32_t& min, std::uint32_t& max) {
    const TextPlace place = place_;
    step();
    skip();
    std::optional<std::uint32_t> low, high;
    if (!count(low)) return false;
    skip();
    if (peek() == ',') {
      step();
      skip();
      if (!count(high)) return false;
      skip();
      if (!low && !high) {
        fail("a repeat needs a count", place);
        return false;
      }
      min = low.value_or(0);
      max = high.value_or(kUnbounded);
    } else {
      if (!low) {
        fail(fmt::format("{} where a count should be", shown()));
        return false;
      }
      min = max = *low;
    }
    if (peek() != '}') {
      fail(fmt::format("{} where the repeat should end with }}", shown()));
      return false;
    }
    step();
    if (min > max) {
      fail(fmt::format("a repeat of at least {} and at most {}", min, max), place);
      return false;
    }
    return true;
  }

  bool count(std::optional<std::uint32_t>& out) {
    const TextPlace place = place_;
    std::uint64_t value = 0;
    bool any = false;
    while (peek() >= '0' && peek() <= '9') {
      any = true;
      value = std::min<std::uint64_t>(value * 10 + static_cast<std::uint64_t>(peek() - '0'), std::uint64_t{1} << 40);
      step();
    }
    if (value > kCountMax) {
      fail(fmt::format("a repeat of more than {}", kCountMax), place);
      return false;
    }
    if (any) out = static_cast<std::uint32_t>(value);
    return true;
  }

  // --- literals and classes

  // One character or escape; not called at the end.
  std::uint32_t character() {
    const TextPlace place = place_;
    if (peek() != '\\') {
      CharInPart part;
      while (!part.add(static_cast<std::uint8_t>(peek()))) step();
      step();
      return part.value;
    }
    step();
    const char c = peek();
    if (at_end()) {
      fail("an escape that is cut off", place);
      return 0;
    }
    step();
    switch (c) {
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 't':
        return '\t';
      case '\\':
      case '"':
      case '\'':
      case '[':
      case ']':
      case '-':
      case '^':
        return static_cast<std::uint8_t>(c);
      case 'x':
        return hex(2, place);
      case 'u':
        return hex(4, place);
      case 'U':
        return hex(8, place);
      default:
        fail(fmt::format("the escape \\{} is unknown", static_cast<std::uint8_t>(c) < 0x80 ? std::string(1, c) : "..."),
             place);
        return 0;
    }
  }

  std::uint32_t hex(int digits, TextPlace place) {
    std::uint32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      const char c = peek();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) {
        fail(fmt::format("an escape with fewer than {} hexadecimal digits", digits), place);
        return 0;
      }
      value = (value << 4) | static_cast<std::uint32_t>(digit);
      step();
    }
    if (value > kCodePointMax || (value >= 0xD800 && value <= 0xDFFF)) {
      fail(fmt::format("U+{:04X} is no character", value), place);
      return 0;
    }
    return value;
  }

  std::string literal(char quote) {
    const TextPlace place = place_;
    step();
    std::string result;
    while (!failed_) {
      if (at_end() || peek() == '\n') {
        fail("a literal that does not end on its line", place);
        break;
      }
      if (peek() == quote) {
        step();
        break;
      }
      append_utf8(character(), result);
    }
    return result;
  }

  CharSet char_class() {
    const TextPlace place = place_;
    step();
    const bool negated = peek() == '^';
    if (negated) step();
    std::vector<CharSet::Range> ranges;
    while (!failed_) {
      if (at_end() || peek() == '\n') {
        fail("a class that does not end on its line", place);
        return {};
      }
      if (peek() == ']') {
        step();
        break;
      }
      const TextPlace from_place = place_;
      const std::uint32_t from = character();
      std::uint32_t to = from;
      if (!failed_ && peek() == '-' && peek(1) != ']' && at_ + 1 < text_.size() && peek(1) != '\n') {
        step();
        to = character();
        if (!failed_ && to < from) fail(fmt::format("a range from U+{:04X} down to U+{:04X}", from, to), from_place);
      }
      ranges.push_back({from, to});
    }
    if (failed_) return {};
    const CharSet set(std::move(ranges));
    CharSet result = negated ? ~set : set;
    if (result.empty()) fail("a class that no character is in", place);
    return result;
  }

  // --- names

  void resolve() {
    for (EbnfNode& node : out_.nodes) {
      if (node.kind != EbnfNode::Kind::kRule) continue;
      const auto found = by_name_.find(node.text);
      if (found == by_name_.end()) return fail(fmt::format("the rule \"{}\" is not defined", node.text), node.place);
      node.rule = found->second;
    }
    const auto root = by_name_.find("root");
    if (root == by_name_.end()) return fail("there is no rule \"root\"", place_);
    out_.root = root->second;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  TextPlace place_;
  Ebnf out_;
  std::map<std::string, std::uint32_t> by_name_;
  bool failed_ = false;
  Error error_;
};

}  // namespace

std::string to_string(TextPlace place) {
  return fmt::format("line {}, column {}", place.line, place.column);
}

Result<Ebnf> read_ebnf(std::string_view text) {
  if (text.size() > kEbnfBytesMax) {
    return make_error(ErrorCode::kResourceExhausted,
                      fmt::format("a grammar of {} bytes, at most {}", text.size(), kEbnfBytesMax));
  }
  if (!is_utf8(text)) return invalid_argument("a grammar that is not UTF-8");
  return Reader(text).read();
}

}  // namespace longhaul::tools
