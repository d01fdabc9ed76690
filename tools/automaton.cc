#include "tools/automaton.h"

#include <algorithm>

#include "tools/number_spelling.h"
#include "tools/utf8.h"

namespace longhaul::tools {

namespace {

std::uint64_t hash_of(const Frame& frame) {
  std::uint64_t words[sizeof(Frame) / 8];
  std::memcpy(words, &frame, sizeof words);
  WordHash h;
  for (const std::uint64_t word : words) h.mix(word);
  return h.value();
}

std::uint64_t hash_of(const SeenKeys& keys) {
  WordHash h;
  h.mix(keys.count);
  for (const std::uint64_t word : keys.bits) h.mix(word);
  for (const std::uint64_t word : keys.extra) h.mix(word);
  return h.value();
}

}  // namespace

Interner::Interner() {
  frame(Frame());        // 0: a complete JSON document, the bottom of every stack
  keys(SeenKeys());      // 0: no key yet
  used_.emplace_back();  // 0: no element yet
  used_ids_.emplace(std::vector<std::uint64_t>(), 0);
  text("");
}

std::uint32_t Interner::frame(const Frame& frame) {
  const std::uint64_t h = hash_of(frame);
  const std::uint32_t known = frame_ids_.find(h, [&](std::uint32_t id) { return frames_[id] == frame; });
  if (known != IdTable::kNone) return known;
  const auto id = static_cast<std::uint32_t>(frames_.size());
  frames_.push_back(frame);
  frame_ids_.add(h, id);
  return id;
}

std::uint32_t Interner::keys(SeenKeys keys) {
  const std::uint64_t h = hash_of(keys);
  const std::uint32_t known = key_ids_.find(h, [&](std::uint32_t id) { return keys_[id] == keys; });
  if (known != IdTable::kNone) return known;
  const auto id = static_cast<std::uint32_t>(keys_.size());
  bytes_ += sizeof(SeenKeys) + 32 + 8 * (keys.bits.size() + keys.extra.size());
  keys_.push_back(std::move(keys));
  key_ids_.add(h, id);
  return id;
}

std::uint32_t Interner::with_key(std::uint32_t id, std::uint32_t i, bool required) {
  const auto [at, fresh] = with_key_.try_emplace((std::uint64_t{id} << 32) | (2 * i + (required ? 1U : 0U)), 0);
  if (fresh) {
    SeenKeys more = keys_[id];
    if (more.bits.size() <= i / 64) more.bits.resize(i / 64 + 1);
    more.bits[i / 64] |= std::uint64_t{1} << (i % 64);
    ++more.count;
    more.required += required ? 1 : 0;
    at->second = keys(std::move(more));
    bytes_ += 48;
  }
  return at->second;
}

std::uint32_t Interner::with_used(std::uint32_t id, std::uint64_t hash, const std::optional<Decimal>& number) {
  UsedValues more = used_[id];
  more.hashes.insert(std::lower_bound(more.hashes.begin(), more.hashes.end(), hash), hash);
  const auto [at, fresh] = used_ids_.emplace(more.hashes, static_cast<std::uint32_t>(used_.size()));
  if (fresh) {
    if (number) {
      const auto place = std::lower_bound(more.numbers.begin(), more.numbers.end(), *number,
                                          [](const Decimal& a, const Decimal& b) { return compare(a, b) < 0; });
      more.numbers.insert(place, *number);
    }
    bytes_ += 16 * more.hashes.size() + 64 * more.numbers.size() + 160;
    used_.push_back(std::move(more));
  }
  return at->second;
}

RegexPool& Interner::patterns(const Schema* schema) {
  for (const auto& [known, pool] : patterns_) {
    if (known == schema) return *pool;
  }
  patterns_.emplace_back(schema, std::make_unique<RegexPool>(schema->patterns()));
  return *patterns_.back().second;
}

std::size_t Interner::bytes() const {
  std::size_t n = bytes_ + frames_.capacity() * sizeof(Frame) + frame_ids_.bytes() + key_ids_.bytes();
  for (const auto& [schema, pool] : patterns_) n += pool->bytes();
  if (parts_ != nullptr) n += parts_->bytes();
  return n;
}

std::uint32_t Interner::text(const std::string& text) {
  if (const auto known = text_ids_.find(text); known != text_ids_.end()) return known->second;
  const auto id = static_cast<std::uint32_t>(texts_.size());
  texts_.push_back(&text_ids_.emplace(text, id).first->first);
  bytes_ += text.size() + 80;
  return id;
}

Config Automaton::start(bool thinking) {
  Config config;
  if (!p_.is_message) {
    config.top.kind = p_.text != nullptr ? FrameKind::kTextStart : FrameKind::kValue;
    if (p_.text == nullptr) config.top.node = p_.root;
    return config;
  }
  if (!thinking) return before_content();
  config.top.kind = FrameKind::kThink;
  config.top.region = Region::kReasoning;
  return config;
}

std::uint32_t Automaton::above() {
  Frame frame;
  frame.kind = FrameKind::kAbove;
  return in_.frame(frame);
}

bool Automaton::stands_alone(const Frame& f) const {
  const bool value = f.kind == FrameKind::kValue || f.kind == FrameKind::kString ||
                     f.kind == FrameKind::kPatternString || f.kind == FrameKind::kNumber ||
                     f.kind == FrameKind::kLiteral;
  if (!value || (f.flags & (kHashed | kElement)) != 0) return false;
  const FrameKind around = in_.frame(f.parent).kind;
  return around == FrameKind::kObject || around == FrameKind::kArray;
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
  if (to.size() > kConfigsMax) {
    dropped_ += to.size() - kConfigsMax;
    to.resize(kConfigsMax);
  }
}

bool Automaton::skips_whitespace(const Config& config) const {
  const Frame& f = config.top;
  const bool between = f.kind == FrameKind::kDone || f.kind == FrameKind::kValue || f.kind == FrameKind::kObject ||
                       f.kind == FrameKind::kArray;
  return between && p_.whitespace == Whitespace::kAny && f.space != kNoSpace;
}

void Automaton::may_follow(const Config& config, ByteSet& bytes) {
  const auto add = [&](std::string_view some) { add_bytes(bytes, some); };
  const auto add_space = [&](std::uint8_t state) {
    if (state != kNoSpace) add(kJsonWhitespace);
  };
  const auto add_value = [&](NodeId id) {
    for (const NodeId choice : p_.nodes[id].node->choices) {
      const std::uint8_t types = p_.nodes[p_.nodes[id].base + choice].node->types;
      if ((types & kStringBit) != 0) add("\"");
      if ((types & kNumberBit) != 0) add("-0123456789");
      if ((types & kObjectBit) != 0) add("{");
      if ((types & kArrayBit) != 0) add("[");
      if ((types & (kTrueBit | kFalseBit | kNullBit)) != 0) add("tfnTFN");
    }
  };
  const Frame& f = config.top;
  switch (f.kind) {
    case FrameKind::kDone:
      return add_space(0);
    case FrameKind::kValue:
      add_space(f.space);
      return add_value(f.node);
    case FrameKind::kObject:
      add_space(f.space);
      return add(f.phase == kAfterKey ? ":" : f.phase == kAfterComma ? "\"" : f.phase == kAfterOpen ? "\"}" : ",}");
    case FrameKind::kArray:
      add_space(f.space);
      return add(f.phase == kAfterValue ? ",]" : "\"-0123456789{[tfnTFN]");
    case FrameKind::kNumber: {
      const FrameKind around = in_.frame(f.parent).kind;
      if (around != FrameKind::kObject && around != FrameKind::kArray && around != FrameKind::kAbove &&
          around != FrameKind::kDone) {
        break;
      }
      add_space(0);
      return add("-+0123456789.eE,]}");
    }
    case FrameKind::kLiteral:
      return add(kLiterals[f.a].substr(f.phase, 1));
    case FrameKind::kString:
    case FrameKind::kPatternString:
    case FrameKind::kKey:
    case FrameKind::kPatternKey:
      return string_may_follow(f, bytes);
    default:
      break;
  }
  bytes.fill(~std::uint64_t{0});
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
    case FrameKind::kPatternString:
    case FrameKind::kKey:
    case FrameKind::kPatternKey:
      return step_string(config, byte, to);
    case FrameKind::kNumber:
      return step_number(config, byte, to);
    case FrameKind::kLiteral:
      return step_literal(config, byte, to);
    case FrameKind::kObject:
      return step_object(config, byte, to);
    case FrameKind::kArray:
      return step_array(config, byte, to);
    case FrameKind::kContent:
      return step_content(config, byte, to);
    case FrameKind::kCallTail:
      return step_call_tail(config, byte, to);
    case FrameKind::kMoreCalls:
      return step_more_calls(config, byte, to);
    case FrameKind::kThink:
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
    case FrameKind::kPatternRaw:
      return step_pattern_raw(config, byte, to);
    case FrameKind::kRawSet:
      return step_raw_set(config, byte, to);
    case FrameKind::kTextStart:
    case FrameKind::kText:
      return step_rules(config, byte, to);
    case FrameKind::kResponse:
      return step_response(config, byte, to);
    case FrameKind::kAbove:
      to.push_back(config);
      return;
    case FrameKind::kTextCall:
    case FrameKind::kResponseEnd:
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

// --- which properties there are, the same for JSON objects and for a call's parameters

// Properties that must still come, `added` (an index, or kOff) being there.
std::uint32_t Automaton::still_required(const ObjectRule& rule, const SeenKeys& seen, std::uint32_t added) const {
  if (!rule.implications) {
    return rule.n_required - seen.required - (added != kOff && rule.properties[added].required ? 1 : 0);
  }
  std::vector<bool> needed(rule.properties.size(), false);
  for (std::uint32_t i = 0; i < rule.properties.size(); ++i) {
    const Property& p = rule.properties[i];
    const bool there = seen.has(i) || i == added;
    if (p.required) needed[i] = true;
    if (!there && !p.required) continue;
    for (const std::uint32_t k : p.brings) needed[k] = true;
  }
  std::uint32_t n = 0;
  for (std::uint32_t i = 0; i < rule.properties.size(); ++i) n += needed[i] && !seen.has(i) && i != added ? 1 : 0;
  return n;
}

namespace {

// Of the conditions on some key, `met` are met: one more key at least must come for the others.
std::uint32_t some_missing(const ObjectRule& rule, std::uint32_t met) {
  return met + 1 == (1U << rule.some.size()) ? 0 : 1;
}

}  // namespace

bool Automaton::can_close(const ObjectRule& rule, const SeenKeys& seen, std::uint32_t pending,
                          std::uint32_t some) const {
  return seen.count + pending >= rule.min && some_missing(rule, some) == 0 && still_required(rule, seen, kOff) == 0;
}

bool Automaton::can_add(const ObjectRule& rule, NodeId base, const SeenKeys& seen, std::uint32_t pending,
                        std::uint32_t i, std::uint16_t depth, std::uint32_t some) const {
  const Property& property = rule.properties[i];
  if (property.node == kNoNode || seen.has(i) || depth + height(base, property.node) > kDepthMax) return false;
  // Room must stay for what is still required.
  return std::uint64_t{seen.count} + pending + 1 + still_required(rule, seen, i) + some_missing(rule, some) <= rule.max;
}

bool Automaton::can_add_extra(const GrammarNode& n, std::uint32_t key_class, const SeenKeys& seen,
                              std::uint64_t pending, std::uint16_t depth, std::uint32_t some) {
  const ObjectRule& rule = n.node->object;
  if (key_class >= rule.classes.size()) return false;
  const KeyClass& c = rule.classes[key_class];
  if (depth + height(n.base, c.node) > kDepthMax) return false;
  std::uint32_t missing = some_missing(rule, some);
  for (const SomeKey& s : rule.some) {
    if (s.key_class == key_class) missing = 0;
  }
  const std::uint64_t count = std::uint64_t{seen.count} + (pending != 0 ? 1 : 0);
  if (count + 1 + still_required(rule, seen, kOff) + missing > rule.max) return false;
  if (c.n_keys > count) return true;
  // Few keys: is one of them left?
  RegexPool& pool = in_.patterns(n.schema);
  const auto keys = pool.list(c.names, static_cast<std::size_t>(c.n_keys) + rule.properties.size());
  if (!keys) return true;
  return std::any_of(keys->begin(), keys->end(), [&](const std::string& text) {
    std::uint64_t h = kHashBasis;
    std::uint32_t at = n.key_trie;
    for (const char byte : text) {
      h = hash_step(h, static_cast<std::uint8_t>(byte));
      if (at != kOff) at = p_.child(at, static_cast<std::uint8_t>(byte));
    }
    if (at != kOff && p_.tries[at].terminal >= 0) return false;
    return h != pending && !std::binary_search(seen.extra.begin(), seen.extra.end(), h);
  });
}

// Would there be room for a key that meets the conditions on some key after one that does not?
bool Automaton::can_add_extra_after(const GrammarNode& n, const SeenKeys& seen, std::uint32_t pending,
                                    std::uint32_t some) const {
  const ObjectRule& rule = n.node->object;
  return std::uint64_t{seen.count} + pending + 1 + still_required(rule, seen, kOff) + some_missing(rule, some) <=
         rule.max;
}

bool Automaton::can_add_any(const GrammarNode& n, const SeenKeys& seen, std::uint64_t pending, std::uint16_t depth,
                            std::uint32_t some) {
  const ObjectRule& rule = n.node->object;
  for (std::uint32_t c = 0; c < rule.classes.size(); ++c) {
    if (can_add_extra(n, c, seen, pending, depth, some)) return true;
  }
  for (std::uint32_t i = 0; i < rule.properties.size(); ++i) {
    if (can_add(rule, n.base, seen, pending != 0 ? 1 : 0, i, depth, some)) return true;
  }
  return false;
}

std::uint32_t Automaton::with_extra(std::uint32_t seen, std::uint64_t hash) {
  SeenKeys keys = in_.keys(seen);
  keys.extra.insert(std::lower_bound(keys.extra.begin(), keys.extra.end(), hash), hash);
  ++keys.count;
  return in_.keys(std::move(keys));
}

bool Automaton::complete(const Config& config) {
  const Frame& f = config.top;
  if (f.kind == FrameKind::kEnd || f.kind == FrameKind::kDone) return true;
  if (p_.text != nullptr && !p_.is_message) return text_ended(config);
  if (f.kind != FrameKind::kNumber || in_.frame(f.parent).kind != FrameKind::kDone) return false;
  return NumberSpelling(p_.nodes[f.node].number, p_.call_limits).complete(in_.text(f.a));
}

std::size_t Automaton::pending(const Config& config) const {
  const Frame& f = config.top;
  if (f.kind == FrameKind::kContent) return f.a != kOff ? p_.tries[f.a].depth : 0;
  const bool in_terminator =
      f.kind == FrameKind::kRaw || f.kind == FrameKind::kPatternRaw || f.kind == FrameKind::kTail;
  return in_terminator ? p_.tries[f.a].depth : 0;
}

std::pair<std::uint32_t, std::uint32_t> Automaton::limits(const Config& config) const {
  const Frame& f = config.top;
  // A pattern may need some more characters to come to its end: the bound is felt that much earlier.
  auto earlier = [&](const Schema* schema, RegexId pattern, std::uint32_t max) {
    const std::uint32_t positions = schema == nullptr ? 0 : schema->patterns().positions(pattern);
    return max == kNoLimit ? kNoLimit : max - std::min(max, positions);
  };
  if (f.kind == FrameKind::kRaw) return {p_.starts[f.c].min, p_.starts[f.c].max};
  if (f.kind == FrameKind::kPatternRaw) {
    const ValueStart& start = p_.starts[f.c];
    return {start.min, earlier(start.schema, start.pattern, start.max)};
  }
  const GrammarNode& n = p_.nodes[f.node];
  if (f.kind == FrameKind::kString && !n.node->string.is_set) return {n.node->string.min, n.string_max};
  if (f.kind == FrameKind::kPatternString && !n.node->string.is_set) {
    return {n.node->string.min, earlier(n.schema, n.node->string.pattern, n.string_max)};
  }
  return {0, kNoLimit};
}

}  // namespace longhaul::tools
