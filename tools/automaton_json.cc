// The part of the automaton that reads JSON values: literals, numbers, objects, arrays. Strings: automaton_text.cc.
#include <algorithm>
#include <array>

#include "tools/array_plan.h"
#include "tools/automaton.h"
#include "tools/number_spelling.h"
#include "tools/utf8.h"

namespace longhaul::tools {
namespace {

bool starts_number(std::uint8_t byte) {
  return byte == '-' || (byte >= '0' && byte <= '9');
}

std::uint64_t literal_hash(std::uint32_t i) {
  return value_hash(ValueTag::kLiteral, i % 3);
}

std::uint64_t number_hash(const Decimal& value) {
  std::uint64_t h = hash_step(kHashBasis, value.negative ? 1 : 2);
  for (const char c : value.digits) h = hash_step(h, static_cast<std::uint8_t>(c));
  return value_hash(ValueTag::kNumber, h ^ (static_cast<std::uint64_t>(value.exponent) * kHashPrime));
}

// What an object or array in an array of unique elements has come to: its own sum, and the key whose value is next.
struct Accumulated {
  std::uint64_t sum = 0, key = 0;
};

Accumulated accumulated(const std::string& text) {
  Accumulated a;
  if (text.size() == sizeof a) std::memcpy(&a, text.data(), sizeof a);
  return a;
}

std::string accumulated(const Accumulated& a) {
  return std::string(reinterpret_cast<const char*>(&a), sizeof a);
}

// Counters of an array with contains, as text to intern; all zero is no text.
std::vector<std::uint32_t> counters(const std::string& text, std::size_t n) {
  std::vector<std::uint32_t> counts(n, 0);
  if (n != 0 && text.size() == 4 * n) std::memcpy(counts.data(), text.data(), text.size());
  return counts;
}

std::string counters(const std::vector<std::uint32_t>& counts) {
  if (std::all_of(counts.begin(), counts.end(), [](std::uint32_t c) { return c == 0; })) return "";
  return std::string(reinterpret_cast<const char*>(counts.data()), 4 * counts.size());
}

}  // namespace

std::uint64_t value_hash(ValueTag tag, std::uint64_t content) {
  std::uint64_t h = (content ^ (static_cast<std::uint64_t>(tag) + 1)) * 0xD6E8FEB86659FD93ULL;
  return h ^ (h >> 32);
}

std::string with_key_hash(const std::string& text, std::uint64_t key) {
  Accumulated a = accumulated(text);
  a.key = key;
  return accumulated(a);
}

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
    top.flags = f.flags & (kHashed | kElement);
    if (byte == '"') {
      if ((types & kStringBit) == 0) continue;
      const StringRule& rule = n.node->string;
      const bool plain = (f.flags & kHashed) == 0 && (rule.is_set || rule.pattern == kAnyText);
      top.kind = plain ? FrameKind::kString : FrameKind::kPatternString;
      top.a = rule.is_set ? n.string_trie : kOff;
      if (!plain) {
        top.c = rule.is_set ? kAnyText : rule.pattern;
        top.h = (f.flags & kHashed) != 0 ? kHashBasis : 0;
        if (!text_open(next)) continue;
      }
      to.push_back(next);
    } else if (starts_number(byte)) {
      if ((types & kNumberBit) == 0) continue;
      const auto text = (f.flags & kHashed) == 0
                            ? NumberSpelling(n.number, p_.call_limits).next("", static_cast<char>(byte))
                            : NumberSpelling(number_rule(top), p_.call_limits, true).next("", static_cast<char>(byte));
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
      top.flags &= kHashed;
      ++top.depth;
      to.push_back(next);
    } else {
      for (std::uint32_t i = 0; i < kLiterals.size(); ++i) {
        if (static_cast<std::uint8_t>(kLiterals[i][0]) != byte) continue;
        if (i >= 3 && (f.flags & kPythonLiterals) == 0 && !p_.python()) continue;
        if (i < 3 && p_.python()) continue;
        constexpr std::array<std::uint8_t, 3> kBits{kTrueBit, kFalseBit, kNullBit};
        if ((types & kBits[i % 3]) == 0) continue;
        if ((f.flags & kElement) != 0 && in_.used(in_.frame(f.parent).c).has(literal_hash(i))) continue;
        top.kind = FrameKind::kLiteral;
        top.phase = 1;
        top.a = i;
        top.node = 0;  // nothing more depends on it
        to.push_back(next);
      }
    }
  }
}

