// Catalog entries, manifests and the high-water mark from hostile bytes: never a crash, one spelling each.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "sessions/entries.h"
#include "sessions/high_water.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace longhaul::sessions;
  if (size < 1) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto same = [&](const auto& value) {
    if (value && encode(*value) != bytes) std::abort();
  };
  switch (data[0] % 7) {
    case 0:
      same(decode_session(bytes));
      break;
    case 1:
      same(decode_branch(bytes));
      break;
    case 2:
      same(decode_manifest(bytes));
      break;
    case 3:
      same(decode_generation(bytes));
      break;
    case 4:
      same(decode_numbers(bytes));
      break;
    case 5: {
      auto mark = decode_mark(bytes);
      if (mark && encode_mark(*mark) != bytes) std::abort();
      break;
    }
    case 6: {
      // Any payload, sealed, comes back; a changed byte does not.
      std::string sealed = seal(Family::kPages, "key", ValueKind::kPage, bytes);
      auto payload = unseal(Family::kPages, "key", sealed, ValueKind::kPage);
      if (!payload || *payload != bytes) std::abort();
      sealed[data[0] / 7 % sealed.size()] ^= 1;
      if (unseal(Family::kPages, "key", sealed).has_value()) std::abort();
      break;
    }
  }
  static_cast<void>(check_session_name(bytes).has_value());
  return 0;
}
