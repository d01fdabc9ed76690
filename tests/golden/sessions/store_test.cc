// Stores and exports written by each version since 2 are read by every later one. A new version adds a folder beside
// the old ones (tests/unit/sessions/fixture_test.cc writes it); none is ever rewritten.
#include <gtest/gtest.h>

#include <filesystem>

#include "sessions/session_manager.h"
#include "tests/support/sessions/fake_model.h"
#include "tests/support/sessions/temp_folder.h"

namespace longhaul::sessions {
namespace {

namespace fs = std::filesystem;

// What fixture_test.cc did: 10 tokens; a call; 130 tokens; back to token 20; 5 tokens; in the store 5 drawn ones more.
std::vector<TokenId> expected_tokens(bool in_store) {
  std::vector<TokenId> out(25, 9);
  for (TokenId id = 0; in_store && id < 5; ++id) out.push_back(id);
  return out;
}

void expect_as_written(SessionManager& manager, const std::string& name, bool in_store) {
  auto verified = manager.verify();
  ASSERT_TRUE(verified.has_value()) << verified.error().message;
  for (const Problem& p : verified->problems) ADD_FAILURE() << p.session << ": " << p.place << ": " << p.message;
  auto session = manager.open_session(name, {"m", "t"});
  ASSERT_TRUE(session.has_value()) << session.error().message;
  const Context& context = (*session)->context();
  EXPECT_EQ(context.tokens(), expected_tokens(in_store));
  EXPECT_EQ(context.turns().size(), 3U);
  EXPECT_EQ(context.turns()[1].position, 140U);
  ASSERT_EQ(context.calls().size(), 1U);
  EXPECT_EQ(context.notes_json(), "{\"k\":1}");
  auto loaded = (*session)->load_state();
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  ASSERT_TRUE(loaded->state.has_value());
  EXPECT_EQ(loaded->position, 25U);
  test::feed(*loaded->state, loaded->tokens_to_feed);
  EXPECT_TRUE(loaded->state->same_as(test::state_after(test::small_layout(), context.tokens())));
  // And it can be gone on with.
  CommitRequest commit;
  commit.state = &*loaded->state;
  ASSERT_TRUE((*session)->commit(commit).has_value());
}

TEST(GoldenStore, EveryVersionIsRead) {
  int n = 0;
  for (const auto& entry : fs::directory_iterator(LONGHAUL_SOURCE_DIR "/tests/golden/sessions")) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("store-v")) continue;
    SCOPED_TRACE(name);
    ++n;
    test::TempFolder folder;
    fs::copy(entry.path(), folder / "s", fs::copy_options::recursive);
    auto manager = SessionManager::open(folder / "s");
    ASSERT_TRUE(manager.has_value()) << manager.error().message;
    EXPECT_EQ((*manager)->list()->size(), 2U);
    EXPECT_EQ((*manager)->show("b")->context.tokens(), std::vector<TokenId>(10, 9));
    ASSERT_NO_FATAL_FAILURE(expect_as_written(**manager, "a", true));
    auto other = SessionManager::open(folder / "other");
    auto taken = (*other)->import_session(folder / "s/a.lhx");
    ASSERT_TRUE(taken.has_value()) << taken.error().message;
    ASSERT_NO_FATAL_FAILURE(expect_as_written(**other, "a", false));
  }
  EXPECT_GE(n, 1);
}

}  // namespace
}  // namespace longhaul::sessions
