#include "sessions/session.h"

#include <fmt/format.h>

#include <algorithm>

#include "sessions/bytes.h"
#include "sessions/fault_point.h"
#include "sessions/session_impl.h"
#include "sessions/thinning.h"

namespace longhaul::sessions {
namespace {

bool is_tokens(const Record& record) {
  return std::holds_alternative<TokensFed>(record) || std::holds_alternative<TokensSampled>(record);
}

// Records that carry structure with them: only the call that writes the rest may write them.
bool is_reserved(const Record& record) {
  return std::holds_alternative<SessionCreated>(record) || std::holds_alternative<TurnCommitted>(record) ||
         std::holds_alternative<StateSaved>(record) || std::holds_alternative<ContextReset>(record) ||
         std::holds_alternative<ModelChanged>(record) || std::holds_alternative<OnceBehind>(record);
}

bool is_again(const Record& record, const Context& context) {
  const auto* intent = std::get_if<CallIntent>(&record);
  return intent != nullptr && intent->ordinal < context.calls().size();
}

void before_write(const Record& record, bool again) {
  if (is_tokens(record)) {
    LONGHAUL_FAULT_POINT("tokens.before_write");
  } else if (again) {
    LONGHAUL_FAULT_POINT("wake.before_write");
  } else if (std::holds_alternative<CallIntent>(record)) {
    LONGHAUL_FAULT_POINT("intent.before_write");
  } else if (std::holds_alternative<ApprovalNeeded>(record) || std::holds_alternative<ApprovalGiven>(record)) {
    LONGHAUL_FAULT_POINT("approval.before_write");
  } else if (std::holds_alternative<CallStep>(record)) {
    LONGHAUL_FAULT_POINT("step.before_write");
  } else if (std::holds_alternative<CallSleeping>(record)) {
    LONGHAUL_FAULT_POINT("sleep.before_write");
  } else if (std::holds_alternative<CallResult>(record)) {
    LONGHAUL_FAULT_POINT("result.before_write");
  } else {
    LONGHAUL_FAULT_POINT("append.before_write");
  }
}

void after_write(const Record& record, bool again) {
  if (is_tokens(record)) {
    LONGHAUL_FAULT_POINT("tokens.after_write");
  } else if (again) {
    LONGHAUL_FAULT_POINT("wake.after_write");
  } else if (std::holds_alternative<CallIntent>(record)) {
    LONGHAUL_FAULT_POINT("intent.after_write");
  } else if (std::holds_alternative<ApprovalNeeded>(record) || std::holds_alternative<ApprovalGiven>(record)) {
    LONGHAUL_FAULT_POINT("approval.after_write");
  } else if (std::holds_alternative<CallStep>(record)) {
    LONGHAUL_FAULT_POINT("step.after_write");
  } else if (std::holds_alternative<CallSleeping>(record)) {
    LONGHAUL_FAULT_POINT("sleep.after_write");
  } else if (std::holds_alternative<CallResult>(record)) {
    LONGHAUL_FAULT_POINT("result.after_write");
  } else {
    LONGHAUL_FAULT_POINT("append.after_write");
  }
}

// The first n tokens of a token record, with the steps that took them.
template <class Tokens>
Tokens prefix(Tokens record, std::uint64_t n) {
  record.ids.resize(n);
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < record.split.size(); ++i) {
    if (sum + record.split[i] >= n) {
      record.split[i] = static_cast<std::uint32_t>(n - sum);
      record.split.resize(i + 1);
      break;
    }
    sum += record.split[i];
  }
  return record;
}

// Where the context had `position` tokens: after the turn that ended there, else after the token.
Result<BranchPoint> locate_token(const Store& store, const Context& context, std::uint64_t position, const View* view) {
  BranchPoint point;
  point.position = position;
  const auto& runs = context.token_runs();
  if (position == 0) {
    point.journal_cut = 1;  // session_created, in the root
    return point;
  }
  const auto run = std::find_if(runs.begin(), runs.end(), [&](const TokenRun& r) { return r.first + r.n >= position; });
  if (run == runs.end()) return internal_error("token runs do not cover the context");
  point.parent = run->branch;
  point.journal_cut = run->sequence;
  const std::string key = journal_key(run->branch, run->sequence);
  auto value = store.get(Family::kJournal, key, view);
  if (!value) return value.error();
  if (!*value) return corruption(fmt::format("journal record {} of branch {} is missing", run->sequence, run->branch));
  auto record = unseal_record(key, **value);
  if (!record) return record.error();
  const std::uint64_t n = position - run->first;
  if (const auto* fed = std::get_if<TokensFed>(&record->entry.record)) {
    if (n < fed->ids.size()) point.partial = prefix(*fed, n);
  } else if (const auto* sampled = std::get_if<TokensSampled>(&record->entry.record)) {
    if (n < sampled->ids.size()) point.partial = prefix(*sampled, n);
  }
  if (point.partial) {
    point.journal_cut = run->sequence - 1;
    return point;
  }
  const std::uint64_t next = run + 1 == runs.end() ? kNoLimit : (run + 1)->sequence;
  for (const Turn& turn : context.turns()) {
    if (turn.sequence > run->sequence && turn.sequence < next && turn.position == position) {
      point.parent = turn.branch;
      point.journal_cut = turn.sequence;
    }
  }
  return point;
}

}  // namespace

