// The tools of a session: loaded from plugins, checked, ready to be declared to the model and to constrain it. Loading
// a plugin means running it, which is the sandbox's work; the registry asks a PluginLoader.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/base/result.h"
#include "tools/grammar.h"
#include "tools/json_schema.h"
#include "tools/manifest.h"

namespace longhaul::tools {

struct LoadedPlugin {
  json::value manifest;  // the plugin's table without `run`
  std::string source;    // the file's text
};

class PluginLoader {
 public:
  virtual ~PluginLoader() = default;
  // Errors name the file, and the line or field.
  virtual Result<LoadedPlugin> load(const std::string& path) = 0;
};

struct Tool {
  ToolManifest manifest;
  std::shared_ptr<const Schema> parameters;
  std::string source;
};

struct ToolDeclaration {
  std::string name;
  std::string description;
  json::object parameters;  // in the author's order
};

// Values: copy and move freely. Not thread-safe while tools are added.
class Registry {
 public:
  // Manifest, schema (contract C7) and call format are checked; on an error nothing is added. kConflict: the name is
  // taken.
  Result<void> load(const std::string& path, PluginLoader& loader);
  Result<void> add(const json::value& manifest, std::string source, const std::string& place);

  const Tool* find(std::string_view name) const;
  const std::vector<Tool>& tools() const { return tools_; }  // in the order they were added
  std::vector<ToolDeclaration> declarations() const;
  std::vector<std::string> parameter_names(std::string_view tool) const;

  // The grammar of messages that may call these tools. Errors as Grammar::for_message.
  Result<std::shared_ptr<Grammar>> message_grammar(std::shared_ptr<const TokenIndex> index,
                                                   const MessageGrammarOptions& options) const;
  // Arguments from elsewhere (a journal, a test, an API) against the tool's schema. kNotFound: no such tool.
  Result<void> check_arguments(std::string_view tool, const json::object& arguments) const;

 private:
  std::vector<Tool> tools_;
};

}  // namespace longhaul::tools
