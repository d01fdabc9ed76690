// Schema documents to expressions: what each keyword means. Internal to the schema compiler.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tools/schema_graph.h"
#include "tools/schema_references.h"

namespace longhaul::tools {

class SchemaReader {
 public:
  SchemaReader(const json::value& document, const SchemaOptions& options, SchemaGraph& graph, int draft);

  Result<ExprId> read();
  const std::vector<SchemaNote>& annotations() const { return annotations_; }
  // Each schema that was read (the graph knows its place), for reports.
  const std::vector<ExprId>& schemas() const { return read_; }

 private:
  // A schema, where it stands, and from where references in it are resolved. `scope`: which resources were entered on
  // the way, as far as dynamic references can tell.
  struct Source {
    const json::value* schema = nullptr;
    std::string place;
    std::uint32_t resource = 0;
    std::uint32_t scope = 0;
    std::size_t depth = 0;
  };
  // What a schema that holds has looked at: unevaluatedProperties and unevaluatedItems are about the rest.
  struct Evaluated {
    std::set<std::string> names;
    std::vector<RegexId> patterns;
    bool all_properties = false;
    std::uint32_t n_items = 0;
    bool all_items = false;
    Parts contains;
  };
  struct Branch {
    Parts parts;
    Evaluated evaluated;
  };

  Result<ExprId> compile(Source source);
  Result<ExprId> compile_object(const json::object& schema, const Source& source);
  // The keywords that apply to the value itself, without those that bring in other schemas for the same value.
  Result<ExprId> own(const json::object& schema, const Source& source);
  Result<void> own_keyword(const json::object& schema, std::string_view key, const json::value& value,
                           const Source& source, Node& node, Parts& parts);
  Result<ExprId> applicator(const json::object& schema, std::string_view key, const json::value& value,
                            const Source& source);
  Result<void> read_type(const json::value& value, const Source& source, Node& node);
  Result<void> read_object_keywords(const json::object& schema, const Source& source, Node& node);
  Result<void> read_array_keywords(const json::object& schema, const Source& source, Node& node);
  Result<void> read_required(const json::object& schema, const Source& source, Node& node);
  Result<void> read_bound(const json::object& schema, std::string_view key, const json::value& value,
                          const Source& source, Node& node);
  Result<void> read_format(const json::value& value, const Source& source, Node& node);
  Result<ExprId> read_values(const json::object& schema, const Source& source);
  Result<ExprId> constant(const json::value& value, const std::string& place, int depth);
  Result<Source> target(const Source& source, std::string_view key, const json::value& value);
  std::uint32_t enter(std::uint32_t scope, std::uint32_t resource);
  Result<ExprId> child(const json::value& schema, std::string place, const Source& parent);
  Source inner(const json::value& schema, std::string place, const Source& parent) const;

  Result<ExprId> unevaluated(const json::object& schema, const Source& source);
  Result<std::vector<Branch>> branches(const Source& source, int depth);
  Result<std::vector<Branch>> object_branches(const json::object& schema, const Source& source, int depth);
  Result<bool> evaluates(const Source& source, std::set<const json::value*>& seen);
  Result<Evaluated> own_evaluated(const json::object& schema, const Source& source);
  Result<std::vector<Branch>> product(const std::vector<Branch>& a, const std::vector<Branch>& b,
                                      const std::string& place) const;

  Result<std::uint32_t> count(const json::value& value, std::string_view key, const Source& source);
  Result<Decimal> number(const json::value& value, std::string_view key, const std::string& place);
  Result<void> check_exact(const json::value& value, const std::string& place, int depth);
  Result<RegexId> pattern(std::string_view text, const std::string& place);
  void drop_repeated_notes();
  void note(const std::string& place, std::string_view keyword, std::string text = {});
  bool alone(const json::object& schema) const { return draft_ != 0 && draft_ < 8 && schema.contains("$ref"); }

  const json::value& document_;
  const SchemaOptions& options_;
  SchemaGraph& graph_;
  int draft_;
  SchemaReferences references_;
  std::vector<SchemaNote> annotations_;
  std::vector<ExprId> read_;
  std::map<std::pair<const json::value*, std::uint32_t>, ExprId> known_;
  std::vector<std::vector<std::uint32_t>> scopes_{{}};
  std::map<std::string, RegexId, std::less<>> patterns_;
};

}  // namespace longhaul::tools
