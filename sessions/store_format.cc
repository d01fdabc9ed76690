#include "sessions/store_format.h"

#include <fmt/format.h>

#include "runtime/base/file.h"
#include "sessions/bytes.h"

namespace longhaul::sessions {
namespace {

constexpr std::string_view kFormatMagic = "LHSTORE\n";
constexpr std::size_t kFormatBytes = 8 + 4 + 16 + 8;

}  // namespace

std::string encode_format(std::uint32_t version, const Digest& id) {
  ByteWriter out;
  out.raw(kFormatMagic);
  out.u32(version);
  out.digest(id);
  out.u64(checksum64(out.bytes()));
  return out.take();
}

// The version is looked at before the checksum: a later version may have another length.
Result<Digest> decode_format(const std::string& path, std::string_view bytes) {
  if (bytes.size() < 12 || bytes.substr(0, 8) != kFormatMagic) {
    return corruption(fmt::format("{} is not the format file of a store", path));
  }
  const std::uint32_t version = ByteReader(bytes.substr(8, 4)).u32();
  const bool whole = bytes.size() == kFormatBytes &&
                     ByteReader(bytes.substr(kFormatBytes - 8)).u64() == checksum64(bytes.substr(0, kFormatBytes - 8));
  if (version > kStoreFormatVersion && !whole) {
    // A flipped bit in the version of ours is told apart by trying ours.
    std::string ours(bytes);
    if (ours.size() == kFormatBytes) {
      for (std::size_t i = 0; i < 4; ++i) ours[8 + i] = static_cast<char>(kStoreFormatVersion >> (8 * i));
      if (ByteReader(std::string_view(ours).substr(kFormatBytes - 8)).u64() ==
          checksum64(std::string_view(ours).substr(0, kFormatBytes - 8))) {
        return corruption(fmt::format("{}: version {} does not fit its checksum", path, version));
      }
    }
  }
  if (version != kStoreFormatVersion && (version > kStoreFormatVersion || whole)) {
    return make_error(ErrorCode::kVersionMismatch,
                      fmt::format("{}: the store has format version {}, this program reads version {}; {}", path,
                                  version, kStoreFormatVersion,
                                  version > kStoreFormatVersion
                                      ? "a newer program wrote it"
                                      : "finish its sessions with the program that wrote it, and name a new folder "
                                        "with --store for this one"));
  }
  if (!whole) return corruption(fmt::format("{}: {} bytes with a wrong checksum", path, bytes.size()));
  return ByteReader(bytes.substr(12)).digest();
}

Result<Digest> read_store_id(const std::string& path) {
  auto format = read_file(path + "/FORMAT", 4096);
  if (!format) return with_context("store " + path, format.error());
  return decode_format(path + "/FORMAT", *format);
}

}  // namespace longhaul::sessions
