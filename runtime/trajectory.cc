#include "runtime/trajectory.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "model/chat.h"
#include "model/sampler.h"
#include "runtime/base/check.h"
#include "runtime/base/rng.h"
#include "runtime/tool_runner.h"
#include "tools/message_parser.h"

namespace longhaul::runtime {
namespace {

using model::SequenceState;

// Tokens a step of prefill: long enough to amortise the weights, short enough that Ctrl-C is felt.
constexpr std::size_t kChunk = 512;
// After the reasoning budget is spent, a line may still end within this many tokens (the publisher's service grants
// the same kind of grace before it cuts).
constexpr std::int64_t kBudgetGrace = 64;

model::Effort effort_of(Reasoning reasoning) {
  if (reasoning == Reasoning::kLow) return model::Effort::kLow;
  if (reasoning == Reasoning::kEfficient) return model::Effort::kEfficient;
  return model::Effort::kDefault;
}

std::string trimmed(const std::string& text) {
  static constexpr std::string_view kSpace = " \t\r\n\v\f";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(kSpace) + 1 - first);
}

std::string text_field(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

}  // namespace

sessions::SessionCreated make_session_created(const ModelHost& model, const Settings& settings, std::uint64_t seed) {
  return {.model_fingerprint = model.fingerprint(),
          .numerics_tag = model.numerics_tag(),
          .seed = seed,
          .settings_json = to_json(to_json_object(settings))};
}

struct Trajectory::Impl {
  explicit Impl(const TrajectoryParts& given) : p(given), engine(given.model.engine()) {}

  TrajectoryParts p;
  model::Engine& engine;
  TrajectoryState s;
  Settings settings;
  std::unique_ptr<ToolRunner> tools;

  // The sequence as far as it was computed; behind the context by what was not needed yet.
  std::optional<SequenceState> sequence;
  std::vector<float> last_logits;  // after the sequence's position; empty if not computed
  std::vector<float> last_hidden;
  // A provisional step over the last sampled token and drafts after it, not consumed yet.
  struct Drafted {
    std::size_t base = 0;  // the sequence's position
    std::vector<TokenId> tokens;
    model::StepResult result;
  };
  std::optional<Drafted> drafted;

  const std::vector<TokenId>& context() const { return p.session.context().tokens(); }
  const model::Tokenizer& tokenizer() const { return p.model.tokenizer(); }
  std::vector<TokenId> tokens_of(const std::vector<model::ChatPiece>& pieces) const {
    return model::to_tokens(pieces, tokenizer());
  }
  bool thinking() const { return settings.reasoning != Reasoning::kOff; }

  void emit(EventKind kind, json::object fields) {
    p.events.on_event({kind, p.session.name(), static_cast<std::int64_t>(context().size()), std::move(fields)});
  }

  // Every record goes through here: journal first, then the fold.
  Result<void> record(const sessions::Record& record) {
    if (auto ok = p.session.append(record); !ok) return ok.error();
    return s.apply(record);
  }
  Result<void> feed(const std::vector<TokenId>& ids) { return record(sessions::TokensFed{ids, {}}); }

  Result<void> reload_settings() {
    auto read = settings_from_json(s.settings);
    if (!read) return with_context(fmt::format("session {}", p.session.name()), read.error());
    settings = std::move(*read);
    return {};
  }

  // ---- The model ----

  // Takes the newest stored state; the tokens after it are fed when somebody asks for logits.
  Result<void> load_sequence() {
    drafted.reset();
    last_logits.clear();
    last_hidden.clear();
    auto loaded = p.session.load_state();
    if (!loaded) return loaded.error();
    if (loaded->state) {
      sequence = std::move(*loaded->state);
    } else {
      sequence.emplace(engine.layout());
    }
    return {};
  }

