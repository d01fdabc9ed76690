// One step of the pushdown machine over frames, and the tables that intern what it meets. Internal to tools/: see
// grammar.h. A frame is plain data; the top of a configuration is carried by value, so that walking a vocabulary does
// not fill the tables with tops that nobody returns to.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tools/char_class.h"
#include "tools/grammar_program.h"
#include "tools/id_table.h"

namespace longhaul::tools {

enum class FrameKind : std::uint8_t {
  kDone,           // a JSON document is complete
  kValue,          // before a value
  kString,         // inside a string value
  kPatternString,  // the same, with more to mind: a pattern, or other elements that it must differ from
  kKey,            // inside a property name
  kPatternKey,     // inside a property name of a class with a pattern
  kNumber,         // inside a number
  kLiteral,        // inside true, false, null, True, False, None
  kObject,         // between the parts of an object
  kArray,          // between the parts of an array
  kThink,          // reasoning
  kContent,        // free text before any call
  kHeader,         // after the control token that opens a call
  kTail,           // on the way through value_close and what follows it
  kParameterKey,   // a free parameter name
  kParameterOpen,  // after parameter_key_end: value_open
  kRaw,            // a string's raw text
  kPatternRaw,     // the same with a pattern
  kRawSet,         // raw text that must be one of a set
  kCallTail,       // after arguments in JSON: function_close, or the end of a structural tag
  kMoreCalls,      // text formats: after a call in a list
  kFunctionEnd,    // after function_close
  kAfterCall,      // after the control token that closes a call
  kTextStart,      // before a text of a user's grammar
  kText,           // inside one
  kTextCall,       // a rule of it that is open
  kResponse,       // before an answer in a given form, or a call
  kResponseEnd,    // after such an answer in JSON
  kEnd,            // after the stop token
  kAbove,          // of the graph of configurations only: what a value is in, left out
};

enum Phase : std::uint8_t { kAfterOpen, kAfterKey, kAfterComma, kInside, kAfterValue };

struct Frame {
  FrameKind kind = FrameKind::kDone;
  std::uint8_t phase = 0;  // of the kind: Phase, string state, position in a literal
  std::uint8_t space = 0;  // whitespace so far, as far as it matters; 255: none may come
  Region region = Region::kJson;
  std::uint16_t depth = 0;  // of nesting of JSON containers
  std::uint16_t flags = 0;
  std::uint32_t node = 0;  // GrammarNode, tool or start
  std::uint32_t a = 0, b = 0, c = 0;
  std::uint32_t parent = 0;  // interned frame below
  std::uint32_t delta = 0;   // counting frames, interned: own count minus the state's
  std::uint64_t h = 0;       // hash of an open or not yet recorded extra key

  friend bool operator==(const Frame& x, const Frame& y) { return std::memcmp(&x, &y, sizeof(Frame)) == 0; }
};
static_assert(sizeof(Frame) == 40, "no padding: frames are hashed as bytes");

inline constexpr std::uint16_t kPythonLiterals = 1;  // True, False, None may be written
inline constexpr std::uint16_t kMayLeaveTrie = 2;    // keys outside the schema are allowed
inline constexpr std::uint16_t kHashed = 4;          // inside an element of an array of unique elements
inline constexpr std::uint16_t kElement = 8;         // such an element itself
inline constexpr std::uint16_t kSingleCall = 16;     // frames of a call: it stands alone, in no list
inline constexpr std::uint8_t kNoSpace = 255;
inline constexpr std::uint16_t kDepthMax = 256;

// What a frame of kLiteral is in, by Frame::a.
inline constexpr std::array<std::string_view, 6> kLiterals{"true", "false", "null", "True", "False", "None"};

inline constexpr std::uint64_t kHashBasis = 14695981039346656037ULL;
inline constexpr std::uint64_t kHashPrime = 1099511628211ULL;

// FNV-1a, never zero.
inline std::uint64_t hash_step(std::uint64_t h, std::uint8_t byte) {
  h = (h ^ byte) * kHashPrime;
  return h == 0 ? 1 : h;
}

struct Config {
  Frame top;
  std::uint32_t count = 0;  // code points of the string being read, in frames that count
};

inline bool counts(FrameKind kind) {
  return kind == FrameKind::kString || kind == FrameKind::kPatternString || kind == FrameKind::kRaw ||
         kind == FrameKind::kPatternRaw;
}

// Hashes of values, the same for all spellings: for elements that must differ. Like those of keys they have 64 bits: a
// collision could refuse a value, never let one through twice.
enum class ValueTag : std::uint8_t { kLiteral, kNumber, kString, kArray, kObject, kMember };
std::uint64_t value_hash(ValueTag tag, std::uint64_t content);
// An object's accumulated text with the hash of the key whose value comes next.
std::string with_key_hash(const std::string& text, std::uint64_t key);

// Elements so far of an array of unique ones: hashes of all, and the numbers among them.
struct UsedValues {
  std::vector<std::uint64_t> hashes;  // sorted
  std::vector<Decimal> numbers;       // ascending

