// What is whole of a damaged store, in a new one. Nothing is written into the damaged store; what could not be carried
// over is said by name. Keys stay what they were, so branches that sessions share stay shared.
//
// Of each session the journal counts as far as its chain holds. Of states and pages each is read; a damaged state goes
// alone, a damaged page takes along the later ones of its lineage and the states that need them, since a lineage's
// pages have no gaps. All of these are rebuilt by feeding the tokens, at the session's next opening or by `verify
// --rebuild`.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "runtime/base/file.h"
#include "sessions/bulk_tables.h"
#include "sessions/fault_point.h"
#include "sessions/session_impl.h"
#include "sessions/session_manager.h"

namespace longhaul::sessions {
namespace {

namespace fs = std::filesystem;

// Of one branch, over all sessions that use it.
struct Needed {
  BranchEntry entry;
  std::uint64_t journal_end = 0;   // last record, whole
  std::uint64_t position_end = 0;  // states and pages
  model::StateLayout layout;
  std::string session;                        // the first that uses it
  std::map<std::uint64_t, Manifest> commits;  // by sequence: what the journal says of them
};

class Repairer {
 public:
  Repairer(const Store& from, RepairReport& report) : from_(from), report_(report) {}

  Result<void> look() {
    const std::string first(1, kSessionPrefix), last(1, kSessionPrefix + 1);
    const auto take = [this](std::string_view key, std::string_view value) {
      const std::string name(key.substr(1));
      auto payload = unseal(Family::kCatalog, key, value, ValueKind::kSession);
      auto entry = payload ? decode_session(*payload) : Result<SessionEntry>(payload.error());
      if (entry) {
        sessions_[name] = std::move(*entry);
      } else {
        lose_history(printable(name), "catalog entry", entry.error().message);
      }
      return true;
    };
    auto scanned = from_.scan(Family::kCatalog, first, last, nullptr, take);
    if (!scanned) {
      lose_history("", "catalog", scanned.error().message);
      static_cast<void>(from_.scan_back(Family::kCatalog, first, last, nullptr, take).has_value());
    }
    highest_ = stored_numbers_end();
    for (auto it = sessions_.begin(); it != sessions_.end();) {
      it = look_at(it->first, it->second) ? std::next(it) : sessions_.erase(it);
    }
    for (auto& [branch, needed] : branches_) choose_bulk(branch, needed);
    return {};
  }

  Result<void> write(Store& to) {
    BulkTables tables(to, 0);
    Batch batch(to);
    batch.set_bulk(0);
    for (const auto& [branch, needed] : branches_) {
      auto copied = copy_rows(tables, Family::kJournal, journal_key(branch, 0),
                              journal_key(branch, needed.journal_end + 1), report_.records);
      if (!copied) return copied.error();
      put_branch(batch, branch, needed.entry);
      ++report_.branches;
    }
    auto copied = copy_bulk(tables);
    if (!copied) return copied.error();
    for (const auto& [branch, manifests] : kept_) {
      for (const StoredManifest& at : manifests) {
        put_manifest(batch, at);
        if (at.manifest.generation == 0) continue;
        const std::string key = generation_key(at.manifest.generation);
        batch.put(
            Family::kSnapshots, key,
            seal(Family::kSnapshots, key, ValueKind::kGeneration, encode(GenerationEntry{at.branch, at.sequence})));
      }
    }
    for (const auto& [name, entry] : sessions_) put_session(batch, name, entry);
    report_.sessions = sessions_.size();
    to.reserve_numbers(highest_ + 1, batch);
    auto finished = tables.finish();
    if (!finished) return finished.error();
    auto ingested = tables.ingest();
    if (!ingested) return ingested.error();
    return to.write(batch, true);
  }

 private:
  void lose(std::string session, std::string place, std::string message) {
    report_.lost.push_back({std::move(session), std::move(place), std::move(message)});
  }
  // That of tokens or events: more than computing again can bring back.
  void lose_history(const std::string& session, std::string place, std::string message) {
    report_.history_whole = false;
    lose(session, std::move(place), std::move(message));
  }

