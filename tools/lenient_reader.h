// Reads messages that no grammar constrained: other engines' output, old transcripts. What the grammar would have
// taken is read the same; what is wrong with the rest is mended by these rules only, and each use of one is reported:
//
//   reasoning     ends at </think>, else where the first call opens, else with the text
//   opener        a call in tags may begin without <tool_call>, if the name is a known tool's
//   closers       </parameter>, </function> and </tool_call> may be missing where the next piece of markup follows
//   unknown tool  its block stays content, byte for byte; the calls around it are read
//   truncated     a call without its end is no call; its text is dropped and `cut_call` is set
//   spelling      openai: code fences, "parameters" for "arguments", arguments as a string of JSON, a "function" around
//                 them; pythonic: single quotes
//
// A call is given only if its arguments are whole and fit the tool's schema (contract C7): nothing is filled in, no
// half JSON is closed. A function of the whole text, so it does not matter in which pieces that arrived.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/call_format.h"
#include "tools/message_parser.h"

namespace longhaul::tools {

struct LenientMessage {
  std::string reasoning, content;
  std::vector<ParsedCall> calls;
  std::vector<std::string> problems;  // what was mended or refused, in order, with the tool's name
  bool cut_call = false;
};

// `thinking`: the text begins inside reasoning (a leading <think> says so too). Any bytes are taken; what is not UTF-8
// becomes U+FFFD.
LenientMessage read_lenient(std::string_view text, const std::vector<GrammarTool>& tools, const CallFormat& format,
                            bool thinking);

}  // namespace longhaul::tools
