#include "sandbox/zygote.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "sandbox/channel.h"
#include "sandbox/powers/file_broker.h"
#include "sandbox/wire.h"
#include "sandbox/worker_main.h"

namespace longhaul::sandbox {
namespace {

// Host and zygote are the same program, so plain structs will do; one packet a message.
enum Op : std::uint32_t { kSpawnWorker = 1, kSpawnBroker = 2, kReap = 3, kSpawnProbe = 4 };
struct Request {
  std::uint32_t op = 0;
  std::int64_t argument = 0;
};
struct Reply {
  std::int32_t error = 0;  // errno
  std::int32_t value = 0;  // pid, or a wait status
};
constexpr int kFdsMax = 2;

bool send_packet(int socket, const void* data, std::size_t size, const int* fds, int n_fds) {
  iovec part{const_cast<void*>(data), size};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kFdsMax)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (n_fds > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * static_cast<std::size_t>(n_fds));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * static_cast<std::size_t>(n_fds));
    std::memcpy(CMSG_DATA(header), fds, sizeof(int) * static_cast<std::size_t>(n_fds));
  }
  ssize_t sent;
  do {
    sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(size);
}

// The number of bytes, 0 at the end, -1 on error. Descriptors that came along go to `fds`.
ssize_t receive_packet(int socket, void* data, std::size_t size, std::vector<Fd>& fds) {
  iovec part{data, size};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kFdsMax)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got;
  do {
    got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return got;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t n = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < n; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return got;
}

// Arguments and environment stand in one stretch of the stack, whose bounds /proc/self/stat gives (fields 48 to 51).
void wipe_arguments_and_environment() {
  std::FILE* stat = std::fopen("/proc/self/stat", "re");
  if (stat != nullptr) {
    char text[2048] = {};
    const std::size_t n = std::fread(text, 1, sizeof text - 1, stat);
    std::fclose(stat);
    text[n] = 0;
    const char* after_name = std::strrchr(text, ')');
    unsigned long bounds[4] = {};
    if (after_name != nullptr) {
      int field = 2;
      for (const char* at = after_name + 1; *at != 0; ++at) {
        if (*at != ' ') continue;
        ++field;
        if (field >= 48 && field <= 51) bounds[field - 48] = std::strtoul(at + 1, nullptr, 10);
      }
    }
    for (int i = 0; i < 4; i += 2) {
      if (bounds[i] != 0 && bounds[i + 1] > bounds[i] && bounds[i + 1] - bounds[i] < (4UL << 20)) {
        std::memset(reinterpret_cast<void*>(bounds[i]), 0, bounds[i + 1] - bounds[i]);
      }
    }
  }
  ::clearenv();
}

// fork(), into new namespaces, with a pidfd. Returns as fork does. Not glibc's fork, which can do neither; the child
// has one thread and uses nothing that depends on glibc's idea of its thread id.
pid_t clone_process(std::uint64_t flags, int* pidfd) {
  clone_args args{};
  args.flags = flags | CLONE_PIDFD;
  args.pidfd = reinterpret_cast<std::uint64_t>(pidfd);
  args.exit_signal = SIGCHLD;
  auto pid = ::syscall(SYS_clone3, &args, sizeof args);
  if (pid < 0 && errno == ENOSYS) {
    // Container profiles without clone3.
    pid = ::syscall(SYS_clone, flags | CLONE_PIDFD | SIGCHLD, nullptr, pidfd, nullptr, nullptr);
  }
  return static_cast<pid_t>(pid);
}

// The process itself. One thread, no state but what is here.
class ZygoteProcess {
 public:
  ZygoteProcess(int control, const IsolationOptions& options)
      : control_(control), options_(options), uid_(::getuid()), gid_(::getgid()) {}

  [[noreturn]] void run() {
    prepare();
    for (;;) {
      Request request;
      std::vector<Fd> fds;
      const ssize_t got = receive_packet(control_, &request, sizeof request, fds);
      if (got == 0) ::_exit(0);  // the host is gone; the workers follow by their death signal
      if (got != sizeof request) ::_exit(1);
      if (request.op == kReap) {
        reap(static_cast<pid_t>(request.argument));
      } else {
        spawn(request, fds);
      }
    }
  }

