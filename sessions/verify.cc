// Reading everything and believing nothing: checksums, hash chains, the contract's digests, that what a manifest lists
// is there and what is there is listed. Goes on behind a problem wherever what follows can still be checked.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "model/page_summary.h"
#include "sessions/bytes.h"
#include "sessions/lineage.h"
#include "sessions/page_run.h"
#include "sessions/session_manager.h"

namespace longhaul::sessions {
namespace {

std::string manifest_place(const StoredManifest& at) {
  return fmt::format("manifest {} of branch {}", at.sequence, at.branch);
}

class Verifier {
 public:
  Verifier(const Store& store, const View& view, std::uint64_t generations_end, VerifyReport& report,
           const ByteProgress& progress)
      : store_(store), view_(view), generations_end_(generations_end), report_(report), progress_(progress) {}

  void verify_session(const std::string& name) {
    session_ = name;
    ++report_.sessions;
    auto entry = find_session(store_, name, &view_);
    if (!entry) return problem("catalog entry", entry.error().message);
    auto lineage = read_lineage(store_, entry->head, &view_);
    if (!lineage) return problem("lineage", lineage.error().message);
    for (const Link& link : *lineage) {
      if (branches_.insert(link.branch).second) ++report_.branches;
    }
    const std::uint64_t end = verify_journal(*lineage, *entry);
    if (end < entry->sequence) {
      problem("journal",
              fmt::format("it can be followed to record {}, record {} was acknowledged", end, entry->sequence));
    }
    verify_holdings(*lineage, entry->layout);
  }

  // Values that no session reaches: only that they are what they say, and that their keys are ours.
  void verify_rest() {
    session_.clear();
    scan_family(Family::kMeta, [](std::string_view key) { return key == numbers_key(); });
    scan_family(Family::kCatalog, [](std::string_view key) {
      return (key.size() == 9 && key[0] == kBranchPrefix) || (key.size() > 1 && key[0] == kSessionPrefix);
    });
    scan_family(Family::kSnapshots, [](std::string_view key) {
      return (key.size() == 17 && key[0] == kManifestPrefix) || (key.size() == 9 && key[0] == kGenerationPrefix);
    });
    scan_family(Family::kStates, [this](std::string_view key) {
      return (key.size() == 9 || key.size() == 13) && has_manifest(read_big_endian(key));
    });
    scan_family(Family::kPages,
                [this](std::string_view key) { return key.size() == 20 && has_manifest(read_big_endian(key)); });
    scan_family(Family::kSummaries,
                [this](std::string_view key) { return key.size() == 8 && has_manifest(read_big_endian(key)); });
    scan_family(Family::kJournal, [](std::string_view key) { return key.size() == 16; });
    auto files = store_.check_files();
    if (!files) problem("database files", files.error().message);
  }

 private:
  void problem(std::string place, std::string message) {
    // A value under two sessions is one problem.
    if (!known_.insert(place + "\n" + message).second) return;
    report_.problems.push_back({session_, std::move(place), std::move(message)});
  }

  bool has_manifest(std::uint64_t generation) {
    if (generation >= generations_end_ || store_.is_orphan(generation)) return true;  // of a commit after the moment
    auto value = store_.get(Family::kSnapshots, generation_key(generation), &view_);
    return value && value->has_value();
  }

  // Gives the last sequence number that could be followed.
  std::uint64_t verify_journal(const std::vector<Link>& lineage, const SessionEntry& entry) {
    Context context;
    Digest chain;
    bool followed = true;  // chain and context are those of every record so far
    std::uint64_t good_end = 0;
    for (const Link& link : lineage) {
      if (followed && (link.entry.journal_cut != context.sequence() || link.entry.chain_at_cut != chain)) {
        problem(fmt::format("branch {}", link.branch),
                fmt::format("begins after record {} with chain {}; its parent's journal has {} records and chain {}",
                            link.entry.journal_cut, link.entry.chain_at_cut.hex(), context.sequence(), chain.hex()));
        followed = false;
      }
      if (followed && link.entry.parent != 0 && link.entry.reason != BranchReason::kReplay) {
        context.cut(link.entry.position_cut);
      }
      std::uint64_t sequence = link.entry.journal_cut;
      auto scanned = store_.scan(Family::kJournal, journal_key(link.branch, 0), journal_key(link.branch + 1, 0), &view_,
                                 [&](std::string_view key, std::string_view value) {
                                   const std::uint64_t here = read_big_endian(key.substr(8));
                                   if (here > link.journal_end) return false;
                                   ++report_.records;
                                   report_.bytes += key.size() + value.size();
                                   has_read(value.size());
                                   const std::string place =
                                       fmt::format("journal record {} of branch {}", here, link.branch);
                                   if (here != sequence + 1) {
                                     problem(place, fmt::format("follows record {}: records are missing", sequence));
                                     followed = false;
                                   }
                                   sequence = here;
                                   auto record = unseal_record(key, value);
                                   if (!record) {
                                     problem(place, record.error().message);
                                     followed = false;
                                     return true;
                                   }
                                   if (!followed) return true;
                                   auto linked = unseal_record(key, value, chain);
                                   auto applied = linked ? context.apply(*linked) : Result<void>(linked.error());
                                   if (!applied) {
                                     problem(place, applied.error().message);
                                     followed = false;
                                     return true;
                                   }
                                   good_end = here;
                                   if (auto expected = manifest_of(*linked, context, chain)) {
                                     expected_[{link.branch, here}] = *expected;
                                   }
                                   return true;
                                 });
      if (!scanned) {
        problem(fmt::format("journal of branch {}", link.branch), scanned.error().message);
        followed = false;
      }
      if (link.journal_end != kNoLimit && sequence != link.journal_end) {
        problem(fmt::format("journal of branch {}", link.branch),
                fmt::format("ends at record {}, {} are needed", sequence, link.journal_end));
        followed = false;
      }
    }
    if (followed && context.identity() != entry.identity) {
      problem("catalog entry", "names another model than the journal");
    }
    return followed ? context.sequence() : good_end;
  }