  bool has(std::uint64_t hash) const { return std::binary_search(hashes.begin(), hashes.end(), hash); }
};

// Which properties an object has so far.
struct SeenKeys {
  std::vector<std::uint64_t> bits;   // by property index
  std::vector<std::uint64_t> extra;  // hashes of other keys, sorted
  std::uint32_t count = 0, required = 0;

  bool has(std::uint32_t i) const { return i / 64 < bits.size() && ((bits[i / 64] >> (i % 64)) & 1) != 0; }
  friend bool operator==(const SeenKeys&, const SeenKeys&) = default;
};

// How a text may go on, between two characters.
struct FreeChars {
  static constexpr std::size_t kLevels = 32;
  // Up to i + 1 characters of the classes most[i] may follow whichever they are; no escape and nothing that may end the
  // text is among them. Zero where that cannot be told.
  std::array<CharClasses, kLevels> most{};
  // So many of these levels are told, the others are zero: all of them, or as many as characters of the last one's
  // classes may come. Else zero.
  std::size_t length = 0;
  // Behind up to `length` characters of those classes, less than kLevels, none of these may follow.
  CharClasses dead = 0;
};

// Interned frames, key sets and number texts. Ids are dense and never change.
class Interner {
 public:
  Interner();
  std::uint32_t frame(const Frame& frame);
  const Frame& frame(std::uint32_t id) const { return frames_[id]; }
  std::size_t frame_count() const { return frames_.size(); }
  std::uint32_t keys(SeenKeys keys);
  const SeenKeys& keys(std::uint32_t id) const { return keys_[id]; }
  // The set with one more property.
  std::uint32_t with_key(std::uint32_t id, std::uint32_t i, bool required);
  std::uint32_t text(const std::string& text);
  const std::string& text(std::uint32_t id) const { return *texts_[id]; }
  const UsedValues& used(std::uint32_t id) const { return used_[id]; }
  std::uint32_t with_used(std::uint32_t id, std::uint64_t hash, const std::optional<Decimal>& number);
  // The patterns of a schema, as they have been walked here.
  RegexPool& patterns(const Schema* schema);
  // The languages of a user's grammar; there is one at most.
  RegexPool& parts(const TextGrammar& text);
  std::size_t bytes() const;

 private:
  std::vector<Frame> frames_;
  IdTable frame_ids_;
  std::vector<SeenKeys> keys_;
  IdTable key_ids_;
  std::unordered_map<std::uint64_t, std::uint32_t> with_key_;  // by set, property and whether it is required
  std::vector<const std::string*> texts_;
  std::unordered_map<std::string, std::uint32_t> text_ids_;
  std::vector<UsedValues> used_;
  std::map<std::vector<std::uint64_t>, std::uint32_t> used_ids_;
  std::vector<std::pair<const Schema*, std::unique_ptr<RegexPool>>> patterns_;
  std::unique_ptr<RegexPool> parts_;
  std::size_t bytes_ = 0;
};

class Automaton {
 public:
  Automaton(const GrammarProgram& program, Interner& interner) : p_(program), in_(interner) {}

