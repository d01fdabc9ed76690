// The calls of an assistant message, one after the other, with intent and result in the journal (contract C6).
#include <fmt/format.h>

#include "runtime/base/check.h"
#include "runtime/trajectory_impl.h"

namespace longhaul::runtime {

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

sessions::CallIntent Trajectory::Impl::open_intent(std::uint64_t ordinal) const {
  for (const sessions::Call& call : p.session.context().calls()) {
    if (call.intent.ordinal == ordinal) return call.intent;
  }
  LONGHAUL_CHECK(false, "an intent that the fold has seen is in the journal");
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
