#include "sandbox/drive.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace longhaul::sandbox {
namespace {

using Kind = CallOutcome::Kind;

}  // namespace

CallOutcome Drive::run(FrameKind kind, const std::string& payload, const Grants& grants, HostPowers* powers) {
  grants_ = grants;
  powers_ = powers;
  if (auto sent = channel_.send(kind, payload, deadline_, cancel_); !sent) return stopped(sent.error());
  for (;;) {
    auto frame = channel_.receive(deadline_, cancel_);
    if (!frame) return stopped(frame.error());
    auto message = decode_worker_frame(*frame);
    if (!message) return stopped(message.error());
    if (auto* log = std::get_if<WireLog>(&*message)) {
      take_log(log->text);
    } else if (auto* call = std::get_if<WireHostCall>(&*message)) {
      if (auto answered = answer(*call); !answered) return stopped(answered.error());
      if (outcome_.limit != LimitKind::kNone || outcome_.kind == Kind::kSleeping) return std::move(outcome_);
    } else if (auto* done = std::get_if<WireDone>(&*message)) {
      return finish(*done);
    } else {
      return stopped(corruption("a second hello"));
    }
  }
}

CallOutcome Drive::stopped(const Error& error) {
  outcome_.text = error.message;
  switch (error.code) {
    case ErrorCode::kDeadlineExceeded:
      outcome_.kind = Kind::kTimeout;
      outcome_.text = fmt::format("no result after {} ms", limits_.wall_ms);
      break;
    case ErrorCode::kCancelled:
      outcome_.kind = Kind::kCancelled;
      break;
    case ErrorCode::kIo:
      outcome_.kind = Kind::kWorkerDied;
      break;
    default:
      outcome_.kind = Kind::kProtocol;
  }
  return std::move(outcome_);
}

void Drive::take_log(std::string_view text) {
  // The worker keeps to the limit; one that does not is cut here. The slack is for its note that the log is full.
  const std::size_t bytes_max = static_cast<std::size_t>(limits_.log_bytes) + 128;
  const std::size_t room = bytes_max - std::min(bytes_max, outcome_.log.size());
  std::size_t n = std::min(room, text.size());
  while (n > 0 && n < text.size() && (static_cast<unsigned char>(text[n]) & 0xc0) == 0x80) --n;
  outcome_.log.append(text.substr(0, n));
}

Result<void> Drive::answer(const WireHostCall& request) {
  if (powers_ == nullptr) return corruption("a host call while loading");
  if (request.id != static_cast<std::uint64_t>(outcome_.n_host_calls) + 1) {
    return corruption(fmt::format("host call {}, expected {}", request.id, outcome_.n_host_calls + 1));
  }
  if (outcome_.n_host_calls >= limits_.host_calls) {
    outcome_.kind = Kind::kLimit;
    outcome_.limit = LimitKind::kHostCalls;
    outcome_.text = fmt::format("limit of {} host calls reached", limits_.host_calls);
    return {};
  }
  ++outcome_.n_host_calls;
  const Operation& operation = *find_operation(request.call.power, request.call.op);
  HostAnswer answer;
  // An honest worker does not offer what is not granted; this is what makes it hold.
  if (granted(grants_, operation.power) < operation.needs) {
    answer = HostAnswer::failure(fmt::format("power {} not granted", operation.power));
  } else {
    if (operation.effect) ++outcome_.n_effects;
    answer = powers_->answer(request.call);
  }
  if (answer.sleep_until_ms) {
    outcome_.kind = Kind::kSleeping;
    outcome_.sleep_until_ms = *answer.sleep_until_ms;
    outcome_.text = fmt::format("sleeping until {} ms since 1970", *answer.sleep_until_ms);
    return {};
  }
  std::string payload = encode_host_answer(request.id, answer);
  if (payload.size() > kFrameBytesMax) {
    payload = encode_host_answer(request.id, HostAnswer::failure("the answer is too large"));
  }
  return channel_.send(FrameKind::kHostAnswer, payload, deadline_, cancel_);
}

CallOutcome Drive::finish(const WireDone& done) {
  if (done.status == DoneStatus::kOk && done.text.size() > static_cast<std::size_t>(limits_.output_bytes) &&
      powers_ != nullptr) {
    return stopped(corruption("a result beyond its limit"));
  }
  outcome_.kind = done.status == DoneStatus::kOk          ? Kind::kOk
                  : done.status == DoneStatus::kToolError ? Kind::kToolError
                                                          : Kind::kLimit;
  outcome_.limit = done.limit;
  outcome_.text = done.text;
  outcome_.cpu_ms = static_cast<double>(done.cpu_us) / 1'000.0;
  return std::move(outcome_);
}

}  // namespace longhaul::sandbox
