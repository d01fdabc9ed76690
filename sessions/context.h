// The journal folded: what a session knows at a sequence number. Pure: records in, a value out. The same fold checks a
// record before it is written and after it is read, so the journal never holds a history that could not be read back.
//
// The contract's digest (C1, C5) is a hash chain with one link a commit over what decides the trajectory: token ids in
// order, resets, draw count, and each call's result with its receipts. It knows nothing of time, of batching or of
// where states were stored: an interrupted run and one never touched end with the same digest.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/hash.h"
#include "runtime/base/result.h"
#include "sessions/entries.h"
#include "sessions/record.h"

namespace longhaul::sessions {

struct Turn {
  std::uint64_t turn = 0;      // from 1
  std::uint64_t position = 0;  // tokens in the context at its end
  std::uint64_t n_draws = 0;
  Digest digest;
  std::uint64_t branch = 0, sequence = 0;  // of its turn_committed record
  std::int64_t time_ms = 0;
};

// A call that waits, or waited, for a person's word before its intent.
struct Approval {
  ApprovalNeeded needed;
  std::optional<ApprovalGiven> given;
  bool denied() const { return given && given->verdict == Verdict::kDeny; }
};

struct Call {
  CallIntent intent;
  std::optional<Approval> approval;
  std::vector<CallStep> steps;                    // in the order they were made
  std::map<std::uint64_t, std::int64_t> wake_ms;  // of the timers it waited for, by number
  std::int64_t sleeps_until_ms = 0;               // while it sleeps
  bool sleeping = false;  // no run of it is under way; the last timer decides when the next begins
  std::optional<CallResult> result;
  bool in_doubt = false;                   // said so, and not settled since
  std::optional<Settled> settled;          // the last word on it
  std::uint64_t n_intents = 0;             // one, and one for each retry
  std::uint64_t turn = 0;                  // the turn it belongs to
  std::uint64_t branch = 0, sequence = 0;  // of the intent
};

// A `once` call that lies behind a fork or rewind of this session.
struct BehindCall {
  OnceBehind call;
  std::uint64_t sequence = 0;  // of the record
  bool repeated = false;       // a call of the same tool was made since
};

// A run of context tokens that one record brought, as far as it is still in the context.
struct TokenRun {
  std::uint64_t first = 0, n = 0;  // positions
  std::uint64_t branch = 0, sequence = 0;
};

class Context {
 public:
  // Takes the next record. kCorruption (the caller turns it into kInvalidArgument when the record is new) says what
  // does not fit; the context is then unchanged.
  Result<void> apply(const JournalEntry& entry);
  // Only the check.
  Result<void> check(const Record& record) const;
  // A branch with this cut begins: tokens from `position` on are no longer in the context.
  void cut(std::uint64_t position);

  const std::vector<TokenId>& tokens() const { return tokens_; }
  // Sizes of the engine steps that took (or are to take) the tokens from `position` to the end, in order.
  std::vector<std::uint32_t> split_from(std::uint64_t position) const;
  const std::vector<TokenRun>& token_runs() const { return runs_; }
  std::uint64_t n_draws() const { return n_draws_; }
  std::uint64_t seed() const { return seed_; }
  const SessionIdentity& identity() const { return identity_; }
  const std::string& settings_json() const { return settings_json_; }
  const std::vector<Turn>& turns() const { return turns_; }
  std::uint64_t next_turn() const { return turns_.size() + 1; }
  const std::vector<Call>& calls() const { return calls_; }
  // Ordinals of calls with an intent and no result, oldest first.
  std::vector<std::uint64_t> open_calls() const;
  // Of the next call (its ordinal is calls().size()), while it has no intent.
  const std::optional<Approval>& approval() const { return approval_; }
  const std::vector<BehindCall>& once_behind() const { return once_behind_; }
  // What a new call of this tool may repeat: the same arguments first, else the oldest. Null: nothing.
  const BehindCall* may_repeat(std::string_view tool, std::string_view arguments_json) const;
  SessionStatus status() const { return status_; }
  const std::string& status_text() const { return status_text_; }  // the answer, or why suspended or in doubt
  // Notes merged from the results so far: a JSON object.
  std::string notes_json() const;

  // The contract's digest as of now, and as of the last commit.
  Digest digest() const;
  Digest committed_digest() const { return digest_; }

  std::uint64_t sequence() const { return sequence_; }  // of the last record; 0: none
  // Where the last turn or the last user message was, for the state policy: positions in the context.
  std::uint64_t last_user_sequence() const { return last_user_sequence_; }

 private:
  Result<void> check_running(std::string_view what, std::uint64_t ordinal) const;
  void add_tokens(const JournalEntry& entry, const std::vector<TokenId>& ids, const std::vector<std::uint32_t>& split,
                  bool sampled);

  std::vector<TokenId> tokens_;
  std::vector<TokenRun> runs_;
  std::vector<std::uint32_t> steps_;  // all steps' sizes, in context order; they sum up to tokens_.size()
  std::uint64_t n_draws_ = 0;
  std::uint64_t seed_ = 0;
  SessionIdentity identity_;
  std::string settings_json_;
  std::vector<Turn> turns_;
  std::vector<Call> calls_;
  std::optional<Approval> approval_;
  std::vector<BehindCall> once_behind_;
  SessionStatus status_ = SessionStatus::kNew;
  std::string status_text_;
  std::vector<std::string> notes_deltas_;
  Digest digest_;
  std::string since_commit_;  // what the next link of the digest hashes
  std::uint64_t sequence_ = 0;
  std::uint64_t last_user_sequence_ = 0;
};

}  // namespace longhaul::sessions
