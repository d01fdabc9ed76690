// The part of the automaton that reads JSON: values, numbers, strings and keys, objects, arrays.
#include <algorithm>
#include <array>

#include "tools/automaton.h"
#include "tools/utf8.h"

namespace longhaul::tools {
namespace {

// String reading between UTF-8 phases (0 and 12 upwards): an escape, its hex digits, the low half of a surrogate pair.
enum StringPhase : std::uint8_t { kEscape = 1, kHex = 2 /* + digits read */, kLowSlash = 6, kLowU = 7, kLowHex = 8 };

constexpr std::array<std::string_view, 6> kLiterals{"true", "false", "null", "True", "False", "None"};

int hex_digit(std::uint8_t byte) {
  if (byte >= '0' && byte <= '9') return byte - '0';
  if (byte >= 'a' && byte <= 'f') return byte - 'a' + 10;
  if (byte >= 'A' && byte <= 'F') return byte - 'A' + 10;
  return -1;
}

bool starts_number(std::uint8_t byte) {
  return byte == '-' || (byte >= '0' && byte <= '9');
}

}  // namespace

void Automaton::step_value(const Config& config, std::uint8_t byte, std::vector<Config>& to) {
  const Frame& f = config.top;
  if (byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r') {
    Config next = config;
    if (space(byte, next.top.space)) to.push_back(next);
    return;
  }
  const NodeId base = p_.nodes[f.node].base;
  for (const NodeId choice : p_.nodes[f.node].node->choices) {
    const NodeId id = base + choice;
    const GrammarNode& n = p_.nodes[id];
    const std::uint8_t types = n.node->types;
    Config next;
    Frame& top = next.top;
    top.region = f.region;
    top.depth = f.depth;
    top.parent = f.parent;
    top.node = id;
    if (byte == '"') {
      if ((types & kStringBit) == 0) continue;
      top.kind = FrameKind::kString;
      top.a = n.node->string.is_set ? n.string_trie : kOff;
      to.push_back(next);
    } else if (starts_number(byte)) {
      if ((types & kNumberBit) == 0) continue;
      const auto text = NumberSpelling(n.number, p_.is_message).next("", static_cast<char>(byte));
      if (!text) continue;
      top.kind = FrameKind::kNumber;
      top.a = in_.text(*text);
      to.push_back(next);
    } else if (byte == '{' || byte == '[') {
      const bool object = byte == '{';
      if ((types & (object ? kObjectBit : kArrayBit)) == 0) continue;
      if (f.depth + (object ? n.node->object_height : n.node->array_height) > kDepthMax) continue;
      top.kind = object ? FrameKind::kObject : FrameKind::kArray;
      top.phase = kAfterOpen;
      ++top.depth;
      to.push_back(next);
    } else {
      for (std::uint32_t i = 0; i < kLiterals.size(); ++i) {
        if (static_cast<std::uint8_t>(kLiterals[i][0]) != byte) continue;
        if (i >= 3 && (f.flags & kPythonLiterals) == 0) continue;
        constexpr std::array<std::uint8_t, 3> kBits{kTrueBit, kFalseBit, kNullBit};
        if ((types & kBits[i % 3]) == 0) continue;
        top.kind = FrameKind::kLiteral;
        top.phase = 1;
        top.a = i;
        top.node = 0;  // nothing more depends on it
        to.push_back(next);
      }
    }
  }
}

void Automaton::pop(const Config& config, std::vector<Config>& to) {
  Config next;
  next.top = in_.frame(config.top.parent);
  if (next.top.kind == FrameKind::kObject || next.top.kind == FrameKind::kArray) {
    next.top.phase = kAfterValue;
  }
  to.push_back(next);
}

void Automaton::step_literal(Config config, std::uint8_t byte, std::vector<Config>& to) {
  const std::string_view text = kLiterals[config.top.a];
  if (static_cast<std::uint8_t>(text[config.top.phase]) != byte) return;
  if (++config.top.phase == text.size()) return pop(config, to);
  to.push_back(config);
}

void Automaton::step_number(const Config& config, std::uint8_t byte, std::vector<Config>& to) {
  const NumberSpelling spelling(p_.nodes[config.top.node].number, p_.is_message);
  const std::string text = in_.text(config.top.a);
  const bool part = starts_number(byte) || byte == '+' || byte == '.' || byte == 'e' || byte == 'E';
  if (part) {
    if (auto next = spelling.next(text, static_cast<char>(byte))) {
      Config longer = config;
      longer.top.a = in_.text(*next);
      to.push_back(longer);
    }
    return;
  }
  // Any other byte ends the number and belongs to what encloses it.
  if (!spelling.complete(text)) return;
  std::vector<Config> below;
  pop(config, below);
  step(below[0], byte, to);
}

// --- strings and keys

bool Automaton::emit(Frame& f, std::uint8_t byte) {
  if (f.a != kOff) {
    f.a = p_.child(f.a, byte);
    if (f.kind == FrameKind::kKey) {
      if ((f.flags & kMayLeaveTrie) == 0 && (f.a == kOff || !trie_viable(f, f.a))) return false;
    } else if (f.a == kOff) {
      return false;
    }
  }
  if ((f.flags & kMayLeaveTrie) != 0) f.h = hash_step(f.h, byte);
  return true;
}

bool Automaton::emit_code_point(Frame& f, std::uint32_t code_point) {
  std::string bytes;
  append_utf8(code_point, bytes);
  return std::all_of(bytes.begin(), bytes.end(), [&](char c) { return emit(f, static_cast<std::uint8_t>(c)); });
}

// Can an allowed name still be reached from here?
bool Automaton::trie_viable(const Frame& f, std::uint32_t trie) const {
  if (f.kind != FrameKind::kKey) return true;
  const Frame& object = in_.frame(f.parent);
  const GrammarNode& n = p_.nodes[object.node];
  const SeenKeys& seen = in_.keys(object.a);
  for (std::uint32_t i = p_.tries[trie].lo; i < p_.tries[trie].hi; ++i) {
    if (can_add(n.node->object, n.base, seen, object.h != 0 ? 1 : 0, static_cast<std::uint32_t>(p_.terminals[i]),
                object.depth)) {
      return true;
    }
  }
  return false;
}

void Automaton::next_code_points(const Frame& f, std::uint32_t trie, std::uint32_t value, int left,
                                 std::vector<std::uint32_t>& out) const {
  for (const auto& [byte, to] : p_.tries[trie].next) {
    if (!trie_viable(f, to)) continue;
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

// Inside an escape, with only the names or values of a trie to go on to: does one of them go on so?
bool Automaton::escape_viable(const Frame& f) const {
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

Automaton::Read Automaton::read_string(Config& config, std::uint8_t byte, std::uint32_t max) {
  Frame& f = config.top;
  // With no set to hit, only the class of an escape matters: a high surrogate asks for a low one.
  const bool exact = f.a != kOff || (f.flags & kMayLeaveTrie) != 0;
  auto done = [&](std::uint32_t code_point) {
    f.phase = kUtf8Between;
    f.b = 0;
    ++config.count;
    return emit_code_point(f, code_point) ? Read::kMore : Read::kDead;
  };
  if (f.phase == kUtf8Between || f.phase >= kUtf8One) {
    if (f.phase == kUtf8Between) {
      if (byte == '"') return Read::kClose;
      if (byte < 0x20 || config.count >= max) return Read::kDead;
      if (byte == '\\') {
        f.phase = kEscape;
        return escape_viable(f) ? Read::kMore : Read::kDead;
      }
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
        return escape_viable(f) ? Read::kMore : Read::kDead;
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
    return escape_viable(f) ? Read::kMore : Read::kDead;
  }
  if (!low && value >= 0xD800 && value <= 0xDBFF) {
    f.phase = kLowSlash;
    f.b = exact ? value << 16 : 0;
    return escape_viable(f) ? Read::kMore : Read::kDead;
  }
  if (low) value = exact ? 0x10000 + (((f.b >> 16) - 0xD800) << 10) + (value - 0xDC00) : 0x10000;
  return done(value);
}

void Automaton::step_string(Config config, std::uint8_t byte, std::vector<Config>& to) {
  Frame& f = config.top;
  const bool key = f.kind == FrameKind::kKey;
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
      if (n.node->string.is_set ? p_.tries[f.a].terminal < 0 : config.count < n.node->string.min) return;
      return pop(config, to);
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
  if (known >= 0) {
    const auto i = static_cast<std::uint32_t>(known);
    if (!can_add(rule, n.base, in_.keys(object.a), pending, i, object.depth)) return;
    object.a = with_key(object.a, i, rule.properties[i].required);
    object.c = n.base + rule.properties[i].node;
  } else {
    if ((key.top.flags & kMayLeaveTrie) == 0) return;
    const std::uint64_t hash = key.top.h;
    const auto& extra = in_.keys(object.a).extra;
    if (hash == object.h || std::binary_search(extra.begin(), extra.end(), hash)) return;
    // The latest extra key stays beside the set, so that a walk through a vocabulary makes few sets.
    if (object.h != 0) object.a = with_extra(object.a, object.h);
    object.h = hash;
    object.c = n.base + rule.additional;
  }
  object.phase = kAfterKey;
  to.push_back(next);
}

// --- objects and arrays

void Automaton::step_object(Config config, std::uint8_t byte, std::vector<Config>& to) {
  Frame& f = config.top;
  if (space(byte, f.space)) {
    to.push_back(config);
    return;
  }
  const GrammarNode& n = p_.nodes[f.node];
  const SeenKeys& seen = in_.keys(f.a);
  const std::uint32_t pending = f.h != 0 ? 1 : 0;
  f.space = 0;
  if (f.phase == kAfterKey) {
    if (byte != ':') return;
    Config value;
    value.top.kind = FrameKind::kValue;
    value.top.region = f.region;
    value.top.depth = f.depth;
    value.top.node = f.c;
    f.c = 0;
    f.phase = kInside;
    value.top.parent = in_.frame(f);
    to.push_back(value);
    return;
  }
  if (byte == '}' && f.phase != kAfterComma) {
    if (can_close(n.node->object, seen, pending)) pop(config, to);
    return;
  }
  if (byte == ',' && f.phase == kAfterValue) {
    if (!can_add_any(n, seen, pending, f.depth)) return;
    f.phase = kAfterComma;
    to.push_back(config);
    return;
  }
  if (byte == '"' && f.phase != kAfterValue) {
    if (!can_add_any(n, seen, pending, f.depth)) return;
    Config key;
    key.top.kind = FrameKind::kKey;
    key.top.region = f.region;
    key.top.depth = f.depth;
    key.top.node = f.node;
    key.top.a = n.key_trie;
    if (can_add_extra(n.node->object, n.base, seen, pending, f.depth)) {
      key.top.flags = kMayLeaveTrie;
      key.top.h = kHashBasis;
    }
    f.phase = kInside;
    key.top.parent = in_.frame(f);
    to.push_back(key);
  }
}

void Automaton::step_array(Config config, std::uint8_t byte, std::vector<Config>& to) {
  Frame& f = config.top;
  if (space(byte, f.space)) {
    to.push_back(config);
    return;
  }
  f.space = 0;
  const GrammarNode& n = p_.nodes[f.node];
  const ArrayRule& rule = n.node->array;
  if (byte == ']') {
    if (f.a >= rule.min) pop(config, to);
    return;
  }
  if (f.phase == kAfterValue && byte != ',') return;
  // One more element: after a comma, or the first one at its own first byte.
  const NodeId item = f.a < rule.prefix.size() ? rule.prefix[f.a] : rule.items;
  if (f.a >= rule.max || item == kNoNode || f.depth + height(n.base, item) > kDepthMax) return;
  Config value;
  value.top.kind = FrameKind::kValue;
  value.top.region = f.region;
  value.top.depth = f.depth;
  value.top.node = n.base + item;
  const bool first = f.phase == kAfterOpen;
  ++f.a;
  // Past what counts, all lengths are one.
  const auto matters = std::max<std::uint32_t>(rule.min, static_cast<std::uint32_t>(rule.prefix.size()));
  if (rule.max == kNoLimit) f.a = std::min(f.a, matters);
  f.phase = kInside;
  value.top.parent = in_.frame(f);
  if (!first) {
    to.push_back(value);
    return;
  }
  value.top.space = kNoSpace;
  step_value(value, byte, to);
}

}  // namespace longhaul::tools
