// Compaction: old results leave the context by going back and feeding what stays; the continuation is that of a session
// which never had them, also after a kill, and the journal gives them back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/recall.h"
#include "tests/support/trajectory_fixture.h"

namespace longhaul::testing_support {
namespace {

using testing::HasSubstr;

class Compaction : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_builtin_model()) GTEST_SKIP() << "the built-in model is not in this checkout";
    const std::string shipped = std::string(LONGHAUL_SOURCE_DIR) + "/tools/plugins/";
    std::string tools;
    for (const char* name : {"calc", "kv_put", "kv_get", "list_files", "read_file", "write_file"}) {
      tools += "\"" + shipped + name + ".lua\", ";
    }
    write_all(folder_.file("agent.lua"), "return { system = \"You are a careful assistant.\", tools = { " + tools +
                                             "},\n  limits = { turns = 6, message_tokens = 60, equal_calls = 3 },\n"
                                             "  compact = { at = 60, keep_turns = 1 } }\n");
    std::filesystem::create_directories(folder_.file("files/notes"));
    for (int i = 0; i < 5; ++i) long_text_ += "the quick brown fox jumps over the lazy dog and runs on ";
    write_all(folder_.file("files/notes/long.txt"), long_text_);
  }
  RunResult start(const std::string& store, const RunOptions& options = {}) {
    return run_program({"run", "--json", "--store", folder_.file(store), "--session", "s", "--agent",
                        folder_.file("agent.lua"), "--files", folder_.file("files"),
                        "1) open notes/long.txt\n2) add 17\n3) store it under total\n4) write it to notes/total.txt"},
                       options);
  }
  json::object shown(const std::string& store) {
    const RunResult result = run_program({"sessions", "show", "--json", "--store", folder_.file(store), "s"});
    auto value = parse_json(result.out);
    EXPECT_TRUE(value && value->is_object()) << result.err;
    return value && value->is_object() ? value->get_object() : json::object{};
  }
  std::string context_text(const json::object& session) {
    std::string ids;
    for (const json::value& id : session.at("tokens").as_array()) ids += to_json(id) + ",";
    auto value = parse_json(run_program({"detokenize", "--json", ids}).out);
    return value ? std::string(value->at("text").as_string()) : "";
  }

  TemporaryFolder folder_;
  std::string long_text_;
};

TEST_F(Compaction, OldResultsLeaveTheContextExactly) {
  const RunResult result = start("a");
  ASSERT_EQ(result.signal, 0);
  EXPECT_THAT(result.out, HasSubstr("\"event\":\"compacted\""));
  const json::object session = shown("a");
  ASSERT_GE(session.at("calls").as_array().size(), 3U) << result.out;  // one before the compaction, others behind it
  const std::string text = context_text(session);
  EXPECT_THAT(text, HasSubstr("the result of read_file call_0 was dropped"));
  EXPECT_THAT(text, testing::Not(HasSubstr("lazy dog and runs on the quick")));
  EXPECT_THAT(text, HasSubstr("recall"));  // it is declared
  // The journal still has it.
  EXPECT_THAT(to_json(session.at("calls").at(0)), HasSubstr("lazy dog"));
  // The stored states are those of a session that was fed the compacted tokens from the start.
  const RunResult verified = run_program({"sessions", "verify", "--deep", "--store", folder_.file("a")});
  EXPECT_EQ(verified.status, 0) << verified.out;
  // The next exchange drops the reasoning of a history with placeholders.
  EXPECT_EQ(run_program({"resume", "--store", folder_.file("a"), "s", "Add 4 and 5."}).signal, 0);
  EXPECT_EQ(run_program({"sessions", "verify", "--deep", "--store", folder_.file("a")}).status, 0);
}

TEST_F(Compaction, KilledAroundItTheEndIsTheSame) {
  const RunResult whole = start("whole");
  const json::object expected = shown("whole");
  int n = 0;
  // The first branch is the session's creation, the second the compaction.
  for (const std::string point :
       {"branch.before_batch:2", "branch.after_batch:2", "tokens.after_write:90", "commit.before_batch:3"}) {
    RunOptions fault;
    fault.environment = {{"LONGHAUL_FAULT", point}};
    const std::string store = "cut" + std::to_string(n++);
    ASSERT_EQ(start(store, fault).signal, SIGKILL) << point;
    const RunResult resumed = run_program({"resume", "--json", "--store", folder_.file(store), "s"});
    EXPECT_EQ(resumed.status, whole.status) << point << resumed.err;
    const json::object session = shown(store);
    EXPECT_EQ(session.at("tokens"), expected.at("tokens")) << point;
    EXPECT_EQ(session.at("digest"), expected.at("digest")) << point;
  }
}

