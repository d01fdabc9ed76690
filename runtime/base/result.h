// The one error type of the project. `Result<T>` holds a value or an `Error`; it is [[nodiscard]] and has the
// shape of std::expected, which C++20 does not have yet.
#pragma once

#include <boost/system/result.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace longhaul {

// Few codes: each tells the caller what to do, not what happened in which library.
enum class ErrorCode : std::uint8_t {
  kInvalidArgument,    // the request is wrong; asking again will not help
  kNotFound,           // the named thing does not exist
  kCorruption,         // stored or shipped bytes are damaged
  kVersionMismatch,    // written by another model, numerics or format
  kConflict,           // somebody else changed or holds it
  kIo,                 // the system refused (disk full, permission, ...)
  kResourceExhausted,  // a limit of ours was reached
  kDeadlineExceeded,   // it took too long
  kCancelled,          // a person or the program asked to stop
  kToolFailed,         // a tool said no, or died
  kInDoubt,            // an effect may or may not have happened (contract C6)
  kUnsupported,        // valid, but not done by this build or this version
  kInternal,           // a bug that could be contained
};

std::string_view to_string(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;  // names the object, the place and both values

  friend bool operator==(const Error&, const Error&) = default;
};

// Makes Boost's result throw nothing of ours by surprise: value() on an error ends the process with the message.
[[noreturn]] void throw_exception_from_error(const Error& error, const boost::source_location& location);

template <class T>
class [[nodiscard]] Result : public boost::system::result<T, Error> {
 public:
  using boost::system::result<T, Error>::result;
  Result(boost::system::result<T, Error>&& other) : boost::system::result<T, Error>(std::move(other)) {}
};

template <>
class [[nodiscard]] Result<void> : public boost::system::result<void, Error> {
 public:
  using boost::system::result<void, Error>::result;
};

inline Error make_error(ErrorCode code, std::string message) {
  return Error{code, std::move(message)};
}
inline Error invalid_argument(std::string message) {
  return {ErrorCode::kInvalidArgument, std::move(message)};
}
inline Error not_found(std::string message) {
  return {ErrorCode::kNotFound, std::move(message)};
}
inline Error corruption(std::string message) {
  return {ErrorCode::kCorruption, std::move(message)};
}
inline Error io_error(std::string message) {
  return {ErrorCode::kIo, std::move(message)};
}
inline Error unsupported(std::string message) {
  return {ErrorCode::kUnsupported, std::move(message)};
}
inline Error internal_error(std::string message) {
  return {ErrorCode::kInternal, std::move(message)};
}

// `where: message`, for the layer that knows which file or session it was.
inline Error with_context(std::string_view where, Error error) {
  error.message = std::string(where) + ": " + error.message;
  return error;
}

}  // namespace longhaul
