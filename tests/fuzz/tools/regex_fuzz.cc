// A pattern, a line end, a text: whatever is read must settle within its limits, and what a state allows must be what
// the whole text is judged by.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "runtime/base/check.h"
#include "tools/regex.h"
#include "tools/utf8.h"

using namespace longhaul;
using namespace longhaul::tools;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (size > 512) return 0;
  const std::size_t cut = std::min(input.find('\n'), input.size());
  RegexPool pool;
  auto id = pool.pattern(input.substr(0, cut));
  if (!id || !pool.settle(*id)) return 0;
  const RegexId other = pool.complement(*id);
  if (!pool.settle(other)) return 0;
  const std::string_view text = cut < size ? input.substr(cut + 1) : std::string_view();
  if (!is_utf8(text)) return 0;
  const bool found = pool.matches(*id, text);
  LONGHAUL_CHECK(pool.matches(other, text) != found, "the complement is the rest");
  if (found) {
    const auto n = static_cast<std::uint32_t>(text.size());
    LONGHAUL_CHECK(!pool.empty(*id) && pool.shortest(*id) <= n, "no accepted text is shorter than the shortest");
    LONGHAUL_CHECK(pool.longest(*id) == kUnbounded || pool.longest(*id) * 4ULL >= n, "nor longer than the longest");
  }
  if (pool.empty(*id)) LONGHAUL_CHECK(pool.count(*id, 10) == 0, "an empty language has no texts");
  return 0;
}
