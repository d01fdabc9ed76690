#include "tools/registry.h"

#include <fmt/format.h>

#include <utility>

namespace longhaul::tools {

Result<void> Registry::load(const std::string& path, PluginLoader& loader) {
  auto plugin = loader.load(path);
  if (!plugin) return plugin.error();
  return add(plugin->manifest, std::move(plugin->source), path);
}

Result<void> Registry::add(const json::value& manifest, std::string source, const std::string& place) {
  auto parsed = parse_manifest(manifest, place);
  if (!parsed) return parsed.error();
  if (const Tool* taken = find(parsed->name)) {
    return make_error(ErrorCode::kConflict, fmt::format("{}: the tool name \"{}\" is taken by {}", place, parsed->name,
                                                        taken->manifest.source_path));
  }
  auto schema = compile_schema(parsed->parameters, {.refuse_unknown = true});
  if (!schema) return with_context(fmt::format("{}: parameters of {}", place, parsed->name), schema.error());
  parsed->source_digest = digest_of(source);
  tools_.push_back({std::move(*parsed), std::move(*schema), std::move(source)});
  return {};
}

const Tool* Registry::find(std::string_view name) const {
  for (const Tool& tool : tools_) {
    if (tool.manifest.name == name) return &tool;
  }
  return nullptr;
}

std::vector<ToolDeclaration> Registry::declarations() const {
  std::vector<ToolDeclaration> result;
  for (const Tool& tool : tools_) {
    result.push_back({tool.manifest.name, tool.manifest.description, tool.manifest.parameters});
  }
  return result;
}

std::vector<std::string> Registry::parameter_names(std::string_view name) const {
  std::vector<std::string> names;
  const Tool* tool = find(name);
  if (tool == nullptr) return names;
  for (const NodeId choice : tool->parameters->node(tool->parameters->root()).choices) {
    for (const Property& property : tool->parameters->node(choice).object.properties) names.push_back(property.name);
  }
  return names;
}

Result<std::shared_ptr<Grammar>> Registry::message_grammar(std::shared_ptr<const TokenIndex> index,
                                                           const MessageGrammarOptions& options) const {
  std::vector<GrammarTool> tools;
  for (const Tool& tool : tools_) tools.push_back({tool.manifest.name, tool.parameters});
  return Grammar::for_message(std::move(index), tools, options);
}

Result<void> Registry::check_arguments(std::string_view name, const json::object& arguments) const {
  const Tool* tool = find(name);
  if (tool == nullptr) return not_found(fmt::format("no tool is named \"{}\"", name));
  auto ok = validate(tool->manifest.parameters, arguments);
  if (!ok) return with_context(fmt::format("arguments of {}", name), ok.error());
  return {};
}

}  // namespace longhaul::tools
