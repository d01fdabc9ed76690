#include "sandbox/isolation.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iterator>

#include "sandbox/fd.h"

#if defined(__SANITIZE_ADDRESS__)
#define LONGHAUL_SANDBOX_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) || __has_feature(thread_sanitizer)
#define LONGHAUL_SANDBOX_SANITIZED 1
#endif
#endif

namespace longhaul::sandbox {
namespace {

// Landlock, defined here because the kernel headers of the build machine may be older than its kernel.
struct LandlockRuleset {
  std::uint64_t handled_fs, handled_net, scoped;
};
struct LandlockPathBeneath {
  std::uint64_t allowed;
  std::int32_t parent_fd;
} __attribute__((packed));
constexpr std::uint64_t kFsWriteFile = 1 << 1, kFsReadFile = 1 << 2, kFsReadDir = 1 << 3, kFsRemoveFile = 1 << 5,
                        kFsMakeDir = 1 << 7, kFsMakeRegular = 1 << 8, kFsTruncate = 1 << 14;
constexpr unsigned kLandlockVersionFlag = 1;

std::string errno_text() {
  return std::strerror(errno);
}

void add(LayerReport& report, std::string name, bool holds, std::string detail) {
  report.layers.push_back({std::move(name), holds, std::move(detail)});
}

bool write_small(const char* path, std::string_view text) {
  Fd fd(::open(path, O_WRONLY | O_CLOEXEC));
  return fd.valid() && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

// The ids inside a new user namespace: one, without a name there, standing for the one that started it.
bool map_user(unsigned real_uid, unsigned real_gid) {
  write_small("/proc/self/setgroups", "deny");  // not there on very old kernels, then not needed
  return write_small("/proc/self/uid_map", fmt::format("65534 {} 1", real_uid)) &&
         write_small("/proc/self/gid_map", fmt::format("65534 {} 1", real_gid));
}

// An empty, read-only tree as the whole file system.
std::string private_root() {
  const auto failed = [](const char* step) { return fmt::format("{}: {}", step, errno_text()); };
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return failed("private mounts");
  const char* place = "/tmp";
  struct stat status {};
  if (::stat(place, &status) != 0) place = "/proc";
  if (::mount("none", place, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4096,nr_inodes=2,mode=555") != 0) {
    return failed("tmpfs");
  }
  if (::chdir(place) != 0) return failed("chdir");
  if (::syscall(SYS_pivot_root, ".", ".") != 0) return failed("pivot_root");
  if (::umount2(".", MNT_DETACH) != 0) return failed("umount2");
  if (::chdir("/") != 0) return failed("chdir /");
  if (::mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) !=
      0) {
    return failed("read-only remount");
  }
  return {};
}

bool drop_capabilities() {
  for (int capability = 0; capability < 64; ++capability) {
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno == EINVAL) break;
  }
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  return ::syscall(SYS_capset, &header, data) == 0;
}

bool no_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  return ::syscall(SYS_capget, &header, data) == 0 && data[0].permitted == 0 && data[1].permitted == 0;
}

bool limit_resource(__rlimit_resource resource, rlim_t value) {
  rlimit current{};
  if (::getrlimit(resource, &current) != 0) return false;
  const rlim_t lowered = current.rlim_max == RLIM_INFINITY || value < current.rlim_max ? value : current.rlim_max;
  const rlimit wanted{lowered, lowered};
  return ::setrlimit(resource, &wanted) == 0;
}

// What is mapped now, from a file that is open only for this moment; 0 if it cannot be read.
std::int64_t mapped_bytes() {
  Fd fd(::open("/proc/self/statm", O_RDONLY | O_CLOEXEC));
  char text[64] = {};
  if (!fd.valid() || ::read(fd.get(), text, sizeof text - 1) <= 0) return 0;
  long pages = 0;
  if (std::sscanf(text, "%ld", &pages) != 1) return 0;
  return static_cast<std::int64_t>(pages) * ::sysconf(_SC_PAGESIZE);
}

int landlock_version() {
  return static_cast<int>(
      ::syscall(SYS_landlock_create_ruleset, static_cast<void*>(nullptr), std::size_t{0}, kLandlockVersionFlag));
}

// Zero rules if root_fd is -1, else one for the folder.
Layer landlock(int root_fd, bool writable) {
  Layer layer{"landlock", false, ""};
  const int version = landlock_version();
  if (version < 1) {
    layer.detail = version == 0 ? "version 0" : errno_text();
    return layer;
  }
  const int n_fs_bits = version >= 5 ? 16 : version >= 3 ? 15 : version >= 2 ? 14 : 13;
  LandlockRuleset ruleset{(std::uint64_t{1} << n_fs_bits) - 1, version >= 4 ? 3ULL : 0, version >= 6 ? 3ULL : 0};
  const std::size_t size = version >= 6 ? 24 : version >= 4 ? 16 : 8;
  Fd fd(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &ruleset, size, 0U)));
  if (!fd.valid()) {
    layer.detail = "ruleset: " + errno_text();
    return layer;
  }
  if (root_fd >= 0) {
    std::uint64_t allowed = kFsReadFile | kFsReadDir;
    if (writable) allowed |= kFsWriteFile | kFsRemoveFile | kFsMakeDir | kFsMakeRegular | kFsTruncate;
    LandlockPathBeneath rule{allowed & ruleset.handled_fs, root_fd};
    constexpr int kRulePathBeneath = 1;
    if (::syscall(SYS_landlock_add_rule, fd.get(), kRulePathBeneath, &rule, 0U) != 0) {
      layer.detail = "rule: " + errno_text();
      return layer;
    }
  }
  if (::syscall(SYS_landlock_restrict_self, fd.get(), 0U) != 0) {
    layer.detail = "restrict: " + errno_text();
    return layer;
  }
  layer.holds = true;
  layer.detail = fmt::format("version {}, {}", version, root_fd >= 0 ? "one folder" : "no rules");
  return layer;
}

