#include "sessions/manifest_tail.h"

#include <algorithm>
#include <boost/crc.hpp>

namespace longhaul::sessions {
namespace {

constexpr std::size_t kBlockBytes = 32768;
constexpr std::size_t kHeaderBytes = 7;  // crc32c of type and payload, masked; u16 length; type
enum Type : std::uint8_t { kZero = 0, kFull = 1, kFirst = 2, kMiddle = 3, kLast = 4 };

using Crc32c = boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true>;

std::uint32_t byte_at(std::string_view bytes, std::size_t at) {
  return static_cast<unsigned char>(bytes[at]);
}

bool checksum_fits(std::string_view bytes, std::size_t at, std::size_t length) {
  Crc32c crc;
  crc.process_bytes(bytes.data() + at + 6, 1 + length);
  const std::uint32_t sum = crc.checksum();
  const std::uint32_t masked = ((sum >> 15) | (sum << 17)) + 0xa282ead8U;
  std::uint32_t stored = 0;
  for (std::size_t i = 4; i-- > 0;) stored = stored << 8 | byte_at(bytes, at + i);
  return masked == stored;
}

}  // namespace

ManifestEnd manifest_end(std::string_view bytes) {
  ManifestEnd out;
  std::size_t at = 0;
  std::size_t bad_end = 0;  // of the record that is not whole, if its header can be believed
  while (at < bytes.size()) {
    const std::size_t left = kBlockBytes - at % kBlockBytes;
    if (left < kHeaderBytes) {
      at += left;
      continue;
    }
    bad_end = at + kHeaderBytes;
    if (bytes.size() - at < kHeaderBytes) break;
    const std::size_t length = byte_at(bytes, at + 4) | byte_at(bytes, at + 5) << 8;
    const std::uint32_t type = byte_at(bytes, at + 6);
    if (kHeaderBytes + length > left) break;
    bad_end = at + kHeaderBytes + length;
    if (bad_end > bytes.size() || type < kFull || type > kLast || !checksum_fits(bytes, at, length)) break;
    at = bad_end;
    if (type == kFull || type == kLast) out.whole_bytes = at;
  }
  if (at >= bytes.size()) return out;  // whole, or the beginning of a record that goes on in no further block
  const std::size_t last = bytes.find_last_not_of('\0');
  const std::size_t zeros = last == std::string_view::npos ? 0 : last + 1;
  // Nothing but zeros behind the record, and at least its last byte among them (or all of it behind the file's end).
  out.torn = zeros < bytes.size() && zeros < bad_end;
  return out;
}

}  // namespace longhaul::sessions
