// Commits: whether one stores the state, which older states it thins out, and the one batch that makes all of it true.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <shared_mutex>

#include "sessions/fault_point.h"
#include "sessions/session_impl.h"
#include "sessions/thinning.h"

namespace longhaul::sessions {

Result<void> Session::Impl::check_state(const model::SequenceState& state) const {
  if (!(state.layout() == entry.layout)) {
    return invalid_argument(place() + ": the state's layout is not the session's");
  }
  if (state.position() < 0 || static_cast<std::uint64_t>(state.position()) > context.tokens().size()) {
    return invalid_argument(fmt::format("{}: a state at position {}, the context has {} tokens", place(),
                                        state.position(), context.tokens().size()));
  }
  return {};
}

bool Session::Impl::wants_state(const model::SequenceState* state, StateWish wish, bool pin) const {
  if (state == nullptr || wish == StateWish::kNever) return false;
  if (wish == StateWish::kAlways || pin || holdings.states.empty()) return true;
  const Manifest& last = holdings.states.back().manifest;
  const auto position = static_cast<std::uint64_t>(state->position());
  if (position <= last.state_position) return false;
  return position - last.state_position >= store.options().state_policy.tokens_min ||
         store.clock().unix_ms() - last.state_time_ms >= store.options().state_policy.ms_min;
}

// Only this branch's states are thinned: an ancestor's may be another session's newest.
void Session::Impl::thin(Batch& batch, std::uint64_t newest, bool pin, std::vector<StoredManifest>& changed) {
  for (const StoredManifest& at : holdings.states) {
    if (at.branch != lineage.back().branch) continue;
    StoredManifest next = at;
    if (pin) next.manifest.pinned = false;
    if (!next.manifest.pinned && !keep_state(next.manifest.state_ordinal, newest)) next.manifest.has_state = false;
    if (next.manifest == at.manifest) continue;
    if (!next.manifest.has_state) {
      erase_state(batch, at.manifest);
    }
    put_manifest(batch, next);
    changed.push_back(next);
  }
}

Result<CommitReport> Session::Impl::commit(std::span<const Record> records, const model::SequenceState* state,
                                           StateWish wish, bool pin, bool ends_turn) {
  auto ready = usable();
  if (!ready) return ready.error();
  LONGHAUL_FAULT_POINT("commit.begin");
  const std::shared_lock structure(store.structure_mutex());
  for (const Record& record : records) {
    if (is_reserved(record)) {
      return invalid_argument(
          fmt::format("{}: a {} record is not part of a commit's request", place(), kind_name(kind_of(record))));
    }
  }
  Batch batch(store);
  for (const Record& record : records) {
    auto staged = stage(record, batch);
    if (!staged) return undo(staged.error());
  }
  if (state != nullptr) {
    auto fits = check_state(*state);
    if (!fits) return records.empty() ? fits.error() : undo(fits.error());
  }
  auto report = write_commit(state, wants_state(state, wish, pin), pin, ends_turn, batch);
  if (!report) return undo(report.error());
  LONGHAUL_FAULT_POINT("commit.done");
  return report;
}

Result<CommitReport> Session::Impl::write_commit(const model::SequenceState* state, bool with_state, bool pin,
                                                 bool ends_turn, Batch& batch) {
  StoredManifest at;
  Manifest& m = at.manifest;
  CommitReport report;
  std::optional<StoredRows> rows;
  if (with_state) {
    auto planned = plan_state(*state, pin, m);
    if (!planned) return planned.error();
    auto label = store.take_label();
    if (!label) return label.error();
    m.generation = *label;
    rows.emplace(store, batch, *label);
    auto expected = rows->expect(m, entry.layout);
    if (!expected) return expected.error();
    if (rows->has_tables()) LONGHAUL_FAULT_POINT("commit.before_tables");
    // What this state makes old leaves its memory to it.
    for (const CachedFile& file : std::exchange(newest_state, {})) file.leave_cache();
    auto stored = store_state(*state, m, *rows);
    if (!stored) return stored.error();
  }

  if (ends_turn) {
    TurnCommitted record;
    record.turn = report.turn = context.next_turn();
    record.position = context.tokens().size();
    record.digest = context.digest();
    record.has_state = with_state;
    record.state_digest = m.state_digest;
    auto staged = stage(record, batch);
    if (!staged) return staged.error();
  } else {
    StateSaved record;
    record.position = m.state_position;
    record.digest = context.digest();
    record.state_digest = m.state_digest;
    auto staged = stage(record, batch);
    if (!staged) return staged.error();
  }
  at.branch = lineage.back().branch;
  at.sequence = context.sequence();
  m.turn = report.turn;
  m.n_tokens = context.tokens().size();
  m.n_draws = context.n_draws();
  m.chain = chain;
  m.digest = context.digest();

  std::vector<StoredManifest> changed;
  if (with_state) thin(batch, m.state_ordinal, pin, changed);
  put_manifest(batch, at);
  if (with_state) put_generation(batch, at);
  SessionEntry entry_after = entry;
  summarise(entry_after, context, store.clock().unix_ms());
  put_session(batch, name, entry_after);

  if (rows && rows->has_tables()) {
    auto finished = rows->finish();
    if (!finished) return finished.error();
    LONGHAUL_FAULT_POINT("commit.tables_written");
    auto ingested = rows->ingest();
    if (!ingested) return ingested.error();
    LONGHAUL_FAULT_POINT("commit.tables_ingested");
  }
  report.bytes = batch.bytes() + (rows ? rows->table_bytes() : 0);
  LONGHAUL_FAULT_POINT("commit.before_batch");
  auto written = store.write(batch, true);
  if (!written) return written.error();
  LONGHAUL_FAULT_POINT("commit.after_batch");

  if (with_state) newest_state = rows->take_state_files();
  entry = std::move(entry_after);
  for (const StoredManifest& next : changed) {
    auto& all = holdings.states;
    const auto here = std::find_if(all.begin(), all.end(), [&](const StoredManifest& s) {
      return s.branch == next.branch && s.sequence == next.sequence;
    });
    if (next.manifest.has_state) {
      *here = next;
    } else {
      all.erase(here);
    }
  }
  if (with_state) {
    // Kept by position: a state may be saved behind one of the same position, never before it.
    auto& all = holdings.states;
    all.insert(std::upper_bound(all.begin(), all.end(), at,
                                [](const StoredManifest& a, const StoredManifest& b) {
                                  return a.manifest.state_position < b.manifest.state_position;
                                }),
               at);
    ++holdings.states_ever;
    if (m.n_pages > 0) {
      holdings.runs.push_back(
          {m.first_page, m.n_pages, m.generation, at.branch, at.sequence, m.n_pages, m.object_pages});
      holdings.n_pages = m.first_page + m.n_pages;
    }
  }
  report.position = context.tokens().size();
  report.digest = m.digest;
  report.state_stored = with_state;
  report.pages_stored = m.n_pages * m.page_layers;
  return report;
}

Result<CommitReport> Session::commit(const CommitRequest& request) {
  return impl_->commit(request.records, request.state, request.wish, request.pin, true);
}

Result<CommitReport> Session::save_state(const model::SequenceState& state, bool pin, StateWish wish) {
  if (!impl_->wants_state(&state, wish, pin)) {
    CommitReport nothing;
    nothing.position = impl_->context.tokens().size();
    nothing.digest = impl_->context.digest();
    return nothing;
  }
  return impl_->commit({}, &state, StateWish::kAlways, pin, false);
}

}  // namespace longhaul::sessions
