#include "runtime/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace longhaul {

void check_failed(const char* condition, const char* message, const char* file, int line) {
  std::fprintf(stderr, "longhaul: bug: %s (%s) at %s:%d\n", message, condition, file, line);
  std::fflush(stderr);
  std::abort();
}

}  // namespace longhaul