  // Drafts that turned out right become part of the sequence, the others leave no trace.
  Result<void> settle_drafts() {
    if (!drafted) return {};
    std::size_t n = 0;
    while (n < drafted->tokens.size() && drafted->base + n < context().size() &&
           context()[drafted->base + n] == drafted->tokens[n]) {
      ++n;
    }
    if (auto ok = engine.accept(*sequence, static_cast<std::int64_t>(n)); !ok) return ok.error();
    const auto vocab = static_cast<std::size_t>(p.model.config().vocab_size);
    const auto d_model = static_cast<std::size_t>(p.model.config().d_model);
    last_logits.clear();
    if (n > 0) {
      const float* logits = drafted->result.logits.data() + (n - 1) * vocab;
      last_logits.assign(logits, logits + vocab);
      const float* hidden = drafted->result.hidden.data() + (n - 1) * d_model;
      last_hidden.assign(hidden, hidden + d_model);
    }
    drafted.reset();
    return {};
  }

  // Computes everything in the context. Returns false if it was interrupted in between.
  Result<bool> catch_up(bool want_logits) {
    if (auto ok = settle_drafts(); !ok) return ok.error();
    const std::size_t end = context().size();
    while (static_cast<std::size_t>(sequence->position()) < end) {
      if (p.interrupted) return false;
      const auto at = static_cast<std::size_t>(sequence->position());
      const std::size_t n = std::min(kChunk, end - at);
      const bool last = at + n == end;
      const model::SequenceStep step{
          .state = &*sequence,
          .tokens = std::span(context()).subspan(at, n),
          .wanted = last && want_logits ? model::LogitsWanted::kLast : model::LogitsWanted::kNone,
          .rows = {}};
      auto result = engine.step({&step, 1});
      if (!result) return result.error();
      last_logits = std::move(result->front().logits);
      last_hidden = std::move(result->front().last_hidden);
    }
    return true;
  }

  // Logits after the last token of the context. Empty if interrupted.
  Result<std::span<const float>> next_logits() {
    const std::size_t vocab = static_cast<std::size_t>(p.model.config().vocab_size);
    const std::size_t n = context().size();
    if (drafted && n > drafted->base && n - drafted->base <= drafted->tokens.size() &&
        std::equal(drafted->tokens.begin(), drafted->tokens.begin() + static_cast<std::ptrdiff_t>(n - drafted->base),
                   context().begin() + static_cast<std::ptrdiff_t>(drafted->base))) {
      return std::span<const float>(drafted->result.logits).subspan((n - drafted->base - 1) * vocab, vocab);
    }
    if (auto ok = settle_drafts(); !ok) return ok.error();
    // Only a token that was just sampled is worth drafting after.
    const bool draft =
        p.speculate > 0 && static_cast<std::size_t>(sequence->position()) + 1 == n && !last_hidden.empty();
    if (draft) {
      auto guesses = engine.draft(*sequence, last_hidden, context().back(), p.speculate);
      if (!guesses) return guesses.error();
      if (!guesses->empty()) {
        Drafted next;
        next.base = n - 1;
        next.tokens.push_back(context().back());
        next.tokens.insert(next.tokens.end(), guesses->begin(), guesses->end());
        const model::SequenceStep step{.state = &*sequence,
                                       .tokens = next.tokens,
                                       .wanted = model::LogitsWanted::kAll,
                                       .rows = {},
                                       .provisional = true};
        auto result = engine.step({&step, 1});
        if (!result) return result.error();
        next.result = std::move(result->front());
        drafted = std::move(next);
        return std::span<const float>(drafted->result.logits).first(vocab);
      }
    }
    auto done = catch_up(true);
    if (!done) return done.error();
    if (!*done) return std::span<const float>();
    if (last_logits.empty()) {
      // The stored state stands exactly at the end: its last token must be read again for its logits.
      auto earlier = p.session.load_state(n - 1);
      if (!earlier) return earlier.error();
      if (earlier->state) {
        sequence = std::move(*earlier->state);
      } else {
        sequence.emplace(engine.layout());
      }
      done = catch_up(true);
      if (!done) return done.error();
      if (!*done) return std::span<const float>();
    }
    return std::span<const float>(last_logits);
  }

  // ---- Phases ----

