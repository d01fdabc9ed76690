#include "sandbox/powers/files.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "sandbox/powers/file_broker.h"

namespace longhaul::sandbox {
namespace {

// For one file of at most half a megabyte; a slow network file system may need a while.
constexpr std::int64_t kAnswerMs = 20'000;

}  // namespace

Result<std::unique_ptr<Files>> Files::open(Zygote& zygote, const std::string& folder, bool writable) {
  Fd root(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root.valid()) {
    const std::string text = fmt::format("granted folder {}: {}", folder, std::strerror(errno));
    if (errno == ENOENT) return not_found(text);
    if (errno == ENOTDIR) return invalid_argument(text);
    return io_error(text);
  }
  // What a killed forerunner had begun is done from here on, and nothing of it is still to come.
  if (!lock_folder(root.get(), kLockWaitMs)) {
    return io_error(
        fmt::format("granted folder {}: another program has held a lock on it for {} ms", folder, kLockWaitMs));
  }
  unlock_folder(root.get());
  return std::unique_ptr<Files>(new Files(zygote, folder, std::move(root), writable));
}

Files::~Files() {
  stop();
}

pid_t Files::broker_pid() const {
  std::lock_guard lock(mutex_);
  return channel_ ? process_.pid : -1;
}

Result<LayerReport> Files::layers() {
  std::lock_guard lock(mutex_);
  if (!channel_) {
    if (auto started = start(); !started) return started.error();
  }
  return layers_;
}

Result<void> Files::start() {
  auto spawned = zygote_.spawn_broker(root_.get(), writable_);
  if (!spawned) return spawned.error();
  process_ = std::move(*spawned);
  channel_ = std::make_unique<Channel>(process_.socket.get());
  auto frame = channel_->receive(Deadline::in_ms(kAnswerMs), nullptr);
  if (!frame) {
    stop();
    return with_context("file broker", frame.error());
  }
  auto hello = decode_worker_frame(*frame);
  if (!hello || !std::holds_alternative<WireHello>(*hello)) {
    stop();
    return corruption("file broker: the first message is no hello");
  }
  layers_ = std::move(std::get<WireHello>(*hello).layers);
  return {};
}

void Files::stop() {
  if (!channel_) return;
  channel_.reset();
  // Its end is of no interest, and an error means that the zygote is gone and took it along.
  [[maybe_unused]] const auto status = zygote_.finish(process_);
  process_ = Spawned();
}

HostAnswer Files::answer(const HostCall& call) {
  std::lock_guard lock(mutex_);
  const Operation* operation = find_operation(call.power, call.op);
  const bool effect = operation != nullptr && operation->effect;
  const WireHostCall request{++n_requests_, call};
  const std::string payload = encode(request);
  for (int attempt = 0;; ++attempt) {
    const bool fresh = !channel_;
    if (fresh) {
      if (auto started = start(); !started) return HostAnswer::failure("files: " + started.error().message);
    }
    const Deadline deadline = Deadline::in_ms(kAnswerMs);
    auto sent = channel_->send(FrameKind::kBrokerRequest, payload, deadline, nullptr);
    if (!sent) {
      stop();
      // An idle broker may have been killed since its last answer; it has not seen this request whole.
      if (!fresh && attempt == 0) continue;
      return HostAnswer::failure("files: " + sent.error().message);
    }
    auto frame = channel_->receive(deadline, nullptr);
    if (!frame) {
      stop();
      if (!effect && !fresh && attempt == 0) continue;
      return HostAnswer::failure(
          fmt::format("files: {}{}", frame.error().message, effect ? "; whether it was done is not known" : ""));
    }
    auto answer = frame->kind == FrameKind::kBrokerAnswer ? decode_host_answer(frame->payload, request.id)
                                                          : Result<HostAnswer>(corruption("the broker sent no answer"));
    if (!answer) {
      stop();
      return HostAnswer::failure("files: " + answer.error().message);
    }
    return std::move(*answer);
  }
}

}  // namespace longhaul::sandbox
