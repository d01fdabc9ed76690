// Looks at what RocksDB 7.8 does not check of a table before it uses it: the block of properties is parsed before its
// checksum is compared, and a table whose properties are damaged is opened with default ones. Either can meet an
// assert, which ends the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "runtime/base/result.h"

namespace longhaul::sessions {

using ReadAt = std::function<Result<std::string>(std::uint64_t offset, std::size_t n_bytes)>;

// kCorruption if the table's own list of its blocks (metaindex) or its properties do not fit their checksums; errors of
// `read` as they are. Tables in a form that this program does not write (footer version 2 to 5 with XXH3 checksums;
// source: RocksDB's wiki "BlockBasedTable Format" and `table/format.cc`) are left to RocksDB.
Result<void> check_table(std::uint64_t file_bytes, const ReadAt& read);

}  // namespace longhaul::sessions
