// tools new, check, call, test, list, sandbox, replay.
#include <fmt/format.h>

#include <filesystem>

#include "runtime/agent.h"
#include "runtime/base/file.h"
#include "runtime/cli/support.h"
#include "runtime/tool_runner.h"
#include "sessions/session_manager.h"

namespace longhaul::cli {
namespace {

namespace fs = std::filesystem;

Result<std::unique_ptr<sandbox::WorkerPool>> start_pool(sandbox::Zygote& zygote) {
  return sandbox::WorkerPool::start(zygote);
}

Result<runtime::LoadedTool> load(sandbox::WorkerPool& pool, const std::string& path) {
  auto source = runtime::load_tool(pool, path);
  if (!source) return source.error();
  return runtime::check_tool(*source);
}

std::vector<std::string> annotations(const runtime::LoadedTool& tool) {
  std::vector<std::string> out;
  for (const tools::SchemaNote& note : tool.tool.parameters->annotations()) {
    out.push_back(fmt::format("{} at {} only annotates{}", note.keyword, note.place.empty() ? "#" : note.place,
                              note.text.empty() ? "" : ": " + note.text));
  }
  return out;
}

json::value powers(const runtime::LoadedTool& tool) {
  const json::value* declared = tool.source.manifest.if_contains("powers");
  if (declared == nullptr || !declared->is_object()) return json::object{};
  return *declared;
}

json::object describe(const runtime::LoadedTool& tool) {
  json::array notes;
  for (const std::string& note : annotations(tool)) notes.emplace_back(note);
  const tools::ToolManifest& manifest = tool.tool.manifest;
  return {{"name", manifest.name},
          {"description", manifest.description},
          {"effect", tools::to_string(manifest.effect)},
          {"parameters", manifest.parameters},
          {"powers", powers(tool)},
          {"annotations", std::move(notes)},
          {"path", tool.source.path}};
}

void print_outcome(const ToolsOptions& options, const sandbox::CallOutcome& outcome) {
  if (options.common.json) {
    print_json({{"kind", sandbox::to_string(outcome.kind)},
                {"text", outcome.text},
                {"log", outcome.log},
                {"cpu_ms", outcome.cpu_ms},
                {"host_calls", outcome.n_host_calls}});
    return;
  }
  if (!outcome.log.empty()) fmt::print(stderr, "{}{}", printable(outcome.log), outcome.log.ends_with('\n') ? "" : "\n");
  if (outcome.kind == sandbox::CallOutcome::Kind::kOk) {
    fmt::print("{}\n", printable(outcome.text));
  } else {
    fmt::print(stderr, "longhaul: {}: {}\n", sandbox::to_string(outcome.kind), printable(outcome.text));
  }
}

}  // namespace

int tools_new(const ToolsOptions& options) {
  if (!tools::is_tool_name(options.file)) {
    return fail(options.common, invalid_argument(fmt::format(
                                    "\"{}\" is no name of a tool: letters, digits and _, at most 64, no digit first",
                                    options.file.substr(0, 100))));
  }
  const std::string path = options.file + ".lua";
  std::error_code ec;
  if (fs::exists(path, ec)) {
    return fail(options.common, make_error(ErrorCode::kConflict, fmt::format("{} exists already", path)));
  }
  const std::string text = fmt::format(R"(-- Check it with: longhaul tools check {0}.lua
-- Try it with:   longhaul tools call {0}.lua '{{"name": "world"}}'
return {{
  name = "{0}",
  description = "Say hello to somebody",
  -- JSON Schema; the order of its keys is the order the model sees.
  parameters = [[{{
    "type": "object",
    "properties": {{"name": {{"type": "string"}}}},
    "required": ["name"],
    "additionalProperties": false
  }}]],
  -- read: may run again; idempotent: may run again with the same ctx.key; once: never runs twice.
  effect = "read",
  -- What it may do: notes = "read" or "write", files = "read" or "write", clock = true, timer = true. Nothing by default.
  powers = {{}},
  -- approve = true,  -- a person is asked before each call
  -- A string is the result; nil and a message is an error that the model sees.
  -- For long work: ctx.once(key, fn) makes a step once, however often the call runs again; ctx.sleep(seconds) and
  -- ctx.sleep_until(unix_time) end this run, and the call runs again from its start when the time has come.
  run = function(args, ctx)
    return "hello, " .. args.name
  end,
  -- Run by: longhaul tools test {0}.lua
  tests = {{
    {{ args = {{ name = "world" }}, result = "hello, world" }},
  }},
}}
)",
                                       options.file);
  if (auto ok = write_file_atomic(path, text); !ok) return fail(options.common, ok.error());
  if (options.common.json) {
    print_json({{"file", path}});
  } else {
    fmt::print("{}\n", path);
  }
  return kExitDone;
}

int tools_check(const ToolsOptions& options, sandbox::Zygote& zygote) {
  auto pool = start_pool(zygote);
  if (!pool) return fail(options.common, pool.error());
  auto tool = load(**pool, options.file);
  if (!tool) return fail(options.common, tool.error());
  if (options.common.json) {
    print_json(describe(*tool));
  } else {
    const tools::ToolManifest& manifest = tool->tool.manifest;
    fmt::print("{}: {}\neffect  {}{}\npowers  {}\n", manifest.name, printable(manifest.description),
               tools::to_string(manifest.effect),
               manifest.effect_given ? "" : " (not declared: the one that never repeats anything)",
               to_json(powers(*tool)));
    for (const std::string& note : annotations(*tool)) fmt::print("note    {}\n", printable(note));
    fmt::print("ok\n");
  }
  return kExitDone;
}

