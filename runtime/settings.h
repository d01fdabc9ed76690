// What a session was started with, as it is kept in the journal's first record: the agent's words and tools (with the
// plugins' source, so that a session can go on where the files have changed or are missing), limits, sampling, grants.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/sampler.h"
#include "runtime/base/json.h"
#include "runtime/base/result.h"

namespace longhaul::runtime {

enum class Reasoning { kOff, kOn, kLow, kEfficient };

struct ToolSource {
  std::string path;       // where it was read from
  std::string text;       // the Lua file
  json::object manifest;  // what it declares, as the sandbox evaluated it
  bool approve = false;   // the agent wants a person's word before each call, whatever the manifest says
};

struct Settings {
  std::string system;
  std::vector<ToolSource> tools;

  std::int64_t max_turns = 50;             // assistant messages an exchange, 1 or more
  std::int64_t max_message_tokens = 2048;  // tokens of one assistant message, 1 or more
  std::int64_t max_equal_calls = 4;        // the same call with the same result in a row, 2 or more
  std::int64_t context = 0;                // tokens of context; 0: as memory allows

  // Once the context has this many tokens, results of calls leave it that are older than the last few turns of the
  // exchange; the model can ask for them with the tool `recall`. 0: never, and there is no such tool.
  std::int64_t compact_at = 0;
  std::int64_t compact_keep_turns = 2;  // 1 or more

  model::SamplingOptions sampling;  // without the seed, which is journaled by itself
  Reasoning reasoning = Reasoning::kOn;
  std::int64_t reasoning_budget = 0;  // tokens; 0: none

  json::object response_format;  // what answers must be (response_format.h); empty: any text

  json::object notes;      // key -> text: what the notes hold before the first call
  std::string files_root;  // absolute; empty: the file tools see nothing
  bool files_writable = true;
};

json::object to_json_object(const Settings& settings);
// kCorruption / kInvalidArgument name the field and the value.
Result<Settings> settings_from_json(const json::object& object);

// "on", "off", "low", "efficient" or a number of tokens.
Result<void> parse_reasoning(const std::string& text, Settings& settings);

}  // namespace longhaul::runtime
