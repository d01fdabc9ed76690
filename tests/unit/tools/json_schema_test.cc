#include "tools/json_schema.h"

#include <gtest/gtest.h>

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

TEST(JsonSchema, RefusesEveryOtherKeywordByNameAndPlace) {
  for (const char* name : {"pattern", "patternProperties", "not", "if", "then", "else", "uniqueItems", "contains",
                           "multipleOf", "propertyNames", "dependentRequired", "dependentSchemas", "unevaluatedItems",
                           "unevaluatedProperties", "$anchor", "$dynamicRef", "contentEncoding", "nonsense"}) {
    auto schema = compile(std::string(R"({"type":"object","properties":{"a/b":{")") + name + R"(":true}}})");
    ASSERT_FALSE(schema) << name;
    EXPECT_EQ(schema.error().code, ErrorCode::kUnsupported);
    EXPECT_EQ(schema.error().message,
              std::string("keyword \"") + name + "\" at #/properties/a~1b/" + name + " is not enforced");
  }
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
  // A format that 2020-12 defines would have to be enforced.
  EXPECT_EQ(refusal(R"({"format":"date-time"})"), "keyword \"format\" (\"date-time\") at #/format is not enforced");
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
  EXPECT_EQ(refusal(R"({"$ref":"#"})"), "no value fits the schema at #");
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

TEST(JsonSchema, TakesOneOfOnlyWhereBranchesExclude) {
  EXPECT_TRUE(compile(R"({"oneOf":[{"type":"string"},{"type":"integer"}]})"));
  EXPECT_TRUE(compile(
      R"({"oneOf":[{"type":"object","properties":{"k":{"const":"a"}},"required":["k"]},{"type":"object","properties":{"k":{"const":"b"}},"required":["k"]}]})"));
  EXPECT_EQ(refusal(R"({"oneOf":[{"type":"number"},{"type":"integer"}]})"),
            "keyword \"oneOf\" at #/oneOf is not enforced: branches 0 and 1 overlap");
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
  EXPECT_NE(refusal(R"({"$schema":"http://json-schema.org/draft-04/schema#","maximum":5,"exclusiveMaximum":true})")
                .find("exclusiveMaximum"),
            std::string::npos);
  EXPECT_NE(
      refusal(
          R"({"$schema":"http://json-schema.org/draft-07/schema#","$ref":"#/definitions/a","type":"string","definitions":{"a":{}}})")
          .find("beside $ref"),
      std::string::npos);
}

}  // namespace
}  // namespace longhaul::tools
