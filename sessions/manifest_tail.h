// The end of RocksDB's MANIFEST after a power loss: its last records, written but not yet synced, may read as a torn
// record whose rest is zeros. RocksDB takes that for damage and refuses to open.
#pragma once

#include <cstdint>
#include <string_view>

namespace longhaul::sessions {

// Of a file in RocksDB's log format (its wiki: "Write Ahead Log File Format"; blocks of 32 KiB, records of masked
// crc32c, length, type).
struct ManifestEnd {
  std::uint64_t whole_bytes = 0;  // up to the end of the last logical record that is whole
  // What follows begins as a record whose bytes end in zeros, and up to the end there are only zeros: what a torn write
  // leaves, and what a flipped bit in a record does not look like unless the file ends in zeros anyhow.
  bool torn = false;
};
ManifestEnd manifest_end(std::string_view bytes);

}  // namespace longhaul::sessions
