#include "runtime/trajectory_state.h"

#include <fmt/format.h>

#include <algorithm>

namespace longhaul::runtime {

std::string_view to_string(Phase phase) {
  switch (phase) {
    case Phase::kIdle:
      return "idle";
    case Phase::kUserPending:
      return "user message pending";
    case Phase::kReady:
      return "ready";
    case Phase::kTurnStarted:
      return "turn started";
    case Phase::kGenerating:
      return "generating";
    case Phase::kCalls:
      return "calling tools";
    case Phase::kAnswered:
      return "answered";
    case Phase::kTurnFed:
      return "turn not committed";
  }
  return "unknown";
}

bool TrajectoryState::in_doubt() const {
  for (const CallState& call : calls) {
    if (call.in_doubt) return true;
  }
  return false;
}

namespace {

class Apply {
 public:
  explicit Apply(TrajectoryState& state) : s_(state) {}

  Result<void> operator()(const sessions::SessionCreated& r) {
    auto settings = parse_json(r.settings_json);
    if (!settings) return corruption("session settings: " + settings.error().message);
    if (!settings->is_object()) return corruption("session settings are not an object");
    s_.settings = settings->get_object();
    return {};
  }

  Result<void> operator()(const sessions::UserMessage& r) {
    if (!s_.takes_message()) return misplaced("user message");
    s_.at_limit = false;
    s_.phase = Phase::kUserPending;
    s_.user_text = r.text;
    return {};
  }

  Result<void> operator()(const sessions::ContextReset& r) {
    const bool compacting = s_.phase == Phase::kReady && !s_.messages.empty();
    if ((s_.phase != Phase::kUserPending && !compacting) || r.position > s_.n_context) {
      return misplaced("context reset");
    }
    s_.compacting = compacting;
    s_.n_context = r.position;
    return {};
  }

  Result<void> operator()(const sessions::TokensFed& r) {
    s_.n_context += r.ids.size();
    if (s_.compacting) return {};
    switch (s_.phase) {
      case Phase::kUserPending:
        s_.phase = Phase::kReady;
        s_.exchange_begin = s_.n_context;
        s_.fed_user_text = s_.user_text;
        s_.exchange_turns = 0;
        s_.messages.clear();
        s_.calls.clear();
        s_.last_call.clear();
        s_.equal_calls = 0;
        s_.granted_turns = 0;
        s_.granted_equal_calls = 0;
        return {};
      case Phase::kTurnStarted: {
        s_.phase = Phase::kGenerating;
        MessageSpan span;
        span.header = s_.n_context - r.ids.size();
        span.begin = span.end = span.after = s_.n_context;
        s_.messages.push_back(std::move(span));
        return {};
      }
      case Phase::kCalls:
        for (const CallState& call : s_.calls) {
          if (!call.result) return misplaced("tokens before all results");
        }
        [[fallthrough]];
      case Phase::kAnswered:
        s_.messages.back().after = s_.n_context;
        s_.phase = Phase::kTurnFed;
        return {};
      default:
        return misplaced("tokens fed");
    }
  }

  Result<void> operator()(const sessions::TokensSampled& r) {
    if (s_.phase != Phase::kGenerating) return misplaced("sampled tokens");
    s_.n_context += r.ids.size();
    s_.messages.back().end = s_.messages.back().after = s_.n_context;
    return {};
  }

  Result<void> operator()(const sessions::TurnStarted& r) {
    if (s_.phase != Phase::kReady) return misplaced("turn start");
    s_.phase = Phase::kTurnStarted;
    s_.turn = r.turn;
    s_.at_limit = false;
    s_.exchange_turns++;
    return {};
  }

  Result<void> operator()(const sessions::AssistantMessage& r) {
    if (s_.phase != Phase::kGenerating) return misplaced("assistant message");
    auto parsed = parse_json(r.json);
    if (!parsed) return corruption("assistant message: " + parsed.error().message);
    if (!parsed->is_object()) return corruption("assistant message is not an object");
    const json::object& message = parsed->get_object();
    s_.calls.clear();
    if (const json::value* calls = message.if_contains("calls"); calls != nullptr && calls->is_array()) {
      for (const json::value& entry : calls->get_array()) {
        const json::object* call = entry.if_object();
        const json::value* name = call != nullptr ? call->if_contains("name") : nullptr;
        const json::value* arguments = call != nullptr ? call->if_contains("arguments") : nullptr;
        if (name == nullptr || !name->is_string() || arguments == nullptr || !arguments->is_object()) {
          return corruption("assistant message holds a call without name or arguments");
        }
        CallState state;
        state.name = std::string(name->get_string());
        state.arguments = arguments->get_object();
        s_.calls.push_back(std::move(state));
      }
    }
    s_.messages.back().message = message;
    s_.phase = s_.calls.empty() ? Phase::kAnswered : Phase::kCalls;
    return {};
  }

  Result<void> operator()(const sessions::CallIntent& r) {
    if (s_.phase != Phase::kCalls) return misplaced("call intent");
    for (CallState& call : s_.calls) {
      if (call.result) continue;
      if (call.ordinal && *call.ordinal != r.ordinal) return misplaced("call intent");
      if (!call.ordinal) s_.messages.back().ordinals.push_back(r.ordinal);
      call.ordinal = r.ordinal;
      call.intent_open = true;
      call.in_doubt = call.retry = false;
      if (r.ordinal >= s_.n_calls) s_.n_calls = r.ordinal + 1;
      return {};
    }
    return misplaced("call intent");
  }

