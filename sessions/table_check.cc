#include "sessions/table_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include "runtime/base/hash.h"

namespace longhaul::sessions {
namespace {

constexpr std::size_t kFooterBytes = 53;  // checksum type, two handles in 40 bytes, version, magic
constexpr std::uint64_t kMagic = 0x88e241b785f4cff7ULL;
constexpr std::uint8_t kXxh3 = 4;
constexpr std::size_t kTrailerBytes = 5;  // compression type, checksum
constexpr std::size_t kBlockBytesMax = std::size_t{64} << 20;
constexpr std::string_view kProperties = "rocksdb.properties";

std::uint64_t little_endian(std::string_view bytes, std::size_t n) {
  std::uint64_t value = 0;
  for (std::size_t i = n; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

std::optional<std::uint64_t> take_varint(std::string_view& bytes) {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

struct Handle {
  std::uint64_t offset = 0, size = 0;
};

std::optional<Handle> take_handle(std::string_view& bytes) {
  const auto offset = take_varint(bytes);
  const auto size = offset ? take_varint(bytes) : std::nullopt;
  if (!size) return std::nullopt;
  return Handle{*offset, *size};
}

Result<std::string> read_block(std::uint64_t file_bytes, const ReadAt& read, const Handle& handle, const char* what) {
  const std::uint64_t end = file_bytes - kFooterBytes;
  if (handle.size > kBlockBytesMax || handle.offset > end || handle.size + kTrailerBytes > end - handle.offset) {
    return corruption(fmt::format("its {}, said to be {} bytes at {}, cannot lie in a table of {} bytes", what,
                                  handle.size, handle.offset, file_bytes));
  }
  auto block = read(handle.offset, static_cast<std::size_t>(handle.size) + kTrailerBytes);
  if (!block) return block.error();
  const std::string_view data = std::string_view(*block).substr(0, handle.size);
  // The lower half of XXH3, joined with the compression type (`ModifyChecksumForLastByte`).
  const auto compression = static_cast<std::uint8_t>((*block)[handle.size]);
  const auto computed = static_cast<std::uint32_t>(checksum64(data)) ^ (compression * std::uint32_t{0x6b9083d9});
  const auto stored = static_cast<std::uint32_t>(little_endian(std::string_view(*block).substr(handle.size + 1), 4));
  if (computed != stored) {
    return corruption(fmt::format("its {} ({} bytes at {}): stored checksum {:08x}, computed {:08x}", what, handle.size,
                                  handle.offset, stored, computed));
  }
  block->resize(handle.size);
  return block;
}

}  // namespace

Result<void> check_table(std::uint64_t file_bytes, const ReadAt& read) {
  if (file_bytes < kFooterBytes) return {};
  auto footer = read(file_bytes - kFooterBytes, kFooterBytes);
  if (!footer) return footer.error();
  const std::uint64_t version = little_endian(std::string_view(*footer).substr(41), 4);
  if (little_endian(std::string_view(*footer).substr(45), 8) != kMagic || version < 2 || version > 5 ||
      static_cast<std::uint8_t>(footer->front()) != kXxh3) {
    return {};
  }
  std::string_view handles = std::string_view(*footer).substr(1, 40);
  const auto metaindex = take_handle(handles);
  if (!metaindex) return corruption("its footer");
  auto block = read_block(file_bytes, read, *metaindex, "metaindex");
  if (!block) return block.error();

  // Entries of shared key bytes, own key bytes, value bytes; then the restarts: u32 each, and their number.
  std::string_view entries = *block;
  const std::uint64_t restarts =
      entries.size() < 4 ? 0 : little_endian(entries.substr(entries.size() - 4), 4) & 0x7fffffff;
  if (entries.size() < 4 || restarts > (entries.size() - 4) / 4) return corruption("the list in its metaindex");
  entries.remove_suffix(4 + 4 * restarts);
  std::string key;
  while (!entries.empty()) {
    const auto shared = take_varint(entries);
    const auto own = shared ? take_varint(entries) : std::nullopt;
    const auto value_bytes = own ? take_varint(entries) : std::nullopt;
    if (!value_bytes || *shared > key.size() || *own > entries.size() || *value_bytes > entries.size() - *own) {
      return corruption("the list in its metaindex");
    }
    key.resize(*shared);
    key.append(entries.substr(0, *own));
    std::string_view value = entries.substr(*own, *value_bytes);
    entries.remove_prefix(*own + *value_bytes);
    if (key != kProperties) continue;
    const auto handle = take_handle(value);
    if (!handle) return corruption("the place of its properties");
    auto properties = read_block(file_bytes, read, *handle, "properties");
    if (!properties) return properties.error();
  }
  return {};
}

}  // namespace longhaul::sessions
