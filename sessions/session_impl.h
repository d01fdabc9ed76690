// What a Session is made of. Internal: for session*.cc and what makes or takes in sessions.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sessions/lineage.h"
#include "sessions/page_cache.h"
#include "sessions/session.h"
#include "sessions/store.h"
#include "sessions/stored_rows.h"

namespace longhaul::sessions {

// Where a branch can begin.
struct BranchPoint {
  std::uint64_t parent = 0;
  std::uint64_t journal_cut = 0;
  std::uint64_t position = 0;
  Digest chain;
  Context context;                // up to journal_cut
  std::optional<Record> partial;  // the tokens up to the cut of a record that goes beyond it
  std::vector<Record> behind;     // what the branch begins with: calls that it may not repeat unasked
  CutReport report;
};

// `context` is the lineage's, folded to its end with `chain`. kInvalidArgument names the range.
Result<BranchPoint> locate(const Store& store, const std::vector<Link>& lineage, const Context& context,
                           const Digest& chain, Cut cut, const View* view);

struct NewBranch {
  std::uint64_t branch = 0;
  BranchEntry entry;
  std::vector<JournalEntry> records;
};
// Writes branch, records and session entry (whose head it sets) as one batch.
Result<NewBranch> write_branch(Store& store, std::string_view name, SessionEntry& entry, const BranchPoint& point,
                               BranchReason reason, std::vector<Record> records, bool sync);

// Records that carry structure with them: only the call that writes the rest may write them.
bool is_reserved(const Record& record);

// Brings the entry's summary up to the context.
void summarise(SessionEntry& entry, const Context& context, std::int64_t now_ms);

// Keeps a name for the length of a call.
class NameHold {
 public:
  NameHold(Store& store, std::string name) : store_(store), name_(std::move(name)), held_(store_.mark_open(name_)) {}
  ~NameHold() {
    if (held_) store_.mark_closed(name_);
  }
  NameHold(const NameHold&) = delete;
  NameHold& operator=(const NameHold&) = delete;
  bool held() const { return held_; }

 private:
  Store& store_;
  std::string name_;
  bool held_;
};
Error in_use(const std::string& name);
// kInvalidArgument: the name. kConflict: there is one of that name.
Result<void> check_new_name(const Store& store, const std::string& name);

struct Session::Impl {
  Impl(Store& store_in, std::shared_ptr<PageCache> cache_in, std::string name_in)
      : store(store_in), cache(std::move(cache_in)), name(std::move(name_in)) {}
  ~Impl() { store.mark_closed(name); }

  // Reads entry, lineage, journal and holdings from the store.
  Result<void> load();
  Result<std::uint64_t> append(std::span<const Record> records, bool sync);
  Result<CommitReport> commit(std::span<const Record> records, const model::SequenceState* state, StateWish wish,
                              bool pin, bool ends_turn);
  // What of the state a commit is to store, the pages [holdings.n_pages, n_full) with it; all but the state's digest.
  Result<void> plan_state(const model::SequenceState& state, bool pin, Manifest& manifest);
  // Stores it, and fills that in.
  Result<void> store_state(const model::SequenceState& state, Manifest& manifest, StoredRows& rows) const;
  Result<CommitReport> write_commit(const model::SequenceState* state, bool with_state, bool pin, bool ends_turn,
                                    Batch& batch);
  bool wants_state(const model::SequenceState* state, StateWish wish, bool pin) const;
  void thin(Batch& batch, std::uint64_t newest, bool pin, std::vector<StoredManifest>& changed);
  Result<void> check_state(const model::SequenceState& state) const;
  Result<void> usable() const;
  // Seals the record behind the context's last one into the batch and applies it. kInvalidArgument if it does not fit.
  Result<void> stage(const Record& record, Batch& batch);
  // After stage and a failed write: the context is read again, so that it is what the store holds.
  Error undo(Error error);
  std::string place() const { return "session " + name; }

  Store& store;
  std::shared_ptr<PageCache> cache;
  std::string name;
  SessionEntry entry;
  std::vector<Link> lineage;
  Context context;
  Digest chain;
  Holdings holdings;
  std::vector<CachedFile> newest_state;  // its tables, if this Session has written them
  std::optional<Error> broken;           // the store could not be read again after a failed write
};

}  // namespace longhaul::sessions
