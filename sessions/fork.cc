// Forking. At a session's end it costs the same whatever the history: the catalog says what the journal folds to as of
// the last synced write, and the chain is followed from the newest place that knows it (the last commit's manifest, or
// the branch's beginning) over the few records since. Elsewhere the history is folded: the calls behind the cut have to
// be known (C6).
#include <fmt/format.h>

#include "sessions/fault_point.h"
#include "sessions/session_impl.h"
#include "sessions/session_manager.h"

namespace longhaul::sessions {
namespace {

struct Head {
  SessionEntry entry;  // brought up to the last record
  Digest chain;
};

// Nothing if there is a record behind the summary that this does not know how to add up, or something does not fit:
// then the fold decides, and names what is wrong.
Result<std::optional<Head>> find_head(const Store& store, const std::string& name, const View& view) {
  const std::optional<Head> unknown;
  auto entry = find_session(store, name, &view);
  if (!entry) return entry.error();
  const std::uint64_t branch = entry->head;
  auto value = store.get(Family::kCatalog, branch_key(branch), &view);
  if (!value) return value.error();
  if (!*value) return unknown;
  auto payload = unseal(Family::kCatalog, branch_key(branch), **value, ValueKind::kBranch);
  auto begins = payload ? decode_branch(*payload) : Result<BranchEntry>(payload.error());
  if (!begins) return unknown;
  std::uint64_t sequence = begins->journal_cut;
  Head head{std::move(*entry), begins->chain_at_cut};
  auto scanned = store.scan_back(Family::kSnapshots, manifest_key(branch, 0), manifest_key(branch + 1, 0), &view,
                                 [&](std::string_view key, std::string_view bytes) {
                                   auto opened = unseal(Family::kSnapshots, key, bytes, ValueKind::kManifest);
                                   auto manifest = opened ? decode_manifest(*opened) : Result<Manifest>(opened.error());
                                   if (manifest) {
                                     sequence = read_big_endian(key.substr(9));
                                     head.chain = manifest->chain;
                                   }
                                   return false;
                                 });
  if (!scanned) return scanned.error();
  bool plain = true;
  scanned = store.scan(Family::kJournal, journal_key(branch, sequence + 1), journal_key(branch + 1, 0), &view,
                       [&](std::string_view key, std::string_view bytes) {
                         auto row = unseal_record(key, bytes, head.chain);
                         plain = row && row->sequence == sequence + 1;
                         if (!plain) return false;
                         ++sequence;
                         if (sequence <= head.entry.sequence) return true;
                         if (const auto* fed = std::get_if<TokensFed>(&row->record)) {
                           head.entry.n_tokens += fed->ids.size();
                         } else if (const auto* sampled = std::get_if<TokensSampled>(&row->record)) {
                           head.entry.n_tokens += sampled->ids.size();
                         } else if (std::holds_alternative<TurnStarted>(row->record)) {
                           head.entry.status = SessionStatus::kRunning;
                         } else {
                           plain = std::holds_alternative<AssistantMessage>(row->record) ||
                                   std::holds_alternative<Note>(row->record);
                         }
                         return plain;
                       });
  if (!scanned) return scanned.error();
  if (!plain || sequence < head.entry.sequence) return unknown;
  head.entry.sequence = sequence;
  return std::optional<Head>(std::move(head));
}

Result<CutReport> fork_head(Store& store, const std::string& name, const std::string& new_name, Head head,
                            std::optional<std::uint64_t> seed) {
  auto number = store.take_number();
  if (!number) return number.error();
  const std::int64_t now = store.clock().unix_ms();
  SessionEntry& entry = head.entry;
  Batch batch(store);
  put_branch(batch, *number, {entry.head, entry.sequence, entry.n_tokens, head.chain, BranchReason::kFork, now});
  if (seed) {
    const JournalEntry row{*number, ++entry.sequence, now, SeedChanged{*seed}};
    const std::string key = journal_key(row.branch, row.sequence);
    const SealedRecord sealed = seal_record(key, head.chain, row);
    batch.put(Family::kJournal, key, sealed.value);
    batch.set_tip(row.branch, row.sequence, sealed.chain.low);
  }
  entry.head = *number;
  entry.origin = name;
  entry.created_ms = entry.updated_ms = now;
  put_session(batch, new_name, entry);
  LONGHAUL_FAULT_POINT("branch.before_batch");
  auto written = store.write(batch, true);
  if (!written) return with_context("session " + new_name, written.error());
  LONGHAUL_FAULT_POINT("branch.after_batch");
  CutReport report;
  report.branch = *number;
  report.position = entry.n_tokens;
  report.turn = entry.n_turns;
  return report;
}

}  // namespace

Result<CutReport> SessionManager::fork(const std::string& name, const std::string& new_name, Cut at,
                                       std::optional<std::uint64_t> seed) {
  auto valid = check_session_name(new_name);
  if (!valid) return valid.error();
  const NameHold hold(*store_, new_name);
  if (!hold.held()) return in_use(new_name);
  auto fresh = check_new_name(*store_, new_name);
  if (!fresh) return fresh.error();
  const std::shared_lock structure(store_->structure_mutex());
  const View view(*store_);
  if (at.kind == Cut::Kind::kHead) {
    auto head = find_head(*store_, name, view);
    if (!head) return with_context("session " + name, head.error());
    if (*head) return fork_head(*store_, name, new_name, std::move(**head), seed);
  }
  auto entry = find_session(*store_, name, &view);
  if (!entry) return entry.error();
  auto lineage = read_lineage(*store_, entry->head, &view);
  if (!lineage) return with_context("session " + name, lineage.error());
  auto fold = fold_lineage(*store_, *lineage, &view);
  if (!fold) return with_context("session " + name, fold.error());
  auto point = locate(*store_, *lineage, fold->context, fold->chain, at, &view);
  if (!point) return with_context("session " + name, point.error());
  entry->origin = name;
  entry->created_ms = store_->clock().unix_ms();
  std::vector<Record> records = point->behind;
  if (seed) records.emplace_back(SeedChanged{*seed});
  auto made = write_branch(*store_, new_name, *entry, *point, BranchReason::kFork, std::move(records), true);
  if (!made) return with_context("session " + new_name, made.error());
  point->report.branch = made->branch;
  return std::move(point->report);
}

}  // namespace longhaul::sessions
