// Taking a session in from a file. The file is read once, front to back: what has been checked is written into tables
// beside the database as it comes, and only when the last byte and the digest of the whole have been found right do the
// tables become part of the database, and then one synced batch makes the session visible. Until then there is nothing
// to undo: tables nobody refers to are deleted, here or at the next opening. A kind of row that there is little of
// waits in memory for that batch instead.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <shared_mutex>
#include <string>
#include <utility>
#include <vector>

#include "sessions/export_content.h"
#include "sessions/fault_point.h"
#include "sessions/page_run.h"
#include "sessions/session_impl.h"
#include "sessions/session_manager.h"
#include "sessions/stored_rows.h"

namespace longhaul::sessions {
namespace {

// What the journal of a delta must go on from, here.
struct Base {
  std::vector<Link> lineage;  // up to the base's last record
  std::string session;
  std::uint64_t n_pages = 0;
};

class StoreSink final : public ImportSink {
 public:
  StoreSink(Store& store, std::uint64_t label, const model::StateLayout& layout)
      : store_(store), batch_(store), rows_(store, batch_, label), layout_(layout) {}

  // Any session whose past holds the base will do: what it was called elsewhere does not matter.
  Result<Fold> find_base(const ExportHeader& header) override {
    header_ = header;
    Fold fold;
    auto found = locate_base(&fold);
    if (!found) return found.error();
    base_ = std::move(*found);
    return fold;
  }

  // Again, under the lock that keeps gc away, before the base is built on.
  Result<void> base_still_there() {
    if (base_.lineage.empty()) return {};
    auto found = locate_base(nullptr);
    if (!found) return found.error();
    if (found->lineage.back().branch != base_.lineage.back().branch) {
      return make_error(ErrorCode::kConflict,
                        fmt::format("session {}, which holds the base, has changed meanwhile", base_.session));
    }
    return {};
  }

  Result<std::uint64_t> branches(const std::vector<BranchEntry>& branches) override {
    branches_ = branches;
    std::uint64_t parent = base_.lineage.empty() ? 0 : base_.lineage.back().branch;
    for (BranchEntry& entry : branches_) {
      auto number = store_.take_number();
      if (!number) return number.error();
      numbers_.push_back(*number);
      entry.parent = parent;
      parent = *number;
    }
    if (base_.lineage.empty()) return 0;
    // What of the base's pages is of use depends on the cuts behind it.
    std::vector<Link> lineage = base_.lineage;
    for (Link& link : lineage) {
      for (const BranchEntry& entry : branches_) link.position_end = std::min(link.position_end, entry.position_cut);
    }
    auto held = read_holdings(store_, lineage, nullptr);
    if (!held) return held.error();
    return held->n_pages;
  }

  Result<void> record(std::size_t branch, const JournalEntry& entry, const Digest& chain_before) override {
    JournalEntry row = entry;
    row.branch = numbers_[branch];
    const std::string key = journal_key(row.branch, row.sequence);
    const SealedRecord sealed = seal_record(key, chain_before, row);
    return rows_.put(Family::kJournal, key, sealed.value);
  }

  Result<void> manifests(const std::vector<ExportManifest>& manifests) override {
    for (const ExportManifest& at : manifests) {
      StoredManifest stored{numbers_[at.branch], at.sequence, at.manifest};
      if (stored.manifest.generation != 0) {
        auto number = store_.take_number();
        if (!number) return number.error();
        stored.manifest.generation = *number;
        by_generation_.push_back(manifests_.size());
      }
      if (stored.manifest.n_pages > 0) {
        stored.manifest.object_pages =
            pages_a_value(store_.options().page_object_bytes, layout_.page_bytes(), stored.manifest.n_pages);
      }
      manifests_.push_back(stored);
    }
    return {};
  }

  Result<void> state(const ExportManifest& at, std::string_view fixed, std::string_view open_pages) override {
    auto stored = put_state(rows_, as_stored(at), {&fixed, 1}, open_pages);
    if (!stored) return stored.error();
    return {};
  }

  Result<void> page(const ExportManifest& at, std::uint32_t layer, std::uint64_t index,
                    std::string_view bytes) override {
    const Manifest& m = as_stored(at);
    if (!page_rows_) page_rows_.emplace(rows_, layout_, m);
    run_.append(bytes);
    const std::size_t n = run_.size() / bytes.size();
    const std::uint64_t first = index + 1 - n;
    if (n < page_rows_->pages_from(first)) return {};
    std::vector<const std::byte*> pages;
    for (std::size_t i = 0; i < n; ++i) {
      pages.push_back(reinterpret_cast<const std::byte*>(run_.data()) + i * bytes.size());
    }
    auto put = page_rows_->put(layer, first, pages);
    if (!put) return put.error();
    run_.clear();
    if (index + 1 == m.first_page + m.n_pages && layer + 1 == m.page_layers) page_rows_.reset();
    return {};
  }