 private:
  void prepare() {
    ::setsid();  // Ctrl-C in the terminal is the host's business
    for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2}) ::signal(signal, SIG_IGN);
    ::signal(SIGCHLD, SIG_DFL);
    ::prctl(PR_SET_NAME, "longhaul-zygote", 0, 0, 0);
    // Only the control socket stays open; 0 to 2 lead nowhere (a sanitizer keeps 2 to report).
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    const int control = ::fcntl(control_, F_DUPFD_CLOEXEC, 16);
    if (control < 0) ::_exit(1);
    if (null >= 0) {
      ::dup2(null, 0);
      ::dup2(null, 1);
      if (!sanitizer_build()) ::dup2(null, 2);
    }
    ::dup3(control, 3, O_CLOEXEC);
    control_ = 3;
    ::syscall(SYS_close_range, 4U, ~0U, 0U);
    wipe_arguments_and_environment();
    rlimit stack{};
    // Lua recurses on this stack; workers inherit the limit.
    if (::getrlimit(RLIMIT_STACK, &stack) == 0 && stack.rlim_cur < (8U << 20)) {
      stack.rlim_cur = stack.rlim_max < (8U << 20) ? stack.rlim_max : (8U << 20);
      ::setrlimit(RLIMIT_STACK, &stack);
    }
    auto worker = worker_seccomp();
    auto broker = broker_seccomp();
    if (worker) worker_programs_ = std::move(*worker);
    if (broker) broker_programs_ = std::move(*broker);
    warm_up_worker();
  }

  void reap(pid_t pid) {
    Reply reply;
    int status = 0;
    const pid_t got = ::waitpid(pid, &status, 0);
    if (got < 0) reply.error = errno;
    reply.value = status;
    send_packet(control_, &reply, sizeof reply, nullptr, 0);
  }

  void spawn(const Request& request, std::vector<Fd>& fds) {
    Reply reply;
    int pidfd = -1;
    if (fds.empty() || (request.op == kSpawnBroker && fds.size() != 2)) {
      reply.error = EINVAL;
      send_packet(control_, &reply, sizeof reply, nullptr, 0);
      return;
    }
    if (choices_.empty()) choices_ = namespace_choices(options_, uid_ == 0);
    const bool worker = request.op != kSpawnBroker;
    ++n_spawned_;
    pid_t pid;
    std::uint64_t flags = 0;
    for (;;) {
      flags = worker ? choices_.front() : 0;
      pid = clone_process(flags, &pidfd);
      // What is refused now will be refused later: the next smaller set becomes the first choice. EAGAIN and ENOMEM
      // are passing trouble.
      if (pid < 0 && worker && choices_.size() > 1 && errno != EAGAIN && errno != ENOMEM) {
        choices_.erase(choices_.begin());
        continue;
      }
      break;
    }
    if (pid == 0) become(request, flags, fds);
    if (pid < 0) {
      reply.error = errno;
      send_packet(control_, &reply, sizeof reply, nullptr, 0);
      return;
    }
    reply.value = pid;
    Fd owned(pidfd);
    send_packet(control_, &reply, sizeof reply, &pidfd, 1);
  }

  [[noreturn]] void become(const Request& request, std::uint64_t flags, std::vector<Fd>& fds) {
    for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2}) ::signal(signal, SIG_DFL);
    const int root = fds.size() > 1 ? ::fcntl(fds[1].get(), F_DUPFD_CLOEXEC, 32) : -1;
    ::dup3(fds[0].get(), 3, O_CLOEXEC);
    for (Fd& fd : fds) fd.release();
    if (root >= 0) ::dup3(root, 4, O_CLOEXEC);
    ::syscall(SYS_close_range, root >= 0 ? 5U : 4U, ~0U, 0U);
    if (request.op == kSpawnBroker) {
      ::prctl(PR_SET_NAME, "longhaul-files", 0, 0, 0);
      const bool writable = request.argument != 0;
      const LayerReport report = isolate_broker(options_, 4, writable, broker_programs_);
      file_broker_main(3, 4, writable, report);
    }
    ::prctl(PR_SET_NAME, "longhaul-worker", 0, 0, 0);
    WorkerIsolation isolation;
    isolation.options = options_;
    isolation.clone_flags = flags;
    isolation.real_uid = uid_;
    isolation.real_gid = gid_;
    // Far above the ids that people and packages get; a wrap-around after 2^24 workers does no harm.
    isolation.worker_uid = 0x60000000U + (n_spawned_ & 0xffffffU);
    isolation.address_space_bytes = request.argument;
    const LayerReport report = isolate_worker(isolation, worker_programs_);
    if (request.op == kSpawnProbe) probe_main(3, report);
    worker_main(3, report);
  }

  int control_;
  const IsolationOptions options_;
  const unsigned uid_, gid_;
  unsigned n_spawned_ = 0;
  std::vector<std::uint64_t> choices_;
  SeccompPrograms worker_programs_, broker_programs_;
};

}  // namespace

std::string ExitStatus::text() const {
  if (!signalled) return fmt::format("exit status {}", value);
  const char* name = ::sigabbrev_np(value);
  std::string text = fmt::format("signal {}", value);
  if (name != nullptr) text += fmt::format(" (SIG{})", name);
  return text;
}

Result<std::unique_ptr<Zygote>> Zygote::start(const IsolationOptions& options) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return io_error(fmt::format("zygote: socketpair: {}", std::strerror(errno)));
  }
  Fd ours(ends[0]), theirs(ends[1]);
  // Whatever is buffered would be written a second time by the child.
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) return io_error(fmt::format("zygote: fork: {}", std::strerror(errno)));
  if (pid == 0) {
    ours.reset();
    ZygoteProcess(theirs.get(), options).run();
  }
  timeval patience{10, 0};
  ::setsockopt(ours.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return std::unique_ptr<Zygote>(new Zygote(std::move(ours), pid));
}

