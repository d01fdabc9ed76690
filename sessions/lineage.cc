#include "sessions/lineage.h"

#include <fmt/format.h>

#include <algorithm>

#include "model/page_summary.h"
#include "sessions/bytes.h"
#include "sessions/page_run.h"

namespace longhaul::sessions {
namespace {

std::string branch_place(std::uint64_t branch) {
  return fmt::format("branch {}", branch);
}
std::string record_place(std::uint64_t branch, std::uint64_t sequence) {
  return fmt::format("journal record {} of branch {}", sequence, branch);
}

std::string state_place(const StoredManifest& at) {
  return fmt::format("state at position {} (manifest {} of branch {}, generation {})", at.manifest.state_position,
                     at.sequence, at.branch, at.manifest.generation);
}

}  // namespace

Result<std::vector<Link>> read_lineage(const Store& store, std::uint64_t head, const View* view) {
  std::vector<Link> lineage;
  std::uint64_t branch = head, journal_end = kNoLimit, position_end = kNoLimit;
  while (branch != 0) {
    const std::string key = branch_key(branch);
    auto value = store.get(Family::kCatalog, key, view);
    if (!value) return with_context(branch_place(branch), value.error());
    if (!*value) return corruption(fmt::format("branch {} is missing (an ancestor of branch {})", branch, head));
    auto payload = unseal(Family::kCatalog, key, **value, ValueKind::kBranch);
    if (!payload) return with_context(branch_place(branch), payload.error());
    auto entry = decode_branch(*payload);
    if (!entry) return with_context(branch_place(branch), entry.error());
    if (entry->journal_cut > journal_end) {
      return corruption(fmt::format("branch {} begins after record {}, its child was cut from it at {}", branch,
                                    entry->journal_cut, journal_end));
    }
    // Numbers are given out in order, so an ancestor has a smaller one: also what ends this loop.
    if (entry->parent >= branch) {
      return corruption(fmt::format("branch {} names branch {} as its parent", branch, entry->parent));
    }
    lineage.push_back({branch, *entry, journal_end, position_end});
    journal_end = entry->journal_cut;
    position_end = std::min(position_end, entry->position_cut);
    branch = entry->parent;
  }
  if (lineage.empty()) return corruption("a session without a branch");
  std::reverse(lineage.begin(), lineage.end());
  return lineage;
}

Result<void> walk_journal(const Store& store, const std::vector<Link>& lineage, const View* view,
                          std::uint64_t journal_end, Digest& chain,
                          const std::function<Result<void>(const Link&, const JournalEntry&)>& visit,
                          const std::function<void(const Link&)>& enter) {
  chain = Digest{};
  std::uint64_t sequence = 0;
  for (const Link& link : lineage) {
    if (link.entry.parent != 0 && link.entry.journal_cut >= journal_end) break;
    if (link.entry.journal_cut != sequence) {
      return corruption(fmt::format("branch {} begins after record {}, but only {} are there", link.branch,
                                    link.entry.journal_cut, sequence));
    }
    if (link.entry.chain_at_cut != chain) {
      return corruption(fmt::format("branch {}: chain {} at its beginning, its parent's journal gives {}", link.branch,
                                    link.entry.chain_at_cut.hex(), chain.hex()));
    }
    if (enter) enter(link);
    const std::uint64_t end = std::min(link.journal_end, journal_end);
    Result<void> outcome;
    auto scanned = store.scan(Family::kJournal, journal_key(link.branch, 0), journal_key(link.branch + 1, 0), view,
                              [&](std::string_view key, std::string_view value) {
                                const std::uint64_t here =
                                    read_big_endian(key.substr(std::min<std::size_t>(8, key.size())));
                                if (here > end) return false;
                                if (here != sequence + 1) {
                                  outcome = corruption(fmt::format("{} follows record {}: records are missing",
                                                                   record_place(link.branch, here), sequence));
                                  return false;
                                }
                                auto entry = unseal_record(key, value, chain);
                                if (!entry) {
                                  outcome = with_context(record_place(link.branch, here), entry.error());
                                  return false;
                                }
                                sequence = here;
                                outcome = visit(link, *entry);
                                if (!outcome) {
                                  outcome = with_context(record_place(link.branch, here), outcome.error());
                                }
                                return outcome.has_value();
                              });
    if (!scanned) return scanned.error();
    if (!outcome) return outcome.error();
    if (link.journal_end <= journal_end && link.journal_end != kNoLimit && sequence != link.journal_end) {
      return corruption(fmt::format("branch {}: its journal ends at record {}, {} are needed", link.branch, sequence,
                                    link.journal_end));
    }
  }
  return {};
}

Result<Fold> fold_lineage(const Store& store, const std::vector<Link>& lineage, const View* view,
                          std::uint64_t journal_end) {
  Fold fold;
  auto walked = walk_journal(
      store, lineage, view, journal_end, fold.chain,
      [&](const Link&, const JournalEntry& entry) { return fold.context.apply(entry); },
      [&](const Link& link) {
        if (link.entry.parent != 0 && link.entry.reason != BranchReason::kReplay)
          fold.context.cut(link.entry.position_cut);
      });
  if (!walked) return walked.error();
  if (fold.context.sequence() == 0) return corruption("the journal is empty");
  return fold;
}

Result<std::vector<StoredManifest>> read_manifests(const Store& store, std::uint64_t branch, const View* view) {
  std::vector<StoredManifest> out;
  Result<void> outcome;
  auto scanned = store.scan(Family::kSnapshots, manifest_key(branch, 0), manifest_key(branch + 1, 0), view,
                            [&](std::string_view key, std::string_view value) {
                              const std::uint64_t sequence =
                                  read_big_endian(key.substr(std::min<std::size_t>(9, key.size())));
                              const std::string place = fmt::format("manifest {} of branch {}", sequence, branch);
                              auto payload = unseal(Family::kSnapshots, key, value, ValueKind::kManifest);
                              if (!payload) {
                                outcome = with_context(place, payload.error());
                                return false;
                              }
                              auto manifest = decode_manifest(*payload);
                              if (!manifest) {
                                outcome = with_context(place, manifest.error());
                                return false;
                              }
                              out.push_back({branch, sequence, *manifest});
                              return true;
                            });
  if (!scanned) return scanned.error();
  if (!outcome) return outcome.error();
  return out;
}

Result<Holdings> read_holdings(const Store& store, const std::vector<Link>& lineage, const View* view) {
  return holdings_of(lineage, [&](std::uint64_t branch) { return read_manifests(store, branch, view); });
}

Result<Holdings> holdings_of(const std::vector<Link>& lineage,
                             const std::function<Result<std::vector<StoredManifest>>(std::uint64_t)>& manifests_of) {
  Holdings out;
  for (const Link& link : lineage) {
    auto manifests = manifests_of(link.branch);
    if (!manifests) return manifests.error();
    // Pages end where the next branch's context begins to differ; only whole pages before it can be used.
    const std::uint64_t pages_end = link.position_end == kNoLimit ? kNoLimit : link.position_end / model::kPageTokens;
    for (const StoredManifest& at : *manifests) {
      const Manifest& m = at.manifest;
      // Of an ancestor's later states, those after the cut do not count: their numbers go on in the child.
      if (at.sequence <= link.journal_end) out.states_ever = std::max(out.states_ever, m.state_ordinal + 1);
      if (m.has_state && m.state_position <= link.position_end) out.states.push_back(at);
      if (m.n_pages == 0 || m.first_page >= pages_end) continue;
      const std::uint64_t n = std::min(m.n_pages, pages_end - m.first_page);
      if (m.first_page > out.n_pages) {
        return corruption(fmt::format("manifest {} of branch {} has pages from {} on, the ones before it end at {}",
                                      at.sequence, link.branch, m.first_page, out.n_pages));
      }
      // Written again after the lineage had gone back: the same tokens, the same bytes. The newer ones count.
      while (!out.runs.empty() && out.runs.back().first >= m.first_page) out.runs.pop_back();
      if (!out.runs.empty()) out.runs.back().n = std::min(out.runs.back().n, m.first_page - out.runs.back().first);
      out.runs.push_back({m.first_page, n, m.generation, link.branch, at.sequence, m.n_pages, m.object_pages});
      out.n_pages = m.first_page + n;
    }
  }
  std::stable_sort(out.states.begin(), out.states.end(), [](const StoredManifest& a, const StoredManifest& b) {
    return a.manifest.state_position < b.manifest.state_position;
  });
  return out;
}

std::optional<Manifest> manifest_of(const JournalEntry& entry, const Context& context, const Digest& chain) {
  const auto* committed = std::get_if<TurnCommitted>(&entry.record);
  const auto* saved = std::get_if<StateSaved>(&entry.record);
  if (committed == nullptr && saved == nullptr) return std::nullopt;
  Manifest out;
  out.turn = committed != nullptr ? committed->turn : 0;
  out.n_tokens = context.tokens().size();
  out.n_draws = context.n_draws();
  out.chain = chain;
  out.digest = context.digest();
  out.has_state = committed == nullptr || committed->has_state;
  out.state_digest = committed != nullptr ? committed->state_digest : saved->state_digest;
  return out;
}

Result<void> check_manifest(const Manifest& m, const Manifest& e) {
  if (m.chain != e.chain || m.digest != e.digest || m.n_tokens != e.n_tokens || m.n_draws != e.n_draws ||
      m.turn != e.turn) {
    return corruption(fmt::format(
        "turn {}, {} tokens, {} draws, digest {}; the journal gives turn {}, {} tokens, {} draws, digest {}", m.turn,
        m.n_tokens, m.n_draws, m.digest.hex(), e.turn, e.n_tokens, e.n_draws, e.digest.hex()));
  }
  if (m.has_state && (!e.has_state || e.state_digest != m.state_digest)) {
    return corruption(fmt::format("state digest {}, the journal gives {}", m.state_digest.hex(),
                                  e.has_state ? e.state_digest.hex() : "none"));
  }
  return {};
}

Digest state_digest(std::uint64_t position, const Digest& fixed, const Digest& open_pages) {
  ByteWriter in;
  in.u64(position);
  in.digest(fixed);
  in.digest(open_pages);
  return digest_of(std::string_view(in.bytes()));
}

PageObjectPlace object_place(const PageRun& run, std::uint64_t index) {
  const std::uint64_t within = (index - run.first) / run.object_pages * run.object_pages;
  return {run.first + within,
          static_cast<std::uint32_t>(std::min<std::uint64_t>(run.object_pages, run.n_stored - within))};
}

std::string page_place(const PageRun& run, std::uint32_t layer, std::uint64_t index) {
  return fmt::format("page {} of attention layer {} (tokens {} to {}, branch {}, generation {})", index, layer,
                     index * model::kPageTokens, (index + 1) * model::kPageTokens - 1, run.branch, run.generation);
}

Result<void> for_each_page(const Store& store, const model::StateLayout& layout, const PageRun& run,
                           std::uint32_t layer, const View* view, const PageVisit& visit) {
  rocksdb::PinnableSlice value;
  for (std::uint64_t first = run.first; first < run.first + run.n;) {
    const PageObjectPlace place = object_place(run, first);
    const std::uint64_t end = std::min(run.first + run.n, place.first + place.n);
    const std::string key = page_key(run.generation, layer, place.first);
    value.Reset();
    auto found = store.get_bulk(Family::kPages, key, value, view);
    Result<PageRunValue> object = !found    ? Result<PageRunValue>(found.error())
                                  : !*found ? Result<PageRunValue>(corruption("missing"))
                                            : PageRunValue::open(key, value.ToStringView(), layout.page_bytes());
    if (object && object->n() < place.n) {
      object = corruption(fmt::format("a value of {} pages, {} are needed", object->n(), place.n));
    }
    for (; first < end; ++first) {
      const std::string where = page_place(run, layer, first);
      const auto within = static_cast<std::uint32_t>(first - place.first);
      auto checked = object ? object->check(within) : Result<void>(object.error());
      auto visited =
          visit(first, checked ? Result<std::string_view>(object->page(within)) : with_context(where, checked.error()));
      if (!visited) return visited.error();
    }
  }
  return {};
}

Result<std::vector<std::string>> read_summaries(const Store& store, const model::StateLayout& layout,
                                                const PageRun& run, const View* view) {
  const std::string place = fmt::format("summaries of pages {} to {} (branch {}, generation {})", run.first,
                                        run.first + run.n - 1, run.branch, run.generation);
  const std::string key = summaries_key(run.generation);
  auto sealed = store.get(Family::kSummaries, key, view);
  if (!sealed) return with_context(place, sealed.error());
  if (!*sealed) return corruption(place + ": missing");
  auto payload = unseal(Family::kSummaries, key, **sealed, ValueKind::kSummaries);
  if (!payload) return with_context(place, payload.error());
  const std::size_t each = model::summary_bytes(layout);
  auto value = decode_summaries(*payload, each);
  if (!value) return with_context(place, value.error());
  if (value->n_layers != layout.n_attention_layers || value->n_pages < run.n) {
    return corruption(fmt::format("{}: {} layers of {} pages, {} of {} are needed", place, value->n_layers,
                                  value->n_pages, layout.n_attention_layers, run.n));
  }
  std::vector<std::string> out;
  for (std::uint32_t layer = 0; layer < value->n_layers; ++layer) {
    out.emplace_back(value->bytes.substr(std::size_t{layer} * value->n_pages * each, run.n * each));
  }
  return out;
}

namespace {

ValueKind value_kind(StatePart part) {
  return part == StatePart::kFixed ? ValueKind::kStateFixed : ValueKind::kStateOpen;
}

Result<void> read_state_part(const Store& store, std::uint64_t generation, StatePart part, std::uint64_t expected,
                             const View* view, std::string& out) {
  out.clear();
  out.reserve(expected);
  // One value, as older programs stored parts of any size, or pieces.
  std::uint64_t n_pieces = state_pieces(expected);
  rocksdb::PinnableSlice value;
  for (std::uint64_t piece = 0; piece < n_pieces; ++piece) {
    const std::string key = state_key(generation, part, piece);
    const std::string which = n_pieces > 1 ? fmt::format("piece {} of {}: ", piece + 1, n_pieces) : "";
    value.Reset();
    auto found = store.get_bulk(Family::kStates, key, value, view);
    if (!found) return with_context(which, found.error());
    if (!*found) return corruption(which + "missing");
    const std::string_view bytes = value.ToStringView();
    if (piece == 0 && bytes.size() == expected + kEnvelopeBytes) n_pieces = 1;
    auto payload = unseal(Family::kStates, key, bytes, value_kind(part), n_pieces == 1 ? kValueVersion : kPieceVersion);
    if (!payload) return with_context(which, payload.error());
    const std::uint64_t due = n_pieces == 1 ? expected : std::min(kStatePieceBytes, expected - out.size());
    if (payload->size() != due) {
      return corruption(fmt::format("{}{} bytes, {} by the manifest's {}", which, payload->size(), due, expected));
    }
    out.append(*payload);
  }
  return {};
}

}  // namespace

Result<Digest> seal_state_part(std::uint64_t generation, StatePart part, std::span<const std::string_view> bytes,
                               const PutValue& put) {
  Hasher hasher;
  std::uint64_t total = 0;
  for (const std::string_view each : bytes) total += each.size();
  const std::uint64_t n_pieces = state_pieces(total);
  const std::uint8_t version = n_pieces > 1 ? kPieceVersion : kValueVersion;
  std::string value;
  std::vector<std::string_view> slices;
  std::size_t at = 0, within = 0;
  for (std::uint64_t piece = 0; piece < n_pieces; ++piece) {
    slices.clear();
    for (std::uint64_t left = std::min(kStatePieceBytes, total - piece * kStatePieceBytes); left > 0;) {
      const std::string_view slice = bytes[at].substr(within, left);
      hasher.update(slice);
      slices.push_back(slice);
      left -= slice.size();
      within += slice.size();
      if (within < bytes[at].size()) continue;
      ++at;
      within = 0;
    }
    const std::string key = state_key(generation, part, piece);
    seal_into(value, Family::kStates, key, static_cast<std::uint8_t>(value_kind(part)), version, 0, slices);
    auto done = put(key, value);
    if (!done) return done.error();
  }
  return hasher.finish();
}

std::uint64_t open_pages_bytes(const model::StateLayout& layout, std::uint64_t position) {
  return (position % model::kPageTokens) * 2 * layout.row_bytes() * layout.n_attention_layers;
}

void erase_state(Batch& batch, const Manifest& manifest) {
  for (const auto& [part, bytes] :
       {std::pair(StatePart::kFixed, manifest.fixed_bytes), std::pair(StatePart::kOpenPages, manifest.open_bytes)}) {
    for (std::uint64_t piece = 0; piece < state_pieces(bytes); ++piece) {
      batch.erase(Family::kStates, state_key(manifest.generation, part, piece));
    }
  }
}

Result<void> read_state_parts(const Store& store, const StoredManifest& at, const View* view, StateParts& out) {
  const Manifest& m = at.manifest;
  for (const StatePart part : {StatePart::kFixed, StatePart::kOpenPages}) {
    const bool fixed = part == StatePart::kFixed;
    auto read = read_state_part(store, m.generation, part, fixed ? m.fixed_bytes : m.open_bytes, view,
                                fixed ? out.fixed : out.open_pages);
    if (!read) {
      return with_context(fmt::format("{}, {}", state_place(at), value_kind_name(value_kind(part))), read.error());
    }
  }
  const Digest found = state_digest(m.state_position, digest_of(std::string_view(out.fixed)),
                                    digest_of(std::string_view(out.open_pages)));
  if (found != m.state_digest) {
    return corruption(
        fmt::format("{}: digest {}, the manifest says {}", state_place(at), found.hex(), m.state_digest.hex()));
  }
  return {};
}

Result<std::optional<SessionEntry>> read_session(const Store& store, std::string_view name, const View* view) {
  const std::string key = session_key(name);
  auto value = store.get(Family::kCatalog, key, view);
  if (!value) return with_context(fmt::format("session {}", name), value.error());
  if (!*value) return std::optional<SessionEntry>();
  auto payload = unseal(Family::kCatalog, key, **value, ValueKind::kSession);
  if (!payload) return with_context(fmt::format("session {}", name), payload.error());
  auto entry = decode_session(*payload);
  if (!entry) return with_context(fmt::format("session {}", name), entry.error());
  return std::optional<SessionEntry>(std::move(*entry));
}

Result<SessionEntry> find_session(const Store& store, std::string_view name, const View* view) {
  auto valid = check_session_name(name);
  if (!valid) return valid.error();
  auto entry = read_session(store, name, view);
  if (!entry) return entry.error();
  if (!*entry) return not_found(fmt::format("there is no session '{}' in store {}", name, store.path()));
  return std::move(**entry);
}

void put_session(Batch& batch, std::string_view name, const SessionEntry& entry) {
  const std::string key = session_key(name);
  batch.put(Family::kCatalog, key, seal(Family::kCatalog, key, ValueKind::kSession, encode(entry)));
}
void put_branch(Batch& batch, std::uint64_t branch, const BranchEntry& entry) {
  const std::string key = branch_key(branch);
  batch.put(Family::kCatalog, key, seal(Family::kCatalog, key, ValueKind::kBranch, encode(entry)));
}
void put_manifest(Batch& batch, const StoredManifest& at) {
  const std::string key = manifest_key(at.branch, at.sequence);
  batch.put(Family::kSnapshots, key, seal(Family::kSnapshots, key, ValueKind::kManifest, encode(at.manifest)));
}
void put_generation(Batch& batch, const StoredManifest& at) {
  const std::string key = generation_key(at.manifest.generation);
  batch.put(Family::kSnapshots, key,
            seal(Family::kSnapshots, key, ValueKind::kGeneration, encode(GenerationEntry{at.branch, at.sequence})));
}

}  // namespace longhaul::sessions
