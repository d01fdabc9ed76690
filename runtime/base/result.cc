#include "runtime/base/result.h"

#include "runtime/base/check.h"

namespace longhaul {

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "invalid_argument";
    case ErrorCode::kNotFound:
      return "not_found";
    case ErrorCode::kCorruption:
      return "corruption";
    case ErrorCode::kVersionMismatch:
      return "version_mismatch";
    case ErrorCode::kConflict:
      return "conflict";
    case ErrorCode::kIo:
      return "io";
    case ErrorCode::kResourceExhausted:
      return "resource_exhausted";
    case ErrorCode::kDeadlineExceeded:
      return "deadline_exceeded";
    case ErrorCode::kCancelled:
      return "cancelled";
    case ErrorCode::kToolFailed:
      return "tool_failed";
    case ErrorCode::kInDoubt:
      return "in_doubt";
    case ErrorCode::kUnsupported:
      return "unsupported";
    case ErrorCode::kInternal:
      return "internal";
  }
  return "unknown";
}

void throw_exception_from_error(const Error& error, const boost::source_location& location) {
  check_failed("result has a value", error.message.c_str(), location.file_name(), static_cast<int>(location.line()));
}

}  // namespace longhaul
