#include "tools/utf8.h"

namespace longhaul::tools {
namespace {
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
}  // namespace

void append_utf8(std::uint32_t c, std::string& out) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | (c >> 6));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | (c >> 12));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (c >> 18));
    out += static_cast<char>(0x80 | ((c >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

std::string to_valid_utf8(std::string_view bytes) {
  std::string out;
  Utf8Repair repair;
  for (char c : bytes) repair.push(static_cast<std::uint8_t>(c), out);
  repair.finish(out);
  return out;
}

void Utf8Repair::push(std::uint8_t byte, std::string& out) {
  std::uint8_t next = utf8_step(phase_, byte);
  if (next == kUtf8Wrong && phase_ != kUtf8Between) {
    // The piece so far is broken; the byte may begin a character of its own.
    out += kReplacement;
    pending_.clear();
    next = utf8_step(kUtf8Between, byte);
  }
  if (next == kUtf8Wrong) {
    out += kReplacement;
    phase_ = kUtf8Between;
    return;
  }
  phase_ = next;
  pending_ += static_cast<char>(byte);
  if (phase_ == kUtf8Between) {
    out += pending_;
    pending_.clear();
  }
}

void Utf8Repair::finish(std::string& out) {
  if (!pending_.empty()) out += kReplacement;
  pending_.clear();
  phase_ = kUtf8Between;
}

}  // namespace longhaul::tools
