#include "model/utf8.h"

#include "model/tokenizer.h"

namespace longhaul::model {

Utf8Step next_utf8(std::string_view text) {
  using Kind = Utf8Step::Kind;
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return {Kind::kCharacter, lead, 1};
  // The second byte's range depends on the lead (no overlong forms, no surrogates, not above U+10FFFF); the others'
  // does not. Table 3-7 of the Unicode standard.
  std::uint32_t length = 0, code_point = 0;
  std::uint8_t low = 0x80, high = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
    code_point = lead & 0x1F;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    code_point = lead & 0x0F;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    code_point = lead & 0x07;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return {Kind::kBroken, 0, 1};
  }
  for (std::uint32_t i = 1; i < length; ++i) {
    if (i == text.size()) return {Kind::kIncomplete, 0, i};
    if (byte(i) < low || byte(i) > high) return {Kind::kBroken, 0, i};
    code_point = code_point << 6 | (byte(i) & 0x3FU);
    low = 0x80;
    high = 0xBF;
  }
  return {Kind::kCharacter, code_point, length};
}

namespace {
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
}

std::string Utf8Stream::push(std::string_view bytes) {
  pending_ += bytes;
  std::string out;
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const Utf8Step step = next_utf8(rest);
    if (step.kind == Utf8Step::Kind::kIncomplete) break;
    out += step.kind == Utf8Step::Kind::kCharacter ? rest.substr(0, step.length) : kReplacement;
    rest.remove_prefix(step.length);
  }
  pending_ = std::string(rest);
  return out;
}

std::string Utf8Stream::flush() {
  // What is left is the right beginning of one character: one replacement, as Python's and the web's decoders do it.
  std::string out(pending_.empty() ? std::string_view() : kReplacement);
  pending_.clear();
  return out;
}

}  // namespace longhaul::model
