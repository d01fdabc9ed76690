// The part of the automaton that reads texts of users' grammars (text_grammar.h), and answers in a given form.
//
// kText: `node` is the position, `a` what its language still asks for, `phase` and `c` the character begun. What may
// come after the position is looked up with the byte that needs it, so that a state is one configuration where the
// languages are apart. `parent` is the open call (kTextCall: `node` its position), or 0.
#include <algorithm>

#include "tools/automaton.h"
#include "tools/number_spelling.h"
#include "tools/utf8.h"

namespace longhaul::tools {
namespace {

constexpr std::uint8_t kLinesBefore = 2;  // line ends between reasoning and answer

}  // namespace

RegexPool& Interner::parts(const TextGrammar& text) {
  if (parts_ == nullptr) parts_ = std::make_unique<RegexPool>(text.pool());
  return *parts_;
}

void Automaton::step_rules(const Config& config, std::uint8_t byte, std::vector<Config>& to) {
  const Frame& f = config.top;
  const TextSite site{f.parent, f.depth, f.region};
  entered_.clear();
  if (f.kind == FrameKind::kTextStart) return enter_rule(p_.text->root(), site, byte, to);
  if (f.phase == kUtf8Between && in_.parts(*p_.text).accepts_empty(f.a)) follow_position(f.node, site, byte, to);
  step_part(config, byte, to);
}

void Automaton::step_part(Config config, std::uint8_t byte, std::vector<Config>& to) {
  Frame& f = config.top;
  RegexPool& pool = in_.parts(*p_.text);
  CharInPart part{f.phase, f.c};
  const bool whole = part.add(byte);
  if (part.phase == kUtf8Wrong) return;
  f.phase = part.phase;
  if (whole) {
    f.c = 0;
    f.a = pool.step(f.a, part.value);
    if (f.a == kNoText) return;
  } else {
    f.c = part.value;
    if (!pool.open_between(f.a, part.least(), part.most(), {})) return;
  }
  to.push_back(config);
}

void Automaton::enter_rule(std::uint32_t rule, const TextSite& site, std::uint8_t byte, std::vector<Config>& to) {
  const std::uint64_t key = (std::uint64_t{rule} << 32) | site.parent;
  if (std::find(entered_.begin(), entered_.end(), key) != entered_.end()) return;
  entered_.push_back(key);
  const TextGrammar::Rule& r = p_.text->rules()[rule];
  for (std::uint32_t i = r.first_from; i < r.first_to; ++i) enter_position(p_.text->follows()[i], site, byte, to);
}

void Automaton::enter_position(std::uint32_t id, const TextSite& site, std::uint8_t byte, std::vector<Config>& to) {
  const TextGrammar::Position& position = p_.text->positions()[id];
  // What is opened here must be closed within the limit.
  if (site.depth + position.need > kTextNestingMax) return;
  if (position.rule == TextGrammar::kNoRule) {
    Config next;
    next.top.kind = FrameKind::kText;
    next.top.region = site.region;
    next.top.depth = site.depth;
    next.top.node = id;
    next.top.a = position.part;
    next.top.parent = site.parent;
    return step_part(next, byte, to);
  }
  if (position.tail) return enter_rule(position.rule, site, byte, to);
  Frame call;
  call.kind = FrameKind::kTextCall;
  call.region = site.region;
  call.depth = site.depth;
  call.node = id;
  call.parent = site.parent;
  enter_rule(position.rule, {in_.frame(call), static_cast<std::uint16_t>(site.depth + 1), site.region}, byte, to);
}

void Automaton::follow_position(std::uint32_t id, TextSite site, std::uint8_t byte, std::vector<Config>& to) {
  while (true) {
    const TextGrammar::Position& position = p_.text->positions()[id];
    for (std::uint32_t i = position.follow_from; i < position.follow_to; ++i) {
      enter_position(p_.text->follows()[i], site, byte, to);
    }
    const Frame below = in_.frame(site.parent);  // a copy: the table grows
    if (!position.last || below.kind != FrameKind::kTextCall) return;
    id = below.node;
    site.parent = below.parent;
    site.depth = below.depth;
  }
}

// With characters that only the part itself goes on with there stays one configuration, whichever come.
void Automaton::free_in_part(const Frame& frame, FreeChars& chars) {
  RegexPool& pool = in_.parts(*p_.text);
  CharClasses open = kAllChars;
  RegexId at = frame.a;
  for (CharClasses& level : chars.most) {
    if (pool.accepts_empty(at)) open &= ~follow_classes(frame);
    const RegexPool::Alike alike = pool.alike(at);
    open &= alike.classes;
    if (open == 0 || alike.to == kNoText) return;
    at = alike.to;
    level = open;
  }
  chars.length = chars.most.size();
}

CharClasses Automaton::follow_classes(const Frame& frame) {
  if (followed_.node == frame.node && followed_.parent == frame.parent && followed_.depth == frame.depth &&
      followed_.known) {
    return followed_.classes;
  }
  constexpr CharClasses kWide =
      (CharClasses{1} << kClassWide) | (CharClasses{1} << kClassWideSpace) | (CharClasses{1} << kClassWideLineEnd);
  CharClasses classes = 0;
  std::vector<Config> after;
  for (int byte = 0; byte < 256; ++byte) {
    const CharClasses of = byte < 0x80 ? CharClasses{1} << ascii_class(static_cast<std::uint8_t>(byte)) : kWide;
    if ((of & ~classes) == 0) continue;
    entered_.clear();
    follow_position(frame.node, {frame.parent, frame.depth, frame.region}, static_cast<std::uint8_t>(byte), after);
    if (!after.empty()) classes |= of;
    after.clear();
  }
  followed_ = {frame.node, frame.parent, frame.depth, true, classes};
  return classes;
}

bool Automaton::text_ended(const Config& config) {
  const Frame* f = &config.top;
  if (f->kind == FrameKind::kTextStart) return p_.text->accepts_empty();
  if (f->kind != FrameKind::kText || f->phase != kUtf8Between) return false;
  if (!in_.parts(*p_.text).accepts_empty(f->a)) return false;
  while (p_.text->positions()[f->node].last) {
    f = &in_.frame(f->parent);
    if (f->kind != FrameKind::kTextCall) return true;
  }
  return false;
}

// --- answers in a given form

Config Automaton::before_content() const {
  Config config;
  config.top.kind = p_.responds() ? FrameKind::kResponse : FrameKind::kContent;
  config.top.region = Region::kContent;
  if (!p_.responds()) config.top.a = p_.triggers;
  return config;
}

void Automaton::step_response(Config config, std::uint8_t byte, std::vector<Config>& to) {
  Config first;
  Frame& f = first.top;
  f.region = config.top.region;
  if (p_.text != nullptr) {
    f.kind = FrameKind::kTextStart;
  } else {
    f.kind = FrameKind::kResponseEnd;
    const std::uint32_t end = in_.frame(f);
    f.kind = FrameKind::kValue;
    f.space = kNoSpace;
    f.node = p_.response;
    f.parent = end;
  }
  step(first, byte, to);
  if (byte != '\n' || config.top.space >= kLinesBefore) return;
  ++config.top.space;
  to.push_back(config);
}

bool Automaton::response_ended(const Config& config) {
  switch (config.top.kind) {
    case FrameKind::kResponse:
      return p_.text != nullptr && p_.text->accepts_empty();
    case FrameKind::kResponseEnd:
      return true;
    case FrameKind::kNumber:
      return in_.frame(config.top.parent).kind == FrameKind::kResponseEnd &&
             NumberSpelling(p_.nodes[config.top.node].number, p_.call_limits).complete(in_.text(config.top.a));
    default:
      return text_ended(config);
  }
}

}  // namespace longhaul::tools
