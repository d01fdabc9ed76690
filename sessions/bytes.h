// Writing and reading the little-endian fields of stored values. The reader is for bytes that may be damaged: it never
// reads past the end, remembers the first thing that was wrong, and gives zeros from then on, so that a decoder is
// written straight down and checked once, by finish().
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/base/hash.h"
#include "runtime/base/result.h"

namespace longhaul::sessions {

class ByteWriter {
 public:
  void u8(std::uint8_t value) { out_.push_back(static_cast<char>(value)); }
  void u16(std::uint16_t value) { fixed(value, 2); }
  void u32(std::uint32_t value) { fixed(value, 4); }
  void u64(std::uint64_t value) { fixed(value, 8); }
  void i64(std::int64_t value) { fixed(static_cast<std::uint64_t>(value), 8); }
  // LEB128: seven bits a byte, lowest first, the top bit set on all but the last.
  void varint(std::uint64_t value) {
    while (value >= 0x80) {
      u8(static_cast<std::uint8_t>(value | 0x80));
      value >>= 7;
    }
    u8(static_cast<std::uint8_t>(value));
  }
  void text(std::string_view value) {
    varint(value.size());
    out_.append(value);
  }
  void raw(std::string_view value) { out_.append(value); }
  void digest(const Digest& value) {
    u64(value.high);
    u64(value.low);
  }

  const std::string& bytes() const { return out_; }
  std::string take() { return std::move(out_); }

 private:
  void fixed(std::uint64_t value, int n) {
    for (int i = 0; i < n; ++i) u8(static_cast<std::uint8_t>(value >> (8 * i)));
  }

  std::string out_;
};

class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : bytes_(bytes) {}

  std::uint8_t u8() { return static_cast<std::uint8_t>(fixed(1)); }
  std::uint16_t u16() { return static_cast<std::uint16_t>(fixed(2)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(fixed(4)); }
  std::uint64_t u64() { return fixed(8); }
  std::int64_t i64() { return static_cast<std::int64_t>(fixed(8)); }
  // One value has one spelling: a last byte of zero after others is refused, as is anything over 64 bits.
  std::uint64_t varint();
  std::string_view text();
  Digest digest() {
    const std::uint64_t high = u64();
    return {high, u64()};
  }

  std::size_t remaining() const { return bytes_.size() - at_; }
  bool ok() const { return reason_ == nullptr; }
  void fail(const char* reason) {
    if (reason_ == nullptr) {
      reason_ = reason;
      failed_at_ = at_;
    }
  }

  // kCorruption naming `what`, the offset and the reason, if anything was wrong or bytes are left over.
  Result<void> finish(std::string_view what);

 private:
  std::uint64_t fixed(std::size_t n);

  std::string_view bytes_;
  std::size_t at_ = 0;
  const char* reason_ = nullptr;
  std::size_t failed_at_ = 0;
};

}  // namespace longhaul::sessions