bool load_filter(const std::vector<sock_filter>& program) {
  sock_fprog fprog{static_cast<unsigned short>(program.size()), const_cast<sock_filter*>(program.data())};
  return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0U, &fprog) == 0;
}

// Tries what must not work. Called between the two filters, with the first one answering EPERM.
std::string self_test() {
  const auto open_fd = ::syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY | O_CLOEXEC);
  if (open_fd >= 0) return "open works";
  if (::syscall(SYS_socket, AF_INET, SOCK_STREAM, 0) >= 0) return "socket works";
  if (::syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0) >= 0) return "unix socket works";
  const auto child = ::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (child == 0) ::_exit(0);
  if (child > 0) return "fork works";
  if (::syscall(SYS_ptrace, PTRACE_TRACEME, 0, nullptr, nullptr) == 0) return "ptrace works";
  // Signal 0 only asks whether a signal would be allowed.
  if (::syscall(SYS_kill, ::getppid(), 0) == 0) return "kill of the parent works";
  void* executable = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (executable != MAP_FAILED) return "executable memory works";
  return {};
}

constexpr const char* kSelfTested = "open, socket, fork, ptrace, kill, executable memory all fail";

scmp_arg_cmp equal(unsigned argument, scmp_datum_t value) {
  return {argument, SCMP_CMP_EQ, value, 0};
}
scmp_arg_cmp masked(unsigned argument, scmp_datum_t mask, scmp_datum_t value) {
  return {argument, SCMP_CMP_MASKED_EQ, mask, value};
}

class SeccompList {
 public:
  explicit SeccompList(std::uint32_t verdict) : context_(::seccomp_init(verdict)) {}
  ~SeccompList() {
    if (context_ != nullptr) ::seccomp_release(context_);
  }
  SeccompList(const SeccompList&) = delete;
  SeccompList& operator=(const SeccompList&) = delete;

  void allow(int number) { note(::seccomp_rule_add(context_, SCMP_ACT_ALLOW, number, 0)); }
  template <class... Conditions>
  void allow_if(int number, Conditions... conditions) {
    note(::seccomp_rule_add(context_, SCMP_ACT_ALLOW, number, sizeof...(conditions), conditions...));
  }
  // Foreign architectures, and with them the x32 numbers, die in both programs.
  void finish_options() { note(::seccomp_attr_set(context_, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS)); }

