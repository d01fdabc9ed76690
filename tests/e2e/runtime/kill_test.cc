// Contracts C1, C5, C6: a trajectory whose process is killed at any moment, as often as you like, ends as one never
// touched: same tokens, same notes, same digest, and the same lines in a file outside that a tool appends to.
//
// LONGHAUL_KILLS sets the number of kills a case (scripts/soak.sh), LONGHAUL_SEED where the random moments start.
#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "sessions/fault_point.h"
#include "tests/support/setting.h"
#include "tests/support/trajectory_fixture.h"

namespace longhaul::testing_support {
namespace {

using std::chrono::microseconds;

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
constexpr bool kSanitized = __has_feature(address_sanitizer);
#else
constexpr bool kSanitized = false;
#endif

class KillTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_builtin_model()) GTEST_SKIP() << "the built-in model is not in this checkout";
    seed_ = setting("LONGHAUL_SEED", 1);
    std::printf("LONGHAUL_SEED=%llu\n", static_cast<unsigned long long>(seed_));
  }

  std::string agent(const std::string& effect) {
    const std::string folder = folder_.file(effect);
    std::filesystem::create_directories(folder);
    write_witness_agent(folder, effect);
    return folder + "/agent.lua";
  }
  std::string fresh() { return folder_.file("trial" + std::to_string(next_++)); }

  // Settles a call in doubt by what the file outside says. Returns whether one was in doubt.
  void settle(const Trial& trial) {
    RunResult shown = run_program({"sessions", "show", "--json", "--store", trial.store(), "s"});
    ASSERT_EQ(shown.status, 0) << shown.err;
    auto value = parse_json(shown.out);
    ASSERT_TRUE(value);
    for (const json::value& call : value->at("calls").as_array()) {
      if (!call.at("in_doubt").as_bool()) continue;
      const std::string id(call.at("id").as_string());
      const bool happened = trial.witness().find(id + " ") != std::string::npos;
      const RunResult settled =
          happened ? run_program({"sessions", "settle", "--store", trial.store(), "s", "--done", "\"ok\""})
                   : run_program({"sessions", "settle", "--store", trial.store(), "s", "--retry"});
      ASSERT_EQ(settled.status, 0) << settled.err;
    }
  }

  TemporaryFolder folder_;
  std::uint64_t seed_ = 1;
  int next_ = 0;
};

// Notes that a call in doubt would have put are not known to the session once it is settled as done: compare without.
void expect_same_for_once(const Outcome& a, const Outcome& b, const std::string& what) {
  EXPECT_EQ(a.shown.at("tokens"), b.shown.at("tokens")) << what;
  EXPECT_EQ(a.witness, b.witness) << what;
}

TEST_F(KillTest, RandomMomentsIdempotent) {
  const std::uint64_t kills = setting("LONGHAUL_KILLS", kSanitized ? 6 : 110);
  for (const std::string temperature : {"0", "1"}) {
    const std::string agent_file = agent("idempotent");
    Trial reference(fresh(), agent_file, temperature, "11");
    const auto start = std::chrono::steady_clock::now();
    const RunResult whole = reference.start();
    const auto took = std::chrono::duration_cast<microseconds>(std::chrono::steady_clock::now() - start).count();
    ASSERT_EQ(whole.signal, 0) << whole.err;
    const Outcome expected = reference.outcome();
    std::mt19937_64 random(seed_);
    std::uint64_t killed = 0, finished = 0;
    while (killed < kills) {
      Trial trial(fresh(), agent_file, temperature, "11");
      while (true) {
        RunOptions options;
        options.kill_after = microseconds(random() % static_cast<std::uint64_t>(took + took / 4));
        const RunResult result = trial.go_on(options);
        if (result.signal == 0) {
          ASSERT_EQ(result.status, whole.status) << result.out << result.err;
          break;
        }
        ++killed;
      }
      ++finished;
      expect_same(trial.outcome(), expected, "temperature " + temperature + ", kill " + std::to_string(killed));
      if (HasFailure()) return;
    }
    std::printf("temperature %s: %llu kills, %llu trajectories, all equal\n", temperature.c_str(),
                static_cast<unsigned long long>(killed), static_cast<unsigned long long>(finished));
  }
}

TEST_F(KillTest, EveryFaultPointIdempotent) {
  const std::string agent_file = agent("idempotent");
  Trial reference(fresh(), agent_file, "0", "11");
  const RunResult whole = reference.start();
  ASSERT_EQ(whole.signal, 0) << whole.err;
  const Outcome expected = reference.outcome();
  int reached = 0;
  for (std::string_view point : sessions::fault_points()) {
    for (const int n : {1, 2, 5}) {
      if (kSanitized && n != 1) continue;
      RunOptions options;
      options.environment = {{"LONGHAUL_FAULT", std::string(point) + ":" + std::to_string(n)}};
      Trial trial(fresh(), agent_file, "0", "11");
      const RunResult killed = trial.start(options);
      if (killed.signal == 0) continue;  // a trajectory does not pass this place so often
      ASSERT_EQ(killed.signal, SIGKILL);
      ++reached;
      const RunResult result = trial.go_on();
      ASSERT_EQ(result.status, whole.status) << point << ":" << n << "\n" << result.out << result.err;
      expect_same(trial.outcome(), expected, std::string(point) + ":" + std::to_string(n));
      if (HasFailure()) return;
    }
  }
  // Store creation, numbers, appends, tokens, intents, results, commits, the mark, branches.
  EXPECT_GE(reached, 15);
}

