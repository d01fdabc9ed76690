#include "tools/registry.h"

#include <gtest/gtest.h>

#include "tests/support/test_vocabulary.h"
#include "tools/dispatch.h"

namespace longhaul::tools {
namespace {

json::value manifest(std::string_view extra = {}) {
  std::string text =
      R"({"name":"read_file","description":"Read","effect":"read","parameters":{"type":"object","properties":{"path":{"type":"string"}},"required":["path"],"additionalProperties":false})";
  if (!extra.empty()) text += "," + std::string(extra);
  auto value = parse_json(text + "}");
  EXPECT_TRUE(value) << text;
  return *value;
}

json::value with(std::string_view field, json::value value) {
  json::value result = manifest();
  result.get_object()[field] = std::move(value);
  return result;
}

std::string refusal(const json::value& value) {
  auto parsed = parse_manifest(value, "p.lua");
  return parsed ? "accepted" : parsed.error().message;
}

TEST(Manifest, ReadsAllFields) {
  auto parsed = parse_manifest(
      manifest(
          R"("powers":{"notes":"write","files":"read","clock":true},"limits":{"wall_ms":500,"memory_bytes":2097152.0},"approve":true)"),
      "p.lua");
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->name, "read_file");
  EXPECT_EQ(parsed->effect, Effect::kRead);
  EXPECT_EQ(parsed->powers, (ToolPowers{PowerLevel::kWrite, PowerLevel::kRead, true}));
  EXPECT_EQ(parsed->limits.wall_ms, 500);
  EXPECT_EQ(parsed->limits.memory_bytes, 2 << 20);
  EXPECT_FALSE(parsed->limits.cpu_ms);
  EXPECT_TRUE(parsed->approve);
  EXPECT_EQ(parsed->source_path, "p.lua");
}

TEST(Manifest, NamesWhatIsWrong) {
  EXPECT_EQ(refusal(with("name", "9x")),
            "p.lua: name is \"9x\", expected a name: letters, digits and _, at most 64, no digit first");
  EXPECT_EQ(refusal(with("name", json::string(65, 'a'))).substr(0, 14), "p.lua: name is");
  EXPECT_EQ(refusal(with("effect", "maybe")),
            "p.lua: effect is \"maybe\", expected \"read\", \"idempotent\" or \"once\"");
  EXPECT_EQ(refusal(with("nmae", 1)), "p.lua: unknown field \"nmae\"");
  EXPECT_EQ(refusal(with("powers", json::object{{"hosts", json::array{"a"}}})),
            "p.lua: the power \"hosts\" is not supported yet");
  EXPECT_EQ(refusal(with("powers", json::object{{"files", "all"}})),
            "p.lua: powers.files is \"all\", expected \"read\" or \"write\"");
  EXPECT_EQ(refusal(with("limits", json::object{{"wall_ms", 0}})),
            "p.lua: limits.wall_ms is 0, expected a whole number from 1 to 3600000");
  EXPECT_EQ(refusal(with("limits", json::object{{"time", 1}})),
            "p.lua: unknown limit \"time\" (there are cpu_ms, wall_ms, memory_bytes, output_bytes)");
  EXPECT_EQ(refusal(with("parameters", 3)), "p.lua: parameters is 3, expected a JSON Schema of an object");
  EXPECT_EQ(refusal(json::array{}), "p.lua: the plugin does not return a table with fields");
  EXPECT_EQ(refusal(json::object{}), "p.lua: name is missing");
}

TEST(Manifest, WithoutAnEffectNothingIsRepeated) {
  json::value value = manifest();
  value.get_object().erase("effect");
  auto parsed = parse_manifest(value, "p.lua");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->effect, Effect::kOnce);
  EXPECT_FALSE(parsed->effect_given);
}

class OneFile : public PluginLoader {
 public:
  Result<LoadedPlugin> load(const std::string& path) override {
    if (path != "a.lua") return not_found(path);
    return LoadedPlugin{manifest(), "return {}"};
  }
};

TEST(Registry, LoadsDeclaresAndConstrains) {
  Registry registry;
  OneFile loader;
  ASSERT_TRUE(registry.load("a.lua", loader));
  EXPECT_EQ(registry.load("b.lua", loader).error().code, ErrorCode::kNotFound);
  auto twice = registry.load("a.lua", loader);
  ASSERT_FALSE(twice);
  EXPECT_EQ(twice.error().code, ErrorCode::kConflict);
  EXPECT_EQ(registry.tools().size(), 1U);
  EXPECT_EQ(registry.declarations()[0].name, "read_file");
  EXPECT_EQ(registry.parameter_names("read_file"), std::vector<std::string>{"path"});
  EXPECT_EQ(registry.find("read_file")->manifest.source_digest, digest_of("return {}"));
  EXPECT_TRUE(registry.check_arguments("read_file", {{"path", "x"}}));
  EXPECT_EQ(registry.check_arguments("read_file", {}).error().message,
            "arguments of read_file: required property \"path\" is missing at #");
  EXPECT_EQ(registry.check_arguments("no", {}).error().code, ErrorCode::kNotFound);
  const model::Vocabulary vocabulary = test::small_vocabulary();
  MessageGrammarOptions options;
  EXPECT_FALSE(
      registry.message_grammar(TokenIndex::build(vocabulary), options));  // without a stop token nothing would end
  options.stop = {*vocabulary.control("<|im_end|>")};
  EXPECT_TRUE(registry.message_grammar(TokenIndex::build(vocabulary), options));
}