  Result<void> feed_user() {
    const model::Effort effort = effort_of(settings.reasoning);
    const std::vector<TokenId> user = tokens_of(model::render_user(s.user_text, effort));
    std::vector<TokenId> ids;
    if (s.exchange_begin == 0) {
      ids = tokens_of(model::render_system(settings.system, tools->declarations()));
    } else if (!s.messages.empty()) {
      // Reasoning of the exchange that has ended leaves the history: go back to where it began and feed what stays.
      std::vector<TokenId> kept = history_of_exchange();
      const std::size_t from = s.exchange_begin - effort_tokens(kept);
      const auto old_begin = context().begin() + static_cast<std::ptrdiff_t>(from);
      if (!std::equal(old_begin, context().end(), kept.begin(), kept.end())) {
        if (auto ok = p.session.reset_context(from, "reasoning of past turns is dropped"); !ok) return ok.error();
        if (auto ok = s.apply(sessions::ContextReset{from, {}}); !ok) return ok.error();
        if (auto ok = load_sequence(); !ok) return ok.error();
        ids = std::move(kept);
      }
    }
    ids.insert(ids.end(), user.begin(), user.end());
    if (auto ok = feed(ids); !ok) return ok.error();
    auto done = catch_up(false);
    if (!done) return done.error();
    if (!*done) return {};  // interrupted: the state is saved another time
    // The next exchange goes back to here.
    auto saved = p.session.save_state(*sequence, true);
    if (!saved) return saved.error();
    return {};
  }

  // The effort suffix rides on the last user message only: if the one before has it, that message is shown anew
  // without. Puts it before `kept` and returns how many tokens of the context it stands for.
  std::size_t effort_tokens(std::vector<TokenId>& kept) const {
    const auto end = context().begin() + static_cast<std::ptrdiff_t>(s.exchange_begin);
    for (const model::Effort effort : {model::Effort::kLow, model::Effort::kEfficient}) {
      const std::vector<TokenId> with = tokens_of(model::render_user(s.fed_user_text, effort));
      if (with.size() > s.exchange_begin ||
          !std::equal(with.begin(), with.end(), end - static_cast<std::ptrdiff_t>(with.size()))) {
        continue;
      }
      const std::vector<TokenId> plain = tokens_of(model::render_user(s.fed_user_text));
      kept.insert(kept.begin(), plain.begin(), plain.end());
      return with.size();
    }
    return 0;
  }

  // The messages of the current exchange as the chat layout shows them once a new user message follows: without
  // reasoning. Tokens that the model wrote are kept as they were wherever the layout shows the same text.
  std::vector<TokenId> history_of_exchange() const {
    std::vector<TokenId> out;
    const TokenId think_close = tokenizer().vocabulary().control("</think>").value_or(tools::kNoToken);
    const std::vector<TokenId> header = tokens_of({{"<|im_start|>assistant\n<think></think>", true}});
    for (const MessageSpan& span : s.messages) {
      const auto at = [&](std::size_t i) { return context().begin() + static_cast<std::ptrdiff_t>(i); };
      std::vector<TokenId> written(at(span.begin), at(span.end));
      const auto close = std::find(written.begin(), written.end(), think_close);
      std::vector<TokenId> message = header;
      if (close != written.end()) {
        message.insert(message.end(), close + 1, written.end());
      } else if (std::equal(header.begin(), header.end(), at(span.header), at(span.begin))) {
        message.insert(message.end(), written.begin(), written.end());  // it was written without reasoning
      }
      // What was fed after the message begins with what ends it ("\n", or the end token too if a limit cut it off).
      message.insert(message.end(), at(span.end), at(span.after));

      model::ChatMessage shown;
      shown.role = model::Role::kAssistant;
      shown.content = text_field(span.message, "content");
      const std::string reasoning = text_field(span.message, "reasoning");
      if (reasoning.find_first_not_of(" \t\r\n") != std::string::npos) shown.reasoning = reasoning;
      if (const json::value* calls = span.message.if_contains("calls"); calls != nullptr && calls->is_array()) {
        for (const json::value& call : calls->get_array()) {
          shown.tool_calls.push_back({std::string(call.at("name").get_string()), call.at("arguments").get_object()});
        }
      }
      const std::vector<model::ChatPiece> layout = model::render_assistant(shown, p.model.chat_variant(), false);
      const std::string expected = model::to_text(layout);
      auto text = tokenizer().decode(message, true);
      if (text && text->starts_with(expected)) {
        out.insert(out.end(), message.begin(), message.end());
      } else {
        // The model's own spacing differs from the layout's: the layout wins, as in every other engine.
        const std::vector<TokenId> rendered = tokens_of(layout);
        out.insert(out.end(), rendered.begin(), rendered.end());
        const std::vector<TokenId> tail = after_message(span);
        out.insert(out.end(), tail.begin(), tail.end());
      }
    }
    return out;
  }

