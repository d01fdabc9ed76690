// JSON Schema (2020-12, and the older drafts where they mean the same) to a normalised graph of nodes that the grammar
// walks. Contract C7: every keyword is enforced exactly, or refused by name and place; keywords that only annotate are
// listed. Knows nothing of tokens or of tool-call formats.
//
// Enforced are all keywords of 2020-12 that constrain a value, and their older spellings (items as a list,
// additionalItems, dependencies, definitions, id, boolean exclusiveMinimum, $recursiveRef); `format` for the names that
// 2020-12 defines. What combinations of them are refused, with kUnsupported and the place, stands in tools/README.md.
// Listed as annotations: description title default examples $comment deprecated readOnly writeOnly, $schema, $id and
// anchors, `format` names that 2020-12 does not define (all names when formats only annotate), keywords that say
// nothing where they stand (minContains without contains; anything beside $ref up to draft 7), and names that no
// dialect gives a meaning to.
#pragma once

#include <boost/container/small_vector.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/base/result.h"
#include "tools/decimal.h"
#include "tools/regex.h"

namespace longhaul::tools {

using NodeId = std::uint32_t;
inline constexpr NodeId kNoNode = ~NodeId{0};
inline constexpr std::uint32_t kNoLimit = ~std::uint32_t{0};

enum TypeBit : std::uint8_t {
  kNullBit = 1,
  kFalseBit = 2,
  kTrueBit = 4,
  kNumberBit = 8,
  kStringBit = 16,
  kArrayBit = 32,
  kObjectBit = 64,
  kAllTypes = 127,
};

struct StringRule {
  std::uint32_t min = 0, max = kNoLimit;  // code points
  bool is_set = false;                    // one of `values` (sorted, unique), and nothing else here counts
  std::vector<std::string> values;
  RegexId pattern = kAnyText;  // of the schema's patterns()

  bool any() const { return !is_set && min == 0 && max == kNoLimit && pattern == kAnyText; }
  friend bool operator==(const StringRule&, const StringRule&) = default;
};

struct Property {
  std::string name;
  NodeId node = kNoNode;  // kNoNode: may not appear
  bool required = false;
  // Properties (indices) that must be there if this one is, itself among them; empty: none.
  std::vector<std::uint32_t> brings;
};

// Keys that no property names, by the language they are in. Classes of one object do not overlap.
struct KeyClass {
  RegexId names = kAnyText;
  NodeId node = kNoNode;
  std::uint64_t n_keys = 0;  // how many there are besides the named ones; saturates at kManyKeys
};
inline constexpr std::uint64_t kManyKeys = std::uint64_t{1} << 40;

// Some key of a class must have a value that fits `node`.
struct SomeKey {
  std::uint32_t key_class = 0;
  NodeId node = kNoNode;
};

struct ObjectRule {
  std::vector<Property> properties;                     // sorted by name
  boost::container::small_vector<KeyClass, 1> classes;  // a key that is in none may not appear
  std::vector<SomeKey> some;                            // at most 8
  bool additional_given = false;                        // the schema says additionalProperties itself
  bool implications = false;                            // some property brings another
  std::uint32_t min = 0, max = kNoLimit;
  std::uint32_t n_required = 0;

  // The node of any key that is not named, if they are all alike; else kNoNode.
  NodeId additional() const { return classes.size() == 1 && classes[0].names == kAnyText ? classes[0].node : kNoNode; }
};

// Between `min` and `max` of the elements from index `from` on fit `node`.
struct Contains {
  NodeId node = kNoNode;
  std::uint32_t from = 0, min = 1, max = kNoLimit;

