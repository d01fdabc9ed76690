// Journal records from hostile bytes: never a crash, and what is accepted has exactly one spelling.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "sessions/entries.h"
#include "sessions/record.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace longhaul::sessions;
  if (size < 2) return 0;
  const std::string_view payload(reinterpret_cast<const char*>(data) + 2, size - 2);
  auto record = decode_payload(data[0], data[1], payload);
  if (record) {
    if (encode_payload(*record) != payload || kind_of(*record) != data[0]) std::abort();
    // Sealed and unsealed again, it is the same; under another key it is refused.
    const std::string key = journal_key(3, 7);
    const SealedRecord sealed = seal_record(key, {}, {3, 7, data[1], *record});
    longhaul::Digest chain;
    auto back = unseal_record(key, sealed.value, chain);
    if (!back || !(back->record == *record) || chain != sealed.chain) std::abort();
    if (unseal_record(journal_key(3, 8), sealed.value).has_value()) std::abort();
  }
  // As a whole value it practically never passes the checksum, but must not be believed before that.
  const std::string_view whole(reinterpret_cast<const char*>(data), size);
  static_cast<void>(unseal_record(journal_key(1, 1), whole).has_value());
  return 0;
}
