#include "tools/schema_references.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace longhaul::tools {
namespace {

struct Uri {
  std::string scheme, authority, path, query;
  bool has_authority = false, has_query = false;
};

Uri split_uri(std::string_view text) {
  Uri uri;
  text = text.substr(0, text.find('#'));
  const std::size_t colon = text.find_first_of(":/?");
  if (colon != text.npos && text[colon] == ':' && colon > 0) {
    uri.scheme = std::string(text.substr(0, colon));
    text.remove_prefix(colon + 1);
  }
  if (text.substr(0, 2) == "//") {
    uri.has_authority = true;
    const std::size_t end = std::min(text.find_first_of("/?", 2), text.size());
    uri.authority = std::string(text.substr(2, end - 2));
    text.remove_prefix(end);
  }
  const std::size_t query = text.find('?');
  uri.path = std::string(text.substr(0, query));
  if (query != text.npos) {
    uri.has_query = true;
    uri.query = std::string(text.substr(query + 1));
  }
  return uri;
}

std::string without_dots(std::string_view path) {
  std::vector<std::string_view> parts;
  bool slash_at_end = false;
  std::size_t from = path.substr(0, 1) == "/" ? 1 : 0;
  const bool absolute = from == 1;
  while (from <= path.size()) {
    const std::size_t end = std::min(path.find('/', from), path.size());
    const std::string_view part = path.substr(from, end - from);
    slash_at_end = part == "." || part == "..";
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else if (part != ".") {
      parts.push_back(part);
    }
    from = end + 1;
  }
  std::string result = absolute ? "/" : "";
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) result += '/';
    result += parts[i];
  }
  if (slash_at_end && !result.empty() && result.back() != '/') result += '/';
  return result;
}

std::string join(const Uri& uri) {
  std::string text;
  if (!uri.scheme.empty()) text += uri.scheme + ":";
  if (uri.has_authority) text += "//" + uri.authority;
  text += uri.path;
  if (uri.has_query) text += "?" + uri.query;
  return text;
}

// Which keywords hold schemas, and how.
constexpr std::array<std::string_view, 12> kOne{"additionalProperties",
                                                "items",
                                                "contains",
                                                "not",
                                                "if",
                                                "then",
                                                "else",
                                                "propertyNames",
                                                "additionalItems",
                                                "contentSchema",
                                                "unevaluatedItems",
                                                "unevaluatedProperties"};
constexpr std::array<std::string_view, 5> kList{"allOf", "anyOf", "oneOf", "prefixItems", "items"};
constexpr std::array<std::string_view, 6> kMap{"properties",  "patternProperties", "$defs",
                                               "definitions", "dependentSchemas",  "dependencies"};

template <std::size_t N>
bool among(const std::array<std::string_view, N>& names, std::string_view key) {
  return std::find(names.begin(), names.end(), key) != names.end();
}

}  // namespace

std::string resolve_uri(std::string_view base_text, std::string_view reference) {
  const Uri base = split_uri(base_text);
  Uri r = split_uri(reference);
  if (!r.scheme.empty()) {
    if (r.has_authority) r.path = without_dots(r.path);
    return join(r);
  }
  r.scheme = base.scheme;
  if (!r.has_authority) {
    r.has_authority = base.has_authority;
    r.authority = base.authority;
    if (r.path.empty()) {
      r.path = base.path;
      if (!r.has_query) {
        r.has_query = base.has_query;
        r.query = base.query;
      }
    } else if (r.path[0] != '/') {
      const std::size_t slash = base.path.rfind('/');
      if (slash != std::string::npos) {
        r.path = base.path.substr(0, slash + 1) + r.path;
      } else if (base.has_authority) {
        r.path = "/" + r.path;
      }
      r.path = without_dots(r.path);
    } else {
      r.path = without_dots(r.path);
    }
  } else {
    r.path = without_dots(r.path);
  }
  return join(r);
}

SchemaReferences::SchemaReferences(const json::value& document, int draft) : draft_(draft) {
  Resource root;
  root.root = &document;
  resources_.push_back(std::move(root));
  begins_[&document] = 0;
  by_uri_[""] = 0;
  walk(document, Path(), 0);
}

std::string SchemaReferences::Path::text() const {
  return up == nullptr ? std::string() : pointer_append(up->text(), key);
}

