// What one call may use up. A script cannot catch any of these: reaching one ends the call with
// CallOutcome::kLimit or kTimeout, whatever the script does about it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "runtime/base/result.h"

namespace longhaul::sandbox {

struct Limits {
  // CPU time of the worker, user and system. Lua stops at its next instruction; code inside one long instruction or
  // library call ends with the process `kCpuGraceMs` later.
  std::int64_t cpu_ms = 2'000;
  // From the request's first byte to the answer's last, host calls included. Kept by the host, which kills the worker.
  std::int64_t wall_ms = 30'000;
  // What the Lua state may hold at one time.
  std::int64_t memory_bytes = 64 << 20;
  // The text that comes back.
  std::int64_t output_bytes = 256 << 10;
  // What `print` keeps; the rest is dropped and the log says so. Not an error.
  std::int64_t log_bytes = 64 << 10;
  // Requests to the host in one call.
  std::int64_t host_calls = 4'096;

  friend bool operator==(const Limits&, const Limits&) = default;
};

// Which limit ended a call.
enum class LimitKind : std::uint8_t { kNone, kCpu, kMemory, kOutput, kHostCalls };
std::string_view to_string(LimitKind limit);

// Chosen, not measured, except where said.
inline constexpr std::size_t kSourceBytesMax = 256 << 10;
inline constexpr std::size_t kArgumentsBytesMax = 1 << 20;
// One allocation of the Lua state. It bounds the cost of a single uninterruptible instruction: with 512 KiB a table of
// 16 k colliding integer keys costs 0.4 s, with 4 MiB one of 125 k keys more than 25 s (a fast x86-64 core, Lua 5.4.4).
inline constexpr std::size_t kAllocationBytesMax = 1 << 20;
// Strings that library functions build; below the allocation limit, so that the script gets an ordinary error.
inline constexpr std::size_t kBuiltStringBytesMax = kAllocationBytesMax - 64;
inline constexpr std::int64_t kCpuGraceMs = 250;
// A pattern match may take this many steps, and this many more for each byte of the subject, so that the plain linear
// patterns never meet the limit.
inline constexpr std::uint64_t kPatternStepsMax = 2'000'000;
inline constexpr std::uint64_t kPatternStepsPerByte = 16;
inline constexpr std::int64_t kTableRangeMax = 1'000'000;
inline constexpr int kCoroutineNestingMax = 128;
inline constexpr std::size_t kJsonDepthMax = 64;

// kInvalidArgument names the first field out of range, its value and its range.
Result<void> check_limits(const Limits& limits);

}  // namespace longhaul::sandbox