  // False: nothing of it can be carried over.
  bool look_at(const std::string& name, SessionEntry& entry) {
    auto lineage = read_lineage(from_, entry.head, nullptr);
    if (!lineage) {
      lose_history(name, "lineage", lineage.error().message);
      return false;
    }
    // As far as chain and fold hold.
    Context context;
    Digest chain;
    auto walked = walk_journal(
        from_, *lineage, nullptr, kNoLimit, chain,
        [&](const Link&, const JournalEntry& row) { return context.apply(row); },
        [&](const Link& link) { enter(link, context); });
    const std::uint64_t end = context.sequence();
    if (!walked) {
      lose_history(name, "journal",
                   fmt::format("{}; records 1 to {} are whole, {} had been acknowledged", walked.error().message, end,
                               entry.sequence));
    } else if (end < entry.sequence) {
      lose_history(name, "journal",
                   fmt::format("records {} to {} had been acknowledged and are missing", end + 1, entry.sequence));
    }
    if (end == 0) return false;
    const bool cut = !walked.has_value();
    if (cut) {
      while (lineage->back().entry.journal_cut >= end) lineage->pop_back();
    }
    // Once more up to there, now that it is known where that is.
    context = Context();
    std::map<std::uint64_t, std::map<std::uint64_t, Manifest>> commits;
    walked = walk_journal(
        from_, *lineage, nullptr, end, chain,
        [&](const Link& link, const JournalEntry& row) -> Result<void> {
          auto applied = context.apply(row);
          if (!applied) return applied.error();
          // The chain is only known at the end of the walk; it is worked out along it.
          running_ = chain_record(row.sequence == 1 ? Digest{} : running_, row.sequence, row.time_ms, row.record,
                                  encode_payload(row.record));
          if (auto commit = manifest_of(row, context, running_)) commits[link.branch][row.sequence] = *commit;
          return {};
        },
        [&](const Link& link) { enter(link, context); });
    if (!walked || context.identity() != entry.identity) {
      lose_history(name, "journal",
                   walked ? "the change to the model that the catalog names is missing" : walked.error().message);
      return false;
    }
    if (cut) {
      // A branch of its own: what another session that was cut there adds is not this one's.
      const BranchEntry own{lineage->back().branch, end, context.tokens().size(), chain, BranchReason::kFork,
                            entry.updated_ms};
      lineage->push_back({++highest_, own, kNoLimit, kNoLimit});
      std::uint64_t journal_end = kNoLimit, position_end = kNoLimit;
      for (std::size_t i = lineage->size(); i-- > 0;) {
        (*lineage)[i].journal_end = journal_end;
        (*lineage)[i].position_end = position_end;
        journal_end = (*lineage)[i].entry.journal_cut;
        position_end = std::min(position_end, (*lineage)[i].entry.position_cut);
      }
    }
    entry.head = lineage->back().branch;
    summarise(entry, context, entry.updated_ms);
    for (const Link& link : *lineage) {
      Needed& needed = branches_[link.branch];
      needed.entry = link.entry;
      needed.journal_end = std::max(needed.journal_end, std::min(link.journal_end, end));
      // Behind a change of the model nothing of before is of use, and had perhaps another layout.
      if (link.position_end > 0) {
        needed.layout = entry.layout;
        needed.position_end = std::max(needed.position_end, link.position_end);
      }
      if (needed.session.empty()) needed.session = name;
      needed.commits.merge(commits[link.branch]);
    }
    return true;
  }

  static void enter(const Link& link, Context& context) {
    if (link.entry.parent != 0 && link.entry.reason != BranchReason::kReplay) context.cut(link.entry.position_cut);
  }

