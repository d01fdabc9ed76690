#include "tools/grammar_program.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "runtime/base/json.h"
#include "tools/utf8.h"

namespace longhaul::tools {
namespace {

// Integers of calls are held to what 64 bits keep; other bounded numbers to what a double keeps without thought.
NumberRule call_number(const NumberRule& rule) {
  NumberRule limit;
  if (rule.integer) {
    limit.intervals[0].lo = parse_decimal("-9223372036854775808");
    limit.intervals[0].hi = parse_decimal("18446744073709551615");
    return intersect(rule, limit);
  }
  if (rule.unbounded()) return rule;
  limit.intervals[0].lo = parse_decimal("-1e90");
  limit.intervals[0].hi = parse_decimal("1e90");
  return intersect(rule, limit);
}

}  // namespace

std::uint32_t GrammarProgram::build_trie(const std::vector<std::pair<std::string, std::int32_t>>& entries) {
  return build_trie(Entries(entries.begin(), entries.end()));
}

std::uint32_t GrammarProgram::build_trie(Entries entries) {
  std::sort(entries.begin(), entries.end());
  const std::uint32_t offset = static_cast<std::uint32_t>(terminals.size());
  for (const auto& entry : entries) terminals.push_back(entry.second);
  const std::uint32_t root = static_cast<std::uint32_t>(tries.size());
  tries.emplace_back();
  tries[root].lo = offset;
  tries[root].hi = offset + static_cast<std::uint32_t>(entries.size());
  std::vector<std::uint32_t> path{root};  // of the entry before: sorted ones share the beginning of it
  for (std::uint32_t i = 0; i < entries.size(); ++i) {
    const std::string_view text = entries[i].first;
    const std::string_view before = i == 0 ? std::string_view() : entries[i - 1].first;
    const auto shared = static_cast<std::size_t>(
        std::mismatch(text.begin(), text.end(), before.begin(), before.end()).first - text.begin());
    path.resize(shared + 1);
    std::uint32_t at = root;
    for (std::size_t k = 0; k < text.size(); ++k) {
      const std::uint8_t byte = static_cast<std::uint8_t>(text[k]);
      std::uint32_t to = k < shared ? path[k + 1] : kOff;
      if (to == kOff) {
        to = static_cast<std::uint32_t>(tries.size());
        TrieNode& fresh = tries.emplace_back();
        fresh.lo = offset + i;
        fresh.depth = static_cast<std::uint16_t>(tries[at].depth + 1);
        fresh.code_points = static_cast<std::uint16_t>(tries[at].code_points + ((byte & 0xC0) != 0x80 ? 1 : 0));
        fresh.fail = root;
        fresh.up = at;
        fresh.byte = byte;
        path.push_back(to);
        ++tries[at].n_edges;
      }
      tries[to].hi = offset + i + 1;
      at = to;
    }
    tries[at].terminal = entries[i].second;
  }
  // The edges of a node beside each other. Entries are sorted, so nodes were made in the order of their bytes.
  auto edge = static_cast<std::uint32_t>(edges.size());
  edges.resize(edges.size() + tries.size() - root - 1);
  for (std::size_t i = root; i < tries.size(); ++i) {
    tries[i].edge = edge;
    edge += tries[i].n_edges;
    tries[i].n_edges = 0;
  }
  for (auto i = root + 1; i < tries.size(); ++i) {
    TrieNode& up = tries[tries[i].up];
    edges[up.edge + up.n_edges++] = {tries[i].byte, i};
  }
  return root;
}

void GrammarProgram::link_failures(std::uint32_t root) {
  tries[root].fail = root;
  std::vector<std::uint32_t> queue{root};
  for (std::size_t i = 0; i < queue.size(); ++i) {
    const std::uint32_t at = queue[i];
    for (const auto& [byte, to] : next(at)) {
      queue.push_back(to);
      if (at == root) continue;
      std::uint32_t back = tries[at].fail;
      while (back != root && child(back, byte) == kOff) back = tries[back].fail;
      const std::uint32_t found = child(back, byte);
      tries[to].fail = found == kOff ? root : found;
    }
  }
}

NodeId GrammarProgram::add_schema(const Schema& schema, std::uint32_t string_max, bool call) {
  const NodeId base = static_cast<NodeId>(nodes.size());
  // Alternatives of one place often have the same names, and so one trie.
  const auto names_less = [](const ObjectRule* a, const ObjectRule* b) {
    return std::lexicographical_compare(a->properties.begin(), a->properties.end(), b->properties.begin(),
                                        b->properties.end(),
                                        [](const Property& x, const Property& y) { return x.name < y.name; });
  };
  std::map<const ObjectRule*, std::uint32_t, decltype(names_less)> key_tries(names_less);
  if (nodes.empty()) nodes.reserve(schema.size());
  for (NodeId i = 0; i < schema.size(); ++i) {
    GrammarNode& n = nodes.emplace_back();
    n.node = &schema.node(i);
    n.base = base;
    n.schema = &schema;
    if ((n.node->types & kNumberBit) != 0) n.number = call ? call_number(n.node->number) : n.node->number;
    n.string_max = std::min(n.node->string.max, string_max);
    if (n.node->any_of.empty() && n.node->height != kNoLimit) {
      const bool first = n.node->choices.size() == 1 && n.node->choices[0] == i;
      if (first && n.node->string.is_set && (n.node->types & kStringBit) != 0) {
        Entries entries;
        entries.reserve(n.node->string.values.size());
        for (std::size_t k = 0; k < n.node->string.values.size(); ++k) {
          entries.emplace_back(n.node->string.values[k], static_cast<std::int32_t>(k));
        }
        n.string_trie = build_trie(std::move(entries));
      }
      if ((n.node->types & kObjectBit) != 0) {
        std::uint32_t& trie = key_tries.try_emplace(&n.node->object, kOff).first->second;
        if (trie == kOff) {
          const auto& properties = n.node->object.properties;
          Entries entries;
          entries.reserve(properties.size());
          for (std::size_t k = 0; k < properties.size(); ++k) {
            entries.emplace_back(properties[k].name, static_cast<std::int32_t>(k));
          }
          trie = build_trie(std::move(entries));
        }
        n.key_trie = trie;
      }
    }
  }
  return base;
}

Result<void> GrammarProgram::begin_text(std::shared_ptr<const TokenIndex> token_index, std::vector<TokenId> stops) {
  index = std::move(token_index);
  stop = std::move(stops);
  for (TokenId id : stop) {
    if (id >= index->vocabulary->size()) {
      return invalid_argument(fmt::format("stop token {} of a vocabulary of {}", id, index->vocabulary->size()));
    }
  }
  std::sort(stop.begin(), stop.end());
  return {};
}

Result<std::shared_ptr<const GrammarProgram>> GrammarProgram::for_text(std::shared_ptr<const TokenIndex> index,
                                                                       std::shared_ptr<const TextGrammar> text,
                                                                       std::vector<TokenId> stop) {
  auto program = std::make_shared<GrammarProgram>();
  if (auto ok = program->begin_text(std::move(index), std::move(stop)); !ok) return ok.error();
  program->text = std::move(text);
  return std::shared_ptr<const GrammarProgram>(program);
}

Result<std::shared_ptr<const GrammarProgram>> GrammarProgram::json(std::shared_ptr<const TokenIndex> index,
                                                                   std::shared_ptr<const Schema> schema,
                                                                   const JsonGrammarOptions& options) {
  auto program = std::make_shared<GrammarProgram>();
  program->whitespace = options.whitespace;
  if (auto ok = program->begin_text(std::move(index), options.stop); !ok) return ok.error();
  program->call_limits = options.call_limits;
  const std::uint32_t string_max = options.call_limits ? kCallStringMax : options.string_max;
  auto bounds = program->check_bounds(*schema, string_max, options.call_limits);
  if (!bounds) return bounds.error();
  program->root = program->add_schema(*schema, string_max, options.call_limits) + schema->root();
  program->schemas_.push_back(std::move(schema));
  return std::shared_ptr<const GrammarProgram>(program);
}

Result<void> GrammarProgram::begin_message(std::shared_ptr<const TokenIndex> token_index,
                                           const MessageGrammarOptions& given) {
  if (auto ok = begin_text(std::move(token_index), given.stop); !ok) return ok.error();
  const model::Vocabulary& vocabulary = *index->vocabulary;
  is_message = call_limits = true;
  whitespace = Whitespace::kBounded;
  options = given;
  if (stop.empty()) return invalid_argument("a message grammar needs at least one stop token");
  for (TokenId id : stop) {
    if (!vocabulary.is_control(id)) {
      return invalid_argument(fmt::format("stop token {} (\"{}\") is text, not control", id, vocabulary.bytes(id)));
    }
  }
  // Models whose calls are plain text may have no reasoning either.
  auto think = vocabulary.control(options.format.think_close);
  if (!think && options.format.control) {
    return invalid_argument(fmt::format("the vocabulary has no control token {}", options.format.think_close));
  }
  if (think) think_close = *think;
  return {};
}

Result<std::shared_ptr<const GrammarProgram>> GrammarProgram::message(std::shared_ptr<const TokenIndex> index,
                                                                      const std::vector<GrammarTool>& tools,
                                                                      const MessageGrammarOptions& options) {
  auto program = std::make_shared<GrammarProgram>();
  if (auto ok = program->begin_message(std::move(index), options); !ok) return ok.error();
  const CallFormat& format = program->options.format;
  if (auto ok = program->add_response(options.response); !ok) return with_context("response", ok.error());
  auto control = [&](const std::string& name) -> Result<TokenId> {
    const auto id = program->index->vocabulary->control(name);
    if (!id) return invalid_argument(fmt::format("the vocabulary has no control token {}", name));
    return *id;
  };
  std::set<std::string> names;
  for (const GrammarTool& tool : tools) {
    if (!names.insert(tool.name).second) return invalid_argument(fmt::format("two tools are named \"{}\"", tool.name));
  }
  if (options.choice == ToolChoice::kNamed && names.count(options.named) == 0) {
    return invalid_argument(fmt::format("no tool is named \"{}\"", options.named));
  }
  if (options.choice == ToolChoice::kRequired && tools.empty()) {
    return invalid_argument("a call is required, but there are no tools");
  }
  program->tools = tools;
  if (tools.empty() || options.choice == ToolChoice::kNone) return std::shared_ptr<const GrammarProgram>(program);
  if (format.control) {
    auto open = control(format.call_open), close = control(format.call_close);
    if (!open) return open.error();
    if (!close) return close.error();
    program->call_open = *open;
    program->call_close = *close;
  }
  for (const GrammarTool& tool : tools) {
    auto ok = format.arguments == CallFormat::Arguments::kJson ? program->add_json_tool(tool, format.function_close)
                                                               : program->add_tool(tool);
    if (!ok) return with_context("tool " + tool.name, ok.error());
  }
  if (auto ok = program->add_headers(); !ok) return ok.error();
  return std::shared_ptr<const GrammarProgram>(program);
}

Result<std::shared_ptr<const GrammarProgram>> GrammarProgram::structural(std::shared_ptr<const TokenIndex> index,
                                                                         const std::vector<StructuralTag>& tags,
                                                                         const std::vector<std::string>& triggers,
                                                                         const MessageGrammarOptions& options) {
  auto program = std::make_shared<GrammarProgram>();
  MessageGrammarOptions own = options;
  own.format = openai_format();
  if (auto ok = program->begin_message(std::move(index), own); !ok) return ok.error();
  if (own.choice == ToolChoice::kNamed) return invalid_argument("structural tags are chosen by their text, not named");
  program->is_tags = true;
  std::vector<std::pair<std::string, std::int32_t>> begins;
  for (std::size_t i = 0; i < tags.size(); ++i) {
    const StructuralTag& tag = tags[i];
    const std::string name = fmt::format("tag \"{}\"", tag.begin);
    if (tag.begin.empty() || tag.end.empty()) return invalid_argument(name + " has no beginning or no end");
    if (std::none_of(triggers.begin(), triggers.end(),
                     [&](const std::string& t) { return !t.empty() && tag.begin.starts_with(t); })) {
      return invalid_argument(name + " begins with no trigger");
    }
    for (std::size_t j = 0; j < tags.size(); ++j) {
      if (j != i && tag.begin.starts_with(tags[j].begin)) {
        return invalid_argument(fmt::format("{} begins with tag \"{}\"", name, tags[j].begin));
      }
    }
    program->tools.push_back({tag.begin, tag.schema});
    if (auto ok = program->add_json_tool(program->tools.back(), tag.end); !ok) return with_context(name, ok.error());
    begins.emplace_back(tag.begin, static_cast<std::int32_t>(i));
  }
  if (tags.empty() && own.choice == ToolChoice::kRequired)
    return invalid_argument("a tag is required, but there are none");
  if (tags.empty() || own.choice == ToolChoice::kNone) return std::shared_ptr<const GrammarProgram>(program);
  std::vector<std::string> used;
  for (const std::string& trigger : triggers) {
    const bool leads =
        std::any_of(tags.begin(), tags.end(), [&](const StructuralTag& tag) { return tag.begin.starts_with(trigger); });
    if (!leads || trigger.empty())
      return invalid_argument(fmt::format("no tag begins with the trigger \"{}\"", trigger));
    used.push_back(trigger);
  }
  program->triggers = program->build_trie(std::move(begins));
  program->triggers_anywhere = true;
  program->link_failures(program->triggers);
  program->mark_triggers(used);
  return std::shared_ptr<const GrammarProgram>(program);
}

std::string GrammarProgram::header(const std::string& name) const {
  const CallFormat& format = options.format;
  const bool json = format.arguments == CallFormat::Arguments::kJson;
  return format.function_open + (json ? to_json(json::value(name)) : name) + format.function_name_end;
}

Result<void> GrammarProgram::add_response(const ResponseFormat& form) {
  if (form.schema == nullptr && form.text == nullptr) return {};
  if (form.schema != nullptr && form.text != nullptr) return invalid_argument("both a schema and a grammar are given");
  // Else an answer could be taken for a call.
  if (!options.format.control) {
    return unsupported(fmt::format("the call format {} opens calls by text, so answers have no form of their own",
                                   options.format.name));
  }
  text = form.text;
  if (form.schema == nullptr) return {};
  if (auto ok = check_bounds(*form.schema, options.string_max, true); !ok) return ok.error();
  response = add_schema(*form.schema, options.string_max, true) + form.schema->root();
  schemas_.push_back(form.schema);
  return {};
}

// How calls begin, after control tokens or in text.
Result<void> GrammarProgram::add_headers() {
  const CallFormat& format = options.format;
  std::vector<std::pair<std::string, std::int32_t>> headers, starting, more;
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < tools.size(); ++i) {
    if (options.choice == ToolChoice::kNamed && tools[i].name != options.named) continue;
    const auto number = static_cast<std::int32_t>(i);
    const std::string text = header(tools[i].name);
    headers.emplace_back(text, number);
    starting.emplace_back(format.call_open + text, number);
    if (format.single) starting.emplace_back(text, number | kSingleTool);
    if (options.parallel_calls) more.emplace_back(format.call_separator + text, number);
    if (format.function_open.empty()) texts.push_back(format.call_open + text);
  }
  if (format.control) {
    header_trie = build_trie(std::move(headers));
    return {};
  }
  // Either a common beginning, or each call's own.
  if (!format.function_open.empty()) {
    texts.push_back(format.call_open + format.function_open);
    if (format.single) texts.push_back(format.function_open);
  }
  more.emplace_back(format.call_close, kEndCalls);
  more_calls = build_trie(std::move(more));
  triggers = build_trie(std::move(starting));
  mark_triggers(texts);
  return {};
}