  // The commit point.
  Result<void> commit(const std::string& name, SessionEntry entry, const Context& context) {
    auto finished = rows_.finish();
    if (!finished) return finished.error();
    LONGHAUL_FAULT_POINT("import.tables_written");
    auto ingested = rows_.ingest();
    if (!ingested) return ingested.error();
    LONGHAUL_FAULT_POINT("import.tables_ingested");
    for (std::size_t i = 0; i < branches_.size(); ++i) put_branch(batch_, numbers_[i], branches_[i]);
    for (const StoredManifest& at : manifests_) {
      put_manifest(batch_, at);
      if (at.manifest.generation != 0) put_generation(batch_, at);
    }
    entry.head = numbers_.back();
    summarise(entry, context, store_.clock().unix_ms());
    put_session(batch_, name, entry);
    LONGHAUL_FAULT_POINT("import.before_batch");
    auto written = store_.write(batch_, true);
    if (!written) return written.error();
    LONGHAUL_FAULT_POINT("import.after_batch");
    return {};
  }

 private:
  // As it is stored here. The file numbers generations from 1.
  const Manifest& as_stored(const ExportManifest& at) const {
    return manifests_[by_generation_[at.manifest.generation - 1]].manifest;
  }

  // Of those that have the base, the one that has the most of its pages: who has gone back since may have let go of
  // some.
  Result<Base> locate_base(Fold* fold) {
    std::vector<Base> found;
    Result<void> outcome;
    auto scanned = store_.scan(Family::kCatalog, std::string(1, kSessionPrefix), std::string(1, kSessionPrefix + 1),
                               nullptr, [&](std::string_view key, std::string_view) {
                                 outcome = try_base(std::string(key.substr(1)), found);
                                 return outcome.has_value();
                               });
    if (!scanned) return scanned.error();
    if (!outcome) return outcome.error();
    std::stable_sort(found.begin(), found.end(), [](const Base& a, const Base& b) { return a.n_pages > b.n_pages; });
    for (Base& base : found) {
      if (fold == nullptr) return std::move(base);
      auto folded = fold_lineage(store_, base.lineage, nullptr, header_.base_sequence);
      if (!folded || folded->chain != header_.base_chain) continue;
      *fold = std::move(*folded);
      return std::move(base);
    }
    return not_found(
        fmt::format("the file goes on from turn {} of session {} (record {}, chain {}), and no session in store {} "
                    "has that; import the session as it was then first, or export it whole",
                    header_.base_turn, header_.name, header_.base_sequence, header_.base_chain.hex(), store_.path()));
  }

  // A damaged session is not a base, but no reason to fail either: another may hold it.
  Result<void> try_base(const std::string& name, std::vector<Base>& found) {
    auto entry = read_session(store_, name, nullptr);
    if (!entry || !*entry || (*entry)->sequence < header_.base_sequence) return {};
    auto lineage = read_lineage(store_, (*entry)->head, nullptr);
    if (!lineage) return {};
    while (lineage->back().entry.journal_cut >= header_.base_sequence) lineage->pop_back();
    Link& last = lineage->back();
    const std::string key = journal_key(last.branch, header_.base_sequence);
    auto value = store_.get(Family::kJournal, key);
    if (!value) return value.error();
    if (!*value) return {};
    auto record = unseal_record(key, **value);
    if (!record || record->link != header_.base_chain.low) return {};
    // Cuts of what came after in that session are not of this lineage.
    last.journal_end = header_.base_sequence;
    std::uint64_t position_end = kNoLimit;
    for (auto link = lineage->rbegin(); link != lineage->rend(); ++link) {
      link->position_end = position_end;
      position_end = std::min(position_end, link->entry.position_cut);
    }
    auto held = read_holdings(store_, *lineage, nullptr);
    if (held) found.push_back({std::move(*lineage), name, held->n_pages});
    return {};
  }

  Store& store_;
  Batch batch_;
  StoredRows rows_;
  model::StateLayout layout_;
  std::string run_;                    // pages of one value, until they are all there
  std::optional<PageRows> page_rows_;  // of the manifest whose pages are coming
  ExportHeader header_;
  Base base_;
  std::vector<BranchEntry> branches_;
  std::vector<std::uint64_t> numbers_;
  std::vector<StoredManifest> manifests_;
  std::vector<std::size_t> by_generation_;  // into manifests_
};

// Only the journal's chain, as far as it goes: tells whether one history is the beginning of another.
struct Past {
  std::uint64_t sequence = 0;
  Digest chain;
};

// A delta may carry on the session it was taken from, if that has not gone its own way since.
Result<Past> past_of(const Store& store, const SessionEntry& entry) {
  auto lineage = read_lineage(store, entry.head, nullptr);
  if (!lineage) return lineage.error();
  Past out;
  auto walked = walk_journal(store, *lineage, nullptr, kNoLimit, out.chain,
                             [&](const Link&, const JournalEntry& row) -> Result<void> {
                               out.sequence = row.sequence;
                               return {};
                             });
  if (!walked) return walked.error();
  return out;
}

// Notes the chain at one record on its way to the store.
class PastCheck final : public ImportSink {
 public:
  PastCheck(StoreSink& next, std::optional<Past> past) : next_(next), past_(past) {}