Zygote::~Zygote() {
  control_.reset();
  // It would leave at the end of its socket; should some other fork of this process hold a copy of that, it would not.
  // It has nothing to tidy up.
  ::kill(pid_, SIGKILL);
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
}

Result<Spawned> Zygote::spawn(std::uint32_t op, std::int64_t argument, int extra_fd) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return io_error(fmt::format("worker: socketpair: {}", std::strerror(errno)));
  }
  Spawned spawned;
  spawned.socket = Fd(ends[0]);
  Fd theirs(ends[1]);
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  const Request request{op, argument};
  const int fds[2] = {theirs.get(), extra_fd};
  std::lock_guard lock(mutex_);
  if (!send_packet(control_.get(), &request, sizeof request, fds, extra_fd >= 0 ? 2 : 1)) {
    return io_error(fmt::format("zygote does not take a request: {}", std::strerror(errno)));
  }
  Reply reply;
  std::vector<Fd> received;
  if (receive_packet(control_.get(), &reply, sizeof reply, received) != sizeof reply) {
    // A late answer must not be taken for the next request's.
    control_.reset();
    return io_error("zygote is gone or does not answer");
  }
  if (reply.error != 0) return io_error(fmt::format("zygote cannot fork: {}", std::strerror(reply.error)));
  if (received.size() != 1) return internal_error("zygote sent no pidfd");
  spawned.pidfd = std::move(received[0]);
  spawned.pid = reply.value;
  return spawned;
}

Result<Spawned> Zygote::spawn_worker(std::int64_t address_space_bytes) {
  return spawn(kSpawnWorker, address_space_bytes, -1);
}

Result<Spawned> Zygote::spawn_broker(int root_fd, bool writable) {
  return spawn(kSpawnBroker, writable ? 1 : 0, root_fd);
}

Result<ExitStatus> Zygote::finish(Spawned& process) {
  ::syscall(SYS_pidfd_send_signal, process.pidfd.get(), SIGKILL, nullptr, 0U);
  pollfd dead{process.pidfd.get(), POLLIN, 0};
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
    const int ready = ::poll(&dead, 1, left > 0 ? static_cast<int>(left) : 0);
    if (ready > 0) break;
    if (ready < 0 && errno == EINTR) continue;
    if (left <= 0) return make_error(ErrorCode::kDeadlineExceeded, fmt::format("process {} does not die", process.pid));
  }
  const Request request{kReap, process.pid};
  std::lock_guard lock(mutex_);
  if (!send_packet(control_.get(), &request, sizeof request, nullptr, 0)) return io_error("zygote is gone");
  Reply reply;
  std::vector<Fd> none;
  if (receive_packet(control_.get(), &reply, sizeof reply, none) != sizeof reply) {
    control_.reset();
    return io_error("zygote is gone or does not answer");
  }
  if (reply.error != 0) return io_error(fmt::format("wait for {}: {}", process.pid, std::strerror(reply.error)));
  ExitStatus status;
  status.signalled = WIFSIGNALED(reply.value);
  status.value = status.signalled ? WTERMSIG(reply.value) : WEXITSTATUS(reply.value);
  return status;
}

Result<LayerReport> Zygote::probe() {
  auto process = spawn(kSpawnProbe, std::int64_t{256} << 20, -1);
  if (!process) return process.error();
  Channel channel(process->socket.get());
  auto frame = channel.receive(Deadline::in_ms(10'000), nullptr);
  Result<LayerReport> report = io_error("");
  if (frame) {
    auto message = decode_worker_frame(*frame);
    if (!message) {
      report = message.error();
    } else if (auto* hello = std::get_if<WireHello>(&*message)) {
      report = std::move(hello->layers);
    } else {
      report = corruption("probe: the first message is no hello");
    }
    // The probe now does what is forbidden; with the filter in place nothing more comes.
    auto after = channel.receive(Deadline::in_ms(10'000), nullptr);
    if (after) report = internal_error("probe: a forbidden call was answered with neither refusal nor death");
  } else {
    report = frame.error();
  }
  auto status = finish(*process);
  if (!report) return report;
  if (!status) return status.error();
  const bool killed = status->signalled && status->value == SIGSYS;
  if (report->plugins_allowed) {
    report->layers.push_back({"proof", killed || sanitizer_build(),
                              killed ? "a forbidden call killed the probe" : "the probe ended by " + status->text()});
    if (!killed && !sanitizer_build()) {
      report->plugins_allowed = false;
      report->reason = "a forbidden call did not kill the probe";
    }
  }
  return report;
}

}  // namespace longhaul::sandbox
