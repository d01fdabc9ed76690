// JSON to Lua and back. Only raw access: no metamethod of a plugin runs here, and lying lengths are never asked for.
// Runs inside a protected call: memory trouble is a Lua error.
#pragma once

#include <lua.hpp>

#include <string>

#include "runtime/base/json.h"

namespace longhaul::sandbox {

// Pushes one value. Null is nil: absent in an object, a hole in an array. Integers beyond 64 bits become floats.
void push_json(lua_State* L, const json::value& value);

struct ToJsonLimits {
  std::size_t bytes_max = 0;    // of the strings, keys and punctuation together, about the text's size
  bool skip_functions = false;  // at the top level
};
struct ToJson {
  json::value value;
  std::string error;       // empty: fine. Names the place: `result.items[3]: ...`
  bool too_large = false;  // the error is bytes_max
};

// A table with keys 1..n is an array, one with only string keys an object (keys sorted), an empty one an object.
ToJson to_json_value(lua_State* L, int index, std::string place, const ToJsonLimits& limits);

}  // namespace longhaul::sandbox
