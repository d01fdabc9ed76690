// Schema to nodes, in three steps: the document is read into expressions (schema_reader), expressions are brought to
// unions of terms as far as values can reach them (schema_graph), and terms become the nodes that the grammar walks.
// Values that no node can hold are found last, by a least fixed point over nesting heights.
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "tools/array_plan.h"
#include "tools/json_schema.h"
#include "tools/schema_alike.h"
#include "tools/schema_graph.h"
#include "tools/schema_reader.h"

namespace longhaul::tools {
namespace {

constexpr std::size_t kSomeMax = 8, kContainsMax = 4;

// Looked at before anything walks the document without a limit of its own (copying it, for one).
bool nested_deeper(const json::value& value, std::size_t levels) {
  if (!value.is_structured()) return false;
  if (levels == 0) return true;
  if (const auto* array = value.if_array()) {
    return std::any_of(array->begin(), array->end(),
                       [&](const json::value& v) { return nested_deeper(v, levels - 1); });
  }
  const auto& object = value.get_object();
  return std::any_of(object.begin(), object.end(), [&](const auto& m) { return nested_deeper(m.value(), levels - 1); });
}

std::string at(std::string_view place) {
  return place.empty() ? "#" : "#" + std::string(place);
}

}  // namespace

class SchemaCompiler {
 public:
  SchemaCompiler(const json::value& schema, const SchemaOptions& options)
      : document_(schema),
        schema_(std::make_shared<Schema>()),
        options_(options),
        graph_(schema_->patterns_, options_.nodes_max) {}

  Result<std::shared_ptr<const Schema>> run() {
    auto dialect = read_dialect();
    if (!dialect) return dialect.error();
    SchemaReader reader(document_, options_, graph_, draft_);
    auto root = reader.read();
    if (graph_.error()) return *graph_.error();
    if (!root) return root.error();
    schema_->annotations_ = reader.annotations();
    schema_->root_ = node_of(*root);
    if (graph_.error()) return *graph_.error();
    if (schema_->root_ == kNoNode) return invalid_argument("no value fits the schema at #");
    while (!unfilled_.empty() && !graph_.error()) {
      const auto [term, id] = unfilled_.back();
      unfilled_.pop_back();
      fill(term, id);
    }
    if (graph_.error()) return *graph_.error();
    settle();
    auto unique = settle_unique();
    if (!unique) return unique.error();
    if (node(schema_->root_).height == kNoLimit) {
      return invalid_argument("no value fits the schema at " + at(blame(schema_->root_)));
    }
    prune(reader);
    return std::shared_ptr<const Schema>(schema_);
  }

 private:
  Node& node(NodeId id) { return schema_->nodes_[id]; }

  NodeId add(Node node) {
    if (schema_->nodes_.size() >= options_.nodes_max) {
      graph_.fail(make_error(ErrorCode::kResourceExhausted,
                             fmt::format("schema has more than {} nodes at {}", options_.nodes_max, at(node.place))));
      return 0;
    }
    schema_->nodes_.push_back(std::move(node));
    return static_cast<NodeId>(schema_->nodes_.size() - 1);
  }

  Result<void> read_dialect() {
    const auto* object = document_.if_object();
    if (object == nullptr) return {};
    const auto* name = object->if_contains("$schema");
    if (name == nullptr) return {};
    if (!name->is_string()) return invalid_argument("$schema is not a string at #/$schema");
    std::string_view text = name->get_string();
    for (std::string_view scheme : {"https://", "http://"}) {
      if (text.substr(0, scheme.size()) == scheme) text.remove_prefix(scheme.size());
    }
    while (!text.empty() && (text.back() == '#' || text.back() == '/')) text.remove_suffix(1);
    if (text == "json-schema.org/draft/2020-12/schema") return {};
    if (text == "json-schema.org/draft/2019-09/schema") {
      draft_ = 8;
      return {};
    }
    for (int draft : {4, 6, 7}) {
      if (text == fmt::format("json-schema.org/draft-0{}/schema", draft)) {
        draft_ = draft;
        return {};
      }
    }
    if (text == "json-schema.org/schema") return {};
    return unsupported(fmt::format("dialect \"{}\" at #/$schema", std::string_view(name->get_string())));
  }

