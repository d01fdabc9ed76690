#include "runtime/trajectory.h"

#include <fmt/format.h>

#include "model/sampler.h"
#include "runtime/constrained_draw.h"
#include "runtime/trajectory_impl.h"

namespace longhaul::runtime {
namespace {

// After the reasoning budget is spent, a line may still end within this many tokens (the publisher's service grants
// the same kind of grace before it cuts).
constexpr std::int64_t kBudgetGrace = 64;

std::string trimmed(const std::string& text) {
  static constexpr std::string_view kSpace = " \t\r\n\v\f";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(kSpace) + 1 - first);
}

// For comparisons: every logit of every step is computed, and the model asked for every token.
bool full_logits() {
  static const bool full = [] {
    const char* given = std::getenv("LONGHAUL_FULL_LOGITS");
    return given != nullptr && std::string_view(given) == "1";
  }();
  return full;
}

std::shared_ptr<NextTokens> without_list(const tools::MessageParser& parser) {
  auto allowed = std::make_shared<tools::AllowedTokens>(*parser.allowed());
  allowed->few = false;
  allowed->ids.clear();
  return std::make_shared<NextTokens>(std::move(allowed));
}

}  // namespace

namespace {

// A message that cannot fit would only end its turn.
Result<void> check_fits(std::size_t n_tokens, std::int64_t context) {
  if (context > 0 && static_cast<std::int64_t>(n_tokens) >= context) {
    return make_error(ErrorCode::kResourceExhausted,
                      fmt::format("the message brings the context to {} tokens, the limit is {}", n_tokens, context));
  }
  return {};
}

std::size_t first_message_tokens(const model::Tokenizer& tokenizer, const Settings& settings,
                                 const std::vector<model::ChatTool>& tools, const std::string& text) {
  return model::to_tokens(model::render_system(settings.system, tools), tokenizer).size() +
         model::to_tokens(model::render_user(text), tokenizer).size();
}

}  // namespace

Result<void> check_first_message(const ModelHost& model, const Settings& settings,
                                 const std::vector<model::ChatTool>& tools, const std::string& text) {
  return check_fits(first_message_tokens(model.tokenizer(), settings, tools, text), settings.context);
}

void Trajectory::Impl::emit(EventKind kind, json::object fields) {
  p.events.on_event({kind, p.session.name(), static_cast<std::int64_t>(context().size()), std::move(fields)});
}

void Trajectory::Impl::emit_progress(std::size_t n_tokens) {
  p.events.on_progress({p.session.name(), static_cast<std::int64_t>(context().size()), n_tokens,
                        sequence ? sequence->resident_bytes() : 0});
}

Result<void> Trajectory::Impl::record(const sessions::Record& record) {
  if (auto ok = p.session.append(record); !ok) return ok.error();
  return s.apply(record);
}

Result<void> Trajectory::Impl::reload_settings() {
  auto read = settings_from_json(s.settings);
  if (!read) return with_context(fmt::format("session {}", p.session.name()), read.error());
  settings = std::move(*read);
  return {};
}

Result<void> Trajectory::Impl::start_turn() {
  if (auto ok = record(sessions::TurnStarted{s.turn + 1}); !ok) return ok.error();
  emit(EventKind::kTurnStarted, {{"turn", s.turn}});
  return {};
}

