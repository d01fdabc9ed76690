// One zygote for the whole test binary, started while it is small, and small conveniences around a pool.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "runtime/base/file.h"
#include "sandbox/powers/clock.h"
#include "sandbox/powers/files.h"
#include "sandbox/powers/notes.h"
#include "sandbox/powers/powers.h"
#include "sandbox/powers/steps.h"
#include "sandbox/worker_pool.h"
#include "sandbox/zygote.h"

namespace longhaul::sandbox {

inline Zygote& test_zygote() {
  static std::unique_ptr<Zygote> zygote = [] {
    auto started = Zygote::start();
    if (!started) {
      std::fprintf(stderr, "%s\n", started.error().message.c_str());
      std::abort();
    }
    return std::move(*started);
  }();
  return *zygote;
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "longhaul-sandbox-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }
  void write(const std::string& name, const std::string& text) const {
    const auto full = std::filesystem::path(path_) / name;
    std::filesystem::create_directories(full.parent_path());
    std::ofstream(full, std::ios::binary) << text;
  }
  std::string read(const std::string& name) const {
    auto text = read_file(path_ + "/" + name, 64 << 20);
    return text ? *text : "(no file)";
  }

 private:
  std::string path_;
};

class FixedClock : public Clock {
 public:
  std::int64_t unix_ms() override { return now_ms; }
  std::int64_t monotonic_ns() override { return now_ms * 1'000'000; }
  std::int64_t now_ms = 1'795'417'500'000;  // 2026-11-23 07:05:00 UTC
};

// A journal of a call that lasts as long as the test.
class KeptInMemory : public CallJournal {
 public:
  Result<void> step(const RecordedStep& step) override {
    if (refuse) return io_error("the disk is full");
    steps.push_back(step);
    return {};
  }
  Result<void> sleep(std::uint64_t timer, std::int64_t until_ms) override {
    if (refuse) return io_error("the disk is full");
    wake_ms[timer] = until_ms;
    return {};
  }
  std::vector<RecordedStep> steps;
  std::map<std::uint64_t, std::int64_t> wake_ms;
  bool refuse = false;
};

// Answers by a function; what is not answered fails.
class ScriptedPowers : public HostPowers {
 public:
  std::function<HostAnswer(const HostCall&)> on_call = [](const HostCall&) { return HostAnswer::failure("none"); };
  int n_calls = 0;
  HostAnswer answer(const HostCall& call) override {
    ++n_calls;
    return on_call(call);
  }
};

class SandboxTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto pool = WorkerPool::start(test_zygote());
    ASSERT_TRUE(pool.has_value()) << pool.error().message;
    pool_ = std::move(*pool);
  }

  // A sanitizer makes everything several times slower; the limits under test stay as they are.
  static PluginSource script(const std::string& body, const std::string& powers = "{}") {
    return {"test.lua", "return { name = 't', description = 'd', effect = 'read', parameters = '{}', powers = " +
                            powers + ", run = function(args, ctx)\n" + body + "\nend }"};
  }

  CallOutcome call(const PluginSource& source, const std::string& args = "{}", Limits limits = {}) {
    CallRequest request;
    request.call_id = "call_1";
    request.idempotency_key = "lineage/1";
    request.arguments_json = args;
    request.limits = limits;
    request.seed = seed_;
    return pool_->call(source, request, powers_);
  }
  CallOutcome run(const std::string& body, const std::string& args = "{}", Limits limits = {}) {
    return call(script(body), args, limits);
  }

  std::unique_ptr<WorkerPool> pool_;
  ScriptedPowers powers_;
  std::uint64_t seed_ = 7;
};

inline std::string shown(const CallOutcome& outcome) {
  return std::string(to_string(outcome.kind)) + "/" + std::string(to_string(outcome.limit)) + ": " + outcome.text;
}

}  // namespace longhaul::sandbox