  // Parents have smaller numbers: their pages are decided before.
  void choose_bulk(std::uint64_t branch, Needed& needed) {
    auto lineage = read_lineage(from_, branch, nullptr);
    if (!lineage) return;  // cannot be: it was read for a session
    lineage->pop_back();
    auto held =
        holdings_of(*lineage, [&](std::uint64_t each) -> Result<std::vector<StoredManifest>> { return kept_[each]; });
    std::uint64_t n_pages = held ? held->n_pages : 0;
    const std::uint64_t pages_end =
        needed.position_end == kNoLimit ? kNoLimit : needed.position_end / model::kPageTokens;
    for (StoredManifest& at : whole_manifests(branch, needed)) {
      Manifest& m = at.manifest;
      const std::string place = fmt::format("manifest {} of branch {}", at.sequence, branch);
      if (m.n_pages > 0 && (m.first_page >= pages_end || !pages_whole(at, needed, n_pages, place))) m.n_pages = 0;
      if (m.n_pages > 0) n_pages = std::max(n_pages, m.first_page + m.n_pages);
      if (m.has_state && (m.state_position > needed.position_end || !state_whole(at, needed, n_pages, place))) {
        m.has_state = m.pinned = false;
      }
      if (m.has_state) states_.push_back(m.generation);
      if (m.n_pages > 0) pages_.push_back(m);
      if (!m.has_state && m.n_pages == 0) m.generation = 0;
      if (m.generation == 0 && at.sequence > needed.journal_end) continue;
      kept_[branch].push_back(at);
    }
  }

  // Of a branch with this entry, with what it can use of them.
  std::vector<Link> ancestors(const BranchEntry& of) const {
    std::vector<Link> out;
    BranchEntry entry = of;
    std::uint64_t position_end = kNoLimit;
    while (entry.parent != 0) {
      position_end = std::min(position_end, entry.position_cut);
      const std::uint64_t journal_cut = entry.journal_cut, parent = entry.parent;
      entry = branches_.at(parent).entry;
      out.push_back({parent, entry, journal_cut, position_end});
    }
    std::reverse(out.begin(), out.end());
    return out;
  }

  bool pages_whole(const StoredManifest& at, const Needed& needed, std::uint64_t n_pages, const std::string& place) {
    const Manifest& m = at.manifest;
    if (m.first_page > n_pages) {
      lose(needed.session, "pages of " + place,
           fmt::format("pages {} to {}: the ones before them are lost", m.first_page, m.first_page + m.n_pages - 1));
      return false;
    }
    const PageRun run{m.first_page, m.n_pages, m.generation, at.branch, at.sequence, m.n_pages, m.object_pages};
    if (auto summaries = read_summaries(from_, needed.layout, run, nullptr); !summaries) {
      lose(needed.session, "pages of " + place, summaries.error().message);
      return false;
    }
    for (std::uint32_t layer = 0; layer < m.page_layers; ++layer) {
      auto read = for_each_page(from_, needed.layout, run, layer, nullptr,
                                [](std::uint64_t, const Result<std::string_view>& page) -> Result<void> {
                                  return page ? Result<void>() : page.error();
                                });
      if (!read) {
        lose(needed.session, "pages of " + place, read.error().message);
        return false;
      }
    }
    return true;
  }

  bool state_whole(const StoredManifest& at, const Needed& needed, std::uint64_t n_pages, const std::string& place) {
    const std::uint64_t wanted =
        needed.layout.n_attention_layers == 0 ? 0 : at.manifest.state_position / model::kPageTokens;
    StateParts parts;
    auto read = read_state_parts(from_, at, nullptr, parts);
    if (read && wanted <= n_pages) return true;
    lose(needed.session, "state of " + place,
         read ? fmt::format("needs {} pages, {} are left", wanted, n_pages) : read.error().message);
    return false;
  }

