// A table's bytes from a bad disk: no read outside the file, never a crash.
#include "runtime/base/check.h"
#include "sessions/table_check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  static_cast<void>(longhaul::sessions::check_table(
                        size,
                        [&](std::uint64_t offset, std::size_t n_bytes) -> longhaul::Result<std::string> {
                          LONGHAUL_CHECK(offset <= size && n_bytes <= size - offset, "a read outside the file");
                          return std::string(bytes.substr(offset, n_bytes));
                        })
                        .has_value());
  return 0;
}
