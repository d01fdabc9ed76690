// The tool `recall`: gives back results of calls that have left the context by compaction (settings.h). It is the
// runtime's own, offered only to agents that compact; it reads the journal and nothing else.
#pragma once

#include <string>

#include "runtime/base/json.h"
#include "runtime/base/result.h"
#include "sessions/context.h"

namespace longhaul::runtime {

inline constexpr std::string_view kRecallTool = "recall";

// As a plugin would return it.
json::object recall_manifest();

// What stands in the context for a result that has left it.
std::string recall_placeholder(const sessions::Call& call);

// The result of a call, or a part of it. kInvalidArgument is for the model: no such call, a range outside.
Result<std::string> recall(const sessions::Context& context, const json::object& arguments);

}  // namespace longhaul::runtime
