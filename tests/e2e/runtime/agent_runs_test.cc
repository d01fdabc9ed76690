// Whole runs of the built-in agent over random tasks: every call that the model makes fits its tool's schema, as the
// validator judges it, and none is malformed, at any temperature and depth of speculation. Each task is run with depth
// 0 to 6, and all seven say the same. LONGHAUL_RUNS is how many runs there are, LONGHAUL_SEED where they begin.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>

#include "runtime/agent.h"
#include "runtime/tool_runner.h"
#include "runtime/trajectory.h"
#include "sessions/session_manager.h"
#include "tests/support/setting.h"
#include "tests/support/trajectory_fixture.h"
#include "tools/json_schema.h"

namespace longhaul::testing_support {
namespace {

using runtime::EventKind;

constexpr int kDepths = 7;
constexpr std::array<float, 4> kTemperatures{0.0F, 0.7F, 1.0F, 1.5F};

class Calls final : public runtime::EventSink {
 public:
  void on_event(const runtime::Event& event) override {
    if (event.kind == EventKind::kToolCall) calls.push_back(event.fields);
  }
  std::vector<json::object> calls;
};

std::string random_task(std::mt19937_64& random) {
  auto pick = [&](std::initializer_list<const char*> words) {
    return std::string(*(words.begin() + random() % words.size()));
  };
  auto number = [&] { return std::to_string(random() % (random() % 2 == 0 ? 100 : 100'000)); };
  auto name = [&] {
    std::string made =
        pick({"total", "rate", "box", "ids", "kelvin", "price", "notes", "a", "größe", "x_1", "<tag>", "50%"});
    if (random() % 3 == 0) made += pick({"_", "-", " ", "."}) + number();
    return made;
  };
  auto path = [&] { return pick({"notes/", "logs/", ""}) + name() + pick({".txt", ".md", ".json", ""}); };
  auto one = [&]() -> std::string {
    switch (random() % 9) {
      case 0:
        return "calculate " + number() + pick({" * ", " + ", " - ", " / "}) + number();
      case 1:
        return pick({"add ", "subtract ", "multiply by "}) + number();
      case 2:
        return "store " + pick({"it", number().c_str(), "\"quoted\" text", "</parameter>", "{\"a\": [1]}"}) +
               " under " + name();
      case 3:
        return "what is stored under " + name() + "?";
      case 4:
        return "write " + pick({"it", "two lines", "</tool_call>", "None"}) + " to " + path();
      case 5:
        return "read " + path();
      case 6:
        return "list the files" + pick({"", " in notes", " in logs"});
      case 7:
        return "convert " + number() + pick({" km to miles", " celsius to fahrenheit", " kg to pounds"});
      default:
        return "find " + name() + " in the files";
    }
  };
  const std::size_t n = 1 + random() % 5;
  if (n == 1) return one();
  std::string task;
  for (std::size_t i = 0; i < n; ++i) task += (i == 0 ? "" : "\n") + std::to_string(i + 1) + ") " + one();
  return task;
}

struct Bench {
  std::unique_ptr<sandbox::Zygote> zygote;
  std::unique_ptr<sandbox::WorkerPool> pool;
  std::unique_ptr<runtime::ModelHost> model;
  std::unique_ptr<sessions::SessionManager> manager;
  runtime::Settings settings;
};

struct Ran {
  std::vector<model::TokenId> tokens;
  std::vector<json::object> calls;
  runtime::RunEnd end = runtime::RunEnd::kAnswered;
};

Result<Ran> run_once(Bench& bench, const std::string& name, const std::string& files, const std::string& task,
                     std::uint64_t seed, float temperature, int depth) {
  std::filesystem::remove_all(files);
  std::filesystem::create_directories(files + "/notes");
  write_all(files + "/notes/list.txt", "apples 3\npears 4\n");
  runtime::Settings settings = bench.settings;
  settings.sampling.temperature = temperature;
  settings.files_root = files;
  sessions::CreateRequest request;
  request.identity = {.model_fingerprint = bench.model->fingerprint(), .numerics_tag = bench.model->numerics_tag()};
  request.layout = bench.model->engine().layout();
  request.seed = seed;
  request.settings_json = to_json(runtime::to_json_object(settings));
  auto session = bench.manager->create(name, request);
  if (!session) return session.error();
  Ran ran;
  {
    Calls sink;
    static const std::atomic<bool> never{false};
    auto trajectory = runtime::Trajectory::open({.model = *bench.model,
                                                 .zygote = *bench.zygote,
                                                 .pool = *bench.pool,
                                                 .session = **session,
                                                 .events = sink,
                                                 .clock = system_clock(),
                                                 .interrupted = never,
                                                 .speculate = depth});
    if (!trajectory) return trajectory.error();
    if (auto ok = (*trajectory)->say(task); !ok) return ok.error();
    auto end = (*trajectory)->run();
    if (!end) return end.error();
    ran.end = *end;
    ran.calls = std::move(sink.calls);
    ran.tokens = (*session)->context().tokens();
  }
  session->reset();
  if (auto gone = bench.manager->remove(name); !gone) return gone.error();
  return ran;
}

TEST(AgentRuns, NoCallIsEverMalformed) {
  if (!have_builtin_model()) GTEST_SKIP() << "the built-in model is not in this checkout";
  const std::uint64_t seed = setting("LONGHAUL_SEED", 1), n_runs = setting("LONGHAUL_RUNS", 14);
  TemporaryFolder folder;
  Bench bench;
  auto zygote = sandbox::Zygote::start();
  ASSERT_TRUE(zygote) << zygote.error().message;
  bench.zygote = std::move(*zygote);
  auto pool = sandbox::WorkerPool::start(*bench.zygote);
  ASSERT_TRUE(pool) << pool.error().message;
  bench.pool = std::move(*pool);
  runtime::ModelOptions model_options;
  model_options.mtp = true;
  auto model = runtime::ModelHost::load(model_options, [](std::uint64_t, std::uint64_t) {});
  ASSERT_TRUE(model) << model.error().message;
  bench.model = std::move(*model);
  auto manager = sessions::SessionManager::open(folder.file("store"));
  ASSERT_TRUE(manager) << manager.error().message;
  bench.manager = std::move(*manager);
  auto settings = runtime::load_agent(*bench.pool, "");
  ASSERT_TRUE(settings) << settings.error().message;
  bench.settings = std::move(*settings);
  bench.settings.max_turns = 6;
  bench.settings.max_message_tokens = 150;
  std::map<std::string, json::value> schemas;
  for (const runtime::ToolSource& tool : bench.settings.tools) {
    auto checked = runtime::check_tool(tool);
    ASSERT_TRUE(checked) << checked.error().message;
    schemas[checked->tool.manifest.name] = checked->tool.manifest.parameters;
  }
  const model::Vocabulary& vocabulary = bench.model->tokenizer().vocabulary();
  const model::TokenId open = *vocabulary.control("<tool_call>"), close = *vocabulary.control("</tool_call>"),
                       begin = *vocabulary.control("<|im_start|>");

  std::size_t n_calls = 0, n_tokens = 0;
  Ran first;
  std::string task;
  std::uint64_t task_seed = 0;
  for (std::uint64_t i = 0; i < n_runs; ++i) {
    // The same task and draws for every depth.
    const std::uint64_t number = (seed - 1 + i) / kDepths;
    const int depth = static_cast<int>((seed - 1 + i) % kDepths);
    std::mt19937_64 random(number * 0x9E3779B97F4A7C15ULL + 7);
    task = random_task(random);
    task_seed = random();
    const float temperature = kTemperatures[number % kTemperatures.size()];
    auto ran = run_once(bench, "run", folder.file("files"), task, task_seed, temperature, depth);
    const std::string where = "LONGHAUL_SEED=" + std::to_string(seed + i) + ", temperature " +
                              std::to_string(temperature) + ", depth " + std::to_string(depth) + ": " + task;
    ASSERT_TRUE(ran) << where << "\n" << ran.error().message;
    for (const json::object& call : ran->calls) {
      const std::string name(call.at("name").as_string());
      ASSERT_TRUE(schemas.count(name)) << where << "\n" << to_json(call);
      auto valid = tools::validate(schemas[name], call.at("arguments"));
      ASSERT_TRUE(valid) << where << "\n" << to_json(call) << "\n" << valid.error().message;
    }
    // What opens a call ends as one, unless a limit cut the last message off. The system text shows what calls look
    // like; it ends where the user's words begin.
    const auto said = std::find(ran->tokens.begin() + 1, ran->tokens.end(), begin);
    const auto opened = static_cast<std::size_t>(std::count(said, ran->tokens.end(), open));
    const auto closed = static_cast<std::size_t>(std::count(said, ran->tokens.end(), close));
    if (ran->end != runtime::RunEnd::kLength) {
      ASSERT_EQ(opened, closed) << where;
      ASSERT_EQ(ran->calls.size(), closed) << where;
    }
    if (depth == 0 || i == 0) {
      first = *ran;
    } else {
      ASSERT_EQ(ran->tokens, first.tokens) << where;
      ASSERT_EQ(ran->calls.size(), first.calls.size()) << where;
    }
    n_calls += ran->calls.size();
    n_tokens += ran->tokens.size();
  }
  std::printf("%llu runs from %llu: %zu calls, 0 malformed, %zu tokens\n", static_cast<unsigned long long>(n_runs),
              static_cast<unsigned long long>(seed), n_calls, n_tokens);
  EXPECT_GT(n_calls, n_runs / 4);
}

}  // namespace
}  // namespace longhaul::testing_support
