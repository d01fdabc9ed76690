#include "sessions/bytes.h"

#include <fmt/format.h>

namespace longhaul::sessions {

std::uint64_t ByteReader::fixed(std::size_t n) {
  if (remaining() < n) fail("the value ends too early");
  if (!ok()) return 0;
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < n; ++i) {
    value |= std::uint64_t{static_cast<unsigned char>(bytes_[at_ + i])} << (8 * i);
  }
  at_ += n;
  return value;
}

std::uint64_t ByteReader::varint() {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 70; shift += 7) {
    const std::uint8_t byte = u8();
    if (!ok()) return 0;
    if (shift == 63 && byte > 1) {
      fail("a number does not fit 64 bits");
      return 0;
    }
    value |= std::uint64_t{static_cast<std::uint8_t>(byte & 0x7F)} << shift;
    if ((byte & 0x80) == 0) {
      if (byte == 0 && shift > 0) {
        fail("a number is spelt longer than needed");
        return 0;
      }
      return value;
    }
  }
  fail("a number does not fit 64 bits");
  return 0;
}

std::string_view ByteReader::text() {
  const std::uint64_t size = varint();
  if (ok() && size > remaining()) fail("a text is longer than the value");
  if (!ok()) return {};
  const std::string_view value = bytes_.substr(at_, size);
  at_ += size;
  return value;
}

Result<void> ByteReader::finish(std::string_view what) {
  if (ok() && remaining() != 0) fail("bytes are left over");
  if (ok()) return {};
  return corruption(fmt::format("{}: {} (byte {} of {})", what, reason_, failed_at_, bytes_.size()));
}

}  // namespace longhaul::sessions
