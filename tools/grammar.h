// The automaton: which bytes and tokens may come next in a JSON document of a schema, or in an assistant message with
// reasoning, text and tool calls. A pushdown machine whose frames and configurations are interned, so that a state is
// one small value: going back and forking are assignments, equal states are equal values, and masks are cached by
// state.
//
//   auto grammar = Grammar::for_message(vocabulary, tools, options);
//   State s = (*grammar)->start(/*thinking=*/false);
//   auto mask = (*grammar)->mask(s);            // std::shared_ptr<const model::TokenMask>
//   s = (*grammar)->advance(s, token);          // s.dead() if the token was not allowed
//
// Knows nothing of the engine, the sampler or sessions. message_parser.h reads messages with it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/token_mask.h"
#include "model/vocabulary.h"
#include "runtime/base/result.h"
#include "tools/call_format.h"
#include "tools/json_schema.h"
#include "tools/text_grammar.h"
#include "tools/token_trie.h"

namespace longhaul::tools {

using model::TokenId;

// What can follow does not depend on the past beyond this. Only of use with the Grammar that made it.
struct State {
  std::uint32_t id = 0;     // the interned configurations; 0: nothing can follow, the input was refused
  std::uint32_t count = 0;  // code points of the string being read, kept apart so that strings do not make states

  bool dead() const { return id == 0; }
  friend bool operator==(const State&, const State&) = default;
};

enum class Whitespace {
  kAny,      // as JSON allows
  kBounded,  // between tokens nothing, one space, or a line end and up to 16 spaces: it cannot run away
};

struct JsonGrammarOptions {
  Whitespace whitespace = Whitespace::kAny;
  std::uint32_t string_max = kNoLimit;  // code points
  // Strings and numbers as long as calls may have them: a model that repeats itself comes to an end.
  bool call_limits = false;
  std::vector<TokenId> stop;  // control tokens that end the text where it is complete
};

struct GrammarTool {
  std::string name;
  std::shared_ptr<const Schema> parameters;
};

enum class ToolChoice { kAuto, kNone, kRequired, kNamed };

// Text, then JSON of a schema (an object), then text: `begin` and `end` are not empty.
struct StructuralTag {
  std::string begin;
  std::shared_ptr<const Schema> schema;
  std::string end;
};

// What a message without calls must be: JSON of a schema, or a text of a user's grammar. At most one; neither: any
// text. A message with calls has such a text before them, or none. Up to two line ends may come first.
struct ResponseFormat {
  std::shared_ptr<const Schema> schema;
  std::shared_ptr<const TextGrammar> text;
};

struct MessageGrammarOptions {
  std::vector<TokenId> stop;  // the end-of-message tokens (config's eos list); at least one
  ToolChoice choice = ToolChoice::kAuto;
  std::string named;           // for kNamed
  bool parallel_calls = true;  // false: at most one call
  // A schema that does not mention additionalProperties allows parameters it does not name. Models are better off
  // without being offered them, and leaving them out is always valid; true offers them, as the schema says to the
  // letter.
  bool unnamed_parameters = false;
  bool call_ends_thinking = false;  // a call may begin inside reasoning, which it then ends; false: </think> first
  std::uint32_t string_max = kCallStringMax;
  CallFormat format = nemotron_format();
  ResponseFormat response;  // for formats whose calls control tokens open; of no effect where a call is required
};

// Where in a message a byte fell. kTag: markup, names and line ends of calls.
enum class Region : std::uint8_t { kJson, kReasoning, kContent, kTag, kValue, kEnd };

// What one byte or control token did, for the parser. `pending`: how many of the latest bytes may yet turn out to be
// a value's terminator, or a trigger.
struct StepInfo {
  Region region = Region::kJson;
  bool control = false;
  bool call_begun = false;  // what opens a call was read: a control token, or the last byte of a trigger
  bool named = false;       // the function's name is complete: `tool`
  bool keyed = false;  // a parameter's name is complete: `tool`, `property` (kExtraProperty: one not in the schema)
  bool value_ended = false;  // the value before this has ended with `terminator` bytes of markup
  bool function_ended = false;
  bool call_ended = false;
  std::uint32_t tool = 0, property = 0;
  std::size_t trigger = 0;  // with call_begun in text: bytes of the trigger, this one included
  std::size_t pending = 0, terminator = 0;
};
inline constexpr std::uint32_t kExtraProperty = ~std::uint32_t{0};

// The mask, and the ids themselves (ascending) if they are few: the engine then computes only those rows of the output
// matrix, and none at all if there is only one.
struct AllowedTokens {
  static constexpr std::size_t kFewTokens = 512;

