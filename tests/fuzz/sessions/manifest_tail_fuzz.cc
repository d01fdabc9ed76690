// Bytes of a manifest after a power loss: what is cut off is never more than there is, and what is left is whole.
#include "runtime/base/check.h"
#include "sessions/manifest_tail.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using longhaul::sessions::manifest_end;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto end = manifest_end(bytes);
  LONGHAUL_CHECK(end.whole_bytes <= size, "cut behind the end");
  LONGHAUL_CHECK(!end.torn || (size > 0 && bytes.back() == '\0'), "torn without zeros");
  const auto again = manifest_end(bytes.substr(0, end.whole_bytes));
  LONGHAUL_CHECK(again.whole_bytes == end.whole_bytes && !again.torn, "what is left is not whole");
  return 0;
}
