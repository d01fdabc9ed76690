// Every byte that a worker can send: frames in pieces of varying size, then the message in each. What is accepted must
// be within its bounds and mean the same after another trip over the wire.
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <variant>

#include "sandbox/wire.h"

using namespace longhaul::sandbox;

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void check(const WorkerMessage& message) {
  if (const auto* call = std::get_if<WireHostCall>(&message)) {
    const Operation* operation = find_operation(call->call.power, call->call.op);
    require(operation != nullptr && call->call.args.size() == static_cast<std::size_t>(operation->n_args));
    auto again = decode_worker_frame({FrameKind::kHostCall, encode(*call)});
    require(again.has_value() && std::get<WireHostCall>(*again).call == call->call);
  } else if (const auto* done = std::get_if<WireDone>(&message)) {
    require(done->text.size() <= kAllocationBytesMax);
    auto again = decode_worker_frame({FrameKind::kDone, encode(*done)});
    require(again.has_value() && std::get<WireDone>(*again).text == done->text);
  } else if (const auto* log = std::get_if<WireLog>(&message)) {
    require(is_utf8(log->text));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = 1 + data[0];
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  FrameReader reader;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    reader.feed(bytes.substr(at, piece));
    for (;;) {
      auto frame = reader.next();
      if (!frame) return 0;
      if (!frame->has_value()) break;
      require((*frame)->payload.size() <= kFrameBytesMax);
      if (auto message = decode_worker_frame(**frame)) check(*message);
    }
  }
  return 0;
}