void Automaton::pop(const Config& config, std::uint64_t hash, const std::optional<Decimal>& number,
                    std::vector<Config>& to) {
  Config next;
  Frame& top = next.top;
  top = in_.frame(config.top.parent);
  if (top.kind == FrameKind::kObject || top.kind == FrameKind::kArray) {
    top.phase = kAfterValue;
    if ((top.flags & kHashed) != 0) {
      Accumulated a = accumulated(in_.text(top.delta));
      if (top.kind == FrameKind::kObject) {
        a.sum += value_hash(ValueTag::kMember, a.key * kHashPrime ^ hash);
        a.key = 0;
      } else {
        a.sum = (a.sum + 1) * kHashPrime ^ hash;
      }
      top.delta = in_.text(accumulated(a));
    }
    if (top.kind == FrameKind::kArray && p_.nodes[top.node].node->array.unique) {
      if (in_.used(top.c).has(hash)) return;
      top.c = in_.with_used(top.c, hash, number);
    }
  }
  to.push_back(next);
}

void Automaton::step_literal(Config config, std::uint8_t byte, std::vector<Config>& to) {
  const std::string_view text = kLiterals[config.top.a];
  if (static_cast<std::uint8_t>(text[config.top.phase]) != byte) return;
  if (++config.top.phase == text.size()) return pop(config, literal_hash(config.top.a), std::nullopt, to);
  to.push_back(config);
}

// The rule of a number that may have to differ from others.
NumberRule Automaton::number_rule(const Frame& f) const {
  const NumberRule& rule = p_.nodes[f.node].number;
  if ((f.flags & kElement) == 0) return rule;
  const UsedValues& used = in_.used(in_.frame(f.parent).c);
  if (used.numbers.empty()) return rule;
  NumberRule others;
  others.intervals.clear();
  Interval gap;
  for (const Decimal& number : used.numbers) {
    gap.hi = number;
    gap.hi_open = true;
    others.intervals.push_back(gap);
    gap.lo = number;
    gap.lo_open = true;
    gap.hi.reset();
    gap.hi_open = false;
  }
  others.intervals.push_back(gap);
  return intersect(rule, others);
}

void Automaton::step_number(const Config& config, std::uint8_t byte, std::vector<Config>& to) {
  const bool hashed = (config.top.flags & kHashed) != 0;
  NumberRule narrowed;
  if (hashed) narrowed = number_rule(config.top);
  const NumberSpelling spelling(hashed ? narrowed : p_.nodes[config.top.node].number, p_.call_limits, hashed);
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
  std::optional<Decimal> value;
  if (hashed) value = parse_decimal(text);
  pop(config, value ? number_hash(*value) : 0, value, below);
  if (!below.empty()) step(below[0], byte, to);
}

// --- objects and arrays

// The node of an array's element has a value that is not there yet.
bool Automaton::element_free(const GrammarNode& n, NodeId item, std::uint32_t used) {
  const UsedValues& values = in_.used(used);
  if (values.hashes.empty()) return true;
  for (const NodeId choice : p_.nodes[n.base + item].node->choices) {
    const GrammarNode& one = p_.nodes[n.base + choice];
    const std::uint8_t types = one.node->types;
    if ((types & (kArrayBit | kObjectBit)) != 0) return true;  // can be made different by adding to them
    constexpr std::array<std::uint8_t, 3> kBits{kTrueBit, kFalseBit, kNullBit};
    for (std::uint32_t i = 0; i < 3; ++i) {
      if ((types & kBits[i]) != 0 && !values.has(literal_hash(i))) return true;
    }
    if ((types & kNumberBit) != 0) {
      if (one.number.count(values.hashes.size() + 1) > values.hashes.size()) return true;
      Frame number;
      number.node = n.base + choice;
      number.flags = kElement;
      Frame array;
      array.kind = FrameKind::kArray;
      array.c = used;
      number.parent = in_.frame(array);
      if (!number_rule(number).empty()) return true;
    }
    if ((types & kStringBit) != 0) {
      Config text;
      text.top.kind = FrameKind::kPatternString;
      text.top.flags = kHashed | kElement;
      text.top.node = n.base + choice;
      text.top.a = one.node->string.is_set ? one.string_trie : kOff;
      text.top.c = one.node->string.is_set ? kAnyText : one.node->string.pattern;
      text.top.h = kHashBasis;
      Frame array;
      array.kind = FrameKind::kArray;
      array.c = used;
      text.top.parent = in_.frame(array);
      if (text_open(text)) return true;
    }
  }
  return false;
}

