// The shipped plugins, as they are in tools/plugins, through the whole sandbox. Their texts are what the built-in model
// was trained on, so they are compared letter by letter.
#include <gmock/gmock.h>

#include "tests/unit/sandbox/sandbox_fixture.h"

namespace longhaul::sandbox {
namespace {

using Kind = CallOutcome::Kind;
using ::testing::HasSubstr;

PluginSource plugin(const std::string& name) {
  const std::string path = std::string(LONGHAUL_SOURCE_DIR) + "/tools/plugins/" + name + ".lua";
  auto text = read_file(path, kSourceBytesMax);
  return {path, text ? *text : ""};
}

class PluginsTest : public SandboxTest {
 protected:
  void SetUp() override {
    SandboxTest::SetUp();
    auto files = Files::open(test_zygote(), folder_.path(), true);
    ASSERT_TRUE(files.has_value()) << files.error().message;
    files_ = std::move(*files);
    powers_.set("files", *files_);
    powers_.set("notes", notes_);
    powers_.set("clock", clock_power_);
  }

  // "text", or "error: text" as the model sees it.
  std::string use(const std::string& name, const json::object& args) {
    CallRequest request;
    request.arguments_json = to_json(args);
    last_ = pool_->call(plugin(name), request, powers_);
    if (last_.kind == Kind::kOk) return last_.text;
    return (last_.kind == Kind::kToolError ? "error: " : "FAILED: ") + last_.text;
  }
  std::string calc(const std::string& expression) { return use("calc", {{"expression", expression}}); }

