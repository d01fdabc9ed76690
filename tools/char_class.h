// Characters in classes, few enough for a set of them to be one word: what occurs below a node of a token trie, and
// which characters a pattern treats alike. The classes are those that patterns commonly tell apart.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace longhaul::tools {

using ByteSet = std::array<std::uint64_t, 4>;  // bit b % 64 of word b / 64: byte b

inline void add_byte(ByteSet& set, std::uint8_t byte) {
  set[byte / 64] |= std::uint64_t{1} << (byte % 64);
}
inline void remove_byte(ByteSet& set, std::uint8_t byte) {
  set[byte / 64] &= ~(std::uint64_t{1} << (byte % 64));
}
inline void add_bytes(ByteSet& set, std::string_view bytes) {
  for (const char c : bytes) add_byte(set, static_cast<std::uint8_t>(c));
}

using CharClasses = std::uint64_t;  // bit c: class c

// Without the instruction, which not every machine of this kind has, the compiler's own is a call.
inline std::size_t count_bits(std::uint64_t x) {
  x -= (x >> 1) & 0x5555555555555555;
  x = (x & 0x3333333333333333) + ((x >> 2) & 0x3333333333333333);
  return (((x + (x >> 4)) & 0x0F0F0F0F0F0F0F0F) * 0x0101010101010101) >> 56;
}

// Digits, letters in four parts (those that are hexadecimal digits apart), line end, tab, other control characters;
// each other ASCII character is a class of its own. Beyond ASCII: line ends, other spaces, all else.
inline constexpr int kClassDigit = 0, kClassLowerHex = 1, kClassLower = 2, kClassUpperHex = 3, kClassUpper = 4,
                     kClassLineEnd = 5, kClassTab = 6, kClassControl = 7, kClassMark = 8 /* up to 41 */,
                     kClassWide = 42, kClassWideSpace = 43, kClassWideLineEnd = 44, kCharClassCount = 45;
inline constexpr CharClasses kAllChars = (CharClasses{1} << kCharClassCount) - 1;
inline constexpr CharClasses kNoChar = CharClasses{1} << 63;  // bytes that are no UTF-8

constexpr int ascii_class(std::uint8_t c) {
  if (c >= '0' && c <= '9') return kClassDigit;
  if (c >= 'a' && c <= 'z') return c <= 'f' ? kClassLowerHex : kClassLower;
  if (c >= 'A' && c <= 'Z') return c <= 'F' ? kClassUpperHex : kClassUpper;
  if (c == '\n') return kClassLineEnd;
  if (c == '\t') return kClassTab;
  if (c < 0x20) return kClassControl;
  const int below = (c > '9' ? 10 : 0) + (c > 'Z' ? 26 : 0) + (c > 'z' ? 26 : 0);  // digits and letters before it
  return kClassMark + c - 0x20 - below;
}
static_assert(ascii_class(0x7F) == kClassWide - 1);

// The class of a character beyond ASCII.
int wide_class(std::uint32_t code_point);

}  // namespace longhaul::tools
