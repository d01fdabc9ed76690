// What the command line says, as data: main.cc fills it (the only file that knows CLI11), the commands read it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sandbox/zygote.h"

namespace longhaul::cli {

// design: every command takes these.
struct CommonOptions {
  std::string model;  // empty: built in
  std::string store;  // empty: the default place
  bool json = false;
  int n_threads = 1;
  std::string kernels = "auto";
  std::string chat_format;
  std::string log_level = "warn";
};

// What form an answer must have: one of them at most.
struct ResponseOptions {
  std::string schema, grammar;       // files
  std::optional<std::string> regex;  // the pattern itself
  bool free = false;                 // any text again
};

// Shared by run, resume, chat. Unset: what the agent or the session says.
struct TrajectoryOptions {
  std::optional<std::uint64_t> seed;
  std::optional<float> temperature, top_p;
  std::optional<std::int32_t> top_k;
  std::string reasoning;  // on, off, low, efficient, or a budget in tokens
  std::optional<std::int64_t> context;
  std::optional<std::int64_t> max_turns;
  std::string files;  // folder that the file tools may see; empty: the session's own
  bool read_only_files = false;
  std::optional<std::int64_t> kv_budget;  // 0: exact
  std::optional<double> kv_error;         // 0: exact
  int speculate = 0;
  bool replay = false;
  std::uint64_t memory = 0;  // bytes that the state may take; 0: no bound
  ResponseOptions response;
  bool wait = true;  // resume: also for a timer that was set before
};

struct RunOptions {
  CommonOptions common;
  TrajectoryOptions trajectory;
  std::string agent;
  std::string session;
  std::string task;  // "-": standard input
};

struct ResumeOptions {
  CommonOptions common;
  TrajectoryOptions trajectory;
  std::string session;
  std::optional<std::string> message;
};

struct SessionsOptions {
  CommonOptions common;
  std::string name, other;  // NAME, and NEW or B
  std::optional<std::int64_t> at_turn, at_token;
  std::optional<std::uint64_t> seed;
  bool deep = false, rebuild = false;
  std::string repair_copy;             // verify --repair-copy DIR
  std::string file, as;                // export NAME FILE, import FILE --as NAME
  std::optional<std::uint64_t> since;  // export --since TURN
  std::string done, notes;             // settle --done JSON --notes JSON
  bool keep_files = false;             // delete --keep-files
  bool has_done = false, skip = false, retry = false;
  bool approve = false, has_deny = false;
  std::string deny;  // settle --deny REASON
};

struct TextOptions {
  CommonOptions common;
  std::string text;
  std::string tokens;  // comma separated ids
  bool has_tokens = false;
  std::int64_t max_tokens = 64;
  std::int64_t chunk = 0;
  std::string out;
  ResponseOptions response;
  float temperature = 0.0F, top_p = 1.0F;
  std::int32_t top_k = 0;
  std::uint64_t seed = 0;
};

struct ModelCommandOptions {
  CommonOptions common;
  std::int64_t n_prompt = 512, n_generate = 128, depth = 0, batch = 1;
  std::string memory;  // for plan
  std::int64_t context = 0, sequences = 1;
};

struct ToolsOptions {
  CommonOptions common;
  std::string file, arguments, session, call;
  std::string files;
};

struct TopOptions {
  CommonOptions common;
  double interval_seconds = 1;
  bool once = false;
};

struct GrammarOptions {
  CommonOptions common;
  std::string batch;
  std::string tokenizer;  // folder; empty: `check` goes by bytes, `bench` takes the model's
  int n_random = 3;
  std::uint64_t seed = 1;
  std::string replays;
};

// Exit status (design.md section 8).
inline constexpr int kExitDone = 0, kExitFailed = 1, kExitUsage = 2, kExitInDoubt = 3, kExitInterrupted = 130;

// Each returns the exit status. The zygote was started before anything else; commands that run no tool ignore it.
int run_command(const RunOptions& options, sandbox::Zygote& zygote);
int resume_command(const ResumeOptions& options, sandbox::Zygote& zygote);
int chat_command(const RunOptions& options, sandbox::Zygote& zygote);

int top_command(const TopOptions& options);

int sessions_list(const SessionsOptions& options);
int sessions_show(const SessionsOptions& options);
int sessions_fork(const SessionsOptions& options);
int sessions_rewind(const SessionsOptions& options);
int sessions_diff(const SessionsOptions& options);
int sessions_export(const SessionsOptions& options);
int sessions_import(const SessionsOptions& options);
int sessions_verify(const SessionsOptions& options);
int sessions_settle(const SessionsOptions& options);
int sessions_delete(const SessionsOptions& options);
int sessions_gc(const SessionsOptions& options);

int generate_command(const TextOptions& options);
int logits_command(const TextOptions& options);
int tokenize_command(const TextOptions& options);
int detokenize_command(const TextOptions& options);

int model_inspect(const ModelCommandOptions& options);
int model_verify(const ModelCommandOptions& options);
int model_plan(const ModelCommandOptions& options);
int model_bench(const ModelCommandOptions& options);

int tools_new(const ToolsOptions& options);
int tools_check(const ToolsOptions& options, sandbox::Zygote& zygote);
int tools_call(const ToolsOptions& options, sandbox::Zygote& zygote);
int tools_test(const ToolsOptions& options, sandbox::Zygote& zygote);
int tools_list(const ToolsOptions& options, sandbox::Zygote& zygote);
int tools_sandbox(const ToolsOptions& options, sandbox::Zygote& zygote);
int tools_replay(const ToolsOptions& options, sandbox::Zygote& zygote);

int grammar_check(const GrammarOptions& options);
int grammar_bench(const GrammarOptions& options);

}  // namespace longhaul::cli
