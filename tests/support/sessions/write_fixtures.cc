// Writes the files that tests keep: a store and an export of this format (golden/sessions), the corpus of the import
// fuzzer. A program, not a test; the checks are GoogleTest's:
//   ninja -C build write_fixtures && LONGHAUL_FIXTURES=tests build/tests/write_fixtures
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "runtime/base/file.h"
#include "sessions/export_content.h"
#include "sessions/session_manager.h"
#include "sessions/store.h"
#include "tests/support/sessions/fake_clock.h"
#include "tests/support/sessions/fake_model.h"
#include "tests/support/sessions/temp_folder.h"

namespace longhaul::sessions {
namespace {

// As the fuzzer takes a header and sections apart from their checksums.
std::string taken_apart(const std::string& path) {
  auto source = open_export(path);
  EXPECT_TRUE(source.has_value());
  auto reader = ExportReader::open(**source);
  EXPECT_TRUE(reader.has_value());
  std::string out = "\x01";
  const auto add = [&](std::string_view bytes) {
    out.push_back(static_cast<char>(bytes.size()));
    out.push_back(static_cast<char>(bytes.size() >> 8));
    out += bytes;
  };
  add(encode((*reader)->header()));
  while (true) {
    auto next = (*reader)->next();
    EXPECT_TRUE(next.has_value());
    if (!*next) return out;
    out.push_back(static_cast<char>((*next)->type));
    out.push_back('\0');
    add((*next)->bytes);
  }
}

TEST(Fixtures, Write) {
  const char* folder = std::getenv("LONGHAUL_FIXTURES");
  ASSERT_NE(folder, nullptr) << "LONGHAUL_FIXTURES names the folder to write below, as a rule tests";
  const std::string corpus = std::string(folder) + "/fuzz/sessions/corpus/import";
  std::filesystem::create_directories(corpus);
  test::TempFolder work;
  test::FakeClock clock;
  StoreOptions options;
  options.clock = &clock;
  options.state_policy.tokens_min = 1;
  auto manager = SessionManager::open(work / "s", options);
  ASSERT_TRUE(manager.has_value());
  auto session = (*manager)->create("a", {{"m", "t"}, test::small_layout(), 5, "{}"});
  ASSERT_TRUE(session.has_value());
  model::SequenceState state(test::small_layout());
  const auto turn = [&](std::uint64_t n) {
    const std::vector<TokenId> ids(n, 9);
    ASSERT_TRUE((*session)->append(UserMessage{"message"}).has_value());
    ASSERT_TRUE((*session)->feed_tokens(ids).has_value());
    test::feed(state, ids);
    CommitRequest request;
    request.state = &state;
    ASSERT_TRUE((*session)->commit(request).has_value());
  };
  const auto keep = [&](const std::string& name) {
    ASSERT_TRUE((*manager)->export_session("a", work / name).has_value());
    const std::string bytes = *read_file(work / name, 1 << 20);
    ASSERT_TRUE(write_file_atomic(corpus + "/" + name + "-file", '\0' + bytes).has_value());
    ASSERT_TRUE(write_file_atomic(corpus + "/" + name + "-apart", taken_apart(work / name)).has_value());
  };
  turn(10);
  keep("short");
  ASSERT_TRUE((*session)->append(CallIntent{0, "c", "k", "tool", "{}", Effect::kOnce}).has_value());
  ASSERT_TRUE((*session)->append(CallResult{0, "ok", "text", "{\"k\":1}", "[]"}).has_value());
  turn(130);
  ASSERT_TRUE((*session)->reset_context(20, "r").has_value());
  state = test::state_after(test::small_layout(), (*session)->context().tokens());
  turn(5);
  keep("long");

  // The store as it stands, part of it in tables, part in the log, and a file made from it.
  session->reset();
  ASSERT_TRUE((*manager)->gc().has_value());
  auto again = (*manager)->open_session("a", {"m", "t"});
  ASSERT_TRUE(again.has_value());
  for (TokenId id = 0; id < 5; ++id) ASSERT_TRUE((*again)->sample_token(id, id).has_value());
  again->reset();
  ASSERT_TRUE((*manager)->fork("a", "b", Cut::at_turn(1)).has_value());
  manager->reset();
  const std::string golden = std::string(folder) + "/golden/sessions/store-v" + std::to_string(kStoreFormatVersion);
  std::filesystem::remove_all(golden);
  std::filesystem::create_directories(golden + "/db");
  for (const auto& entry : std::filesystem::directory_iterator(work / "s/db")) {
    const std::string name = entry.path().filename().string();
    // What the database does not need to open, and would write anew.
    if (name == "LOCK" || name.starts_with("LOG") || name.starts_with("OPTIONS")) continue;
    std::filesystem::copy(entry.path(), golden + "/db/" + name);
  }
  for (const char* name : {"FORMAT", "high-water"})
    std::filesystem::copy(work / ("s/" + std::string(name)), golden + "/" + name);
  std::filesystem::copy(work / "long", golden + "/a.lhx");
}

}  // namespace
}  // namespace longhaul::sessions