void GrammarProgram::mark_triggers(const std::vector<std::string>& texts) {
  std::set<std::string> beginnings;  // a few bytes, for the tokens that may hold a trigger
  for (const std::string& text : texts) {
    std::uint32_t at = triggers;
    for (char c : text) at = child(at, static_cast<std::uint8_t>(c));
    tries[at].trigger = at;
    beginnings.insert(text.substr(0, 2));
  }
  if (triggers_anywhere) {
    // Breadth first, as fail links point up: the shorter trigger inside a longer path counts too.
    std::vector<std::uint32_t> queue{triggers};
    for (std::size_t i = 0; i < queue.size(); ++i) {
      TrieNode& node = tries[queue[i]];
      if (node.trigger == kOff && queue[i] != triggers) node.trigger = tries[node.fail].trigger;
      for (const auto& [byte, to] : next(queue[i])) queue.push_back(to);
    }
  }
  std::set<TokenId> ids;
  for (const std::string& text : beginnings) {
    const std::vector<TokenId>& holding = index->holding(text);
    ids.insert(holding.begin(), holding.end());
  }
  triggering.assign(ids.begin(), ids.end());
}

// Arguments as one JSON object. Parameters that the schema does not name are offered as in the other formats.
Result<void> GrammarProgram::add_json_tool(const GrammarTool& tool, std::string end) {
  if (!is_utf8(tool.name) || tool.name.empty()) {
    return invalid_argument(fmt::format("the name \"{}\" cannot be written in a call", tool.name));
  }
  const Schema& schema = *tool.parameters;
  if (auto ok = check_bounds(schema, options.string_max, true); !ok) return ok.error();
  const NodeId base = add_schema(schema, options.string_max, true);
  schemas_.push_back(tool.parameters);
  Node arguments;
  arguments.types = 0;
  for (const NodeId choice : schema.node(schema.root()).choices) {
    const Node& node = schema.node(choice);
    if ((node.types & kObjectBit) == 0 || node.object_height > 256) continue;
    Node object = node;
    object.types = kObjectBit;
    object.choices.clear();
    const auto named = std::count_if(object.object.properties.begin(), object.object.properties.end(),
                                     [](const Property& p) { return p.node != kNoNode; });
    if (!object.object.additional_given && !options.unnamed_parameters && object.object.some.empty() &&
        object.object.additional() != kNoNode && object.object.min <= static_cast<std::uint64_t>(named)) {
      object.object.classes.clear();
    }
    made_.push_back(std::move(object));
    GrammarNode made = nodes[base + choice];
    made.node = &made_.back();
    arguments.choices.push_back(static_cast<NodeId>(nodes.size()));
    nodes.push_back(std::move(made));
  }
  if (arguments.choices.empty()) return invalid_argument("parameters at # allow no object");
  made_.push_back(std::move(arguments));
  GrammarNode made;
  made.node = &made_.back();
  GrammarToolProgram program;
  program.arguments = static_cast<NodeId>(nodes.size());
  program.end = std::move(end);
  nodes.push_back(std::move(made));
  tool_programs.push_back(std::move(program));
  return {};
}

