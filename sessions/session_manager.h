// The sessions of one store: create, open, list, show, fork, rewind, settle, delete, verify, collect.
//
// One process owns a store; a second one gets kConflict. Methods may be called from any thread. A session that is open
// (a live Session object) cannot be opened, rewound, settled or deleted by name meanwhile: kConflict. Sessions must be
// closed before the manager goes away.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/result.h"
#include "sessions/options.h"
#include "sessions/session.h"

namespace longhaul::sessions {

class PageCache;
class Store;

struct CreateRequest {
  SessionIdentity identity;
  model::StateLayout layout;
  std::uint64_t seed = 0;
  std::string settings_json = "{}";
};

struct SessionSummary {
  std::string name;
  SessionEntry entry;
};

struct SessionDetails {
  std::string name;
  SessionEntry entry;
  Context context;
  std::uint64_t journal_bytes = 0, state_bytes = 0, page_bytes = 0;  // reachable from this session, shared ones too
  std::uint64_t n_states = 0, n_pages = 0, n_branches = 0;
};

struct Problem {
  std::string session;  // the first one that is affected; empty: none, or the store itself
  std::string place;    // "journal record 7 of branch 2"
  std::string message;
};

struct VerifyReport {
  std::uint64_t sessions = 0, branches = 0, records = 0, manifests = 0, states = 0, pages = 0, bytes = 0;
  std::vector<Problem> problems;
  std::vector<std::string> notes;          // found when the store was opened, harmless, and healed since
  std::uint64_t unreachable_branches = 0;  // what gc would free; not a problem
};

struct PageCacheStats {
  std::uint64_t bytes_read = 0, objects_read = 0;  // from the store, so far
  std::uint64_t hits = 0, misses = 0;              // values asked for; a hit may still have been on its way
  std::size_t resident_bytes = 0, budget_bytes = 0;
};

struct GcReport {
  std::uint64_t bytes_before = 0, bytes_after = 0;                                // of the store's folder
  std::uint64_t branches = 0, records = 0, manifests = 0, states = 0, pages = 0;  // deleted
};

// What this process has written since it opened the store.
struct StoreCounters {
  std::uint64_t writes = 0, synced_writes = 0;       // batches
  std::uint64_t write_groups = 0;                    // that the batches went to the disk in
  std::uint64_t writes_waiting = 0;                  // threads that write right now
  std::uint64_t batch_bytes = 0;                     // handed to the database
  std::uint64_t log_bytes = 0;                       // of it in the log; then...
  std::uint64_t flush_bytes = 0, compact_bytes = 0;  // ...in tables, and in tables written again
  std::uint64_t ingest_bytes = 0;                    // large states and pages: written once, as tables
  std::uint64_t mark_bytes = 0;                      // of the high-water mark
  std::uint64_t tokens_sampled = 0;

  std::uint64_t bytes_written() const { return log_bytes + flush_bytes + compact_bytes + ingest_bytes + mark_bytes; }
  // 0 before the first token.
  double bytes_per_token() const {
    return tokens_sampled == 0 ? 0 : static_cast<double>(bytes_written()) / static_cast<double>(tokens_sampled);
  }
};

struct ExportReport {
  std::uint64_t bytes = 0;  // of the file
  std::uint64_t n_records = 0, n_states = 0, n_pages = 0;
  std::uint64_t n_turns = 0, n_tokens = 0, end_sequence = 0;  // of the session
};

struct ImportReport {
  std::string name;
  bool moved_on = false;  // a delta carried on the session of that name
  std::uint64_t bytes = 0;
  std::uint64_t n_records = 0, n_states = 0, n_pages = 0;  // of the file
  std::uint64_t n_turns = 0, n_tokens = 0;                 // of the session as it is now
  SessionStatus status = SessionStatus::kNew;
};

struct RepairReport {
  bool made = false;          // the new store is there
  bool history_whole = true;  // no record of any session is missing: all that is lost can be computed again
  std::uint64_t sessions = 0, branches = 0, records = 0, state_values = 0, page_values = 0;  // carried over
  std::vector<Problem> lost;                                                                 // what was not, by name
  std::vector<std::string> notes;  // what was found wrong with the store as a whole
};

using ByteProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;
using StepProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

class SessionManager {
 public:
  // See Store::open for the errors, and StoreOptions::access for folders that cannot be written to: kConflict,
  // kVersionMismatch, kCorruption, kNotFound, kIo, all naming the store.
  static Result<std::unique_ptr<SessionManager>> open(const std::string& path, const StoreOptions& options = {});
  ~SessionManager();
  SessionManager(const SessionManager&) = delete;
  SessionManager& operator=(const SessionManager&) = delete;

  const std::string& path() const;
  // What was found when the store was opened, as in VerifyReport.
  const std::vector<std::string>& notes() const;
  PageCacheStats page_cache() const;
  StoreCounters counters() const;

