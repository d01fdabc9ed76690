// States and pages of a session: how pages are written at a commit, how a state comes back without them, and how a
// living one lets go of what is stored.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "model/page_summary.h"
#include "sessions/page_run.h"
#include "sessions/session_impl.h"
#include "sessions/stored_pages.h"

namespace longhaul::sessions {

// What a commit with this state will store, as far as sizes go.
Result<void> Session::Impl::plan_state(const model::SequenceState& state, bool pin, Manifest& m) {
  const model::StateLayout& layout = entry.layout;
  m.has_state = true;
  m.pinned = pin;
  m.state_ordinal = holdings.states_ever;
  m.state_position = static_cast<std::uint64_t>(state.position());
  m.fixed_bytes = layout.fixed_bytes();
  m.open_bytes = open_pages_bytes(layout, m.state_position);
  m.state_time_ms = store.clock().unix_ms();
  if (std::max(m.fixed_bytes, m.open_bytes) > UINT32_MAX) {
    return make_error(ErrorCode::kResourceExhausted,
                      fmt::format("a state of {} bytes; the format holds 4 GiB a part", m.fixed_bytes));
  }
  const auto n_full = static_cast<std::uint64_t>(state.n_full_pages());
  if (layout.n_attention_layers == 0 || n_full <= holdings.n_pages) return {};
  m.first_page = holdings.n_pages;
  m.n_pages = n_full - holdings.n_pages;
  m.page_layers = layout.n_attention_layers;
  const std::size_t page_bytes = layout.page_bytes();
  m.object_pages = pages_a_value(store.options().page_object_bytes, page_bytes, m.n_pages);
  if (m.n_pages * m.page_layers > UINT32_MAX / 2 / model::summary_bytes(layout)) {
    return make_error(
        ErrorCode::kResourceExhausted,
        fmt::format("{} pages of {} bytes in one commit; the format holds 4 GiB a value", m.n_pages, page_bytes));
  }
  return {};
}

// Pages are written once, with the first state that needs them.
Result<void> Session::Impl::store_state(const model::SequenceState& state, Manifest& m, StoredRows& rows) const {
  auto digest = put_state(rows, m, state.fixed_parts(), state.encode_open_pages());
  if (!digest) return digest.error();
  m.state_digest = *digest;
  PageRows page_rows(rows, entry.layout, m);
  const std::uint64_t n_full = m.first_page + m.n_pages;
  for (std::uint32_t layer = 0; layer < m.page_layers; ++layer) {
    for (std::uint64_t first = m.first_page; first < n_full; first += m.object_pages) {
      std::vector<model::PagePin> pins;
      std::vector<const std::byte*> bytes;
      for (std::uint64_t index = first; index < first + page_rows.pages_from(first); ++index) {
        auto pin = state.page(layer, static_cast<std::int64_t>(index));
        if (!pin) return pin.error();
        bytes.push_back(pin->bytes);
        pins.push_back(std::move(*pin));
      }
      auto put = page_rows.put(layer, first, bytes);
      if (!put) return put.error();
    }
  }
  return {};
}

LoadedState Session::without_states(std::uint64_t position_limit) const {
  LoadedState out;
  const auto& tokens = impl_->context.tokens();
  const std::uint64_t end = std::min<std::uint64_t>(position_limit, tokens.size());
  out.tokens_to_feed.assign(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(end));
  std::uint64_t sum = 0;
  for (const std::uint32_t n : impl_->context.split_from(0)) {
    if (sum >= end) break;
    out.split.push_back(static_cast<std::uint32_t>(std::min<std::uint64_t>(n, end - sum)));
    sum += n;
  }
  return out;
}

Result<LoadedState> Session::load_state(std::uint64_t position_limit) const {
  auto ready = impl_->usable();
  if (!ready) return ready.error();
  const Store& store = impl_->store;
  const View view(store);
  // Read anew: another session may have thinned the states of a common ancestor meanwhile.
  auto held = read_holdings(store, impl_->lineage, &view);
  if (!held) return with_context(impl_->place(), held.error());
  const auto& tokens = impl_->context.tokens();
  const std::uint64_t end = std::min<std::uint64_t>(position_limit, tokens.size());
  const StoredManifest* best = nullptr;
  for (const StoredManifest& at : held->states) {
    if (at.manifest.state_position <= end) best = &at;
  }
  if (best == nullptr) return without_states(position_limit);
  StateParts parts;
  auto read = read_state_parts(store, *best, &view, parts);
  if (!read) return with_context(impl_->place(), read.error());
  // The state now, the pages when attention asks for them.
  const std::uint64_t n_pages =
      impl_->entry.layout.n_attention_layers == 0 ? 0 : best->manifest.state_position / model::kPageTokens;
  if (n_pages > held->n_pages) {
    return corruption(fmt::format("{}: the state at position {} needs {} pages, {} are stored", impl_->place(),
                                  best->manifest.state_position, n_pages, held->n_pages));
  }
  std::shared_ptr<const model::PageSource> pages;
  if (n_pages > 0) {
    pages = std::make_shared<StoredPages>(impl_->cache, impl_->entry.layout, std::move(held->runs),
                                          static_cast<std::int64_t>(n_pages), impl_->place());
  }
  auto state =
      model::SequenceState::decode(impl_->entry.layout, static_cast<std::int64_t>(best->manifest.state_position),
                                   parts.fixed, parts.open_pages, std::move(pages));
  if (!state) return with_context(impl_->place(), state.error());
  LoadedState out;
  out.position = best->manifest.state_position;
  out.state = std::move(*state);
  out.tokens_to_feed.assign(tokens.begin() + static_cast<std::ptrdiff_t>(out.position),
                            tokens.begin() + static_cast<std::ptrdiff_t>(end));
  std::uint64_t left = end - out.position;
  for (const std::uint32_t n : impl_->context.split_from(out.position)) {
    if (left == 0) break;
    out.split.push_back(static_cast<std::uint32_t>(std::min<std::uint64_t>(n, left)));
    left -= out.split.back();
  }
  return out;
}

void Session::share_pages(model::SequenceState& state) const {
  const model::StateLayout& layout = impl_->entry.layout;
  const auto n = static_cast<std::int64_t>(
      std::min<std::uint64_t>(impl_->holdings.n_pages, static_cast<std::uint64_t>(state.n_full_pages())));
  if (layout.n_attention_layers == 0 || !(state.layout() == layout) || n <= state.attention[0].n_stored) return;
  const auto* before = dynamic_cast<const StoredPages*>(state.stored().get());
  auto source = std::make_shared<StoredPages>(impl_->cache, layout, impl_->holdings.runs, n, impl_->place(), before);
  // Whole values only; one that began before the state's own pages is read when somebody asks for it.
  for (std::uint32_t layer = 0; layer < layout.n_attention_layers; ++layer) {
    const model::AttentionLayerState& own = state.attention[layer];
    for (std::int64_t first = own.n_stored; first < n;) {
      const ObjectRef ref = source->object_of(layer, static_cast<std::uint64_t>(first));
      const auto end = static_cast<std::int64_t>(ref.key.first_page + ref.n_pages);
      if (static_cast<std::int64_t>(ref.key.first_page) == first && end <= n && !impl_->cache->contains(ref.key)) {
        auto object = std::make_shared<PageObject>(ref.n_pages, ref.page_bytes);
        for (std::uint32_t i = 0; i < ref.n_pages; ++i) {
          const auto& page = own.full[static_cast<std::size_t>(first - own.n_stored) + i];
          std::memcpy(object->page(i), page->bytes.data(), ref.page_bytes);
        }
        impl_->cache->put(ref.key, std::move(object));
      }
      first = end;
    }
  }
  state.give_pages(std::move(source), n);
}

}  // namespace longhaul::sessions
