// The payload of stored pages: consecutive pages of one layer, each with its own checksum, and beside them the
// summaries of all pages of a generation. Internal.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/page_source.h"
#include "model/sequence_state.h"
#include "runtime/base/result.h"

namespace longhaul::sessions {

// How many pages of a commit's `n_pages` go into one value.
std::uint32_t pages_a_value(std::size_t object_bytes, std::size_t page_bytes, std::uint64_t n_pages);

// The whole sealed value: u32 n, n times u64 checksum of the page, the pages.
std::string seal_page_run(std::string_view key, std::span<const std::byte* const> pages, std::size_t page_bytes);

// Points into the value it was made of.
class PageRunValue {
 public:
  // Envelope and table checked, the pages not yet. kCorruption also if its pages are not of that size.
  static Result<PageRunValue> open(std::string_view key, std::string_view value, std::size_t page_bytes);

  std::uint32_t n() const { return n_; }
  std::string_view page(std::uint32_t i) const { return pages_.substr(i * page_bytes_, page_bytes_); }
  // kCorruption names both checksums.
  Result<void> check(std::uint32_t i) const;

 private:
  std::uint32_t n_ = 0;
  std::size_t page_bytes_ = 0;
  std::string_view table_, pages_;
};

// Payload of a generation's summaries: u32 layers, u32 pages, u32 bytes of a summary, then [layer][page].
std::string encode_summaries(std::uint32_t n_layers, std::uint32_t n_pages, std::size_t summary_bytes,
                             std::string_view summaries);
struct SummariesValue {
  std::uint32_t n_layers = 0, n_pages = 0;
  std::string_view bytes;  // [layer][page][summary]
};
Result<SummariesValue> decode_summaries(std::string_view payload, std::size_t summary_bytes);

}  // namespace longhaul::sessions
