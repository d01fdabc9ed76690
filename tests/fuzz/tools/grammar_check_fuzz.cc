// Lines of `grammar check --batch`: any bytes give an answer or an error.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "runtime/base/check.h"
#include "runtime/base/json.h"
#include "tools/grammar_check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static longhaul::tools::GrammarChecker checker;
  auto answer = checker.check_line(std::string_view(reinterpret_cast<const char*>(data), size));
  if (answer) LONGHAUL_CHECK(longhaul::parse_json(*answer).has_value(), "an answer is JSON");
  return 0;
}
