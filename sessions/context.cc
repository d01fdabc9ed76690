#include "sessions/context.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/base/check.h"
#include "runtime/base/json.h"
#include "sessions/bytes.h"

namespace longhaul::sessions {
namespace {

// What each part of the digest's input begins with.
constexpr std::uint8_t kDigestToken = 'T', kDigestReset = 'R', kDigestResult = 'C', kDigestEnd = 'E';

Error misfit(std::string message) {
  return corruption(std::move(message));
}

// Steps of one record: what it says, or the default of its kind.
void append_steps(std::vector<std::uint32_t>& steps, std::size_t n, const std::vector<std::uint32_t>& split,
                  bool sampled) {
  if (!split.empty()) {
    steps.insert(steps.end(), split.begin(), split.end());
  } else if (sampled) {
    steps.insert(steps.end(), n, 1U);
  } else if (n > 0) {
    steps.push_back(static_cast<std::uint32_t>(n));
  }
}

Result<void> check_split(std::string_view kind, std::size_t n_ids, const std::vector<std::uint32_t>& split) {
  std::uint64_t sum = 0;
  for (const std::uint32_t n : split) {
    if (n == 0) return misfit(fmt::format("{}: a step of 0 tokens", kind));
    sum += n;
  }
  if (!split.empty() && sum != n_ids) return misfit(fmt::format("{}: steps of {} tokens for {}", kind, sum, n_ids));
  return {};
}

Result<void> check_object_or_empty(std::string_view field, const std::string& text) {
  if (text.empty()) return {};
  auto value = parse_json(text);
  if (!value) return misfit(fmt::format("{}: {}", field, value.error().message));
  if (!value->is_object()) return misfit(fmt::format("{} is not a JSON object", field));
  return {};
}

}  // namespace

Result<void> Context::check(const Record& record) const {
  const bool created = std::holds_alternative<SessionCreated>(record);
  if (created != (sequence_ == 0)) {
    return misfit(fmt::format("{} as record {}: session_created is the first record and only that",
                              kind_name(kind_of(record)), sequence_ + 1));
  }
  if (const auto* r = std::get_if<TokensFed>(&record)) {
    if (r->ids.empty()) return misfit("tokens_fed without tokens");
    return check_split("tokens_fed", r->ids.size(), r->split);
  }
  if (const auto* r = std::get_if<TokensSampled>(&record)) {
    if (r->ids.empty()) return misfit("tokens_sampled without tokens");
    if (r->first_draw != n_draws_) {
      return misfit(fmt::format("tokens_sampled with draw {}, the next one is {}", r->first_draw, n_draws_));
    }
    return check_split("tokens_sampled", r->ids.size(), r->split);
  }
  if (const auto* r = std::get_if<TurnStarted>(&record); r != nullptr && r->turn != next_turn()) {
    return misfit(fmt::format("turn_started {}, the next one is {}", r->turn, next_turn()));
  }
  if (const auto* r = std::get_if<CallIntent>(&record)) {
    if (r->ordinal > calls_.size()) {
      return misfit(fmt::format("call_intent {}, the next one is {}", r->ordinal, calls_.size()));
    }
    if (r->ordinal < calls_.size()) {
      const Call& call = calls_[r->ordinal];
      const bool retry = !call.result && call.settled && call.settled->how == Settlement::kRetry;
      if (!retry && !call.sleeping) {
        return misfit(
            fmt::format("call_intent {}: it is there, does not sleep, and nobody settled it as retry", r->ordinal));
      }
      if (r->idempotency_key != call.intent.idempotency_key) {
        return misfit(fmt::format("call_intent {} again with key {}, its key is {}", r->ordinal, r->idempotency_key,
                                  call.intent.idempotency_key));
      }
    }
  }
  if (const auto* r = std::get_if<CallIntent>(&record); r != nullptr && approval_ && !approval_->given) {
    return misfit(fmt::format("call_intent {}: the call waits for approval", r->ordinal));
  }
  if (const auto* r = std::get_if<ApprovalNeeded>(&record)) {
    if (r->ordinal != calls_.size()) {
      return misfit(fmt::format("approval_needed {}, the next call is {}", r->ordinal, calls_.size()));
    }
    if (approval_) return misfit(fmt::format("approval_needed {}: asked already", r->ordinal));
  }
  if (const auto* r = std::get_if<ApprovalGiven>(&record)) {
    if (!approval_ || approval_->given) return misfit(fmt::format("approval_given {}: nothing waits", r->ordinal));
    if (r->ordinal != approval_->needed.ordinal) {
      return misfit(fmt::format("approval_given {}, call {} waits", r->ordinal, approval_->needed.ordinal));
    }
  }
  if (const auto* r = std::get_if<CallStep>(&record)) {
    if (auto ok = check_running("call_step", r->ordinal); !ok) return ok.error();
    for (const CallStep& step : calls_[r->ordinal].steps) {
      if (step.key == r->key) return misfit(fmt::format("call_step {}: \"{}\" is there already", r->ordinal, r->key));
    }
    if (auto value = parse_json(r->value_json); !value) return misfit("call_step: " + value.error().message);
    return check_object_or_empty("call_step: notes delta", r->notes_delta_json);
  }
  if (const auto* r = std::get_if<CallSleeping>(&record)) {
    if (auto ok = check_running("call_sleeping", r->ordinal); !ok) return ok.error();
    const auto& set = calls_[r->ordinal].wake_ms;
    if (const auto found = set.find(r->timer); found != set.end() && found->second != r->wake_ms) {
      return misfit(fmt::format("call_sleeping {}: timer {} ends at {}, it was set to {}", r->ordinal, r->timer,
                                r->wake_ms, found->second));
    }
  }
  if (const auto* r = std::get_if<CallResult>(&record)) {
    if (r->ordinal >= calls_.size())
      return misfit(fmt::format("call_result {} of {} calls", r->ordinal, calls_.size()));
    if (calls_[r->ordinal].result) return misfit(fmt::format("call_result {}: the call has one already", r->ordinal));
    return check_object_or_empty("call_result: notes delta", r->notes_delta_json);
  }
  if (const auto* r = std::get_if<InDoubt>(&record)) {
    if (r->ordinal >= calls_.size()) return misfit(fmt::format("in_doubt {} of {} calls", r->ordinal, calls_.size()));
    if (calls_[r->ordinal].result) return misfit(fmt::format("in_doubt {}: the call has a result", r->ordinal));
  }
  if (const auto* r = std::get_if<Settled>(&record)) {
    if (r->ordinal >= calls_.size()) return misfit(fmt::format("settled {} of {} calls", r->ordinal, calls_.size()));
    if (!calls_[r->ordinal].in_doubt) return misfit(fmt::format("settled {}: the call is not in doubt", r->ordinal));
  }
  if (const auto* r = std::get_if<ContextReset>(&record); r != nullptr && r->position != tokens_.size()) {
    return misfit(fmt::format("context_reset to {} at position {}", r->position, tokens_.size()));
  }
  if (const auto* r = std::get_if<TurnCommitted>(&record)) {
    if (r->turn != next_turn())
      return misfit(fmt::format("turn_committed {}, the next one is {}", r->turn, next_turn()));
    if (r->position != tokens_.size()) {
      return misfit(
          fmt::format("turn_committed at position {}, the context has {} tokens", r->position, tokens_.size()));
    }
    if (r->digest != digest()) {
      return misfit(fmt::format("turn_committed {}: digest {}, the records before it give {}", r->turn, r->digest.hex(),
                                digest().hex()));
    }
  }
  if (const auto* r = std::get_if<StateSaved>(&record)) {
    if (r->position > tokens_.size()) {
      return misfit(fmt::format("state_saved at position {} of {} tokens", r->position, tokens_.size()));
    }
    if (r->digest != digest()) {
      return misfit(
          fmt::format("state_saved: digest {}, the records before it give {}", r->digest.hex(), digest().hex()));
    }
  }
  return {};
}

// A run of the call is under way: it has an intent, no result, is neither asleep nor in doubt.
Result<void> Context::check_running(std::string_view what, std::uint64_t ordinal) const {
  if (ordinal >= calls_.size()) return misfit(fmt::format("{} {} of {} calls", what, ordinal, calls_.size()));
  const Call& call = calls_[ordinal];
  if (call.result) return misfit(fmt::format("{} {}: the call has a result", what, ordinal));
  if (call.sleeping) return misfit(fmt::format("{} {}: the call sleeps", what, ordinal));
  if (call.in_doubt) return misfit(fmt::format("{} {}: the call is in doubt", what, ordinal));
  return {};
}

const BehindCall* Context::may_repeat(std::string_view tool, std::string_view arguments_json) const {
  const BehindCall* found = nullptr;
  for (const BehindCall& behind : once_behind_) {
    if (behind.repeated || behind.call.tool != tool) continue;
    if (behind.call.arguments_json == arguments_json) return &behind;
    if (found == nullptr) found = &behind;
  }
  return found;
}

void Context::add_tokens(const JournalEntry& entry, const std::vector<TokenId>& ids,
                         const std::vector<std::uint32_t>& split, bool sampled) {
  runs_.push_back({tokens_.size(), ids.size(), entry.branch, entry.sequence});
  tokens_.insert(tokens_.end(), ids.begin(), ids.end());
  append_steps(steps_, ids.size(), split, sampled);
  ByteWriter out;
  for (const TokenId id : ids) {
    out.u8(kDigestToken);
    out.u32(id);
  }
  since_commit_ += out.bytes();
  if (sampled) n_draws_ += ids.size();
}

Result<void> Context::apply(const JournalEntry& entry) {
  if (entry.sequence != sequence_ + 1) {
    return misfit(fmt::format("record {} follows record {}", entry.sequence, sequence_));
  }
  auto fits = check(entry.record);
  if (!fits) return fits.error();
  sequence_ = entry.sequence;

  if (const auto* r = std::get_if<SessionCreated>(&entry.record)) {
    identity_ = {r->model_fingerprint, r->numerics_tag};
    seed_ = r->seed;
    settings_json_ = r->settings_json;
  } else if (std::get_if<UserMessage>(&entry.record) != nullptr) {
    status_ = SessionStatus::kRunning;
    status_text_.clear();
    last_user_sequence_ = entry.sequence;
  } else if (const auto* fed = std::get_if<TokensFed>(&entry.record)) {
    add_tokens(entry, fed->ids, fed->split, false);
  } else if (const auto* sampled = std::get_if<TokensSampled>(&entry.record)) {
    add_tokens(entry, sampled->ids, sampled->split, true);
  } else if (std::get_if<TurnStarted>(&entry.record) != nullptr) {
    status_ = SessionStatus::kRunning;
    status_text_.clear();
  } else if (const auto* intent = std::get_if<CallIntent>(&entry.record)) {
    if (intent->ordinal == calls_.size()) {
      const bool denied = approval_ && approval_->denied();
      const BehindCall* repeats = may_repeat(intent->tool, intent->arguments_json);
      if (intent->effect == Effect::kOnce && !denied && repeats != nullptr) {
        once_behind_[static_cast<std::size_t>(repeats - once_behind_.data())].repeated = true;
      }
      calls_.emplace_back();
      calls_.back().approval = std::move(approval_);
      approval_.reset();
    }
    Call& call = calls_[intent->ordinal];
    call.sleeping = false;
    call.intent = *intent;
    call.settled.reset();
    ++call.n_intents;
    call.turn = next_turn();
    call.branch = entry.branch;
    call.sequence = entry.sequence;
    status_ = SessionStatus::kRunning;
    status_text_.clear();
  } else if (const auto* result = std::get_if<CallResult>(&entry.record)) {
    Call& call = calls_[result->ordinal];
    call.result = *result;
    if (call.in_doubt) {
      call.in_doubt = false;
      status_ = SessionStatus::kRunning;
      status_text_.clear();
    }
    if (!result->notes_delta_json.empty()) notes_deltas_.push_back(result->notes_delta_json);
    ByteWriter out;
    out.u8(kDigestResult);
    out.u64(result->ordinal);
    out.text(result->kind);
    out.text(result->text);
    out.text(result->receipts_json);
    since_commit_ += out.bytes();
  } else if (const auto* reset = std::get_if<ContextReset>(&entry.record)) {
    ByteWriter out;
    out.u8(kDigestReset);
    out.u64(reset->position);
    since_commit_ += out.bytes();
  } else if (const auto* changed = std::get_if<ModelChanged>(&entry.record)) {
    identity_ = {changed->model_fingerprint, changed->numerics_tag};
  } else if (const auto* seed = std::get_if<SeedChanged>(&entry.record)) {
    seed_ = seed->seed;
  } else if (const auto* committed = std::get_if<TurnCommitted>(&entry.record)) {
    turns_.push_back({committed->turn, committed->position, n_draws_, committed->digest, entry.branch, entry.sequence,
                      entry.time_ms});
    digest_ = committed->digest;
    since_commit_.clear();
  } else if (const auto* suspended = std::get_if<Suspended>(&entry.record)) {
    status_ = SessionStatus::kSuspended;
    status_text_ = suspended->reason;
  } else if (const auto* answer = std::get_if<Answer>(&entry.record)) {
    status_ = SessionStatus::kAnswered;
    status_text_ = answer->text;
  } else if (const auto* needed = std::get_if<ApprovalNeeded>(&entry.record)) {
    approval_ = Approval{*needed, std::nullopt};
    status_ = SessionStatus::kNeedsApproval;
    status_text_ = fmt::format("{} waits for approval: {}", needed->call_id, needed->reason);
  } else if (const auto* given = std::get_if<ApprovalGiven>(&entry.record)) {
    approval_->given = *given;
    status_ = SessionStatus::kSuspended;
    status_text_ = fmt::format("{}: {}", approval_->needed.call_id, to_string(given->verdict));
  } else if (const auto* step = std::get_if<CallStep>(&entry.record)) {
    calls_[step->ordinal].steps.push_back(*step);
  } else if (const auto* sleeping = std::get_if<CallSleeping>(&entry.record)) {
    Call& call = calls_[sleeping->ordinal];
    call.wake_ms.emplace(sleeping->timer, sleeping->wake_ms);
    call.sleeps_until_ms = sleeping->wake_ms;
    call.sleeping = true;
    status_ = SessionStatus::kSleeping;
    status_text_ = fmt::format("{} sleeps until {} ms since 1970", call.intent.call_id, sleeping->wake_ms);
  } else if (const auto* behind = std::get_if<OnceBehind>(&entry.record)) {
    once_behind_.push_back({*behind, entry.sequence, false});
  } else if (const auto* doubt = std::get_if<InDoubt>(&entry.record)) {
    calls_[doubt->ordinal].in_doubt = true;
    calls_[doubt->ordinal].settled.reset();
    status_ = SessionStatus::kInDoubt;
    status_text_ = doubt->reason;
  } else if (const auto* settled = std::get_if<Settled>(&entry.record)) {
    Call& call = calls_[settled->ordinal];
    call.in_doubt = false;
    call.settled = *settled;
    const bool others = std::any_of(calls_.begin(), calls_.end(), [](const Call& c) { return c.in_doubt; });
    if (!others) {
      status_ = SessionStatus::kSuspended;
      status_text_ = fmt::format("call {} settled: {}", settled->ordinal, to_string(settled->how));
    }
  }
  return {};
}

void Context::cut(std::uint64_t position) {
  if (position >= tokens_.size()) return;
  tokens_.resize(position);
  while (!runs_.empty() && runs_.back().first >= position) runs_.pop_back();
  if (!runs_.empty()) runs_.back().n = position - runs_.back().first;
  std::uint64_t sum = 0;
  std::size_t i = 0;
  for (; i < steps_.size() && sum < position; ++i) sum += steps_[i];
  steps_.resize(i);
  if (sum > position) steps_.back() -= static_cast<std::uint32_t>(sum - position);
}

std::vector<std::uint32_t> Context::split_from(std::uint64_t position) const {
  std::vector<std::uint32_t> out;
  std::uint64_t end = tokens_.size();
  for (std::size_t i = steps_.size(); i > 0 && end > position; --i) {
    const std::uint64_t start = end - steps_[i - 1];
    out.push_back(static_cast<std::uint32_t>(end - std::max(start, position)));
    end = start;
  }
  std::reverse(out.begin(), out.end());
  return out;
}

std::vector<std::uint64_t> Context::open_calls() const {
  std::vector<std::uint64_t> out;
  for (const Call& call : calls_) {
    if (!call.result) out.push_back(call.intent.ordinal);
  }
  return out;
}

std::string Context::notes_json() const {
  json::object notes;
  for (const std::string& delta : notes_deltas_) {
    auto value = parse_json(delta);
    LONGHAUL_CHECK(value.has_value() && value->is_object(), "a notes delta was checked when it was applied");
    for (const auto& member : value->as_object()) {
      if (member.value().is_null()) {
        notes.erase(member.key());
      } else {
        notes[member.key()] = member.value();
      }
    }
  }
  return to_json(notes);
}

Digest Context::digest() const {
  if (since_commit_.empty()) return digest_;
  ByteWriter end;
  end.u8(kDigestEnd);
  end.u64(n_draws_);
  return chain(digest_, since_commit_ + end.bytes());
}

}  // namespace longhaul::sessions
