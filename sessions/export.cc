// Writing one session as one file: its lineage as a chain of branches, what is visible of each, and what of states and
// pages the session can use. Nothing is taken over unread: every value's checksum, every record's link and every
// state's digest is checked on the way.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "sessions/export_content.h"
#include "sessions/fault_point.h"
#include "sessions/session_manager.h"

namespace longhaul::sessions {
namespace {

struct Source {
  std::uint64_t branch = 0;  // in the store
  PageRun run;               // n 0: no pages
  StoredManifest stored;
};

class Exporter {
 public:
  Exporter(const Store& store, const View& view, std::string name)
      : store_(store), view_(view), name_(std::move(name)) {}

  Result<ExportReport> run(const std::string& path, std::optional<std::uint64_t> since, const ByteProgress& progress) {
    auto planned = plan(since);
    if (!planned) return planned.error();
    auto writer = ExportWriter::create(path, header_);
    if (!writer) return writer.error();
    auto written = write(**writer, progress);
    if (!written) return written.error();
    LONGHAUL_FAULT_POINT("export.before_rename");
    auto bytes = (*writer)->finish();
    if (!bytes) return bytes.error();
    report_.bytes = *bytes;
    report_.end_sequence = header_.end_sequence;
    report_.n_records = header_.end_sequence - header_.base_sequence;
    return report_;
  }

 private:
  Result<void> plan(std::optional<std::uint64_t> since) {
    auto entry = find_session(store_, name_, &view_);
    if (!entry) return entry.error();
    auto lineage = read_lineage(store_, entry->head, &view_);
    if (!lineage) return lineage.error();
    lineage_ = std::move(*lineage);
    auto fold = fold_lineage(store_, lineage_, &view_);
    if (!fold) return fold.error();
    const Context& context = fold->context;
    header_.name = name_;
    header_.identity = entry->identity;
    header_.layout = entry->layout;
    header_.created_ms = entry->created_ms;
    header_.origin = entry->origin;
    header_.end_sequence = context.sequence();
    header_.end_chain = fold->chain;
    report_.n_turns = context.turns().size();
    report_.n_tokens = context.tokens().size();
    std::uint64_t base_position = 0;
    if (since) {
      if (*since == 0 || *since > context.turns().size()) {
        return invalid_argument(
            fmt::format("turn {} was asked for as the base; turns 1 to {} are there", *since, context.turns().size()));
      }
      header_.base_turn = *since;
      header_.base_sequence = context.turns()[*since - 1].sequence;
      if (header_.base_sequence == header_.end_sequence) {
        return invalid_argument(fmt::format("nothing has come after turn {}", *since));
      }
      auto base = fold_lineage(store_, lineage_, &view_, header_.base_sequence);
      if (!base) return base.error();
      header_.base_chain = base->chain;
      base_position = base->context.tokens().size();
      auto counted = count_base_pages();
      if (!counted) return counted.error();
    }
    return plan_branches(base_position);
  }

  Result<void> plan_branches(std::uint64_t base_position) {
    auto held = read_holdings(store_, lineage_, &view_);
    if (!held) return held.error();
    for (const Link& link : lineage_) {
      const std::uint64_t end = std::min(link.journal_end, header_.end_sequence);
      BranchEntry entry = link.entry;
      const bool from_base = entry.journal_cut < header_.base_sequence;
      if (from_base) {
        entry = {0, header_.base_sequence, base_position, header_.base_chain, BranchReason::kFork, entry.created_ms};
      }
      entry.parent = 0;
      const bool in_base = from_base && end <= header_.base_sequence;
      auto planned = in_base ? plan_later_pages(link, entry) : plan_manifests(link, entry, *held);
      if (!planned) return planned.error();
    }
    header_.n_branches = branches_.size();
    header_.n_manifests = manifests_.size();
    return {};
  }

  Result<void> plan_manifests(const Link& link, const BranchEntry& entry, const Holdings& held) {
    branches_.push_back(entry);
    const model::StateLayout& layout = header_.layout;
    auto stored = read_manifests(store_, link.branch, &view_);
    if (!stored) return stored.error();
    for (const StoredManifest& at : *stored) {
      if (at.sequence <= entry.journal_cut) continue;
      const auto here = [&](const auto& other) { return other.branch == at.branch && other.sequence == at.sequence; };
      Source source{link.branch, {}, at};
      Manifest m = at.manifest;
      m.has_state = std::any_of(held.states.begin(), held.states.end(), here) &&
                    m.fixed_bytes == layout.fixed_bytes() && m.open_bytes == open_pages_bytes(layout, m.state_position);
      m.pinned = m.pinned && m.has_state;
      // Its own pages, also where a later branch has stored the same ones again: a session that is rewound to before
      // that branch has only these for its states.
      plan_pages(link, source, m);
      m.generation = m.has_state || m.n_pages > 0 ? ++n_generations_ : 0;
      // Of an ancestor, what was written after the branch left it is only of interest for its states and pages.
      if (at.sequence > link.journal_end && m.generation == 0) continue;
      add(at.sequence, m, source);
    }
    return {};
  }

