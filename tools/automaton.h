// One step of the pushdown machine over frames, and the tables that intern what it meets. Internal to tools/: see
// grammar.h. A frame is plain data; the top of a configuration is carried by value, so that walking a vocabulary does
// not fill the tables with tops that nobody returns to.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <unordered_map>
#include <vector>

#include "tools/grammar_program.h"

namespace longhaul::tools {

enum class FrameKind : std::uint8_t {
  kDone,           // a JSON document is complete
  kValue,          // before a value
  kString,         // inside a string value
  kKey,            // inside a property name
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
  kRawSet,         // raw text that must be one of a set
  kFunctionEnd,    // after function_close
  kAfterCall,      // after the control token that closes a call
  kEnd,            // after the stop token
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
inline constexpr std::uint8_t kNoSpace = 255;
inline constexpr std::uint16_t kDepthMax = 256;

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
  return kind == FrameKind::kString || kind == FrameKind::kRaw;
}

// Which properties an object has so far.
struct SeenKeys {
  std::vector<std::uint64_t> bits;   // by property index
  std::vector<std::uint64_t> extra;  // hashes of other keys, sorted
  std::uint32_t count = 0, required = 0;

  bool has(std::uint32_t i) const { return i / 64 < bits.size() && ((bits[i / 64] >> (i % 64)) & 1) != 0; }
  friend bool operator==(const SeenKeys&, const SeenKeys&) = default;
};

// Interned frames, key sets and number texts. Ids are dense and never change.
class Interner {
 public:
  Interner();
  std::uint32_t frame(const Frame& frame);
  const Frame& frame(std::uint32_t id) const { return frames_[id]; }
  std::uint32_t keys(SeenKeys keys);
  const SeenKeys& keys(std::uint32_t id) const { return keys_[id]; }
  std::uint32_t text(const std::string& text);
  const std::string& text(std::uint32_t id) const { return *texts_[id]; }
  std::size_t bytes() const { return bytes_; }

 private:
  struct FrameHash {
    std::size_t operator()(const Frame& frame) const;
  };
  std::vector<Frame> frames_;
  std::unordered_map<Frame, std::uint32_t, FrameHash> frame_ids_;
  std::vector<SeenKeys> keys_;
  std::unordered_multimap<std::uint64_t, std::uint32_t> key_ids_;
  std::vector<const std::string*> texts_;
  std::unordered_map<std::string, std::uint32_t> text_ids_;
  std::size_t bytes_ = 0;
};

class Automaton {
 public:
  Automaton(const GrammarProgram& program, Interner& interner) : p_(program), in_(interner) {}

  // Where a text begins.
  Config start(bool thinking);
  // All configurations after a byte, without repeats. At most kConfigsMax are followed; what a schema with more
  // overlapping alternatives would allow beyond is refused, never the reverse.
  void step(const std::vector<Config>& from, std::uint8_t byte, std::vector<Config>& to);
  void step_control(const std::vector<Config>& from, TokenId token, std::vector<Config>& to);
  bool complete(const Config& config);
  // How many of the latest bytes are part of a possible terminator.
  std::size_t pending(const Config& config) const;
  // Limits of a counting configuration.
  std::pair<std::uint32_t, std::uint32_t> limits(const Config& config) const;

  static constexpr std::size_t kConfigsMax = 256;

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
  void step_tail(Config config, std::uint8_t byte, std::vector<Config>& to);
  void step_parameter_key(Config config, std::uint8_t byte, std::vector<Config>& to);
  void step_parameter_open(Config config, std::uint8_t byte, std::vector<Config>& to);
  void step_raw(Config config, std::uint8_t byte, std::vector<Config>& to);
  void step_raw_set(Config config, std::uint8_t byte, std::vector<Config>& to);

  void pop(const Config& config, std::vector<Config>& to);
  void close_key(const Config& key, std::vector<Config>& to);
  void reach(const Frame& from, std::int32_t terminal, std::vector<Config>& to);
  bool space(std::uint8_t byte, std::uint8_t& state) const;

  // The string reader shared by values and keys.
  enum class Read { kDead, kMore, kClose };
  Read read_string(Config& config, std::uint8_t byte, std::uint32_t max);
  bool emit(Frame& frame, std::uint8_t byte);
  bool emit_code_point(Frame& frame, std::uint32_t code_point);
  bool trie_viable(const Frame& frame, std::uint32_t trie) const;
  bool escape_viable(const Frame& frame) const;
  void next_code_points(const Frame& frame, std::uint32_t trie, std::uint32_t value, int left,
                        std::vector<std::uint32_t>& out) const;

  // Property bookkeeping, the same for JSON objects and for a call's parameters.
  bool can_close(const ObjectRule& rule, const SeenKeys& seen, std::uint32_t pending) const;
  bool can_add(const ObjectRule& rule, NodeId base, const SeenKeys& seen, std::uint32_t pending, std::uint32_t i,
               std::uint16_t depth) const;
  bool can_add_extra(const ObjectRule& rule, NodeId base, const SeenKeys& seen, std::uint32_t pending,
                     std::uint16_t depth) const;
  bool can_add_any(const GrammarNode& node, const SeenKeys& seen, std::uint32_t pending, std::uint16_t depth) const;
  bool any_terminal(const Frame& frame, std::uint32_t trie) const;
  bool terminal_open(const Frame& frame, std::int32_t terminal) const;
  std::uint32_t with_key(std::uint32_t seen, std::uint32_t i, bool required);
  std::uint32_t with_extra(std::uint32_t seen, std::uint64_t hash);
  std::uint32_t height(NodeId base, NodeId id) const {
    return id == kNoNode ? kNoLimit : p_.nodes[base + id].node->height;
  }

  const GrammarProgram& p_;
  Interner& in_;
  std::vector<Config> scratch_;
};

}  // namespace longhaul::tools
