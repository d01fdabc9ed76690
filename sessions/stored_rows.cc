#include "sessions/stored_rows.h"

#include <fmt/format.h>

#include <algorithm>

#include "model/page_summary.h"
#include "sessions/lineage.h"
#include "sessions/page_run.h"
#include "sessions/store.h"

namespace longhaul::sessions {

Result<void> StoredRows::expect(const Manifest& m, const model::StateLayout& layout) {
  const std::uint64_t n_pages = m.n_pages * m.page_layers;
  std::uint64_t in_tables = 0;
  for (const auto& [family, bytes] : {std::pair(Family::kStates, m.fixed_bytes + m.open_bytes),
                                      std::pair(Family::kPages, n_pages * layout.page_bytes()),
                                      std::pair(Family::kSummaries, n_pages * model::summary_bytes(layout))}) {
    const bool many = bytes > 0 && bytes >= store_.options().ingest_bytes_min;
    rows_[static_cast<std::size_t>(family)].place = many ? Rows::Place::kTable : Rows::Place::kBatch;
    if (many) in_tables += bytes;
  }
  if (in_tables == 0) return {};
  auto ready = store_.writable();
  if (!ready) return ready.error();
  return store_.check_space(in_tables + kSpareBytes);
}

Result<void> StoredRows::put_in_table(Family family, std::string_view key, std::string_view sealed_value) {
  table_bytes_ += key.size() + sealed_value.size();
  return tables_.put(family, key, sealed_value);
}

Result<void> StoredRows::put(Family family, std::string_view key, std::string_view sealed_value) {
  Rows& rows = rows_[static_cast<std::size_t>(family)];
  if (rows.place == Rows::Place::kTable) return put_in_table(family, key, sealed_value);
  if (rows.place == Rows::Place::kBatch) {
    batch_.put(family, key, sealed_value);
    return {};
  }
  rows.waiting_bytes += key.size() + sealed_value.size();
  if (rows.waiting_bytes < store_.options().ingest_bytes_min) {
    rows.waiting.emplace_back(key, sealed_value);
    return {};
  }
  rows.place = Rows::Place::kTable;
  for (const auto& [first_key, first_value] : std::exchange(rows.waiting, {})) {
    auto done = put_in_table(family, first_key, first_value);
    if (!done) return done.error();
  }
  return put_in_table(family, key, sealed_value);
}

Result<void> StoredRows::finish() {
  for (std::size_t family = 0; family < kFamilies; ++family) {
    for (const auto& [key, value] : std::exchange(rows_[family].waiting, {})) {
      batch_.put(static_cast<Family>(family), key, value);
    }
  }
  return tables_.finish();
}

Result<void> StoredRows::ingest() {
  if (!has_tables()) return {};
  auto ingested = tables_.ingest();
  if (!ingested) return ingested.error();
  batch_.set_bulk(tables_.label());
  return {};
}

bool StoredRows::has_tables() const {
  return std::any_of(rows_.begin(), rows_.end(), [](const Rows& rows) { return rows.place == Rows::Place::kTable; });
}

Result<Digest> put_state(StoredRows& rows, const Manifest& m, std::span<const std::string_view> fixed,
                         std::string_view open_pages) {
  const auto put = [&](std::string_view key, std::string_view value) { return rows.put(Family::kStates, key, value); };
  auto fixed_digest = seal_state_part(m.generation, StatePart::kFixed, fixed, put);
  if (!fixed_digest) return fixed_digest.error();
  auto open_digest = seal_state_part(m.generation, StatePart::kOpenPages, {&open_pages, 1}, put);
  if (!open_digest) return open_digest.error();
  return state_digest(m.state_position, *fixed_digest, *open_digest);
}

std::uint64_t PageRows::pages_from(std::uint64_t first) const {
  return std::min<std::uint64_t>(manifest_.object_pages, manifest_.first_page + manifest_.n_pages - first);
}

Result<void> PageRows::put(std::uint32_t layer, std::uint64_t first, std::span<const std::byte* const> pages) {
  const Manifest& m = manifest_;
  const std::size_t each = model::summary_bytes(layout_);
  for (const std::byte* page : pages) {
    summaries_.resize(summaries_.size() + each);
    model::summarise_page(layout_, page, reinterpret_cast<std::byte*>(summaries_.data() + summaries_.size() - each));
  }
  const std::string key = page_key(m.generation, layer, first);
  auto put = rows_.put(Family::kPages, key, seal_page_run(key, pages, layout_.page_bytes()));
  if (!put) return put.error();
  if (first + pages.size() < m.first_page + m.n_pages || layer + 1 < m.page_layers) return {};
  if (summaries_.size() > UINT32_MAX / 2) {
    return make_error(ErrorCode::kResourceExhausted,
                      fmt::format("{} pages in one commit; the format holds 4 GiB a value", m.n_pages));
  }
  const std::string payload = encode_summaries(m.page_layers, static_cast<std::uint32_t>(m.n_pages), each, summaries_);
  const std::string summaries = summaries_key(m.generation);
  return rows_.put(Family::kSummaries, summaries, seal(Family::kSummaries, summaries, ValueKind::kSummaries, payload));
}

}  // namespace longhaul::sessions
