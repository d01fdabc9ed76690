// Where the schemas of a document are: base URIs ($id), anchors, JSON pointers, dynamic anchors. Internal to the schema
// compiler. Nothing is ever fetched: a reference leads inside the document or is refused.
#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "tools/json_schema.h"

namespace longhaul::tools {

// RFC 3986, section 5.2: `reference` as seen from `base`.
std::string resolve_uri(std::string_view base, std::string_view reference);

class SchemaReferences {
 public:
  struct Resource {
    std::string uri;  // without fragment
    const json::value* root = nullptr;
    std::string place;  // JSON pointer in the document
    std::map<std::string, std::pair<const json::value*, std::string>, std::less<>> anchors;
    std::map<std::string, std::pair<const json::value*, std::string>, std::less<>> dynamic;  // "": $recursiveAnchor
  };
  struct Target {
    const json::value* schema = nullptr;
    std::string place;
    std::uint32_t resource = 0;
    std::string dynamic;  // the reference was to this dynamic anchor
  };

  // `draft`: 4, 6, 7, 8 (2019-09) or 0 (2020-12).
  SchemaReferences(const json::value& document, int draft);

  // kUnsupported: outside the document. kInvalidArgument: nothing is there. Messages without a place.
  Result<Target> find(std::uint32_t from, std::string_view reference) const;
  const Resource& resource(std::uint32_t id) const { return resources_[id]; }
  // The resource that begins at this schema, or `inherited`.
  std::uint32_t resource_at(const json::value* schema, std::uint32_t inherited) const {
    const auto found = begins_.find(schema);
    return found == begins_.end() ? inherited : found->second;
  }
  bool any_dynamic() const { return any_dynamic_; }

 private:
  // A place on the way down. Few are asked for their pointers.
  struct Path {
    const Path* up = nullptr;
    std::string_view key;
    int depth = 0;  // of schemas

    std::string text() const;
  };
  void walk(const json::value& schema, const Path& path, std::uint32_t resource);

  int draft_;
  bool any_dynamic_ = false;
  std::vector<Resource> resources_;
  std::unordered_map<const json::value*, std::uint32_t> begins_;
  std::map<std::string, std::uint32_t, std::less<>> by_uri_;
};

}  // namespace longhaul::tools
