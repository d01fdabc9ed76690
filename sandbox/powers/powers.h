// What a plugin can ask of the host. A plugin's process opens nothing: each use of files, notes or the clock is a
// request that comes here, after the pool has checked it against the plugin's grants.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/base/result.h"

namespace longhaul::sandbox {

enum class Access : std::uint8_t { kNone, kRead, kWrite };  // write includes read

// What a plugin's manifest asks for and what it is given.
struct Grants {
  Access clock = Access::kNone;
  Access notes = Access::kNone;
  Access files = Access::kNone;
  Access timer = Access::kNone;

  friend bool operator==(const Grants&, const Grants&) = default;
};

// Reads `powers` of a manifest: {"clock": true, "timer": true, "notes": "read"|"write", "files": "read"|"write"}; null
// or no value means none. kInvalidArgument names an unknown power or value.
Result<Grants> parse_grants(const json::value& powers);

// Every operation there is. The worker offers them by this table, the host checks by it.
struct Operation {
  std::string_view power;
  std::string_view name;
  int n_args;    // all are strings
  Access needs;  // the least grant
  bool effect;   // changes something that outlives the call
};
inline constexpr Operation kOperations[] = {
    {"clock", "now", 0, Access::kRead, false},
    {"clock", "unix_ms", 0, Access::kRead, false},
    {"notes", "get", 1, Access::kRead, false},
    {"notes", "list", 0, Access::kRead, false},
    {"notes", "put", 2, Access::kWrite, false},
    {"files", "list", 1, Access::kRead, false},
    {"files", "read", 1, Access::kRead, false},
    {"files", "write", 2, Access::kWrite, true},
    {"files", "append", 2, Access::kWrite, true},
    // What ctx.once, ctx.sleep and ctx.sleep_until are made of (lua_context.cc, steps.h). Steps need no grant.
    {"steps", "begin", 1, Access::kNone, false},
    {"steps", "end", 2, Access::kNone, false},
    {"steps", "fail", 1, Access::kNone, false},
    {"timer", "sleep", 2, Access::kRead, false},
    {"timer", "sleep_until", 2, Access::kRead, false},
};
const Operation* find_operation(std::string_view power, std::string_view name);
Access granted(const Grants& grants, std::string_view power);

struct HostCall {
  std::string power;
  std::string op;
  std::vector<std::string> args;  // UTF-8, may hold NUL

  friend bool operator==(const HostCall&, const HostCall&) = default;
};

// Either a value (null, boolean, integer, string, or a list of strings), which the script gets, or an error text,
// which the script gets as `nil, text`.
struct HostAnswer {
  bool ok = false;
  json::value value;
  std::string error;
  // The run ends here, without an answer: the call is to run again from its start at this time (UTC).
  std::optional<std::int64_t> sleep_until_ms = std::nullopt;

  static HostAnswer of(json::value value) { return {true, std::move(value), {}, {}}; }
  static HostAnswer of(std::string_view text) { return {true, json::string_view(text.data(), text.size()), {}, {}}; }
  static HostAnswer of(const char* text) { return of(std::string_view(text)); }
  static HostAnswer failure(std::string text) { return {false, nullptr, std::move(text), {}}; }
  static HostAnswer sleep(std::int64_t until_ms) { return {false, nullptr, {}, until_ms}; }
  friend bool operator==(const HostAnswer&, const HostAnswer&) = default;
};

// Answers the host calls of one tool call, on the thread of that call, one at a time.
class HostPowers {
 public:
  virtual ~HostPowers() = default;
  // `call` names an operation of kOperations with the right number of arguments, and its plugin was granted it.
  virtual HostAnswer answer(const HostCall& call) = 0;
};

// One power. A session puts together those it offers.
class Power {
 public:
  virtual ~Power() = default;
  virtual HostAnswer answer(const HostCall& call) = 0;
};

// Dispatches to the powers put in; the others answer "power NAME is not available here". Borrows them.
class PowerSet : public HostPowers {
 public:
  void set(std::string power, Power& implementation);
  HostAnswer answer(const HostCall& call) override;

 private:
  std::vector<std::pair<std::string, Power*>> powers_;
};

// Hands each call on and shows it with its answer to `record`, in order; what a journal needs for a replay.
class RecordingPowers : public HostPowers {
 public:
  using Record = std::function<void(const HostCall&, const HostAnswer&)>;
  RecordingPowers(HostPowers& inner, Record record) : inner_(inner), record_(std::move(record)) {}
  HostAnswer answer(const HostCall& call) override;

 private:
  HostPowers& inner_;
  Record record_;
};

struct RecordedHostCall {
  HostCall call;
  HostAnswer answer;
};

// Answers from a record. A call that differs from the recorded one, or comes after the last, gets an error, and
// diverged() says where.
class ReplayPowers : public HostPowers {
 public:
  explicit ReplayPowers(std::vector<RecordedHostCall> record) : record_(std::move(record)) {}
  HostAnswer answer(const HostCall& call) override;
  const std::string& diverged() const { return diverged_; }
  std::size_t used() const { return at_; }

 private:
  std::vector<RecordedHostCall> record_;
  std::size_t at_ = 0;
  std::string diverged_;
};

// {"power":…,"op":…,"args":[…],"ok":…} and back, one line of a journal.
json::value to_json_value(const RecordedHostCall& recorded);
Result<RecordedHostCall> recorded_host_call(const json::value& value);

}  // namespace longhaul::sandbox
