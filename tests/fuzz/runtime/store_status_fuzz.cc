// The status file from hostile bytes: never a crash; what is accepted is written again as the same bytes' meaning. The
// checksum would stop nearly every mutation, so the bytes are also tried with a checksum that fits.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "runtime/base/hash.h"
#include "runtime/store_status.h"

namespace {

void check(std::string_view bytes) {
  using namespace longhaul::runtime;
  auto status = decode_status(bytes);
  if (!status) return;
  const std::string again = encode_status(*status);
  if (again.size() > kStatusBytesMax) std::abort();
  auto back = decode_status(again);
  if (!back || back->sessions.size() > status->sessions.size() || back->pid != status->pid) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  check(bytes);
  if (size < 24) return 0;
  std::string fitting(bytes.substr(0, size - 8));
  const auto n = static_cast<std::uint32_t>(fitting.size() - 16);
  for (std::size_t i = 0; i < 4; ++i) fitting[12 + i] = static_cast<char>(n >> (8 * i));
  const std::uint64_t sum = longhaul::checksum64(fitting);
  for (int i = 0; i < 8; ++i) fitting.push_back(static_cast<char>(sum >> (8 * i)));
  check(fitting);
  return 0;
}