  // --- from expressions to nodes

  static NodeId known_node(const std::vector<NodeId>& nodes, std::uint32_t id) {
    return id < nodes.size() ? nodes[id] : kNoNode;
  }

  static void remember(std::vector<NodeId>& nodes, std::uint32_t id, NodeId node) {
    if (id >= nodes.size()) nodes.resize(std::max<std::size_t>(id + 1, 2 * nodes.size()), kNoNode);
    nodes[id] = node;
  }

  NodeId node_of(ExprId expr) {
    if (expr == kNoneExpr) return kNoNode;
    if (const NodeId known = known_node(by_expr_, expr); known != kNoNode) return known;
    const TermIds terms = graph_.terms(expr);
    if (graph_.error()) return kNoNode;
    NodeId id;
    if (terms.size() == 1) {
      id = node_of_term(terms[0]);
    } else {
      Node all;
      all.types = 0;
      all.place = graph_.place(expr);
      for (const TermId term : terms) all.any_of.push_back(node_of_term(term));
      id = add(std::move(all));
    }
    remember(by_expr_, expr, id);
    return id;
  }

  NodeId node_of_term(TermId term) {
    if (const NodeId known = known_node(by_term_, term); known != kNoNode) return known;
    Node unfilled;
    unfilled.place = graph_.node(term).place;
    const NodeId id = add(std::move(unfilled));
    remember(by_term_, term, id);
    unfilled_.emplace_back(term, id);
    return id;
  }

  void fill(TermId term, NodeId id) {
    Node n = graph_.node(term);
    // What a type does not use is not followed.
    if ((n.types & kArrayBit) != 0) {
      fill_array(n);
    } else {
      n.array = {};
    }
    if ((n.types & kObjectBit) != 0) {
      fill_object(n);
    } else {
      n.object = {};
    }
    node(id) = std::move(n);
  }

  void fill_array(Node& n) {
    ArrayRule& rule = n.array;
    if (rule.max <= 1) rule.unique = false;
    if (rule.contains.size() > kContainsMax || (rule.contains.size() > 1 && array_counts(rule) > kArrayCountsMax)) {
      graph_.fail(unsupported("so many \"contains\" together are not enforced at " + at(n.place)));
      return;
    }
    if (!rule.contains.empty()) {
      for (const Contains& c : rule.contains) {
        if (c.from > rule.prefix.size()) rule.prefix.resize(c.from, rule.items);
      }
      for (std::uint32_t i = 0; i <= rule.prefix.size(); ++i) {
        const ExprId base = i < rule.prefix.size() ? rule.prefix[i] : rule.items;
        std::vector<Element> ways;
        for (std::uint32_t set = 0; set < (1U << rule.contains.size()); ++set) {
          Parts parts{base};
          bool sense = true;
          for (std::size_t k = 0; k < rule.contains.size(); ++k) {
            const Contains& c = rule.contains[k];
            const bool in = (set >> k & 1) != 0;
            if (in && c.from > i) sense = false;
            if (in) parts.push_back(c.node);
            // What is only asked for at least may be there uncounted.
            if (!in && c.from <= i && c.max != kNoLimit) parts.push_back(graph_.negation(c.node, n.place));
          }
          if (!sense) continue;
          const NodeId way = node_of(graph_.both(parts, n.place));
          if (graph_.error()) return;
          if (way != kNoNode) ways.push_back({way, set});
        }
        rule.elements.push_back(std::move(ways));
      }
      for (Contains& c : rule.contains) c.node = kNoNode;  // now in the elements
    }
    for (NodeId& part : rule.prefix) part = node_of(part);
    rule.items = node_of(rule.items);
  }

