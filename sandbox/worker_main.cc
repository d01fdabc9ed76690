#include "sandbox/worker_main.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>

#include "sandbox/lua_state.h"
#include "sandbox/wire.h"

namespace longhaul::sandbox {
namespace {

// The blocking end of the wire. Ends the process when the host goes or talks nonsense.
class WorkerEnd : public HostLink {
 public:
  explicit WorkerEnd(int socket) : socket_(socket) {}

  void send(FrameKind kind, std::string_view payload) {
    const std::string frame = encode_frame(kind, payload);
    for (std::size_t at = 0; at < frame.size();) {
      const ssize_t written = ::write(socket_, frame.data() + at, frame.size() - at);
      if (written > 0) {
        at += static_cast<std::size_t>(written);
      } else if (errno != EINTR) {
        ::_exit(0);
      }
    }
  }

  Frame receive() {
    for (;;) {
      auto frame = reader_.next();
      if (!frame) ::_exit(1);
      if (frame->has_value()) return std::move(**frame);
      char bytes[16 << 10];
      const ssize_t got = ::read(socket_, bytes, sizeof bytes);
      if (got > 0) {
        reader_.feed({bytes, static_cast<std::size_t>(got)});
      } else if (got == 0 || errno != EINTR) {
        ::_exit(0);
      }
    }
  }

  HostAnswer ask(const HostCall& call) override {
    const std::uint64_t id = ++n_asked_;
    send(FrameKind::kHostCall, encode(WireHostCall{id, call}));
    const Frame frame = receive();
    if (frame.kind != FrameKind::kHostAnswer) ::_exit(1);
    auto answer = decode_host_answer(frame.payload, id);
    if (!answer) ::_exit(1);
    return std::move(*answer);
  }

  void log(std::string_view text) override { send(FrameKind::kLog, encode(WireLog{std::string(text)})); }

  void new_call() { n_asked_ = 0; }

 private:
  int socket_;
  FrameReader reader_;
  std::uint64_t n_asked_ = 0;
};

class NoLink : public HostLink {
 public:
  HostAnswer ask(const HostCall&) override { return HostAnswer::failure("no host"); }
  void log(std::string_view) override {}
};

}  // namespace

void worker_main(int socket, const LayerReport& report) {
  WorkerEnd end(socket);
  end.send(FrameKind::kHello, encode(report));
  if (!report.plugins_allowed) ::_exit(0);
  std::optional<LoadRequest> plugin;
  for (;;) {
    const Frame frame = end.receive();
    end.new_call();
    if (frame.kind == FrameKind::kLoad) {
      auto load = decode_load(frame.payload);
      if (!load) ::_exit(1);
      plugin = std::move(*load);
      const ScriptJob job{*plugin, nullptr, plugin->limits, end};
      end.send(FrameKind::kDone, encode(run_script(job)));
    } else if (frame.kind == FrameKind::kCall && plugin) {
      auto call = decode_call(frame.payload);
      if (!call) ::_exit(1);
      const ScriptJob job{*plugin, &*call, call->limits, end};
      end.send(FrameKind::kDone, encode(run_script(job)));
    } else {
      ::_exit(1);
    }
  }
}

void probe_main(int socket, const LayerReport& report) {
  WorkerEnd end(socket);
  end.send(FrameKind::kHello, encode(report));
  const long fd = ::syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY | O_CLOEXEC);
  if (fd >= 0) end.log("open works");
  ::_exit(0);
}

void warm_up_worker() {
  install_stop_signal();
  // The error makes the C++ runtime set up what it needs to unwind.
  const LoadRequest plugin{"warm-up.lua", "return { run = function() error('x') end }", Limits{}};
  const WireCall call{"", "", 0, json::object{}, Limits{}};
  NoLink link;
  run_script({plugin, &call, Limits{}, link});
}

}  // namespace longhaul::sandbox