  Result<void> operator()(const sessions::CallResult& r) {
    CallState* call = find(r.ordinal);
    if (call == nullptr || call->result) return misplaced("call result");
    call->result = r;
    call->intent_open = call->in_doubt = call->retry = false;
    call->settled.reset();
    const std::string seen = fmt::format("{} {} {}", call->name, to_json(call->arguments), r.text);
    const bool again = seen == s_.last_call;
    s_.equal_calls = again ? s_.equal_calls + 1 : 1;
    if (!again) s_.granted_equal_calls = 0;
    s_.last_call = seen;
    return {};
  }

  Result<void> operator()(const sessions::InDoubt& r) {
    CallState* call = find(r.ordinal);
    if (call == nullptr || call->result) return misplaced("in doubt");
    call->in_doubt = true;
    return {};
  }

  Result<void> operator()(const sessions::Settled& r) {
    CallState* call = find(r.ordinal);
    if (call == nullptr || call->result || !call->in_doubt) return misplaced("settlement");
    call->in_doubt = false;
    if (r.how == sessions::Settlement::kRetry) {
      call->intent_open = false;
      call->retry = true;
    } else {
      call->settled = r;
    }
    return {};
  }

  Result<void> operator()(const sessions::TurnCommitted&) {
    if (s_.phase != Phase::kTurnFed) return misplaced("turn commit");
    s_.phase = s_.calls.empty() ? Phase::kIdle : Phase::kReady;
    return {};
  }

  Result<void> operator()(const sessions::SeedChanged&) { return {}; }

  // Who waits for whom, and what a call has done so far, stands in sessions::Context.
  Result<void> operator()(const sessions::ApprovalNeeded&) { return in_calls("approval"); }
  Result<void> operator()(const sessions::ApprovalGiven&) { return in_calls("approval"); }
  Result<void> operator()(const sessions::CallStep&) { return in_calls("step of a call"); }
  Result<void> operator()(const sessions::CallSleeping&) { return in_calls("sleep of a call"); }
  Result<void> operator()(const sessions::OnceBehind&) { return {}; }

  Result<void> operator()(const sessions::Compacted& r) {
    if (!s_.compacting || r.first_message >= s_.messages.size() ||
        r.spans.size() != s_.messages.size() - r.first_message) {
      return misplaced("compaction");
    }
    // The first message stands where the exchange begins; results before it may have left, and it has moved.
    const std::uint64_t begin = r.first_message == 0 ? std::min<std::uint64_t>(s_.exchange_begin, r.spans[0].header)
                                                     : s_.messages[r.first_message - 1].after;
    std::uint64_t last = begin;
    for (std::size_t i = 0; i < r.spans.size(); ++i) {
      const sessions::Compacted::Span& now = r.spans[i];
      if (now.header < last || now.begin < now.header || now.end < now.begin || now.after < now.end) {
        return misplaced("compaction");
      }
      last = now.after;
      MessageSpan& span = s_.messages[r.first_message + i];
      span.header = now.header;
      span.begin = now.begin;
      span.end = now.end;
      span.after = now.after;
    }
    if (last != s_.n_context) return misplaced("compaction");
    if (r.first_message == 0) s_.exchange_begin = begin;
    s_.dropped.insert(r.dropped.begin(), r.dropped.end());
    s_.compacting = false;
    return {};
  }

  Result<void> operator()(const sessions::ModelChanged&) { return {}; }
  Result<void> operator()(const sessions::StateSaved&) { return {}; }
  Result<void> operator()(const sessions::Suspended& r) {
    if (s_.phase != Phase::kReady || r.reason == kInterruptedReason) return {};
    s_.at_limit = true;
    s_.granted_turns = s_.exchange_turns;
    s_.granted_equal_calls = s_.equal_calls;
    return {};
  }
  Result<void> operator()(const sessions::Answer&) { return {}; }
  Result<void> operator()(const sessions::Note& r) {
    auto note = parse_json(r.json);
    if (!note) return corruption("note: " + note.error().message);
    if (!note->is_object()) return {};
    if (const json::value* notes = note->get_object().if_contains("settled_notes")) {
      for (CallState& call : s_.calls) {
        if (call.settled && !call.result) call.settled_notes = to_json(*notes);
      }
    }
    // Settings changed by a later run; other notes are for people.
    const json::value* changed = note->get_object().if_contains("settings");
    if (changed == nullptr || !changed->is_object()) return {};
    for (const auto& setting : changed->get_object()) s_.settings[setting.key()] = setting.value();
    return {};
  }

 private:
  CallState* find(std::uint64_t ordinal) {
    for (CallState& call : s_.calls) {
      if (call.ordinal == ordinal) return &call;
    }
    return nullptr;
  }

  Result<void> in_calls(std::string_view what) const {
    if (s_.phase != Phase::kCalls) return misplaced(what);
    return {};
  }

  Error misplaced(std::string_view what) const {
    return corruption(fmt::format("journal holds \"{}\" where the trajectory is \"{}\"", what, to_string(s_.phase)));
  }

  TrajectoryState& s_;
};

}  // namespace

Result<void> TrajectoryState::apply(const sessions::Record& record) {
  return std::visit(Apply(*this), record);
}

}  // namespace longhaul::runtime