  void verify_manifest(const StoredManifest& at) {
    const auto found = expected_.find({at.branch, at.sequence});
    if (found == expected_.end()) return;
    auto fits = check_manifest(at.manifest, found->second);
    if (!fits) problem(manifest_place(at), fits.error().message);
    seen_.insert({at.branch, at.sequence});
  }

  void verify_holdings(const std::vector<Link>& lineage, const model::StateLayout& layout) {
    for (const Link& link : lineage) {
      auto manifests = read_manifests(store_, link.branch, &view_);
      if (!manifests) return problem(fmt::format("manifests of branch {}", link.branch), manifests.error().message);
      for (const StoredManifest& at : *manifests) {
        if (manifests_.insert({at.branch, at.sequence}).second) ++report_.manifests;
        if (at.sequence <= link.journal_end) verify_manifest(at);
        if (at.manifest.generation != 0) verify_generation(at);
      }
      for (const auto& [place, expected] : expected_) {
        if (place.first == link.branch && place.second <= link.journal_end && !seen_.contains(place)) {
          problem(fmt::format("manifest {} of branch {}", place.second, place.first), "is missing");
        }
      }
    }
    auto held = read_holdings(store_, lineage, &view_);
    if (!held) return problem("manifests", held.error().message);
    StateParts parts;
    for (const StoredManifest& at : held->states) {
      if (!states_.insert(at.manifest.generation).second) continue;
      ++report_.states;
      auto read = read_state_parts(store_, at, &view_, parts);
      if (!read) {
        problem(fmt::format("state of {}", manifest_place(at)), read.error().message);
        continue;
      }
      report_.bytes += parts.fixed.size() + parts.open_pages.size();
      has_read(parts.fixed.size() + parts.open_pages.size());
      if (layout.n_attention_layers > 0 && at.manifest.state_position / model::kPageTokens > held->n_pages) {
        problem(fmt::format("state of {}", manifest_place(at)),
                fmt::format("needs {} pages, {} are stored", at.manifest.state_position / model::kPageTokens,
                            held->n_pages));
      }
    }
    for (const PageRun& run : held->runs) verify_pages(run, layout);
  }

  void verify_pages(const PageRun& run, const model::StateLayout& layout) {
    const std::string manifest = manifest_place({run.branch, run.sequence, {}});
    bool any_new = false;
    for (std::uint64_t index = run.first; index < run.first + run.n; ++index) {
      any_new = any_new || !pages_.contains({run.generation, 0, index});
    }
    if (!any_new) return;  // another session's too, and looked at
    auto summaries = read_summaries(store_, layout, run, &view_);
    if (!summaries) problem("page summaries of " + manifest, summaries.error().message);
    const std::size_t each = model::summary_bytes(layout);
    std::string computed(each, '\0');
    for (std::uint32_t layer = 0; layer < layout.n_attention_layers; ++layer) {
      const auto look = [&](std::uint64_t index, const Result<std::string_view>& page) -> Result<void> {
        if (!pages_.insert({run.generation, layer, index}).second) return {};
        ++report_.pages;
        const std::string place = fmt::format("page {} of attention layer {}, {}", index, layer, manifest);
        if (!page) {
          problem(place, page.error().message);
          return {};
        }
        report_.bytes += page->size();
        has_read(page->size());
        if (!summaries) return {};
        model::summarise_page(layout, reinterpret_cast<const std::byte*>(page->data()),
                              reinterpret_cast<std::byte*>(computed.data()));
        if (std::string_view((*summaries)[layer]).substr((index - run.first) * each, each) != computed) {
          problem(place, "its summary is not that of its keys");
        }
        return {};
      };
      auto looked = for_each_page(store_, layout, run, layer, &view_, look);
      if (!looked) problem(manifest, looked.error().message);
    }
  }

