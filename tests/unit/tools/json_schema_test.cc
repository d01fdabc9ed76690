#include "tools/json_schema.h"

#include <gtest/gtest.h>

#include <set>

#include "tools/call_format.h"

namespace longhaul::tools {
namespace {

Result<std::shared_ptr<const Schema>> compile(const std::string& text, const SchemaOptions& options = {}) {
  auto value = parse_json(text, {.depth_max = 2'000});
  EXPECT_TRUE(value) << value.error().message;
  return compile_schema(*value, options);
}

std::string refusal(const std::string& text) {
  auto schema = compile(text);
  return schema ? "accepted" : schema.error().message;
}

TEST(JsonSchema, RefusesByNameAndPlace) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"properties":{"a/b":{"format":"idn-hostname"}}})",
       "the format \"idn-hostname\" is no regular language, and not enforced at #/properties/a~1b/format"},
      {R"({"items":{"pattern":"(?<=a)b"}})",
       "pattern \"(?<=a)b\": look-behind is not enforced, at character 3, at #/items/pattern"},
      {R"({"patternProperties":{"(a)\\1":{}}})",
       "pattern \"(a)\\1\": a reference back to a group is not enforced, at character 4, at "
       "#/patternProperties/(a)\\1"},
      {R"({"not":{"uniqueItems":true}})", "\"not\" of uniqueItems at #/not is not enforced"},
      {R"({"$ref":"https://example.com/other"})",
       "keyword \"$ref\" at #/$ref is not enforced: a reference to \"https://example.com/other\", outside the schema, "
       "is "
       "not enforced"},
      {R"({"$ref":"#/nowhere"})", "\"#/nowhere\" refers to nothing at #/$ref"},
      {R"({"$ref":"#"})", "a schema that refers to itself without an end at #"},
      {R"({"anyOf":[{"$ref":"#"},{"type":"null"}]})", "a schema that refers to itself without an end at #"},
      {R"({"divisibleBy":2})", "keyword \"divisibleBy\" at #/divisibleBy is not enforced"},
      {R"({"uniqueItems":true,"items":{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}})",
       "keyword \"uniqueItems\" at # is not enforced: its elements may be arrays or objects that cannot always be made "
       "different"},
      {R"({"multipleOf":0})", "multipleOf is 0, not above zero, at #/multipleOf"},
      {R"({"pattern":1})", "pattern is not a string at #/pattern"},
      {R"({"pattern":"(a|b{0,1000}c?){0,1000}x"})",
       "pattern \"(a|b{0,1000}c?){0,1000}x\": a pattern of 1002003 positions whose parts overlap, at most 4096, at "
       "#/pattern"},
      {R"({"$schema":"https://example.com/dialect"})", "dialect \"https://example.com/dialect\" at #/$schema"},
  };
  for (const auto& [schema, message] : cases) EXPECT_EQ(refusal(schema), message) << schema;
}

TEST(JsonSchema, ListsAnnotations) {
  auto schema = compile(
      R"({"$schema":"https://json-schema.org/draft/2020-12/schema","title":"t","properties":{"a":{"type":"string","description":"d","default":1,"format":"colour"}}})");
  ASSERT_TRUE(schema);
  const std::vector<SchemaNote> expected{{"#", "$schema", ""},
                                         {"#", "title", ""},
                                         {"#/properties/a", "description", ""},
                                         {"#/properties/a", "default", ""},
                                         {"#/properties/a", "format", "colour"}};
  EXPECT_EQ((*schema)->annotations(), expected);
  // A format that 2020-12 defines is enforced, unless formats only annotate. Unknown keywords annotate.
  EXPECT_TRUE((*compile(R"({"format":"date-time"})"))->annotations().empty());
  EXPECT_TRUE(compile(R"({"format":"date-time"})", {.formats_annotate = true}));
}

TEST(JsonSchema, RefusesWhatNoValueFits) {
  EXPECT_EQ(refusal("false"), "no value fits the schema at #");
  EXPECT_EQ(refusal(R"({"type":"object","properties":{"a":{"type":"string","enum":[1]}},"required":["a"]})"),
            "no value fits the schema at #/properties/a");
  EXPECT_EQ(refusal(R"({"type":"integer","minimum":1.2,"maximum":1.8})"), "no value fits the schema at #");
  EXPECT_EQ(refusal(R"({"type":"array","minItems":3,"maxItems":2})"), "no value fits the schema at #");
  EXPECT_EQ(refusal(R"({"type":"object","additionalProperties":false,"minProperties":1})"),
            "no value fits the schema at #");
  EXPECT_EQ(refusal(R"({"enum":[]})"), "no value fits the schema at #");
  EXPECT_EQ(refusal(R"({"allOf":[{"type":"string"},{"type":"number"}]})"), "no value fits the schema at #");
  // A value would have to hold itself for ever.
  EXPECT_EQ(
      refusal(
          R"({"$ref":"#/$defs/a","$defs":{"a":{"type":"object","properties":{"n":{"$ref":"#/$defs/a"}},"required":["n"]}}})")
          .substr(0, 28),
      "no value fits the schema at ");
  // Optional and impossible is legal, but worth a word.
  auto schema = compile(R"({"properties":{"a":{"type":"string","enum":[1]},"b":false}})");
  ASSERT_TRUE(schema);
  EXPECT_EQ((*schema)->unsatisfiable(), std::vector<std::string>{"#/properties/a"});
}

TEST(JsonSchema, RefusesMalformedSchemas) {
  for (const char* text : {"1",
                           "[]",
                           R"({"type":5})",
                           R"({"type":"int"})",
                           R"({"type":[]})",
                           R"({"properties":[]})",
                           R"({"required":"a"})",
                           R"({"required":[1]})",
                           R"({"enum":{}})",
                           R"({"items":5})",
                           R"({"minItems":-1})",
                           R"({"minItems":1.5})",
                           R"({"minLength":"2"})",
                           R"({"minimum":"2"})",
                           R"({"anyOf":[]})",
                           R"({"anyOf":{}})",
                           R"({"$ref":5})",
                           R"({"$ref":"#/nowhere"})",
                           R"({"format":1})",
                           R"({"$defs":[]})",
                           R"({"additionalProperties":3})"}) {
    auto schema = compile(text);
    ASSERT_FALSE(schema) << text;
    EXPECT_EQ(schema.error().code, ErrorCode::kInvalidArgument) << text;
    EXPECT_NE(schema.error().message.find('#'), std::string::npos) << schema.error().message;
  }
  EXPECT_EQ(refusal(R"({"$schema":"http://example.com/own"})"), "dialect \"http://example.com/own\" at #/$schema");
}

TEST(JsonSchema, HoldsItsLimits) {
  std::string deep;
  for (int i = 0; i < 1'500; ++i) deep += R"({"items":)";
  deep += "true" + std::string(1'500, '}');
  auto nested = compile(deep);
  ASSERT_FALSE(nested);
  EXPECT_EQ(nested.error().code, ErrorCode::kResourceExhausted);
  auto shallow = compile(R"({"items":{"items":{"items":{"items":true}}}})", {.depth_max = 3});
  ASSERT_FALSE(shallow);
  EXPECT_EQ(shallow.error().message, "schema nested deeper than 3 at #/items/items/items/items");
  EXPECT_EQ(refusal(R"({"minItems":18446744073709551615})"),
            "minItems 18446744073709551615 is above 1073741824 at #/minItems");
  EXPECT_TRUE(compile(R"({"maxItems":18446744073709551615,"maxLength":1e300})"));
  std::string wide = R"({"properties":{)";
  for (int i = 0; i < 200; ++i)
    wide += (i > 0 ? "," : "") + std::string("\"p") + std::to_string(i) + R"(":{"type":"string"})";
  auto limited = compile(wide + "}}", {.nodes_max = 100});
  ASSERT_FALSE(limited);
  EXPECT_EQ(limited.error().code, ErrorCode::kResourceExhausted);
  // Alternatives of alternatives multiply.
  std::string product = R"({"allOf":[)";
  for (int i = 0; i < 12; ++i) {
    product +=
        (i > 0 ? "," : "") + std::string(R"({"anyOf":[{"minimum":1},{"maximum":2},{"minLength":3},{"maxItems":4}]})");
  }
  auto many = compile(product + "]}");
  ASSERT_FALSE(many);
  EXPECT_EQ(many.error().code, ErrorCode::kResourceExhausted);
}

// Compiled nodes and the plain reading agree on `value`, and both say `valid`.
void judge(const std::string& schema, const char* value, bool valid) {
  const json::value document = *parse_json(schema), data = *parse_json(value);
  auto compiled = compile_schema(document);
  ASSERT_TRUE(compiled) << schema << ": " << compiled.error().message;
  EXPECT_EQ(node_accepts(**compiled, (*compiled)->root(), data), valid) << schema << " of " << value;
  EXPECT_EQ(validate(document, data).has_value(), valid) << schema << " of " << value;
}

TEST(JsonSchema, OneOfIsExact) {
  const std::string numbers = R"({"oneOf":[{"type":"number"},{"type":"integer"}]})";
  judge(numbers, "1.5", true);
  judge(numbers, "1", false);
  const std::string objects =
      R"({"oneOf":[{"properties":{"k":{"const":"a"}},"required":["k"]},{"required":["x"]},{"required":["y"]}]})";
  judge(objects, R"({"k":"a"})", true);
  judge(objects, R"({"k":"a","x":1})", false);
  judge(objects, R"({"k":"b","x":1})", true);
  judge(objects, R"({"k":"b","x":1,"y":1})", false);
}

TEST(JsonSchema, PlacesOfTheSameScalarsAreAlike) {
  auto compiled = compile(R"({"properties":{
    "a":{"type":"string","maxLength":5},"b":{"type":"string","maxLength":5},"c":{"type":"string","maxLength":6},
    "d":{"enum":[1,"x"]},"e":{"enum":["x",1]},"f":{"enum":["y",1]},
    "g":{"anyOf":[{"type":"string","maxLength":5},{"type":"null"}]},
    "h":{"anyOf":[{"type":"string","maxLength":5},{"type":"null"}],"description":"other words"},
    "i":{"type":"number","minimum":2},"j":{"type":"number","minimum":2},"k":{"type":"number","minimum":3},
    "l":{"type":"array","items":{"type":"null"}},"m":{"type":"array","items":{"type":"boolean"}}}})");
  ASSERT_TRUE(compiled) << compiled.error().message;
  const Schema& schema = **compiled;
  const ObjectRule& object = schema.node(schema.node(schema.root()).choices[0]).object;
  const auto alike = [&](char name) {
    return schema.node(object.properties[static_cast<std::size_t>(name - 'a')].node).alike;
  };
  for (const auto& [x, y] : std::vector<std::pair<char, char>>{{'a', 'b'}, {'d', 'e'}, {'g', 'h'}, {'i', 'j'}}) {
    EXPECT_EQ(alike(x), alike(y)) << x << y;
    EXPECT_EQ(schema.node(alike(x)).choices, schema.node(alike(y)).choices) << x << y;
  }
  std::set<NodeId> different;
  for (const char name : std::string_view("acdfgiklm")) different.insert(alike(name));
  EXPECT_EQ(different.size(), 9U);
}

TEST(JsonSchema, LongBoundsAndListsStayCheap) {
  judge(R"({"maxItems":18446744073709551616,"maxLength":1e300})", "[1]", true);
  EXPECT_NE(refusal(R"({"minItems":18446744073709551616})").find("is above"), std::string::npos);
  // Conditions on one discriminator: most combinations fall away at once.
  std::string many = R"({"type":"object","properties":{"kind":{"type":"string"}},"required":["kind"],"allOf":[)";
  for (int i = 0; i < 60; ++i) {
    const std::string k = std::to_string(i);
    many += (i > 0 ? "," : "") + (R"({"if":{"properties":{"kind":{"const":"k)" + k) + R"("}}},"then":{"required":["p)" +
            k + R"("]}})";
  }
  many += "]}";
  judge(many, R"({"kind":"k7","p7":1})", true);
  judge(many, R"({"kind":"k7","p8":1})", false);
  judge(many, R"({"kind":"other"})", true);
  // Recursion through oneOf and not, without an end of combinations.
  EXPECT_NE(refusal(R"({"$ref":"#/$defs/a","$defs":{)"
                    R"("a":{"type":"object","properties":{"x":{"allOf":[{"$ref":"#/$defs/b"},{"$ref":"#/$defs/a"}]}}},)"
                    R"("b":{"type":"object","properties":{"x":{"oneOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/c"}]}}},)"
                    R"("c":{"type":"object","properties":{"x":{"not":{"$ref":"#/$defs/b"}}}}}})")
                .find("more than"),
            std::string::npos);
}

TEST(JsonSchema, RefusesNumbersItCannotKeep) {
  EXPECT_NE(refusal(R"({"maximum":972783798187987123879878123.18878137})").find("#/maximum"), std::string::npos);
  EXPECT_TRUE(compile(R"({"maximum":18446744073709551615,"minimum":-9223372036854775808})"));
}

TEST(JsonSchema, ValidatesWithPlaces) {
  const json::value schema = *parse_json(
      R"({"type":"object","properties":{"a":{"items":{"type":"integer"}}},"required":["a"],"additionalProperties":false})");
  EXPECT_TRUE(validate(schema, *parse_json(R"({"a":[1,2.0]})")));
  EXPECT_EQ(validate(schema, *parse_json(R"({"a":[1,"x"]})")).error().message,
            "expected integer, found string at /a/1");
  EXPECT_EQ(validate(schema, *parse_json(R"({})")).error().message, "required property \"a\" is missing at #");
  EXPECT_EQ(validate(schema, *parse_json(R"({"a":[],"b":1})")).error().message, "property \"b\" is not allowed at #");
}

TEST(JsonSchema, OlderDraftsMeanWhatTheyMeant) {
  // In draft 4 an integer is a way of writing.
  auto old = compile(R"({"$schema":"http://json-schema.org/draft-04/schema#","type":"integer"})");
  ASSERT_TRUE(old);
  EXPECT_TRUE((*old)->node((*old)->node((*old)->root()).choices[0]).number.plain);
  const std::string four = R"({"$schema":"http://json-schema.org/draft-04/schema#",)";
  judge(four + R"("maximum":5,"exclusiveMaximum":true})", "5", false);
  judge(four + R"("maximum":5,"exclusiveMaximum":false})", "5", true);
  judge(four + R"("items":[{"type":"integer"}],"additionalItems":{"type":"null"}})", "[1,null]", true);
  judge(four + R"("items":[{"type":"integer"}],"additionalItems":{"type":"null"}})", "[1,2]", false);
  judge(four + R"("dependencies":{"a":["b"],"c":{"required":["d"]}}})", R"({"a":1})", false);
  judge(four + R"("dependencies":{"a":["b"],"c":{"required":["d"]}}})", R"({"c":1,"d":2})", true);
  judge(four + R"("definitions":{"x":{"id":"#named","type":"null"}},"items":{"$ref":"#named"}})", "[null]", true);
  judge(four + R"("definitions":{"x":{"id":"#named","type":"null"}},"items":{"$ref":"#named"}})", "[1]", false);
  // Up to draft 7 nothing counts beside $ref; it is listed.
  const std::string seven = R"({"$schema":"http://json-schema.org/draft-07/schema#","$ref":"#/definitions/a",)";
  judge(seven + R"("type":"string","definitions":{"a":{"type":["string","null"]}}})", "null", true);
  auto beside = compile(seven + R"("type":"string","definitions":{"a":{}}})");
  ASSERT_TRUE(beside);
  EXPECT_EQ((*beside)->annotations()[1], (SchemaNote{"#", "type", ""}));
  judge(
      R"({"$schema":"https://json-schema.org/draft/2019-09/schema","$recursiveAnchor":true,"items":{"$recursiveRef":"#"},)"
      R"("type":["array","null"]})",
      "[[null]]", true);
}

}  // namespace
}  // namespace longhaul::tools