// A session has a folder of its own where it was given none; it must not matter when the process ended, nor that
// somebody took the folder away.
TEST_F(KillTest, ASessionsOwnFolderIsThereAfterAnyEnd) {
  const std::string store = fresh() + "/store", task = "1) calculate 3 * 4\n2) write it to notes/x.txt";
  for (const char* point : {"branch.before_batch:1", "branch.after_batch:1", "append.before_write:1", "none"}) {
    const std::string name = std::string("s") + std::string(point).substr(0, 8);
    const std::vector<std::string> run{"run", "--store", store, "--session", name, task};
    RunOptions options;
    options.environment = {{"LONGHAUL_FAULT", point}};
    const bool killed = run_program(run, options).signal == SIGKILL;
    EXPECT_EQ(killed, std::string(point) != "none");
    const bool there = run_program({"sessions", "show", "--store", store, name}).status == 0;
    if (there) std::filesystem::remove_all(store + "/files/" + name);
    const RunResult result = there ? run_program({"resume", "--store", store, name, task}) : run_program(run);
    EXPECT_EQ(result.status, 0) << point << "\n" << result.out << result.err;
    EXPECT_TRUE(std::filesystem::exists(store + "/files/" + name + "/notes/x.txt")) << point << "\n" << result.out;
    std::filesystem::remove_all(store);
  }
}

// The limits count from the journal: a killed run stops at the turn at which an uninterrupted one does, and a person
// who resumes after that gets as many again.
TEST_F(KillTest, LimitsOutliveTheProcess) {
  const std::string agent_file = agent("idempotent");
  std::string text = read_all(agent_file);
  text.replace(text.find("turns = 12"), 10, "turns = 2");
  write_all(agent_file, text);
  Trial reference(fresh(), agent_file, "0", "11");
  EXPECT_EQ(reference.start().status, 1);
  const Outcome expected = reference.outcome();
  EXPECT_EQ(expected.shown.at("turns").as_array().size(), 2U);
  Trial trial(fresh(), agent_file, "0", "11");
  RunOptions options;
  options.environment = {{"LONGHAUL_FAULT", "commit.done:1"}};
  ASSERT_EQ(trial.start(options).signal, SIGKILL);
  EXPECT_EQ(trial.go_on().status, 1);
  expect_same(trial.outcome(), expected, "two turns in all");
  EXPECT_EQ(trial.resume().status, reference.resume().status);
  EXPECT_GT(trial.outcome().shown.at("turns").as_array().size(), 2U);
  expect_same(trial.outcome(), reference.outcome(), "and two more");
}

TEST_F(KillTest, OnceEndsInDoubtExactlyBetweenIntentAndResult) {
  const std::string agent_file = agent("once");
  Trial reference(fresh(), agent_file, "0", "11");
  const RunResult whole = reference.start();
  ASSERT_EQ(whole.signal, 0) << whole.err;
  const Outcome expected = reference.outcome();
  ASSERT_NE(expected.witness, "");

  // Named places first: which of them lie between intent and result is known.
  std::size_t witness_call = 0;
  const json::array& calls = expected.shown.at("calls").as_array();
  while (witness_call < calls.size() && calls[witness_call].at("name").as_string() != "kv_put") ++witness_call;
  ASSERT_LT(witness_call, calls.size());
  const std::string nth = ":" + std::to_string(witness_call + 1);
  for (const auto& [place, doubt] : std::vector<std::pair<std::string, bool>>{{"intent.before_write", false},
                                                                              {"intent.after_write", true},
                                                                              {"result.before_write", true},
                                                                              {"result.after_write", false}}) {
    const std::string point = place + nth;
    RunOptions options;
    options.environment = {{"LONGHAUL_FAULT", point}};
    Trial trial(fresh(), agent_file, "0", "11");
    ASSERT_EQ(trial.start(options).signal, SIGKILL) << point;
    RunResult result = trial.resume();
    EXPECT_EQ(result.status == 3, doubt) << point << " " << result.out << result.err;
    if (result.status == 3) {
      settle(trial);
      result = trial.resume();
    }
    ASSERT_EQ(result.status, whole.status) << point << " " << result.err;
    expect_same_for_once(trial.outcome(), expected, point);
  }

  const std::uint64_t kills = setting("LONGHAUL_KILLS", kSanitized ? 4 : 40);
  std::mt19937_64 random(seed_ + 1);
  const auto start = std::chrono::steady_clock::now();
  Trial timed(fresh(), agent_file, "0", "11");
  timed.start();
  const auto took = std::chrono::duration_cast<microseconds>(std::chrono::steady_clock::now() - start).count();
  std::uint64_t killed = 0, doubts = 0;
  while (killed < kills) {
    Trial trial(fresh(), agent_file, "0", "11");
    for (int round = 0; round < 200; ++round) {
      RunOptions options;
      options.kill_after = microseconds(random() % static_cast<std::uint64_t>(took + took / 4));
      const RunResult result = trial.go_on(options);
      if (result.signal != 0) {
        ++killed;
        continue;
      }
      if (result.status != 3) {
        ASSERT_EQ(result.status, whole.status) << result.out << result.err;
        break;
      }
      ++doubts;
      settle(trial);
      if (HasFailure()) return;
    }
    expect_same_for_once(trial.outcome(), expected, "kill " + std::to_string(killed));
    if (HasFailure()) return;
  }
  std::printf("%llu kills, %llu in doubt and settled\n", static_cast<unsigned long long>(killed),
              static_cast<unsigned long long>(doubts));
}

}  // namespace
}  // namespace longhaul::testing_support
