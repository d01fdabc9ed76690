// The calls of an assistant message, one after the other, with intent and result in the journal (contract C6).
#include <fmt/format.h>
#include <poll.h>

#include <algorithm>

#include "runtime/base/check.h"
#include "runtime/trajectory_impl.h"

namespace longhaul::runtime {

// What a running call wants to last becomes records of the session, before the script goes on.
class Trajectory::Impl::JournalOfCall final : public sandbox::CallJournal {
 public:
  JournalOfCall(Impl& trajectory, std::uint64_t ordinal) : trajectory_(trajectory), ordinal_(ordinal) {}
  Result<void> step(const sandbox::RecordedStep& step) override {
    json::object notes;
    for (const auto& [key, value] : step.notes) notes[key] = value;
    return trajectory_.record(
        sessions::CallStep{ordinal_, step.key, step.value_json, notes.empty() ? std::string() : to_json(notes)});
  }
  Result<void> sleep(std::uint64_t timer, std::int64_t wake_ms) override {
    return trajectory_.record(sessions::CallSleeping{ordinal_, timer, wake_ms});
  }

 private:
  Impl& trajectory_;
  const std::uint64_t ordinal_;
};

Result<std::optional<RunEnd>> Trajectory::Impl::run_calls() {
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
      bool woken = false;
      if (call.ordinal && call_of(*call.ordinal).sleeping) {
        const std::int64_t wake_ms = call_of(*call.ordinal).sleeps_until_ms;
        if (p.clock.unix_ms() < wake_ms) {
          emit(EventKind::kSleeping,
               {{"id", fmt::format("call_{}", *call.ordinal)}, {"name", call.name}, {"wake_ms", wake_ms}});
          if (p.wait == TimerWait::kOwn && !slept_here) return std::optional(RunEnd::kSleeping);
          auto awake = wait_until(wake_ms);
          if (!awake) return awake.error();
          if (!*awake) return std::optional(RunEnd::kInterrupted);
        }
        if (p.interrupted) return std::optional(RunEnd::kInterrupted);
        // From here on a run may do something again: cut off, it counts like the first.
        if (auto ok = record(open_intent(*call.ordinal)); !ok) return ok.error();
        woken = true;
      }
      // An intent without a result, from before: what was declared of the effect decides (contract C6).
      if (call.intent_open && !woken && effect == sessions::Effect::kOnce) {
        if (auto ok = record(sessions::InDoubt{*call.ordinal, "the process ended between call and result"}); !ok) {
          return ok.error();
        }
        continue;
      }
      if (p.interrupted) return std::optional(RunEnd::kInterrupted);
      if (!call.ordinal) {
        auto allowed = permission(call);
        if (!allowed) return allowed.error();
        if (*allowed == Permission::kWait) return std::optional(RunEnd::kNeedsApproval);
        if (*allowed == Permission::kDenied) {
          if (auto ok = record_denied(i); !ok) return ok.error();
          continue;
        }
      }
      const sessions::CallIntent intent = call.ordinal ? open_intent(*call.ordinal) : new_intent(call);
      const std::uint64_t ordinal = intent.ordinal;
      // A call settled as retry gets its intent once more: cut off again, it is in doubt again.
      if (!call.intent_open) {
        // After a crash in a `once` call somebody may take long to settle it, but nothing much has to be read again.
        if (effect == sessions::Effect::kOnce && sequence && sequence->position() > 0) {
          auto saved = p.session.save_state(*sequence, false, sessions::StateWish::kByPolicy);
          if (!saved) return saved.error();
        }
        if (auto ok = record(intent); !ok) return ok.error();
      }
      emit(EventKind::kToolCall, {{"id", intent.call_id},
                                  {"name", intent.tool},
                                  {"arguments", call.arguments},
                                  {"key", intent.idempotency_key}});
      JournalOfCall journal(*this, ordinal);
      auto ran = tools->run(intent, p.session.context(), journal, p.cancel);
      if (!ran) return ran.error();
      if (ran->sleeping) {
        slept_here = true;
        continue;
      }
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

std::string Trajectory::Impl::approval_reason(const CallState& call) const {
  std::string reason = tools->approval_reason(call.name);
  if (!reason.empty() || tools->effect(call.name) != sessions::Effect::kOnce) return reason;
  const sessions::BehindCall* behind = p.session.context().may_repeat(call.name, to_json(call.arguments));
  if (behind == nullptr) return "";
  return fmt::format("it may repeat {}({}) of turn {}, which was made before this session was forked or went back",
                     behind->call.tool, behind->call.arguments_json, behind->call.turn);
}

Result<Trajectory::Impl::Permission> Trajectory::Impl::permission(const CallState& call) {
  const std::optional<sessions::Approval>& approval = p.session.context().approval();
  if (!approval) {
    const std::string reason = approval_reason(call);
    if (reason.empty()) return Permission::kRun;
    const sessions::CallIntent intent = new_intent(call);
    if (auto ok = record(
            sessions::ApprovalNeeded{intent.ordinal, intent.call_id, intent.tool, intent.arguments_json, reason});
        !ok) {
      return ok.error();
    }
  }
  if (!approval->given) {
    const sessions::ApprovalNeeded needed = approval->needed;
    const Event event{
        EventKind::kApprovalNeeded,
        p.session.name(),
        static_cast<std::int64_t>(context().size()),
        {{"id", needed.call_id}, {"name", needed.tool}, {"arguments", call.arguments}, {"reason", needed.reason}}};
    p.events.on_event(event);
    if (!p.ask_approval) return Permission::kWait;
    const std::optional<ApprovalAnswer> answer = p.ask_approval(event);
    if (!answer) return Permission::kWait;
    const auto verdict = answer->approve ? sessions::Verdict::kApprove : sessions::Verdict::kDeny;
    if (auto ok = record(sessions::ApprovalGiven{needed.ordinal, verdict, answer->reason}); !ok) return ok.error();
  }
  return approval->denied() ? Permission::kDenied : Permission::kRun;
}

Result<void> Trajectory::Impl::record_denied(std::size_t index) {
  const sessions::CallIntent intent = new_intent(s.calls[index]);
  const std::string reason = p.session.context().approval()->given->reason;
  sessions::CallResult result;
  result.ordinal = intent.ordinal;
  result.kind = "denied";
  result.text = "error: the call was not allowed" + (reason.empty() ? "" : ": " + reason);
  const std::vector<sessions::Record> records{intent, result};
  if (auto ok = p.session.append(records); !ok) return ok.error();
  for (const sessions::Record& record : records) {
    if (auto ok = s.apply(record); !ok) return ok.error();
  }
  emit_result(s.calls[index]);
  return {};
}

sessions::CallIntent Trajectory::Impl::new_intent(const CallState& call) const {
  sessions::CallIntent intent;
  intent.ordinal = s.n_calls;
  intent.call_id = fmt::format("call_{}", intent.ordinal);
  intent.idempotency_key = p.session.idempotency_key();
  intent.tool = call.name;
  intent.arguments_json = to_json(call.arguments);
  intent.effect = tools->effect(call.name);
  return intent;
}

const sessions::Call& Trajectory::Impl::call_of(std::uint64_t ordinal) const {
  const auto& calls = p.session.context().calls();
  LONGHAUL_CHECK(ordinal < calls.size(), "an intent that the fold has seen is in the journal");
  return calls[ordinal];
}

sessions::CallIntent Trajectory::Impl::open_intent(std::uint64_t ordinal) const {
  return call_of(ordinal).intent;
}

Result<bool> Trajectory::Impl::wait_until(std::int64_t wake_ms) {
  // Letting go writes the state to the disk: not for the blink of an eye. Chosen, not measured.
  if (wake_ms - p.clock.unix_ms() > 1000) {
    if (auto ok = let_go(); !ok) return ok.error();
  }
  while (p.clock.unix_ms() < wake_ms) {
    if (p.interrupted) return false;
    // The wall clock may be set meanwhile, so it is looked at again and again.
    const std::int64_t left = std::clamp<std::int64_t>(wake_ms - p.clock.unix_ms(), 1, 1000);
    pollfd stop{p.cancel != nullptr ? p.cancel->fd() : -1, POLLIN, 0};
    ::poll(&stop, 1, static_cast<int>(left));
  }
  return true;
}

sessions::CallResult Trajectory::Impl::settled_result(const CallState& call) const {
  sessions::CallResult result;
  result.ordinal = *call.ordinal;
  if (call.settled->how == sessions::Settlement::kSkip) {
    result.kind = "skipped";
    result.text = "error: the call was not made";
    return result;
  }
  result.kind = "settled";
  result.notes_delta_json = call.settled_notes;
  auto value = parse_json(call.settled->result_json);
  result.text = value && value->is_string() ? std::string(value->get_string()) : call.settled->result_json;
  return result;
}

void Trajectory::Impl::emit_result(const CallState& call) {
  emit(EventKind::kToolResult, {{"id", fmt::format("call_{}", *call.ordinal)},
                                {"name", call.name},
                                {"ok", call.result->kind == "ok" || call.result->kind == "settled"},
                                {"text", call.result->text}});
}

void Trajectory::Impl::emit_in_doubt(const CallState& call) {
  emit(EventKind::kInDoubt,
       {{"id", fmt::format("call_{}", *call.ordinal)}, {"name", call.name}, {"arguments", call.arguments}});
}

}  // namespace longhaul::runtime
