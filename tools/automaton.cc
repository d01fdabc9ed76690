#include "tools/automaton.h"

#include <algorithm>

namespace longhaul::tools {

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

// --- which properties there are, the same for JSON objects and for a call's parameters

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