int tools_call(const ToolsOptions& options, sandbox::Zygote& zygote) {
  auto arguments = parse_json(options.arguments);
  if (!arguments) return fail(options.common, with_context("arguments", arguments.error()));
  if (!arguments->is_object()) return fail(options.common, invalid_argument("arguments are not a JSON object"));
  auto pool = start_pool(zygote);
  if (!pool) return fail(options.common, pool.error());
  auto tool = load(**pool, options.file);
  if (!tool) return fail(options.common, tool.error());
  auto outcome = runtime::try_call(*tool, arguments->get_object(), options.files, zygote, **pool);
  if (!outcome) return fail(options.common, outcome.error());
  print_outcome(options, *outcome);
  return outcome->kind == sandbox::CallOutcome::Kind::kOk ? kExitDone : kExitFailed;
}

int tools_test(const ToolsOptions& options, sandbox::Zygote& zygote) {
  auto pool = start_pool(zygote);
  if (!pool) return fail(options.common, pool.error());
  auto tool = load(**pool, options.file);
  if (!tool) return fail(options.common, tool.error());
  const json::value* cases = tool->source.manifest.if_contains("tests");
  if (cases == nullptr || !cases->is_array() || cases->get_array().empty()) {
    return fail(options.common, invalid_argument(fmt::format("{} lists no `tests`", options.file)));
  }
  int passed = 0, failed = 0;
  for (const json::value& entry : cases->get_array()) {
    const json::object* test = entry.if_object();
    const json::value* args = test != nullptr ? test->if_contains("args") : nullptr;
    const json::value* result = test != nullptr ? test->if_contains("result") : nullptr;
    const json::value* error = test != nullptr ? test->if_contains("error") : nullptr;
    const bool empty = args != nullptr && args->is_array() && args->get_array().empty();
    if (args == nullptr || (!args->is_object() && !empty) || (result == nullptr) == (error == nullptr)) {
      return fail(options.common,
                  invalid_argument(fmt::format("{}: test {} needs `args` and one of `result` and `error`", options.file,
                                               passed + failed + 1)));
    }
    auto outcome = runtime::try_call(*tool, empty ? json::object{} : args->get_object(), options.files, zygote, **pool);
    if (!outcome) return fail(options.common, outcome.error());
    const json::value& expected = result != nullptr ? *result : *error;
    const std::string text = expected.is_string() ? std::string(expected.get_string()) : to_json(expected);
    const bool right =
        (outcome->kind == sandbox::CallOutcome::Kind::kOk) == (result != nullptr) && outcome->text == text;
    right ? ++passed : ++failed;
    if (options.common.json) {
      print_json({{"test", passed + failed}, {"passed", right}, {"text", outcome->text}, {"expected", text}});
    } else if (!right) {
      fmt::print("test {}: {} \"{}\", expected \"{}\"\n", passed + failed, sandbox::to_string(outcome->kind),
                 printable(outcome->text), printable(text));
    }
  }
  if (!options.common.json) fmt::print("{} passed, {} failed\n", passed, failed);
  return failed == 0 ? kExitDone : kExitFailed;
}

int tools_list(const ToolsOptions& options, sandbox::Zygote& zygote) {
  auto pool = start_pool(zygote);
  if (!pool) return fail(options.common, pool.error());
  auto paths = runtime::shipped_plugins();
  if (!paths) return fail(options.common, paths.error());
  for (const std::string& path : *paths) {
    auto tool = load(**pool, path);
    if (!tool) return fail(options.common, tool.error());
    if (options.common.json) {
      print_json(describe(*tool));
    } else {
      fmt::print("{:<14} {:<11} {}\n", tool->tool.manifest.name, tools::to_string(tool->tool.manifest.effect),
                 printable(tool->tool.manifest.description));
    }
  }
  return kExitDone;
}

int tools_sandbox(const ToolsOptions& options, sandbox::Zygote& zygote) {
  auto report = zygote.probe();
  if (!report) return fail(options.common, report.error());
  if (options.common.json) {
    json::value value = report->to_json_value();
    if (value.is_object()) print_json(value.get_object());
  } else {
    for (const sandbox::Layer& layer : report->layers) {
      fmt::print("{:<16} {:<8} {}\n", layer.name, layer.holds ? "holds" : "missing", layer.detail);
    }
    fmt::print("plugins {}\n", report->plugins_allowed ? "may run" : "may not run: " + report->reason);
  }
  return report->plugins_allowed ? kExitDone : kExitFailed;
}

int tools_replay(const ToolsOptions& options, sandbox::Zygote& zygote) {
  auto path = store_folder(options.common);
  if (!path) return fail(options.common, path.error());
  sessions::StoreOptions store;
  store.create_if_missing = false;
  auto manager = sessions::SessionManager::open(*path, store);
  if (!manager) return fail(options.common, manager.error());
  auto pool = start_pool(zygote);
  if (!pool) return fail(options.common, pool.error());
  auto replay = runtime::replay_call(**manager, options.session, options.call, **pool);
  if (!replay) return fail(options.common, replay.error());
  if (options.common.json) {
    print_json({{"call", options.call},
                {"equal", replay->equal},
                {"recorded", replay->recorded},
                {"replayed", replay->replayed},
                {"log", replay->log},
                {"diverged", replay->diverged}});
  } else {
    fmt::print("recorded  {}\nreplayed  {}\n", printable(replay->recorded), printable(replay->replayed));
    if (!replay->log.empty()) fmt::print("log       {}\n", printable(replay->log));
    if (!replay->diverged.empty()) fmt::print("diverged  {}\n", printable(replay->diverged));
    fmt::print("{}\n", replay->equal ? "the same" : "not the same");
  }
  return replay->equal ? kExitDone : kExitFailed;
}

}  // namespace longhaul::cli
