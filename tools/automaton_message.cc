// The part of the automaton that reads assistant messages: reasoning, text, the envelope of calls, raw values.
#include <algorithm>

#include "tools/automaton.h"
#include "tools/utf8.h"

namespace longhaul::tools {
namespace {

constexpr std::uint8_t kKeyBytesMax = 128;  // of a free parameter name

}  // namespace

void Automaton::step_text(Config config, std::uint8_t byte, std::vector<Config>& to) {
  Frame& f = config.top;
  const CallFormat& format = p_.options.format;
  switch (f.kind) {
    case FrameKind::kThink:
      break;
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
  const std::int32_t terminal = p_.tries[f.a].terminal;
  if (terminal < 0) {
    to.push_back(config);
  } else {
    begin_call(terminal, to);
  }
}

// For frames of a call (node: tool, b: seen keys, h: latest extra key): may the terminator be used now?
bool Automaton::terminal_open(const Frame& f, std::int32_t terminal) {
  const GrammarToolProgram& tool = p_.tool_programs[f.node];
  const GrammarNode& n = p_.nodes[tool.arguments];
  const SeenKeys& seen = in_.keys(f.b);
  const std::uint32_t pending = f.h != 0 ? 1 : 0;
  if (terminal == kEndFunction) return can_close(n.node->object, seen, pending, 0);
  if (terminal == kOpenKey) return can_add_any(n, seen, f.h, 0, 0);
  return can_add(n.node->object, n.base, seen, pending, static_cast<std::uint32_t>(terminal), 0, 0);
}

bool Automaton::any_terminal(const Frame& f, std::uint32_t trie) {
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
    if (!p_.options.format.control) return end_call(from, to);
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
    f.b = in_.with_key(from.b, i, rule.properties[i].required);
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

// Raw text with a pattern: `parent` is the pattern's state after the value without what may yet be its terminator;
// `flags` and `depth` keep the bits of a character begun. A terminator begins with an ASCII character.
void Automaton::step_pattern_raw(Config config, std::uint8_t byte, std::vector<Config>& to) {
  Frame& f = config.top;
  const ValueStart& start = p_.starts[f.c];
  RegexPool& pool = pool_of(f);
  const std::uint32_t root = p_.tool_programs[f.node].terminators;
  std::uint32_t at = f.a;
  // The bytes that were held back and this one; those in front that no terminator can hold go into the value.
  std::string held(p_.tries[f.a].depth, '\0');
  for (std::uint32_t t = f.a; t != root; t = p_.tries[t].up)
    held[p_.tries[t].depth - 1U] = static_cast<char>(p_.tries[t].byte);
  held += static_cast<char>(byte);
  CharInPart part;
  if (f.a == root) part = {f.phase, f.flags | (std::uint32_t{f.depth} << 16)};
  f.phase = utf8_step(f.phase, byte);
  if (f.phase == kUtf8Wrong) return;
  if ((byte & 0xC0) != 0x80) ++config.count;
  while (at != root && p_.child(at, byte) == kOff) at = p_.tries[at].fail;
  const std::uint32_t found = p_.child(at, byte);
  f.a = found == kOff ? root : found;
  const TrieNode& node = p_.tries[f.a];
  auto read = [&](RegexId state, CharInPart from, std::string_view bytes) {
    for (const char c : bytes) {
      if (from.add(static_cast<std::uint8_t>(c))) state = pool.step(state, from.value);
    }
    return std::pair{state, from};
  };
  const std::size_t sure = held.size() - node.depth;
  const auto [state, begun] = read(f.parent, part, std::string_view(held).substr(0, sure));
  if (state == kNoText) return;
  f.parent = state;
  const std::uint32_t bits = begun.phase == kUtf8Between ? 0 : begun.value;
  f.flags = static_cast<std::uint16_t>(bits);
  f.depth = static_cast<std::uint16_t>(bits >> 16);
  const std::uint32_t length = config.count - node.code_points;
  if (length > start.max) return;
  if (node.terminal >= 0) {
    if (length >= start.min && pool.accepts_empty(state)) reach(f, node.terminal, to);
    return;
  }
  // Either everything so far is value and goes on, or a terminator begun comes to its end.
  const auto [all, rest] = read(state, begun, std::string_view(held).substr(sure));
  LengthWindow window;
  if (rest.phase != kUtf8Between) --config.count;  // the character begun is counted
  window.min = start.min > config.count ? start.min - config.count : 0;
  window.max = start.max == kNoLimit ? kUnbounded : start.max > config.count ? start.max - config.count : 0;
  bool open = false;
  if (config.count <= start.max) {
    open =
        rest.phase == kUtf8Between ? pool.fits(all, window) : pool.open_between(all, rest.least(), rest.most(), window);
  }
  if (rest.phase != kUtf8Between) ++config.count;
  for (std::uint32_t t = f.a; !open && t != root; t = p_.tries[t].fail) {
    const std::uint32_t ended = config.count - p_.tries[t].code_points;
    const std::size_t before = held.size() - p_.tries[t].depth;
    open = ended >= start.min && ended <= start.max && any_terminal(f, t) &&
           pool.accepts_empty(read(state, begun, std::string_view(held).substr(sure, before - sure)).first);
  }
  if (open) to.push_back(config);
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
  if (!text.empty()) {
    if (static_cast<std::uint8_t>(text[f.phase]) != byte) return;
    if (++f.phase < text.size()) {
      to.push_back(config);
      return;
    }
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
        top.kind = start.pattern == kAnyText ? FrameKind::kRaw : FrameKind::kPatternRaw;
        top.a = tool.terminators;
        top.c = i;
        if (start.pattern != kAnyText) top.parent = start.pattern;
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
    if (text.empty()) {
      step(next, byte, to);  // the byte is the value's first
    } else {
      to.push_back(next);
    }
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
      if (!can_add(rule, n.base, in_.keys(f.b), pending, i, 0, 0)) return;
      next.top.b = in_.with_key(f.b, i, rule.properties[i].required);
      next.top.c = i;
    } else {
      if (!can_add_extra(n, 0, in_.keys(f.b), f.h, 0, 0)) return;
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
  const bool extra = can_add_extra(n, 0, in_.keys(f.b), f.h, 0, 0);
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
    const bool opens = token == p_.call_open && p_.header_trie != kOff;
    switch (f.kind) {
      case FrameKind::kThink:
        if (token == p_.think_close) {
          next = before_content();
          ok = true;
        }
        if (opens && p_.options.call_ends_thinking) go(FrameKind::kHeader, Region::kTag);
        break;
      case FrameKind::kContent:
        if (stops && (!p_.must_call() || f.phase != 0)) go(FrameKind::kEnd, Region::kEnd);
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
      default: {
        const bool begins = p_.is_message && f.kind == FrameKind::kResponse;
        const bool ended = p_.is_message ? p_.responds() && response_ended(config) : complete(config);
        if (stops && ended) go(FrameKind::kEnd, Region::kEnd);
        if (opens && p_.is_message && (begins || ended)) go(FrameKind::kHeader, Region::kTag);
      }
    }
    if (next.top.kind == FrameKind::kHeader) next.top.a = p_.header_trie;
    if (ok) to.push_back(next);
  }
  if (to.size() > 1) to.resize(1);  // they are equal: only JSON texts have several, and all end alike
}

}  // namespace longhaul::tools