  void fill_object(Node& n) {
    ObjectRule& rule = n.object;
    for (Property& p : rule.properties) {
      p.node = node_of(p.node);
      rule.implications = rule.implications || !p.brings.empty();
    }
    // Whatever is brought brings more.
    for (std::uint32_t i = 0; rule.implications && i < rule.properties.size(); ++i) {
      std::vector<std::uint32_t>& all = rule.properties[i].brings;
      if (all.empty()) continue;
      all.push_back(i);
      for (std::size_t k = 0; k < all.size(); ++k) {
        for (const std::uint32_t more : rule.properties[all[k]].brings) {
          if (std::find(all.begin(), all.end(), more) == all.end()) all.push_back(more);
        }
      }
      std::sort(all.begin(), all.end());
    }
    if (rule.implications && rule.max != kNoLimit && rule.min > rule.n_required) {
      graph_.fail(unsupported("dependentRequired together with minProperties and maxProperties is not enforced at " +
                              at(n.place)));
    }
    if (rule.some.size() > kSomeMax || (rule.some.size() > 1 && rule.max != kNoLimit)) {
      graph_.fail(unsupported("so many alternatives over unnamed keys are not enforced at " + at(n.place)));
    }
    for (KeyClass& c : rule.classes) {
      c.node = node_of(c.node);
      if (graph_.error()) return;
      c.n_keys = schema_->patterns_.count(c.names, kManyKeys);
      if (c.n_keys == kManyKeys) continue;
      for (const Property& p : rule.properties) {
        if (schema_->patterns_.matches(c.names, p.name) && c.n_keys > 0) --c.n_keys;
      }
    }
    for (SomeKey& s : rule.some) {
      s.node = node_of(s.node);
      if (rule.classes[s.key_class].n_keys != kManyKeys) {
        graph_.fail(unsupported("alternatives over few unnamed keys are not enforced at " + at(n.place)));
      }
    }
  }

  // --- what can be at all

  // Heights by rounds: a node's height is known once a value of that nesting fits. What never gets one is empty.
  void settle() {
    auto& nodes = schema_->nodes_;
    for (Node& n : nodes) n.height = kNoLimit;
    bool changed = true;
    while (changed) {
      changed = false;
      for (NodeId i = static_cast<NodeId>(nodes.size()); i-- > 0;) {
        if (nodes[i].height == 0) continue;
        const std::uint32_t height = least_height(nodes[i]);
        if (height < nodes[i].height) {
          nodes[i].height = height;
          changed = true;
        }
      }
    }
  }

  std::uint32_t height_of(NodeId id) const { return id == kNoNode ? kNoLimit : schema_->nodes_[id].height; }

  std::uint32_t least_height(const Node& n) const {
    if (!n.any_of.empty()) {
      std::uint32_t least = kNoLimit;
      for (NodeId id : n.any_of) least = std::min(least, height_of(id));
      return least;
    }
    // Scalars that no value fits have lost their type bits before.
    if ((n.types & ~(kArrayBit | kObjectBit)) != 0) return 0;
    return std::min((n.types & kArrayBit) != 0 ? array_height(n.array) : kNoLimit,
                    (n.types & kObjectBit) != 0 ? object_height(n.object) : kNoLimit);
  }

  std::uint32_t array_height(const ArrayRule& rule) const {
    if (rule.min > rule.max) return kNoLimit;
    if (!rule.contains.empty()) {
      // The least height of elements with which the array can be completed.
      std::set<std::uint32_t> heights{0};
      for (const auto& ways : rule.elements) {
        for (const Element& e : ways) {
          if (height_of(e.node) != kNoLimit) heights.insert(height_of(e.node));
        }
      }
      const std::vector<std::uint32_t> counts(rule.contains.size(), 0);
      if (array_may_end(rule, 0, counts)) return 1;
      for (const std::uint32_t height : heights) {
        if (array_can_end(rule, 0, counts, [&](NodeId id) { return height_of(id) <= height; })) return height + 1;
      }
      return kNoLimit;
    }
    std::uint32_t height = 0;
    for (std::size_t i = 0; i < rule.min && i < rule.prefix.size(); ++i)
      height = std::max(height, height_of(rule.prefix[i]));
    if (rule.min > rule.prefix.size()) height = std::max(height, height_of(rule.items));
    return height == kNoLimit ? kNoLimit : height + 1;
  }

