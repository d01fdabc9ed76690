#include "tools/lenient_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "tools/utf8.h"

namespace longhaul::tools {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

std::size_t skip_space(std::string_view text, std::size_t at) {
  const std::size_t next = text.find_first_not_of(kSpace, at);
  return next == text.npos ? text.size() : next;
}

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kSpace);
  return first == text.npos ? std::string_view() : text.substr(first, text.find_last_not_of(kSpace) + 1 - first);
}

// Where the bracket at `at` is closed, behind the closing one; nothing if it is not. `singles`: ' quotes too.
std::optional<std::size_t> closed(std::string_view text, std::size_t at, bool singles) {
  std::string open;
  char quote = 0;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (quote != 0) {
      if (c == '\\') {
        ++at;
      } else if (c == quote) {
        quote = 0;
      }
    } else if (c == '"' || (singles && c == '\'')) {
      quote = c;
    } else if (c == '{' || c == '[' || c == '(') {
      open += c == '{' ? '}' : c == '[' ? ']' : ')';
    } else if (c == '}' || c == ']' || c == ')') {
      if (open.empty() || open.back() != c) return std::nullopt;
      open.pop_back();
      if (open.empty()) return at + 1;
    }
  }
  return std::nullopt;
}

class Reader {
 public:
  Reader(std::string_view text, const std::vector<GrammarTool>& tools, const CallFormat& format)
      : text_(text), tools_(tools), format_(format) {}

  LenientMessage read(bool thinking) {
    reasoning(thinking);
    if (format_.control) {
      in_tags();
    } else {
      whole_text();
    }
    return std::move(out_);
  }

 private:
  void problem(std::string what) { out_.problems.push_back(std::move(what)); }

  const GrammarTool* find(std::string_view name) const {
    const auto found = std::find_if(tools_.begin(), tools_.end(), [&](const GrammarTool& t) { return t.name == name; });
    return found == tools_.end() ? nullptr : &*found;
  }

  void reasoning(bool thinking) {
    const std::size_t start = skip_space(text_, 0);
    if (text_.substr(start).starts_with("<think>")) {
      at_ = start + 7;
      thinking = true;
    }
    if (!thinking) return;
    std::size_t end = text_.find(format_.think_close, at_);
    if (end != text_.npos) {
      out_.reasoning = text_.substr(at_, end - at_);
      at_ = end + format_.think_close.size();
      return;
    }
    end = format_.control ? std::min(text_.find(format_.call_open, at_), text_.size()) : text_.size();
    if (end < text_.size()) problem(fmt::format("reasoning has no {}: a call ends it", format_.think_close));
    out_.reasoning = text_.substr(at_, end - at_);
    at_ = end;
  }

  // A call's arguments, or what is wrong with them.
  void finish(const GrammarTool& tool, json::object arguments) {
    const Schema& schema = *tool.parameters;
    if (!node_accepts(schema, schema.root(), arguments)) {
      problem(fmt::format("{}: the arguments do not fit the tool's schema", tool.name));
      return;
    }
    out_.calls.push_back({tool.name, std::move(arguments)});
  }

  // --- <tool_call>, with XML-like or JSON arguments inside

  struct Opening {
    std::size_t at = 0;    // where markup begins
    std::size_t body = 0;  // behind <tool_call>
    bool tagged = false;
  };

  // The next place where a call opens.
  std::optional<Opening> next_opening(std::size_t from) const {
    std::optional<Opening> best;
    const std::size_t tag = text_.find(format_.call_open, from);
    if (tag != text_.npos) best = Opening{tag, tag + format_.call_open.size(), true};
    const std::string_view bare = trimmed(format_.function_open);
    for (std::size_t at = text_.find(bare, from); at != text_.npos && (!best || at < best->at);
         at = text_.find(bare, at + 1)) {
      if (function_at(at).first != nullptr) return Opening{at, at, false};
    }
    return best;
  }

  // The tool whose header stands at `at`, and the place behind it.
  std::pair<const GrammarTool*, std::size_t> function_at(std::size_t at) const {
    const std::string_view open = trimmed(format_.function_open);
    if (!text_.substr(at).starts_with(open)) return {nullptr, at};
    if (format_.arguments == CallFormat::Arguments::kJson) {
      const std::size_t name = skip_space(text_, at + open.size());
      for (const GrammarTool& tool : tools_) {
        const std::string quoted = to_json(json::value(tool.name));
        if (text_.substr(name).starts_with(quoted)) return {&tool, at};
      }
      return {nullptr, at};
    }
    const std::size_t end = text_.find('>', at);
    if (end == text_.npos) return {nullptr, at};
    return {find(text_.substr(at + open.size(), end - at - open.size())), end + 1};
  }