TEST(Registry, AKeywordThatIsNotEnforcedStopsTheLoad) {
  Registry registry;
  json::value value = manifest();
  value.at("parameters").at("properties").at("path").get_object()["pattern"] = "(?<=x)a";
  auto added = registry.add(value, "", "p.lua");
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().message,
            "p.lua: parameters of read_file: pattern \"(?<=x)a\": look-behind is not enforced, at character 3, at "
            "#/properties/path/pattern");
  EXPECT_TRUE(registry.tools().empty());
}

TEST(Registry, AnUnknownKeywordStopsTheLoadUnlessItIsSomebodysOwn) {
  Registry registry;
  json::value value = manifest();
  value.at("parameters").at("properties").at("path").get_object()["maxlength"] = 3;
  auto added = registry.add(value, "", "p.lua");
  ASSERT_FALSE(added);
  EXPECT_EQ(
      added.error().message,
      "p.lua: parameters of read_file: unknown keyword \"maxlength\" at #/properties/path/maxlength (names of one's "
      "own begin with x-)");
  value = manifest();
  value.at("parameters").get_object()["x-order"] = 3;
  auto own = registry.add(value, "", "p.lua");
  ASSERT_TRUE(own) << own.error().message;
  ASSERT_EQ(registry.tools().size(), 1U);
  EXPECT_EQ(registry.tools()[0].parameters->annotations(), (std::vector<SchemaNote>{{"#", "x-order", ""}}));
}

TEST(Grammar, NamesWhatTheFormatCannotCarry) {
  const model::Vocabulary vocabulary = test::small_vocabulary();
  MessageGrammarOptions options;
  options.stop = {*vocabulary.control("<|im_end|>")};
  auto refusal_of = [&](std::string_view name, std::string_view schema) -> std::string {
    auto compiled = compile_schema(*parse_json(schema));
    EXPECT_TRUE(compiled);
    auto made = Grammar::for_message(vocabulary, {{std::string(name), *compiled}}, options);
    return made ? "accepted" : made.error().message;
  };
  EXPECT_EQ(refusal_of("", "true"), "tool : the name \"\" cannot be written in a call");
  EXPECT_EQ(refusal_of("a>b", "true"), "tool a>b: the name \"a>b\" cannot be written in a call");
  EXPECT_EQ(refusal_of("t", R"({"type":"string"})"), "tool t: parameters at # allow no object");
  EXPECT_EQ(refusal_of("t", R"({"properties":{"<k>":{}}})"),
            "tool t: the parameter name \"<k>\" at #/properties/<k> cannot be written in a call");
  EXPECT_EQ(refusal_of("t", R"({"properties":{"s":{"type":"string","minLength":70000}}})"),
            "tool t: strings of at least 70000 characters at #/properties/s are above the limit of 65536");
  auto none = compile_schema(json::value(true));
  auto twice = Grammar::for_message(vocabulary, {{"t", *none}, {"t", *none}}, options);
  ASSERT_FALSE(twice);
  EXPECT_EQ(twice.error().message, "two tools are named \"t\"");
  const model::Vocabulary bare({{"a", false}, {"<|im_end|>", true}});
  options.stop = {1};
  auto lacking = Grammar::for_message(bare, {{"t", *none}}, options);
  ASSERT_FALSE(lacking);
  EXPECT_EQ(lacking.error().message, "the vocabulary has no control token </think>");
}

TEST(Dispatch, ShapesWhatTheModelSees) {
  EXPECT_EQ(result_text("fine\n"), "fine\n");
  EXPECT_EQ(error_text("no such key: a"), "error: no such key: a");
  EXPECT_EQ(result_text("a\xFFz\xE2\x82"), "a\xEF\xBF\xBDz\xEF\xBF\xBD");
  EXPECT_EQ(result_text("abcdefgh", 3), "abc\n[cut: 3 of 8 bytes shown]");
  EXPECT_EQ(result_text("aé", 2), "a\n[cut: 1 of 3 bytes shown]");
  EXPECT_EQ(model_text({ToolOutcome::Kind::kTimeout, "30000 ms"}), "error: the tool did not answer in time: 30000 ms");
}

}  // namespace
}  // namespace longhaul::tools
