// The part of the automaton that reads quoted strings and property names: escapes, UTF-8, sets, patterns, and texts
// that must differ from others.
#include <algorithm>

#include "tools/automaton.h"
#include "tools/utf8.h"

namespace longhaul::tools {
namespace {

// String reading between UTF-8 phases (0 and 12 upwards): an escape, its hex digits, the low half of a surrogate pair.
enum StringPhase : std::uint8_t { kEscape = 1, kHex = 2 /* + digits read */, kLowSlash = 6, kLowU = 7, kLowHex = 8 };

int hex_digit(std::uint8_t byte) {
  if (byte >= '0' && byte <= '9') return byte - '0';
  if (byte >= 'a' && byte <= 'f') return byte - 'a' + 10;
  if (byte >= 'A' && byte <= 'F') return byte - 'A' + 10;
  return -1;
}

// Text whose characters matter one by one.
bool by_chars(FrameKind kind) {
  return kind == FrameKind::kPatternString || kind == FrameKind::kPatternKey;
}

bool key_kind(FrameKind kind) {
  return kind == FrameKind::kKey || kind == FrameKind::kPatternKey;
}

}  // namespace

bool Automaton::emit(Frame& f, std::uint8_t byte) {
  if (f.a != kOff) {
    f.a = p_.child(f.a, byte);
    if (f.kind == FrameKind::kKey) {
      if ((f.flags & kMayLeaveTrie) == 0 && (f.a == kOff || !trie_viable(f, f.a))) return false;
    } else if (f.a == kOff && f.kind != FrameKind::kPatternKey) {
      return false;
    }
  }
  if ((f.flags & (kMayLeaveTrie | kHashed)) != 0) f.h = hash_step(f.h, byte);
  return true;
}

bool Automaton::emit_code_point(Config& config, std::uint32_t code_point) {
  std::string bytes;
  append_utf8(code_point, bytes);
  return std::all_of(bytes.begin(), bytes.end(),
                     [&](char c) { return emit(config.top, static_cast<std::uint8_t>(c)); }) &&
         (!by_chars(config.top.kind) || take_char(config, code_point));
}

// --- texts with a pattern, or that must differ from others

RegexPool& Automaton::pool_of(const Frame& f) {
  return in_.patterns(f.kind == FrameKind::kPatternRaw ? p_.starts[f.c].schema : p_.nodes[f.node].schema);
}

LengthWindow Automaton::window(const Config& config) const {
  const Frame& f = config.top;
  if (f.kind == FrameKind::kPatternKey) return {};
  std::uint32_t min = 0, max = kNoLimit;
  if (f.kind == FrameKind::kPatternRaw) {
    min = p_.starts[f.c].min;
    max = p_.starts[f.c].max;
  } else if (!p_.nodes[f.node].node->string.is_set) {
    min = p_.nodes[f.node].node->string.min;
    max = p_.nodes[f.node].string_max;
  }
  LengthWindow rest;
  rest.min = min > config.count ? min - config.count : 0;
  rest.max = max == kNoLimit ? kUnbounded : max > config.count ? max - config.count : 0;
  return rest;
}

// Is the text with this hash out of the question? `rest` leads there from the trie's node.
bool Automaton::taken(const Frame& f, std::uint64_t hash, std::uint32_t trie, std::string_view rest) {
  took_hash_ = true;
  const Frame& parent = in_.frame(f.parent);
  if (f.kind == FrameKind::kPatternKey) {
    for (const char byte : rest) {
      if (trie != kOff) trie = p_.child(trie, static_cast<std::uint8_t>(byte));
    }
    if (trie != kOff && p_.tries[trie].terminal >= 0) return true;
    const auto& extra = in_.keys(parent.a).extra;
    return hash == parent.h || std::binary_search(extra.begin(), extra.end(), hash);
  }
  return (f.flags & kElement) != 0 && in_.used(parent.c).has(value_hash(ValueTag::kString, hash));
}

// At most so many texts are taken.
std::size_t Automaton::taken_max(const Frame& f) const {
  const Frame& parent = in_.frame(f.parent);
  if (f.kind == FrameKind::kPatternKey) {
    const std::size_t named = f.a == kOff ? 0 : p_.tries[f.a].hi - p_.tries[f.a].lo;
    return named + in_.keys(parent.a).extra.size() + (parent.h != 0 ? 1 : 0);
  }
  return (f.flags & kElement) != 0 ? in_.used(parent.c).hashes.size() : 0;
}

// Is there a text from `state` on that is not taken? `begun`: what goes before it, of which `hash` does not know yet.
bool Automaton::some_free(const Frame& f, std::uint64_t hash, const std::string& begun, RegexId state,
                          LengthWindow rest) {
  RegexPool& pool = pool_of(f);
  const std::size_t taken_texts = taken_max(f);
  auto free = [&](const std::string& end) {
    const std::string whole = begun + end;
    std::uint64_t h = hash;
    for (const char byte : whole) h = hash_step(h, static_cast<std::uint8_t>(byte));
    return !taken(f, h, f.a, whole);
  };
  if (rest.max == 0) return pool.accepts_empty(state) && free("");
  if (pool.count(state, taken_texts + 1) > taken_texts) return true;
  const auto texts = pool.list(state, taken_texts);
  return !texts || std::any_of(texts->begin(), texts->end(), free);
}

// One of the values of a set, under the trie's node, that is not taken.
bool Automaton::set_value_free(const Frame& f) const {
  if ((f.flags & kElement) == 0) return true;
  const UsedValues& used = in_.used(in_.frame(f.parent).c);
  const StringRule& rule = p_.nodes[f.node].node->string;
  for (std::uint32_t i = p_.tries[f.a].lo; i < p_.tries[f.a].hi; ++i) {
    std::uint64_t h = kHashBasis;
    for (const char c : rule.values[static_cast<std::size_t>(p_.terminals[i])]) {
      h = hash_step(h, static_cast<std::uint8_t>(c));
    }
    if (!used.has(value_hash(ValueTag::kString, h))) return true;
  }
  return false;
}

bool Automaton::takes_any_text(const Frame& f) {
  if (f.phase != kUtf8Between) return false;
  switch (f.kind) {
    case FrameKind::kString:
      return f.a == kOff;
    case FrameKind::kKey:
      return (f.flags & kMayLeaveTrie) != 0;
    case FrameKind::kPatternString:
      return f.a == kOff && (f.flags & kHashed) == 0 && pool_of(f).stays(f.c);
    case FrameKind::kPatternKey:
      return pool_of(f).stays(f.c);
    default:
      return false;
  }
}

bool Automaton::is_other_name(const Frame& key, std::string_view rest) const {
  std::uint32_t trie = key.a;
  for (std::size_t i = 0; i < rest.size() && trie != kOff; ++i) {
    trie = p_.child(trie, static_cast<std::uint8_t>(rest[i]));
  }
  if (trie != kOff && p_.tries[trie].terminal >= 0) return false;
  const Frame& object = in_.frame(key.parent);
  const auto& extra = in_.keys(object.a).extra;
  if (object.h == 0 && extra.empty()) return true;
  std::uint64_t hash = key.h;
  for (const char c : rest) hash = hash_step(hash, static_cast<std::uint8_t>(c));
  return hash != object.h && !std::binary_search(extra.begin(), extra.end(), hash);
}

void Automaton::free_chars(const Config& config, FreeChars& chars) {
  constexpr CharClasses kControls =
      (CharClasses{1} << kClassLineEnd) | (CharClasses{1} << kClassTab) | (CharClasses{1} << kClassControl);
  chars = {};
  auto& most = chars.most;
  const Frame& f = config.top;
  if (f.kind == FrameKind::kText && f.phase == kUtf8Between) return free_in_part(f, chars);
  const bool raw = f.kind == FrameKind::kPatternRaw;
  const bool plain = (f.kind == FrameKind::kString || f.kind == FrameKind::kKey) && takes_any_text(f);
  if ((!raw && !plain && !by_chars(f.kind)) || f.phase != kUtf8Between) return;
  if (f.kind == FrameKind::kPatternString && f.a != kOff) return;
  // What ends the text or begins an escape, and what never comes.
  CharClasses closing = 0, never = kNoChar;
  if (raw) {
    const std::uint32_t root = p_.tool_programs[f.node].terminators;
    if (f.a != root) return;
    for (const auto& [byte, next] : p_.next(root)) closing |= CharClasses{1} << ascii_class(byte);
  } else {
    closing = (CharClasses{1} << ascii_class('"')) | (CharClasses{1} << ascii_class('\\'));
    never |= kControls;
  }
  CharClasses open = kAllChars & ~closing & ~never;
  if (plain) {
    const std::uint32_t max = f.kind == FrameKind::kKey ? kNoLimit : limits(config).second;
    const std::size_t left = max == kNoLimit ? most.size() : max > config.count ? max - config.count : 0;
    chars.length = std::min(most.size(), left);
    std::fill_n(most.begin(), chars.length, open);
    chars.dead = never;
    return;
  }
  RegexId at = raw ? f.parent : f.c;
  const std::size_t n_taken = raw ? 0 : taken_max(f);
  RegexPool& pool = pool_of(f);
  LengthWindow rest = window(config);
  CharClasses dead = ~closing;
  std::size_t length = 0;
  bool exact = true;  // `at` is the state itself, not what one of its alternatives has come to
  for (CharClasses& level : most) {
    const RegexPool::Alike alike = pool.alike(at);
    // Nothing more may come by the bound, or by the pattern itself.
    if (rest.max == 0) break;
    dead = exact ? dead & alike.dead : 0;
    if (exact && (alike.dead & open) == open) break;
    exact = exact && alike.exact;
    open &= alike.classes;
    if (open == 0) return;
    at = alike.to;
    if (rest.max != kUnbounded) --rest.max;
    if (rest.min != 0) --rest.min;
    // Where nothing more may come one text is left, whatever the pattern would go on with.
    if (!pool.fits(at, rest) || (n_taken != 0 && (rest.max == 0 || pool.count(at, n_taken + 1) <= n_taken))) return;
    level = open;
    ++length;
  }
  chars.length = length;
  chars.dead = dead | never;
}

// What was read can still become an allowed text.
bool Automaton::text_open(const Config& config) {
  const Frame& f = config.top;
  if (f.kind == FrameKind::kPatternString && f.a != kOff) return set_value_free(f);
  RegexPool& pool = pool_of(f);
  const LengthWindow rest = window(config);
  if (!pool.fits(f.c, rest)) return false;
  return taken_max(f) == 0 || some_free(f, f.h, "", f.c, rest);
}

bool Automaton::take_char(Config& config, std::uint32_t code_point) {
  Frame& f = config.top;
  if (f.kind == FrameKind::kPatternString && f.a != kOff) return set_value_free(f);
  f.c = pool_of(f).step(f.c, code_point);
  return f.c != kNoText && text_open(config);
}

// A character of [from, to], of which `consumed` bytes are read, can lead to an allowed text.
bool Automaton::chars_open(const Config& config, std::uint32_t from, std::uint32_t to, int consumed) {
  const Frame& f = config.top;
  if (f.kind == FrameKind::kPatternString && f.a != kOff) return set_value_free(f);
  RegexPool& pool = pool_of(f);
  const LengthWindow rest = window(config);
  if (!pool.open_between(f.c, from, to, rest)) return false;
  const std::size_t n = taken_max(f);
  if (n == 0) return true;
  // So many characters: one of them is free, if only each has a text.
  LengthWindow after = rest;
  if (after.max != kUnbounded) --after.max;
  if (after.min != 0) --after.min;
  std::size_t tried = 0;
  for (std::uint32_t c = from; c <= to; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    const RegexId next = pool.step(f.c, c);
    if (next == kNoText || !pool.fits(next, after)) continue;
    std::string bytes;
    append_utf8(c, bytes);
    if (++tried > n || some_free(f, f.h, bytes.substr(static_cast<std::size_t>(consumed)), next, after)) return true;
  }
  return false;
}

// --- names and sets

// Can an allowed name still be reached from here?
bool Automaton::trie_viable(const Frame& f, std::uint32_t trie) const {
  if (f.kind != FrameKind::kKey) return true;
  const Frame& object = in_.frame(f.parent);
  const GrammarNode& n = p_.nodes[object.node];
  const SeenKeys& seen = in_.keys(object.a);
  for (std::uint32_t i = p_.tries[trie].lo; i < p_.tries[trie].hi; ++i) {
    if (can_add(n.node->object, n.base, seen, object.h != 0 ? 1 : 0, static_cast<std::uint32_t>(p_.terminals[i]),
                object.depth, object.b)) {
      return true;
    }
  }
  return false;
}

void Automaton::next_code_points(const Frame& f, std::uint32_t trie, std::uint32_t value, int left,
                                 std::vector<std::uint32_t>& out) const {
  for (const auto& [byte, to] : p_.next(trie)) {
    if (!trie_viable(f, to)) continue;
    if (f.kind == FrameKind::kPatternString) {
      Frame after = f;
      after.a = to;
      if (!set_value_free(after)) continue;
    }
    if (left > 0) {
      const std::uint32_t v = (value << 6) | (byte & 0x3F);
      if (left == 1) {
        out.push_back(v);
      } else {
        next_code_points(f, to, v, left - 1, out);
      }
    } else if (byte < 0x80) {
      out.push_back(byte);
    } else {
      const int more = byte >= 0xF0 ? 3 : byte >= 0xE0 ? 2 : 1;
      next_code_points(f, to, byte & (0x3F >> more), more, out);
    }
  }
}

// Inside an escape, with only some characters to go on to: is one of them written so?
bool Automaton::escape_viable(const Config& config) {
  const Frame& f = config.top;
  const bool set = f.kind == FrameKind::kPatternString && f.a != kOff;
  if (by_chars(f.kind) && !set) {
    if (f.phase == kEscape) return chars_open(config, 0, kCodePointMax, 0);
    auto pairs = [&](std::uint32_t high_from, std::uint32_t high_to) {
      const std::uint32_t from = std::max(high_from, 0xD800U), to = std::min(high_to, 0xDBFFU);
      return from <= to && chars_open(config, 0x10000 + ((from - 0xD800) << 10), 0x103FF + ((to - 0xD800) << 10), 0);
    };
    if (f.phase < kLowSlash) {
      const int left = 4 * (4 - (f.phase - kHex));
      const std::uint32_t from = f.b << left, to = from + (1U << left) - 1;
      return chars_open(config, from, to, 0) || pairs(from, to);
    }
    const std::uint32_t high = f.b >> 16;
    if (f.phase < kLowHex) return pairs(high, high);
    const int left = 4 * (4 - (f.phase - kLowHex));
    const std::uint32_t from = std::max((f.b & 0xFFFF) << left, 0xDC00U);
    const std::uint32_t to = std::min(((f.b & 0xFFFF) << left) + (1U << left) - 1, 0xDFFFU);
    const std::uint32_t base = 0x10000 + ((high - 0xD800) << 10);
    return from <= to && chars_open(config, base + (from - 0xDC00), base + (to - 0xDC00), 0);
  }
  if (f.a == kOff || (f.flags & kMayLeaveTrie) != 0) return true;
  std::vector<std::uint32_t> candidates;
  next_code_points(f, f.a, 0, 0, candidates);
  for (const std::uint32_t c : candidates) {
    const std::uint32_t high = c < 0x10000 ? c : 0xD800 + ((c - 0x10000) >> 10);
    const std::uint32_t low = c < 0x10000 ? 0 : 0xDC00 + ((c - 0x10000) & 0x3FF);
    if (f.phase == kEscape) return true;
    if (f.phase < kLowSlash) {
      if ((high >> (4 * (4 - (f.phase - kHex)))) == f.b) return true;
      continue;
    }
    if (low == 0 || (f.b >> 16) != high) continue;
    if (f.phase < kLowHex || (low >> (4 * (4 - (f.phase - kLowHex)))) == (f.b & 0xFFFF)) return true;
  }
  return false;
}

// --- reading

void Automaton::string_may_follow(const Frame& f, ByteSet& bytes) {
  const auto add = [&](std::string_view some) { add_bytes(bytes, some); };
  constexpr std::uint64_t kAll = ~std::uint64_t{0};
  if (f.phase >= kUtf8One) {
    bytes[2] = kAll;  // 0x80 to 0xBF: the character goes on
    return;
  }
  if (f.phase == kEscape) return add("\"\\/bfnrtu");
  if (f.phase == kLowSlash) return add("\\");
  if (f.phase == kLowU) return add("u");
  if (f.phase != kUtf8Between) return add("0123456789abcdefABCDEF");
  add("\"\\");
  const bool set = f.kind == FrameKind::kPatternString ? f.a != kOff : f.kind != FrameKind::kPatternKey && f.a != kOff;
  if (set && (f.flags & kMayLeaveTrie) == 0) {
    for (const auto& [byte, to] : p_.next(f.a)) add_byte(bytes, byte);
    return;
  }
  if (!by_chars(f.kind) || f.c == kAnyText) {
    bytes[0] |= kAll << 32;
    bytes[1] = bytes[2] = bytes[3] = kAll;
    return;
  }
  RegexPool& pool = pool_of(f);
  for (std::uint32_t c = 0x20; c < 0x80; ++c) {
    if (pool.step(f.c, c) != kNoText) add_byte(bytes, static_cast<std::uint8_t>(c));
  }
  if (pool.open_between(f.c, 0x80, kCodePointMax, {})) bytes[2] = bytes[3] = kAll;
}

Automaton::Read Automaton::read_string(Config& config, std::uint8_t byte, std::uint32_t max) {
  Frame& f = config.top;
  // With no set to hit, only the class of an escape matters: a high surrogate asks for a low one.
  const bool exact = f.a != kOff || (f.flags & (kMayLeaveTrie | kHashed)) != 0 || by_chars(f.kind);
  auto done = [&](std::uint32_t code_point) {
    f.phase = kUtf8Between;
    f.b = 0;
    ++config.count;
    return emit_code_point(config, code_point) ? Read::kMore : Read::kDead;
  };
  if (f.phase == kUtf8Between || f.phase >= kUtf8One) {
    if (f.phase == kUtf8Between) {
      if (byte == '"') return Read::kClose;
      if (byte < 0x20 || config.count >= max) return Read::kDead;
      if (byte == '\\') {
        f.phase = kEscape;
        return escape_viable(config) ? Read::kMore : Read::kDead;
      }
    }
    if (by_chars(f.kind)) {
      CharInPart part{f.phase, f.b};
      const bool whole = part.add(byte);
      if (part.phase == kUtf8Wrong || !emit(f, byte)) return Read::kDead;
      f.phase = part.phase;
      f.b = whole ? 0 : part.value;
      if (whole) {
        ++config.count;
        return take_char(config, part.value) ? Read::kMore : Read::kDead;
      }
      return chars_open(config, part.least(), part.most(), part.consumed()) ? Read::kMore : Read::kDead;
    }
    const std::uint8_t phase = utf8_step(f.phase, byte);
    if (phase == kUtf8Wrong || !emit(f, byte)) return Read::kDead;
    f.phase = phase;
    if (phase == kUtf8Between) ++config.count;
    return Read::kMore;
  }
  if (f.phase == kEscape) {
    switch (byte) {
      case '"':
        return done('"');
      case '\\':
        return done('\\');
      case '/':
        return done('/');
      case 'b':
        return done('\b');
      case 'f':
        return done('\f');
      case 'n':
        return done('\n');
      case 'r':
        return done('\r');
      case 't':
        return done('\t');
      case 'u':
        f.phase = kHex;
        f.b = 0;
        return escape_viable(config) ? Read::kMore : Read::kDead;
      default:
        return Read::kDead;
    }
  }
  if (f.phase == kLowSlash) {
    if (byte != '\\') return Read::kDead;
    f.phase = kLowU;
    return Read::kMore;
  }
  if (f.phase == kLowU) {
    if (byte != 'u') return Read::kDead;
    f.phase = kLowHex;
    return Read::kMore;
  }
  const int digit = hex_digit(byte);
  if (digit < 0) return Read::kDead;
  const bool low = f.phase >= kLowHex;
  const int read = f.phase - (low ? kLowHex : kHex) + 1;
  std::uint32_t value = ((low ? f.b & 0xFFFF : f.b) << 4) | static_cast<std::uint32_t>(digit);
  if (!low && read == 2 && value >= 0xDC && value <= 0xDF) return Read::kDead;  // a lone low surrogate
  if (low && read == 1 && value != 0xD) return Read::kDead;
  if (low && read == 2 && (value < 0xDC || value > 0xDF)) return Read::kDead;
  if (!exact) {
    if (low) {
      value = read == 1 ? 0xD : read == 2 ? 0xDC : 0;
    } else if (read == 1) {
      value = value == 0xD ? 0xD : 0;
    } else {
      const bool surrogate = read == 2 ? value >= 0xD8 && value <= 0xDB : (value >> (4 * (read - 2))) == 0xD8;
      value = surrogate ? 0xD8U << (4 * (read - 2)) : 0;
    }
  }
  if (read < 4) {
    f.b = low ? (f.b & 0xFFFF0000) | value : value;
    ++f.phase;
    return escape_viable(config) ? Read::kMore : Read::kDead;
  }
  if (!low && value >= 0xD800 && value <= 0xDBFF) {
    f.phase = kLowSlash;
    f.b = exact ? value << 16 : 0;
    return escape_viable(config) ? Read::kMore : Read::kDead;
  }
  if (low) value = exact ? 0x10000 + (((f.b >> 16) - 0xD800) << 10) + (value - 0xDC00) : 0x10000;
  return done(value);
}

void Automaton::step_string(Config config, std::uint8_t byte, std::vector<Config>& to) {
  Frame& f = config.top;
  const bool key = key_kind(f.kind);
  const GrammarNode& n = p_.nodes[f.node];
  const std::uint32_t max = key || n.node->string.is_set ? kNoLimit : n.string_max;
  switch (read_string(config, byte, max)) {
    case Read::kDead:
      return;
    case Read::kMore:
      if (key || n.node->string.is_set) config.count = 0;
      to.push_back(config);
      return;
    case Read::kClose:
      if (key) return close_key(config, to);
      if (n.node->string.is_set) {
        if (p_.tries[f.a].terminal < 0) return;
      } else if (config.count < n.node->string.min) {
        return;
      } else if (f.kind == FrameKind::kPatternString && !pool_of(f).accepts_empty(f.c)) {
        return;
      }
      return pop(config, value_hash(ValueTag::kString, f.h), std::nullopt, to);
  }
}

void Automaton::close_key(const Config& key, std::vector<Config>& to) {
  Config next;
  Frame& object = next.top;
  object = in_.frame(key.top.parent);
  const GrammarNode& n = p_.nodes[object.node];
  const ObjectRule& rule = n.node->object;
  const std::uint32_t pending = object.h != 0 ? 1 : 0;
  const std::int32_t known = key.top.a == kOff ? -1 : p_.tries[key.top.a].terminal;
  object.phase = kAfterKey;
  if ((object.flags & kHashed) != 0) object.delta = in_.text(with_key_hash(in_.text(object.delta), key.top.h));
  if (known >= 0) {
    if (key.top.kind == FrameKind::kPatternKey) return;  // the configuration of names has it
    const auto i = static_cast<std::uint32_t>(known);
    if (!can_add(rule, n.base, in_.keys(object.a), pending, i, object.depth, object.b)) return;
    object.a = in_.with_key(object.a, i, rule.properties[i].required);
    object.c = value_node(n, rule.properties[i].node);
    to.push_back(next);
    return;
  }
  std::uint32_t key_class = 0;
  if (key.top.kind == FrameKind::kPatternKey) {
    if (!pool_of(key.top).accepts_empty(key.top.c)) return;
    key_class = key.top.delta;
  } else if ((key.top.flags & kMayLeaveTrie) == 0) {
    return;
  }
  const std::uint64_t hash = key.top.h;
  const auto& extra = in_.keys(object.a).extra;
  if (hash == object.h || std::binary_search(extra.begin(), extra.end(), hash)) return;
  // The value may be the one that some key must have, or not; then room must stay for that one.
  const Frame before = object;
  bool later = true;
  for (std::uint32_t i = 0; i < rule.some.size(); ++i) {
    if (((before.b >> i) & 1) != 0) continue;
    later = later && can_add_extra_after(n, in_.keys(before.a), pending, before.b);
    if (rule.some[i].key_class != key_class || before.depth + height(n.base, rule.some[i].node) > kDepthMax) continue;
    object = before;
    object.b |= 1U << i;
    if (object.h != 0) object.a = with_extra(object.a, object.h);
    object.h = hash;
    object.c = value_node(n, rule.some[i].node);
    to.push_back(next);
  }
  if (!later) return;
  object = before;
  // The latest extra key stays beside the set, so that a walk through a vocabulary makes few sets.
  if (object.h != 0) object.a = with_extra(object.a, object.h);
  object.h = hash;
  object.c = value_node(n, rule.classes[key_class].node);
  to.push_back(next);
}

}  // namespace longhaul::tools