void SchemaReferences::walk(const json::value& schema, const Path& path, std::uint32_t resource) {
  const auto* object = schema.if_object();
  if (object == nullptr || path.depth > 2000) return;
  auto text = [&](const char* key) -> std::string {
    const auto* value = object->if_contains(key);
    return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
  };
  // Up to draft 7 nothing counts beside a $ref.
  const bool alone = draft_ != 0 && draft_ < 8 && object->contains("$ref");
  std::string id = draft_ == 4 ? text("id") : text("$id");
  if (alone) id.clear();
  if (!id.empty() && draft_ != 0 && draft_ < 8 && id[0] == '#') {
    resources_[resource].anchors[id.substr(1)] = {&schema, path.text()};
    id.clear();
  }
  if (!id.empty()) {
    const std::string uri = resolve_uri(resources_[resource].uri, id);
    if (path.up == nullptr) {
      resources_[0].uri = uri;
    } else {
      Resource inner;
      inner.uri = uri;
      inner.root = &schema;
      inner.place = path.text();
      resource = static_cast<std::uint32_t>(resources_.size());
      resources_.push_back(std::move(inner));
      begins_[&schema] = resource;
    }
    by_uri_.emplace(uri, resource);
  }
  if (!alone) {
    if (const std::string anchor = text("$anchor"); !anchor.empty()) {
      resources_[resource].anchors[anchor] = {&schema, path.text()};
    }
    if (const std::string anchor = text("$dynamicAnchor"); !anchor.empty()) {
      resources_[resource].anchors[anchor] = {&schema, path.text()};
      resources_[resource].dynamic[anchor] = {&schema, path.text()};
    }
    if (const auto* recursive = object->if_contains("$recursiveAnchor");
        recursive != nullptr && recursive->is_bool() && recursive->get_bool()) {
      resources_[resource].dynamic[""] = {&schema, path.text()};
    }
  }
  for (const auto& member : *object) {
    const std::string_view key = member.key();
    if (key == "$dynamicRef" || key == "$recursiveRef") any_dynamic_ = true;
    const json::value& value = member.value();
    const bool one = among(kOne, key), list = among(kList, key), map = among(kMap, key);
    if (!one && !list && !map) continue;
    const Path here{&path, key, path.depth + 1};
    if (map) {
      if (const auto* members = value.if_object()) {
        for (const auto& m : *members) walk(m.value(), Path{&here, m.key(), here.depth}, resource);
      }
    } else if (const auto* array = value.if_array()) {
      for (std::size_t i = 0; list && i < array->size(); ++i) {
        const std::string index = std::to_string(i);
        walk((*array)[i], Path{&here, index, here.depth}, resource);
      }
    } else if (one) {
      walk(value, here, resource);
    }
  }
}

Result<SchemaReferences::Target> SchemaReferences::find(std::uint32_t from, std::string_view reference) const {
  const std::size_t hash = std::min(reference.find('#'), reference.size());
  const std::string_view fragment = hash < reference.size() ? reference.substr(hash + 1) : std::string_view();
  std::uint32_t resource = from;
  if (hash > 0) {
    const std::string uri = resolve_uri(resources_[from].uri, reference.substr(0, hash));
    auto found = by_uri_.find(uri);
    if (found == by_uri_.end() && !uri.empty() && uri.back() == '#')
      found = by_uri_.find(uri.substr(0, uri.size() - 1));
    if (found == by_uri_.end()) {
      return unsupported(fmt::format("a reference to \"{}\", outside the schema, is not enforced", reference));
    }
    resource = found->second;
  }
  Target target;
  target.resource = resource;
  const Resource& r = resources_[resource];
  if (fragment.empty()) {
    target.schema = r.root;
    target.place = r.place;
    return target;
  }
  if (fragment[0] != '/') {
    const auto found = r.anchors.find(fragment);
    if (found == r.anchors.end()) return invalid_argument(fmt::format("\"{}\" refers to nothing", reference));
    target.schema = found->second.first;
    target.place = found->second.second;
    if (r.dynamic.count(fragment) != 0) target.dynamic = std::string(fragment);
    return target;
  }
  target.schema = resolve_pointer(*r.root, fragment);
  if (target.schema == nullptr) return invalid_argument(fmt::format("\"{}\" refers to nothing", reference));
  // The pointer may lead into another resource; and a place has one spelling.
  const json::value* at = r.root;
  target.place = r.place;
  std::size_t begin = 0;
  while (begin < fragment.size()) {
    const std::size_t end = std::min(fragment.find('/', begin + 1), fragment.size());
    const json::value* next = resolve_pointer(*at, fragment.substr(begin, end - begin));
    if (next == nullptr) break;
    std::string key;
    if (const auto* object = at->if_object()) {
      for (const auto& member : *object) {
        if (&member.value() == next) key = member.key();
      }
    } else {
      key = std::to_string(next - at->get_array().data());
    }
    target.place = pointer_append(target.place, key);
    target.resource = resource_at(next, target.resource);
    at = next;
    begin = end;
  }
  return target;
}

}  // namespace longhaul::tools
