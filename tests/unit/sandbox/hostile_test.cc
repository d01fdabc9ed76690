// Every script in hostile/ is the body of a plugin's run(args, ctx), granted notes, files and the timer. Its first line
// says what must come of it: `-- expect: KIND TEXT`, where KIND is ok, tool_error, limit or sleeping; TEXT is the whole
// result of ok, a part of the message of tool_error, and the limit's name (none: any). `contained` means: anything but
// harm to the host.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "tests/unit/sandbox/sandbox_fixture.h"

namespace longhaul::sandbox {
namespace {

using Kind = CallOutcome::Kind;
using ::testing::HasSubstr;

const std::string kFolder = std::string(LONGHAUL_SOURCE_DIR) + "/tests/unit/sandbox/hostile";

std::vector<std::string> script_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) names.push_back(entry.path().stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

class Hostile : public SandboxTest, public ::testing::WithParamInterface<std::string> {};

TEST_P(Hostile, MeetsItsLimit) {
  auto text = read_file(kFolder + "/" + GetParam() + ".lua", 1 << 20);
  ASSERT_TRUE(text.has_value());
  const std::string head = text->substr(0, text->find('\n'));
  const std::string prefix = "-- expect: ";
  ASSERT_EQ(head.substr(0, prefix.size()), prefix);
  const std::string expected = head.substr(prefix.size());
  const std::string kind = expected.substr(0, expected.find(' '));
  const std::string detail = expected.find(' ') == std::string::npos ? "" : expected.substr(expected.find(' ') + 1);

  TemporaryFolder outside;
  outside.write("secret", "secret");
  outside.write("root/inner/file.txt", "x");
  ASSERT_EQ(::symlink("../secret", (outside.path() + "/root/link").c_str()), 0);
  ASSERT_EQ(::mkfifo((outside.path() + "/root/pipe").c_str(), 0600), 0);
  auto files = Files::open(test_zygote(), outside.path() + "/root", true);
  ASSERT_TRUE(files.has_value()) << files.error().message;
  Notes notes({});
  PowerSet powers;
  powers.set("notes", notes);
  powers.set("files", **files);
  FixedClock clock;
  KeptInMemory journal;
  Steps steps({}, {}, &notes, clock, journal, false);
  powers.set("steps", steps);
  powers.set("timer", steps);

  const PluginSource source = script(*text, "{notes='write', files='write', timer=true}");
  CallRequest request;
  request.limits.cpu_ms = 100;
  request.limits.wall_ms = 60'000;  // nothing may come this far; a sanitizer build is slow
  // Those that must meet another limit first have time for it, in a sanitizer build, too.
  if (kind != "limit" || (!detail.empty() && detail != "cpu")) request.limits.cpu_ms = 30'000;
  const CallOutcome outcome = pool_->call(source, request, powers);

  if (kind == "ok") {
    EXPECT_EQ(outcome.kind, Kind::kOk) << shown(outcome);
    EXPECT_EQ(outcome.text, detail);
  } else if (kind == "tool_error") {
    EXPECT_EQ(outcome.kind, Kind::kToolError) << shown(outcome);
    EXPECT_THAT(outcome.text, HasSubstr(detail));
  } else if (kind == "limit") {
    EXPECT_EQ(outcome.kind, Kind::kLimit) << shown(outcome);
    if (!detail.empty()) {
      EXPECT_EQ(to_string(outcome.limit), detail) << shown(outcome);
    }
  } else if (kind == "sleeping") {
    EXPECT_EQ(outcome.kind, Kind::kSleeping) << shown(outcome);
  } else {
    ASSERT_EQ(kind, "contained");
    EXPECT_NE(outcome.kind, Kind::kUnavailable) << shown(outcome);
  }
  EXPECT_LE(outcome.log.size(), static_cast<std::size_t>(request.limits.log_bytes) + 128);
  EXPECT_TRUE(is_utf8(outcome.log));
  EXPECT_EQ(outside.read("secret"), "secret");
  // The host goes on as if nothing had been.
  EXPECT_EQ(run("return 'next'").text, "next");
}

INSTANTIATE_TEST_SUITE_P(Scripts, Hostile, ::testing::ValuesIn(script_names()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace longhaul::sandbox
