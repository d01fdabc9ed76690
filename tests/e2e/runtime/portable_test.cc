// Sessions that leave one store and go on in another, through the real program: identical tokens, whatever processor
// and however many threads go on with them.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/trajectory_fixture.h"

namespace longhaul::testing_support {
namespace {

class Portable : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_builtin_model()) GTEST_SKIP() << "the built-in model is not in this checkout";
  }
  std::string store(const std::string& name) const { return folder_.file(name); }
  json::object show(const std::string& where, const std::string& session) const {
    const RunResult shown = run_program({"sessions", "show", "--json", "--store", store(where), session});
    auto value = parse_json(shown.out);
    EXPECT_TRUE(value && value->is_object()) << shown.out << shown.err;
    return value && value->is_object() ? value->get_object() : json::object{};
  }
  RunResult sessions(const std::string& where, const std::vector<std::string>& arguments) const {
    std::vector<std::string> all{"sessions"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    all.insert(all.end(), {"--json", "--store", store(where)});
    return run_program(all);
  }

  // Returns what was there.
  static std::string overwrite(const std::filesystem::path& path, std::streamoff at, const std::string& bytes) {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    std::string old(bytes.size(), '\0');
    file.seekg(at);
    file.read(old.data(), static_cast<std::streamsize>(old.size()));
    file.seekp(at);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    file.flush();
    EXPECT_TRUE(file.good()) << path << " at " << at;
    return old;
  }

  TemporaryFolder folder_;
};

TEST_F(Portable, AnExportedSessionGoesOnWithTheSameTokens) {
  const std::vector<std::string> run{"run",    "--json", "--store",       store("home"), "--session",   "a",
                                     "--seed", "5",      "--temperature", "1",           witness_task()};
  ASSERT_EQ(run_program(run).signal, 0);
  const json::object whole = show("home", "a");
  const std::size_t n_turns = whole.at("turns").as_array().size();
  ASSERT_GE(n_turns, 2U);
  ASSERT_EQ(sessions("home", {"fork", "a", "half", "--at", "1"}).status, 0);
  const std::string file = folder_.file("half.lhx");
  ASSERT_EQ(sessions("home", {"export", "half", file}).status, 0);

  const std::vector<std::vector<std::string>> machines = {
      {}, {"--kernels", "scalar"}, {"--threads", "2"}, {"--kernels", "scalar", "--threads", "2", "--speculate", "2"}};
  for (std::size_t i = 0; i < machines.size(); ++i) {
    const std::string where = "away" + std::to_string(i);
    const RunResult imported = sessions(where, {"import", file, "--as", "b"});
    ASSERT_EQ(imported.status, 0) << imported.out << imported.err;
    std::vector<std::string> resume{"resume", "--json", "--store", store(where), "b"};
    resume.insert(resume.end(), machines[i].begin(), machines[i].end());
    run_program(resume);
    const json::object there = show(where, "b");
    EXPECT_EQ(there.at("tokens"), whole.at("tokens")) << i;
    EXPECT_EQ(there.at("digest"), whole.at("digest")) << i;
    EXPECT_EQ(sessions(where, {"verify", "--deep"}).status, 0) << i;
  }

  // What came since goes home as a delta, and the session there moves on.
  const std::string delta = folder_.file("delta.lhx");
  ASSERT_EQ(sessions("away1", {"export", "b", delta, "--since", "1"}).status, 0);
  const RunResult back = sessions("home", {"import", delta, "--as", "half"});
  ASSERT_EQ(back.status, 0) << back.out << back.err;
  EXPECT_NE(back.out.find("\"moved_on\":true"), std::string::npos) << back.out;
  EXPECT_EQ(show("home", "half").at("tokens"), whole.at("tokens"));
  EXPECT_EQ(sessions("home", {"verify", "--deep"}).status, 0);
  const RunResult lost = sessions("nowhere", {"import", delta});
  EXPECT_EQ(lost.status, 1);
  EXPECT_NE(lost.err.find("goes on from turn 1"), std::string::npos) << lost.err;
}

TEST_F(Portable, BadFilesAreAnErrorAndChangeNothing) {
  ASSERT_EQ(
      run_program({"run", "--json", "--store", store("home"), "--session", "a", "--seed", "5", witness_task()}).signal,
      0);
  const std::string file = folder_.file("a.lhx");
  ASSERT_EQ(sessions("home", {"export", "a", file}).status, 0);
  ASSERT_EQ(sessions("home", {"list"}).status, 0);
  const std::string before = sessions("home", {"list"}).out;
  const auto size = std::filesystem::file_size(file);
  std::filesystem::resize_file(file, size - 1);
  const RunResult cut = sessions("home", {"import", file, "--as", "b"});
  EXPECT_EQ(cut.status, 1);
  EXPECT_NE(cut.err.find("cut short"), std::string::npos) << cut.err;
  std::filesystem::resize_file(file, size);  // a zero in place of the last byte
  EXPECT_EQ(sessions("home", {"import", file, "--as", "b"}).status, 1);
  for (const char* missing : {"nothing-here.lhx", "/dev/null", "/proc/self/mem"}) {
    EXPECT_EQ(sessions("home", {"import", missing, "--as", "b"}).status, 1) << missing;
  }
  EXPECT_EQ(sessions("home", {"export", "nobody", file}).status, 1);
  EXPECT_EQ(sessions("home", {"export", "a", folder_.file("x"), "--since", "1000"}).status, 1);
  EXPECT_EQ(sessions("home", {"export", "a", folder_.file("x"), "--since", "-1"}).status, 2);
  EXPECT_EQ(sessions("home", {"list"}).out, before);
}