  // What was fed after a message, without what ended the message itself.
  std::vector<TokenId> after_message(const MessageSpan& span) const {
    std::vector<TokenId> fed(context().begin() + static_cast<std::ptrdiff_t>(span.end),
                             context().begin() + static_cast<std::ptrdiff_t>(span.after));
    const std::vector<TokenId> ending = message_ending(text_field(span.message, "finish") == "length");
    if (fed.size() >= ending.size() && std::equal(ending.begin(), ending.end(), fed.begin())) {
      fed.erase(fed.begin(), fed.begin() + static_cast<std::ptrdiff_t>(ending.size()));
    }
    return fed;
  }

  std::vector<TokenId> message_ending(bool cut_off) const {
    return tokens_of({{cut_off ? "<|im_end|>\n" : "\n", true}});
  }

  Result<void> start_turn() {
    if (auto ok = record(sessions::TurnStarted{s.turn + 1}); !ok) return ok.error();
    emit(EventKind::kTurnStarted, {{"turn", s.turn}});
    return {};
  }

  // Samples the assistant message to its end. False: interrupted.
  Result<bool> generate() {
    tools::MessageParser parser = tools->message_parser(thinking());
    // Tokens written before this process: read again, not shown again.
    const std::size_t begin = s.messages.back().begin;
    for (std::size_t i = begin; i < context().size(); ++i) {
      if (auto ok = parser.accept(context()[i]); !ok) {
        return with_context(fmt::format("session {}: token {} of the message", p.session.name(), i - begin),
                            ok.error());
      }
    }
    parser.take_events();
    const std::size_t vocabulary = tokenizer().vocabulary().size();
    model::SamplingOptions sampling = settings.sampling;
    sampling.seed = p.session.context().seed();
    std::string finish = "stop";
    while (!parser.finished()) {
      const std::int64_t n_written = static_cast<std::int64_t>(context().size() - begin);
      if (n_written >= settings.max_message_tokens ||
          (settings.context > 0 && static_cast<std::int64_t>(context().size()) >= settings.context)) {
        finish = "length";
        break;
      }
      if (p.interrupted) return false;
      auto logits = next_logits();
      if (!logits) return logits.error();
      if (logits->empty()) return false;
      if (settings.reasoning_budget > 0 && parser.in_reasoning() && n_written >= settings.reasoning_budget &&
          (n_written >= settings.reasoning_budget + kBudgetGrace ||
           tokenizer().vocabulary().bytes(context().back()).ends_with('\n'))) {
        parser.force_close_thinking();
      }
      const std::shared_ptr<const model::TokenMask> mask = parser.mask();
      const std::span<const TokenId> written = std::span(context()).subspan(begin);
      auto token =
          model::sample(logits->first(vocabulary), mask.get(), written, sampling, p.session.context().n_draws());
      if (!token) return with_context(fmt::format("session {}", p.session.name()), token.error());
      const std::uint64_t draw = p.session.context().n_draws();
      if (auto ok = p.session.sample_token(*token, draw); !ok) return ok.error();
      if (auto ok = s.apply(sessions::TokensSampled{draw, {*token}, {}}); !ok) return ok.error();
      if (auto ok = parser.accept(*token); !ok) return ok.error();
      show(parser.take_events());
    }
    tools::ParsedMessage message = parser.result();
    json::array calls;
    if (finish == "stop") {
      for (const tools::ParsedCall& call : message.calls) {
        calls.push_back(json::object{{"name", call.name}, {"arguments", call.arguments}});
      }
    }
    // Line ends that the layout puts around them are not theirs.
    if (message.reasoning.ends_with('\n')) message.reasoning.pop_back();
    const json::object whole{{"reasoning", message.reasoning},
                             {"content", trimmed(message.content)},
                             {"calls", std::move(calls)},
                             {"finish", finish}};
    if (auto ok = record(sessions::AssistantMessage{to_json(whole)}); !ok) return ok.error();
    return true;
  }