  Result<std::vector<sock_filter>> compile() {
    if (context_ == nullptr || error_ != 0) {
      return internal_error(fmt::format("seccomp list: {}", std::strerror(-error_)));
    }
    Fd file(static_cast<int>(::syscall(SYS_memfd_create, "seccomp", 1U)));
    if (!file.valid()) return io_error("memfd_create: " + errno_text());
    if (const int failed = ::seccomp_export_bpf(context_, file.get()); failed != 0) {
      return internal_error(fmt::format("seccomp program: {}", std::strerror(-failed)));
    }
    const off_t bytes = ::lseek(file.get(), 0, SEEK_END);
    std::vector<sock_filter> program(static_cast<std::size_t>(bytes) / sizeof(sock_filter));
    if (::pread(file.get(), program.data(), static_cast<std::size_t>(bytes), 0) != bytes) {
      return io_error("seccomp program: " + errno_text());
    }
    return program;
  }

 private:
  void note(int status) {
    if (status != 0 && error_ == 0) error_ = status;
  }
  scmp_filter_ctx context_;
  int error_ = 0;
};

void allow_memory(SeccompList& list) {
  const scmp_datum_t exec = PROT_EXEC;
  list.allow_if(SCMP_SYS(mmap), masked(2, exec, 0), masked(3, MAP_ANONYMOUS, MAP_ANONYMOUS));
  list.allow_if(SCMP_SYS(mprotect), masked(2, exec, 0));
  for (int number : {SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(brk), SCMP_SYS(madvise), SCMP_SYS(futex),
                     SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(restart_syscall), SCMP_SYS(rt_sigreturn),
                     SCMP_SYS(rt_sigprocmask), SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday)}) {
    list.allow(number);
  }
#if defined(__x86_64__)
  list.allow(SCMP_SYS(time));
#endif
  if (sanitizer_build()) {
    // Reports go to descriptor 2, and whether memory can be read is tried by writing it into a pipe.
    for (int number :
         {SCMP_SYS(sigaltstack), SCMP_SYS(sched_yield), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getrlimit),
          SCMP_SYS(rt_sigaction), SCMP_SYS(pipe), SCMP_SYS(pipe2), SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(close)}) {
      list.allow(number);
    }
  }
}

void allow_worker(SeccompList& list) {
  allow_memory(list);
  if (!sanitizer_build()) {
    list.allow_if(SCMP_SYS(read), equal(0, 3));
    list.allow_if(SCMP_SYS(write), equal(0, 3));
  }
  list.allow_if(SCMP_SYS(setitimer), equal(0, ITIMER_PROF));
}

void allow_broker(SeccompList& list) {
  allow_memory(list);
  for (int number :
       {SCMP_SYS(read),       SCMP_SYS(write),     SCMP_SYS(close),          SCMP_SYS(fstat),     SCMP_SYS(newfstatat),
        SCMP_SYS(getdents64), SCMP_SYS(openat),    SCMP_SYS(openat2),        SCMP_SYS(mkdirat),   SCMP_SYS(renameat),
        SCMP_SYS(renameat2),  SCMP_SYS(unlinkat),  SCMP_SYS(fsync),          SCMP_SYS(fdatasync), SCMP_SYS(fchmod),
        SCMP_SYS(lseek),      SCMP_SYS(fcntl),     SCMP_SYS(getrandom),      SCMP_SYS(flock),     SCMP_SYS(poll),
        SCMP_SYS(ppoll),      SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep)}) {
    list.allow(number);
  }
}

Result<SeccompPrograms> compile_both(void (*allow)(SeccompList&), bool kill) {
  SeccompPrograms programs;
  {
    SeccompList list(SCMP_ACT_ERRNO(EPERM));
    list.finish_options();
    allow(list);
    // To load the second program on top of this one.
    list.allow_if(SCMP_SYS(seccomp), equal(0, SECCOMP_SET_MODE_FILTER));
    auto program = list.compile();
    if (!program) return program.error();
    programs.refuse = std::move(*program);
  }
  SeccompList list(kill ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ERRNO(EPERM));
  list.finish_options();
  allow(list);
  auto program = list.compile();
  if (!program) return program.error();
  programs.kill = std::move(*program);
  return programs;
}

