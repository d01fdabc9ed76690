#include "runtime/tool_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "runtime/base/check.h"
#include "runtime/base/rng.h"
#include "runtime/recall.h"
#include "runtime/response_format.h"
#include "runtime/trajectory.h"
#include "sandbox/powers/clock.h"
#include "sandbox/powers/files.h"
#include "sandbox/powers/notes.h"
#include "tools/dispatch.h"

namespace longhaul::runtime {
namespace {

using sandbox::CallOutcome;

sessions::Effect effect_of(tools::Effect effect) {
  switch (effect) {
    case tools::Effect::kRead:
      return sessions::Effect::kRead;
    case tools::Effect::kIdempotent:
      return sessions::Effect::kIdempotent;
    case tools::Effect::kOnce:
      return sessions::Effect::kOnce;
  }
  return sessions::Effect::kOnce;
}

// math.random of a call: a function of the session's seed and the call's number, so a repeated call draws the same.
std::uint64_t seed_of(std::uint64_t session_seed, std::uint64_t ordinal) {
  const PhiloxBlock block = philox(session_seed, {static_cast<std::uint32_t>(ordinal),
                                                  static_cast<std::uint32_t>(ordinal >> 32), 0, 0x746f6f6c /* tool */});
  return block[0] | (std::uint64_t{block[1]} << 32);
}

sandbox::Limits limits_of(const tools::ToolManifest& manifest) {
  sandbox::Limits limits;
  const tools::ToolLimits& given = manifest.limits;
  if (given.cpu_ms) limits.cpu_ms = *given.cpu_ms;
  if (given.wall_ms) limits.wall_ms = *given.wall_ms;
  if (given.memory_bytes) limits.memory_bytes = *given.memory_bytes;
  if (given.output_bytes) limits.output_bytes = *given.output_bytes;
  return limits;
}

sandbox::NoteMap notes_of(const json::object& initial, const sessions::Context& context) {
  sandbox::NoteMap notes;
  for (const auto& note : initial) notes[std::string(note.key())] = std::string(note.value().as_string());
  auto parsed = parse_json(context.notes_json(), {.bytes_max = std::size_t{1} << 30});
  if (!parsed || !parsed->is_object()) return notes;
  for (const auto& note : parsed->get_object()) {
    if (note.value().is_string()) notes[std::string(note.key())] = std::string(note.value().get_string());
  }
  return notes;
}

struct Kept {
  std::vector<sandbox::RecordedStep> steps;
  std::map<std::uint64_t, std::int64_t> wake_ms;
};

// What earlier runs of the call left in the journal.
Result<Kept> kept_of(const sessions::Context& context, std::uint64_t ordinal) {
  Kept kept;
  if (ordinal >= context.calls().size()) return kept;
  const sessions::Call& call = context.calls()[ordinal];
  kept.wake_ms = call.wake_ms;
  for (const sessions::CallStep& step : call.steps) {
    sandbox::RecordedStep recorded{step.key, step.value_json, {}};
    if (!step.notes_delta_json.empty()) {
      auto delta = parse_json(step.notes_delta_json);
      if (!delta) return with_context(fmt::format("step \"{}\" of call {}", step.key, ordinal), delta.error());
      for (const auto& note : delta->get_object()) {
        if (note.value().is_string()) {
          recorded.notes.emplace_back(std::string(note.key()), std::string(note.value().get_string()));
        }
      }
    }
    kept.steps.push_back(std::move(recorded));
  }
  return kept;
}

// Recorded answers may hold whole files; beyond this the record says so and the call cannot be replayed.
constexpr std::size_t kRecordBytesMax = std::size_t{1} << 20;

}  // namespace

Result<LoadedTool> check_tool(const ToolSource& source) {
  // `tests` are for people (`longhaul tools test`), not part of what the runtime goes by.
  json::object manifest = source.manifest;
  manifest.erase("tests");
  tools::Registry registry;
  if (auto ok = registry.add(manifest, source.text, source.path); !ok) return ok.error();
  const json::value* powers = manifest.if_contains("powers");
  auto grants = sandbox::parse_grants(powers != nullptr ? *powers : json::value(nullptr));
  if (!grants) return with_context(source.path, grants.error());
  return LoadedTool{.source = source, .tool = registry.tools().front(), .grants = *grants};
}

namespace {

Result<tools::Registry> load_all(const Settings& settings, std::vector<LoadedTool>& loaded) {
  tools::Registry registry;
  for (const ToolSource& source : settings.tools) {
    auto tool = check_tool(source);
    if (!tool) return tool.error();
    json::object manifest = source.manifest;
    manifest.erase("tests");
    if (auto ok = registry.add(manifest, source.text, source.path); !ok) return ok.error();
    loaded.push_back(std::move(*tool));
  }
  if (settings.compact_at > 0) {
    if (auto ok = registry.add(recall_manifest(), "", "the built-in tool recall"); !ok) return ok.error();
  }
  return registry;
}

std::vector<model::ChatTool> chat_tools(const tools::Registry& registry) {
  std::vector<model::ChatTool> out;
  for (tools::ToolDeclaration& declared : registry.declarations()) {
    model::ChatTool tool;
    tool.name = std::move(declared.name);
    tool.description = std::move(declared.description);
    tool.parameters = std::move(declared.parameters);
    out.push_back(std::move(tool));
  }
  return out;
}

Result<std::shared_ptr<tools::Grammar>> compile_grammar(const tools::Registry& registry, const Settings& settings,
                                                        const ModelHost& model) {
  tools::MessageGrammarOptions options;
  auto response = compile_response_format(settings.response_format);
  if (!response) return response.error();
  options.response = std::move(*response);
  // Only what the vocabulary holds can end a message.
  for (model::TokenId stop : model.stop_tokens()) {
    if (stop < model.tokenizer().vocabulary().size()) options.stop.push_back(stop);
  }
  return registry.message_grammar(model.token_index(), options);
}

}  // namespace

Result<std::vector<model::ChatTool>> check_tools(const Settings& settings, const ModelHost& model) {
  std::vector<LoadedTool> loaded;
  auto registry = load_all(settings, loaded);
  if (!registry) return registry.error();
  if (auto grammar = compile_grammar(*registry, settings, model); !grammar) return grammar.error();
  return chat_tools(*registry);
}

struct ToolRunner::Impl {
  tools::Registry registry;
  std::vector<LoadedTool> loaded;
  std::vector<model::ChatTool> declarations;
  std::shared_ptr<tools::Grammar> grammar;
  sandbox::Zygote* zygote = nullptr;
  sandbox::WorkerPool* pool = nullptr;
  Clock* clock = nullptr;
  json::object notes;
  std::string files_root;
  bool files_writable = true;
  bool recalls = false;                   // the tool `recall` is there
  std::unique_ptr<sandbox::Files> files;  // opened at the first call that needs it

