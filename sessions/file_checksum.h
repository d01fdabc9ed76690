// The checksum of a whole table in the database's own list of files. Internal to this room.
#pragma once

#include <rocksdb/file_checksum.h>

#include <memory>

namespace longhaul::sessions {

// XXH3-128, taken while a table is written: the database's CRC-32C runs at 0.8 GB/s where the library is built for any
// processor, which was half of what a large commit took. Tables that older programs listed with that one are still
// checked with it.
std::shared_ptr<rocksdb::FileChecksumGenFactory> file_checksum_factory();

}  // namespace longhaul::sessions