// A result that was new when its exchange ended leaves in a later one.
TEST_F(Compaction, ResultsOfPastExchangesLeaveToo) {
  const std::string store = folder_.file("p");
  RunResult result =
      run_program({"run", "--json", "--store", store, "--session", "s", "--agent", folder_.file("agent.lua"), "--files",
                   folder_.file("files"), "--max-turns", "1", "1) read notes/long.txt"});
  ASSERT_EQ(result.signal, 0) << result.err;
  ASSERT_THAT(context_text(shown("p")), HasSubstr("lazy dog and runs on the quick"));
  for (const char* name : {"before", "behind"}) {
    ASSERT_EQ(run_program({"sessions", "fork", "--store", store, "s", name}).status, 0);
  }
  const auto go_on = [&](const std::string& session, const RunOptions& options = {}) {
    return run_program(
        {"resume", "--json", "--store", store, session, "--max-turns", "6", "1) calculate 4821 * 3\n2) add 17"},
        options);
  };
  result = go_on("s");
  ASSERT_EQ(result.signal, 0);
  EXPECT_THAT(result.out, HasSubstr("\"event\":\"compacted\"")) << result.err;
  const json::object session = shown("p");
  const std::string text = context_text(session);
  EXPECT_THAT(text, HasSubstr("the result of read_file call_0 was dropped"));
  EXPECT_THAT(text, testing::Not(HasSubstr("lazy dog and runs on the quick")));
  EXPECT_THAT(text, HasSubstr("read notes/long.txt"));  // the words around it stay
  EXPECT_THAT(to_json(session.at("calls").at(0)), HasSubstr("lazy dog"));
  EXPECT_EQ(run_program({"sessions", "verify", "--deep", "--store", store}).status, 0);
  // Killed before and behind that write, the end is the same.
  for (const std::string name : {"before", "behind"}) {
    RunOptions fault;
    // The first branch drops the reasoning of the past exchange, the second is the compaction.
    fault.environment = {{"LONGHAUL_FAULT", name == "before" ? "branch.before_batch:2" : "branch.after_batch:2"}};
    ASSERT_EQ(go_on(name, fault).signal, SIGKILL);
    EXPECT_EQ(run_program({"resume", "--json", "--store", store, name}).signal, 0);
    auto value = parse_json(run_program({"sessions", "show", "--json", "--store", store, name}).out);
    ASSERT_TRUE(value && value->is_object());
    EXPECT_EQ(to_json(value->at("tokens")), to_json(session.at("tokens"))) << name;
  }
  // And the exchange after it.
  EXPECT_EQ(run_program({"resume", "--store", store, "s", "Add 4 and 5."}).signal, 0);
  EXPECT_EQ(run_program({"sessions", "verify", "--deep", "--store", store}).status, 0);
}

TEST_F(Compaction, AgentsThatDoNotCompactDoNotKnowRecall) {
  ASSERT_EQ(run_program({"run", "--store", folder_.file("d"), "--session", "s", "Add 4 and 5."}).status, 0);
  EXPECT_THAT(context_text(shown("d")), testing::Not(HasSubstr("recall")));
}

}  // namespace

TEST(Recall, GivesBackWhatTheJournalHas) {
  using namespace sessions;
  Context context;
  std::uint64_t sequence = 0;
  const auto apply = [&](Record record) {
    ASSERT_TRUE(context.apply({1, ++sequence, 0, std::move(record)}).has_value());
  };
  apply(SessionCreated{"m", "t", 1, "{}"});
  apply(CallIntent{0, "call_0", "k", "read_file", "{}", Effect::kRead});
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "\xC3\xA4-";
  apply(CallResult{0, "ok", text, "", ""});
  const auto ask = [&](json::object arguments) { return runtime::recall(context, arguments); };
  EXPECT_FALSE(ask({{"call", "call_1"}}).has_value());
  EXPECT_FALSE(ask({{"call", "call_0"}, {"from", 100'000}}).has_value());
  auto part = ask({{"call", "call_0"}, {"from", 1}, {"bytes", 4}});
  ASSERT_TRUE(part.has_value());
  EXPECT_THAT(*part, HasSubstr("\xC3\xA4-\xC3\xA4\n[bytes 0 to 5 of 9000]"));
  auto most = ask({{"call", "call_0"}, {"bytes", 8192}});
  ASSERT_TRUE(most.has_value());
  EXPECT_LT(most->size(), 8300U);
  EXPECT_THAT(runtime::recall_placeholder(context.calls()[0]), HasSubstr("9000 bytes"));
}

}  // namespace longhaul::testing_support