  friend bool operator==(const Contains&, const Contains&) = default;
};

// One way for an element to count: it fits `node`, and adds one to each Contains in `counts`.
struct Element {
  NodeId node = kNoNode;
  std::uint32_t counts = 0;  // bits
};

struct ArrayRule {
  std::vector<NodeId> prefix;
  NodeId items = kNoNode;  // elements after the prefix; kNoNode: none
  std::uint32_t min = 0, max = kNoLimit;
  bool unique = false;
  std::vector<Contains> contains;              // at most 4
  std::vector<std::vector<Element>> elements;  // with contains: by index, the last for all further ones
};

// What values a place may hold: a union by type of the rules below, or the union of `any_of`.
struct Node {
  std::uint8_t types = kAllTypes;
  NumberRule number;
  StringRule string;
  ArrayRule array;
  ObjectRule object;
  std::vector<NodeId> any_of;  // if not empty, the node is their union and nothing else here counts
  // Filled last: the nodes without any_of that this one comes down to. Of those that hold the same scalars it is the
  // first one, so that what is found out about one place is known of the others.
  boost::container::small_vector<NodeId, 2> choices;
  NodeId alike = kNoNode;                             // the first node with these choices
  std::string place;                                  // JSON pointer of the schema it came from
  std::uint32_t height = 0;                           // least nesting of a value that fits; kNoLimit: none fits
  std::uint32_t array_height = 0, object_height = 0;  // the same for one type
};

struct SchemaNote {
  std::string place;
  std::string keyword;
  std::string text;  // e.g. the format's name

  friend bool operator==(const SchemaNote&, const SchemaNote&) = default;
};

struct SchemaOptions {
  bool formats_annotate = false;  // `format` is listed, never asserted
  // A name that no dialect gives a meaning to is listed, as the specification says; true refuses it, unless it begins
  // with "x-": in a tool's schema it is most often a misspelt rule, which nobody would enforce (C7).
  bool refuse_unknown = false;
  std::size_t depth_max = 256;  // nesting of the schema
  std::size_t nodes_max = 100'000;
};

// Immutable once compiled; share by reference from any thread.
class Schema {
 public:
  const Node& node(NodeId id) const { return nodes_[id]; }
  std::size_t size() const { return nodes_.size(); }
  NodeId root() const { return root_; }
  const std::vector<SchemaNote>& annotations() const { return annotations_; }
  // Places (other than the root) that no value fits: legal, but most often a mistake.
  const std::vector<std::string>& unsatisfiable() const { return unsatisfiable_; }
  // The languages that string rules and key classes name. Copy it to walk them: a walk makes states.
  const RegexPool& patterns() const { return patterns_; }
  // Is `text` in the language? Safe from any thread.
  bool matches(RegexId id, std::string_view text) const;

 private:
  friend class SchemaCompiler;
  std::vector<Node> nodes_;
  NodeId root_ = kNoNode;
  std::vector<SchemaNote> annotations_;
  std::vector<std::string> unsatisfiable_;
  RegexPool patterns_;
  mutable std::mutex mutex_;  // of walks_
  mutable std::unique_ptr<RegexPool> walks_;
};

// kUnsupported: a keyword (or combination) that is not enforced, with its name and JSON pointer. kInvalidArgument: not
// a schema, or no value fits it. kResourceExhausted: a limit. Every message ends with the place, "#" being the root.
Result<std::shared_ptr<const Schema>> compile_schema(const json::value& schema, const SchemaOptions& options = {});

// Does `value` fit `schema`? Reads the schema itself, not the compiled nodes, so that the two can be held against each
// other. `place` in errors is the pointer into the value. The schema is one that compile_schema accepts;
// `format` is always asserted here.
Result<void> validate(const json::value& schema, const json::value& value);
// The same for the subschema `part` of `schema` (references resolve from `schema`).
Result<void> validate_part(const json::value& schema, const json::value& part, const json::value& value);

// JSON equality: numbers by value (1 equals 1.0), objects regardless of order.
bool json_equal(const json::value& a, const json::value& b);
Decimal decimal_of(const json::value& number);
// Code points of valid UTF-8.
std::size_t count_code_points(std::string_view text);
// `/a~1b` style; the root is "".
std::string pointer_append(std::string_view pointer, std::string_view key);
// The value at a JSON pointer, or null.
const json::value* resolve_pointer(const json::value& document, std::string_view pointer);

}  // namespace longhaul::tools