  void show(const std::vector<tools::MessageEvent>& events) {
    for (const tools::MessageEvent& event : events) {
      if (event.kind == tools::MessageEvent::Kind::kReasoning) emit(EventKind::kReasoning, {{"text", event.text}});
      if (event.kind == tools::MessageEvent::Kind::kContent) emit(EventKind::kText, {{"text", event.text}});
    }
  }

  // Nothing: all calls have results. Otherwise how the run ends here.
  Result<std::optional<RunEnd>> run_calls() {
    for (std::size_t i = 0; i < s.calls.size(); ++i) {
      while (!s.calls[i].result) {
        const CallState call = s.calls[i];
        const sessions::Effect effect = tools->effect(call.name);
        if (call.in_doubt) {
          emit_in_doubt(call);
          return std::optional(RunEnd::kInDoubt);
        }
        if (call.settled) {
          if (auto ok = record(settled_result(call)); !ok) return ok.error();
          emit_result(s.calls[i]);
          continue;
        }
        // An intent without a result, from before: what was declared of the effect decides (contract C6).
        if (call.intent_open && effect == sessions::Effect::kOnce) {
          if (auto ok = record(sessions::InDoubt{*call.ordinal, "the process ended between call and result"}); !ok) {
            return ok.error();
          }
          continue;
        }
        if (p.interrupted) return std::optional(RunEnd::kInterrupted);
        const std::uint64_t ordinal = call.ordinal.value_or(s.n_calls);
        sessions::CallIntent intent;
        if (call.ordinal) {
          intent = open_intent(*call.ordinal);
        } else {
          intent.ordinal = ordinal;
          intent.call_id = fmt::format("call_{}", ordinal);
          intent.idempotency_key = p.session.idempotency_key();
          intent.tool = call.name;
          intent.arguments_json = to_json(call.arguments);
          intent.effect = effect;
        }
        // A call settled as retry gets its intent once more: cut off again, it is in doubt again.
        if (!call.intent_open) {
          if (auto ok = record(intent); !ok) return ok.error();
        }
        emit(EventKind::kToolCall, {{"id", intent.call_id},
                                    {"name", intent.tool},
                                    {"arguments", call.arguments},
                                    {"key", intent.idempotency_key}});
        auto ran = tools->run(intent, p.session.context(), p.cancel);
        if (!ran) return ran.error();
        if (ran->cancelled) return std::optional(RunEnd::kInterrupted);
        if (ran->in_doubt) {
          if (auto ok = record(sessions::InDoubt{ordinal, ran->result.text}); !ok) return ok.error();
          continue;
        }
        if (!ran->host_calls_json.empty()) {
          // For `tools replay`; not part of what decides the trajectory, so not in the result.
          if (auto ok = record(sessions::Note{ran->host_calls_json}); !ok) return ok.error();
        }
        if (auto ok = record(ran->result); !ok) return ok.error();
        emit_result(s.calls[i]);
      }
    }
    return std::optional<RunEnd>();
  }

  sessions::CallIntent open_intent(std::uint64_t ordinal) const {
    for (const sessions::Call& call : p.session.context().calls()) {
      if (call.intent.ordinal == ordinal) return call.intent;
    }
    LONGHAUL_CHECK(false, "an intent that the fold has seen is in the journal");
  }

