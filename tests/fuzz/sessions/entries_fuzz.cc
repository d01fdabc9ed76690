// Catalog entries, manifests and the high-water mark from hostile bytes: never a crash, one spelling each.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "sessions/entries.h"
#include "sessions/high_water.h"
#include "sessions/page_run.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace longhaul::sessions;
  if (size < 1) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto same = [&](const auto& value) {
    if (value && encode(*value) != bytes) std::abort();
  };
  switch (data[0] % 9) {
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
      std::string sealed = seal(Family::kStates, "key", ValueKind::kStateFixed, bytes);
      auto payload = unseal(Family::kStates, "key", sealed, ValueKind::kStateFixed);
      if (!payload || *payload != bytes) std::abort();
      sealed[data[0] / 9 % sealed.size()] ^= 1;
      if (unseal(Family::kStates, "key", sealed).has_value()) std::abort();
      break;
    }
    case 7: {
      // A page run of hostile bytes under a right envelope: every page is looked at without harm.
      for (const std::size_t page_bytes : {1, 16, 4096}) {
        const std::string sealed = seal(Family::kPages, "key", ValueKind::kPageRun, bytes);
        const auto run = PageRunValue::open("key", sealed, page_bytes);
        if (!run) continue;
        for (std::uint32_t i = 0; i < run->n(); ++i) static_cast<void>(run->check(i).has_value());
      }
      // A true one: a changed byte is found, in the page it is in or in the table.
      std::string page(bytes.substr(0, 64));
      page.resize(64);
      const std::byte* pages[] = {reinterpret_cast<const std::byte*>(page.data()),
                                  reinterpret_cast<const std::byte*>(page.data()) + 32};
      std::string sealed = seal_page_run("key", pages, 32);
      sealed[data[0] / 9 * 7 % sealed.size()] ^= 1;
      const auto run = PageRunValue::open("key", sealed, 32);
      if (run && run->check(0).has_value() && run->check(1).has_value()) std::abort();
      break;
    }
    case 8: {
      const auto value = decode_summaries(bytes, 8);
      if (value && encode_summaries(value->n_layers, value->n_pages, 8, value->bytes) != bytes) std::abort();
      break;
    }
  }
  static_cast<void>(check_session_name(bytes).has_value());
  return 0;
}