  model::TokenMask mask;
  bool few = false;
  std::vector<TokenId> ids;  // empty unless `few`
};

struct DraftToken {
  std::int32_t parent = -1;  // index of the draft before it; -1: the root
  TokenId token = 0;
};
struct DraftState {
  State state;                                   // after the token; dead if it is refused
  std::shared_ptr<const AllowedTokens> allowed;  // null if it is dead
};

class GrammarProgram;
class GrammarTables;

// Safe to use from several threads: the tables are guarded by one mutex. Masks are immutable and shared.
class Grammar {
 public:
  // kInvalidArgument: a stop id outside the vocabulary.
  static Result<std::shared_ptr<Grammar>> for_json(const model::Vocabulary& vocabulary,
                                                   std::shared_ptr<const Schema> schema,
                                                   const JsonGrammarOptions& options = {});
  // kInvalidArgument: equal tool names, a control token that the vocabulary lacks, a name that cannot be written, a
  // choice of an unknown tool. kUnsupported: parameters that the format cannot carry, by tool and place. `vocabulary`
  // must outlive the grammar.
  static Result<std::shared_ptr<Grammar>> for_message(const model::Vocabulary& vocabulary,
                                                      const std::vector<GrammarTool>& tools,
                                                      const MessageGrammarOptions& options);
  // Free text in which one of `triggers`, wherever it comes, must go on as a tag that begins with it; behind the tag's
  // end the text is free again. The parser gives each tag as a call named by its `begin`. Of the options, `stop`,
  // `string_max`, `choice` (kAuto; kRequired: at least one tag, and nothing but line ends before it; kNone: no tags)
  // and `parallel_calls` (false: at most one tag, then the end) count. kInvalidArgument names the tag: it begins with
  // no trigger, or with another tag's beginning. kUnsupported: a schema that takes no object.
  static Result<std::shared_ptr<Grammar>> for_tags(std::shared_ptr<const TokenIndex> index,
                                                   const std::vector<StructuralTag>& tags,
                                                   const std::vector<std::string>& triggers,
                                                   const MessageGrammarOptions& options);
  // The same with an index that several grammars share.
  static Result<std::shared_ptr<Grammar>> for_json(std::shared_ptr<const TokenIndex> index,
                                                   std::shared_ptr<const Schema> schema,
                                                   const JsonGrammarOptions& options = {});
  static Result<std::shared_ptr<Grammar>> for_message(std::shared_ptr<const TokenIndex> index,
                                                      const std::vector<GrammarTool>& tools,
                                                      const MessageGrammarOptions& options);
  // A whole text of a user's grammar; `stop`: control tokens that end it where it is complete. kInvalidArgument: a stop
  // id outside the vocabulary.
  static Result<std::shared_ptr<Grammar>> for_text(std::shared_ptr<const TokenIndex> index,
                                                   std::shared_ptr<const TextGrammar> text,
                                                   std::vector<TokenId> stop = {});
  // The same grammar with empty tables if `grammar`'s have grown past their limit, else `grammar` itself. Call it when
  // a message begins: states of the old one stay good as long as somebody holds it.
  static std::shared_ptr<Grammar> refreshed(std::shared_ptr<Grammar> grammar);
  ~Grammar();
  Grammar(const Grammar&) = delete;
  Grammar& operator=(const Grammar&) = delete;

  // A message begins inside reasoning if its prompt ends with <think>, else in content. For JSON the argument is
  // ignored.
  State start(bool thinking = false) const;
  State advance(State state, std::uint8_t byte) const;
  State advance(State state, std::string_view bytes) const;
  // Control tokens match only where the grammar asks for them; a text token is its bytes.
  State advance(State state, TokenId token) const;
  // As above, telling the parser of every byte in order.
  State advance(State state, TokenId token, const std::function<void(const StepInfo&, std::uint8_t)>& observe) const;
  // The text may end here: a whole JSON document, or a message after its stop token.
  bool complete(State state) const;
  // Inside reasoning, that is until </think>.
  bool in_reasoning(State state) const;

  // Exactly the tokens t for which advance(state, t) is not dead. Cached within a byte budget, least recently used
  // goes first; the pointer stays good without the cache. May be called ahead of need from another thread.
  std::shared_ptr<const AllowedTokens> allowed(State state) const;
  std::shared_ptr<const model::TokenMask> mask(State state) const;
  // As allowed(), but null near a bound of a text where the mask, which is for one length only, would have to be made:
  // most tokens are allowed there, so testing the one that is drawn is the cheaper way.
  std::shared_ptr<const AllowedTokens> allowed_if_kept(State state) const;
  // As allowed(), but null where the mask would take time: it is not cached, and there is a choice at the first byte.
  // What is null here can be left to another thread; a token without alternative is found at once.
  std::shared_ptr<const AllowedTokens> allowed_if_quick(State state) const;
  // The states and masks of a tree of drafts below `root`, in one call; a draft's parent is an earlier one. Below a
  // token that is refused everything is dead.
  std::vector<DraftState> draft_masks(State root, std::span<const DraftToken> drafts) const;
  // The tokens of the text that must come from here on, as `encode` (the tokenizer, for text without control tokens)
  // cuts it, and forced control tokens; empty if nothing is forced. A token at the text's end is left out while a
  // longer one that begins with it is allowed. They are guesses, not facts: the same text may be cut otherwise, so a
  // draw that depends on them must check them (contract C2b). Only a mask of one token leaves no choice.
  std::vector<TokenId> forced(State state, const std::function<std::vector<TokenId>(std::string_view)>& encode) const;
  // As mask(), one token at a time and without any cache: for tests.
  model::TokenMask mask_by_trial(State state) const;

  TokenId think_close() const;  // kNoToken for a JSON grammar
  const std::vector<GrammarTool>& tools() const;
  const MessageGrammarOptions& options() const;
  const model::Vocabulary& vocabulary() const;
  std::size_t state_count() const;
  // Readings of texts that were not followed, as there were more than 256 at once: what only they allow is refused. 0
  // for grammars that are not very ambiguous.
  std::uint64_t dropped() const;
  std::size_t table_bytes() const;  // of states and what they refer to
  std::size_t mask_bytes() const;   // of cached masks

 private:
  explicit Grammar(std::shared_ptr<const GrammarProgram> program);
  bool longer_allowed(const AllowedTokens& next, TokenId token) const;
  std::shared_ptr<const GrammarProgram> program_;
  std::unique_ptr<GrammarTables> tables_;
};
inline constexpr TokenId kNoToken = ~TokenId{0};

}  // namespace longhaul::tools