  sessions::CallResult settled_result(const CallState& call) const {
    sessions::CallResult result;
    result.ordinal = *call.ordinal;
    if (call.settled->how == sessions::Settlement::kSkip) {
      result.kind = "skipped";
      result.text = "error: the call was not made";
      return result;
    }
    result.kind = "settled";
    auto value = parse_json(call.settled->result_json);
    result.text = value && value->is_string() ? std::string(value->get_string()) : call.settled->result_json;
    return result;
  }

  void emit_result(const CallState& call) {
    emit(EventKind::kToolResult, {{"id", fmt::format("call_{}", *call.ordinal)},
                                  {"name", call.name},
                                  {"ok", call.result->kind == "ok" || call.result->kind == "settled"},
                                  {"text", call.result->text}});
  }

  void emit_in_doubt(const CallState& call) {
    emit(EventKind::kInDoubt,
         {{"id", fmt::format("call_{}", *call.ordinal)}, {"name", call.name}, {"arguments", call.arguments}});
  }

  // What follows an assistant message in the context: its end, and the results of its calls.
  Result<void> feed_turn_end() {
    std::vector<TokenId> ids = message_ending(text_field(s.messages.back().message, "finish") == "length");
    if (!s.calls.empty()) {
      std::vector<std::string> results;
      for (const CallState& call : s.calls) results.push_back(call.result->text);
      const std::vector<TokenId> block = tokens_of(model::render_tool_results(results));
      ids.insert(ids.end(), block.begin(), block.end());
    }
    return feed(ids);
  }

  // False: interrupted before the state was there.
  Result<bool> commit_turn() {
    auto done = catch_up(false);
    if (!done) return done.error();
    if (!*done) return false;
    const json::object& message = s.messages.back().message;
    sessions::CommitRequest request;
    request.state = &*sequence;
    const bool answered = s.calls.empty();
    const std::string text = text_field(message, "content");
    if (answered) request.records.push_back(sessions::Answer{text});
    auto report = p.session.commit(request);
    if (!report) return report.error();
    if (auto ok = s.apply(sessions::TurnCommitted{report->turn, report->position, {}, false, {}}); !ok)
      return ok.error();
    emit(EventKind::kCommitted, {{"turn", report->turn}, {"bytes", report->bytes}});
    if (answered) emit(EventKind::kAnswer, {{"text", text}, {"finish", text_field(message, "finish")}});
    return true;
  }

  Result<RunEnd> suspend(RunEnd end, const std::string& reason) {
    if (auto ok = settle_drafts(); !ok) return ok.error();
    if (auto ok = record(sessions::Suspended{reason}); !ok) return ok.error();
    // A resumed run should not compute this exchange again.
    if (sequence && sequence->position() > 0) {
      if (auto saved = p.session.save_state(*sequence, false); !saved) return saved.error();
    }
    emit(EventKind::kSuspended, {{"reason", reason}});
    return end;
  }

