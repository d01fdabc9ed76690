// A trajectory of the built-in model whose one changing tool leaves a witness outside the session: kv_put as the model
// knows it, which also appends a line to a file in the granted folder.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "runtime/base/json.h"
#include "tests/support/process.h"

namespace longhaul::testing_support {

inline bool have_builtin_model() {
  return std::filesystem::exists(std::string(LONGHAUL_SOURCE_DIR) + "/model/pico/model.safetensors");
}

// Names, descriptions and parameters are those of the shipped plugin, so the model behaves as with it. As `idempotent`
// the tool looks for its call's line before it writes; as `once` it just writes.
inline void write_witness_agent(const std::string& folder, const std::string& effect,
                                const std::string& more_fields = "") {
  const std::string shipped = std::string(LONGHAUL_SOURCE_DIR) + "/tools/plugins/";
  const std::string check = effect == "once" ? "" : R"(
    local seen = ctx.files.read("witness.txt") or ""
    if seen:find(ctx.call_id .. " ", 1, true) then
      ctx.notes.put(args.key, args.value)
      return "ok"
    end)";
  write_all(folder + "/witness.lua", R"(return {
  name = "kv_put",
  description = "Store a value under a key",
  parameters = [[{
    "type": "object",
    "properties": {"key": {"type": "string"}, "value": {"type": "string"}},
    "required": ["key", "value"],
    "additionalProperties": false
  }]],
  effect = ")" + effect + R"(",
  )" + more_fields + R"(
  powers = { notes = "write", files = "write" },
  run = function(args, ctx))" + check + R"(
    local ok, err = ctx.files.append("witness.txt", ctx.call_id .. " " .. args.key .. "=" .. args.value .. "\n")
    if not ok then return nil, err end
    ok, err = ctx.notes.put(args.key, args.value)
    if not ok then return nil, err end
    return "ok"
  end,
}
)");
  write_all(folder + "/agent.lua", R"(return {
  system = "You are a careful assistant. Use the tools to do what is asked, then answer briefly.",
  tools = { ")" + shipped + R"(calc.lua", "./witness.lua", ")" +
                                       shipped + R"(kv_get.lua", ")" + shipped +
                                       R"(write_file.lua" },
  limits = { turns = 12, message_tokens = 120, equal_calls = 3 },
}
)");
}

inline const std::string& witness_task() {
  static const std::string task =
      "1) calculate 4821 * 3\n2) add 17\n3) store it under total\n4) write it to notes/total.txt";
  return task;
}

struct Outcome {
  json::object shown;   // sessions show --json
  std::string witness;  // what the tool left outside
};

// One store with one session "s".
class Trial {
 public:
  Trial(const std::string& folder, std::string agent, std::string temperature, std::string seed)
      : store_(folder + "/store"),
        files_(folder + "/files"),
        agent_(std::move(agent)),
        temperature_(std::move(temperature)),
        seed_(std::move(seed)) {
    std::filesystem::create_directories(files_);
  }

  const std::string& store() const { return store_; }
  std::string witness() const { return read_all(files_ + "/witness.txt"); }

  RunResult start(const RunOptions& options = {}) const {
    return run_program({"run", "--json", "--store", store_, "--session", "s", "--agent", agent_, "--files", files_,
                        "--temperature", temperature_, "--seed", seed_, witness_task()},
                       options);
  }
  RunResult resume(const RunOptions& options = {}) const {
    return run_program({"resume", "--json", "--store", store_, "s"}, options);
  }
  bool exists() const { return run_program({"sessions", "show", "--store", store_, "s"}).status == 0; }
  // The message may not have been recorded when the process was killed: then the person asks again.
  RunResult go_on(const RunOptions& options = {}) const {
    RunResult shown = run_program({"sessions", "show", "--json", "--store", store_, "s"});
    if (shown.status != 0) return start(options);
    auto value = parse_json(shown.out);
    if (value && value->at("tokens").as_array().empty() && value->at("status").as_string() == "new") {
      return run_program({"resume", "--json", "--store", store_, "s", witness_task()}, options);
    }
    return resume(options);
  }

  Outcome outcome() const {
    Outcome outcome;
    RunResult shown = run_program({"sessions", "show", "--json", "--store", store_, "s"});
    EXPECT_EQ(shown.status, 0) << shown.err;
    auto value = parse_json(shown.out);
    if (value && value->is_object()) outcome.shown = value->get_object();
    outcome.witness = witness();
    return outcome;
  }

 private:
  std::string store_, files_, agent_, temperature_, seed_;
};

// What must be equal between a trajectory that was interrupted and one never touched.
inline void expect_same(const Outcome& a, const Outcome& b, const std::string& what) {
  EXPECT_EQ(a.shown.at("tokens"), b.shown.at("tokens")) << what;
  EXPECT_EQ(a.shown.at("digest"), b.shown.at("digest")) << what;
  EXPECT_EQ(a.shown.at("notes"), b.shown.at("notes")) << what;
  EXPECT_EQ(a.shown.at("draws"), b.shown.at("draws")) << what;
  EXPECT_EQ(a.shown.at("turns").as_array().size(), b.shown.at("turns").as_array().size()) << what;
  EXPECT_EQ(a.witness, b.witness) << what;
}

}  // namespace longhaul::testing_support
