#include "runtime/agent.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "runtime/base/file.h"
#include "runtime/resources.h"

namespace longhaul::runtime {
namespace fs = std::filesystem;

Result<std::vector<std::string>> shipped_plugins() {
  auto resources = resource_folder();
  if (!resources) return resources.error();
  const fs::path folder = fs::path(*resources) / "tools/plugins";
  std::vector<std::string> paths;
  std::error_code ec;
  for (fs::directory_iterator it(folder, ec), end; !ec && it != end; it.increment(ec)) {
    if (it->path().extension() == ".lua") paths.push_back(it->path().string());
  }
  if (ec) return io_error(fmt::format("cannot list {}: {}", folder.string(), ec.message()));
  std::sort(paths.begin(), paths.end());
  return paths;
}

Result<ToolSource> load_tool(sandbox::WorkerPool& pool, const std::string& path) {
  auto text = read_file(path, sandbox::kSourceBytesMax);
  if (!text) return text.error();
  auto described = pool.describe({.path = path, .text = *text});
  if (!described) return described.error();
  auto manifest = parse_json(*described);
  if (!manifest) return with_context(path, manifest.error());
  if (!manifest->is_object()) return invalid_argument(fmt::format("{} does not return a table with fields", path));
  return ToolSource{.path = path, .text = std::move(*text), .manifest = manifest->get_object()};
}

Result<Settings> load_agent(sandbox::WorkerPool& pool, const std::string& path) {
  auto resources = resource_folder();
  if (!resources) return resources.error();
  const fs::path file = path.empty() ? fs::path(*resources) / "runtime/agents/default.lua" : fs::path(path);
  auto text = read_file(file.string(), sandbox::kSourceBytesMax);
  if (!text) return text.error();
  auto table = pool.read_table({.path = file.string(), .text = *text});
  if (!table) return table.error();
  auto parsed = parse_json(*table);
  if (!parsed) return with_context(file.string(), parsed.error());
  json::object* agent = parsed->if_object();
  if (agent == nullptr) return invalid_argument(fmt::format("{} does not return a table with fields", file.string()));

  // `tools` holds names here and whole plugins in Settings.
  json::value tools = json::array{};
  if (auto it = agent->find("tools"); it != agent->end()) {
    tools = it->value();
    agent->erase(it);
  }
  auto settings = settings_from_json(*agent);
  if (!settings) return with_context(file.string(), settings.error());
  if (tools.is_object() && tools.get_object().empty()) tools = json::array{};
  if (!tools.is_array()) return invalid_argument(fmt::format("{}: tools is not a list of names", file.string()));
  for (const json::value& entry : tools.get_array()) {
    // "name", or { name = "name", approve = true }.
    const json::object* fields = entry.if_object();
    const json::value* named = fields != nullptr ? fields->if_contains("name") : &entry;
    const json::value* approve = fields != nullptr ? fields->if_contains("approve") : nullptr;
    const std::size_t n_known = (named != nullptr ? 1U : 0U) + (approve != nullptr ? 1U : 0U);
    if (named == nullptr || !named->is_string() || (approve != nullptr && !approve->is_bool()) ||
        (fields != nullptr && fields->size() != n_known)) {
      return invalid_argument(
          fmt::format("{}: tools holds {}, expected a name or path, or {{ name = ..., approve = true }}", file.string(),
                      to_json(entry)));
    }
    const std::string name(named->get_string());
    const bool is_path = name.find('/') != std::string::npos || name.ends_with(".lua");
    const fs::path plugin =
        is_path ? file.parent_path() / name : fs::path(*resources) / "tools/plugins" / (name + ".lua");
    auto tool = load_tool(pool, plugin.lexically_normal().string());
    if (!tool) return with_context(file.string(), tool.error());
    tool->approve = approve != nullptr && approve->get_bool();
    settings->tools.push_back(std::move(*tool));
  }
  return settings;
}

}  // namespace longhaul::runtime