  // Where a text begins.
  Config start(bool thinking);
  // The frame that stands for the object or array that a value is in. A step that would end the value leads to it.
  std::uint32_t above();
  // Nothing that the value may go on with depends on what it is in, and that is an object or an array.
  bool stands_alone(const Frame& value) const;
  // All configurations after a byte, without repeats. At most kConfigsMax are followed; what a schema with more
  // overlapping alternatives would allow beyond is refused, never the reverse.
  void step(const std::vector<Config>& from, std::uint8_t byte, std::vector<Config>& to);
  void step_control(const std::vector<Config>& from, TokenId token, std::vector<Config>& to);
  // Adds the bytes that may follow; of some kinds all. Those left out are refused whatever hash a text has.
  void may_follow(const Config& config, ByteSet& bytes);
  // Any whitespace may come, and changes nothing.
  bool skips_whitespace(const Config& config) const;
  bool complete(const Config& config);
  // How many of the latest bytes are part of a possible terminator.
  std::size_t pending(const Config& config) const;
  // Between two characters of a quoted text: any may come, and what may follow it is the same as here (but for the
  // count and, of keys, which name it is).
  bool takes_any_text(const Frame& frame);
  // Property names that a schema does not name: does the one that `key` begins (a frame of kKey that takes any text)
  // and `rest` ends differ from all others there in nothing but its hash? `rest` has no escape.
  bool is_other_name(const Frame& key, std::string_view rest) const;
  // Names of the schema: with `name` read, can one that may still come be reached?
  bool name_open(const Frame& key, std::uint32_t name) const { return trie_viable(key, name); }
  // What can be told of a text without following it; of all else nothing.
  void free_chars(const Config& config, FreeChars& chars);
  // Limits of a counting configuration.
  std::pair<std::uint32_t, std::uint32_t> limits(const Config& config) const;

  // Since the last call some step's outcome depended on the hash of the text that was being read.
  bool took_hash() { return std::exchange(took_hash_, false); }

  static constexpr std::size_t kConfigsMax = 256;
  std::uint64_t dropped() const { return dropped_; }

 private:
  void step(const Config& config, std::uint8_t byte, std::vector<Config>& to);
  void step_value(const Config& config, std::uint8_t byte, std::vector<Config>& to);
  void step_number(const Config& config, std::uint8_t byte, std::vector<Config>& to);
  void step_literal(Config config, std::uint8_t byte, std::vector<Config>& to);
  void step_string(Config config, std::uint8_t byte, std::vector<Config>& to);
  void step_object(Config config, std::uint8_t byte, std::vector<Config>& to);
  void step_array(Config config, std::uint8_t byte, std::vector<Config>& to);
  void step_text(Config config, std::uint8_t byte, std::vector<Config>& to);
  void step_header(Config config, std::uint8_t byte, std::vector<Config>& to);
  void step_content(Config config, std::uint8_t byte, std::vector<Config>& to);
  void step_call_tail(Config config, std::uint8_t byte, std::vector<Config>& to);
  void step_more_calls(Config config, std::uint8_t byte, std::vector<Config>& to);
  void begin_call(std::int32_t terminal, std::vector<Config>& to);
  void end_call(const Frame& from, std::vector<Config>& to);
  void step_tail(Config config, std::uint8_t byte, std::vector<Config>& to);
  void step_parameter_key(Config config, std::uint8_t byte, std::vector<Config>& to);
  void step_parameter_open(Config config, std::uint8_t byte, std::vector<Config>& to);
  void step_raw(Config config, std::uint8_t byte, std::vector<Config>& to);
  void step_raw_set(Config config, std::uint8_t byte, std::vector<Config>& to);

  void step_pattern_raw(Config config, std::uint8_t byte, std::vector<Config>& to);

  struct TextSite {
    std::uint32_t parent = 0;
    std::uint16_t depth = 0;
    Region region = Region::kJson;
  };
  void step_rules(const Config& config, std::uint8_t byte, std::vector<Config>& to);
  void step_part(Config config, std::uint8_t byte, std::vector<Config>& to);
  void enter_rule(std::uint32_t rule, const TextSite& site, std::uint8_t byte, std::vector<Config>& to);
  void enter_position(std::uint32_t id, const TextSite& site, std::uint8_t byte, std::vector<Config>& to);
  void follow_position(std::uint32_t id, TextSite site, std::uint8_t byte, std::vector<Config>& to);
  void free_in_part(const Frame& frame, FreeChars& chars);
  // Characters that may come after the part that `frame` is in, by the classes that have some of them.
  CharClasses follow_classes(const Frame& frame);
  bool text_ended(const Config& config);
  Config before_content() const;
  void step_response(Config config, std::uint8_t byte, std::vector<Config>& to);
  bool response_ended(const Config& config);

