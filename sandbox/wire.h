// The protocol between host and worker (and host and file broker): frames over a stream socket, JSON text in them.
// A frame is `L` `H` version kind, length (4 bytes, little endian), payload. The host takes every byte from a worker
// as hostile: bounded, parsed strictly, checked field by field; the first fault ends that worker.
//
//   host -> worker   load {name, source, limits}                  worker -> host   hello {layers}
//                    call {call_id, key, seed, args, limits}                       host_call {id, power, op, args}
//                    host_answer {id, ok | error}                                  log {text}
//                                                                                  done {status, limit, text, cpu_us}
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "runtime/base/result.h"
#include "sandbox/isolation.h"
#include "sandbox/limits.h"
#include "sandbox/powers/powers.h"

namespace longhaul::sandbox {

inline constexpr std::uint8_t kWireVersion = 1;
inline constexpr std::size_t kFrameHeaderBytes = 8;
// The largest honest frame is two strings of 1 MiB in which JSON escapes every byte with six.
inline constexpr std::size_t kFrameBytesMax = 14 << 20;

enum class FrameKind : std::uint8_t {
  kHello = 1,
  kLoad = 2,
  kCall = 3,
  kHostCall = 4,
  kHostAnswer = 5,
  kLog = 6,
  kDone = 7,
  kBrokerRequest = 8,
  kBrokerAnswer = 9,
};

struct Frame {
  FrameKind kind = FrameKind::kHello;
  std::string payload;
};

// `payload` is at most kFrameBytesMax (checked: a bug otherwise).
std::string encode_frame(FrameKind kind, std::string_view payload);

// Takes bytes as they come and gives frames. After an error it stays in error.
class FrameReader {
 public:
  void feed(std::string_view bytes) { buffer_.append(bytes); }
  // No value: more bytes are needed. kCorruption: magic, version, kind or length.
  Result<std::optional<Frame>> next();
  std::size_t buffered() const { return buffer_.size() - at_; }

 private:
  std::string buffer_;
  std::size_t at_ = 0;
  std::optional<Error> broken_;
};

struct WireHello {
  LayerReport layers;
};
struct WireHostCall {
  std::uint64_t id = 0;
  HostCall call;
};
struct WireLog {
  std::string text;
};
enum class DoneStatus : std::uint8_t { kOk, kToolError, kLimit };
struct WireDone {
  DoneStatus status = DoneStatus::kToolError;
  LimitKind limit = LimitKind::kNone;
  std::string text;
  std::int64_t cpu_us = 0;
};
using WorkerMessage = std::variant<WireHello, WireHostCall, WireLog, WireDone>;

// Host side. kCorruption names what is wrong; operation and arity of a host call are checked against kOperations.
Result<WorkerMessage> decode_worker_frame(const Frame& frame);

// Both sides: the rest of the messages. Decoding here is for what the trusted side sends; still checked.
struct LoadRequest {
  std::string name;  // shown in error positions
  std::string source;
  Limits limits;
};
struct WireCall {
  std::string call_id;
  std::string key;
  std::uint64_t seed = 0;
  json::value args;
  Limits limits;
};
std::string encode(const LoadRequest& load);
std::string encode(const WireCall& call);
std::string encode_host_answer(std::uint64_t id, const HostAnswer& answer);
std::string encode(const LayerReport& hello);
std::string encode(const WireHostCall& call);
std::string encode(const WireLog& log);
std::string encode(const WireDone& done);
Result<LoadRequest> decode_load(std::string_view payload);
Result<WireCall> decode_call(std::string_view payload);
Result<HostAnswer> decode_host_answer(std::string_view payload, std::uint64_t id);

// Well-formed UTF-8 (no surrogates, no overlong forms, up to U+10FFFF), what JSON text must be.
bool is_utf8(std::string_view text);

}  // namespace longhaul::sandbox