  const LoadedTool* find(const std::string& name) const {
    for (const LoadedTool& tool : loaded) {
      if (tool.tool.manifest.name == name) return &tool;
    }
    return nullptr;
  }
};

ToolRunner::ToolRunner(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ToolRunner::~ToolRunner() = default;

Result<std::unique_ptr<ToolRunner>> ToolRunner::create(const TrajectoryParts& parts, const Settings& settings) {
  auto impl = std::make_unique<Impl>();
  auto registry = load_all(settings, impl->loaded);
  if (!registry) return registry.error();
  impl->registry = std::move(*registry);
  auto grammar = compile_grammar(impl->registry, settings, parts.model);
  if (!grammar) return grammar.error();
  impl->grammar = std::move(*grammar);
  impl->declarations = chat_tools(impl->registry);
  impl->zygote = &parts.zygote;
  impl->pool = &parts.pool;
  impl->clock = &parts.clock;
  impl->notes = settings.notes;
  impl->files_root = settings.files_root;
  impl->recalls = settings.compact_at > 0;
  impl->files_writable = settings.files_writable;
  return std::unique_ptr<ToolRunner>(new ToolRunner(std::move(impl)));
}

const std::vector<model::ChatTool>& ToolRunner::declarations() const {
  return impl_->declarations;
}

tools::MessageParser ToolRunner::message_parser(bool thinking) const {
  impl_->grammar = tools::Grammar::refreshed(impl_->grammar);
  return tools::MessageParser(impl_->grammar, thinking);
}

sessions::Effect ToolRunner::effect(const std::string& tool) const {
  const LoadedTool* found = impl_->find(tool);
  if (found == nullptr && impl_->recalls && tool == kRecallTool) return sessions::Effect::kRead;
  return found != nullptr ? effect_of(found->tool.manifest.effect) : sessions::Effect::kOnce;
}

std::string ToolRunner::approval_reason(const std::string& tool) const {
  const LoadedTool* found = impl_->find(tool);
  if (found == nullptr) return "";
  if (found->source.approve) return fmt::format("the agent has every call of {} approved", tool);
  if (found->tool.manifest.approve) return fmt::format("{} asks for it in its manifest", tool);
  return "";
}

void ToolRunner::rest() {
  impl_->files.reset();
}

Result<ToolRun> ToolRunner::run(const sessions::CallIntent& intent, const sessions::Context& context,
                                sandbox::CallJournal& journal, sandbox::CancelToken* cancel) {
  ToolRun run;
  run.result.ordinal = intent.ordinal;
  auto refuse = [&](std::string message) {
    run.result.kind = "error";
    run.result.text = tools::error_text(message);
    return run;
  };
  const LoadedTool* tool = impl_->find(intent.tool);
  const bool recalls = tool == nullptr && impl_->recalls && intent.tool == kRecallTool;
  if (tool == nullptr && !recalls) return refuse("unknown tool: " + intent.tool);
  // The grammar has made sure of this; a journal from elsewhere has not.
  auto arguments = parse_json(intent.arguments_json);
  if (!arguments) return refuse(arguments.error().message);
  if (!arguments->is_object()) return refuse("arguments are not an object");
  if (auto ok = impl_->registry.check_arguments(intent.tool, arguments->get_object()); !ok) {
    return refuse(ok.error().message);
  }
  if (recalls) {
    auto text = recall(context, arguments->get_object());
    if (!text) return refuse(text.error().message);
    run.result.kind = "ok";
    run.result.text = tools::result_text(*text);
    return run;
  }

  sandbox::PowerSet powers;
  sandbox::Notes notes(notes_of(impl_->notes, context));
  sandbox::ClockPower clock(*impl_->clock);
  powers.set("notes", notes);
  powers.set("clock", clock);
  const bool once = intent.effect == sessions::Effect::kOnce;
  auto kept = kept_of(context, intent.ordinal);
  if (!kept) return kept.error();
  sandbox::Steps steps(std::move(kept->steps), std::move(kept->wake_ms), &notes, *impl_->clock, journal, once);
  powers.set("steps", steps);
  powers.set("timer", steps);
  if (tool->grants.files != sandbox::Access::kNone && !impl_->files_root.empty()) {
    if (impl_->files == nullptr) {
      auto files = sandbox::Files::open(*impl_->zygote, impl_->files_root, impl_->files_writable);
      if (!files) return files.error();
      impl_->files = std::move(*files);
    }
    powers.set("files", *impl_->files);
  }
  json::array recorded;
  std::size_t recorded_bytes = 0;
  sandbox::RecordingPowers recording(powers, [&](const sandbox::HostCall& call, const sandbox::HostAnswer& answer) {
    steps.saw(call);
    json::value line = sandbox::to_json_value(sandbox::RecordedHostCall{call, answer});
    recorded_bytes += to_json(line).size();
    if (recorded_bytes <= kRecordBytesMax) recorded.push_back(std::move(line));
  });

  sandbox::CallRequest request;
  request.call_id = intent.call_id;
  request.idempotency_key = intent.idempotency_key;
  request.arguments_json = intent.arguments_json;
  request.seed = seed_of(context.seed(), intent.ordinal);
  request.limits = limits_of(tool->tool.manifest);
  // A call that must not be repeated is not stopped half way by Ctrl-C: it has its own limit of time.
  const CallOutcome outcome = impl_->pool->call({.path = tool->source.path, .text = tool->source.text}, request,
                                                recording, once ? nullptr : cancel);
  if (steps.failed()) return *steps.failed();
  if (outcome.kind == CallOutcome::Kind::kSleeping) {
    run.sleeping = true;
    return run;
  }
  if (outcome.kind == CallOutcome::Kind::kCancelled) {
    run.cancelled = true;
    return run;
  }
  if (outcome.kind == CallOutcome::Kind::kUnavailable) {
    return make_error(ErrorCode::kToolFailed, fmt::format("tool {}: {}", intent.tool, outcome.text));
  }
  run.result.kind = outcome.kind == CallOutcome::Kind::kToolError ? "error" : std::string(to_string(outcome.kind));
  if (outcome.kind == CallOutcome::Kind::kOk) {
    run.result.text = tools::result_text(outcome.text);
  } else {
    run.result.text = tools::error_text(outcome.text);
  }
  // It began something outside and did not come to its end: for a call declared `once` nobody knows (contract C6).
  if (once && !outcome.ended()) {
    run.in_doubt = true;
    run.result.text = fmt::format("{}: {}", to_string(outcome.kind), outcome.text);
    return run;
  }
  // Notes of a call that failed are dropped with it.
  if (outcome.kind == CallOutcome::Kind::kOk && !notes.delta().empty()) {
    json::object delta;
    for (const auto& [key, value] : notes.delta()) delta[key] = value;
    run.result.notes_delta_json = to_json(delta);
  }
  if (!recorded.empty() || recorded_bytes > kRecordBytesMax) {
    json::object calls{{"ordinal", intent.ordinal}, {"calls", std::move(recorded)}};
    if (recorded_bytes > kRecordBytesMax) calls["cut"] = true;
    run.host_calls_json = to_json(json::object{{"host_calls", std::move(calls)}});
  }
  return run;
}

namespace {

// For calls outside sessions: nothing lasts, and a sleep takes no time.
class SkippingClock final : public Clock {
 public:
  std::int64_t unix_ms() override { return system_clock().unix_ms() + skipped_ms_; }
  std::int64_t monotonic_ns() override { return system_clock().monotonic_ns() + skipped_ms_ * 1'000'000; }
  void skip_to(std::int64_t unix_ms_wanted) { skipped_ms_ += std::max<std::int64_t>(0, unix_ms_wanted - unix_ms()); }

 private:
  std::int64_t skipped_ms_ = 0;
};

class MemoryJournal final : public sandbox::CallJournal {
 public:
  Result<void> step(const sandbox::RecordedStep& step) override {
    steps.push_back(step);
    return {};
  }
  Result<void> sleep(std::uint64_t timer, std::int64_t until_ms) override {
    wake_ms[timer] = until_ms;
    return {};
  }
  std::vector<sandbox::RecordedStep> steps;
  std::map<std::uint64_t, std::int64_t> wake_ms;
};

}  // namespace

Result<CallOutcome> try_call(const LoadedTool& tool, const json::object& arguments, const std::string& files,
                             sandbox::Zygote& zygote, sandbox::WorkerPool& pool) {
  if (auto ok = tools::validate(tool.tool.manifest.parameters, arguments); !ok) {
    return with_context(fmt::format("arguments of {}", tool.tool.manifest.name), ok.error());
  }
  std::unique_ptr<sandbox::Files> folder;
  if (!files.empty()) {
    auto opened = sandbox::Files::open(zygote, files, true);
    if (!opened) return opened.error();
    folder = std::move(*opened);
  }
  SkippingClock time;
  MemoryJournal journal;
  sandbox::CallRequest request;
  request.call_id = "call_0";
  request.idempotency_key = "try";
  request.arguments_json = to_json(arguments);
  request.limits = limits_of(tool.tool.manifest);
  while (true) {
    sandbox::Notes notes({});
    sandbox::ClockPower clock(time);
    sandbox::Steps steps(journal.steps, journal.wake_ms, &notes, time, journal,
                         tool.tool.manifest.effect == tools::Effect::kOnce);
    sandbox::PowerSet powers;
    powers.set("notes", notes);
    powers.set("clock", clock);
    powers.set("steps", steps);
    powers.set("timer", steps);
    if (folder != nullptr) powers.set("files", *folder);
    sandbox::RecordingPowers watched(
        powers, [&](const sandbox::HostCall& call, const sandbox::HostAnswer&) { steps.saw(call); });
    CallOutcome outcome = pool.call({.path = tool.source.path, .text = tool.source.text}, request, watched);
    if (outcome.kind != CallOutcome::Kind::kSleeping) return outcome;
    time.skip_to(outcome.sleep_until_ms);  // each timer is waited for once, and there are only so many
  }
}

Result<ReplayedCall> replay_call(sessions::SessionManager& manager, const std::string& session,
                                 const std::string& call_id, sandbox::WorkerPool& pool) {
  TrajectoryState state;
  std::optional<sessions::CallIntent> intent;
  std::optional<sessions::CallResult> result;
  std::vector<sandbox::RecordedHostCall> recorded;
  std::uint64_t seed = 0;
  auto walked = manager.for_each_record(session, [&](const sessions::JournalEntry& entry) -> Result<void> {
    if (auto ok = state.apply(entry.record); !ok) return ok.error();
    if (const auto* r = std::get_if<sessions::SessionCreated>(&entry.record)) seed = r->seed;
    if (const auto* r = std::get_if<sessions::SeedChanged>(&entry.record); r != nullptr && !result) seed = r->seed;
    if (const auto* r = std::get_if<sessions::CallIntent>(&entry.record); r != nullptr && r->call_id == call_id) {
      intent = *r;
    }
    if (const auto* r = std::get_if<sessions::CallResult>(&entry.record);
        r != nullptr && intent && r->ordinal == intent->ordinal) {
      result = *r;
    }
    const auto* note = std::get_if<sessions::Note>(&entry.record);
    if (note == nullptr || !intent) return {};
    auto parsed = parse_json(note->json);
    if (!parsed || !parsed->is_object()) return {};
    const json::value* calls = parsed->get_object().if_contains("host_calls");
    if (calls == nullptr || !calls->is_object() || calls->at("ordinal") != json::value(intent->ordinal)) return {};
    if (calls->get_object().contains("cut")) {
      return unsupported(fmt::format("call {}: what the host answered was too large to be recorded", call_id));
    }
    recorded.clear();
    for (const json::value& line : calls->at("calls").as_array()) {
      auto call = sandbox::recorded_host_call(line);
      if (!call) return with_context(fmt::format("record of call {}", call_id), call.error());
      recorded.push_back(std::move(*call));
    }
    return {};
  });
  if (!walked) return walked.error();
  if (!intent) return not_found(fmt::format("session {} has no call {}", session, call_id));
  if (!result) return invalid_argument(fmt::format("call {} of session {} has no result", call_id, session));
  auto settings = settings_from_json(state.settings);
  if (!settings) return settings.error();
  for (const ToolSource& source : settings->tools) {
    auto tool = check_tool(source);
    if (!tool) return tool.error();
    if (tool->tool.manifest.name != intent->tool) continue;
    sandbox::ReplayPowers powers(std::move(recorded));
    sandbox::CallRequest request;
    request.call_id = intent->call_id;
    request.idempotency_key = intent->idempotency_key;
    request.arguments_json = intent->arguments_json;
    request.seed = seed_of(seed, intent->ordinal);
    request.limits = limits_of(tool->tool.manifest);
    const CallOutcome outcome = pool.call({.path = source.path, .text = source.text}, request, powers);
    ReplayedCall replay;
    replay.recorded = result->text;
    replay.replayed =
        outcome.kind == CallOutcome::Kind::kOk ? tools::result_text(outcome.text) : tools::error_text(outcome.text);
    replay.log = outcome.log;
    replay.diverged = powers.diverged();
    replay.equal = replay.recorded == replay.replayed && replay.diverged.empty();
    return replay;
  }
  return not_found(fmt::format("session {} has no tool {}", session, intent->tool));
}

}  // namespace longhaul::runtime