Result<BranchPoint> locate(const Store& store, const std::vector<Link>& lineage, const Context& context,
                           const Digest& chain, Cut cut, const View* view) {
  BranchPoint point;
  if (cut.kind == Cut::Kind::kHead) {
    point.parent = lineage.back().branch;
    point.journal_cut = context.sequence();
    point.position = context.tokens().size();
    point.chain = chain;
    point.context = context;
  } else {
    if (cut.kind == Cut::Kind::kTurn) {
      if (cut.value > context.turns().size()) {
        return invalid_argument(
            fmt::format("turn {} was asked for; turns 0 to {} are there", cut.value, context.turns().size()));
      }
      if (cut.value == 0) {
        point.journal_cut = 1;
      } else {
        const Turn& turn = context.turns()[cut.value - 1];
        point.parent = turn.branch;
        point.journal_cut = turn.sequence;
        point.position = turn.position;
      }
    } else {
      if (cut.value > context.tokens().size()) {
        return invalid_argument(
            fmt::format("token {} was asked for; the context has {}", cut.value, context.tokens().size()));
      }
      auto found = locate_token(store, context, cut.value, view);
      if (!found) return found.error();
      point = std::move(*found);
    }
    if (point.journal_cut == 1 && point.parent == 0) point.parent = lineage.front().branch;
    auto fold = fold_lineage(store, lineage, view, point.journal_cut);
    if (!fold) return fold.error();
    point.chain = fold->chain;
    point.context = std::move(fold->context);
  }
  if (point.context.identity() != context.identity()) {
    return make_error(ErrorCode::kVersionMismatch,
                      fmt::format("that point was computed by model {} ({}), the session has gone on with {} ({})",
                                  point.context.identity().model_fingerprint, point.context.identity().numerics_tag,
                                  context.identity().model_fingerprint, context.identity().numerics_tag));
  }
  point.report.position = point.position;
  for (const Turn& turn : context.turns()) {
    if (turn.sequence <= point.journal_cut) point.report.turn = turn.turn;
  }
  for (const Call& call : context.calls()) {
    const bool skipped = call.settled && call.settled->how == Settlement::kSkip;
    const bool denied = call.approval && call.approval->denied();
    if (call.intent.effect == Effect::kOnce && call.sequence > point.journal_cut && !skipped && !denied) {
      point.report.once_calls.push_back(call);
      point.report.once_behind.push_back(
          {call.intent.call_id, call.intent.idempotency_key, call.intent.tool, call.intent.arguments_json, call.turn});
    }
  }
  for (const BehindCall& behind : context.once_behind()) {
    if (behind.sequence > point.journal_cut) point.report.once_behind.push_back(behind.call);
  }
  for (const OnceBehind& behind : point.report.once_behind) point.behind.emplace_back(behind);
  return point;
}

void summarise(SessionEntry& entry, const Context& context, std::int64_t now_ms) {
  entry.status = context.status();
  entry.sequence = context.sequence();
  entry.n_tokens = context.tokens().size();
  entry.n_turns = context.turns().size();
  entry.n_calls = context.calls().size();
  entry.updated_ms = now_ms;
}

Result<NewBranch> write_branch(Store& store, std::string_view name, SessionEntry& entry, const BranchPoint& point,
                               BranchReason reason, std::vector<Record> records, bool sync) {
  auto number = store.take_number();
  if (!number) return number.error();
  NewBranch out;
  out.branch = *number;
  const std::int64_t now = store.clock().unix_ms();
  out.entry = {point.parent, point.journal_cut, point.position, point.chain, reason, now};
  // After a change of model no state or page of the past is usable, though every token stays.
  if (point.parent == 0 || reason == BranchReason::kReplay) out.entry.position_cut = 0;
  Batch batch(store);
  put_branch(batch, out.branch, out.entry);
  Context context = point.context;
  context.cut(point.position);
  if (point.partial) records.insert(records.begin(), *point.partial);
  Digest chain = point.chain;
  std::uint64_t sequence = point.journal_cut;
  for (Record& record : records) {
    JournalEntry row{out.branch, ++sequence, is_tokens(record) ? 0 : now, std::move(record)};
    const std::string key = journal_key(row.branch, row.sequence);
    const SealedRecord sealed = seal_record(key, chain, row);
    chain = sealed.chain;
    auto applied = context.apply(row);
    if (!applied) return invalid_argument(applied.error().message);
    batch.put(Family::kJournal, key, sealed.value);
    batch.set_tip(row.branch, row.sequence, chain.low);
    out.records.push_back(std::move(row));
  }
  SessionEntry changed = entry;
  changed.head = out.branch;
  summarise(changed, context, now);
  put_session(batch, name, changed);
  LONGHAUL_FAULT_POINT("branch.before_batch");
  auto written = store.write(batch, sync);
  if (!written) return written.error();
  LONGHAUL_FAULT_POINT("branch.after_batch");
  entry = std::move(changed);
  return out;
}

