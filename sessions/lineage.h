// A session's chain of branches back to its start, read from the store: journal, stored states, pages. Internal.
//
// A branch's own records follow its edge: sequence numbers go on where the parent's journal was cut. What is visible of
// an ancestor ends at the edge that left it; its states and pages are usable up to the smallest position cut of all
// later edges, since beyond that the context is another one.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "sessions/context.h"
#include "sessions/entries.h"
#include "sessions/store.h"

namespace longhaul::sessions {

inline constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();

struct Link {
  std::uint64_t branch = 0;
  BranchEntry entry;
  std::uint64_t journal_end = kNoLimit;   // own records visible: (entry.journal_cut, journal_end]
  std::uint64_t position_end = kNoLimit;  // own states and pages usable up to here
};

// From the root to `head`. kCorruption names the branch that is missing or does not fit.
Result<std::vector<Link>> read_lineage(const Store& store, std::uint64_t head, const View* view);

// The journal in order, chain and numbering checked; `visit` may return an error to stop. `chain` ends as the chain
// after the last record. `journal_end` limits the walk (kNoLimit: all).
Result<void> walk_journal(const Store& store, const std::vector<Link>& lineage, const View* view,
                          std::uint64_t journal_end, Digest& chain,
                          const std::function<Result<void>(const Link&, const JournalEntry&)>& visit,
                          const std::function<void(const Link&)>& enter = nullptr);

struct Fold {
  Context context;
  Digest chain;
};
Result<Fold> fold_lineage(const Store& store, const std::vector<Link>& lineage, const View* view,
                          std::uint64_t journal_end = kNoLimit);

// A manifest where it stands.
struct StoredManifest {
  std::uint64_t branch = 0, sequence = 0;
  Manifest manifest;
};
Result<std::vector<StoredManifest>> read_manifests(const Store& store, std::uint64_t branch, const View* view);

// What of a lineage's commits can be used, oldest first.
struct PageRun {
  std::uint64_t first = 0, n = 0;  // clipped to what is usable
  std::uint64_t generation = 0;
  std::uint64_t branch = 0, sequence = 0;
  std::uint64_t n_stored = 0;      // from `first` on, as they were written: a cut may lie in the middle of a value
  std::uint32_t object_pages = 1;  // pages a value
};
// The value that a page is in: its first page, which is in its key, and how many it has.
struct PageObjectPlace {
  std::uint64_t first = 0;
  std::uint32_t n = 0;
};
PageObjectPlace object_place(const PageRun& run, std::uint64_t index);
// "page 3 of attention layer 1 (tokens 384 to 511, branch 2, generation 9)"
std::string page_place(const PageRun& run, std::uint32_t layer, std::uint64_t index);
struct Holdings {
  std::vector<StoredManifest> states;
  std::vector<PageRun> runs;      // contiguous from page 0
  std::uint64_t n_pages = 0;      // pages 0..n-1 of every attention layer are stored
  std::uint64_t states_ever = 0;  // the next state's number
};
Result<Holdings> read_holdings(const Store& store, const std::vector<Link>& lineage, const View* view);
// The same from manifests that come from anywhere.
Result<Holdings> holdings_of(const std::vector<Link>& lineage,
                             const std::function<Result<std::vector<StoredManifest>>(std::uint64_t branch)>& manifests);

// What a manifest must say if this record, which `context` and `chain` have taken in, is a commit; else nothing.
// has_state: the journal knows of a state, with this digest; whether it is stored still is the manifest's business.
std::optional<Manifest> manifest_of(const JournalEntry& entry, const Context& context, const Digest& chain);
// kCorruption naming both if it does not fit.
Result<void> check_manifest(const Manifest& manifest, const Manifest& expected);

// Digest of a stored state: position, and the digests of fixed part and open pages.
Digest state_digest(std::uint64_t position, const Digest& fixed, const Digest& open_pages);

// Seals a part of a state, whose bytes lie in several places, as one value or in pieces, and calls put(key, value) for
// each in the order of keys; `value` is good until put returns. Gives the digest of the part. Nothing for no bytes.
using PutValue = std::function<Result<void>(std::string_view key, std::string_view value)>;
Result<Digest> seal_state_part(std::uint64_t generation, StatePart part, std::span<const std::string_view> bytes,
                               const PutValue& put);
void erase_state(Batch& batch, const Manifest& manifest);

// Of a state at this position.
std::uint64_t open_pages_bytes(const model::StateLayout& layout, std::uint64_t position);

struct StateParts {
  std::string fixed, open_pages;
};
// Sizes and digest checked against the manifest. Into `out`, whose memory is used again.
Result<void> read_state_parts(const Store& store, const StoredManifest& at, const View* view, StateParts& out);
// Calls visit(index, page) for the run's pages of a layer, in order; `page` is its checked bytes or what is wrong with
// it (naming it), good until visit returns. Holds as much at a time as is stored as one value. An error of `visit` ends
// it.
using PageVisit = std::function<Result<void>(std::uint64_t index, const Result<std::string_view>& page)>;
Result<void> for_each_page(const Store& store, const model::StateLayout& layout, const PageRun& run,
                           std::uint32_t layer, const View* view, const PageVisit& visit);
// The summaries of a run, [layer][page], checked; the run's own number of pages a layer.
Result<std::vector<std::string>> read_summaries(const Store& store, const model::StateLayout& layout,
                                                const PageRun& run, const View* view);

Result<std::optional<SessionEntry>> read_session(const Store& store, std::string_view name, const View* view);
// kNotFound names it.
Result<SessionEntry> find_session(const Store& store, std::string_view name, const View* view);
void put_session(Batch& batch, std::string_view name, const SessionEntry& entry);
void put_branch(Batch& batch, std::uint64_t branch, const BranchEntry& entry);
void put_manifest(Batch& batch, const StoredManifest& manifest);
void put_generation(Batch& batch, const StoredManifest& manifest);  // which manifest names the generation

}  // namespace longhaul::sessions
