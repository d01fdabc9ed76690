// UTF-8 as RFC 3629 has it, one byte at a time: the part of the string automata that knows characters.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace longhaul::tools {

// Where a character stands: 0 between characters, else what its next byte may be.
enum Utf8Phase : std::uint8_t {
  kUtf8Between = 0,
  kUtf8One = 12,  // one continuation byte
  kUtf8Two,
  kUtf8Three,
  kUtf8AfterE0,  // no overlong forms
  kUtf8AfterEd,  // no surrogates
  kUtf8AfterF0,
  kUtf8AfterF4,  // nothing above U+10FFFF
  kUtf8Wrong = 255,
};

inline std::uint8_t utf8_step(std::uint8_t phase, std::uint8_t byte) {
  const bool continuation = (byte & 0xC0) == 0x80;
  switch (phase) {
    case kUtf8Between:
      if (byte < 0x80) return kUtf8Between;
      if (byte >= 0xC2 && byte <= 0xDF) return kUtf8One;
      if (byte == 0xE0) return kUtf8AfterE0;
      if (byte == 0xED) return kUtf8AfterEd;
      if (byte >= 0xE1 && byte <= 0xEF) return kUtf8Two;
      if (byte == 0xF0) return kUtf8AfterF0;
      if (byte >= 0xF1 && byte <= 0xF3) return kUtf8Three;
      if (byte == 0xF4) return kUtf8AfterF4;
      return kUtf8Wrong;
    case kUtf8One:
      return continuation ? kUtf8Between : kUtf8Wrong;
    case kUtf8Two:
      return continuation ? kUtf8One : kUtf8Wrong;
    case kUtf8Three:
      return continuation ? kUtf8Two : kUtf8Wrong;
    case kUtf8AfterE0:
      return continuation && byte >= 0xA0 ? kUtf8One : kUtf8Wrong;
    case kUtf8AfterEd:
      return continuation && byte < 0xA0 ? kUtf8One : kUtf8Wrong;
    case kUtf8AfterF0:
      return continuation && byte >= 0x90 ? kUtf8Two : kUtf8Wrong;
    case kUtf8AfterF4:
      return continuation && byte < 0x90 ? kUtf8Two : kUtf8Wrong;
    default:
      return kUtf8Wrong;
  }
}

// How many bytes the character still needs.
inline int utf8_missing(std::uint8_t phase) {
  switch (phase) {
    case kUtf8One:
      return 1;
    case kUtf8Two:
    case kUtf8AfterE0:
    case kUtf8AfterEd:
      return 2;
    case kUtf8Three:
    case kUtf8AfterF0:
    case kUtf8AfterF4:
      return 3;
    default:
      return 0;
  }
}

// A character that is read byte by byte: what it can still become.
struct CharInPart {
  std::uint8_t phase = kUtf8Between;
  std::uint32_t value = 0;  // the bits so far

  // true: the character is whole, `value` is it. phase kUtf8Wrong: no character.
  bool add(std::uint8_t byte) {
    const std::uint8_t before = phase;
    phase = utf8_step(phase, byte);
    if (before == kUtf8Between) {
      value = byte < 0x80 ? byte : byte & (byte < 0xE0 ? 0x1F : byte < 0xF0 ? 0x0F : 0x07);
    } else {
      value = (value << 6) | (byte & 0x3F);
    }
    return phase == kUtf8Between;
  }
  std::uint32_t least() const {
    const std::uint32_t from = value << (6 * utf8_missing(phase));
    return phase == kUtf8AfterE0 ? 0x800 : phase == kUtf8AfterF0 ? 0x10000 : from;
  }
  std::uint32_t most() const {
    const int bits = 6 * utf8_missing(phase);
    const std::uint32_t to = (value << bits) + (1U << bits) - 1;
    return phase == kUtf8AfterEd ? 0xD7FF : to < 0x10FFFF ? to : 0x10FFFF;
  }
  // Bytes read, of a character that is not whole.
  int consumed() const {
    const std::uint32_t to = most();
    return (to < 0x800 ? 2 : to < 0x10000 ? 3 : 4) - utf8_missing(phase);
  }
};

inline bool is_utf8(std::string_view text) {
  std::uint8_t phase = kUtf8Between;
  for (char c : text) {
    phase = utf8_step(phase, static_cast<std::uint8_t>(c));
    if (phase == kUtf8Wrong) return false;
  }
  return phase == kUtf8Between;
}

void append_utf8(std::uint32_t code_point, std::string& out);

// Bytes to valid UTF-8: what is not a character becomes U+FFFD, one for each maximal broken piece.
std::string to_valid_utf8(std::string_view bytes);

// The same for a stream: never ends inside a character before finish().
class Utf8Repair {
 public:
  void push(std::uint8_t byte, std::string& out);
  void finish(std::string& out);

 private:
  std::string pending_;
  std::uint8_t phase_ = kUtf8Between;
};

}  // namespace longhaul::tools
