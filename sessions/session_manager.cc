#include "sessions/session_manager.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/base/json.h"
#include "sessions/fault_point.h"
#include "sessions/session_impl.h"

namespace longhaul::sessions {
Error in_use(const std::string& name) {
  return make_error(ErrorCode::kConflict, fmt::format("session {} is open in this process", name));
}

SessionManager::SessionManager(std::unique_ptr<Store> store)
    : store_(std::move(store)), cache_(std::make_shared<PageCache>(*store_, store_->options().page_cache_bytes)) {}
SessionManager::~SessionManager() {
  cache_->close();  // states that live on may hold it
}
const std::string& SessionManager::path() const {
  return store_->path();
}
const std::vector<std::string>& SessionManager::notes() const {
  return store_->notes();
}
StoreCounters SessionManager::counters() const {
  return store_->counters();
}
PageCacheStats SessionManager::page_cache() const {
  return cache_->stats();
}

Result<std::unique_ptr<SessionManager>> SessionManager::open(const std::string& path, const StoreOptions& options) {
  auto store = Store::open(path, options);
  if (!store) return store.error();
  return std::unique_ptr<SessionManager>(new SessionManager(std::move(*store)));
}

Result<void> check_new_name(const Store& store, const std::string& name) {
  auto valid = check_session_name(name);
  if (!valid) return valid.error();
  auto there = read_session(store, name, nullptr);
  if (!there) return there.error();
  if (*there) {
    return make_error(ErrorCode::kConflict,
                      fmt::format("there is a session '{}' in store {} already", name, store.path()));
  }
  return {};
}

Result<std::unique_ptr<Session>> SessionManager::create(const std::string& name, const CreateRequest& request) {
  auto valid = check_session_name(name);
  if (!valid) return valid.error();
  {
    const NameHold hold(*store_, name);
    if (!hold.held()) return in_use(name);
    auto fresh = check_new_name(*store_, name);
    if (!fresh) return fresh.error();
    const std::shared_lock structure(store_->structure_mutex());
    SessionEntry entry;
    entry.identity = request.identity;
    entry.layout = request.layout;
    entry.created_ms = store_->clock().unix_ms();
    auto made = write_branch(*store_, name, entry, BranchPoint{}, BranchReason::kRoot,
                             {SessionCreated{request.identity.model_fingerprint, request.identity.numerics_tag,
                                             request.seed, request.settings_json}},
                             true);
    if (!made) return with_context("session " + name, made.error());
  }
  return open_any(name);
}

Result<std::unique_ptr<Session>> SessionManager::open_any(const std::string& name) {
  auto valid = check_session_name(name);
  if (!valid) return valid.error();
  if (!store_->mark_open(name)) return in_use(name);
  auto impl = std::make_unique<Session::Impl>(*store_, cache_, name);  // lets the name go if what follows fails
  auto loaded = impl->load();
  if (!loaded) return loaded.error();
  return std::unique_ptr<Session>(new Session(std::move(impl)));
}

Result<std::unique_ptr<Session>> SessionManager::open_session(const std::string& name,
                                                              const SessionIdentity& identity) {
  auto session = open_any(name);
  if (!session) return session.error();
  const SessionIdentity& own = (*session)->identity();
  if (own.model_fingerprint != identity.model_fingerprint) {
    return make_error(ErrorCode::kVersionMismatch, fmt::format("session {} belongs to model {}, this is model {}", name,
                                                               own.model_fingerprint, identity.model_fingerprint));
  }
  if (own.numerics_tag != identity.numerics_tag) {
    return make_error(ErrorCode::kVersionMismatch, fmt::format("session {} was run with numerics {}, this is {}", name,
                                                               own.numerics_tag, identity.numerics_tag));
  }
  return session;
}

Result<std::unique_ptr<Session>> SessionManager::adopt(const std::string& name, const SessionIdentity& identity,
                                                       const model::StateLayout& layout) {
  {
    auto session = open_any(name);
    if (!session) return session.error();
    if ((*session)->identity() == identity) return session;
    Session::Impl& impl = *(*session)->impl_;
    const std::shared_lock structure(store_->structure_mutex());
    auto point = locate(*store_, impl.lineage, impl.context, impl.chain, Cut::head(), nullptr);
    if (!point) return with_context("session " + name, point.error());
    SessionEntry entry = impl.entry;
    entry.identity = identity;
    entry.layout = layout;
    auto made = write_branch(*store_, name, entry, *point, BranchReason::kReplay,
                             {ModelChanged{identity.model_fingerprint, identity.numerics_tag}}, true);
    if (!made) return with_context("session " + name, made.error());
  }
  return open_any(name);
}

Result<SessionEntry> SessionManager::find(const std::string& name) const {
  return find_session(*store_, name, nullptr);
}

Result<std::vector<SessionSummary>> SessionManager::list() const {
  std::vector<SessionSummary> out;
  Result<void> outcome;
  auto scanned = store_->scan(Family::kCatalog, std::string(1, kSessionPrefix), std::string(1, kSessionPrefix + 1),
                              nullptr, [&](std::string_view key, std::string_view value) {
                                const std::string name(key.substr(1));
                                auto payload = unseal(Family::kCatalog, key, value, ValueKind::kSession);
                                auto entry = payload ? decode_session(*payload) : Result<SessionEntry>(payload.error());
                                if (!entry) {
                                  outcome = with_context(fmt::format("store {}: session {}", path(), printable(name)),
                                                         entry.error());
                                  return false;
                                }
                                out.push_back({name, std::move(*entry)});
                                return true;
                              });
  if (!scanned) return scanned.error();
  if (!outcome) return outcome.error();
  return out;
}

Result<SessionDetails> SessionManager::show(const std::string& name) const {
  const View view(*store_);
  auto entry = find_session(*store_, name, &view);
  if (!entry) return entry.error();
  const std::string place = "session " + name;
  auto lineage = read_lineage(*store_, entry->head, &view);
  if (!lineage) return with_context(place, lineage.error());
  auto fold = fold_lineage(*store_, *lineage, &view);
  if (!fold) return with_context(place, fold.error());
  auto held = read_holdings(*store_, *lineage, &view);
  if (!held) return with_context(place, held.error());
  SessionDetails out;
  out.name = name;
  out.n_branches = lineage->size();
  out.n_states = held->states.size();
  out.n_pages = held->n_pages * entry->layout.n_attention_layers;
  out.page_bytes = out.n_pages * entry->layout.page_bytes();
  for (const StoredManifest& at : held->states) out.state_bytes += at.manifest.fixed_bytes + at.manifest.open_bytes;
  for (const Link& link : *lineage) {
    const std::uint64_t end = link.journal_end == kNoLimit ? kNoLimit : link.journal_end + 1;
    const std::string to = end == kNoLimit ? journal_key(link.branch + 1, 0) : journal_key(link.branch, end);
    auto scanned = store_->scan(Family::kJournal, journal_key(link.branch, 0), to, &view,
                                [&](std::string_view key, std::string_view value) {
                                  out.journal_bytes += key.size() + value.size();
                                  return true;
                                });
    if (!scanned) return with_context(place, scanned.error());
  }
  out.entry = std::move(*entry);
  out.context = std::move(fold->context);
  summarise(out.entry, out.context, out.entry.updated_ms);
  return out;
}

Result<Context> SessionManager::context_at(const std::string& name, std::uint64_t sequence) const {
  const View view(*store_);
  auto entry = find_session(*store_, name, &view);
  if (!entry) return entry.error();
  auto lineage = read_lineage(*store_, entry->head, &view);
  if (!lineage) return with_context("session " + name, lineage.error());
  auto fold = fold_lineage(*store_, *lineage, &view, sequence);
  if (!fold) return with_context("session " + name, fold.error());
  if (fold->context.sequence() != sequence) {
    return invalid_argument(
        fmt::format("session {}: record {} was asked for; {} are there", name, sequence, fold->context.sequence()));
  }
  return std::move(fold->context);
}

Result<void> SessionManager::for_each_record(const std::string& name,
                                             const std::function<Result<void>(const JournalEntry&)>& visit) const {
  const View view(*store_);
  auto entry = find_session(*store_, name, &view);
  if (!entry) return entry.error();
  auto lineage = read_lineage(*store_, entry->head, &view);
  if (!lineage) return with_context("session " + name, lineage.error());
  Digest chain;
  auto walked = walk_journal(*store_, *lineage, &view, kNoLimit, chain,
                             [&](const Link&, const JournalEntry& row) { return visit(row); });
  if (!walked) return with_context("session " + name, walked.error());
  return {};
}

Result<CutReport> SessionManager::rewind(const std::string& name, Cut to, std::optional<std::uint64_t> seed) {
  auto session = open_any(name);
  if (!session) return session.error();
  return (*session)->rewind(to, seed);
}

namespace {

// The runtime takes it from there into the call's result; records of before have no place for it.
Result<Record> settled_notes(const std::string& notes_json) {
  auto parsed = parse_json(notes_json);
  if (!parsed) return parsed.error();
  if (!parsed->is_object()) return invalid_argument("not an object");
  for (const auto& note : parsed->get_object()) {
    if (!note.value().is_string() && !note.value().is_null()) {
      return invalid_argument(fmt::format("note {} is neither a text nor null", printable(note.key())));
    }
  }
  return Record(Note{to_json(json::object{{"settled_notes", *parsed}})});
}

}  // namespace

Result<Call> SessionManager::settle(const std::string& name, Settlement how, const std::string& result_json,
                                    const std::string& notes_json) {
  auto session = open_any(name);
  if (!session) return session.error();
  const auto& calls = (*session)->context().calls();
  const auto call = std::find_if(calls.begin(), calls.end(), [](const Call& c) { return c.in_doubt; });
  if (call == calls.end()) {
    return invalid_argument(fmt::format("session {} has no call in doubt; its status is {}", name,
                                        to_string((*session)->context().status())));
  }
  if (how == Settlement::kDone) {
    auto parsed = parse_json(result_json);
    if (!parsed) return with_context(fmt::format("session {}: the result to settle with", name), parsed.error());
  } else if (!result_json.empty()) {
    return invalid_argument(fmt::format("session {}: a result is only given when the call is settled as done", name));
  }
  const std::uint64_t ordinal = call->intent.ordinal;
  std::vector<Record> records{Settled{ordinal, how, result_json}};
  if (!notes_json.empty()) {
    if (how != Settlement::kDone) {
      return invalid_argument(fmt::format("session {}: notes are only given when the call is settled as done", name));
    }
    auto notes = settled_notes(notes_json);
    if (!notes) return with_context(fmt::format("session {}: the notes to settle with", name), notes.error());
    records.push_back(std::move(*notes));
  }
  auto written = (*session)->append(records);
  if (!written) return written.error();
  return (*session)->context().calls()[ordinal];
}

Result<Approval> SessionManager::decide(const std::string& name, Verdict verdict, const std::string& reason) {
  auto session = open_any(name);
  if (!session) return session.error();
  const Context& context = (*session)->context();
  if (!context.approval() || context.approval()->given) {
    return invalid_argument(fmt::format("session {} has no call that waits for approval; its status is {}", name,
                                        to_string(context.status())));
  }
  if (verdict == Verdict::kApprove && !reason.empty()) {
    return invalid_argument(fmt::format("session {}: a reason is only given when the call is denied", name));
  }
  auto written = (*session)->append(ApprovalGiven{context.approval()->needed.ordinal, verdict, reason});
  if (!written) return written.error();
  return *context.approval();
}

Result<void> SessionManager::remove(const std::string& name) {
  auto valid = check_session_name(name);
  if (!valid) return valid.error();
  const NameHold hold(*store_, name);
  if (!hold.held()) return in_use(name);
  // A damaged entry can be removed too; only its name has to be there.
  auto value = store_->get(Family::kCatalog, session_key(name));
  if (!value) return value.error();
  if (!*value) return not_found(fmt::format("there is no session '{}' in store {}", name, path()));
  const std::shared_lock structure(store_->structure_mutex());
  Batch batch(*store_);
  batch.erase(Family::kCatalog, session_key(name));
  LONGHAUL_FAULT_POINT("delete.before_batch");
  auto written = store_->write(batch, true);
  if (!written) return with_context("session " + name, written.error());
  LONGHAUL_FAULT_POINT("delete.after_batch");
  return {};
}

}  // namespace longhaul::sessions