  void verify_generation(const StoredManifest& at) {
    const std::string key = generation_key(at.manifest.generation);
    const std::string place = fmt::format("generation {} of {}", at.manifest.generation, manifest_place(at));
    auto value = store_.get(Family::kSnapshots, key, &view_);
    if (!value) return problem(place, value.error().message);
    if (!*value) return problem(place, "has no entry of its own: the next opening would delete it");
    auto payload = unseal(Family::kSnapshots, key, **value, ValueKind::kGeneration);
    auto entry = payload ? decode_generation(*payload) : Result<GenerationEntry>(payload.error());
    if (!entry) return problem(place, entry.error().message);
    if (entry->branch != at.branch || entry->sequence != at.sequence) {
      problem(place, fmt::format("says it belongs to manifest {} of branch {}", entry->sequence, entry->branch));
    }
  }

  // Pages that no session reaches are checked all the same; the others' problems have a better name already.
  void check_page_run(const std::string& place, std::string_view key, std::string_view value,
                      std::string_view payload) {
    const std::uint32_t n = ByteReader(payload.substr(0, 4)).u32();
    const std::size_t table = 4 + std::size_t{8} * n;
    auto run = n == 0 || payload.size() < table || (payload.size() - table) % n != 0
                   ? Result<PageRunValue>(corruption(fmt::format("{} pages in {} bytes", n, payload.size())))
                   : PageRunValue::open(key, value, (payload.size() - table) / n);
    if (!run) return problem(place, run.error().message);
    const std::uint64_t generation = read_big_endian(key), first = read_big_endian(key.substr(12));
    const auto layer = static_cast<std::uint32_t>(read_big_endian(key.substr(4)));
    for (std::uint32_t i = 0; i < n; ++i) {
      auto checked = run->check(i);
      if (!checked && !pages_.contains({generation, layer, first + i})) {
        problem(fmt::format("{}, page {}", place, first + i), checked.error().message);
      }
    }
  }

  void has_read(std::size_t bytes) {
    bytes_read_ += bytes;
    if (progress_) progress_(bytes_read_, 0);
  }

  template <class KeyCheck>
  void scan_family(Family family, KeyCheck key_ok) {
    auto scanned = store_.scan(family, {}, {}, &view_, [&](std::string_view key, std::string_view value) {
      const std::string place = fmt::format("{} key {}", family_name(family), printable(key, 200));
      has_read(value.size());
      if (!key_ok(key)) problem(place, "is not a key of this format, or belongs to nothing");
      if (family == Family::kCatalog && key[0] == kBranchPrefix &&
          !branches_.contains(read_big_endian(key.substr(1)))) {
        ++report_.unreachable_branches;
      }
      auto envelope = unseal(family, key, value);
      if (envelope && envelope->kind == static_cast<std::uint8_t>(ValueKind::kPageRun)) {
        check_page_run(place, key, value, envelope->payload);
      }
      // What sessions reach has been reported by its better name.
      if (!envelope && !(family == Family::kJournal && branches_.contains(read_big_endian(key)))) {
        problem(place, envelope.error().message);
      }
      return true;
    });
    if (!scanned) problem(std::string(family_name(family)), scanned.error().message);
  }

  using Place = std::pair<std::uint64_t, std::uint64_t>;
  const Store& store_;
  const View& view_;
  std::uint64_t generations_end_;
  VerifyReport& report_;
  const ByteProgress& progress_;
  std::uint64_t bytes_read_ = 0;  // of everything once more, too
  std::string session_;
  std::set<std::string> known_;
  std::set<std::uint64_t> branches_, states_;
  std::set<Place> manifests_, seen_;
  std::set<std::tuple<std::uint64_t, std::uint32_t, std::uint64_t>> pages_;
  std::map<Place, Manifest> expected_;
};

}  // namespace

Result<VerifyReport> SessionManager::verify(const std::optional<std::string>& name,
                                            const ByteProgress& progress) const {
  // No commit is under way at the moment that is looked at. Tables ingested later are visible all the same, before
  // their manifest is; they are told by their generation.
  std::optional<View> moment;
  std::uint64_t generations_end = 0;
  {
    const std::unique_lock structure(store_->structure_mutex());
    moment.emplace(*store_);
    generations_end = store_->next_number();
  }
  const View& view = *moment;
  VerifyReport report;
  report.notes = store_->notes();
  Verifier verifier(*store_, view, generations_end, report, progress);
  if (name) {
    // A name that is not there is the caller's mistake, not a damaged store.
    auto valid = check_session_name(*name);
    if (!valid) return valid.error();
    auto there = store_->get(Family::kCatalog, session_key(*name), &view);
    if (there && !*there) return not_found(fmt::format("there is no session '{}' in store {}", *name, path()));
    verifier.verify_session(*name);
    return report;
  }
  std::vector<std::string> names;
  auto scanned = store_->scan(Family::kCatalog, std::string(1, kSessionPrefix), std::string(1, kSessionPrefix + 1),
                              &view, [&](std::string_view key, std::string_view) {
                                names.emplace_back(key.substr(1));
                                return true;
                              });
  if (!scanned) report.problems.push_back({"", "catalog", scanned.error().message});
  for (const std::string& each : names) verifier.verify_session(each);
  verifier.verify_rest();
  return report;
}

}  // namespace longhaul::sessions