  bool live(const ObjectRule& rule, const Property& p) const {
    return height_of(p.node) != kNoLimit && std::all_of(p.brings.begin(), p.brings.end(), [&](std::uint32_t i) {
             return height_of(rule.properties[i].node) != kNoLimit;
           });
  }

  std::uint32_t object_height(const ObjectRule& rule) const {
    if (rule.min > rule.max) return kNoLimit;
    std::uint32_t height = 0;
    boost::container::small_vector<std::uint32_t, 32> needed;  // sorted
    for (std::uint32_t i = 0; i < rule.properties.size(); ++i) {
      if (!rule.properties[i].required) continue;
      needed.push_back(i);
      needed.insert(needed.end(), rule.properties[i].brings.begin(), rule.properties[i].brings.end());
    }
    if (rule.implications) {
      std::sort(needed.begin(), needed.end());
      needed.erase(std::unique(needed.begin(), needed.end()), needed.end());
    }
    for (const std::uint32_t i : needed) height = std::max(height, height_of(rule.properties[i].node));
    for (const SomeKey& s : rule.some) height = std::max(height, height_of(s.node));
    const std::uint64_t least = needed.size() + (rule.some.empty() ? 0 : 1);
    if (height == kNoLimit || least > rule.max) return kNoLimit;
    if (least >= rule.min) return height + 1;
    // minProperties asks for some of the optional ones, the flattest first.
    std::vector<std::pair<std::uint32_t, std::uint64_t>> optional;  // height, how many
    for (std::uint32_t i = 0; i < rule.properties.size(); ++i) {
      if (!std::binary_search(needed.begin(), needed.end(), i) && live(rule, rule.properties[i])) {
        optional.emplace_back(height_of(rule.properties[i].node), 1);
      }
    }
    for (const KeyClass& c : rule.classes) {
      if (height_of(c.node) != kNoLimit) optional.emplace_back(height_of(c.node), c.n_keys);
    }
    std::sort(optional.begin(), optional.end());
    std::uint64_t n = needed.size();
    for (const auto& [next, many] : optional) {
      if (n >= rule.min) break;
      height = std::max(height, next);
      n += many;
    }
    return n < rule.min ? kNoLimit : height + 1;
  }

  // --- unique elements

  // The nodes without alternatives that `id` comes down to and that hold something.
  std::vector<NodeId> leaves(NodeId id) const {
    std::set<NodeId> seen;
    std::vector<NodeId> todo{id}, result;
    while (!todo.empty()) {
      const NodeId at = todo.back();
      todo.pop_back();
      if (at == kNoNode || height_of(at) == kNoLimit || !seen.insert(at).second) continue;
      const Node& n = schema_->nodes_[at];
      if (n.any_of.empty()) {
        result.push_back(at);
      } else {
        todo.insert(todo.end(), n.any_of.begin(), n.any_of.end());
      }
    }
    std::sort(result.begin(), result.end());
    return result;
  }

  // A value of this container that is complete so far can always be made another one by adding to it.
  bool extensible(const Node& n) const {
    if ((n.types & kArrayBit) != 0 && (n.array.max != kNoLimit || height_of(n.array.items) == kNoLimit ||
                                       !n.array.contains.empty() || n.array.unique)) {
      return false;
    }
    if ((n.types & kObjectBit) == 0) return true;
    return n.object.max == kNoLimit && n.object.some.empty() &&
           std::any_of(n.object.classes.begin(), n.object.classes.end(),
                       [&](const KeyClass& c) { return c.n_keys == kManyKeys && height_of(c.node) != kNoLimit; });
  }