void Automaton::step_object(Config config, std::uint8_t byte, std::vector<Config>& to) {
  Frame& f = config.top;
  if (space(byte, f.space)) {
    to.push_back(config);
    return;
  }
  const GrammarNode& n = p_.nodes[f.node];
  const SeenKeys& seen = in_.keys(f.a);
  f.space = 0;
  if (f.phase == kAfterKey) {
    if (byte != ':') return;
    Config value;
    value.top.kind = FrameKind::kValue;
    value.top.region = f.region;
    value.top.depth = f.depth;
    value.top.flags = f.flags & kHashed;
    value.top.node = f.c;
    f.c = 0;
    f.phase = kInside;
    value.top.parent = in_.frame(f);
    to.push_back(value);
    return;
  }
  if (byte == '}' && f.phase != kAfterComma) {
    if (!can_close(n.node->object, seen, f.h != 0 ? 1 : 0, f.b)) return;
    return pop(config, value_hash(ValueTag::kObject, accumulated(in_.text(f.delta)).sum), std::nullopt, to);
  }
  if (byte == ',' && f.phase == kAfterValue) {
    if (!can_add_any(n, seen, f.h, f.depth, f.b)) return;
    f.phase = kAfterComma;
    to.push_back(config);
    return;
  }
  if (byte == '"' && f.phase != kAfterValue) {
    Config key;
    key.top.region = f.region;
    key.top.depth = f.depth;
    key.top.node = f.node;
    key.top.a = n.key_trie;
    key.top.flags = f.flags & kHashed;
    if ((f.flags & kHashed) != 0) key.top.h = kHashBasis;
    const std::uint32_t pending = f.h != 0 ? 1 : 0;
    const ObjectRule& rule = n.node->object;
    const Frame object = f;
    f.phase = kInside;
    key.top.parent = in_.frame(f);
    const bool any = rule.additional() != kNoNode && can_add_extra(n, 0, seen, object.h, object.depth, object.b);
    bool named = false;
    for (std::uint32_t i = 0; !any && !named && i < rule.properties.size(); ++i) {
      named = can_add(rule, n.base, seen, pending, i, object.depth, object.b);
    }
    if (any || named) {
      key.top.kind = FrameKind::kKey;
      if (any) {
        key.top.flags |= kMayLeaveTrie;
        key.top.h = kHashBasis;
      }
      to.push_back(key);
    }
    if (rule.additional() != kNoNode) return;
    for (std::uint32_t c = 0; c < rule.classes.size(); ++c) {
      if (!can_add_extra(n, c, seen, object.h, object.depth, object.b)) continue;
      key.top.kind = FrameKind::kPatternKey;
      key.top.flags = (object.flags & kHashed) | kMayLeaveTrie;
      key.top.h = kHashBasis;
      key.top.c = rule.classes[c].names;
      key.top.delta = c;
      if (text_open(key)) to.push_back(key);
    }
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
  const bool counted = !rule.contains.empty();
  const std::vector<std::uint32_t> counts = counters(in_.text(f.b), rule.contains.size());
  if (byte == ']') {
    if (counted ? array_may_end(rule, f.a, counts) : f.a >= rule.min) {
      pop(config, value_hash(ValueTag::kArray, accumulated(in_.text(f.delta)).sum), std::nullopt, to);
    }
    return;
  }
  if (f.phase == kAfterValue && byte != ',') return;
  if (f.a >= rule.max) return;
  // One more element: after a comma, or the first one at its own first byte.
  const bool first = f.phase == kAfterOpen;
  const Frame array = f;
  auto add = [&](NodeId item, std::uint32_t next_counts) {
    if (item == kNoNode || array.depth + height(n.base, item) > kDepthMax) return;
    if (rule.unique && !element_free(n, item, array.c)) return;
    Config value;
    value.top.kind = FrameKind::kValue;
    value.top.region = array.region;
    value.top.depth = array.depth;
    value.top.node = value_node(n, item);
    value.top.flags = array.flags & kHashed;
    if (rule.unique) value.top.flags = kHashed | kElement;
    Frame around = array;
    around.b = next_counts;
    ++around.a;
    // Past what counts, all lengths are one.
    const auto matters = std::max<std::uint32_t>(rule.min, static_cast<std::uint32_t>(rule.prefix.size()));
    if (rule.max == kNoLimit) around.a = std::min(around.a, matters);
    around.phase = kInside;
    value.top.parent = in_.frame(around);
    if (!first) {
      to.push_back(value);
      return;
    }
    value.top.space = kNoSpace;
    step_value(value, byte, to);
  };
  if (!counted) return add(f.a < rule.prefix.size() ? rule.prefix[f.a] : rule.items, f.b);
  const auto live = [&](NodeId id) { return array.depth + height(n.base, id) <= kDepthMax; };
  for (const Element& element : rule.elements[std::min<std::size_t>(f.a, rule.elements.size() - 1)]) {
    std::vector<std::uint32_t> after = counts;
    if (!array_count(rule, element, after) || !array_can_end(rule, array.a + 1, after, live)) continue;
    add(element.node, in_.text(counters(after)));
  }
}

}  // namespace longhaul::tools
