// LONGHAUL_CHECK: for bugs, on in every build; prints and ends the process, because recovery from disk is a path
// that is tested. Never for bad input: that is a Result. LONGHAUL_DCHECK: the same, for hot loops, debug builds only.
#pragma once

namespace longhaul {

[[noreturn]] void check_failed(const char* condition, const char* message, const char* file, int line);

}  // namespace longhaul

#define LONGHAUL_CHECK(condition, message) \
  ((condition) ? static_cast<void>(0) : ::longhaul::check_failed(#condition, message, __FILE__, __LINE__))

#ifdef NDEBUG
#define LONGHAUL_DCHECK(condition, message) static_cast<void>(sizeof((condition) ? 1 : 0))
#else
#define LONGHAUL_DCHECK(condition, message) LONGHAUL_CHECK(condition, message)
#endif