  void reach(const Frame& from, std::int32_t terminal, std::vector<Config>& to);
  bool space(std::uint8_t byte, std::uint8_t& state) const;
  // The value of `config` is read. `hash` counts only where elements must differ: then nothing follows one that is
  // there already.
  void pop(const Config& config, std::uint64_t hash, const std::optional<Decimal>& number, std::vector<Config>& to);
  NumberRule number_rule(const Frame& frame) const;
  void close_key(const Config& key, std::vector<Config>& to);
  enum class Read { kDead, kMore, kClose };
  Read read_string(Config& config, std::uint8_t byte, std::uint32_t max);
  void string_may_follow(const Frame& frame, ByteSet& bytes);
  bool emit(Frame& frame, std::uint8_t byte);
  bool emit_code_point(Config& config, std::uint32_t code_point);
  bool trie_viable(const Frame& frame, std::uint32_t trie) const;
  bool escape_viable(const Config& config);
  void next_code_points(const Frame& frame, std::uint32_t trie, std::uint32_t value, int left,
                        std::vector<std::uint32_t>& out) const;
  // For text with a pattern: what may follow a character, or a part of one that leaves the range.
  bool take_char(Config& config, std::uint32_t code_point);
  bool chars_open(const Config& config, std::uint32_t from, std::uint32_t to, int consumed);
  bool text_open(const Config& config);
  LengthWindow window(const Config& config) const;
  RegexPool& pool_of(const Frame& frame);
  bool taken(const Frame& frame, std::uint64_t hash, std::uint32_t trie, std::string_view rest);
  std::size_t taken_max(const Frame& frame) const;
  bool some_free(const Frame& frame, std::uint64_t hash, const std::string& begun, RegexId state, LengthWindow rest);
  bool set_value_free(const Frame& frame) const;

  // Property bookkeeping, the same for JSON objects and for a call's parameters.
  bool can_close(const ObjectRule& rule, const SeenKeys& seen, std::uint32_t pending, std::uint32_t some) const;
  bool can_add(const ObjectRule& rule, NodeId base, const SeenKeys& seen, std::uint32_t pending, std::uint32_t i,
               std::uint16_t depth, std::uint32_t some) const;
  bool can_add_extra(const GrammarNode& node, std::uint32_t key_class, const SeenKeys& seen, std::uint64_t pending,
                     std::uint16_t depth, std::uint32_t some);
  bool can_add_any(const GrammarNode& node, const SeenKeys& seen, std::uint64_t pending, std::uint16_t depth,
                   std::uint32_t some);
  std::uint32_t still_required(const ObjectRule& rule, const SeenKeys& seen, std::uint32_t added) const;
  bool any_terminal(const Frame& frame, std::uint32_t trie);
  bool terminal_open(const Frame& frame, std::int32_t terminal);
  std::uint32_t with_extra(std::uint32_t seen, std::uint64_t hash);
  std::uint32_t height(NodeId base, NodeId id) const {
    return id == kNoNode ? kNoLimit : p_.nodes[base + id].node->height;
  }
  bool can_add_extra_after(const GrammarNode& node, const SeenKeys& seen, std::uint32_t pending,
                           std::uint32_t some) const;
  bool element_free(const GrammarNode& node, NodeId item, std::uint32_t used);
  // The node that stands for all with the values of this one.
  NodeId value_node(const GrammarNode& around, NodeId id) const {
    return around.base + p_.nodes[around.base + id].node->alike;
  }

  const GrammarProgram& p_;
  Interner& in_;
  bool took_hash_ = false;
  std::uint64_t dropped_ = 0;           // configurations that were too many
  std::vector<std::uint64_t> entered_;  // rules begun at one byte, by parent
  struct {
    std::uint32_t node = 0, parent = 0;
    std::uint16_t depth = 0;
    bool known = false;
    CharClasses classes = 0;
  } followed_;  // what follow_classes() gave last
};

}  // namespace longhaul::tools
