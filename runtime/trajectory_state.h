// What a trajectory is doing, as a fold over its journal: the same code runs when a record is written and when it is
// read back, so a resumed trajectory is where the killed one was. Tokens, draws and notes are folded by the sessions
// room (sessions/context.h); this fold adds what only the agent loop knows: the phase and the current exchange.
//
// The order of records of one exchange:
//   UserMessage, [ContextReset], TokensFed (what the chat layout puts before the answer), [StateSaved],
//   then per turn: TurnStarted, TokensFed (generation prompt), TokensSampled ..., AssistantMessage,
//                  per call: [ApprovalNeeded, ApprovalGiven,] CallIntent, [CallStep ..., CallSleeping, CallIntent ...,]
//                            [InDoubt, Settled, CallIntent ...,] CallResult,
//                  TokensFed (end of the message, results), [Answer], TurnCommitted.
// Before a TurnStarted, in one write: ContextReset, TokensFed, Compacted (old results have left the context).
// An exchange ends with an Answer, or with the next UserMessage behind a limit between two turns that suspended it.
// Suspended, SeedChanged, StateSaved, OnceBehind and Note may stand anywhere.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/base/result.h"
#include "sessions/record.h"

namespace longhaul::runtime {

using sessions::TokenId;

enum class Phase {
  kIdle,         // waiting for a user message
  kUserPending,  // a user message is recorded, its tokens are not
  kReady,        // the next assistant message may start
  kTurnStarted,  // its generation prompt is not recorded yet
  kGenerating,   // tokens of an assistant message
  kCalls,        // the message is whole; calls wait for results
  kAnswered,     // the message is whole, without calls
  kTurnFed,      // message and results are in the context; the turn is not committed
};
std::string_view to_string(Phase phase);

// The reason of a Suspended record that a signal led to; any other between two turns is a limit that was reached.
inline constexpr std::string_view kInterruptedReason = "interrupted";

// One call of the current assistant message.
struct CallState {
  std::string name;
  json::object arguments;
  std::optional<std::uint64_t> ordinal;      // once an intent is recorded
  bool intent_open = false;                  // an intent without a result: the effect may have happened
  bool in_doubt = false;                     // recorded as in doubt, not settled
  bool retry = false;                        // settled as "call it again"
  std::optional<sessions::Settled> settled;  // settled as done or skipped; its result is not recorded yet
  std::string settled_notes;                 // what it is to leave in the notes, if that was said with it
  std::optional<sessions::CallResult> result;
};

// An assistant message of the current exchange, with what it and its results occupy in the context.
struct MessageSpan {
  std::size_t header = 0;               // first token of the generation prompt
  std::size_t begin = 0;                // first token of the message itself
  std::size_t end = 0;                  // past its last token (the end token, if there was one)
  std::size_t after = 0;                // past the tokens fed after it
  json::object message;                 // reasoning, content, calls, finish
  std::vector<std::uint64_t> ordinals;  // of its calls
};

struct TrajectoryState {
  Phase phase = Phase::kIdle;
  json::object settings;  // see settings.h; as created, with later changes merged

  std::size_t n_context = 0;         // tokens of context
  std::uint64_t turn = 0;            // of the current or last assistant message, from 1
  std::uint64_t n_calls = 0;         // intents so far: the next ordinal
  std::uint64_t exchange_turns = 0;  // assistant messages since the last user message

  std::size_t exchange_begin = 0;     // context size right after the last user message's tokens; 0: none yet
  std::string user_text;              // the last user message
  std::string fed_user_text;          // the last one whose tokens are in the context
  std::vector<MessageSpan> messages;  // of the current exchange
  std::vector<CallState> calls;       // of the last assistant message
  std::set<std::uint64_t> dropped;    // ordinals of calls whose results have left the context
  bool compacting = false;            // between a reset and the record of what was fed behind it

  // The last call with its result, and how often in a row it was made: the guard against loops.
  std::string last_call;
  int equal_calls = 0;

  // Where the limits of turns and of equal calls count from. They are in the journal, not in a process: a killed run
  // stops where an uninterrupted one would. Who resumes after a limit was reached grants as much again.
  std::uint64_t granted_turns = 0;
  int granted_equal_calls = 0;
  bool at_limit = false;  // suspended by such a limit between two turns: a message may end the exchange here

  // Whether a user message may come now.
  bool takes_message() const { return phase == Phase::kIdle || (phase == Phase::kReady && at_limit); }

  // kCorruption if the record cannot stand here (names the phase and the record).
  Result<void> apply(const sessions::Record& record);

  bool in_doubt() const;
};

}  // namespace longhaul::runtime
