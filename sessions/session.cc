// What every session does: read its journal in, and write records behind it. Commits are in session_commit.cc, states
// and pages in session_state.cc, going back in session_branch.cc.
#include "sessions/session.h"

#include <fmt/format.h>

#include "sessions/bytes.h"
#include "sessions/fault_point.h"
#include "sessions/session_impl.h"

namespace longhaul::sessions {
namespace {

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

}  // namespace

void summarise(SessionEntry& entry, const Context& context, std::int64_t now_ms) {
  entry.status = context.status();
  entry.sequence = context.sequence();
  entry.n_tokens = context.tokens().size();
  entry.n_turns = context.turns().size();
  entry.n_calls = context.calls().size();
  entry.updated_ms = now_ms;
}

bool is_reserved(const Record& record) {
  return std::holds_alternative<SessionCreated>(record) || std::holds_alternative<TurnCommitted>(record) ||
         std::holds_alternative<StateSaved>(record) || std::holds_alternative<ContextReset>(record) ||
         std::holds_alternative<ModelChanged>(record) || std::holds_alternative<OnceBehind>(record);
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

Result<void> Session::for_each_record(const std::function<Result<void>(const JournalEntry&)>& visit) const {
  const View view(impl_->store);
  Digest chain;
  auto walked = walk_journal(impl_->store, impl_->lineage, &view, kNoLimit, chain,
                             [&](const Link&, const JournalEntry& entry) { return visit(entry); });
  if (!walked) return with_context(impl_->place(), walked.error());
  return {};
}

}  // namespace longhaul::sessions
