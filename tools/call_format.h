// How a model writes tool calls: a description (trigger, envelope, argument syntax, terminator) that the automaton, the
// renderer and the reader of values share. Nemotron 3's form:
//
//   <tool_call>\n<function=NAME>\n<parameter=KEY>\nVALUE\n</parameter>\n...</function>\n</tool_call>
//
// <tool_call>, </tool_call>, <think> and </think> are control tokens; the rest is text. Nothing is escaped. A value of
// string type is raw text, ended by the first "\n</parameter>\n" that "<parameter=KNOWN_KEY>" or "</function>" follows,
// so it may contain everything but that; other values are JSON, or True, False and None as the chat templates render
// them.
//
// The other formats write the same things around JSON values:
//
//   hermes     <tool_call>\n{"name": "NAME", "arguments": {...}}\n</tool_call>
//   openai     {"name": "NAME", "arguments": {...}}   or   [{"name": ..., "arguments": ...}, {...}]
//   pythonic   [NAME(key=VALUE, key=VALUE), NAME()]
//
// In hermes the tags are control tokens, as above. openai and pythonic are plain text: a message is calls if it begins
// so, after line ends and spaces, and is text otherwise. Arguments are JSON as the schema has it; in pythonic, keyword
// arguments whose values are JSON with True, False and None.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/base/result.h"
#include "tools/json_schema.h"

namespace longhaul::tools {

struct CallFormat {
  enum class Arguments {
    kParameters,  // each argument between parameter_open and value_close; strings raw
    kJson,        // one JSON object
    kPython,      // keyword arguments
  };
  std::string name = "nemotron";
  Arguments arguments = Arguments::kParameters;
  // call_open and call_close are control tokens, one pair a call. Otherwise they are text around a list of calls, with
  // call_separator between them.
  bool control = true;
  bool single = false;  // text: one call alone, without call_open and call_close, is a list too
  // Names of control tokens (or text, see above).
  std::string think_close = "</think>";
  std::string call_open = "<tool_call>";
  std::string call_close = "</tool_call>";
  // Text. The name stands as it is, in kJson as a JSON string.
  std::string call_separator;
  std::string function_open = "\n<function=";
  std::string function_name_end = ">\n";
  std::string parameter_open = "<parameter=";
  std::string parameter_key_end = ">";
  std::string value_open = "\n";
  std::string value_close = "\n</parameter>\n";
  std::string function_close = "</function>";
  std::string function_close_end = "\n";
  int newlines_between = 2;  // at most, after </tool_call> and (when a call must come) before <tool_call>
};

// The format of Nemotron 3's chat templates, both variants.
const CallFormat& nemotron_format();
const CallFormat& hermes_format();
const CallFormat& openai_format();
const CallFormat& pythonic_format();
// kNotFound lists the names there are.
Result<CallFormat> call_format(std::string_view name);

// Strings in calls are at most this long, so that a call can always end. Code points.
inline constexpr std::uint32_t kCallStringMax = 64 * 1024;

// Python's str() of a JSON value, as the templates render it: True, None, 2, 2.0, 1e+22, strings raw; objects and lists
// as JSON with ", " and ": ".
std::string render_value(const json::value& value);

// The call as the chat template writes it in history, from the opening control token's name to the closing one's.
// kInvalidArgument: a key or value cannot be carried (the value holds its own terminator, the key ">" or a line end).
// `keys` are the parameter names that the tool's schema knows; they decide what a terminator is.
Result<std::string> render_call(std::string_view name, const json::object& arguments,
                                const std::vector<std::string>& keys, const CallFormat& format = nemotron_format());

struct RenderedCall {
  std::string_view name;
  const json::object* arguments = nullptr;
  std::vector<std::string> keys;  // as in render_call
};
// The calls of one message, in any format. Errors as render_call.
Result<std::string> render_calls(const std::vector<RenderedCall>& calls, const CallFormat& format);

// A JSON value as a Python literal: True, False, None; everything else as JSON with ", " and ": ".
std::string render_python(const json::value& value);
// And back. kInvalidArgument: not such text. Single quotes only if `single_quotes`.
Result<json::value> read_python(std::string_view text, bool single_quotes = false);

// ASCII letters, digits and _, no digit first: what a keyword argument or function of pythonic calls can be named.
bool is_python_name(std::string_view name);
// May this name stand between "<parameter=" and ">"?
bool key_fits(std::string_view key);

// A value's text, as a value of the schema node: JSON (or True, False, None) wherever that fits a non-string type of
// the node, else the text itself. So for a union of string and others, text that reads as one of the others is that.
// kInvalidArgument: neither. Integers outside 64 bits and numbers outside a double are not read at all: never rounded.
Result<json::value> read_value(std::string_view text, const Schema& schema, NodeId node);

// Does `value` fit the node? (The compiled counterpart of validate().)
bool node_accepts(const Schema& schema, NodeId node, const json::value& value);

}  // namespace longhaul::tools
