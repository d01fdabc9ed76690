// What a grammar is compiled to, shared by all tables made from it. Internal to tools/: see grammar.h. Immutable.
#pragma once

#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tools/grammar.h"
#include "tools/text_grammar.h"
#include "tools/token_trie.h"

namespace longhaul::tools {

inline constexpr std::uint32_t kOff = ~std::uint32_t{0};  // not in the trie (any more)

// Tries of names and terminators, all in one pool.
struct TrieNode {
  std::uint32_t edge = 0, n_edges = 0;  // edges[edge .. edge + n_edges), sorted by byte
  std::int32_t terminal = -1;           // what ends here: an index, or one of the kEnd... below
  std::uint32_t lo = 0, hi = 0;         // the terminals under this node: terminals[lo .. hi)
  std::uint32_t trigger = kOff;         // the trigger that ends here (Aho-Corasick: or in a suffix); kOff: none
  std::uint32_t fail = 0;  // terminator tries: the longest proper suffix that is a prefix too (Aho-Corasick)
  std::uint32_t up = 0;    // the node above, by
  std::uint8_t byte = 0;
  std::uint16_t depth = 0;        // bytes from the trie's root
  std::uint16_t code_points = 0;  // the same in code points
};
inline constexpr std::int32_t kEndFunction = 1 << 30;        // terminators: "</function>"
inline constexpr std::int32_t kEndCalls = kEndFunction + 2;  // text formats: call_close
inline constexpr std::int32_t kSingleTool = 1 << 28;         // beside a tool's index: the call stands in no list
inline constexpr std::int32_t kOpenKey = kEndFunction + 1;   // terminators: "<parameter=", any key follows

struct GrammarNode {
  const Node* node = nullptr;
  NodeId base = 0;                 // add to the node's own references
  const Schema* schema = nullptr;  // whose patterns the node's rules name
  NumberRule number;               // with the call limits, if any
  std::uint32_t string_max = kNoLimit;
  std::uint32_t string_trie = kOff;  // sets of strings
  std::uint32_t key_trie = kOff;     // objects: property names, terminal = index
};

// One way to write a parameter's value.
struct ValueStart {
  enum class Kind { kRaw, kRawSet, kJson } kind = Kind::kJson;
  NodeId node = kNoNode;           // kJson: the node (strings left out)
  std::uint32_t trie = kOff;       // kRawSet
  std::uint32_t min = 0, max = 0;  // kRaw: code points
  RegexId pattern = kAnyText;      // kRaw: of the patterns of `schema`
  const Schema* schema = nullptr;
};

struct GrammarToolProgram {
  NodeId arguments = kNoNode;        // the object node
  std::uint32_t terminators = kOff;  // trie root: what ends a value
  std::uint32_t after_value = kOff;  // the node where parameters may begin (value_close read)
  std::uint32_t key_trie = kOff;     // with free keys: property names + parameter_key_end
  bool free_keys = false;
  std::string end;                                 // what follows arguments in JSON
  std::vector<std::vector<std::uint32_t>> values;  // by property: indices into GrammarProgram::starts
  std::vector<std::uint32_t> extra_values;         // for keys that the schema does not name
};

class GrammarProgram {
 public:
  static Result<std::shared_ptr<const GrammarProgram>> json(std::shared_ptr<const TokenIndex> index,
                                                            std::shared_ptr<const Schema> schema,
                                                            const JsonGrammarOptions& options);
  static Result<std::shared_ptr<const GrammarProgram>> for_text(std::shared_ptr<const TokenIndex> index,
                                                                std::shared_ptr<const TextGrammar> text,
                                                                std::vector<TokenId> stop);
  static Result<std::shared_ptr<const GrammarProgram>> message(std::shared_ptr<const TokenIndex> index,
                                                               const std::vector<GrammarTool>& tools,
                                                               const MessageGrammarOptions& options);
  static Result<std::shared_ptr<const GrammarProgram>> structural(std::shared_ptr<const TokenIndex> index,
                                                                  const std::vector<StructuralTag>& tags,
                                                                  const std::vector<std::string>& triggers,
                                                                  const MessageGrammarOptions& options);