  // How many different scalars fit, at most `limit`. Types are counted one by one, so unions count twice at most.
  std::uint64_t n_scalars(const Node& n, std::uint64_t limit) {
    std::uint64_t count = 0;
    for (const std::uint8_t bit : {kNullBit, kTrueBit, kFalseBit}) count += (n.types & bit) != 0 ? 1 : 0;
    if ((n.types & kNumberBit) != 0) count += n.number.count(limit);
    if ((n.types & kStringBit) != 0) {
      count += n.string.is_set ? n.string.values.size() : schema_->patterns_.count(graph_.language(n.string), limit);
    }
    return std::min(count, limit);
  }

  Result<void> settle_unique() {
    bool changed = false;
    for (NodeId i = 0; i < schema_->nodes_.size(); ++i) {
      if ((node(i).types & kArrayBit) == 0 || !node(i).array.unique || !node(i).any_of.empty()) continue;
      const std::string place = at(node(i).place);
      if (!node(i).array.contains.empty()) {
        return unsupported("uniqueItems together with contains is not enforced at " + place);
      }
      std::vector<NodeId> positions = node(i).array.prefix;
      positions.push_back(node(i).array.items);
      std::uint64_t fewest = kManyKeys;
      for (const NodeId position : positions) {
        std::uint64_t values = 0;
        for (const NodeId leaf : leaves(position)) {
          Node& n = node(leaf);
          if ((n.types & (kArrayBit | kObjectBit)) != 0) {
            if (!extensible(n)) {
              return unsupported(
                  fmt::format("keyword \"uniqueItems\" at {} is not enforced: its elements may be arrays or objects "
                              "that cannot always be made different",
                              place));
            }
            values = kManyKeys;
          }
          if ((n.types & kStringBit) != 0 && !n.string.is_set && n.string.pattern != kAnyText &&
              (n.string.min != 0 || n.string.max != kNoLimit)) {
            // Pattern and length in one language, so that what is left of it can be counted.
            const RegexId both = graph_.settled(graph_.language(n.string), n.place);
            if (graph_.error()) return *graph_.error();
            n.string.pattern = both;
            n.string.min = 0;
            n.string.max = kNoLimit;
          }
          if (values < kManyKeys) values += n_scalars(n, 5000);
          if (values >= 5000) values = kManyKeys;
        }
        fewest = std::min(fewest, values);
      }
      ArrayRule& rule = node(i).array;
      if (fewest == kManyKeys) continue;
      if (rule.prefix.empty()) {
        // Unions may count a value twice: the automaton only needs to know that the bound can be reached.
        if (leaves(rule.items).size() > 1 && rule.min > 1) {
          return unsupported("uniqueItems over alternatives with minItems is not enforced at " + place);
        }
        if (fewest < rule.max) {
          rule.max = static_cast<std::uint32_t>(fewest);
          changed = true;
        }
      } else if (rule.min > 1) {
        return unsupported("uniqueItems over few values with prefixItems and minItems is not enforced at " + place);
      }
    }
    if (changed) settle();
    return {};
  }

  // The innermost place that makes an empty node empty.
  std::string blame(NodeId id) const {
    std::set<NodeId> seen;
    while (seen.insert(id).second) {
      const Node& n = schema_->nodes_[id];
      NodeId next = kNoNode;
      if (!n.any_of.empty()) {
        next = n.any_of[0];
      } else if ((n.types & kObjectBit) != 0) {
        for (const Property& p : n.object.properties) {
          if (p.required && p.node != kNoNode && height_of(p.node) == kNoLimit) next = p.node;
        }
      } else if ((n.types & kArrayBit) != 0) {
        for (std::size_t i = 0; i < n.array.min && i < n.array.prefix.size(); ++i) {
          if (height_of(n.array.prefix[i]) == kNoLimit) next = n.array.prefix[i];
        }
        if (next == kNoNode && n.array.min > n.array.prefix.size() && n.array.items != kNoNode) next = n.array.items;
      }
      if (next == kNoNode) return n.place;
      id = next;
    }
    return schema_->nodes_[id].place;
  }

