// Going back: where in a session's past a branch can begin, and the batch that makes one.
#include <fmt/format.h>

#include <algorithm>
#include <shared_mutex>

#include "sessions/fault_point.h"
#include "sessions/session_impl.h"

namespace longhaul::sessions {
namespace {

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

}  // namespace longhaul::sessions