  // Where a trie goes on from one of its nodes, by byte.
  std::span<const std::pair<std::uint8_t, std::uint32_t>> next(std::uint32_t trie_node) const {
    return std::span(edges).subspan(tries[trie_node].edge, tries[trie_node].n_edges);
  }

  std::uint32_t child(std::uint32_t trie_node, std::uint8_t byte) const {
    for (const auto& [b, to] : next(trie_node)) {
      if (b == byte) return to;
    }
    return kOff;
  }

  bool must_call() const { return options.choice == ToolChoice::kRequired || options.choice == ToolChoice::kNamed; }

  // Messages without a call are an answer in a given form.
  bool responds() const { return is_message && !must_call() && (text != nullptr || response != kNoNode); }

  bool python() const { return options.format.arguments == CallFormat::Arguments::kPython; }

  std::shared_ptr<const TokenIndex> index;
  bool is_message = false;
  bool call_limits = false;  // strings and numbers are held to what calls may carry
  bool is_tags = false;      // structural tags: text may come again behind them
  MessageGrammarOptions options;
  std::vector<GrammarTool> tools;
  std::vector<GrammarToolProgram> tool_programs;
  Whitespace whitespace = Whitespace::kAny;
  std::vector<TokenId> stop;  // sorted
  TokenId think_close = kNoToken, call_open = kNoToken, call_close = kNoToken;

  std::vector<GrammarNode> nodes;
  NodeId root = kNoNode;
  std::shared_ptr<const TextGrammar> text;  // a user's grammar: of the whole text, or of a message's answer
  NodeId response = kNoNode;                // an answer's node, if it is JSON
  std::vector<TrieNode> tries;
  std::vector<std::pair<std::uint8_t, std::uint32_t>> edges;  // of all tries
  std::vector<std::int32_t> terminals;
  std::uint32_t header_trie = kOff;  // function_open NAME function_name_end, terminal = tool
  std::vector<ValueStart> starts;
  // What opens calls in text; kOff: control tokens do. And what goes on with or ends a list of them.
  std::uint32_t triggers = kOff, more_calls = kOff;
  bool triggers_anywhere = false;
  std::vector<TokenId> triggering;  // tokens that may hold a whole trigger

 private:
  Result<void> begin_text(std::shared_ptr<const TokenIndex> token_index, std::vector<TokenId> stops);
  Result<void> begin_message(std::shared_ptr<const TokenIndex> token_index, const MessageGrammarOptions& given);
  Result<void> add_response(const ResponseFormat& format);
  // Appends the schema's nodes; returns what to add to its ids.
  NodeId add_schema(const Schema& schema, std::uint32_t string_max, bool call);
  Result<void> add_tool(const GrammarTool& tool);
  Result<void> add_json_tool(const GrammarTool& tool, std::string end);
  Result<void> add_headers();
  void mark_triggers(const std::vector<std::string>& texts);
  std::string header(const std::string& name) const;
  Result<std::vector<std::uint32_t>> add_value(NodeId node, const std::string& tool, const std::string& place);
  // Do all strings (and in calls, numbers) that must come fit the limits?
  Result<void> check_bounds(const Schema& schema, std::uint32_t string_max, bool call) const;
  // Texts, and what ends with each.
  using Entries = std::vector<std::pair<std::string_view, std::int32_t>>;
  std::uint32_t build_trie(Entries entries);
  std::uint32_t build_trie(const std::vector<std::pair<std::string, std::int32_t>>& entries);
  void link_failures(std::uint32_t root);

  std::deque<Node> made_;  // nodes that no schema has
  std::vector<std::shared_ptr<const Schema>> schemas_;
};

}  // namespace longhaul::tools