  // Whether the history read begins with the past.
  bool holds() const { return !past_ || holds_; }

  Result<Fold> find_base(const ExportHeader& header) override {
    auto fold = next_.find_base(header);
    if (fold && past_ && past_->sequence == header.base_sequence) holds_ = fold->chain == past_->chain;
    return fold;
  }
  Result<std::uint64_t> branches(const std::vector<BranchEntry>& branches) override { return next_.branches(branches); }
  Result<void> record(std::size_t branch, const JournalEntry& entry, const Digest& chain_before) override {
    if (past_ && entry.sequence == past_->sequence + 1) holds_ = chain_before == past_->chain;
    return next_.record(branch, entry, chain_before);
  }
  Result<void> manifests(const std::vector<ExportManifest>& manifests) override {
    if (!holds()) {
      return make_error(ErrorCode::kConflict,
                        "there is a session of that name already, and it has gone its own way since the base; import "
                        "under another name with --as");
    }
    return next_.manifests(manifests);
  }
  Result<void> state(const ExportManifest& at, std::string_view fixed, std::string_view open_pages) override {
    return next_.state(at, fixed, open_pages);
  }
  Result<void> page(const ExportManifest& at, std::uint32_t layer, std::uint64_t index,
                    std::string_view bytes) override {
    return next_.page(at, layer, index, bytes);
  }

 private:
  StoreSink& next_;
  std::optional<Past> past_;
  bool holds_ = false;
};

}  // namespace

Result<ImportReport> SessionManager::import_session(const std::string& path, const std::string& as,
                                                    const ByteProgress& progress) {
  auto source = open_export(path);
  if (!source) return source.error();
  // Header and footer first: a file that is not whole ends here.
  auto looked = ExportReader::open(**source);
  if (!looked) return looked.error();
  const ExportHeader header = (*looked)->header();
  looked->reset();
  const std::string name = as.empty() ? header.name : as;
  auto valid = check_session_name(name);
  if (!valid) return as.empty() ? corruption(path + ": " + valid.error().message) : valid.error();
  const NameHold hold(*store_, name);
  if (!hold.held()) return in_use(name);
  auto there = read_session(*store_, name, nullptr);
  if (!there) return there.error();
  if (*there && header.base_sequence == 0) {
    return make_error(ErrorCode::kConflict,
                      fmt::format("there is a session '{}' in store {} already; import under another name with --as",
                                  name, store_->path()));
  }
  std::optional<Past> past;
  if (*there) {
    auto read = past_of(*store_, **there);
    if (!read) return with_context("session " + name, read.error());
    past = *read;
    if (past->sequence == header.end_sequence && past->chain == header.end_chain) {
      return make_error(ErrorCode::kConflict, fmt::format("session '{}' in store {} already holds all that is in {}",
                                                          name, store_->path(), path));
    }
  }
  auto space = store_->check_space((*source)->size() + (std::uint64_t{1} << 20));
  if (!space) return space.error();
  auto label = store_->take_label();
  if (!label) return label.error();

  StoreSink sink(*store_, *label, header.layout);
  PastCheck check(sink, past);
  auto content = read_export(**source, check, progress);
  if (!content) return content.error();
  SessionEntry entry;
  if (*there) entry = **there;
  entry.identity = header.identity;
  entry.layout = header.layout;
  if (!*there) {
    entry.created_ms = header.created_ms;
    entry.origin = header.origin;
  }
  {
    const std::shared_lock structure(store_->structure_mutex());
    auto base = sink.base_still_there();
    if (!base) return base.error();
    auto committed = sink.commit(name, std::move(entry), content->context);
    if (!committed) return with_context("session " + name, committed.error());
  }
  ImportReport report;
  report.name = name;
  report.moved_on = there->has_value();
  report.n_records = content->n_records;
  report.n_states = content->n_states;
  report.n_pages = content->n_pages;
  report.n_turns = content->context.turns().size();
  report.n_tokens = content->context.tokens().size();
  report.status = content->context.status();
  report.bytes = (*source)->size();
  return report;
}

}  // namespace longhaul::sessions