  void in_tags() {
    while (at_ < text_.size()) {
      const std::optional<Opening> opening = next_opening(at_);
      if (!opening) break;
      content(at_, opening->at);
      const std::size_t body = skip_space(text_, opening->body);
      const auto [tool, inside] = function_at(body);
      if (!opening->tagged) problem(fmt::format("{}: no {} before the call", tool->name, format_.call_open));
      if (tool == nullptr) {
        // Up to its end or the next call it is content: unless the text breaks off before a name is there.
        const std::size_t end = block_end(opening->body);
        if (end == text_.npos && next_opening(opening->body) == std::nullopt && !named(body)) {
          cut("a call");
          return;
        }
        const auto next = next_opening(opening->body);
        const std::size_t stop = std::min(end == text_.npos ? text_.size() : end, next ? next->at : text_.size());
        problem("a call of no known tool is left as text");
        content(opening->at, stop);
        at_ = stop;
        continue;
      }
      const bool whole =
          format_.arguments == CallFormat::Arguments::kJson ? json_call(*tool, body) : parameters(*tool, inside);
      if (!whole) return;
      const std::size_t behind = skip_space(text_, at_);
      if (text_.substr(behind).starts_with(format_.call_close)) {
        at_ = behind + format_.call_close.size();
      } else {
        problem(fmt::format("{}: no {} after the call", tool->name, format_.call_close));
      }
    }
    content(at_, text_.size());
  }

  // A header is there, so more text would not make it one of ours.
  bool named(std::size_t body) const {
    return text_.find(format_.arguments == CallFormat::Arguments::kJson ? '}' : '>', body) != text_.npos;
  }

  std::size_t block_end(std::size_t from) const {
    const std::size_t end = text_.find(format_.call_close, from);
    return end == text_.npos ? end : end + format_.call_close.size();
  }

  void content(std::size_t from, std::size_t to) { out_.content += text_.substr(from, to - from); }

  void cut(std::string_view what) {
    problem(fmt::format("{} has no end", what));
    out_.cut_call = true;
    at_ = text_.size();
  }

  // {"name": ..., "arguments": {...}} at `at`. False: cut off.
  bool json_call(const GrammarTool& tool, std::size_t at) {
    const auto end = closed(text_, at, false);
    if (!end) {
      // Broken off, or brackets that do not match: what follows cannot be told from its strings.
      cut(tool.name);
      return false;
    }
    at_ = *end;
    auto value = parse_json(text_.substr(at, *end - at));
    if (!value) {
      problem(fmt::format("{}: {}", tool.name, value.error().message));
    } else {
      object_call(*value);
    }
    return true;
  }

  // A call as a JSON value; false: it is none.
  bool object_call(const json::value& value) {
    const json::object* call = value.if_object();
    if (call == nullptr) return false;
    if (const json::value* inner = call->if_contains("function"); inner != nullptr && inner->is_object()) {
      problem("\"function\" around a call");
      call = &inner->get_object();
    }
    const json::value* name = call->if_contains("name");
    if (name == nullptr || !name->is_string()) return false;
    const GrammarTool* tool = find(std::string_view(name->get_string()));
    if (tool == nullptr) return false;
    const json::value* arguments = call->if_contains("arguments");
    if (arguments == nullptr) {
      arguments = call->if_contains("parameters");
      if (arguments != nullptr) problem(fmt::format("{}: \"parameters\" for \"arguments\"", tool->name));
    }
    json::value read;
    if (arguments != nullptr && arguments->is_string()) {
      auto inner = parse_json(std::string_view(arguments->get_string()));
      if (inner) {
        problem(fmt::format("{}: arguments in a string", tool->name));
        read = std::move(*inner);
        arguments = &read;
      }
    }
    if (arguments == nullptr || !arguments->is_object()) {
      problem(fmt::format("{}: the arguments are no object", tool->name));
      return true;
    }
    finish(*tool, arguments->get_object());
    return true;
  }