Result<bool> Trajectory::Impl::generate() {
  tools::MessageParser parser = tools->message_parser(thinking());
  // Tokens written before this process: read again, not shown again.
  const std::size_t begin = s.messages.back().begin;
  for (std::size_t i = begin; i < context().size(); ++i) {
    if (auto ok = parser.accept(context()[i]); !ok) {
      return with_context(fmt::format("session {}: token {} of the message", p.session.name(), i - begin), ok.error());
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
    if (settings.reasoning_budget > 0 && parser.in_reasoning() && n_written >= settings.reasoning_budget &&
        (n_written >= settings.reasoning_budget + kBudgetGrace ||
         tokenizer().vocabulary().bytes(context().back()).ends_with('\n'))) {
      parser.force_close_thinking();
    }
    // The mask first, at hand or on its way: it says which rows of the output matrix are needed (or that the token is
    // tested when it is drawn). A token without alternative is drawn from one candidate, whatever its logit, so where
    // that is known the model is not asked; it reads the token with the next ones. None of this changes a draw
    // (contract C2b).
    const std::shared_ptr<NextTokens> next =
        full_logits() ? without_list(parser) : allowed_before_draw(parser, sampling, p.model.mask_ahead(), layers_took);
    const std::uint64_t draw = p.session.context().n_draws();
    const bool no_choice = next->known() && next->get().ids.size() == 1;
    Result<TokenId> token = no_choice ? next->get().ids[0] : TokenId{0};
    if (!no_choice) {
      auto logits = next_logits(parser, *next);
      if (!logits) return logits.error();
      if (logits->empty()) return false;
      const std::span<const TokenId> written = std::span(context()).subspan(begin);
      token = draw_allowed(parser, next->get(), logits->first(vocabulary), written, sampling, draw);
      if (!token) return with_context(fmt::format("session {}", p.session.name()), token.error());
    }
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

void Trajectory::Impl::show(const std::vector<tools::MessageEvent>& events) {
  for (const tools::MessageEvent& event : events) {
    if (event.kind == tools::MessageEvent::Kind::kReasoning) emit(EventKind::kReasoning, {{"text", event.text}});
    if (event.kind == tools::MessageEvent::Kind::kContent) emit(EventKind::kText, {{"text", event.text}});
  }
}

Result<bool> Trajectory::Impl::commit_turn() {
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
  p.session.share_pages(*sequence);
  if (auto ok = s.apply(sessions::TurnCommitted{report->turn, report->position, {}, false, {}}); !ok) return ok.error();
  json::object committed{{"turn", report->turn}, {"bytes", report->bytes}};
  if (json::object read = kv_fields(); !read.empty()) committed["kv"] = std::move(read);
  kv = {};
  emit(EventKind::kCommitted, std::move(committed));
  if (answered) emit(EventKind::kAnswer, {{"text", text}, {"finish", text_field(message, "finish")}});
  return true;
}

Result<RunEnd> Trajectory::Impl::suspend(RunEnd end, const std::string& reason) {
  if (auto ok = settle_drafts(); !ok) return ok.error();
  if (auto ok = record(sessions::Suspended{reason}); !ok) return ok.error();
  // A resumed run should not compute this exchange again.
  if (sequence && sequence->position() > 0) {
    if (auto saved = p.session.save_state(*sequence, false); !saved) return saved.error();
  }
  emit(EventKind::kSuspended, {{"reason", reason}});
  return end;
}

Result<RunEnd> Trajectory::Impl::run() {
  while (true) {
    if (p.interrupted && s.phase != Phase::kIdle) return suspend(RunEnd::kInterrupted, std::string(kInterruptedReason));
    switch (s.phase) {
      case Phase::kIdle: {
        const bool cut = !s.messages.empty() && text_field(s.messages.back().message, "finish") == "length";
        return cut ? RunEnd::kLength : RunEnd::kAnswered;
      }
      case Phase::kUserPending:
        if (auto ok = feed_user(); !ok) return ok.error();
        break;
      case Phase::kReady: {
        if (auto ok = compact(); !ok) return ok.error();
        if (s.equal_calls - s.granted_equal_calls >= settings.max_equal_calls) {
          const std::string reason = fmt::format("the same call gave the same result {} times in a row", s.equal_calls);
          return suspend(RunEnd::kLoop, reason);
        }
        const auto turns = static_cast<std::int64_t>(s.exchange_turns - s.granted_turns);
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
        if (*end == RunEnd::kInDoubt || *end == RunEnd::kNeedsApproval || *end == RunEnd::kSleeping) return **end;
        if (*end) break;  // interrupted: the loop suspends
        [[fallthrough]];
      }
      case Phase::kAnswered: {
        const std::vector<TokenId> ids = turn_end();
        const std::size_t n = context().size() + ids.size();
        // Of a message that the limit cut off the end is fed all the same: a few tokens that the layout wants.
        if (!s.calls.empty() && settings.context > 0 && static_cast<std::int64_t>(n) >= settings.context) {
          return suspend(
              RunEnd::kContextFull,
              fmt::format("length: the results bring the context to {} tokens, the limit is {}", n, settings.context));
        }
        if (auto ok = feed(ids); !ok) return ok.error();
        break;
      }
      case Phase::kTurnFed: {
        auto done = commit_turn();
        if (!done) return done.error();
        break;
      }
    }
  }
}

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
    if (changed.contains("response_format") && impl_->s.phase == Phase::kGenerating) {
      return make_error(
          ErrorCode::kConflict,
          fmt::format("session {} is in the middle of a message, which goes on in the form it has; finish "
                      "it with: longhaul resume {}",
                      impl_->p.session.name(), impl_->p.session.name()));
    }
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
  if (!impl_->s.takes_message()) {
    return make_error(ErrorCode::kConflict,
                      fmt::format("session {} is not waiting for a message but {}; finish it with: longhaul resume {}",
                                  impl_->p.session.name(), to_string(impl_->s.phase), impl_->p.session.name()));
  }
  // Refused before it is recorded.
  const std::size_t n =
      impl_->context().empty()
          ? first_message_tokens(impl_->tokenizer(), impl_->settings, impl_->tools->declarations(), text)
          : impl_->context().size() + impl_->tokens_of(model::render_user(text)).size();
  if (auto ok = check_fits(n, impl_->settings.context); !ok) {
    return with_context(fmt::format("session {}", impl_->p.session.name()), ok.error());
  }
  return impl_->record(sessions::UserMessage{text});
}

Result<RunEnd> Trajectory::run() {
  return impl_->run();
}

}  // namespace longhaul::runtime
