// `longhaul top`: sees the sessions of a store that another process owns, and of one that nobody does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "tests/support/trajectory_fixture.h"

namespace longhaul::testing_support {
namespace {

using testing::HasSubstr;

class Top : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_builtin_model()) GTEST_SKIP() << "the built-in model is not in this checkout";
  }
  std::string store() const { return folder_.file("store"); }
  json::object look() {
    const RunResult result = run_program({"top", "--once", "--json", "--store", store()});
    EXPECT_EQ(result.status, 0) << result.err;
    auto value = parse_json(result.out);
    EXPECT_TRUE(value && value->is_object()) << result.out;
    return value && value->is_object() ? value->get_object() : json::object{};
  }

  TemporaryFolder folder_;
};

TEST_F(Top, ShowsWhatLiesInAStoreThatNobodyOwns) {
  ASSERT_EQ(run_program({"run", "--store", store(), "--session", "one", "Add 4 and 5."}).status, 0);
  const json::object seen = look();
  EXPECT_TRUE(seen.at("owner").is_null());
  ASSERT_EQ(seen.at("sessions").as_array().size(), 1U);
  EXPECT_EQ(seen.at("sessions").at(0).at("session"), "one");
  EXPECT_EQ(seen.at("sessions").at(0).at("status"), "answered");
  EXPECT_EQ(seen.at("sessions").at(0).at("live"), false);
  const RunResult text = run_program({"top", "--once", "--store", store()});
  EXPECT_THAT(text.out, HasSubstr("nobody has it open"));
  EXPECT_THAT(text.out, testing::Not(HasSubstr("\033")));
  // It has not kept the store.
  EXPECT_EQ(run_program({"resume", "--store", store(), "one", "Add 1 and 2."}).status, 0);
}

TEST_F(Top, ShowsTheSessionsOfTheOwner) {
  ASSERT_EQ(run_program({"run", "--store", store(), "--session", "one", "Add 4 and 5."}).status, 0);
  OpenChat chat(store(), "two");
  ASSERT_TRUE(chat.greeted());
  ASSERT_TRUE(chat.say("Add 4 and 5."));
  bool answered = false;
  json::object seen;
  for (int i = 0; i < 200 && !answered; ++i) {
    seen = look();
    if (seen.contains("note")) continue;  // the file is not written yet
    for (const json::value& line : seen.at("sessions").as_array()) {
      answered = answered || (line.at("session") == "two" && line.at("status") == "answered");
    }
    if (!answered) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_TRUE(answered) << to_json(seen);
  EXPECT_EQ(seen.at("owner").to_number<pid_t>(), chat.pid());
  EXPECT_EQ(seen.at("sessions").as_array().size(), 2U);
  EXPECT_EQ(seen.at("sessions").at(0).at("session"), "two");
  EXPECT_EQ(seen.at("sessions").at(0).at("live"), true);
  EXPECT_GT(seen.at("sessions").at(0).at("tokens").to_number<int>(), 0);
  EXPECT_GT(seen.at("sessions").at(0).at("state_bytes").to_number<int>(), 0);
  // Killed, it leaves its file behind, which nobody believes.
  chat.kill();
  seen = look();
  EXPECT_TRUE(seen.at("owner").is_null());
  for (const json::value& line : seen.at("sessions").as_array()) EXPECT_EQ(line.at("live"), false);
}

TEST_F(Top, EndsAtCtrlCAndNamesAStoreThatIsNotThere) {
  ASSERT_EQ(run_program({"run", "--store", store(), "--session", "one", "Add 4 and 5."}).status, 0);
  RunOptions options;
  options.interrupt_after = std::chrono::milliseconds(1500);
  const RunResult looped = run_program({"top", "--json", "--interval", "0.2", "--store", store()}, options);
  EXPECT_EQ(looped.status, 0);
  EXPECT_GE(std::count(looped.out.begin(), looped.out.end(), '\n'), 2);
  const RunResult nothing = run_program({"top", "--once", "--store", folder_.file("nowhere")});
  EXPECT_EQ(nothing.status, 1);
  EXPECT_THAT(nothing.err, HasSubstr("nowhere"));
}

}  // namespace
}  // namespace longhaul::testing_support
