#include "sandbox/worker_pool.h"

#include <gmock/gmock.h>

#include <csignal>
#include <thread>

#include "tests/unit/sandbox/sandbox_fixture.h"

namespace longhaul::sandbox {
namespace {

using Kind = CallOutcome::Kind;
using ::testing::HasSubstr;

class WorkerPoolTest : public SandboxTest {};

TEST_F(WorkerPoolTest, GivesTheResultAsText) {
  const CallOutcome outcome = run("return 'hello ' .. args.name", R"({"name":"you"})");
  EXPECT_EQ(outcome.kind, Kind::kOk) << shown(outcome);
  EXPECT_EQ(outcome.text, "hello you");
}

TEST_F(WorkerPoolTest, RendersValuesAsJson) {
  EXPECT_EQ(run("return 42").text, "42");
  EXPECT_EQ(run("return 1.5").text, "1.5");
  EXPECT_EQ(run("return true").text, "true");
  EXPECT_EQ(run("return false").text, "false");
  EXPECT_EQ(run("return {3, 'x', {a = 1, B = false}}").text, R"([3,"x",{"B":false,"a":1}])");
  EXPECT_EQ(run("return {}").text, "{}");
}

TEST_F(WorkerPoolTest, NilAndAMessageIsAToolError) {
  const CallOutcome outcome = run("return nil, 'no such thing'");
  EXPECT_EQ(outcome.kind, Kind::kToolError);
  EXPECT_EQ(outcome.text, "no such thing");
}

TEST_F(WorkerPoolTest, AnErrorIsAToolErrorWithItsPlace) {
  const CallOutcome outcome = run("error('boom')");
  EXPECT_EQ(outcome.kind, Kind::kToolError);
  EXPECT_EQ(outcome.text, "test.lua:2: boom");
}

TEST_F(WorkerPoolTest, WrongReturnTypesAreNamed) {
  EXPECT_EQ(run("return print").text, "run returned a function, expected text, a number, a boolean or a table");
  EXPECT_EQ(run("return nil").text, "run returned nil without a message, expected text");
  EXPECT_EQ(run("").text, "run returned nil without a message, expected text");
  EXPECT_EQ(run("return {1, nil, 3}").text, "result: a list with holes (its end is 3)");
  EXPECT_EQ(run("return {1, x = 2}").text, "result: has both string keys and a list");
  EXPECT_EQ(run("return {f = print}").text, "result.f: a function is no data");
  EXPECT_EQ(run("return {0/0}").text.substr(0, 10), "result[1]:");
  EXPECT_EQ(run("return '\\xff'").text, "run returned bytes that are not UTF-8 text");
  for (const char* body : {"return print", "return nil", "return {1,nil,3}", "return '\\xff'"}) {
    EXPECT_EQ(run(body).kind, Kind::kToolError) << body;
  }
}

TEST_F(WorkerPoolTest, ArgumentsArriveAsTheyAre) {
  const CallOutcome outcome =
      run("return { math.type(args.i), math.type(args.d), args.s, #args.list, args.none == nil, args.deep.er[2] }",
          R"({"i":1,"d":1.0,"s":"ä\u0000b","list":[1,2,3],"none":null,"deep":{"er":[false,"x"]}})");
  EXPECT_EQ(outcome.text, "[\"integer\",\"float\",\"ä\\u0000b\",3,true,\"x\"]");
}

TEST_F(WorkerPoolTest, RefusesBadArgumentsBeforeAnythingRuns) {
  EXPECT_THAT(run("return 1", "{").text, HasSubstr("arguments: not JSON at byte"));
  EXPECT_EQ(run("return 1", "[1]").text, "arguments: not a JSON object");
  EXPECT_EQ(run("return 1", "[1]").kind, Kind::kToolError);
  Limits limits;
  limits.cpu_ms = 0;
  EXPECT_EQ(run("return 1", "{}", limits).text, "limit cpu_ms is 0, allowed are 1 to 600000");
}

TEST_F(WorkerPoolTest, KeepsWhatPrintWrites) {
  const CallOutcome outcome = run("print('a', 1, nil, true) print('b') return 'x'");
  EXPECT_EQ(outcome.log, "a\t1\tnil\ttrue\nb\n");
  EXPECT_EQ(outcome.text, "x");
}

TEST_F(WorkerPoolTest, CallsDoNotSeeEachOther) {
  const PluginSource source = script("n = (n or 0) + 1 return n");
  EXPECT_EQ(call(source).text, "1");
  EXPECT_EQ(call(source).text, "1");
}

TEST_F(WorkerPoolTest, KeepsAWorkerForTheNextCallAndReplacesAFailedOne) {
  const PluginSource source = script("if args.loop then while true do end end return 'ok'");
  ASSERT_EQ(call(source).text, "ok");
  ASSERT_EQ(pool_->workers().size(), 1U);
  const pid_t first = pool_->workers()[0].pid;
  EXPECT_FALSE(pool_->workers()[0].busy);
  ASSERT_EQ(call(source).text, "ok");
  EXPECT_EQ(pool_->workers()[0].pid, first);
  Limits limits;
  limits.cpu_ms = 20;
  EXPECT_EQ(call(source, R"({"loop":true})", limits).limit, LimitKind::kCpu);
  EXPECT_TRUE(pool_->workers().empty());
  ASSERT_EQ(call(source).text, "ok");
  EXPECT_NE(pool_->workers()[0].pid, first);
}

TEST_F(WorkerPoolTest, RandomIsAFunctionOfTheSeed) {
  const PluginSource source = script("return {math.random(), math.random(1, 6), math.random(0)}");
  const std::string first = call(source).text;
  EXPECT_EQ(call(source).text, first);
  seed_ = 8;
  EXPECT_NE(call(source).text, first);
}

TEST_F(WorkerPoolTest, KeyOrderIsFixed) {
  const PluginSource source = script(R"(
    local t = { 10, 20, zeta = 1, alpha = 2, [-3] = 0, [2.5] = 0, [true] = 0 }
    for i = 1, 50 do t['k' .. i] = i end
    local names = {}
    for k in pairs(t) do names[#names + 1] = tostring(k) end
    local again = {}
    local k = next(t)
    while k ~= nil do again[#again + 1] = tostring(k); k = next(t, k) end
    return { table.concat(names, ' '), table.concat(names, ' ') == table.concat(again, ' ') })");
  const std::string text = call(source).text;
  EXPECT_THAT(text, HasSubstr("[\"-3 1 2 2.5 alpha k1 k10 k11"));
  EXPECT_THAT(text, HasSubstr("k9 zeta true\",true]"));
}

TEST_F(WorkerPoolTest, AKilledWorkerIsAnOutcome) {
  powers_.on_call = [&](const HostCall&) {
    ::kill(pool_->workers()[0].pid, SIGKILL);
    return HostAnswer::of(true);
  };
  const PluginSource source = script("ctx.files.append('a', 'b') return 'done'", "{files='write'}");
  const CallOutcome outcome = call(source);
  EXPECT_EQ(outcome.kind, Kind::kWorkerDied) << shown(outcome);
  EXPECT_EQ(outcome.signal, SIGKILL);
  EXPECT_EQ(outcome.text, "the worker died: signal 9 (SIGKILL)");
  EXPECT_EQ(outcome.n_effects, 1);
  powers_.on_call = [](const HostCall&) { return HostAnswer::of(true); };
  EXPECT_EQ(call(source).text, "done");
}

TEST_F(WorkerPoolTest, AStoppedWorkerTimesOut) {
  powers_.on_call = [&](const HostCall&) {
    ::kill(pool_->workers()[0].pid, SIGSTOP);
    return HostAnswer::of(true);
  };
  Limits limits;
  limits.wall_ms = 300;
  const CallOutcome outcome = call(script("ctx.clock.now() return 1", "{clock=true}"), "{}", limits);
  EXPECT_EQ(outcome.kind, Kind::kTimeout) << shown(outcome);
  EXPECT_EQ(outcome.text, "no result after 300 ms");
  EXPECT_EQ(outcome.n_effects, 0);
  EXPECT_TRUE(pool_->workers().empty());
}

TEST_F(WorkerPoolTest, WallTimeCountsAlsoWhereCpuTimeIsLeft) {
  Limits limits;
  limits.cpu_ms = 60'000;
  limits.wall_ms = 100;
  const CallOutcome outcome = run("while true do end", "{}", limits);
  EXPECT_EQ(outcome.kind, Kind::kTimeout) << shown(outcome);
}

TEST_F(WorkerPoolTest, TheLogIsCutAndSaysSo) {
  Limits limits;
  limits.log_bytes = 10;
  const CallOutcome outcome = run("print('ä', 'ä', 'ä', 'ä') print('', '', '') return 1", "{}", limits);
  EXPECT_EQ(outcome.log, "ä\tä\tä\t?\n(the log is full at 10 bytes)\n");
}

TEST_F(WorkerPoolTest, CancelStopsACall) {
  CancelToken cancel;
  powers_.on_call = [&](const HostCall&) {
    cancel.cancel();
    return HostAnswer::of(true);
  };
  CallRequest request;
  const CallOutcome outcome =
      pool_->call(script("ctx.clock.now() while true do end", "{clock=true}"), request, powers_, &cancel);
  EXPECT_EQ(outcome.kind, Kind::kCancelled) << shown(outcome);
  EXPECT_TRUE(pool_->workers().empty());
}

TEST_F(WorkerPoolTest, PowersThatAreNotGrantedAreNamed) {
  EXPECT_EQ(run("ctx.files.read('a') return 1").text,
            "test.lua:2: power files not granted: the plugin's table does not ask for it in powers");
  EXPECT_THAT(call(script("ctx.files.write('a', 'b') return 1", "{files='read'}")).text,
              HasSubstr("power files is granted for reading only: files.write needs powers = { files = \"write\" }"));
  EXPECT_EQ(powers_.n_calls, 0);
}

TEST_F(WorkerPoolTest, TheCallersGrantsNarrowTheManifests) {
  CallRequest request;
  request.grants = Grants{};
  const CallOutcome outcome = pool_->call(script("return ctx.clock.now()", "{clock=true}"), request, powers_);
  EXPECT_EQ(outcome.text, "power clock not granted");
  EXPECT_EQ(powers_.n_calls, 0);
}

TEST_F(WorkerPoolTest, GivesCallIdAndKey) {
  EXPECT_EQ(run("return ctx.call_id .. ' ' .. ctx.key").text, "call_1 lineage/1");
}

TEST_F(WorkerPoolTest, DescribesAPlugin) {
  auto text = pool_->describe({"x/a.lua", R"(return { name = 'a', description = 'does a', effect = 'once',
      parameters = [[{"type":"object","properties":{"z":{},"b":{}}}]], powers = { files = 'read' }, limits = { cpu_ms = 5 },
      run = function() end })"});
  ASSERT_TRUE(text.has_value()) << text.error().message;
  EXPECT_EQ(*text, R"({"name":"a","description":"does a","parameters":{"type":"object","properties":{"z":{},"b":{}}},)"
                   R"("effect":"once","limits":{"cpu_ms":5},"powers":{"files":"read"}})");
}

TEST_F(WorkerPoolTest, DescribeNamesWhatIsWrong) {
  const auto message = [&](const std::string& source) {
    Limits limits;
    limits.cpu_ms = 50;
    auto text = pool_->describe({"plugins/a.lua", source}, limits);
    return text ? "fine: " + *text : text.error().message;
  };
  EXPECT_EQ(message("return {"), "plugins/a.lua: a.lua:1: unexpected symbol near <eof>");
  EXPECT_EQ(message("return 5"), "plugins/a.lua: a.lua: the file returns a number, expected a table");
  EXPECT_EQ(message("return {}"), "plugins/a.lua: the table has no function run");
  EXPECT_EQ(message("return {run=print}"), "plugins/a.lua: name is missing, or no text");
  EXPECT_EQ(message("return {run=print,name='a',description='d',effect='maybe'}"),
            "plugins/a.lua: effect is \"maybe\", expected \"read\", \"idempotent\" or \"once\"");
  EXPECT_THAT(message("return {run=print,name='a',description='d',effect='read',parameters='{\"a\":}'}"),
              HasSubstr("plugins/a.lua: parameters: not JSON at byte"));
  EXPECT_EQ(message("return {run=print,name='a',description='d',effect='read',parameters='{}',powers={net=true}}"),
            "plugins/a.lua: powers.net: there is no such power (there are clock, timer, notes, files)");
  EXPECT_EQ(message("\x1bLua"), "plugins/a.lua: attempt to load a binary chunk (mode is 't')");
  EXPECT_EQ(message("while true do end"), "plugins/a.lua: CPU limit of 50 ms reached");
  EXPECT_EQ(message(std::string(300'000, ' ')), "plugins/a.lua: 300000 bytes of source, at most 262144");
  EXPECT_EQ(message("-- \xff"), "plugins/a.lua: not UTF-8 text");
}

TEST_F(WorkerPoolTest, ReadsATableOfData) {
  auto text = pool_->read_table({"agent.lua", "return { system = 'x', tools = {'a', 'b'}, on_end = function() end }"});
  ASSERT_TRUE(text.has_value()) << text.error().message;
  EXPECT_EQ(*text, R"({"system":"x","tools":["a","b"]})");
}

TEST_F(WorkerPoolTest, WaitsForAWorkerAndSaysWhenThereIsNone) {
  PoolOptions options;
  options.n_workers_max = 1;
  auto pool = WorkerPool::start(test_zygote(), options);
  ASSERT_TRUE(pool.has_value());
  const PluginSource source = script("return ctx.clock.now()", "{clock=true}");
  CallRequest request;
  ScriptedPowers outer, inner;
  inner.on_call = [](const HostCall&) { return HostAnswer::of("inner"); };
  CallOutcome second;
  outer.on_call = [&](const HostCall&) {
    CallRequest impatient;
    impatient.limits.wall_ms = 50;
    second = (*pool)->call(source, impatient, inner);
    return HostAnswer::of("outer");
  };
  EXPECT_EQ((*pool)->call(source, request, outer).text, "outer");
  EXPECT_EQ(second.kind, Kind::kUnavailable);
  EXPECT_EQ(second.text, "all 1 workers are busy");
  EXPECT_EQ((*pool)->call(script("return 'other'"), request, inner).text, "other");
  EXPECT_EQ((*pool)->workers().size(), 1U);
}

TEST_F(WorkerPoolTest, ThreadsShareAPool) {
  std::vector<std::thread> threads;
  std::atomic<int> n_right = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 25; ++i) {
        CallRequest request;
        ScriptedPowers powers;
        request.arguments_json = "{\"n\":" + std::to_string(t * 100 + i) + "}";
        const CallOutcome outcome = pool_->call(script("return args.n * 2"), request, powers);
        if (outcome.text == std::to_string((t * 100 + i) * 2)) ++n_right;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(n_right, 100);
}

}  // namespace
}  // namespace longhaul::sandbox
