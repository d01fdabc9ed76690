// The program: starts the sandbox's zygote while the process is still small, reads the command line, runs one command.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <functional>
#include <iostream>
#include <system_error>

#include "model/engine.h"
#include "runtime/base/log.h"
#include "runtime/base/sizes.h"
#include "runtime/cli/options.h"
#include "runtime/settings.h"

namespace longhaul::cli {
namespace {

// CLI11's own range lets "nan" through, which is on neither side of a bound.
CLI::Validator number_in(double low, double high) {
  return CLI::Validator(
      [low, high](std::string& text) -> std::string {
        double value = 0;
        if (CLI::detail::lexical_cast(text, value) && value >= low && value <= high) return "";
        return fmt::format("{} is not a number from {} to {}", text, low, high);
      },
      fmt::format("in [{} - {}]", low, high));
}

// CLI11 reads as much of a number as it understands and cuts what is larger than the type holds.
CLI::Validator whole_in(std::int64_t low, std::int64_t high) {
  return CLI::Validator(
      [low, high](std::string& text) -> std::string {
        std::int64_t value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        const bool whole = error == std::errc() && end == text.data() + text.size();
        return whole && value >= low && value <= high
                   ? ""
                   : fmt::format("{} is not a whole number from {} to {}", text, low, high);
      },
      fmt::format("in [{} - {}]", low, high));
}

// Every command takes --model and --store, so that scripts can give them always; where they mean nothing they are not
// listed.
// CLI11 takes -1 for the largest number and cuts what is larger still.
CLI::Validator whole_number() {
  return CLI::Validator(
      [](std::string& text) -> std::string {
        std::uint64_t value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error == std::errc() && end == text.data() + text.size()) return "";
        return fmt::format("{} is not a whole number from 0 to 18446744073709551615", text);
      },
      "");
}

void add_common(CLI::App* app, CommonOptions& common, bool model, bool store) {
  if (!model) app->add_option("--model", common.model)->group("");
  if (!store) app->add_option("--store", common.store)->group("");
  if (model) {
    app->add_option("--model", common.model, "checkpoint folder (default: the built-in pico)")->type_name("DIR");
    app->add_option("--threads", common.n_threads, "threads for the model; never changes results")
        ->check(whole_in(1, 1024));
    app->add_option("--kernels", common.kernels, "force an instruction set, e.g. scalar (default: the widest)");
    app->add_option("--chat-format", common.chat_format, "nano or ultra, where the checkpoint does not say")
        ->check(CLI::IsMember({"nano", "ultra"}));
  }
  if (store) {
    app->add_option("--store", common.store,
                    "where sessions live (default: $LONGHAUL_STORE, else ~/.local/share/longhaul)")
        ->type_name("DIR");
  }
  app->add_flag("--json", common.json, "one JSON object a line on standard output");
  app->add_option("--log", common.log_level, "debug, info, warn, error or off; goes to standard error")
      ->check(CLI::IsMember({"debug", "info", "warn", "error", "off"}));
}

// `prefix`: "" where the whole text is meant, else of an answer.
void add_response(CLI::App* app, ResponseOptions& response, const std::string& prefix) {
  const std::string what = prefix.empty() ? "the text" : "answers";
  auto* schema = app->add_option("--" + prefix + "schema", response.schema,
                                 what + " must be JSON of this schema; what is not enforced in it is refused by name")
                     ->type_name("FILE");
  auto* grammar = app->add_option("--" + prefix + "grammar", response.grammar,
                                  what + " must fit this EBNF (name ::= ..., from the rule root)")
                      ->type_name("FILE")
                      ->excludes(schema);
  app->add_option("--" + prefix + "regex", response.regex, what + " must fit this pattern from beginning to end")
      ->type_name("RE")
      ->excludes(schema)
      ->excludes(grammar);
}

void add_trajectory(CLI::App* app, TrajectoryOptions& trajectory) {
  app->add_option("--seed", trajectory.seed, "seed of the draws")->check(whole_number());
  app->add_option("--temperature", trajectory.temperature, "0 is greedy")->check(number_in(0, 100));
  app->add_option("--top-p", trajectory.top_p, "keep the most likely tokens up to this mass")->check(number_in(0, 1));
  app->add_option("--top-k", trajectory.top_k, "keep this many tokens; 0 keeps all")->check(whole_in(0, 1 << 30));
  app->add_option("--reasoning", trajectory.reasoning, "on, off, low, efficient, or a budget in tokens")
      ->check([](const std::string& text) {
        runtime::Settings probe;
        auto ok = runtime::parse_reasoning(text, probe);
        return ok ? std::string() : ok.error().message;
      });
  app->add_option("--context", trajectory.context, "tokens of context at most; at the limit the turn ends as `length`")
      ->check(whole_in(16, std::int64_t{1} << 40));
  app->add_option("--max-turns", trajectory.max_turns, "assistant messages in this exchange at most")
      ->check(whole_in(1, std::int64_t{1} << 40));
  app->add_option("--files", trajectory.files, "folder that the file tools may see (default: the session's own)")
      ->type_name("DIR");
  app->add_flag("--read-only", trajectory.read_only_files, "the file tools may not write");
  auto* budget =
      app->add_option("--kv-budget", trajectory.kv_budget,
                      "read so many KV pages a layer and token at most, the most promising ones; 0 reads all (exact)")
          ->type_name("PAGES")
          ->check([](const std::string& text) {
            std::int64_t pages = 0;
            const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), pages);
            const bool good = ec == std::errc() && end == text.data() + text.size() &&
                              (pages == 0 || (pages >= model::kKvPagesAlways && pages <= (std::int64_t{1} << 40)));
            return good ? std::string()
                        : fmt::format("{} is not 0 or a number of pages from {} on", text, model::kKvPagesAlways);
          });
  app->add_option("--kv-error", trajectory.kv_error,
                  "read KV pages until the rest holds less than this share of attention; 0 reads all (exact)")
      ->type_name("E")
      ->check(number_in(0, 0.999999))
      ->excludes(budget);
  app->add_option("--speculate", trajectory.speculate,
                  "draft this many tokens with the MTP module; never changes results")
      ->check(whole_in(0, 16));
  app->add_option_function<std::string>(
         "--memory", [&trajectory](const std::string& text) { trajectory.memory = *parse_bytes(text); },
         "memory that the states of sessions and the KV pages read back (a quarter of it, 1 GiB at most) may take,\n"
         "e.g. 512M or 2G; a session that needs more ends with an error")
      ->check(CLI::Validator(
          [](std::string& text) -> std::string {
            auto bytes = parse_bytes(text);
            if (!bytes) return bytes.error().message;
            return *bytes > 0 ? "" : "a budget of 0 bytes holds nothing";
          },
          ""))
      ->type_name("BYTES");
  add_response(app, trajectory.response, "response-");
  app->add_flag("--response-free", trajectory.response.free, "answers may be any text (again)");
  app->add_flag("--replay", trajectory.replay,
                "continue a session of another model or numerics by reading its tokens again");
}

