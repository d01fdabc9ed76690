// grammar check: schemas with instances, a line in, a line out.
#include <fmt/format.h>

#include <fstream>
#include <iostream>

#include "runtime/cli/support.h"
#include "tools/grammar_check.h"

namespace longhaul::cli {

int grammar_check(const GrammarOptions& options) {
  std::ifstream file;
  if (options.batch != "-") {
    file.open(options.batch, std::ios::binary);
    if (!file) return fail(options.common, not_found(fmt::format("cannot open {}", options.batch)));
  }
  std::istream& in = options.batch == "-" ? std::cin : file;
  tools::GrammarChecker checker;
  std::string line;
  std::size_t number = 0;
  int status = kExitDone;
  while (std::getline(in, line)) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    auto result = checker.check_line(line);
    if (result) {
      fmt::print("{}\n", *result);
    } else {
      // One bad line does not hide what is said of the others.
      print_json({{"status", "error"}, {"line", number}, {"reason", result.error().message}});
      status = kExitFailed;
    }
  }
  if (in.bad()) return fail(options.common, io_error(fmt::format("cannot read {}", options.batch)));
  return status;
}

}  // namespace longhaul::cli