  TemporaryFolder folder_;
  std::unique_ptr<Files> files_;
  Notes notes_{{}};
  FixedClock clock_;
  ClockPower clock_power_{clock_};
  PowerSet powers_;
  CallOutcome last_;
};

TEST_F(PluginsTest, EachDescribesItself) {
  struct Expected {
    const char *name, *effect, *powers;
  };
  for (const Expected& expected :
       {Expected{"calc", "read", "null"}, Expected{"clock", "read", R"({"clock":true})"},
        Expected{"convert", "read", "null"}, Expected{"kv_get", "read", R"({"notes":"read"})"},
        Expected{"kv_put", "idempotent", R"({"notes":"write"})"}, Expected{"list_files", "read", R"({"files":"read"})"},
        Expected{"read_file", "read", R"({"files":"read"})"}, Expected{"search_files", "read", R"({"files":"read"})"},
        Expected{"write_file", "idempotent", R"({"files":"write"})"}}) {
    auto text = pool_->describe(plugin(expected.name));
    ASSERT_TRUE(text.has_value()) << text.error().message;
    auto manifest = parse_json(*text);
    ASSERT_TRUE(manifest.has_value());
    const json::object& object = manifest->as_object();
    EXPECT_EQ(object.at("name"), expected.name);
    EXPECT_EQ(object.at("effect"), expected.effect);
    EXPECT_TRUE(object.at("parameters").is_object());
    EXPECT_EQ(object.contains("powers") ? to_json(object.at("powers")) : "null", expected.powers) << expected.name;
  }
}

TEST_F(PluginsTest, CalcComputes) {
  const std::pair<const char*, const char*> cases[] = {
      {"1+2*3", "7"},
      {"(1+2)*3", "9"},
      {" 7 / 2 ", "3.5"},
      {"10/4*2", "5"},
      {"2-3-4", "-5"},
      {"-3*-4", "12"},
      {"--5", "5"},
      {"+5", "5"},
      {"-(2+3)", "-5"},
      {".5+0.25", "0.75"},
      {"5.", "5"},
      {"0.1+0.2", "0.3"},
      {"1/3", "0.3333333333"},
      {"9007199254740991+1", "9007199254740992"},
      {"123456789*987654321", "1.219326311e+17"},
      {"2*0", "0"},
      {"6/3", "2"},
      {"1000000*1000000", "1000000000000"},
      {"99999999999999999999", "1e+20"},
      {"3.0*2", "6"},
      {"\t1\t+\t1", "2"},
  };
  for (const auto& [expression, expected] : cases) EXPECT_EQ(calc(expression), expected) << expression;
}

TEST_F(PluginsTest, CalcNamesWhatIsWrong) {
  EXPECT_EQ(calc("1/0"), "error: bad expression: division by zero");
  EXPECT_EQ(calc("1/(2-2)"), "error: bad expression: division by zero");
  EXPECT_EQ(calc(""), "error: bad expression: unexpected end");
  EXPECT_EQ(calc("1+"), "error: bad expression: unexpected end");
  EXPECT_EQ(calc("2x"), "error: bad expression: unexpected 'x'");
  EXPECT_EQ(calc("os.exit()"), "error: bad expression: unexpected 'o'");
  EXPECT_EQ(calc("(1"), "error: bad expression: missing )");
  EXPECT_EQ(calc("1)"), "error: bad expression: unexpected ')'");
  EXPECT_EQ(calc("1..2"), "error: bad expression: unexpected '.'");
  EXPECT_EQ(calc(std::string(100, '(') + "1" + std::string(100, ')')), "error: bad expression: too many parentheses");
  EXPECT_EQ(calc(std::string(100, '-') + "1"), "error: bad expression: too many signs");
  EXPECT_EQ(calc("1" + std::string(400, '0') + "*10"), "error: bad expression: out of range");
}

TEST_F(PluginsTest, ConvertConverts) {
  const auto convert = [&](double value, const char* from, const char* to) {
    return use("convert", {{"value", value}, {"from", from}, {"to", to}});
  };
  EXPECT_EQ(convert(5, "km", "meters"), "5000");
  EXPECT_EQ(convert(1, "miles", "km"), "1.60934");
  EXPECT_EQ(convert(12, "inches", "feet"), "1");
  EXPECT_EQ(convert(2.5, "hours", "minutes"), "150");
  EXPECT_EQ(convert(1, "pounds", "grams"), "453.592");
  EXPECT_EQ(convert(-1, "days", "seconds"), "-86400");
  EXPECT_EQ(convert(1, "parsecs", "km"), "error: unknown unit: parsecs");
  EXPECT_EQ(convert(1, "km", "kilos"), "error: unknown unit: kilos");
  EXPECT_EQ(convert(1, "km", "kg"), "error: cannot convert km to kg");
}

TEST_F(PluginsTest, ClockTellsTheInjectedTime) {
  EXPECT_EQ(use("clock", {}), "2026-11-23 07:05:00");
  clock_.now_ms = 951'782'399'999;
  EXPECT_EQ(use("clock", {}), "2000-02-28 23:59:59");
  clock_.now_ms = 951'782'400'000;
  EXPECT_EQ(use("clock", {}), "2000-02-29 00:00:00");
  clock_.now_ms = -1;
  EXPECT_EQ(use("clock", {}), "1969-12-31 23:59:59");
}

TEST_F(PluginsTest, NotesKeepValuesAndGiveADelta) {
  EXPECT_EQ(use("kv_get", {{"key", "color"}}), "error: no such key: color");
  EXPECT_EQ(use("kv_put", {{"key", "color"}, {"value", "blue"}}), "ok");
  EXPECT_EQ(use("kv_get", {{"key", "color"}}), "blue");
  EXPECT_EQ(use("kv_put", {{"key", "color"}, {"value", ""}}), "ok");
  EXPECT_EQ(use("kv_get", {{"key", "color"}}), "");
  EXPECT_EQ(use("kv_put", {{"key", ""}, {"value", "x"}}), "error: the key is empty");
  ASSERT_EQ(notes_.delta().size(), 2U);
  EXPECT_EQ(notes_.delta()[0], std::make_pair(std::string("color"), std::string("blue")));
}

TEST_F(PluginsTest, FilesAreListedReadAndWritten) {
  EXPECT_EQ(use("list_files", {{"path", ""}}), "(empty)");
  EXPECT_EQ(use("write_file", {{"path", "notes/today.txt"}, {"content", "milk"}}), "ok");
  EXPECT_EQ(folder_.read("notes/today.txt"), "milk");
  EXPECT_EQ(use("read_file", {{"path", "notes/today.txt"}}), "milk");
  EXPECT_EQ(use("write_file", {{"path", "notes/today.txt"}, {"content", "bread"}}), "ok");
  EXPECT_EQ(use("read_file", {{"path", "./notes//today.txt"}}), "bread");
  EXPECT_EQ(use("write_file", {{"path", "a.txt"}, {"content", ""}}), "ok");
  EXPECT_EQ(use("read_file", {{"path", "a.txt"}}), "(empty)");
  EXPECT_EQ(use("list_files", {{"path", "."}}), "a.txt\nnotes/");
  EXPECT_EQ(use("list_files", {{"path", "notes"}}), "today.txt");
  EXPECT_EQ(use("list_files", {{"path", "notes/"}}), "today.txt");
  EXPECT_EQ(use("read_file", {{"path", "b.txt"}}), "error: file not found: b.txt");
  EXPECT_EQ(use("list_files", {{"path", "music"}}), "error: no such folder: music");
  EXPECT_EQ(use("read_file", {{"path", "notes"}}), "error: is a folder: notes");
  EXPECT_EQ(use("list_files", {{"path", "a.txt"}}), "error: not a folder: a.txt");
  EXPECT_EQ(use("read_file", {{"path", "../x"}}), "error: path leads out of the granted folder: ../x");
  EXPECT_EQ(use("write_file", {{"path", "a.txt/b"}, {"content", ""}}), "error: not a folder: a.txt/b");
}

TEST_F(PluginsTest, SearchFindsFiles) {
  folder_.write("docs/one.txt", "the needle is here");
  folder_.write("docs/two.txt", "nothing");
  folder_.write("docs/deep/er/three.txt", "another needle");
  folder_.write("docs/bytes.bin", std::string("needle\0\xff", 8));
  folder_.write("top.txt", "needle");
  EXPECT_EQ(use("search_files", {{"path", "docs"}, {"text", "needle"}}), "docs/one.txt\ndocs/deep/er/three.txt");
  EXPECT_EQ(use("search_files", {{"path", "docs/"}, {"text", "needle"}}), "docs/one.txt\ndocs/deep/er/three.txt");
  EXPECT_EQ(use("search_files", {{"path", ""}, {"text", "needle"}}), "top.txt\ndocs/one.txt\ndocs/deep/er/three.txt");
  EXPECT_EQ(use("search_files", {{"path", "docs"}, {"text", "straw"}}), "no matches");
  EXPECT_EQ(use("search_files", {{"path", "docs"}, {"text", ""}}), "error: the text to find is empty");
  EXPECT_EQ(use("search_files", {{"path", "nowhere"}, {"text", "x"}}), "error: no such folder: nowhere");
}

TEST_F(PluginsTest, SearchStopsAtItsBound) {
  for (int i = 0; i < 501; ++i) folder_.write("many/" + std::to_string(i), "x");
  EXPECT_EQ(use("search_files", {{"path", "many"}, {"text", "x"}}),
            "error: more than 500 files; choose a smaller folder");
}

}  // namespace
}  // namespace longhaul::sandbox
