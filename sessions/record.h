// The journal's records: what happened to a session, in order. Everything else the sessions room knows about a session
// (its tokens, turns, calls, seed, status) is folded from these; see context.h. Bytes: FORMAT.md, "Journal".
//
// A record's place in a lineage is its sequence number, from 1. Records of one branch and its ancestors form one hash
// chain, so a record cannot be lost, moved or swapped without being noticed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "runtime/base/hash.h"
#include "runtime/base/result.h"

namespace longhaul::sessions {

using TokenId = std::uint32_t;

// What a tool's manifest declares (contract C6): decides what happens to a call that was cut off.
enum class Effect : std::uint8_t { kRead = 0, kIdempotent = 1, kOnce = 2 };
enum class Settlement : std::uint8_t { kDone = 0, kSkip = 1, kRetry = 2 };

std::string_view to_string(Effect effect);
std::string_view to_string(Settlement how);

enum class Verdict : std::uint8_t { kApprove = 0, kDeny = 1 };
std::string_view to_string(Verdict verdict);

// The first record of every lineage.
struct SessionCreated {
  std::string model_fingerprint;
  std::string numerics_tag;
  std::uint64_t seed = 0;
  std::string settings_json;
  friend bool operator==(const SessionCreated&, const SessionCreated&) = default;
};
struct UserMessage {
  std::string text;
  friend bool operator==(const UserMessage&, const UserMessage&) = default;
};
// Tokens appended to the context without being sampled: rendered messages, results, forced text.
struct TokensFed {
  std::vector<TokenId> ids;
  std::vector<std::uint32_t> split;  // how many of them each engine step took; empty: one step took all
  friend bool operator==(const TokensFed&, const TokensFed&) = default;
};
// Tokens drawn by the sampler, with consecutive draw numbers; they are part of the context from here on.
struct TokensSampled {
  std::uint64_t first_draw = 0;
  std::vector<TokenId> ids;
  std::vector<std::uint32_t> split;  // as above; empty: one step a token
  friend bool operator==(const TokensSampled&, const TokensSampled&) = default;
};
struct TurnStarted {
  std::uint64_t turn = 0;  // from 1
  friend bool operator==(const TurnStarted&, const TurnStarted&) = default;
};
struct AssistantMessage {
  std::string json;  // reasoning, content, calls
  friend bool operator==(const AssistantMessage&, const AssistantMessage&) = default;
};
// Durable before the tool is called. Written again, with the same ordinal and key, before a call that was settled as
// `retry`, or that slept, is made again: if that is cut off too, it is in doubt once more.
struct CallIntent {
  std::uint64_t ordinal = 0;    // calls of this lineage, from 0
  std::string call_id;          // as the model's message names it
  std::string idempotency_key;  // handed to the tool; the same at every retry of this call
  std::string tool;
  std::string arguments_json;
  Effect effect = Effect::kOnce;
  friend bool operator==(const CallIntent&, const CallIntent&) = default;
};
// Durable before the model sees it.
struct CallResult {
  std::uint64_t ordinal = 0;
  std::string kind;              // "ok", "error", "timeout", "skipped", ...: the runtime's word
  std::string text;              // what the model is shown
  std::string notes_delta_json;  // "" or an object merged into the session's notes, key by key; null removes the key
  std::string receipts_json;     // "" or what the broker recorded of effects
  friend bool operator==(const CallResult&, const CallResult&) = default;
};
// First record of a branch that goes back to `position` of the context while all events stay visible.
struct ContextReset {
  std::uint64_t position = 0;
  std::string reason;
  friend bool operator==(const ContextReset&, const ContextReset&) = default;
};
struct SeedChanged {
  std::uint64_t seed = 0;
  friend bool operator==(const SeedChanged&, const SeedChanged&) = default;
};
struct TurnCommitted {
  std::uint64_t turn = 0;
  std::uint64_t position = 0;  // tokens in the context
  Digest digest;               // of the lineage's tokens, draws and receipts up to here (context.h)
  bool has_state = false;      // a state is stored with this commit...
  Digest state_digest;         // ...and this is its digest; else zero
  friend bool operator==(const TurnCommitted&, const TurnCommitted&) = default;
};
// A stored state that is not a turn's end: after the user's message, before an effect.
struct StateSaved {
  std::uint64_t position = 0;
  Digest digest;
  Digest state_digest;
  friend bool operator==(const StateSaved&, const StateSaved&) = default;
};
struct Suspended {
  std::string reason;
  friend bool operator==(const Suspended&, const Suspended&) = default;
};
struct Answer {
  std::string text;
  friend bool operator==(const Answer&, const Answer&) = default;
};
// The call with this ordinal may or may not have happened; somebody has to say (C6).
struct InDoubt {
  std::uint64_t ordinal = 0;
  std::string reason;
  friend bool operator==(const InDoubt&, const InDoubt&) = default;
};
struct Settled {
  std::uint64_t ordinal = 0;
  Settlement how = Settlement::kDone;
  std::string result_json;  // for kDone: what the call gave
  friend bool operator==(const Settled&, const Settled&) = default;
};
// First record of a branch from which on another model (or other numerics) continues: it reads all tokens again.
struct ModelChanged {
  std::string model_fingerprint;
  std::string numerics_tag;
  friend bool operator==(const ModelChanged&, const ModelChanged&) = default;
};
// The next call waits for a person: it is not made, and has no intent, before somebody has said yes.
struct ApprovalNeeded {
  std::uint64_t ordinal = 0;  // that the call will have
  std::string call_id;
  std::string tool;
  std::string arguments_json;
  std::string reason;
  friend bool operator==(const ApprovalNeeded&, const ApprovalNeeded&) = default;
};
struct ApprovalGiven {
  std::uint64_t ordinal = 0;
  Verdict verdict = Verdict::kDeny;
  std::string reason;  // of a denial; the model is told
  friend bool operator==(const ApprovalGiven&, const ApprovalGiven&) = default;
};
// A step inside a call (`ctx.once`): a later run of the same call gets this value instead of making the step again.
struct CallStep {
  std::uint64_t ordinal = 0;
  std::string key;               // one of its call
  std::string value_json;        // any JSON value
  std::string notes_delta_json;  // notes put in the step; as in CallResult
  friend bool operator==(const CallStep&, const CallStep&) = default;
};
// The call's worker has ended; the call runs again from its start when the time has come.
struct CallSleeping {
  std::uint64_t ordinal = 0;
  std::uint64_t timer = 0;   // the call's first is 0
  std::int64_t wake_ms = 0;  // UTC
  friend bool operator==(const CallSleeping&, const CallSleeping&) = default;
};
// At the beginning of a branch that goes back behind a `once` call: the call was made, and a call of the same tool may
// repeat it, so it needs approval.
struct OnceBehind {
  std::string call_id;
  std::string idempotency_key;  // of the call that was made
  std::string tool;
  std::string arguments_json;
  std::uint64_t turn = 0;
  friend bool operator==(const OnceBehind&, const OnceBehind&) = default;
};
// After a context_reset and the tokens fed behind it: old tool results have left the context, placeholders stand for
// them.
struct Compacted {
  struct Span {  // of an assistant message: positions in the context as it is now
    std::uint64_t header = 0, begin = 0, end = 0, after = 0;
    friend bool operator==(const Span&, const Span&) = default;
  };
  std::uint64_t first_message = 0;     // of the current exchange, from 0: the first one that has changed...
  std::vector<Span> spans;             // ...and where it and all after it stand
  std::vector<std::uint64_t> dropped;  // ordinals of the calls whose results have left
  friend bool operator==(const Compacted&, const Compacted&) = default;
};
// Whatever a later version or the runtime wants to keep beside the rest.
struct Note {
  std::string json;
  friend bool operator==(const Note&, const Note&) = default;
};

// The order is the kind's number in the format, less one: only ever append.
using Record =
    std::variant<SessionCreated, UserMessage, TokensFed, TokensSampled, TurnStarted, AssistantMessage, CallIntent,
                 CallResult, ContextReset, SeedChanged, TurnCommitted, StateSaved, Suspended, Answer, InDoubt, Settled,
                 Note, ModelChanged, ApprovalNeeded, ApprovalGiven, CallStep, CallSleeping, OnceBehind, Compacted>;

inline constexpr std::uint8_t kRecordVersion = 1;

inline std::uint8_t kind_of(const Record& record) {
  return static_cast<std::uint8_t>(record.index() + 1);
}
// "turn_committed"; "unknown" for a number no version gave out.
std::string_view kind_name(std::uint8_t kind);
// Whether the record must be durable before the writer goes on (contract C6, and what a person was told).
bool must_sync(const Record& record);
bool is_tokens(const Record& record);  // fed or sampled

// Only the fields; kind, version, length and checksum stand in the envelope around them.
std::string encode_payload(const Record& record);
// kCorruption names the kind, offset and reason; kVersionMismatch for a version or kind from the future.
Result<Record> decode_payload(std::uint8_t kind, std::uint8_t version, std::string_view payload);

// A record where it stands.
struct JournalEntry {
  std::uint64_t branch = 0;
  std::uint64_t sequence = 0;
  std::int64_t time_ms = 0;  // UTC; 0 for token records, which carry none
  Record record;
};

}  // namespace longhaul::sessions