Result<void> GrammarProgram::check_bounds(const Schema& schema, std::uint32_t string_max, bool call) const {
  for (NodeId i = 0; i < schema.size(); ++i) {
    const Node& node = schema.node(i);
    if (node.height == kNoLimit || !node.any_of.empty()) continue;
    if ((node.types & kStringBit) != 0 && !node.string.is_set) {
      const std::uint32_t least = std::max(node.string.min, schema.patterns().shortest(node.string.pattern));
      if (least > string_max) {
        return unsupported(fmt::format("strings of at least {} characters at #{} are above the limit of {}", least,
                                       node.place, string_max));
      }
    }
    if (call && (node.types & kNumberBit) != 0 && call_number(node.number).empty()) {
      return unsupported(fmt::format("numbers at #{} are outside what a call can carry", node.place));
    }
  }
  return {};
}

Result<void> GrammarProgram::add_tool(const GrammarTool& tool) {
  auto spells_python = [](std::string name) {
    std::replace(name.begin(), name.end(), '.', '_');  // module.function
    return is_python_name(name);
  };
  if (tool.name.empty() || tool.name.find_first_of("<>\n\r") != tool.name.npos || !is_utf8(tool.name) ||
      (python() && !spells_python(tool.name))) {
    return invalid_argument(fmt::format("the name \"{}\" cannot be written in a call", tool.name));
  }
  const Schema& schema = *tool.parameters;
  auto bounds = check_bounds(schema, options.string_max, true);
  if (!bounds) return bounds.error();
  // Arguments are always an object; of a union, one branch must be left.
  std::vector<NodeId> objects;
  for (NodeId choice : schema.node(schema.root()).choices) {
    if ((schema.node(choice).types & kObjectBit) != 0) objects.push_back(choice);
  }
  if (objects.empty()) return invalid_argument("parameters at # allow no object");
  if (objects.size() > 1)
    return unsupported("alternatives for the parameters as a whole at # are not enforced in calls");
  const NodeId base = add_schema(schema, options.string_max, true);
  schemas_.push_back(tool.parameters);
  const ObjectRule& rule = schema.node(objects[0]).object;
  const CallFormat& format = options.format;
  GrammarToolProgram program;
  program.arguments = base + objects[0];
  const NodeId additional = rule.additional();
  program.free_keys = !python() && (rule.additional_given || options.unnamed_parameters) && additional != kNoNode;
  if (!rule.some.empty() || (additional == kNoNode && !rule.classes.empty())) {
    return unsupported("patterns for the names of the parameters as a whole at # are not enforced in calls");
  }
  if (!program.free_keys) {
    const auto open = std::count_if(rule.properties.begin(), rule.properties.end(),
                                    [](const Property& p) { return p.node != kNoNode; });
    if (rule.min > static_cast<std::uint64_t>(open)) {
      return unsupported(
          fmt::format("minProperties {} at # asks for parameters that the schema does not name", rule.min));
    }
  }
  const std::string close = format.value_close;
  std::vector<std::pair<std::string, std::int32_t>> terminators{{close + format.function_close, kEndFunction}};
  std::vector<std::pair<std::string, std::int32_t>> first{{format.function_close, kEndFunction}};
  std::vector<std::pair<std::string, std::int32_t>> keys;
  for (std::size_t i = 0; i < rule.properties.size(); ++i) {
    const Property& property = rule.properties[i];
    const bool unplaced = property.node == kNoNode || schema.node(property.node).place.empty();
    const std::string place =
        "#" + (unplaced ? pointer_append("/properties", property.name) : schema.node(property.node).place);
    if (!key_fits(property.name) || (python() && !is_python_name(property.name))) {
      return unsupported(
          fmt::format("the parameter name \"{}\" at {} cannot be written in a call", property.name, place));
    }
    if (property.name.size() > 200) {
      return unsupported(
          fmt::format("the parameter name at {} has {} bytes, at most 200", place, property.name.size()));
    }
    keys.emplace_back(property.name + format.parameter_key_end, static_cast<std::int32_t>(i));
    if (!program.free_keys) {
      terminators.emplace_back(close + format.parameter_open + property.name + format.parameter_key_end,
                               static_cast<std::int32_t>(i));
    }
    first.push_back(keys.back());
    program.values.emplace_back();
    if (property.node == kNoNode) continue;
    if (python()) {
      program.values.back().push_back(static_cast<std::uint32_t>(starts.size()));
      ValueStart start;
      start.node = base + property.node;
      starts.push_back(start);
      continue;
    }
    auto values = add_value(base + property.node, tool.name, place);
    if (!values) return values.error();
    program.values.back() = std::move(*values);
  }
  if (program.free_keys) {
    terminators.emplace_back(close + format.parameter_open, kOpenKey);
    program.key_trie = build_trie(keys);
    auto values = add_value(base + additional, tool.name, "#/additionalProperties");
    if (!values) return values.error();
    program.extra_values = std::move(*values);
  }
  program.terminators = build_trie(std::move(terminators));
  link_failures(program.terminators);
  // Python's separator stands between arguments, not before each.
  program.after_value = python() ? build_trie(std::move(first)) : program.terminators;
  for (char c : close) program.after_value = child(program.after_value, static_cast<std::uint8_t>(c));
  tool_programs.push_back(std::move(program));
  return {};
}