  // Does a terminator's rest stand at `at`: the next parameter of the tool, or the end of the function or call?
  bool ends_value(const GrammarTool& tool, std::size_t at) const {
    const std::string_view rest = text_.substr(skip_space(text_, at));
    return rest.starts_with(format_.function_close) || rest.starts_with(format_.call_close) || key_at(tool, rest);
  }

  bool key_at(const GrammarTool& tool, std::string_view rest) const {
    if (!rest.starts_with(format_.parameter_open)) return false;
    rest.remove_prefix(format_.parameter_open.size());
    const std::size_t end = rest.find(format_.parameter_key_end);
    return end != rest.npos && property(tool, rest.substr(0, end)) != kNoNode;
  }

  static NodeId property(const GrammarTool& tool, std::string_view key) {
    const Schema& schema = *tool.parameters;
    for (const NodeId choice : schema.node(schema.root()).choices) {
      const Node& node = schema.node(choice);
      if ((node.types & kObjectBit) == 0) continue;
      for (const Property& p : node.object.properties) {
        if (p.name == key && p.node != kNoNode) return p.node;
      }
      if (node.object.additional_given) return node.object.additional();
    }
    return kNoNode;
  }

  // Parameters from behind the header on. False: cut off.
  bool parameters(const GrammarTool& tool, std::size_t at) {
    json::object arguments;
    bool good = true;
    auto wrong = [&](std::string what) {
      problem(fmt::format("{}: {}", tool.name, what));
      good = false;
    };
    const std::string_view close = trimmed(format_.value_close);
    for (;;) {
      at = skip_space(text_, at);
      const std::string_view rest = text_.substr(at);
      if (rest.starts_with(format_.function_close)) {
        at_ = at + format_.function_close.size();
        break;
      }
      if (rest.starts_with(format_.call_close)) {
        problem(fmt::format("{}: no {}", tool.name, format_.function_close));
        at_ = at;
        break;
      }
      const std::size_t key_end = rest.find(format_.parameter_key_end);
      if (!rest.starts_with(format_.parameter_open) || key_end == rest.npos) {
        const std::size_t end = block_end(at);
        if (end == text_.npos) {
          cut(tool.name);
          return false;
        }
        wrong("something else than a parameter stands in the call");
        at_ = end - format_.call_close.size();
        break;
      }
      const std::string key(rest.substr(format_.parameter_open.size(), key_end - format_.parameter_open.size()));
      const std::size_t begin = at + key_end + format_.parameter_key_end.size();
      // The first closer that markup follows, or markup itself at a line's beginning.
      std::size_t end = text_.npos, next = text_.npos;
      for (std::size_t c = text_.find(close, begin); c != text_.npos; c = text_.find(close, c + 1)) {
        if (!ends_value(tool, c + close.size())) continue;
        end = c;
        next = c + close.size();
        break;
      }
      for (std::size_t line = text_.find('\n', begin); line != text_.npos && line < end;
           line = text_.find('\n', line + 1)) {
        const std::string_view markup = text_.substr(line + 1);
        if (!key_at(tool, markup) && !markup.starts_with(format_.function_close)) continue;
        // A closer in front of it was found above; here there is none.
        if (text_.substr(0, line).ends_with(close)) continue;
        problem(fmt::format("{}: no {} after \"{}\"", tool.name, close, key));
        end = next = line + 1;
        break;
      }
      if (end == text_.npos) {
        cut(tool.name);
        return false;
      }
      std::string_view value = text_.substr(begin, end - begin);
      if (value.starts_with('\n')) value.remove_prefix(1);
      if (value.ends_with('\n')) value.remove_suffix(1);
      at = next;
      const NodeId node = property(tool, key);
      if (node == kNoNode) {
        wrong(fmt::format("no parameter \"{}\"", key));
        continue;
      }
      auto read = read_value(value, *tool.parameters, node);
      if (!read) {
        wrong(fmt::format("parameter \"{}\": {}", key, read.error().message));
      } else if (!arguments.emplace(key, std::move(*read)).second) {
        wrong(fmt::format("parameter \"{}\" twice", key));
      }
    }
    if (good) finish(tool, std::move(arguments));
    return true;
  }

  // --- calls that are the whole text

