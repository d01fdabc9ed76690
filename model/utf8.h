// One step of UTF-8 decoding, strict: no surrogates, no overlong forms, nothing above U+10FFFF.
#pragma once

#include <cstdint>
#include <string_view>

namespace longhaul::model {

struct Utf8Step {
  enum class Kind : std::uint8_t {
    kCharacter,   // `code_point` in `length` bytes
    kBroken,      // the `length` first bytes begin no character (the longest prefix of one, at least a byte)
    kIncomplete,  // the text ends inside a character that is right so far
  };
  Kind kind = Kind::kBroken;
  std::uint32_t code_point = 0;
  std::uint32_t length = 0;
};

// `text` must not be empty.
Utf8Step next_utf8(std::string_view text);

}  // namespace longhaul::model