  // Whoever has the base's records has the pages that its commits stored, and those before them.
  Result<void> count_base_pages() {
    for (const Link& link : lineage_) {
      auto stored = read_manifests(store_, link.branch, &view_);
      if (!stored) return stored.error();
      for (const StoredManifest& at : *stored) {
        if (at.sequence > std::min(link.journal_end, header_.base_sequence) || usable_pages(link, at) == 0) continue;
        n_base_pages_ = at.manifest.first_page + usable_pages(link, at);
      }
    }
    return {};
  }
  // Others of the base's tokens may have been stored later, by what its branches went on with elsewhere. They come in a
  // branch of no records; where there are none, all of this one is in the base.
  Result<void> plan_later_pages(const Link& link, const BranchEntry& entry) {
    auto stored = read_manifests(store_, link.branch, &view_);
    if (!stored) return stored.error();
    std::uint64_t sequence = header_.base_sequence;  // only to tell them apart: no record is meant
    for (const StoredManifest& at : *stored) {
      const std::uint64_t n = usable_pages(link, at);
      if (at.sequence <= link.journal_end || n == 0 || at.manifest.first_page + n <= n_base_pages_) continue;
      if (sequence == header_.base_sequence) branches_.push_back(entry);
      Source source{link.branch, {}, at};
      Manifest m = at.manifest;
      m.has_state = m.pinned = false;
      plan_pages(link, source, m);
      m.generation = ++n_generations_;
      add(++sequence, m, source);
    }
    return {};
  }
  static std::uint64_t pages_end(const Link& link) {
    return link.position_end == kNoLimit ? kNoLimit : link.position_end / model::kPageTokens;
  }

  // How many of its pages the lineage uses.
  static std::uint64_t usable_pages(const Link& link, const StoredManifest& at) {
    const Manifest& has = at.manifest;
    return has.first_page >= pages_end(link) ? 0 : std::min(has.n_pages, pages_end(link) - has.first_page);
  }
  // Those of its pages that the lineage uses.
  void plan_pages(const Link& link, Source& source, Manifest& m) const {
    const Manifest& has = source.stored.manifest;
    m.first_page = m.n_pages = m.page_layers = m.object_pages = 0;
    const std::uint64_t n = usable_pages(link, source.stored);
    if (n == 0) return;
    m.first_page = has.first_page;
    m.n_pages = n;
    source.run = {m.first_page,           m.n_pages,   has.generation,  source.stored.branch,
                  source.stored.sequence, has.n_pages, has.object_pages};
    m.page_layers = header_.layout.n_attention_layers;
    m.object_pages = 1;  // how pages are cut into values is each store's own business
  }

  void add(std::uint64_t sequence, const Manifest& m, const Source& source) {
    if (m.has_state) {
      header_.bulk_bytes += m.fixed_bytes + m.open_bytes;
      ++report_.n_states;
    }
    report_.n_pages += m.n_pages * m.page_layers;
    header_.bulk_bytes += m.n_pages * m.page_layers * header_.layout.page_bytes();
    manifests_.push_back({branches_.size() - 1, sequence, m});
    sources_.push_back(source);
  }

  Result<void> write(ExportWriter& writer, const ByteProgress& progress) {
    for (const BranchEntry& entry : branches_) {
      auto added = writer.add(SectionType::kBranches, encode_export_branch(entry));
      if (!added) return added.error();
    }
    Digest chain;
    auto walked = walk_journal(store_, lineage_, &view_, kNoLimit, chain,
                               [&](const Link&, const JournalEntry& entry) -> Result<void> {
                                 if (entry.sequence <= header_.base_sequence) return {};
                                 return writer.add(SectionType::kRecords, encode_export_record(entry));
                               });
    if (!walked) return walked.error();
    for (const ExportManifest& at : manifests_) {
      auto added = writer.add(SectionType::kManifests, encode_export_manifest(at));
      if (!added) return added.error();
    }
    std::uint64_t done = 0;
    StateParts parts;
    for (std::size_t i = 0; i < manifests_.size(); ++i) {
      const Manifest& m = manifests_[i].manifest;
      if (m.has_state) {
        auto read = read_state_parts(store_, sources_[i].stored, &view_, parts);
        if (!read) return read.error();
        for (const std::string* part : {&parts.fixed, &parts.open_pages}) {
          auto added = writer.add(SectionType::kStates, *part);
          if (!added) return added.error();
        }
        done += m.fixed_bytes + m.open_bytes;
      }
      for (std::uint32_t layer = 0; m.n_pages > 0 && layer < m.page_layers; ++layer) {
        auto read = for_each_page(store_, header_.layout, sources_[i].run, layer, &view_,
                                  [&](std::uint64_t, const Result<std::string_view>& page) -> Result<void> {
                                    if (!page) return page.error();
                                    done += page->size();
                                    return writer.add(SectionType::kPages, *page);
                                  });
        if (!read) return read.error();
        if (progress) progress(done, header_.bulk_bytes);
      }
    }
    return {};
  }

  const Store& store_;
  const View& view_;
  std::string name_;
  ExportHeader header_;
  std::vector<Link> lineage_;
  std::vector<BranchEntry> branches_;
  std::vector<ExportManifest> manifests_;
  std::vector<Source> sources_;
  std::uint64_t n_generations_ = 0, n_base_pages_ = 0;
  ExportReport report_;
};

}  // namespace

Result<ExportReport> SessionManager::export_session(const std::string& name, const std::string& path,
                                                    std::optional<std::uint64_t> since,
                                                    const ByteProgress& progress) const {
  const View view(*store_);
  auto report = Exporter(*store_, view, name).run(path, since, progress);
  if (!report) return with_context("exporting session " + name, report.error());
  return report;
}

}  // namespace longhaul::sessions