// ---- Session::Impl ----

Result<void> Session::Impl::load() {
  const View view(store);
  auto found = find_session(store, name, &view);
  if (!found) return found.error();
  auto links = read_lineage(store, found->head, &view);
  if (!links) return with_context(place(), links.error());
  auto fold = fold_lineage(store, *links, &view);
  if (!fold) return with_context(place(), fold.error());
  if (fold->context.sequence() < found->sequence) {
    return corruption(fmt::format("{}: its journal ends at record {}, record {} was acknowledged", place(),
                                  fold->context.sequence(), found->sequence));
  }
  if (fold->context.identity() != found->identity) {
    return corruption(fmt::format("{}: catalog and journal name different models", place()));
  }
  auto held = read_holdings(store, *links, &view);
  if (!held) return with_context(place(), held.error());
  entry = std::move(*found);
  lineage = std::move(*links);
  context = std::move(fold->context);
  chain = fold->chain;
  holdings = std::move(*held);
  broken.reset();
  return {};
}

Result<void> Session::Impl::usable() const {
  if (broken) return *broken;
  return {};
}

Error Session::Impl::undo(Error error) {
  auto loaded = load();
  if (!loaded) broken = with_context(place() + ": a write failed and reading it again did too", loaded.error());
  return with_context(place(), std::move(error));
}

Result<void> Session::Impl::stage(const Record& record, Batch& batch) {
  auto fits = context.check(record);
  if (!fits) return invalid_argument(fits.error().message);
  JournalEntry row{lineage.back().branch, context.sequence() + 1, 0, record};
  if (!is_tokens(record)) row.time_ms = store.clock().unix_ms();
  const std::string key = journal_key(row.branch, row.sequence);
  const SealedRecord sealed = seal_record(key, chain, row);
  batch.put(Family::kJournal, key, sealed.value);
  batch.set_tip(row.branch, row.sequence, sealed.chain.low);
  auto applied = context.apply(row);
  if (!applied) return internal_error(applied.error().message);
  chain = sealed.chain;
  return {};
}

Result<std::uint64_t> Session::Impl::append(std::span<const Record> records, bool sync) {
  auto ready = usable();
  if (!ready) return ready.error();
  if (records.empty()) return invalid_argument(place() + ": no record to append");
  for (const Record& record : records) {
    if (is_reserved(record)) {
      return invalid_argument(
          fmt::format("{}: a {} record is not appended by itself", place(), kind_name(kind_of(record))));
    }
    sync = sync || must_sync(record);
  }
  // The common case is one record, which is checked before anything is touched.
  auto fits = context.check(records[0]);
  if (!fits) return with_context(place(), invalid_argument(fits.error().message));
  const bool again = is_again(records[0], context);
  before_write(records[0], again);
  Batch batch(store);
  for (const Record& record : records) {
    auto staged = stage(record, batch);
    if (!staged) return undo(staged.error());
  }
  SessionEntry changed = entry;
  if (sync) {
    summarise(changed, context, store.clock().unix_ms());
    put_session(batch, name, changed);
  }
  auto written = store.write(batch, sync);
  if (!written) return undo(written.error());
  entry = std::move(changed);
  after_write(records[0], again);
  return context.sequence();
}

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
    rows.emplace(store, batch, m.generation);
    auto expected = rows->expect(m, entry.layout);
    if (!expected) return expected.error();
    if (rows->has_tables()) LONGHAUL_FAULT_POINT("commit.before_tables");
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

// ---- Session ----

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::~Session() = default;

const std::string& Session::name() const {
  return impl_->name;
}
const SessionIdentity& Session::identity() const {
  return impl_->entry.identity;
}
const model::StateLayout& Session::layout() const {
  return impl_->entry.layout;
}
const Context& Session::context() const {
  return impl_->context;
}
std::uint64_t Session::branch() const {
  return impl_->lineage.back().branch;
}

