// One call of a plugin: what goes in and what comes out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "sandbox/limits.h"
#include "sandbox/powers/powers.h"

namespace longhaul::sandbox {

struct PluginSource {
  std::string path;  // named in errors; not opened
  std::string text;  // Lua source, at most kSourceBytesMax, UTF-8
};

struct CallRequest {
  std::string call_id;
  std::string idempotency_key;        // lineage + call ordinal: the same when a call is repeated after a crash
  std::string arguments_json = "{}";  // an object
  std::uint64_t seed = 0;             // of math.random; derive it from the key, so that a repeat is equal
  Limits limits;
  std::optional<Grants> grants;  // narrows what the manifest asks for; never widens it
};

struct CallOutcome {
  enum class Kind : std::uint8_t {
    kOk,           // text is the result
    kToolError,    // run returned nil and a text, raised an error, or returned something that is no result
    kLimit,        // `limit` says which; it was stopped
    kTimeout,      // wall_ms passed; the worker was killed
    kWorkerDied,   // `text` says how
    kCancelled,    // by the token; the worker was killed
    kProtocol,     // the worker sent something malformed and was killed
    kUnavailable,  // no worker could be had: nothing ran
    kSleeping,     // it wants to run again from its start at `sleep_until_ms`; the worker was ended
  };
  Kind kind = Kind::kUnavailable;
  LimitKind limit = LimitKind::kNone;
  int signal = 0;     // kWorkerDied by a signal
  std::string text;   // the result, or one line that says what happened
  std::string log;    // what print wrote
  double cpu_ms = 0;  // as the worker reports it
  int n_host_calls = 0;
  // Host calls that change something outside the session (files.write, files.append) and were begun. With 0 a call
  // that did not end well has had no effect, whatever its declared effect says.
  int n_effects = 0;

  std::int64_t sleep_until_ms = 0;  // kSleeping; UTC

  bool ended() const { return kind == Kind::kOk || kind == Kind::kToolError; }
};
std::string_view to_string(CallOutcome::Kind kind);

}  // namespace longhaul::sandbox