LogLevel level_of(const std::string& name) {
  if (name == "debug") return LogLevel::kDebug;
  if (name == "info") return LogLevel::kInfo;
  if (name == "error") return LogLevel::kError;
  if (name == "off") return LogLevel::kOff;
  return LogLevel::kWarn;
}

int run(int argc, char** argv, sandbox::Zygote& zygote) {
  CLI::App app{"longhaul: an embedded runtime for long-running agents"};
  app.require_subcommand(1);
  app.set_version_flag("--version", "longhaul " LONGHAUL_VERSION);
  app.footer("Exit status: 0 done, 1 failed, 2 wrong usage, 3 in doubt or waiting for approval, 130 interrupted.");

  const CommonOptions* chosen = nullptr;
  std::function<int()> command;
  auto on = [&](CLI::App* sub, const CommonOptions& common, std::function<int()> action) {
    sub->callback([&chosen, &command, &common, action = std::move(action)] {
      chosen = &common;
      command = action;
    });
  };

  RunOptions run_options;
  auto* run_app = app.add_subcommand("run", "start a trajectory and drive it to its final answer");
  add_common(run_app, run_options.common, true, true);
  add_trajectory(run_app, run_options.trajectory);
  run_app->add_option("--agent", run_options.agent, "agent file (default: the built-in agent)")->type_name("FILE.lua");
  run_app->add_option("--session", run_options.session, "name of the session (default: a new name)")->type_name("NAME");
  run_app->add_option("TASK", run_options.task, "what to do; - reads it from standard input")->required();
  on(run_app, run_options.common, [&] { return run_command(run_options, zygote); });

  ResumeOptions resume_options;
  auto* resume_app =
      app.add_subcommand("resume", "go on where a session is: finish what was cut off, or take a new message");
  add_common(resume_app, resume_options.common, true, true);
  add_trajectory(resume_app, resume_options.trajectory);
  resume_options.trajectory.wait = false;
  resume_app->add_flag("--wait", resume_options.trajectory.wait,
                       "if a call sleeps, wait for its time (default: say when it is, and end)");
  resume_app->add_option("NAME", resume_options.session, "the session")->required();
  resume_app->add_option("MESSAGE", resume_options.message, "a new message; - reads it from standard input");
  on(resume_app, resume_options.common, [&] { return resume_command(resume_options, zygote); });

  RunOptions chat_options;
  auto* chat_app = app.add_subcommand("chat", "talk in the terminal; /help there lists the commands");
  add_common(chat_app, chat_options.common, true, true);
  add_trajectory(chat_app, chat_options.trajectory);
  chat_app->add_option("--agent", chat_options.agent, "agent file (default: the built-in agent)")
      ->type_name("FILE.lua");
  chat_app->add_option("--session", chat_options.session, "go on in this session, or start it")->type_name("NAME");
  on(chat_app, chat_options.common, [&] { return chat_command(chat_options, zygote); });

  TopOptions top;
  auto* top_app =
      app.add_subcommand("top", "what the sessions of a store do now, also while another process runs them");
  add_common(top_app, top.common, false, true);
  top_app->add_option("--interval", top.interval_seconds, "seconds between two looks (default: 1)")
      ->check(number_in(0.1, 3600));
  top_app->add_flag("--once", top.once, "one look, then end; else until Ctrl-C, which ends it with status 0");
  on(top_app, top.common, [&] { return top_command(top); });

  SessionsOptions sessions;
  auto* sessions_app =
      app.add_subcommand("sessions", "list, show, fork, rewind, diff, export, import, verify, settle, delete, gc");
  sessions_app->require_subcommand(1);
  auto session_command = [&](const char* name, const char* help, bool required, int (*action)(const SessionsOptions&)) {
    auto* sub = sessions_app->add_subcommand(name, help);
    add_common(sub, sessions.common, false, true);
    if (required) sub->add_option("NAME", sessions.name, "the session")->required();
    on(sub, sessions.common, [&sessions, action] { return action(sessions); });
    return sub;
  };
  session_command("list", "all sessions of the store", false, sessions_list);
  session_command("show", "one session: turns, calls, tokens, digest", true, sessions_show);
  auto* fork_app = session_command("fork", "a new session that shares this one's past", true, sessions_fork);
  fork_app->add_option("NEW", sessions.other, "name of the new session")->required();
  auto* fork_turn = fork_app->add_option("--at", sessions.at_turn, "fork after this turn (default: now)")
                        ->type_name("TURN")
                        ->check(whole_in(0, INT64_MAX));
  fork_app->add_option("--at-token", sessions.at_token, "fork after this many tokens")
      ->type_name("N")
      ->check(whole_in(0, INT64_MAX))
      ->excludes(fork_turn);
  fork_app->add_option("--seed", sessions.seed, "another seed from there on")->check(whole_number());
  auto* rewind_app = session_command("rewind", "go back, keeping what is before", true, sessions_rewind);
  auto* rewind_turn = rewind_app->add_option("--to", sessions.at_turn, "the end of this turn (0: the start)")
                          ->type_name("TURN")
                          ->check(whole_in(0, INT64_MAX));
  rewind_app->add_option("--to-token", sessions.at_token, "this many tokens")
      ->type_name("N")
      ->check(whole_in(0, INT64_MAX))
      ->excludes(rewind_turn);
  auto* diff_app = session_command("diff", "where two sessions part, and what each did after", true, sessions_diff);
  diff_app->add_option("OTHER", sessions.other, "the other session")->required();
  auto* export_app = session_command("export", "write one file that another store can take in", true, sessions_export);
  export_app->add_option("FILE", sessions.file, "where to; replaced only if it is an export")->required();
  export_app
      ->add_option("--since", sessions.since,
                   "only what came after this turn; the other store must hold what is before")
      ->type_name("TURN")
      ->check(whole_in(1, std::int64_t{1} << 62));
  auto* import_app = session_command("import", "take in an exported session; checked before anything is changed", false,
                                     sessions_import);
  import_app->add_option("FILE", sessions.file, "an exported session")->required();
  import_app->add_option("--as", sessions.as, "its name here (default: the one it had)")->type_name("NAME");
  auto* verify_app = sessions_app->add_subcommand("verify", "read everything and check it");
  add_common(verify_app, sessions.common, true, true);
  verify_app->add_option("NAME", sessions.name, "one session (default: the whole store)");
  verify_app->add_flag("--deep", sessions.deep, "also run the model over the recorded tokens and compare the states");
  verify_app->add_flag("--rebuild", sessions.rebuild,
                       "drop damaged states and pages and make them again from the tokens, if no token is missing");
  verify_app
      ->add_option("--repair-copy", sessions.repair_copy,
                   "put what is whole of a store, which may be one that does not open, into a new one, and say what is "
                   "missing")
      ->type_name("DIR");
  on(verify_app, sessions.common, [&] { return sessions_verify(sessions); });
  auto* settle_app = session_command(
      "settle", "say what became of a call in doubt, or whether a call that waits for approval may be made", true,
      sessions_settle);
  auto* done = settle_app->add_option("--done", sessions.done, "it happened; this is its result")->type_name("JSON");
  settle_app
      ->add_option("--notes", sessions.notes,
                   "what the call would have left in the session's notes: {\"key\": \"text\"}")
      ->type_name("JSON")
      ->needs(done);
  auto* skip = settle_app->add_flag("--skip", sessions.skip, "it did not happen, and is not to")->excludes(done);
  settle_app->add_flag("--retry", sessions.retry, "it did not happen; call it again")->excludes(done)->excludes(skip);
  auto* approve = settle_app->add_flag("--approve", sessions.approve, "the call that waits may be made");
  auto* deny = settle_app->add_option("--deny", sessions.deny, "it may not; the model is told, with the reason")
                   ->type_name("[REASON]")
                   ->expected(0, 1)
                   ->excludes(approve);
  on(settle_app, sessions.common, [&] {
    sessions.has_done = done->count() != 0;
    sessions.has_deny = deny->count() != 0;
    return sessions_settle(sessions);
  });
  session_command("delete", "forget a session and its own files; what forks share with it stays", true, sessions_delete)
      ->add_flag("--keep-files", sessions.keep_files, "leave the folder of its files");
  session_command("gc", "free what no session needs", false, sessions_gc);

  TextOptions text;
  auto* generate_app = app.add_subcommand("generate", "plain continuation, without chat layout");
  add_common(generate_app, text.common, true, false);
  auto* prompt = generate_app->add_option("--prompt", text.text, "text to continue");
  generate_app->add_option("--tokens", text.tokens, "token ids to continue, comma separated")->excludes(prompt);
  generate_app->add_option("--max-tokens", text.max_tokens, "at most this many new tokens")
      ->check(whole_in(0, std::int64_t{1} << 30));
  generate_app->add_option("--temperature", text.temperature, "0 is greedy")->check(number_in(0, 100));
  generate_app->add_option("--top-p", text.top_p, "keep the most likely tokens up to this mass")
      ->check(number_in(0, 1));
  generate_app->add_option("--top-k", text.top_k, "keep this many tokens; 0 keeps all")->check(whole_in(0, 1 << 30));
  generate_app->add_option("--seed", text.seed, "seed of the draws")->check(whole_number());
  add_response(generate_app, text.response, "");
  on(generate_app, text.common, [&] {
    text.has_tokens = generate_app->count("--tokens") != 0;
    return generate_command(text);
  });
  auto* logits_app = app.add_subcommand("logits", "logits of every position, to compare with other implementations");
  add_common(logits_app, text.common, true, false);
  logits_app->add_option("--tokens", text.tokens, "token ids, comma separated")->required();
  logits_app->add_option("--chunk", text.chunk, "feed this many tokens a step (default: 512); never changes results")
      ->check(whole_in(0, std::int64_t{1} << 30));
  logits_app->add_option("--out", text.out, "file to write: tensor `logits` [T, V], F32")
      ->required()
      ->type_name("FILE.safetensors");
  on(logits_app, text.common, [&] { return logits_command(text); });
  auto* tokenize_app = app.add_subcommand("tokenize", "text to token ids");
  add_common(tokenize_app, text.common, true, false);
  tokenize_app->add_option("TEXT", text.text, "the text; - reads it from standard input")->required();
  on(tokenize_app, text.common, [&] { return tokenize_command(text); });
  auto* detokenize_app = app.add_subcommand("detokenize", "token ids to text");
  add_common(detokenize_app, text.common, true, false);
  detokenize_app->add_option("IDS", text.tokens, "comma separated")->required();
  on(detokenize_app, text.common, [&] { return detokenize_command(text); });

  ModelCommandOptions model_options;
  auto* model_app = app.add_subcommand("model", "inspect, verify, plan, bench");
  model_app->require_subcommand(1);
  auto* inspect_app = model_app->add_subcommand("inspect", "what is in a checkpoint and what it costs");
  add_common(inspect_app, model_options.common, true, false);
  on(inspect_app, model_options.common, [&] { return model_inspect(model_options); });
  auto* model_verify_app = model_app->add_subcommand("verify", "read every byte and recompute the digest");
  add_common(model_verify_app, model_options.common, true, true);
  on(model_verify_app, model_options.common, [&] { return model_verify(model_options); });
  auto* plan_app = model_app->add_subcommand("plan", "what fits into a memory budget");
  add_common(plan_app, model_options.common, true, false);
  plan_app->add_option("--memory", model_options.memory, "bytes, or 16G, 512M (default: this machine's)");
  plan_app->add_option("--context", model_options.context, "tokens of context a sequence")
      ->check(whole_in(1, std::int64_t{1} << 40));
  plan_app->add_option("--sequences", model_options.sequences, "sequences at once")->check(whole_in(1, 1 << 30));
  on(plan_app, model_options.common, [&] { return model_plan(model_options); });
  auto* bench_app = model_app->add_subcommand("bench", "tokens per second, with the bound beside them");
  add_common(bench_app, model_options.common, true, false);
  bench_app->add_option("--prompt", model_options.n_prompt, "tokens of prefill")->check(whole_in(1, 1 << 24));
  bench_app->add_option("--gen", model_options.n_generate, "tokens of decode")->check(whole_in(1, 1 << 24));
  bench_app->add_option("--depth", model_options.depth, "context before either")->check(whole_in(0, 1 << 24));
  bench_app->add_option("--batch", model_options.batch, "sequences at once")->check(whole_in(1, 4096));
  on(bench_app, model_options.common, [&] { return model_bench(model_options); });

  GrammarOptions grammar;
  auto* grammar_app = app.add_subcommand("grammar", "check, bench");
  grammar_app->require_subcommand(1);
  auto* check_app = grammar_app->add_subcommand("check", "schemas with instances: what is accepted, what is refused");
  add_common(check_app, grammar.common, false, false);
  check_app->add_option("--batch", grammar.batch, "JSON lines; - reads standard input")
      ->required()
      ->type_name("FILE.jsonl");
  check_app
      ->add_option("--tokenizer", grammar.tokenizer,
                   "judge token by token with the masks of this folder's tokenizer.json (default: by bytes)")
      ->type_name("DIR");
  on(check_app, grammar.common, [&] { return grammar_check(grammar); });
  auto* grammar_bench_app =
      grammar_app->add_subcommand("bench", "times of masks, accepting and compiling over the valid instances");
  add_common(grammar_bench_app, grammar.common, true, false);
  grammar_bench_app->add_option("--batch", grammar.batch, "JSON lines; - reads standard input")
      ->required()
      ->type_name("FILE.jsonl");
  grammar_bench_app->add_option("--tokenizer", grammar.tokenizer, "a folder with tokenizer.json (default: the model's)")
      ->type_name("DIR");
  grammar_bench_app
      ->add_option("--random", grammar.n_random, "random cuts into tokens of each instance besides the tokenizer's")
      ->check(whole_in(0, 1000));
  grammar_bench_app->add_option("--seed", grammar.seed, "of the random cuts")->check(whole_number());
  grammar_bench_app->add_option("--replays", grammar.replays, "also write every replay with its times, as JSON lines")
      ->type_name("FILE.jsonl");
  on(grammar_bench_app, grammar.common, [&] { return grammar_bench(grammar); });

  ToolsOptions tools;
  auto* tools_app = app.add_subcommand("tools", "new, check, call, test, list, sandbox, replay");
  tools_app->require_subcommand(1);
  auto tool_command = [&](const char* name, const char* help, std::function<int()> action) {
    auto* sub = tools_app->add_subcommand(name, help);
    add_common(sub, tools.common, false, std::string_view(name) == "replay");
    on(sub, tools.common, std::move(action));
    return sub;
  };
  tool_command("new", "write a plugin to start from", [&] { return tools_new(tools); })
      ->add_option("NAME", tools.file, "name of the tool; writes NAME.lua here")
      ->required();
  tool_command("check", "load a plugin as the runtime would", [&] { return tools_check(tools, zygote); })
      ->add_option("FILE", tools.file, "the plugin")
      ->required();
  auto* call_app = tool_command("call", "run one call in the sandbox", [&] { return tools_call(tools, zygote); });
  call_app->add_option("FILE", tools.file, "the plugin")->required();
  call_app->add_option("ARGUMENTS", tools.arguments, "a JSON object")->required();
  call_app->add_option("--files", tools.files, "folder that the tool may see")->type_name("DIR");
  tool_command("test", "run the cases a plugin lists under `tests`", [&] { return tools_test(tools, zygote); })
      ->add_option("FILE", tools.file, "the plugin")
      ->required();
  tool_command("list", "the shipped plugins", [&] { return tools_list(tools, zygote); });
  tool_command("sandbox", "which layers hold on this machine", [&] { return tools_sandbox(tools, zygote); });
  auto* replay_app =
      tool_command("replay", "run a past call again from its record", [&] { return tools_replay(tools, zygote); });
  replay_app->add_option("SESSION", tools.session, "the session")->required();
  replay_app->add_option("CALL", tools.call, "the call's id")->required();

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? kExitDone : kExitUsage;
  }
  set_log_level(level_of(chosen->log_level));
  return command();
}

// What could not be written was not said: a script that asked must not take silence for an answer.
int say_what_was_lost(int status) {
  std::cout.flush();
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0 && std::cout.good()) return status;
  std::fputs("longhaul: cannot write to standard output\n", stderr);
  return status == kExitDone ? kExitFailed : status;
}

// A closed standard stream would be the next file that is opened, and the answer would be written into the store.
void keep_standard_streams() {
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) < 0 && errno == EBADF && ::open("/dev/null", O_RDWR) != fd) ::_exit(kExitFailed);
  }
}

}  // namespace
}  // namespace longhaul::cli

int main(int argc, char** argv) {
  using longhaul::cli::say_what_was_lost;
  longhaul::cli::keep_standard_streams();
  auto zygote = longhaul::sandbox::Zygote::start();
  if (!zygote) {
    std::fprintf(stderr, "longhaul: %s\n", zygote.error().message.c_str());
    return longhaul::cli::kExitFailed;
  }
  try {
    return say_what_was_lost(longhaul::cli::run(argc, argv, **zygote));
  } catch (const std::system_error&) {
    // Only fmt::print throws: a stream takes no more. What was done is stored.
    return say_what_was_lost(longhaul::cli::kExitFailed);
  }
}