Result<std::uint64_t> Session::append(const Record& record, Sync sync) {
  return impl_->append(std::span(&record, 1), sync == Sync::kAlways);
}
Result<std::uint64_t> Session::append(std::span<const Record> records, Sync sync) {
  return impl_->append(records, sync == Sync::kAlways);
}

Result<void> Session::sample_token(TokenId id, std::uint64_t draw) {
  return sample_tokens(std::span(&id, 1), draw);
}

Result<void> Session::sample_tokens(std::span<const TokenId> ids, std::uint64_t first_draw,
                                    std::span<const std::uint32_t> split) {
  TokensSampled record;
  record.first_draw = first_draw;
  record.ids.assign(ids.begin(), ids.end());
  record.split.assign(split.begin(), split.end());
  auto appended = append(Record(std::move(record)));
  if (!appended) return appended.error();
  impl_->store.count_sampled(ids.size());
  return {};
}

Result<void> Session::feed_tokens(std::span<const TokenId> ids, std::span<const std::uint32_t> split) {
  TokensFed record;
  record.ids.assign(ids.begin(), ids.end());
  record.split.assign(split.begin(), split.end());
  auto appended = append(Record(std::move(record)));
  if (!appended) return appended.error();
  return {};
}

Result<void> Session::sync() {
  auto synced = impl_->store.sync();
  if (!synced) return with_context(impl_->place(), synced.error());
  return {};
}

std::string Session::idempotency_key() const {
  ByteWriter in;
  in.digest(impl_->store.id());
  in.u64(branch());
  in.u64(impl_->context.calls().size());
  return digest_of(std::string_view(in.bytes())).hex();
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

Result<CutReport> Session::reset_context(std::uint64_t position, std::string reason, std::vector<Record> more) {
  auto ready = impl_->usable();
  if (!ready) return ready.error();
  if (position > impl_->context.tokens().size()) {
    return invalid_argument(fmt::format("{}: going back to token {}, the context has {}", impl_->place(), position,
                                        impl_->context.tokens().size()));
  }
  const std::shared_lock structure(impl_->store.structure_mutex());
  auto point = locate(impl_->store, impl_->lineage, impl_->context, impl_->chain, Cut::head(), nullptr);
  if (!point) return with_context(impl_->place(), point.error());
  point->position = point->report.position = position;
  more.insert(more.begin(), ContextReset{position, std::move(reason)});
  auto made =
      write_branch(impl_->store, impl_->name, impl_->entry, *point, BranchReason::kReset, std::move(more), false);
  if (!made) return with_context(impl_->place(), made.error());
  // The journal went on without a break, so the context does too; only what is usable of the past has changed.
  impl_->lineage.back().journal_end = made->entry.journal_cut;
  for (Link& link : impl_->lineage) link.position_end = std::min(link.position_end, position);
  impl_->lineage.push_back({made->branch, made->entry, kNoLimit, kNoLimit});
  impl_->context.cut(position);
  for (const JournalEntry& row : made->records) {
    auto applied = impl_->context.apply(row);
    if (!applied) return impl_->undo(applied.error());
    impl_->chain = chain_record(impl_->chain, row.sequence, row.time_ms, row.record, encode_payload(row.record));
  }
  auto held = read_holdings(impl_->store, impl_->lineage, nullptr);
  if (!held) return impl_->undo(held.error());
  impl_->holdings = std::move(*held);
  point->report.branch = made->branch;
  return std::move(point->report);
}

Result<CutReport> Session::rewind(Cut to, std::optional<std::uint64_t> seed) {
  auto ready = impl_->usable();
  if (!ready) return ready.error();
  const std::shared_lock structure(impl_->store.structure_mutex());
  auto point = locate(impl_->store, impl_->lineage, impl_->context, impl_->chain, to, nullptr);
  if (!point) return with_context(impl_->place(), point.error());
  std::vector<Record> records = point->behind;
  if (seed) records.emplace_back(SeedChanged{*seed});
  auto made =
      write_branch(impl_->store, impl_->name, impl_->entry, *point, BranchReason::kRewind, std::move(records), true);
  if (!made) return with_context(impl_->place(), made.error());
  auto loaded = impl_->load();
  if (!loaded) {
    impl_->broken = loaded.error();
    return loaded.error();
  }
  point->report.branch = made->branch;
  return std::move(point->report);
}

Result<void> Session::for_each_record(const std::function<Result<void>(const JournalEntry&)>& visit) const {
  const View view(impl_->store);
  Digest chain;
  auto walked = walk_journal(impl_->store, impl_->lineage, &view, kNoLimit, chain,
                             [&](const Link&, const JournalEntry& entry) { return visit(entry); });
  if (!walked) return with_context(impl_->place(), walked.error());
  return {};
}

}  // namespace longhaul::sessions