  // Those that can be read and agree with the journal; a commit without one gets one that says no more than the
  // journal.
  std::vector<StoredManifest> whole_manifests(std::uint64_t branch, const Needed& needed) {
    std::map<std::uint64_t, Manifest> found;
    const auto take = [&](std::string_view key, std::string_view value) {
      const std::uint64_t sequence = read_big_endian(key.substr(std::min<std::size_t>(9, key.size())));
      auto payload = unseal(Family::kSnapshots, key, value, ValueKind::kManifest);
      auto manifest = payload ? decode_manifest(*payload) : Result<Manifest>(payload.error());
      const auto commit = needed.commits.find(sequence);
      Result<void> fits = manifest ? Result<void>() : Result<void>(manifest.error());
      if (fits && commit != needed.commits.end()) fits = check_manifest(*manifest, commit->second);
      if (fits) {
        found[sequence] = *manifest;
      } else {
        lose(needed.session, fmt::format("manifest {} of branch {}", sequence, branch), fits.error().message);
      }
      return true;
    };
    auto scanned = from_.scan(Family::kSnapshots, manifest_key(branch, 0), manifest_key(branch + 1, 0), nullptr, take);
    if (!scanned) {
      lose(needed.session, fmt::format("manifests of branch {}", branch), scanned.error().message);
      static_cast<void>(
          from_.scan_back(Family::kSnapshots, manifest_key(branch, 0), manifest_key(branch + 1, 0), nullptr, take)
              .has_value());
    }
    for (const auto& [sequence, commit] : needed.commits) {
      if (found.contains(sequence)) continue;
      Manifest bare = commit;
      bare.has_state = false;
      found[sequence] = bare;
    }
    std::vector<StoredManifest> out;
    for (auto& [sequence, manifest] : found) out.push_back({branch, sequence, manifest});
    return out;
  }

  Result<void> copy_rows(BulkTables& tables, Family family, const std::string& first, const std::string& last,
                         std::uint64_t& n) {
    Result<void> outcome;
    auto scanned = from_.scan(family, first, last, nullptr, [&](std::string_view key, std::string_view value) {
      // A row beside the good ones may be damaged: it was dropped above, or is nobody's.
      if (!unseal(family, key, value)) return true;
      ++n;
      outcome = tables.put(family, key, value);
      return outcome.has_value();
    });
    if (!scanned) return scanned.error();
    return outcome;
  }

  // By their keys, in order: a scan could begin in a damaged block before the first of them.
  Result<void> copy_bulk(BulkTables& tables) {
    const auto before = [](const Manifest& a, const Manifest& b) { return a.generation < b.generation; };
    std::sort(states_.begin(), states_.end());
    std::sort(pages_.begin(), pages_.end(), before);
    for (const std::uint64_t generation : states_) {
      for (const StatePart part : {StatePart::kFixed, StatePart::kOpenPages}) {
        bool there = true;  // a part may have pieces, or nothing
        for (std::uint64_t piece = 0; there; ++piece) {
          auto copied = copy_value(tables, Family::kStates, state_key(generation, part, piece), report_.state_values);
          if (!copied) return copied.error();
          there = *copied;
        }
      }
    }
    std::uint64_t n_summaries = 0;
    for (const Manifest& m : pages_) {
      for (std::uint32_t layer = 0; layer < m.page_layers; ++layer) {
        for (std::uint64_t first = m.first_page; first < m.first_page + m.n_pages;
             first += std::max<std::uint32_t>(1, m.object_pages)) {
          auto copied = copy_value(tables, Family::kPages, page_key(m.generation, layer, first), report_.page_values);
          if (!copied) return copied.error();
        }
      }
      auto copied = copy_value(tables, Family::kSummaries, summaries_key(m.generation), n_summaries);
      if (!copied) return copied.error();
    }
    return {};
  }

  // False: there is none.
  Result<bool> copy_value(BulkTables& tables, Family family, const std::string& key, std::uint64_t& n) {
    rocksdb::PinnableSlice value;
    auto found = from_.get_bulk(family, key, value);
    if (!found) return found.error();
    if (!*found) return false;
    ++n;
    auto put = tables.put(family, key, value.ToStringView());
    if (!put) return put.error();
    return true;
  }

