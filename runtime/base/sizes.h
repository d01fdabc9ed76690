// Sizes in bytes, as people write and read them.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/base/result.h"

namespace longhaul {

// "512 B", "1.5 MiB"; powers of 1024.
std::string human_bytes(std::uint64_t bytes, int decimals = 1);

// A number of bytes, or one with K, M, G or T behind it (powers of 1024; "KiB" and "KB" mean the same), at most 2^63.
// kInvalidArgument shows the text.
Result<std::uint64_t> parse_bytes(const std::string& text);

}  // namespace longhaul