Layer user_layer(const WorkerIsolation& isolation) {
  Layer layer{"user", false, ""};
  if (!isolation.options.change_user) {
    layer.detail = "left out";
  } else if (isolation.clone_flags & CLONE_NEWUSER) {
    layer.holds = drop_capabilities() && no_capabilities();
    layer.detail = layer.holds ? "no capabilities, in a user namespace" : "capabilities stay: " + errno_text();
  } else if (isolation.real_uid != 0) {
    layer.holds = no_capabilities() || drop_capabilities();
    layer.detail = fmt::format("no capabilities, uid {} as the host's", isolation.real_uid);
  } else {
    // Every worker of a privileged host has a user of its own. Where such high numbers are not mapped (a container
    // with few ids), nobody's.
    unsigned used = 0;
    ::setgroups(0, nullptr);
    const bool bounded = ::prctl(PR_CAPBSET_DROP, 0, 0, 0, 0) == 0;
    for (int capability = 1; bounded && capability < 64; ++capability) {
      if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) break;
    }
    for (unsigned uid : {isolation.worker_uid, 65'534U}) {
      if (::setresgid(uid, uid, uid) == 0 && ::setresuid(uid, uid, uid) == 0) {
        used = uid;
        break;
      }
    }
    const std::string why = errno_text();
    layer.holds = drop_capabilities() && no_capabilities() && used != 0;
    layer.detail = used != 0 ? fmt::format("uid {}, no capabilities", used) : "cannot leave uid 0: " + why;
  }
  return layer;
}

}  // namespace

bool sanitizer_build() {
#if defined(LONGHAUL_SANDBOX_SANITIZED)
  return true;
#else
  return false;
#endif
}

const Layer* LayerReport::find(std::string_view name) const {
  for (const Layer& layer : layers) {
    if (layer.name == name) return &layer;
  }
  return nullptr;
}

bool LayerReport::degraded() const {
  for (const Layer& layer : layers) {
    if (!layer.holds) return true;
  }
  return false;
}

json::value LayerReport::to_json_value() const {
  json::array list;
  for (const Layer& layer : layers) {
    list.push_back(json::object{{"layer", layer.name}, {"holds", layer.holds}, {"detail", layer.detail}});
  }
  return json::object{{"layers", std::move(list)}, {"plugins_allowed", plugins_allowed}, {"reason", reason}};
}

Result<LayerReport> layer_report(const json::value& value) {
  const auto bad = [](const char* what) { return invalid_argument(fmt::format("layer report: {}", what)); };
  if (!value.is_object()) return bad("not an object");
  const json::object& object = value.get_object();
  const json::value* list = object.if_contains("layers");
  const json::value* allowed = object.if_contains("plugins_allowed");
  const json::value* reason = object.if_contains("reason");
  if (list == nullptr || !list->is_array() || list->get_array().size() > 32) return bad("no list of layers");
  if (allowed == nullptr || !allowed->is_bool()) return bad("plugins_allowed is no boolean");
  if (reason == nullptr || !reason->is_string()) return bad("reason is no string");
  LayerReport report;
  report.plugins_allowed = allowed->get_bool();
  report.reason = std::string(reason->get_string());
  for (const json::value& entry : list->get_array()) {
    if (!entry.is_object()) return bad("a layer is no object");
    const json::value* name = entry.get_object().if_contains("layer");
    const json::value* holds = entry.get_object().if_contains("holds");
    const json::value* detail = entry.get_object().if_contains("detail");
    if (name == nullptr || !name->is_string() || holds == nullptr || !holds->is_bool() || detail == nullptr ||
        !detail->is_string()) {
      return bad("a layer lacks a field");
    }
    report.layers.push_back({std::string(name->get_string()), holds->get_bool(), std::string(detail->get_string())});
  }
  return report;
}

// A sanitizer's report needs calls that no list foresees, so there the last program refuses instead of killing.
Result<SeccompPrograms> worker_seccomp() {
  return compile_both(allow_worker, !sanitizer_build());
}
Result<SeccompPrograms> broker_seccomp() {
  return compile_both(allow_broker, !sanitizer_build());
}

std::vector<std::uint64_t> namespace_choices(const IsolationOptions& options, bool privileged) {
  std::vector<std::uint64_t> choices;
  if (options.namespaces) {
    const std::uint64_t all = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
    // A privileged host needs no user namespace, and then its worker can leave uid 0 for good.
    if (privileged) choices.push_back(all | CLONE_NEWCGROUP);
    choices.push_back(all | CLONE_NEWCGROUP | CLONE_NEWUSER);
    choices.push_back(all | CLONE_NEWUSER);
  }
  choices.push_back(0);
  return choices;
}