// States and pages can be computed again, so no damage to them may stand in the way, wherever in a table it is.
TEST_F(Portable, DamageAnywhereInStatesAndPagesIsMended) {
  ASSERT_EQ(
      run_program({"run", "--json", "--store", store("home"), "--session", "a", "--seed", "5", witness_task()}).signal,
      0);
  const json::object before = show("home", "a");
  ASSERT_EQ(sessions("home", {"gc"}).status, 0);
  std::vector<std::filesystem::path> tables;
  for (const auto& file : std::filesystem::directory_iterator(store("home") + "/db")) {
    if (file.path().extension() == ".sst") tables.push_back(file.path().filename());
  }
  std::sort(tables.begin(), tables.end(), [&](const auto& a, const auto& b) {
    return std::filesystem::file_size(std::filesystem::path(store("home")) / "db" / a) >
           std::filesystem::file_size(std::filesystem::path(store("home")) / "db" / b);
  });
  ASSERT_GE(tables.size(), 2U);
  tables.resize(2);  // pages and states; the others hold what cannot be made again
  for (const auto& table : tables) {
    const std::uintmax_t size = std::filesystem::file_size(std::filesystem::path(store("home")) / "db" / table);
    for (int place = 0; place < 3; ++place) {
      std::filesystem::remove_all(store("spoilt"));
      std::filesystem::copy(store("home"), store("spoilt"), std::filesystem::copy_options::recursive);
      {
        std::fstream file(std::filesystem::path(store("spoilt")) / "db" / table,
                          std::ios::binary | std::ios::in | std::ios::out);
        file.seekp(static_cast<std::streamoff>(1000 + size * place / 3));
        file.write("damage", 6);
      }
      const RunResult rebuilt = sessions("spoilt", {"verify", "--rebuild"});
      EXPECT_EQ(rebuilt.status, 0) << table << " place " << place << rebuilt.out << rebuilt.err;
      EXPECT_EQ(show("spoilt", "a").at("tokens"), before.at("tokens")) << table << " place " << place;
    }
  }
}

TEST_F(Portable, DamagedStatesAreMadeAgainFromTheTokens) {
  ASSERT_EQ(
      run_program({"run", "--json", "--store", store("home"), "--session", "a", "--seed", "5", witness_task()}).signal,
      0);
  const json::object before = show("home", "a");
  ASSERT_EQ(sessions("home", {"gc"}).status, 0);  // everything is in tables now
  std::filesystem::path largest;
  for (const auto& file : std::filesystem::directory_iterator(store("home") + "/db")) {
    if (file.path().extension() != ".sst") continue;
    if (largest.empty() || file.file_size() > std::filesystem::file_size(largest)) largest = file.path();
  }
  ASSERT_FALSE(largest.empty());
  // Only what the session goes on from is made again, an older state is just dropped: so the damage is put where
  // `verify` says that it hit the state behind the last token, wherever the table has it (mostly near its end).
  const std::string newest = "state at position " + std::to_string(before.at("tokens").as_array().size()) + " ";
  const auto size = static_cast<std::streamoff>(std::filesystem::file_size(largest));
  RunResult found;
  for (int part = 31; part > 0; --part) {
    const std::streamoff at = size / 32 * part;
    const std::string whole = overwrite(largest, at, "damage");
    found = sessions("home", {"verify"});
    if (found.out.find(newest) != std::string::npos) break;
    overwrite(largest, at, whole);
  }
  ASSERT_NE(found.out.find(newest), std::string::npos)
      << "no place in the " << size << " bytes of " << largest << " holds the " << newest << "\n"
      << found.out;
  EXPECT_EQ(found.status, 1);
  EXPECT_NE(found.out.find("\"ok\":false"), std::string::npos) << found.out;
  const RunResult rebuilt = sessions("home", {"verify", "--rebuild"});
  EXPECT_EQ(rebuilt.status, 0) << rebuilt.out << rebuilt.err;
  EXPECT_NE(rebuilt.out.find("\"history_whole\":true"), std::string::npos) << rebuilt.out;
  EXPECT_NE(rebuilt.out.find("rebuilt_tokens"), std::string::npos) << rebuilt.out;
  EXPECT_EQ(sessions("home", {"verify", "--deep"}).status, 0);
  EXPECT_EQ(show("home", "a").at("tokens"), before.at("tokens"));
  EXPECT_EQ(run_program({"resume", "--json", "--store", store("home"), "a", "What is the value of total?"}).status, 0);
  const RunResult copy = sessions("home", {"verify", "--repair-copy", store("copy")});
  EXPECT_EQ(copy.status, 0) << copy.out << copy.err;
  EXPECT_EQ(show("copy", "a").at("tokens"), show("home", "a").at("tokens"));
  EXPECT_EQ(sessions("copy", {"verify", "--deep"}).status, 0);
  EXPECT_EQ(sessions("home", {"verify", "--repair-copy", store("copy")}).status, 1);  // it is there
  EXPECT_EQ(sessions("home", {"verify", "a", "--repair-copy", store("x")}).status, 2);
}

}  // namespace
}  // namespace longhaul::testing_support
