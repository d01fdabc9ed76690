// The file FORMAT: that a folder is a store, of which version, and which store. Written once.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/base/hash.h"
#include "runtime/base/result.h"

namespace longhaul::sessions {

inline constexpr std::uint32_t kStoreFormatVersion = 2;

std::string encode_format(std::uint32_t version, const Digest& id);
// Gives the store's id. kCorruption, or kVersionMismatch naming both versions; `path` is for the message.
Result<Digest> decode_format(const std::string& path, std::string_view bytes);
// From the file FORMAT in the store's folder; also kNotFound.
Result<Digest> read_store_id(const std::string& path);

}  // namespace longhaul::sessions
