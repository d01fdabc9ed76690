// Small-file helpers with errors that name the path. Large files are mapped (model/) or owned by RocksDB (sessions/).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "runtime/base/result.h"

namespace longhaul {

// The whole file. kNotFound if there is none, kResourceExhausted above `bytes_max`, kIo otherwise.
Result<std::string> read_file(const std::string& path, std::size_t bytes_max);

// Replaces `path` by temporary file, fsync, rename and fsync of the folder: after a crash either the old or the new
// content is there, whole.
Result<void> write_file_atomic(const std::string& path, std::string_view content);

// After this, names made, changed or removed in the folder survive power loss.
Result<void> sync_folder(const std::string& folder);

}  // namespace longhaul