  // kInvalidArgument: the name. kConflict: there is one of that name.
  Result<std::unique_ptr<Session>> create(const std::string& name, const CreateRequest& request);
  // kNotFound, kConflict (open already), kVersionMismatch (another model or numerics; both are named), kCorruption.
  Result<std::unique_ptr<Session>> open_session(const std::string& name, const SessionIdentity& identity);
  // Takes a session over to another model or other numerics (`--replay`): every token stays in the context, no stored
  // state or page of before is used, so the caller reads the tokens again. Nothing is deleted: a fork at an earlier
  // turn of the old model is refused by name, since this session's head names the new one. kConflict: open already.
  Result<std::unique_ptr<Session>> adopt(const std::string& name, const SessionIdentity& identity,
                                         const model::StateLayout& layout);
  // For commands that never run the model.
  Result<std::unique_ptr<Session>> open_any(const std::string& name);

  Result<SessionEntry> find(const std::string& name) const;  // kNotFound
  Result<std::vector<SessionSummary>> list() const;          // by name
  Result<SessionDetails> show(const std::string& name) const;
  // The context as it was after record `sequence`.
  Result<Context> context_at(const std::string& name, std::uint64_t sequence) const;
  Result<void> for_each_record(const std::string& name,
                               const std::function<Result<void>(const JournalEntry&)>& visit) const;

  // Costs one synced write, however long the history; copies no state and no page. The source may be open.
  Result<CutReport> fork(const std::string& name, const std::string& new_name, Cut at = Cut::head(),
                         std::optional<std::uint64_t> seed = std::nullopt);
  Result<CutReport> rewind(const std::string& name, Cut to, std::optional<std::uint64_t> seed = std::nullopt);
  // Says what became of the oldest call in doubt. kInvalidArgument if none is. `result_json` only with kDone.
  // `notes_json`: what the call would have written into the session's notes, an object of texts, null to remove one.
  Result<Call> settle(const std::string& name, Settlement how, const std::string& result_json = {},
                      const std::string& notes_json = {});
  // A person's word on the call that waits for it. kInvalidArgument if none does. `reason` only with a denial.
  Result<Approval> decide(const std::string& name, Verdict verdict, const std::string& reason = {});
  // The name is gone at once; gc frees what nobody else uses.
  Result<void> remove(const std::string& name);

  // One file with the session's whole past: journal, states, pages, every turn to go back to. With `since`, only what
  // came after that turn, for a store that has the rest. Memory does not grow with the session. What stood at `path`
  // stays until the new file is whole. kConflict: there is another kind of file at `path`.
  Result<ExportReport> export_session(const std::string& name, const std::string& path,
                                      std::optional<std::uint64_t> since = std::nullopt,
                                      const ByteProgress& progress = nullptr) const;
  // Under the name it had, or `as`. Everything in the file is checked before anything of it becomes visible; a kill on
  // the way leaves nothing. A delta is put behind whatever session holds its base; if that is the session of the same
  // name, and it has not gone its own way since, it is moved on. kConflict: the name is taken. kNotFound: no session
  // holds the base (it is named). kCorruption, kVersionMismatch: the file, with the place.
  Result<ImportReport> import_session(const std::string& path, const std::string& as = {},
                                      const ByteProgress& progress = nullptr);

  // Reads everything that is reachable from the session (all: every session, every value of the store, and the
  // database's own checksums). Problems are listed, not returned as an error; an error is what kept it from looking.
  // `progress` counts bytes read; its total is 0, since nobody knows it.
  Result<VerifyReport> verify(const std::optional<std::string>& name = std::nullopt,
                              const ByteProgress& progress = nullptr) const;
  // `progress` counts branches.
  Result<GcReport> gc(const StepProgress& progress = nullptr);

  // What is whole of a damaged store, put into a new one at `copy`: of each session the journal as far as its chain
  // holds, and the states and pages that are whole; the report names the rest. The damaged store is only read; it may
  // be one that open() refuses. kConflict: `copy` is there, or the store is in use. kVersionMismatch: from the future.
  static Result<RepairReport> repair_copy(const std::string& path, const std::string& copy,
                                          const StoreOptions& options = {});
  // The same in place, only if no record is missing (else nothing is changed, and `made` is false): damaged states and
  // pages are gone afterwards, to be computed again from the tokens. The old database stays in `path`/damaged. A kill
  // on the way leaves the old store or the new one.
  static Result<RepairReport> drop_damaged(const std::string& path, const StoreOptions& options = {});

 private:
  explicit SessionManager(std::unique_ptr<Store> store);

  std::unique_ptr<Store> store_;
  std::shared_ptr<PageCache> cache_;
};

}  // namespace longhaul::sessions
