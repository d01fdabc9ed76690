// The part of the automaton that finds calls in text: triggers, calls whose arguments are one JSON object, lists of
// calls, structural tags.
#include "tools/automaton.h"

namespace longhaul::tools {

// `a` follows the triggers: anywhere (Aho-Corasick), or only from the message's first character on that is no space;
// then kOff means that the text has begun and no call can come any more. Also kOff where control tokens open calls.
// `phase` is 1 once a structural tag was read.
void Automaton::step_content(Config config, std::uint8_t byte, std::vector<Config>& to) {
  Frame& f = config.top;
  const bool must_call = p_.must_call() && f.phase == 0;
  auto line_end = [&] {
    if (byte != '\n' || f.space >= p_.options.format.newlines_between) return false;
    ++f.space;
    return true;
  };
  if (f.a == kOff) {
    if (!must_call || line_end()) to.push_back(config);
    return;
  }
  std::uint32_t found = p_.child(f.a, byte);
  if (found == kOff && must_call) {
    if (f.a != p_.triggers || !line_end()) return;
    found = f.a;
  } else if (found == kOff && p_.triggers_anywhere) {
    for (std::uint32_t at = f.a; found == kOff && at != p_.triggers;) {
      at = p_.tries[at].fail;
      found = p_.child(at, byte);
    }
    if (found == kOff) found = p_.triggers;
  } else if (found == kOff && f.a == p_.triggers && (byte == '\n' || byte == ' ')) {
    found = f.a;
  }
  f.a = found;
  const std::uint32_t hit = found == kOff ? kOff : p_.tries[found].trigger;
  if (hit == kOff) {
    to.push_back(config);
    return;
  }
  const std::int32_t terminal = p_.tries[hit].terminal;
  if (terminal >= 0) return begin_call(terminal, to);
  Config next;
  next.top.kind = FrameKind::kHeader;
  next.top.region = Region::kTag;
  next.top.a = hit;
  to.push_back(next);
}

// The name is read: the arguments come.
void Automaton::begin_call(std::int32_t terminal, std::vector<Config>& to) {
  const auto tool = static_cast<std::uint32_t>(terminal & ~kSingleTool);
  const GrammarToolProgram& program = p_.tool_programs[tool];
  Config next;
  Frame& f = next.top;
  f.node = tool;
  f.flags = (terminal & kSingleTool) != 0 ? kSingleCall : 0;
  f.region = Region::kTag;
  if (p_.options.format.arguments != CallFormat::Arguments::kJson) {
    f.kind = FrameKind::kTail;
    f.a = program.after_value;
    to.push_back(next);
    return;
  }
  f.kind = FrameKind::kCallTail;
  const std::uint32_t tail = in_.frame(f);
  f = Frame{};
  f.kind = FrameKind::kValue;
  f.region = Region::kValue;
  f.space = kNoSpace;
  f.node = program.arguments;
  f.parent = tail;
  to.push_back(next);
}

void Automaton::step_call_tail(Config config, std::uint8_t byte, std::vector<Config>& to) {
  Frame& f = config.top;
  const std::string& end = p_.tool_programs[f.node].end;
  if (f.phase >= end.size() || static_cast<std::uint8_t>(end[f.phase]) != byte) return;
  if (++f.phase < end.size()) {
    to.push_back(config);
  } else {
    end_call(f, to);
  }
}

void Automaton::end_call(const Frame& from, std::vector<Config>& to) {
  Config next;
  Frame& f = next.top;
  f.region = Region::kTag;
  if (p_.is_tags) {
    f.kind = p_.options.parallel_calls ? FrameKind::kContent : FrameKind::kAfterCall;
    f.region = p_.options.parallel_calls ? Region::kContent : Region::kTag;
    f.a = p_.options.parallel_calls ? p_.triggers : 0;
    f.phase = 1;  // a call was made, so the message may end
    if (f.kind == FrameKind::kAfterCall) f.phase = 0;
  } else if (p_.options.format.control) {
    f.kind = FrameKind::kFunctionEnd;
  } else if ((from.flags & kSingleCall) != 0) {
    f.kind = FrameKind::kAfterCall;
  } else {
    f.kind = FrameKind::kMoreCalls;
    f.a = p_.more_calls;
  }
  to.push_back(next);
}

void Automaton::step_more_calls(Config config, std::uint8_t byte, std::vector<Config>& to) {
  Frame& f = config.top;
  f.a = p_.child(f.a, byte);
  if (f.a == kOff) return;
  const std::int32_t terminal = p_.tries[f.a].terminal;
  if (terminal < 0) {
    to.push_back(config);
  } else if (terminal != kEndCalls) {
    begin_call(terminal, to);
  } else {
    Config next;
    next.top.kind = FrameKind::kAfterCall;
    next.top.region = Region::kTag;
    to.push_back(next);
  }
}

}  // namespace longhaul::tools
