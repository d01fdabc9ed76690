// What a plugin says of itself: the table its Lua file returns, without `run`, as JSON. Evaluated in the sandbox;
// judged here.
//
//   name         [A-Za-z_][A-Za-z0-9_]*, at most 64 characters
//   description  text for the model
//   parameters   JSON Schema of an object (a list of no properties is allowed), in the author's order
//   effect       "read", "idempotent" or "once": what a crash in the middle of a call means (contract C6). Absent:
//   "once",
//                the one that never repeats anything
//   powers       what it may do: notes "read" | "write", files "read" | "write", clock true, timer true
//   limits       cpu_ms, wall_ms, memory_bytes, output_bytes
//   approve      true: every call waits for a person
//
// Any other field, and powers that this version does not have (commands, hosts, env), are refused by name: a tool must
// not believe that it has what it has not.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/base/hash.h"
#include "runtime/base/json.h"
#include "runtime/base/result.h"

namespace longhaul::tools {

enum class Effect : std::uint8_t {
  kRead,        // changes nothing: may run again
  kIdempotent,  // running again with the same key changes nothing more
  kOnce,        // must not run again unless somebody says so
};
std::string_view to_string(Effect effect);

enum class PowerLevel : std::uint8_t { kNone, kRead, kWrite };

struct ToolPowers {
  PowerLevel notes = PowerLevel::kNone;
  PowerLevel files = PowerLevel::kNone;
  bool clock = false;
  bool timer = false;  // ctx.sleep, ctx.sleep_until

  friend bool operator==(const ToolPowers&, const ToolPowers&) = default;
};

// Absent: the runtime's default. Ranges are checked.
struct ToolLimits {
  std::optional<std::int64_t> cpu_ms;        // 1 .. 600'000
  std::optional<std::int64_t> wall_ms;       // 1 .. 3'600'000
  std::optional<std::int64_t> memory_bytes;  // 1 MiB .. 1 GiB
  std::optional<std::int64_t> output_bytes;  // 1 .. 16 MiB

  friend bool operator==(const ToolLimits&, const ToolLimits&) = default;
};

struct ToolManifest {
  std::string name;
  std::string description;
  json::object parameters;
  Effect effect = Effect::kOnce;
  bool effect_given = false;
  ToolPowers powers;
  ToolLimits limits;
  bool approve = false;
  std::string source_path;  // the plugin's file
  Digest source_digest;     // of its text, if the loader gave it
};

// `manifest` is the plugin's table; `place` names its file in errors. The schema's keywords are not looked at here:
// compile_schema does that. kInvalidArgument and kUnsupported name the place, the field and what was found.
Result<ToolManifest> parse_manifest(const json::value& manifest, std::string_view place);

// [A-Za-z_][A-Za-z0-9_]*, at most 64 characters.
bool is_tool_name(std::string_view name);

}  // namespace longhaul::tools