Result<std::vector<std::uint32_t>> GrammarProgram::add_value(NodeId id, const std::string& tool,
                                                             const std::string& place) {
  std::vector<std::uint32_t> result;
  auto add = [&](ValueStart start) {
    result.push_back(static_cast<std::uint32_t>(starts.size()));
    starts.push_back(start);
  };
  const NodeId base = nodes[id].base;
  const auto choices = nodes[id].node->choices;
  bool takes_all = false;
  std::vector<NodeId> others;
  for (NodeId choice : choices) {
    const GrammarNode source = nodes[base + choice];
    const Node& node = *source.node;
    if ((node.types & kStringBit) != 0) {
      if (node.string.is_set) {
        for (const std::string& value : node.string.values) {
          if (value.find(options.format.value_close) != value.npos) {
            return unsupported(
                fmt::format("a value of the set at {} of {} holds the text that ends values", place, tool));
          }
        }
        add({ValueStart::Kind::kRawSet, kNoNode, source.string_trie, 0, 0});
      } else {
        ValueStart start{ValueStart::Kind::kRaw, kNoNode, kOff, node.string.min, source.string_max};
        start.pattern = node.string.pattern;
        start.schema = source.schema;
        add(start);
        // Any text fits this one, so nothing else has to be followed beside it.
        takes_all = takes_all || (node.string.min == 0 && source.string_max >= options.string_max &&
                                  node.string.pattern == kAnyText);
      }
    }
    const std::uint8_t rest = node.types & ~kStringBit;
    if (rest == 0) continue;
    if (rest == node.types) {
      others.push_back(base + choice);
      continue;
    }
    Node without = node;
    without.types = rest;
    without.choices.clear();
    made_.push_back(std::move(without));
    GrammarNode made = source;
    made.node = &made_.back();
    others.push_back(static_cast<NodeId>(nodes.size()));
    nodes.push_back(std::move(made));
  }
  if (takes_all) {
    std::erase_if(result, [&](std::uint32_t i) {
      const ValueStart& s = starts[i];
      return s.kind != ValueStart::Kind::kRaw || s.min != 0 || s.max < options.string_max || s.pattern != kAnyText;
    });
    result.resize(1);
    return result;
  }
  if (!others.empty()) {
    Node choice;
    choice.types = 0;
    choice.choices.assign(others.begin(), others.end());
    made_.push_back(std::move(choice));
    GrammarNode made;
    made.node = &made_.back();
    made.base = 0;
    const NodeId union_id = static_cast<NodeId>(nodes.size());
    nodes.push_back(std::move(made));
    add({ValueStart::Kind::kJson, union_id, kOff, 0, 0});
  }
  return result;
}

}  // namespace longhaul::tools