  void whole_text() {
    std::string_view body = trimmed(text_.substr(at_));
    bool fenced = false;
    if (body.starts_with("```") && body.ends_with("```") && body.size() > 6) {
      const std::size_t line = body.find('\n');
      if (line != body.npos && line + 4 <= body.size()) {
        body = trimmed(body.substr(line + 1, body.size() - line - 4));
        fenced = true;
      }
    }
    const std::size_t problems = out_.problems.size();
    const bool calls = format_.arguments == CallFormat::Arguments::kPython ? python_calls(body) : json_calls(body);
    if (!calls) {
      out_.problems.resize(problems);
      content(at_, text_.size());
    } else if (fenced) {
      out_.problems.insert(out_.problems.begin() + static_cast<std::ptrdiff_t>(problems), "code fences around calls");
    }
  }

  bool json_calls(std::string_view body) {
    if (!body.starts_with('{') && !body.starts_with('[')) return false;
    auto value = parse_json(body);
    if (!value) {
      // Broken off inside what began as a call of ours.
      const std::size_t at = body.starts_with('[') ? skip_space(body, 1) : 0;
      const bool begun = std::any_of(tools_.begin(), tools_.end(), [&](const GrammarTool& tool) {
        return body.substr(at).starts_with(format_.function_open + to_json(json::value(tool.name)));
      });
      if (!begun || closed(body, 0, false)) return false;
      cut("a call");
      return true;
    }
    if (!value->is_array()) return object_call(*value);
    const json::array& list = value->get_array();
    if (list.empty()) return false;
    std::vector<ParsedCall> before = out_.calls;
    for (const json::value& call : list) {
      if (object_call(call)) continue;
      out_.calls = std::move(before);  // one of them is none of ours: then it is a list, not calls
      return false;
    }
    return true;
  }

  bool python_calls(std::string_view body) {
    if (!body.starts_with('[')) return false;
    std::vector<std::pair<const GrammarTool*, std::string_view>> calls;
    std::size_t at = 1;
    for (;;) {
      at = skip_space(body, at);
      const std::size_t open = body.find('(', at);
      const GrammarTool* tool = open == body.npos ? nullptr : find(trimmed(body.substr(at, open - at)));
      if (tool == nullptr) return false;
      const auto end = closed(body, open, true);
      if (!end) {
        cut(tool->name);
        break;
      }
      calls.emplace_back(tool, body.substr(open + 1, *end - open - 2));
      at = skip_space(body, *end);
      if (body.substr(at) == "]") break;
      if (at >= body.size()) {
        problem("no ] after the calls");
        break;
      }
      if (body[at] != ',') return false;
      ++at;
    }
    for (const auto& [tool, arguments] : calls) python_arguments(*tool, arguments);
    return true;
  }

  void python_arguments(const GrammarTool& tool, std::string_view text) {
    json::object arguments;
    bool good = true;
    while (good && !trimmed(text).empty()) {
      // Up to the next comma outside brackets and quotes.
      std::size_t end = 0;
      while (end < text.size() && text[end] != ',') {
        const char c = text[end];
        std::optional<std::size_t> behind;
        if (c == '"' || c == '\'') {
          std::size_t quote = end + 1;
          while (quote < text.size() && text[quote] != c) quote += text[quote] == '\\' ? 2 : 1;
          behind = std::min(quote + 1, text.size());
        } else if (c == '[' || c == '{' || c == '(') {
          behind = closed(text, end, true);
        }
        end = behind ? *behind : end + 1;
      }
      const std::string_view piece = text.substr(0, end);
      text.remove_prefix(std::min(text.size(), end + 1));
      const std::size_t equals = piece.find('=');
      const std::string key(trimmed(piece.substr(0, std::min(equals, piece.size()))));
      auto value = equals == piece.npos ? Result<json::value>(invalid_argument("no keyword"))
                                        : read_python(trimmed(piece.substr(equals + 1)), true);
      good = value && arguments.emplace(key, std::move(*value)).second;
      if (!good) problem(fmt::format("{}: argument \"{}\" cannot be read", tool.name, key));
    }
    if (good) finish(tool, std::move(arguments));
  }

  std::string_view text_;
  const std::vector<GrammarTool>& tools_;
  const CallFormat& format_;
  std::size_t at_ = 0;
  LenientMessage out_;
};

}  // namespace

LenientMessage read_lenient(std::string_view text, const std::vector<GrammarTool>& tools, const CallFormat& format,
                            bool thinking) {
  const std::string valid = to_valid_utf8(text);
  return Reader(valid, tools, format).read(thinking);
}

}  // namespace longhaul::tools
