#include "sessions/page_run.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/base/hash.h"
#include "sessions/bytes.h"
#include "sessions/entries.h"

namespace longhaul::sessions {

std::uint32_t pages_a_value(std::size_t object_bytes, std::size_t page_bytes, std::uint64_t n_pages) {
  // A value has less than 4 GiB.
  const std::uint64_t fit = std::min<std::uint64_t>(object_bytes, UINT32_MAX / 2) / page_bytes;
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(fit, 1, std::min<std::uint64_t>(n_pages, UINT32_MAX)));
}

std::string seal_page_run(std::string_view key, std::span<const std::byte* const> pages, std::size_t page_bytes) {
  ByteWriter table;
  table.u32(static_cast<std::uint32_t>(pages.size()));
  for (const std::byte* page : pages) {
    table.u64(checksum64({reinterpret_cast<const char*>(page), page_bytes}));
  }
  return seal_with_table(key, table.bytes(), pages, page_bytes);
}

Result<PageRunValue> PageRunValue::open(std::string_view key, std::string_view value, std::size_t page_bytes) {
  auto payload = unseal(Family::kPages, key, value, ValueKind::kPageRun);
  if (!payload) return payload.error();
  PageRunValue out;
  ByteReader in(*payload);
  out.n_ = in.u32();
  out.page_bytes_ = page_bytes;
  const std::uint64_t expected = 4 + std::uint64_t{out.n_} * (8 + page_bytes);
  if (!in.ok() || out.n_ == 0 || payload->size() != expected) {
    return corruption(fmt::format("{} bytes for {} pages of {}", payload->size(), out.n_, page_bytes));
  }
  out.table_ = payload->substr(4, std::size_t{8} * out.n_);
  out.pages_ = payload->substr(4 + std::size_t{8} * out.n_);
  return out;
}

Result<void> PageRunValue::check(std::uint32_t i) const {
  const std::uint64_t expected = ByteReader(table_.substr(std::size_t{8} * i, 8)).u64();
  const std::uint64_t found = checksum64(page(i));
  if (found == expected) return {};
  return corruption(fmt::format("checksum {:016x}, expected {:016x}", found, expected));
}

std::string encode_summaries(std::uint32_t n_layers, std::uint32_t n_pages, std::size_t summary_bytes,
                             std::string_view summaries) {
  ByteWriter out;
  out.u32(n_layers);
  out.u32(n_pages);
  out.u32(static_cast<std::uint32_t>(summary_bytes));
  out.raw(summaries);
  return out.take();
}

Result<SummariesValue> decode_summaries(std::string_view payload, std::size_t summary_bytes) {
  ByteReader in(payload);
  SummariesValue out;
  out.n_layers = in.u32();
  out.n_pages = in.u32();
  const std::uint64_t each = in.u32();
  if (!in.ok()) return corruption(fmt::format("page summaries of {} bytes", payload.size()));
  const std::uint64_t n = std::uint64_t{out.n_layers} * out.n_pages;
  if (each != summary_bytes || n > UINT32_MAX || in.remaining() != n * each) {
    return corruption(
        fmt::format("page summaries: {} bytes for {} layers of {} pages of {}, the layout needs {} a page",
                    in.remaining(), out.n_layers, out.n_pages, each, summary_bytes));
  }
  out.bytes = payload.substr(12);
  return out;
}

}  // namespace longhaul::sessions
