// Collecting: what no session can reach any more is deleted. Nothing is counted; reachability is computed from the
// branch edges, so a count can never have gone wrong.
//
// Of a branch that only descendants use, the journal is needed up to the last edge that leaves it, and states and pages
// up to the largest position that some living lineage can use. If anything on the way cannot be read, nothing is
// deleted. Each branch is one atomic batch; a collection that is cut off has freed less, that is all.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "sessions/fault_point.h"
#include "sessions/lineage.h"
#include "sessions/session_manager.h"

namespace longhaul::sessions {
namespace {

struct Need {
  std::uint64_t journal_end = 0;
  std::uint64_t position_end = 0;
};

class Collector {
 public:
  Collector(Store& store, GcReport& report) : store_(store), report_(report) {}

  // Need 0/0 with `alive` false: the whole branch goes.
  Result<void> collect(std::uint64_t branch, bool alive, const Need& need) {
    Batch batch(store_);
    bool changed = false;
    if (!alive) {
      batch.erase(Family::kCatalog, branch_key(branch));
      ++report_.branches;
      changed = true;
    }
    auto trimmed = trim_journal(branch, alive ? need.journal_end : 0, batch, changed);
    if (!trimmed) return trimmed.error();
    auto manifests = read_manifests(store_, branch, nullptr);
    if (!manifests) return manifests.error();
    for (const StoredManifest& at : *manifests) trim_manifest(at, alive, need, batch, changed);
    if (!changed) return {};
    LONGHAUL_FAULT_POINT("gc.before_batch");
    auto written = store_.write(batch, false);
    if (!written) return written.error();
    LONGHAUL_FAULT_POINT("gc.after_batch");
    return {};
  }
  // Of which nothing is left.
  const std::vector<std::uint64_t>& dead_generations() const { return dead_generations_; }

 private:
  Result<void> trim_journal(std::uint64_t branch, std::uint64_t end, Batch& batch, bool& changed) {
    if (end == kNoLimit) return {};
    const std::string from = journal_key(branch, end + 1), to = journal_key(branch + 1, 0);
    auto scanned = store_.scan(Family::kJournal, from, to, nullptr, [&](std::string_view key, std::string_view) {
      batch.erase(Family::kJournal, key);
      ++report_.records;
      changed = true;
      return true;
    });
    if (!scanned) return scanned.error();
    return {};
  }

  void trim_manifest(const StoredManifest& at, bool alive, const Need& need, Batch& batch, bool& changed) {
    StoredManifest next = at;
    Manifest& m = next.manifest;
    const std::uint64_t pages_end = !alive                          ? 0
                                    : need.position_end == kNoLimit ? kNoLimit
                                                                    : need.position_end / model::kPageTokens;
    if (m.has_state && (!alive || m.state_position > need.position_end)) {
      erase_state(batch, m);
      m.has_state = false;
      ++report_.states;
    }
    // A value that a cut goes through stays whole: the pages before the cut are needed.
    std::uint64_t kept = 0;
    if (m.n_pages > 0 && m.first_page < pages_end) {
      const std::uint64_t needed = std::min(m.n_pages, pages_end - m.first_page);
      kept = std::min(m.n_pages, (needed + m.object_pages - 1) / m.object_pages * m.object_pages);
    }
    if (kept < m.n_pages) {
      for (std::uint32_t layer = 0; layer < m.page_layers; ++layer) {
        for (std::uint64_t page = kept; page < m.n_pages; page += m.object_pages) {
          batch.erase(Family::kPages, page_key(m.generation, layer, m.first_page + page));
        }
      }
      report_.pages += (m.n_pages - kept) * m.page_layers;
      m.n_pages = kept;
      if (kept == 0) {
        batch.erase(Family::kSummaries, summaries_key(m.generation));
        m.object_pages = 0;
      }
    }
    if (m.generation != 0 && !m.has_state && m.n_pages == 0) {
      batch.erase(Family::kSnapshots, generation_key(m.generation));
      dead_generations_.push_back(m.generation);
      m.generation = 0;
    }
    if (m.generation == 0 && (!alive || at.sequence > need.journal_end)) {
      batch.erase(Family::kSnapshots, manifest_key(at.branch, at.sequence));
      ++report_.manifests;
      changed = true;
    } else if (!(m == at.manifest)) {
      put_manifest(batch, next);
      changed = true;
    }
  }

  Store& store_;
  GcReport& report_;
  std::vector<std::uint64_t> dead_generations_;
};

}  // namespace

Result<GcReport> SessionManager::gc(const StepProgress& progress) {
  const std::unique_lock structure(store_->structure_mutex());
  GcReport report;
  auto before = store_->disk_bytes();
  if (!before) return before.error();
  report.bytes_before = *before;

  auto sessions = list();
  if (!sessions) return sessions.error();
  std::map<std::uint64_t, Need> needs;
  for (const SessionSummary& session : *sessions) {
    auto lineage = read_lineage(*store_, session.entry.head, nullptr);
    if (!lineage) return with_context("nothing was collected: session " + session.name, lineage.error());
    for (const Link& link : *lineage) {
      Need& need = needs[link.branch];
      need.journal_end = std::max(need.journal_end, link.journal_end);
      need.position_end = std::max(need.position_end, link.position_end);
    }
  }
  std::vector<std::uint64_t> branches;
  auto scanned = store_->scan(Family::kCatalog, std::string(1, kBranchPrefix), std::string(1, kBranchPrefix + 1),
                              nullptr, [&](std::string_view key, std::string_view) {
                                branches.push_back(read_big_endian(key.substr(1)));
                                return true;
                              });
  if (!scanned) return scanned.error();

  // The last record acknowledged may be among what goes.
  auto forgotten = store_->forget_tip();
  if (!forgotten) return forgotten.error();
  Collector collector(*store_, report);
  std::uint64_t n_done = 0;
  for (const std::uint64_t branch : branches) {
    if (progress) progress(n_done++, branches.size());
    const auto need = needs.find(branch);
    auto collected = collector.collect(branch, need != needs.end(), need == needs.end() ? Need{} : need->second);
    if (!collected) return with_context(fmt::format("store {}: branch {}", path(), branch), collected.error());
  }
  auto synced = store_->sync();
  if (!synced) return synced.error();
  LONGHAUL_FAULT_POINT("gc.before_compaction");
  auto given = store_->give_back_space(collector.dead_generations());
  if (!given) return given.error();
  auto after = store_->disk_bytes();
  if (!after) return after.error();
  report.bytes_after = *after;
  return report;
}

}  // namespace longhaul::sessions
