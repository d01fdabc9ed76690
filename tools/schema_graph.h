// Schemas as an algebra: expressions over terms with and, or, not and exactly-one, brought to unions of terms when
// asked. Internal to the schema compiler.
//
// A term is a Node whose references are expressions: one rule a type, all of them met at once. Terms are closed under
// intersection (two rules of a type make one, or a few) and under complement (a union of terms), so every combination
// of keywords comes down to a union of terms, one level at a time: what lies below (properties, elements) stays an
// expression until somebody asks for it, which is how recursive schemas end.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tools/json_schema.h"

namespace longhaul::tools {

using ExprId = NodeId;
using TermId = std::uint32_t;
using Parts = boost::container::small_vector<ExprId, 4>;
using TermIds = boost::container::small_vector<TermId, 2>;  // most unions are of one
inline constexpr ExprId kAllExpr = 0;                       // every value
inline constexpr ExprId kNoneExpr = 1;                      // no value
inline constexpr std::size_t kSchemaUnionMax = 2048;        // terms of one expression

class SchemaGraph {
 public:
  enum class Kind : std::uint8_t { kTerm, kAnd, kOr, kNot, kOne, kNames, kOpen };

  SchemaGraph(RegexPool& patterns, std::size_t terms_max);

  // A term that allows everything, to be narrowed.
  static Node free_node(std::string place);
  ExprId term(Node node);
  ExprId both(const Parts& parts, const std::string& place);
  ExprId either(const Parts& parts, const std::string& place);
  ExprId negation(ExprId part, const std::string& place);
  ExprId exactly_one(const Parts& parts, const std::string& place);
  // Objects whose keys fit `part` as strings; other values are free.
  ExprId names(ExprId part, const std::string& place);
  // An expression to be defined later, so that references can close loops.
  ExprId declare(const std::string& place);
  void define(ExprId id, ExprId meaning);

  // The union that `id` comes down to. Check error() after it.
  TermIds terms(ExprId id);
  const Node& node(TermId id) const { return terms_[id]; }
  const std::string& place(ExprId id) const { return exprs_[id].place; }
  // What went wrong first, if anything: a combination that is not enforced, a loop, a limit.
  const std::optional<Error>& error() const { return error_; }
  void fail(Error error) {
    if (!error_) error_ = std::move(error);
  }
  RegexPool& patterns() { return patterns_; }
  // The pattern, settled; kNoText after an error.
  RegexId settled(RegexId id, const std::string& place);
  // The texts that a string rule allows, as a language.
  RegexId language(const StringRule& rule);

 private:
  struct Expr {
    Expr(Kind k, const Parts& p, TermId t, std::string where) : kind(k), parts(p), term(t), place(std::move(where)) {}

    Kind kind;
    Parts parts;
    TermId term;
    std::string place;
    std::optional<TermIds> normal;  // the union that it comes down to, once known
    int computing = -1;             // being computed, at which level of probing
  };

  ExprId add(Kind kind, const Parts& parts, const std::string& place);
  // An and, or an or: parts of the same kind are taken apart, equal ones said once.
  ExprId join(Kind kind, ExprId neutral, ExprId absorbing, const Parts& given, const std::string& place);
  TermId add_term(Node node);
  TermIds compute(const Expr& expr);
  TermIds product(const TermIds& a, const TermIds& b, const std::string& place);
  TermIds meet(TermId a, TermId b, const std::string& place);
  TermIds others(TermId term, const std::string& place);
  TermIds one_of(const Expr& expr);
  TermIds named(const Expr& expr);
  // Quick to see: some key that must be there has values on the two sides that are no union's, and different ones.
  bool told_apart(const ObjectRule& x, const ObjectRule& y) const;
  // Terms that every value of `id` is in, as far as no union or complement comes between.
  using Terms = boost::container::small_vector<const Node*, 4>;
  void conditions(ExprId id, int depth, Terms& found) const;
  void meet_arrays(const Node& x, const Node& y, Node& result);
  std::vector<ObjectRule> meet_objects(const Node& x, const Node& y, const std::string& place);
  std::vector<StringRule> other_strings(const StringRule& rule);
  std::vector<ArrayRule> other_arrays(const ArrayRule& rule, const std::string& place);
  std::vector<ObjectRule> other_objects(const ObjectRule& rule, const std::string& place);
  // Takes out of `node` what no value can be; false if nothing is left. `checked`: properties worth a closer look.
  bool clean(Node& node, const std::vector<std::string>& checked);
  bool surely_empty(ExprId id);
  void merge_scalars(TermIds& terms, const std::string& place);
  ExprId node_for(const ObjectRule& rule, std::string_view name);

  friend class SchemaReader;
  RegexPool& patterns_;
  std::size_t terms_max_;
  std::deque<Expr> exprs_;
  std::map<std::pair<Kind, Parts>, ExprId> known_;
  std::deque<Node> terms_;                            // grows while earlier ones are looked at
  std::unordered_map<std::uint64_t, TermIds> meets_;  // by the two terms, the lesser one in the upper half
  std::map<TermId, TermIds> others_;
  int probing_ = 0;
  bool unknown_ = false;  // a probe met what is being computed outside it
  std::size_t probes_ = 0;
  std::optional<Error> error_;
};

// Adds a property that the rule does not name yet (with the node of its class); returns its index.
std::uint32_t ensure_property(SchemaGraph& graph, ObjectRule& rule, const std::string& name);

}  // namespace longhaul::tools
