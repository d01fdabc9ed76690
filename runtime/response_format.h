// What form answers must have, as agents, sessions and the command line say it: an object with one field, `schema`
// (JSON Schema: an object, true or false, or a text of it), `regex` or `grammar` (EBNF). tools/ enforces it.
#pragma once

#include "runtime/base/json.h"
#include "runtime/base/result.h"
#include "tools/grammar.h"

namespace longhaul::runtime {

// The object with its schema as JSON; empty stays empty (any answer). kInvalidArgument names the field.
Result<json::object> normal_response_format(const json::object& format);

// Compiles it. Errors say which of the three, and where in it; a keyword of a schema that is not enforced is refused by
// name, as in tools.
Result<tools::ResponseFormat> compile_response_format(const json::object& format);

}  // namespace longhaul::runtime