  // Takes out what cannot occur, so that the automaton never enters a dead end, and lists each union's choices.
  void prune(const SchemaReader& reader) {
    auto& nodes = schema_->nodes_;
    auto open = [&](NodeId id) { return height_of(id) != kNoLimit; };
    for (Node& n : nodes) {
      if (n.height == kNoLimit) {
        n.types = 0;
        continue;
      }
      if (!n.any_of.empty()) continue;
      n.array_height = (n.types & kArrayBit) != 0 ? array_height(n.array) : kNoLimit;
      n.object_height = (n.types & kObjectBit) != 0 ? object_height(n.object) : kNoLimit;
      if (n.array_height == kNoLimit) n.types &= ~kArrayBit;
      if (n.object_height == kNoLimit) n.types &= ~kObjectBit;
    }
    std::set<std::string> reported;
    for (const ExprId expr : reader.schemas()) {
      const NodeId id = known_node(by_expr_, expr);
      if (id != kNoNode && !open(id) && reported.insert(graph_.place(expr)).second) {
        schema_->unsatisfiable_.push_back(at(graph_.place(expr)));
      }
    }
    std::sort(schema_->unsatisfiable_.begin(), schema_->unsatisfiable_.end());
    for (Node& n : nodes) {
      prune_array(n.array);
      for (Property& p : n.object.properties) {
        if (!live(n.object, p)) p.node = kNoNode;
      }
      std::uint32_t kept = 0;
      for (std::uint32_t i = 0; i < n.object.classes.size(); ++i) {
        const KeyClass c = n.object.classes[i];
        if (!open(c.node) || c.n_keys == 0) continue;
        for (SomeKey& s : n.object.some) {
          if (s.key_class == i) s.key_class = kept;
        }
        n.object.classes[kept++] = c;
      }
      n.object.classes.resize(kept);
    }
    for (NodeId i = 0; i < nodes.size(); ++i) {
      if (nodes[i].any_of.empty()) {
        if (open(i)) nodes[i].choices = {i};
        continue;
      }
      const std::vector<NodeId> all = leaves(i);
      nodes[i].choices.assign(all.begin(), all.end());
    }
    share_alike(nodes);
  }

  void prune_array(ArrayRule& rule) {
    auto open = [&](NodeId id) { return height_of(id) != kNoLimit; };
    for (auto& ways : rule.elements) {
      std::erase_if(ways, [&](const Element& e) { return !open(e.node); });
    }
    for (std::size_t i = 0; i < rule.prefix.size(); ++i) {
      if (open(rule.prefix[i])) continue;
      rule.prefix.resize(i);
      if (!rule.elements.empty()) {
        rule.elements.resize(i);
        rule.elements.emplace_back();
      }
      rule.items = kNoNode;
      break;
    }
    if (!open(rule.items)) rule.items = kNoNode;
    if (rule.items == kNoNode) {
      rule.max = std::min<std::uint32_t>(rule.max, static_cast<std::uint32_t>(rule.prefix.size()));
    }
  }

  const json::value& document_;
  std::shared_ptr<Schema> schema_;
  SchemaOptions options_;
  SchemaGraph graph_;
  int draft_ = 0;                          // 4, 6, 7; 8 for 2019-09; 0 for 2020-12
  std::vector<NodeId> by_expr_, by_term_;  // kNoNode: none yet
  std::vector<std::pair<TermId, NodeId>> unfilled_;
};

bool Schema::matches(RegexId id, std::string_view text) const {
  if (id == kAnyText) return true;
  const std::lock_guard lock(mutex_);
  if (walks_ == nullptr) walks_ = std::make_unique<RegexPool>(patterns_);
  return walks_->matches(id, text);
}

Result<std::shared_ptr<const Schema>> compile_schema(const json::value& schema, const SchemaOptions& options) {
  // A level of schema takes two or three of the document: {"properties":{"a":{...}}}, {"anyOf":[{...}]}.
  const std::size_t levels = 3 * options.depth_max + 16;
  if (nested_deeper(schema, levels)) {
    return make_error(ErrorCode::kResourceExhausted,
                      fmt::format("schema nested deeper than {} levels of JSON at #", levels));
  }
  return SchemaCompiler(schema, options).run();
}

}  // namespace longhaul::tools
