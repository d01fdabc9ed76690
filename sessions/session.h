// One session, open for writing: appends to its journal, commits turns, goes back and comes back. All durable state is
// in the store; this object holds the folded context and where the next record goes.
//
// Used by one thread at a time; different sessions of a store may be used at once. Every call that writes blocks on the
// disk when it syncs. If a write fails, the session is as it was before the call (C9) and can be read; the store takes
// no more writes until it is opened anew.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/sequence_state.h"
#include "runtime/base/result.h"
#include "sessions/context.h"
#include "sessions/entries.h"
#include "sessions/record.h"

namespace longhaul::sessions {

class Store;

enum class Sync : std::uint8_t { kByKind, kAlways };

// Where to fork or rewind to.
struct Cut {
  enum class Kind : std::uint8_t { kHead, kTurn, kToken };
  Kind kind = Kind::kHead;
  std::uint64_t value = 0;

  static Cut head() { return {}; }
  static Cut at_turn(std::uint64_t turn) { return {Kind::kTurn, turn}; }  // just after it was committed; 0: the start
  // With this many tokens in the context: just after the turn that ended there, else just after the token came.
  static Cut at_token(std::uint64_t position) { return {Kind::kToken, position}; }
};

struct CutReport {
  std::uint64_t branch = 0;    // the new one
  std::uint64_t position = 0;  // tokens in its context
  std::uint64_t turn = 0;      // last committed turn in it
  // Calls declared `once` that lie behind the cut and were made (or may have been): repeating them needs approval (C6).
  std::vector<Call> once_calls;
  // The same, and those of earlier cuts that this one goes back behind: what the new branch remembers (may_repeat).
  std::vector<OnceBehind> once_behind;
};

// Whether a commit stores the state.
enum class StateWish : std::uint8_t { kByPolicy, kAlways, kNever };

struct CommitRequest {
  // Written before the turn_committed record, in the same atomic batch: the assistant's message, the answer, ...
  std::vector<Record> records;
  // The state the model has reached; may be null. Its position is at most the context's number of tokens (the last
  // sampled token is often not fed yet). Borrowed until commit returns.
  const model::SequenceState* state = nullptr;
  StateWish wish = StateWish::kByPolicy;
  bool pin = false;  // keep this state until the next pinned one, however it ages
};

struct CommitReport {
  std::uint64_t turn = 0;  // 0: a state saved in between
  std::uint64_t position = 0;
  Digest digest;
  bool state_stored = false;
  std::uint64_t pages_stored = 0;  // in all layers together
  std::uint64_t bytes = 0;         // handed to the database
};

struct LoadedState {
  std::optional<model::SequenceState> state;  // none: start from nothing
  std::uint64_t position = 0;                 // tokens the state has consumed
  std::vector<TokenId> tokens_to_feed;        // from there to the wanted position
  std::vector<std::uint32_t> split;           // the step sizes by which they were fed before; they sum up
};

class Session {
 public:
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const std::string& name() const;
  const SessionIdentity& identity() const;
  const model::StateLayout& layout() const;
  const Context& context() const;
  std::uint64_t branch() const;

  // Appends records, all in one atomic batch; gives the last one's sequence number. Synced when one of them must be
  // (must_sync), or when asked. An unsynced record survives the process, not a power loss.
  // kInvalidArgument: a record does not fit the history (both values are named), or is one that only create, commit,
  // save_state, rewind or reset_context write.
  Result<std::uint64_t> append(const Record& record, Sync sync = Sync::kByKind);
  Result<std::uint64_t> append(std::span<const Record> records, Sync sync = Sync::kByKind);
  // Sampled tokens, as they come: a killed process loses none. `first_draw` must be context().n_draws(); `split` as in
  // TokensSampled.
  Result<void> sample_token(TokenId id, std::uint64_t draw);
  Result<void> sample_tokens(std::span<const TokenId> ids, std::uint64_t first_draw,
                             std::span<const std::uint32_t> split = {});
  Result<void> feed_tokens(std::span<const TokenId> ids, std::span<const std::uint32_t> split = {});
  // Everything appended so far survives power loss.
  Result<void> sync();

  // For the next call's intent: stable over restarts, different in every branch of every store.
  std::string idempotency_key() const;

  // Ends turn context().next_turn(): request.records, turn_committed, manifest, and by policy the state with the pages
  // filled since the last stored one. One commit point; when it returns, the turn survives power loss.
  Result<CommitReport> commit(const CommitRequest& request);
  // Stores a state that ends no turn: after the user's message (pinned), before an effect. With kByPolicy nothing is
  // written if too little has happened since the last one.
  Result<CommitReport> save_state(const model::SequenceState& state, bool pin, StateWish wish = StateWish::kAlways);

  // The newest stored state at or below `position_limit` and the tokens from there up to the limit (or the end). Its
  // full pages stay in the store and are read, and checked, when they are asked for; after the manager has gone away
  // asking is an error. kCorruption names what is damaged; an older state is never taken silently instead (ask with a
  // lower limit; with `without_states` the whole context is given to be fed).
  Result<LoadedState> load_state(std::uint64_t position_limit = UINT64_MAX) const;
  // The state's pages that are stored leave its memory for the page cache that all sessions of the store share; they
  // are read again if they had to leave that too. For a state that this session has just committed. Copies nothing that
  // is not new.
  void share_pages(model::SequenceState& state) const;
  LoadedState without_states(std::uint64_t position_limit = UINT64_MAX) const;

  // Drops tokens from `position` on out of the context while every event stays in the journal: how reasoning of past
  // turns leaves the history. Draw numbers go on.
  // `more` (tokens to feed, what the runtime notes) follows in the same atomic write.
  Result<CutReport> reset_context(std::uint64_t position, std::string reason, std::vector<Record> more = {});
  // Goes back; what lies behind the cut is no longer part of this session (until gc it stays on the disk).
  // kInvalidArgument names the range that can be reached.
  Result<CutReport> rewind(Cut to, std::optional<std::uint64_t> seed = std::nullopt);

  // Every record of the lineage in order, as it is in the store. An error of `visit` stops and is returned.
  Result<void> for_each_record(const std::function<Result<void>(const JournalEntry&)>& visit) const;

 private:
  friend class SessionManager;
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace longhaul::sessions
