// Runs the real program as a child: arguments, environment, captured output, SIGKILL after a delay or at once.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace longhaul::testing_support {

struct RunResult {
  int status = -1;  // exit status; -1 if a signal ended it
  int signal = 0;
  std::string out, err;
};

struct RunOptions {
  std::vector<std::pair<std::string, std::string>> environment;  // added to ours
  std::optional<std::chrono::microseconds> kill_after;           // SIGKILL
  std::optional<std::chrono::microseconds> interrupt_after;      // SIGINT
  std::string input;
  std::string out_to;                  // a file that standard output goes to; empty: RunResult::out
  bool close_streams = false;          // begins with 0, 1 and 2 closed
  std::chrono::seconds deadline{120};  // then SIGKILL; the result shows the signal
};

inline std::string program_path() {
  if (const char* given = std::getenv("LONGHAUL_PROGRAM")) return given;
  return std::string(LONGHAUL_BINARY_DIR) + "/longhaul";
}

inline RunResult run_program(const std::vector<std::string>& arguments, const RunOptions& options = {}) {
  int out[2], err[2], in[2];
  if (::pipe2(out, O_CLOEXEC) != 0 || ::pipe2(err, O_CLOEXEC) != 0 || ::pipe2(in, O_CLOEXEC) != 0) std::abort();
  const std::string program = program_path();
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(in[0], 0);
    ::dup2(out[1], 1);
    ::dup2(err[1], 2);
    if (!options.out_to.empty()) ::dup2(::open(options.out_to.c_str(), O_WRONLY | O_CLOEXEC), 1);
    if (options.close_streams) ::close_range(0, 2, 0);
    for (const auto& [name, value] : options.environment) ::setenv(name.c_str(), value.c_str(), 1);
    std::vector<char*> argv{const_cast<char*>(program.c_str())};
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    ::execv(program.c_str(), argv.data());
    ::_exit(127);
  }
  ::close(out[1]);
  ::close(err[1]);
  ::close(in[0]);
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  RunResult result;
  std::size_t written = 0;
  ::fcntl(in[1], F_SETFL, O_NONBLOCK);
  bool in_open = true, killed = false, interrupted = false;
  int open_outputs = 2;
  bool out_open = true, err_open = true;
  while (open_outputs > 0) {
    const auto elapsed = Clock::now() - start;
    std::chrono::nanoseconds wait = std::chrono::seconds(options.deadline) - elapsed;
    if (options.kill_after && !killed) wait = std::min<std::chrono::nanoseconds>(wait, *options.kill_after - elapsed);
    if (options.interrupt_after && !interrupted) {
      wait = std::min<std::chrono::nanoseconds>(wait, *options.interrupt_after - elapsed);
    }
    if (wait.count() <= 0) {
      if (options.interrupt_after && !interrupted && elapsed >= *options.interrupt_after) {
        ::kill(pid, SIGINT);
        interrupted = true;
        continue;
      }
      ::kill(pid, SIGKILL);
      killed = true;
      // Grandchildren (workers) end with the program and close the pipes.
      wait = std::chrono::seconds(5);
    }
    if (in_open && written == options.input.size()) {
      ::close(in[1]);
      in_open = false;
    }
    pollfd fds[3] = {
        {out_open ? out[0] : -1, POLLIN, 0}, {err_open ? err[0] : -1, POLLIN, 0}, {in_open ? in[1] : -1, POLLOUT, 0}};
    timespec timeout{wait.count() / 1'000'000'000, wait.count() % 1'000'000'000};
    const int n = ::ppoll(fds, 3, &timeout, nullptr);
    if (n == 0 && killed) break;
    char buffer[65536];
    if (fds[0].revents != 0) {
      const ssize_t got = ::read(out[0], buffer, sizeof buffer);
      if (got > 0) result.out.append(buffer, static_cast<std::size_t>(got));
      if (got == 0) out_open = false, --open_outputs;
    }
    if (fds[1].revents != 0) {
      const ssize_t got = ::read(err[0], buffer, sizeof buffer);
      if (got > 0) result.err.append(buffer, static_cast<std::size_t>(got));
      if (got == 0) err_open = false, --open_outputs;
    }
    if (in_open && fds[2].revents != 0) {
      const ssize_t put = ::write(in[1], options.input.data() + written, options.input.size() - written);
      if (put > 0) written += static_cast<std::size_t>(put);
      if (put < 0 && errno != EAGAIN && errno != EINTR) ::close(in[1]), in_open = false;
    }
  }
  if (in_open) ::close(in[1]);
  ::close(out[0]);
  ::close(err[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (WIFEXITED(status)) result.status = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  return result;
}

// A chat that has greeted: it holds its store, and the session, until this goes away. Killed at the end.
class OpenChat {
 public:
  OpenChat(const std::string& store, const std::string& session) {
    int in[2], out[2];
    if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) std::abort();
    const std::string program = program_path();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(in[0], 0);
      ::dup2(out[1], 1);
      ::execl(program.c_str(), program.c_str(), "chat", "--store", store.c_str(), "--session", session.c_str(),
              nullptr);
      ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    in_ = in[1];
    out_ = out[0];
    char buffer[256];
    greeted_ = ::read(out_, buffer, sizeof buffer) > 0;
  }
  ~OpenChat() { kill(); }
  OpenChat(const OpenChat&) = delete;
  OpenChat& operator=(const OpenChat&) = delete;

  pid_t pid() const { return pid_; }
  bool greeted() const { return greeted_; }
  bool say(const std::string& line) {
    const std::string text = line + "\n";
    return ::write(in_, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  }
  void close_input() {
    if (in_ >= 0) ::close(in_);
    in_ = -1;
  }
  // The end of the input ends it; SIGKILL does not wait for that.
  void wait() {
    close_input();
    if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
    if (out_ >= 0) ::close(out_);
    out_ = -1;
  }
  void kill() {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
    wait();
  }

 private:
  pid_t pid_ = -1;
  int in_ = -1, out_ = -1;
  bool greeted_ = false;
};

// A folder that is removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "longhaul-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ec;
    std::filesystem::remove_all(path_, ec);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline std::string read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

inline void write_all(const std::string& path, const std::string& content) {
  std::ofstream out(path, std::ios::binary);
  out << content;
}

}  // namespace longhaul::testing_support
