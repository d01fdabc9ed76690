// The process is killed, at every named step and at random instants, and started again until the trajectory is done.
// The judge is an uninterrupted run with the same seed: same tokens, same digest, and the witness file of the tool says
// that each call happened exactly once. Nothing of the child's memory survives: each life is a new process (the test
// binary itself, executed anew, since a forked copy of a process with RocksDB's threads would lack them).
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include "sessions/fault_point.h"
#include "sessions/session_manager.h"
#include "tests/support/sessions/fake_clock.h"
#include "tests/support/sessions/mini_agent.h"
#include "tests/support/sessions/temp_folder.h"
#include "tests/support/setting.h"

extern char** environ;

namespace longhaul::sessions {
namespace {

using testing_support::setting;

constexpr int kExitDone = 10, kExitInDoubt = 13, kExitError = 14;

std::string env_or(const char* name, const std::string& otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : text;
}

StoreOptions child_options() {
  StoreOptions options;
  if (env_or("LONGHAUL_CHILD_INGEST", "0") == "1") options.ingest_bytes_min = 1;
  options.state_policy.tokens_min = 1;
  return options;
}

// One life: opens or creates the session and runs it until it is done or in doubt, or until it is killed.
int one_life() {
  const std::string folder = env_or("LONGHAUL_CHILD_FOLDER", "");
  const long alarm_us = std::atol(env_or("LONGHAUL_CHILD_ALARM_US", "0").c_str());
  if (alarm_us > 0) {
    // The default action of SIGALRM ends the process on the spot, as SIGKILL would, at an instant nobody chose.
    itimerval timer{};
    timer.it_value.tv_sec = alarm_us / 1'000'000;
    timer.it_value.tv_usec = alarm_us % 1'000'000;
    ::setitimer(ITIMER_REAL, &timer, nullptr);
  }
  const auto fail = [](const Error& error) {
    std::fprintf(stderr, "child: %s\n", error.message.c_str());
    return kExitError;
  };
  auto manager = SessionManager::open(folder + "/store", child_options());
  if (!manager) return fail(manager.error());
  const SessionIdentity identity{"model", "tag"};
  auto session = (*manager)->open_session("a", identity);
  if (!session && session.error().code == ErrorCode::kNotFound) {
    session = (*manager)->create("a", {identity, test::small_layout(), 11, "{}"});
  }
  if (!session) return fail(session.error());
  test::MiniAgent agent{**session, folder + "/witness",
                        env_or("LONGHAUL_CHILD_EFFECT", "") == "once" ? Effect::kOnce : Effect::kIdempotent};
  auto outcome = agent.run();
  if (!outcome) return fail(outcome.error());
  if (*outcome == test::MiniAgent::Outcome::kInDoubt) return kExitInDoubt;
  // Going on with what else writes: a fork, a deletion, a collection.
  auto forked = (*manager)->fork("a", "b", Cut::at_turn(3));
  if (!forked && forked.error().code != ErrorCode::kConflict) return fail(forked.error());
  auto removed = (*manager)->remove("b");
  if (!removed) return fail(removed.error());
  auto exported = (*manager)->export_session("a", folder + "/a.lhx");
  if (!exported) return fail(exported.error());
  removed = (*manager)->remove("c");
  if (!removed && removed.error().code != ErrorCode::kNotFound) return fail(removed.error());
  auto imported = (*manager)->import_session(folder + "/a.lhx", "c");
  if (!imported) return fail(imported.error());
  auto collected = (*manager)->gc();
  if (!collected) return fail(collected.error());
  session->reset();
  manager->reset();
  auto repaired = SessionManager::drop_damaged(folder + "/store", child_options());
  if (!repaired) return fail(repaired.error());
  return repaired->lost.empty() && repaired->made ? kExitDone : kExitError;
}

// Run by the tests below in processes of its own; by itself it has nothing to do.
TEST(CrashChild, DISABLED_OneLife) {
  if (env_or("LONGHAUL_CHILD_FOLDER", "").empty()) return;
  std::_Exit(one_life());
}

struct Death {
  bool killed = false;
  int status = 0;
};

Death spawn_life(const std::string& folder, const std::map<std::string, std::string>& settings) {
  std::vector<std::string> environment;
  for (char** e = environ; *e != nullptr; ++e) environment.emplace_back(*e);
  environment.push_back("LONGHAUL_CHILD_FOLDER=" + folder);
  for (const auto& [name, value] : settings) environment.push_back(name + "=" + value);
  std::vector<std::string> arguments = {"test_sessions", "--gtest_filter=CrashChild.DISABLED_OneLife",
                                        "--gtest_also_run_disabled_tests", "--gtest_brief=1"};
  std::vector<char*> argv, envp;
  for (auto& a : arguments) argv.push_back(a.data());
  for (auto& e : environment) envp.push_back(e.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  pid_t pid = 0;
  const int spawned = ::posix_spawn(&pid, "/proc/self/exe", &actions, nullptr, argv.data(), envp.data());
  ::posix_spawn_file_actions_destroy(&actions);
  EXPECT_EQ(spawned, 0);
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return {WIFSIGNALED(status) && (WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGALRM),
          WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status)};
}

struct Transcript {
  std::vector<TokenId> tokens;
  Digest digest;
  std::uint64_t n_draws = 0, n_calls = 0;
  std::vector<std::string> witness;  // without the keys: those name the store
  friend bool operator==(const Transcript&, const Transcript&) = default;
};

Transcript read_transcript(const std::string& folder) {
  Transcript out;
  auto manager = SessionManager::open(folder + "/store");
  EXPECT_TRUE(manager.has_value()) << manager.error().message;
  if (!manager) return out;
  auto report = (*manager)->verify();
  EXPECT_TRUE(report.has_value());
  for (const Problem& p : report->problems) ADD_FAILURE() << p.place << ": " << p.message;
  auto details = (*manager)->show("a");
  EXPECT_TRUE(details.has_value()) << details.error().message;
  if (!details) return out;
  EXPECT_EQ(details->context.status(), SessionStatus::kAnswered);
  out.tokens = details->context.tokens();
  out.digest = details->context.digest();
  out.n_draws = details->context.n_draws();
  out.n_calls = details->context.calls().size();
  auto copy = (*manager)->show("c");
  EXPECT_TRUE(copy.has_value()) << copy.error().message;
  if (!copy) return out;
  EXPECT_EQ(copy->context.digest(), out.digest);
  EXPECT_EQ(copy->context.tokens(), out.tokens);
  EXPECT_EQ((*manager)->list()->size(), 2U);
  auto session = (*manager)->open_any("c");
  EXPECT_TRUE(session.has_value());
  auto loaded = (*session)->load_state();
  EXPECT_TRUE(loaded.has_value()) << loaded.error().message;
  test::feed(*loaded->state, loaded->tokens_to_feed);
  EXPECT_TRUE(loaded->state->same_as(test::state_after(test::small_layout(), out.tokens)));
  for (const std::string& line : test::witness_lines(folder + "/witness")) {
    out.witness.push_back(line.substr(0, line.find(' ')));
  }
  return out;
}

const Transcript& untouched() {
  static const Transcript transcript = [] {
    test::TempFolder folder;
    const Death death = spawn_life(folder.path(), {});
    EXPECT_EQ(death.status, kExitDone);
    return read_transcript(folder.path());
  }();
  return transcript;
}

// A call in doubt is settled by what the witness says.
void settle_by_witness(const std::string& folder) {
  auto manager = SessionManager::open(folder + "/store");
  ASSERT_TRUE(manager.has_value()) << manager.error().message;
  auto details = (*manager)->show("a");
  ASSERT_TRUE(details.has_value()) << details.error().message;
  const auto open = details->context.open_calls();
  ASSERT_EQ(open.size(), 1U);
  bool happened = false;
  for (const std::string& line : test::witness_lines(folder + "/witness")) {
    happened = happened || line.substr(0, line.find(' ')) == std::to_string(open[0]);
  }
  auto settled =
      happened ? (*manager)->settle("a", Settlement::kDone, "{}") : (*manager)->settle("a", Settlement::kRetry);
  ASSERT_TRUE(settled.has_value()) << settled.error().message;
}

// Lives with the given settings until one is not killed, then without them until done. Counts the kills.
int live_until_done(const std::string& folder, const std::map<std::string, std::string>& deadly,
                    const std::map<std::string, std::string>& always, int deadly_lives) {
  int kills = 0;
  for (int life = 0; life < deadly_lives + 20; ++life) {
    std::map<std::string, std::string> settings = always;
    if (life < deadly_lives) settings.insert(deadly.begin(), deadly.end());
    const Death death = spawn_life(folder, settings);
    if (death.killed) {
      ++kills;
      continue;
    }
    if (death.status == kExitInDoubt) {
      settle_by_witness(folder);
      if (::testing::Test::HasFatalFailure()) return kills;
      continue;
    }
    EXPECT_EQ(death.status, kExitDone);
    return kills;
  }
  ADD_FAILURE() << "never done";
  return kills;
}

TEST(Crash, AtEveryNamedStepTheEndIsTheSame) {
  std::map<std::string_view, int> kills;
  for (const std::string_view point : fault_points()) {
    for (const char* effect : {"idempotent", "once"}) {
      test::TempFolder folder;
      SCOPED_TRACE(std::string(point) + " " + effect);
      // A generation without manifest is only there after a kill between ingestion and commit.
      if (point.starts_with("store.orphan")) {
        spawn_life(folder.path(), {{"LONGHAUL_FAULT", "commit.tables_ingested:2"},
                                   {"LONGHAUL_CHILD_INGEST", "1"},
                                   {"LONGHAUL_CHILD_EFFECT", effect}});
      }
      const int n = effect[0] == 'i' ? 1 : 2;
      kills[point] += live_until_done(folder.path(), {{"LONGHAUL_FAULT", std::string(point) + ":" + std::to_string(n)}},
                                      {{"LONGHAUL_CHILD_INGEST", "1"}, {"LONGHAUL_CHILD_EFFECT", effect}}, 2);
      EXPECT_EQ(read_transcript(folder.path()), untouched());
      if (::testing::Test::HasFailure()) return;
    }
  }
  for (const std::string_view point : fault_points()) EXPECT_GT(kills[point], 0) << point << " was never reached";
}

TEST(Crash, AtRandomInstantsTheEndIsTheSame) {
  const std::uint64_t first = setting("LONGHAUL_SEED", 1);
  std::mt19937_64 random(first);
  const int wanted = static_cast<int>(setting("LONGHAUL_RUNS", 120));
  int kills = 0;
  // How many lives end before their alarm depends on the machine; the bound only keeps this from going on for ever.
  for (int run = 0; kills < wanted && run < 20 * wanted; ++run) {
    test::TempFolder folder;
    SCOPED_TRACE("LONGHAUL_SEED=" + std::to_string(first) + " run " + std::to_string(run));
    const std::map<std::string, std::string> always = {{"LONGHAUL_CHILD_INGEST", std::to_string(random() % 2)},
                                                       {"LONGHAUL_CHILD_EFFECT", random() % 2 == 0 ? "once" : ""}};
    for (int life = 0; life < 12; ++life) {
      std::map<std::string, std::string> settings = always;
      if (random() % 2 == 0) {
        // Start-up included: a life is 20 to 200 ms here, the shorter ones on a quiet machine.
        settings["LONGHAUL_CHILD_ALARM_US"] = std::to_string(1000 + random() % 60'000);
      } else {
        const auto points = fault_points();
        settings["LONGHAUL_FAULT"] =
            std::string(points[random() % points.size()]) + ":" + std::to_string(1 + random() % 30);
      }
      const Death death = spawn_life(folder.path(), settings);
      if (death.killed) ++kills;
      if (death.status == kExitInDoubt) {
        ASSERT_NO_FATAL_FAILURE(settle_by_witness(folder.path()));
      }
      if (death.status == kExitDone) break;
    }
    live_until_done(folder.path(), {}, always, 0);
    ASSERT_EQ(read_transcript(folder.path()), untouched());
  }
  EXPECT_GE(kills, wanted);
  RecordProperty("kills", kills);
}

TEST(Crash, ASecondProcessIsToldWhoseStoreItIs) {
  test::TempFolder folder;
  auto manager = SessionManager::open(folder / "store");
  ASSERT_TRUE(manager.has_value());
  const Death death = spawn_life(folder.path(), {});
  EXPECT_EQ(death.status, kExitError);
  auto again = SessionManager::open(folder / "store");
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().code, ErrorCode::kConflict);
  EXPECT_NE(again.error().message.find(folder / "store"), std::string::npos);
  ASSERT_TRUE((*manager)->create("mine", {{"m", "t"}, test::small_layout(), 1, "{}"}).has_value());
}

}  // namespace
}  // namespace longhaul::sessions