LayerReport isolate_worker(const WorkerIsolation& isolation, const SeccompPrograms& programs) {
  LayerReport report;
  const IsolationOptions& options = isolation.options;

  if (isolation.clone_flags == 0) {
    add(report, "namespaces", false, options.namespaces ? "the system allows none" : "left out");
  } else if ((isolation.clone_flags & CLONE_NEWUSER) && !map_user(isolation.real_uid, isolation.real_gid)) {
    add(report, "namespaces", true, "user (unmapped), pid, net, mount, ipc, uts");
  } else {
    add(report, "namespaces", true,
        isolation.clone_flags & CLONE_NEWUSER ? "user, pid, net, mount, ipc, uts" : "pid, net, mount, ipc, uts");
  }
  const std::int64_t mapped = mapped_bytes();
  if (isolation.clone_flags & CLONE_NEWNS) {
    const std::string failed = private_root();
    add(report, "empty root", failed.empty(), failed.empty() ? "read-only tmpfs" : failed);
  } else {
    add(report, "empty root", false, "no mount namespace");
  }
  report.layers.push_back(user_layer(isolation));

  // After the change of user, which resets both.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  ::umask(077);

  const bool no_new_privs = ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
  add(report, "no_new_privs", no_new_privs, no_new_privs ? "" : errno_text());

  if (options.landlock) {
    report.layers.push_back(landlock(-1, false));
  } else {
    add(report, "landlock", false, "left out");
  }

  if (options.resource_limits) {
    bool all = true;
    std::string detail = "processes, files, file size, core, cpu";
    all &= limit_resource(RLIMIT_NPROC, 0);
    all &= limit_resource(RLIMIT_NOFILE, sanitizer_build() ? 16 : 4);
    all &= sanitizer_build() || limit_resource(RLIMIT_FSIZE, 0);
    all &= limit_resource(RLIMIT_CORE, 0);
    all &= limit_resource(RLIMIT_MEMLOCK, 0);
    all &= limit_resource(RLIMIT_MSGQUEUE, 0);
    all &= limit_resource(RLIMIT_CPU, 3'600);  // of the process; a call's own limit is a timer
    if (sanitizer_build()) {
      detail = "processes, core, cpu; a sanitizer needs files, file size and address space";
    } else if (mapped == 0) {
      all = false;
      detail += "; not address space, /proc cannot be read";
    } else {
      all &= limit_resource(RLIMIT_AS, static_cast<rlim_t>(mapped + isolation.address_space_bytes));
      detail += ", address space";
    }
    add(report, "resource limits", all, all ? detail : detail + ": " + errno_text());
  } else {
    add(report, "resource limits", false, "left out");
  }

  bool seccomp = false;
  std::string failed = "left out";
  if (options.seccomp && no_new_privs) {
    if (!load_filter(programs.refuse)) {
      failed = errno_text();
    } else {
      failed = self_test();
      if (failed.empty()) {
        seccomp = load_filter(programs.kill);
        if (!seccomp) failed = errno_text();
      }
    }
  }
  add(report, "seccomp", seccomp,
      !seccomp            ? failed
      : sanitizer_build() ? "refuses (a sanitizer build does not kill)"
                          : "kills");
  add(report, "self-test", seccomp, seccomp ? kSelfTested : failed);

  report.plugins_allowed = seccomp && no_new_privs;
  if (!report.plugins_allowed) {
    report.reason = no_new_privs ? "seccomp is missing (" + failed + ")" : "no_new_privs is missing";
  }
  return report;
}

LayerReport isolate_broker(const IsolationOptions& options, int root_fd, bool writable,
                           const SeccompPrograms& programs) {
  LayerReport report;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  const bool no_new_privs = ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
  add(report, "no_new_privs", no_new_privs, no_new_privs ? "" : errno_text());
  if (options.landlock) {
    report.layers.push_back(landlock(root_fd, writable));
  } else {
    add(report, "landlock", false, "left out");
  }
  limit_resource(RLIMIT_NPROC, 0);
  limit_resource(RLIMIT_NOFILE, 64);
  limit_resource(RLIMIT_CORE, 0);
  const bool seccomp = options.seccomp && no_new_privs && load_filter(programs.refuse) && load_filter(programs.kill);
  add(report, "seccomp", seccomp, seccomp ? "" : errno_text());
  // The broker runs our own code only; a missing layer is reported and does not stop it.
  report.plugins_allowed = true;
  return report;
}

}  // namespace longhaul::sandbox