  // No number given out so far is above.
  std::uint64_t stored_numbers_end() {
    auto value = from_.get(Family::kMeta, numbers_key());
    auto payload = value && *value ? unseal(Family::kMeta, numbers_key(), **value, ValueKind::kNumbers)
                                   : Result<std::string_view>(value ? corruption("missing") : value.error());
    auto numbers = payload ? decode_numbers(*payload) : Result<Numbers>(payload.error());
    if (numbers) return numbers->reserved;
    lose("", "numbers", numbers.error().message + "; counting goes on far behind the highest number found");
    std::uint64_t highest = 0;
    const auto take = [&](std::string_view key, std::string_view) {
      highest = std::max(highest, read_big_endian(key.substr(key[0] == kBranchPrefix || key[0] == kGenerationPrefix)));
      return false;
    };
    // The last key of each kind has the highest number.
    for (const auto& [family, prefix] :
         {std::pair(Family::kCatalog, kBranchPrefix), std::pair(Family::kSnapshots, kGenerationPrefix)}) {
      static_cast<void>(
          from_.scan_back(family, std::string(1, prefix), std::string(1, prefix + 1), nullptr, take).has_value());
    }
    return highest + (std::uint64_t{1} << 32);
  }

  const Store& from_;
  RepairReport& report_;
  std::map<std::string, SessionEntry> sessions_;
  std::map<std::uint64_t, Needed> branches_;
  std::map<std::uint64_t, std::vector<StoredManifest>> kept_;
  std::vector<std::uint64_t> states_;  // generations
  std::vector<Manifest> pages_;
  std::uint64_t highest_ = 0;
  Digest running_;
};

// Into `to`, which appears whole or not at all.
Result<RepairReport> repair_into(const std::string& path, const std::string& to, const StoreOptions& options,
                                 bool same_id) {
  RepairReport report;
  std::error_code ec;
  struct Part {
    ~Part() { fs::remove_all(path, ignored); }
    std::string path;
    std::error_code ignored;
  } holder{to + ".part", {}};
  const std::string& part = holder.path;
  fs::remove_all(part, ec);
  {
    auto from = Store::open_for_rescue(path, part + "/work", options, report.notes);
    if (!from) return from.error();
    // What a torn end held nobody can tell.
    report.history_whole = report.notes.empty();
    Repairer repairer(**from, report);
    auto looked = repairer.look();
    if (!looked) return looked.error();
    if (same_id && !report.history_whole) return report;
    StoreOptions fresh = options;
    fresh.create_if_missing = true;
    fresh.accept_without_high_water = false;
    if (same_id && (*from)->id() != Digest{}) fresh.store_id = (*from)->id();
    auto store = Store::open(part + "/store", fresh);
    if (!store) return store.error();
    auto written = repairer.write(**store);
    if (!written) return written.error();
  }
  auto synced = sync_folder(part + "/store");
  if (!synced) return synced.error();
  LONGHAUL_FAULT_POINT("repair.before_rename");
  fs::rename(part + "/store", to, ec);
  if (ec) return io_error(fmt::format("renaming {}/store to {}: {}", part, to, ec.message()));
  const std::string folder = fs::path(to).parent_path().string();
  synced = sync_folder(folder.empty() ? "." : folder);
  if (!synced) return synced.error();
  report.made = true;
  return report;
}

}  // namespace

Result<RepairReport> SessionManager::repair_copy(const std::string& path, const std::string& copy,
                                                 const StoreOptions& options) {
  std::error_code ec;
  for (const std::string& each : {copy, copy + ".part"}) {
    if (fs::exists(each, ec)) return make_error(ErrorCode::kConflict, fmt::format("{} is there already", each));
  }
  return repair_into(path, copy, options, false);
}

Result<RepairReport> SessionManager::drop_damaged(const std::string& path, const StoreOptions& options) {
  std::error_code ec;
  if (!fs::exists(path + "/rebuilt", ec)) {
    auto report = repair_into(path, path + "/rebuilt", options, true);
    if (!report || !report->made) {
      fs::remove_all(path + "/rebuilt.part", ec);
      return report;
    }
    auto taken = Store::take_rebuilt(path);
    if (!taken) return taken.error();
    return report;
  }
  auto taken = Store::take_rebuilt(path);  // of a repair that was cut off
  if (!taken) return taken.error();
  return drop_damaged(path, options);
}

}  // namespace longhaul::sessions