  Result<RunEnd> run() {
    const std::uint64_t turns_before = s.exchange_turns;
    while (true) {
      if (p.interrupted && s.phase != Phase::kIdle) return suspend(RunEnd::kInterrupted, "interrupted");
      switch (s.phase) {
        case Phase::kIdle: {
          const bool cut = !s.messages.empty() && text_field(s.messages.back().message, "finish") == "length";
          return cut ? RunEnd::kLength : RunEnd::kAnswered;
        }
        case Phase::kUserPending:
          if (auto ok = feed_user(); !ok) return ok.error();
          break;
        case Phase::kReady: {
          if (s.equal_calls >= settings.max_equal_calls) {
            const std::string reason =
                fmt::format("the same call gave the same result {} times in a row", s.equal_calls);
            return suspend(RunEnd::kLoop, reason);
          }
          const auto turns = static_cast<std::int64_t>(s.exchange_turns - turns_before);
          if (turns >= settings.max_turns) {
            return suspend(RunEnd::kTurnLimit, fmt::format("limit of {} turns", settings.max_turns));
          }
          if (auto ok = start_turn(); !ok) return ok.error();
          break;
        }
        case Phase::kTurnStarted:
          if (auto ok = feed(tokens_of(model::render_generation_prompt(thinking()))); !ok) return ok.error();
          break;
        case Phase::kGenerating: {
          auto done = generate();
          if (!done) return done.error();
          break;
        }
        case Phase::kCalls: {
          auto end = run_calls();
          if (!end) return end.error();
          if (*end == RunEnd::kInDoubt) return RunEnd::kInDoubt;
          if (*end) break;  // interrupted: the loop suspends
          [[fallthrough]];
        }
        case Phase::kAnswered:
          if (auto ok = feed_turn_end(); !ok) return ok.error();
          break;
        case Phase::kTurnFed: {
          auto done = commit_turn();
          if (!done) return done.error();
          break;
        }
      }
    }
  }
};

Trajectory::Trajectory(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Trajectory::~Trajectory() = default;

Result<std::unique_ptr<Trajectory>> Trajectory::open(const TrajectoryParts& parts) {
  auto impl = std::make_unique<Impl>(parts);
  auto folded = parts.session.for_each_record([&](const sessions::JournalEntry& entry) -> Result<void> {
    if (auto ok = impl->s.apply(entry.record); !ok) {
      return with_context(fmt::format("session {}: record {}", parts.session.name(), entry.sequence), ok.error());
    }
    return {};
  });
  if (!folded) return folded.error();
  if (auto ok = impl->reload_settings(); !ok) return ok.error();
  auto tools = ToolRunner::create(parts, impl->settings);
  if (!tools) return tools.error();
  impl->tools = std::move(*tools);
  if (auto ok = impl->load_sequence(); !ok) return ok.error();
  return std::unique_ptr<Trajectory>(new Trajectory(std::move(impl)));
}

const TrajectoryState& Trajectory::state() const {
  return impl_->s;
}
const Settings& Trajectory::settings() const {
  return impl_->settings;
}

Result<void> Trajectory::change(const json::object& changed, std::optional<std::uint64_t> seed) {
  if (!changed.empty()) {
    // Checked as a whole before anything is written.
    json::object whole = impl_->s.settings;
    for (const auto& setting : changed) whole[setting.key()] = setting.value();
    if (auto ok = settings_from_json(whole); !ok) return ok.error();
    if (auto ok = impl_->record(sessions::Note{to_json(json::object{{"settings", changed}})}); !ok) return ok.error();
    if (auto ok = impl_->reload_settings(); !ok) return ok.error();
    auto tools = ToolRunner::create(impl_->p, impl_->settings);
    if (!tools) return tools.error();
    impl_->tools = std::move(*tools);
  }
  if (seed && *seed != impl_->p.session.context().seed()) {
    if (auto ok = impl_->record(sessions::SeedChanged{*seed}); !ok) return ok.error();
  }
  return {};
}

Result<void> Trajectory::say(const std::string& text) {
  if (impl_->s.phase != Phase::kIdle) {
    return make_error(ErrorCode::kConflict,
                      fmt::format("session {} is not waiting for a message but {}; finish it with: longhaul resume {}",
                                  impl_->p.session.name(), to_string(impl_->s.phase), impl_->p.session.name()));
  }
  // Refused before it is recorded: a message that cannot fit would only end its turn.
  const std::size_t n = impl_->tokens_of(model::render_user(text)).size() + impl_->context().size();
  if (impl_->settings.context > 0 && static_cast<std::int64_t>(n) >= impl_->settings.context) {
    return make_error(ErrorCode::kResourceExhausted,
                      fmt::format("session {}: the message brings the context to {} tokens, the limit is {}",
                                  impl_->p.session.name(), n, impl_->settings.context));
  }
  return impl_->record(sessions::UserMessage{text});
}

Result<RunEnd> Trajectory::run() {
  return impl_->run();
}

}  // namespace longhaul::runtime
