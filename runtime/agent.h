// Agent files: Lua that returns a table of data (system text, tools, limits, sampling). Evaluated in a sandbox worker
// without powers, so an agent file can compute its text but reach nothing.
#pragma once

#include <string>

#include "runtime/base/result.h"
#include "runtime/settings.h"
#include "sandbox/worker_pool.h"

namespace longhaul::runtime {

// `path` empty: the built-in agent. A tool is a name, or { name = ..., approve = true } for one whose every call waits
// for a person's word. Tools named without a slash or `.lua` are shipped plugins; others are paths relative to the
// agent's file. Errors name the file, and the tool.
Result<Settings> load_agent(sandbox::WorkerPool& pool, const std::string& path);

// One plugin, read and evaluated in the sandbox. Its manifest is not judged here.
Result<ToolSource> load_tool(sandbox::WorkerPool& pool, const std::string& path);

// tools/plugins of the resource folder, sorted.
Result<std::vector<std::string>> shipped_plugins();

}  // namespace longhaul::runtime
