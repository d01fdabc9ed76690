#include "tools/automaton.h"

#include <algorithm>
#include <array>

#include "tools/utf8.h"

namespace longhaul::tools {
namespace {

// String reading between UTF-8 phases (0 and 12 upwards): an escape, its hex digits, the low half of a surrogate pair.
enum StringPhase : std::uint8_t { kEscape = 1, kHex = 2 /* + digits read */, kLowSlash = 6, kLowU = 7, kLowHex = 8 };

constexpr std::array<std::string_view, 6> kLiterals{"true", "false", "null", "True", "False", "None"};
constexpr std::uint64_t kHashBasis = 14695981039346656037ULL;
constexpr std::uint64_t kHashPrime = 1099511628211ULL;
constexpr std::uint8_t kKeyBytesMax = 128;  // of a free parameter name

std::uint64_t hash_step(std::uint64_t h, std::uint8_t byte) {
  h = (h ^ byte) * kHashPrime;
  return h == 0 ? 1 : h;
}

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

std::size_t Interner::FrameHash::operator()(const Frame& frame) const {
  std::uint64_t words[5];
  std::memcpy(words, &frame, sizeof words);
  std::uint64_t h = 0x9E3779B97F4A7C15ULL;
  for (const std::uint64_t word : words) {
    h = (h ^ word) * 0xD6E8FEB86659FD93ULL;
    h ^= h >> 32;
  }
  return h;
}

Interner::Interner() {
  frames_.emplace_back();  // 0: a complete JSON document, the bottom of every stack
  frame_ids_.emplace(frames_[0], 0);
  keys_.emplace_back();  // 0: no key yet
  key_ids_.emplace(0, 0);
  text("");
}

std::uint32_t Interner::frame(const Frame& frame) {
  const auto [at, fresh] = frame_ids_.emplace(frame, static_cast<std::uint32_t>(frames_.size()));
  if (fresh) {
    frames_.push_back(frame);
    bytes_ += 2 * sizeof(Frame) + 48;
  }
  return at->second;
}

std::uint32_t Interner::keys(SeenKeys keys) {
  std::uint64_t h = keys.count;
  for (const std::uint64_t word : keys.bits) h = (h ^ word) * kHashPrime;
  for (const std::uint64_t word : keys.extra) h = (h ^ word) * kHashPrime;
  const auto [from, to] = key_ids_.equal_range(h);
  for (auto at = from; at != to; ++at) {
    if (keys_[at->second] == keys) return at->second;
  }
  const auto id = static_cast<std::uint32_t>(keys_.size());
  bytes_ += sizeof(SeenKeys) + 64 + 8 * (keys.bits.size() + keys.extra.size());
  keys_.push_back(std::move(keys));
  key_ids_.emplace(h, id);
  return id;
}

std::uint32_t Interner::text(const std::string& text) {
  const auto [at, fresh] = text_ids_.emplace(text, static_cast<std::uint32_t>(texts_.size()));
  if (fresh) {
    texts_.push_back(&at->first);
    bytes_ += text.size() + 80;
  }
  return at->second;
}

Config Automaton::start(bool thinking) {
  Config config;
  if (!p_.is_message) {
    config.top.kind = FrameKind::kValue;
    config.top.node = p_.root;
    return config;
  }
  config.top.kind = thinking ? FrameKind::kThink : FrameKind::kContent;
  config.top.region = thinking ? Region::kReasoning : Region::kContent;
  return config;
}

void Automaton::step(const std::vector<Config>& from, std::uint8_t byte, std::vector<Config>& to) {
  to.clear();
  for (const Config& config : from) step(config, byte, to);
  if (to.size() < 2) return;
  // Alternatives that met again are one.
  auto order = [](const Config& x, const Config& y) {
    const int c = std::memcmp(&x.top, &y.top, sizeof(Frame));
    return c != 0 ? c < 0 : x.count < y.count;
  };
  std::sort(to.begin(), to.end(), order);
  to.erase(std::unique(to.begin(), to.end(),
                       [](const Config& x, const Config& y) { return x.top == y.top && x.count == y.count; }),
           to.end());
  if (to.size() > kConfigsMax) to.resize(kConfigsMax);
}

void Automaton::step(const Config& config, std::uint8_t byte, std::vector<Config>& to) {
  switch (config.top.kind) {
    case FrameKind::kDone:
      if (p_.whitespace == Whitespace::kAny && (byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r')) {
        to.push_back(config);
      }
      return;
    case FrameKind::kValue:
      return step_value(config, byte, to);
    case FrameKind::kString:
    case FrameKind::kKey:
      return step_string(config, byte, to);
    case FrameKind::kNumber:
      return step_number(config, byte, to);
    case FrameKind::kLiteral:
      return step_literal(config, byte, to);
    case FrameKind::kObject:
      return step_object(config, byte, to);
    case FrameKind::kArray:
      return step_array(config, byte, to);
    case FrameKind::kThink:
    case FrameKind::kContent:
    case FrameKind::kFunctionEnd:
    case FrameKind::kAfterCall:
      return step_text(config, byte, to);
    case FrameKind::kHeader:
      return step_header(config, byte, to);
    case FrameKind::kTail:
      return step_tail(config, byte, to);
    case FrameKind::kParameterKey:
      return step_parameter_key(config, byte, to);
    case FrameKind::kParameterOpen:
      return step_parameter_open(config, byte, to);
    case FrameKind::kRaw:
      return step_raw(config, byte, to);
    case FrameKind::kRawSet:
      return step_raw_set(config, byte, to);
    case FrameKind::kEnd:
      return;
  }
}

bool Automaton::space(std::uint8_t byte, std::uint8_t& state) const {
  if (byte != ' ' && byte != '\n' && byte != '\t' && byte != '\r') return false;
  if (state == kNoSpace) return false;
  if (p_.whitespace == Whitespace::kAny) return true;
  // 0: nothing yet; 1: one space, no more; 2..18: a line end and spaces.
  if (state == 0 && byte == ' ') {
    state = 1;
  } else if (state == 0 && byte == '\n') {
    state = 2;
  } else if (state >= 2 && state < 18 && byte == ' ') {
    ++state;
  } else {
    return false;
  }
  return true;
}

// --- values

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

bool Automaton::can_close(const ObjectRule& rule, const SeenKeys& seen, std::uint32_t pending) const {
  return seen.required == rule.n_required && seen.count + pending >= rule.min;
}

bool Automaton::can_add(const ObjectRule& rule, NodeId base, const SeenKeys& seen, std::uint32_t pending,
                        std::uint32_t i, std::uint16_t depth) const {
  const Property& property = rule.properties[i];
  if (property.node == kNoNode || seen.has(i) || depth + height(base, property.node) > kDepthMax) return false;
  // Room must stay for what is still required.
  const std::uint32_t still = rule.n_required - seen.required - (property.required ? 1 : 0);
  return std::uint64_t{seen.count} + pending + 1 + still <= rule.max;
}

bool Automaton::can_add_extra(const ObjectRule& rule, NodeId base, const SeenKeys& seen, std::uint32_t pending,
                              std::uint16_t depth) const {
  if (rule.additional == kNoNode || depth + height(base, rule.additional) > kDepthMax) return false;
  return std::uint64_t{seen.count} + pending + 1 + (rule.n_required - seen.required) <= rule.max;
}

bool Automaton::can_add_any(const GrammarNode& n, const SeenKeys& seen, std::uint32_t pending,
                            std::uint16_t depth) const {
  const ObjectRule& rule = n.node->object;
  if (can_add_extra(rule, n.base, seen, pending, depth)) return true;
  for (std::uint32_t i = 0; i < rule.properties.size(); ++i) {
    if (can_add(rule, n.base, seen, pending, i, depth)) return true;
  }
  return false;
}

std::uint32_t Automaton::with_key(std::uint32_t seen, std::uint32_t i, bool required) {
  SeenKeys keys = in_.keys(seen);
  if (keys.bits.size() <= i / 64) keys.bits.resize(i / 64 + 1);
  keys.bits[i / 64] |= std::uint64_t{1} << (i % 64);
  ++keys.count;
  keys.required += required ? 1 : 0;
  return in_.keys(std::move(keys));
}

std::uint32_t Automaton::with_extra(std::uint32_t seen, std::uint64_t hash) {
  SeenKeys keys = in_.keys(seen);
  keys.extra.insert(std::lower_bound(keys.extra.begin(), keys.extra.end(), hash), hash);
  ++keys.count;
  return in_.keys(std::move(keys));
}

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

// --- messages

void Automaton::step_text(Config config, std::uint8_t byte, std::vector<Config>& to) {
  Frame& f = config.top;
  const CallFormat& format = p_.options.format;
  switch (f.kind) {
    case FrameKind::kThink:
      break;
    case FrameKind::kContent: {
      const bool must_call = p_.options.choice == ToolChoice::kRequired || p_.options.choice == ToolChoice::kNamed;
      if (!must_call) break;
      if (byte != '\n' || f.space >= format.newlines_between) return;
      ++f.space;
      break;
    }
    case FrameKind::kAfterCall:
      if (byte != '\n' || f.space >= format.newlines_between) return;
      ++f.space;
      break;
    case FrameKind::kFunctionEnd:
      if (f.phase >= format.function_close_end.size() ||
          static_cast<std::uint8_t>(format.function_close_end[f.phase]) != byte) {
        return;
      }
      ++f.phase;
      break;
    default:
      return;
  }
  to.push_back(config);
}

void Automaton::step_header(Config config, std::uint8_t byte, std::vector<Config>& to) {
  Frame& f = config.top;
  f.a = p_.child(f.a, byte);
  if (f.a == kOff) return;
  const std::int32_t tool = p_.tries[f.a].terminal;
  if (tool < 0) {
    to.push_back(config);
    return;
  }
  Config next;
  next.top.kind = FrameKind::kTail;
  next.top.region = Region::kTag;
  next.top.node = static_cast<std::uint32_t>(tool);
  next.top.a = p_.tool_programs[static_cast<std::size_t>(tool)].after_value;
  to.push_back(next);
}

// For frames of a call (node: tool, b: seen keys, h: latest extra key): may the terminator be used now?
bool Automaton::terminal_open(const Frame& f, std::int32_t terminal) const {
  const GrammarToolProgram& tool = p_.tool_programs[f.node];
  const GrammarNode& n = p_.nodes[tool.arguments];
  const SeenKeys& seen = in_.keys(f.b);
  const std::uint32_t pending = f.h != 0 ? 1 : 0;
  if (terminal == kEndFunction) return can_close(n.node->object, seen, pending);
  if (terminal == kOpenKey) return can_add_any(n, seen, pending, 0);
  return can_add(n.node->object, n.base, seen, pending, static_cast<std::uint32_t>(terminal), 0);
}

bool Automaton::any_terminal(const Frame& f, std::uint32_t trie) const {
  for (std::uint32_t i = p_.tries[trie].lo; i < p_.tries[trie].hi; ++i) {
    if (terminal_open(f, p_.terminals[i])) return true;
  }
  return false;
}

void Automaton::reach(const Frame& from, std::int32_t terminal, std::vector<Config>& to) {
  if (!terminal_open(from, terminal)) return;
  Config next;
  Frame& f = next.top;
  f.region = Region::kTag;
  f.node = from.node;
  f.b = from.b;
  f.h = from.h;
  if (terminal == kEndFunction) {
    f.kind = FrameKind::kFunctionEnd;
    f.b = 0;
    f.h = 0;
  } else if (terminal == kOpenKey) {
    f.kind = FrameKind::kParameterKey;
    f.a = p_.tool_programs[from.node].key_trie;
    f.c = 0;
  } else {
    const auto i = static_cast<std::uint32_t>(terminal);
    const ObjectRule& rule = p_.nodes[p_.tool_programs[from.node].arguments].node->object;
    f.kind = FrameKind::kParameterOpen;
    f.b = with_key(from.b, i, rule.properties[i].required);
    f.c = i;
  }
  to.push_back(next);
}

void Automaton::step_tail(Config config, std::uint8_t byte, std::vector<Config>& to) {
  Frame& f = config.top;
  f.a = p_.child(f.a, byte);
  if (f.a == kOff) return;
  const std::int32_t terminal = p_.tries[f.a].terminal;
  if (terminal >= 0) return reach(f, terminal, to);
  if (any_terminal(f, f.a)) to.push_back(config);
}

void Automaton::step_raw(Config config, std::uint8_t byte, std::vector<Config>& to) {
  Frame& f = config.top;
  const ValueStart& start = p_.starts[f.c];
  f.phase = utf8_step(f.phase, byte);
  if (f.phase == kUtf8Wrong) return;
  if ((byte & 0xC0) != 0x80) ++config.count;
  const std::uint32_t root = p_.tool_programs[f.node].terminators;
  std::uint32_t at = f.a;
  while (at != root && p_.child(at, byte) == kOff) at = p_.tries[at].fail;
  const std::uint32_t found = p_.child(at, byte);
  f.a = found == kOff ? root : found;
  const TrieNode& node = p_.tries[f.a];
  // What may still turn out to be the terminator is not part of the value.
  const std::uint32_t length = config.count - node.code_points;
  if (length > start.max) return;
  if (node.terminal >= 0) {
    if (length >= start.min) reach(f, node.terminal, to);
    return;
  }
  if (config.count > start.max) {
    // The value is full: one of the terminators begun must be one that may come.
    bool open = false;
    for (std::uint32_t t = f.a; !open; t = p_.tries[t].fail) {
      const std::uint32_t ended = config.count - p_.tries[t].code_points;
      open = ended >= start.min && ended <= start.max && any_terminal(f, t);
      if (t == root) break;
    }
    if (!open) return;
  }
  to.push_back(config);
}

void Automaton::step_raw_set(Config config, std::uint8_t byte, std::vector<Config>& to) {
  Frame& f = config.top;
  if (p_.tries[f.a].terminal >= 0) {
    Config tail;
    tail.top.kind = FrameKind::kTail;
    tail.top.region = f.region;
    tail.top.node = f.node;
    tail.top.a = p_.tool_programs[f.node].terminators;
    tail.top.b = f.b;
    tail.top.h = f.h;
    step_tail(tail, byte, to);
  }
  f.a = p_.child(f.a, byte);
  if (f.a != kOff) to.push_back(config);
}

void Automaton::step_parameter_open(Config config, std::uint8_t byte, std::vector<Config>& to) {
  Frame& f = config.top;
  const std::string& text = p_.options.format.value_open;
  if (static_cast<std::uint8_t>(text[f.phase]) != byte) return;
  if (++f.phase < text.size()) {
    to.push_back(config);
    return;
  }
  const GrammarToolProgram& tool = p_.tool_programs[f.node];
  for (const std::uint32_t i : f.c == kExtraProperty ? tool.extra_values : tool.values[f.c]) {
    const ValueStart& start = p_.starts[i];
    Config next;
    Frame& top = next.top;
    top.region = Region::kValue;
    top.node = f.node;
    top.b = f.b;
    top.h = f.h;
    switch (start.kind) {
      case ValueStart::Kind::kRaw:
        top.kind = FrameKind::kRaw;
        top.a = tool.terminators;
        top.c = i;
        break;
      case ValueStart::Kind::kRawSet:
        top.kind = FrameKind::kRawSet;
        top.a = start.trie;
        break;
      case ValueStart::Kind::kJson: {
        // What follows the value waits below it.
        top.kind = FrameKind::kTail;
        top.a = tool.terminators;
        const std::uint32_t tail = in_.frame(top);
        top = Frame{};
        top.kind = FrameKind::kValue;
        top.region = Region::kValue;
        top.flags = kPythonLiterals;
        top.space = kNoSpace;
        top.node = start.node;
        top.parent = tail;
        break;
      }
    }
    to.push_back(next);
  }
}

void Automaton::step_parameter_key(Config config, std::uint8_t byte, std::vector<Config>& to) {
  Frame& f = config.top;  // c: hash so far is kept in two halves, as h holds the latest recorded key
  const GrammarToolProgram& tool = p_.tool_programs[f.node];
  const GrammarNode& n = p_.nodes[tool.arguments];
  const ObjectRule& rule = n.node->object;
  const std::uint32_t pending = f.h != 0 ? 1 : 0;
  std::uint64_t hash = (std::uint64_t{f.c} << 32) | f.delta;
  if (f.space == 0) hash = kHashBasis;
  const std::uint32_t on_trie = f.a == kOff ? kOff : p_.child(f.a, byte);
  if (byte == '>') {
    if (f.space == 0 || f.phase != kUtf8Between) return;
    Config next;
    next.top.kind = FrameKind::kParameterOpen;
    next.top.region = Region::kTag;
    next.top.node = f.node;
    next.top.b = f.b;
    next.top.h = f.h;
    if (on_trie != kOff) {
      const auto i = static_cast<std::uint32_t>(p_.tries[on_trie].terminal);
      if (!can_add(rule, n.base, in_.keys(f.b), pending, i, 0)) return;
      next.top.b = with_key(f.b, i, rule.properties[i].required);
      next.top.c = i;
    } else {
      if (!can_add_extra(rule, n.base, in_.keys(f.b), pending, 0)) return;
      const auto& extra = in_.keys(f.b).extra;
      if (hash == f.h || std::binary_search(extra.begin(), extra.end(), hash)) return;
      if (f.h != 0) next.top.b = with_extra(f.b, f.h);
      next.top.h = hash;
      next.top.c = kExtraProperty;
    }
    to.push_back(next);
    return;
  }
  f.phase = utf8_step(f.phase, byte);
  if (f.phase == kUtf8Wrong || byte == '<' || byte == '\n' || byte == '\r') return;
  f.a = on_trie;
  const bool extra = can_add_extra(rule, n.base, in_.keys(f.b), pending, 0);
  if (!extra && (f.a == kOff || !any_terminal(f, f.a))) return;
  hash = hash_step(hash, byte);
  ++f.space;
  // A free name must be able to end within its length, in whole characters and unlike every other name so far.
  const bool known = f.a != kOff && any_terminal(f, f.a);
  if (!known) {
    if (f.space + utf8_missing(f.phase) > kKeyBytesMax) return;
    const auto& used = in_.keys(f.b).extra;
    const bool taken = hash == f.h || std::binary_search(used.begin(), used.end(), hash) ||
                       (f.a != kOff && p_.child(f.a, '>') != kOff);
    if (f.space == kKeyBytesMax && taken) return;
  }
  f.c = extra ? static_cast<std::uint32_t>(hash >> 32) : 0;
  f.delta = extra ? static_cast<std::uint32_t>(hash) : 0;
  to.push_back(config);
}

void Automaton::step_control(const std::vector<Config>& from, TokenId token, std::vector<Config>& to) {
  to.clear();
  const bool stops = std::binary_search(p_.stop.begin(), p_.stop.end(), token);
  for (const Config& config : from) {
    const Frame& f = config.top;
    Config next;
    bool ok = false;
    auto go = [&](FrameKind kind, Region region) {
      next.top.kind = kind;
      next.top.region = region;
      ok = true;
    };
    const bool must_call = p_.options.choice == ToolChoice::kRequired || p_.options.choice == ToolChoice::kNamed;
    const bool opens = token == p_.call_open && p_.header_trie != kOff;
    switch (f.kind) {
      case FrameKind::kThink:
        if (token == p_.think_close) go(FrameKind::kContent, Region::kContent);
        break;
      case FrameKind::kContent:
        if (stops && !must_call) go(FrameKind::kEnd, Region::kEnd);
        if (opens) go(FrameKind::kHeader, Region::kTag);
        break;
      case FrameKind::kFunctionEnd:
        if (token == p_.call_close && f.phase == p_.options.format.function_close_end.size()) {
          go(FrameKind::kAfterCall, Region::kTag);
        }
        break;
      case FrameKind::kAfterCall:
        if (stops) go(FrameKind::kEnd, Region::kEnd);
        if (opens && p_.options.parallel_calls) go(FrameKind::kHeader, Region::kTag);
        break;
      default:
        if (!p_.is_message && stops && complete(config)) go(FrameKind::kEnd, Region::kEnd);
    }
    if (next.top.kind == FrameKind::kHeader) next.top.a = p_.header_trie;
    if (ok) to.push_back(next);
  }
  if (to.size() > 1) to.resize(1);  // they are equal: only JSON texts have several, and all end alike
}

bool Automaton::complete(const Config& config) {
  const Frame& f = config.top;
  if (f.kind == FrameKind::kEnd || f.kind == FrameKind::kDone) return true;
  if (f.kind != FrameKind::kNumber || in_.frame(f.parent).kind != FrameKind::kDone) return false;
  return NumberSpelling(p_.nodes[f.node].number, p_.is_message).complete(in_.text(f.a));
}

std::size_t Automaton::pending(const Config& config) const {
  const Frame& f = config.top;
  return f.kind == FrameKind::kRaw || f.kind == FrameKind::kTail ? p_.tries[f.a].depth : 0;
}

std::pair<std::uint32_t, std::uint32_t> Automaton::limits(const Config& config) const {
  const Frame& f = config.top;
  if (f.kind == FrameKind::kRaw) return {p_.starts[f.c].min, p_.starts[f.c].max};
  if (f.kind == FrameKind::kString && !p_.nodes[f.node].node->string.is_set) {
    return {p_.nodes[f.node].node->string.min, p_.nodes[f.node].string_max};
  }
  return {0, kNoLimit};
}

}  // namespace longhaul::tools
