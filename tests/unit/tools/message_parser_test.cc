#include "tools/message_parser.h"

#include <gtest/gtest.h>

#include "tests/support/test_vocabulary.h"

namespace longhaul::tools {
namespace {

struct World {
  model::Vocabulary vocabulary = test::small_vocabulary();
  std::vector<GrammarTool> tools;
  MessageGrammarOptions options;

  World() { options.stop = {*vocabulary.control("<|im_end|>"), *vocabulary.control("</s>")}; }

  void add(const std::string& name, const std::string& schema) {
    auto value = parse_json(schema);
    ASSERT_TRUE(value) << value.error().message;
    auto compiled = compile_schema(*value);
    ASSERT_TRUE(compiled) << compiled.error().message;
    tools.push_back({name, *compiled});
  }

  std::shared_ptr<Grammar> grammar() {
    auto made = Grammar::for_message(vocabulary, tools, options);
    EXPECT_TRUE(made) << made.error().message;
    return made ? *made : nullptr;
  }

  // Control tokens by name, the rest a byte at a time.
  std::vector<TokenId> tokens(std::string_view text) const {
    std::vector<TokenId> ids;
    while (!text.empty()) {
      bool control = false;
      for (const std::string& name : test::control_names()) {
        if (text.substr(0, name.size()) == name) {
          ids.push_back(*vocabulary.control(name));
          text.remove_prefix(name.size());
          control = true;
          break;
        }
      }
      if (control) continue;
      ids.push_back(static_cast<TokenId>(test::control_names().size() + static_cast<std::uint8_t>(text[0])));
      text.remove_prefix(1);
    }
    return ids;
  }
};

// How far `text` is accepted.
Result<ParsedMessage> parse(World& world, std::string_view text, bool thinking = false) {
  MessageParser parser(world.grammar(), thinking);
  for (TokenId id : world.tokens(text)) {
    const bool allowed = parser.mask()->allowed(id);
    auto ok = parser.accept(id);
    EXPECT_EQ(allowed, ok.has_value());
    if (!ok) return ok.error();
  }
  return parser.result();
}

constexpr std::string_view kWrite =
    R"({"type":"object","properties":{"path":{"type":"string"},"content":{"type":"string"}},"required":["path","content"],"additionalProperties":false})";

TEST(MessageParser, ReadsReasoningTextAndCalls) {
  World world;
  world.add("write_file", std::string(kWrite));
  world.add(
      "calc",
      R"({"type":"object","properties":{"n":{"type":"integer"},"deep":{"type":"object"},"ok":{"type":"boolean"}}})");
  auto message = parse(
      world,
      "I think\n</think>\nNow.\n<tool_call>\n<function=write_file>\n<parameter=content>\na\nb\n\n</parameter>\n"
      "<parameter=path>\n/tmp/x\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=calc>\n"
      "<parameter=ok>\nTrue\n</parameter>\n<parameter=n>\n-12\n</parameter>\n<parameter=deep>\n{\"a\": [1, null]}\n"
      "</parameter>\n</function>\n</tool_call>\n<|im_end|>",
      true);
  ASSERT_TRUE(message) << message.error().message;
  EXPECT_EQ(message->reasoning, "I think\n");
  EXPECT_EQ(message->content, "\nNow.\n");
  ASSERT_EQ(message->calls.size(), 2U);
  EXPECT_EQ(message->calls[0].name, "write_file");
  EXPECT_EQ(to_json(message->calls[0].arguments), R"({"content":"a\nb\n","path":"/tmp/x"})");
  EXPECT_EQ(to_json(message->calls[1].arguments), R"({"ok":true,"n":-12,"deep":{"a":[1,null]}})");
  EXPECT_TRUE(message->complete);
}

TEST(MessageParser, RefusesWhatIsNoCall) {
  World world;
  world.add("write_file", std::string(kWrite));
  const std::string open = "<tool_call>\n<function=write_file>\n";
  EXPECT_FALSE(parse(world, "<tool_call>\n<function=other>\n"));
  EXPECT_FALSE(parse(world, open + "</function>"));       // required parameters are missing
  EXPECT_FALSE(parse(world, open + "<parameter=nope>"));  // no such parameter
  EXPECT_FALSE(parse(world, open + "<parameter=path>\nx\n</parameter>\n<parameter=path>"));  // twice
  EXPECT_FALSE(parse(world, open + "<parameter=path>\nx\n</parameter>\n</function>"));
  EXPECT_FALSE(parse(world, open + "<parameter=path>\nx<|im_end|>"));  // cut off
  EXPECT_FALSE(parse(world, "thinking<|im_end|>", true));              // reasoning must be closed first
  EXPECT_FALSE(parse(world, "thinking<tool_call>", true));
  EXPECT_TRUE(parse(world, "Just text.<|im_end|>"));
}

TEST(MessageParser, KeepsMarkupInsideValues) {
  World world;
  world.add("write_file", std::string(kWrite));
  const std::string content =
      "a\n</function>\nb\n</parameter>\n</parameter>\n<parameter=no>\n <parameter=path>\nx</tool";
  auto message =
      parse(world, "<tool_call>\n<function=write_file>\n<parameter=content>\n" + content +
                       "\n</parameter>\n<parameter=path>\n\n</parameter>\n</function>\n</tool_call><|im_end|>");
  ASSERT_TRUE(message) << message.error().message;
  ASSERT_EQ(message->calls.size(), 1U);
  EXPECT_EQ(std::string(message->calls[0].arguments.at("content").as_string()), content);
  EXPECT_EQ(std::string(message->calls[0].arguments.at("path").as_string()), "");
}

TEST(MessageParser, ACutCallIsNoCall) {
  World world;
  world.add("write_file", std::string(kWrite));
  auto message =
      parse(world, "Hm.<tool_call>\n<function=write_file>\n<parameter=path>\nx\n</parameter>\n<parameter=content>\ny");
  ASSERT_TRUE(message);
  EXPECT_TRUE(message->calls.empty());
  EXPECT_TRUE(message->cut_call);
  EXPECT_FALSE(message->complete);
  EXPECT_EQ(message->content, "Hm.");
}

TEST(MessageParser, StreamsWithoutTerminators) {
  World world;
  world.add("write_file", std::string(kWrite));
  MessageParser parser(world.grammar(), false);
  std::string shown;
  std::vector<MessageEvent::Kind> kinds;
  for (TokenId id :
       world.tokens("Hi.<tool_call>\n<function=write_file>\n<parameter=content>\nx\n</parameter>\ny é\n</parameter>\n"
                    "<parameter=path>\np\n</parameter>\n</function>\n</tool_call><|im_end|>")) {
    ASSERT_TRUE(parser.accept(id));
    for (const MessageEvent& event : parser.take_events()) {
      if (event.kind == MessageEvent::Kind::kValue) shown += event.text;
      if (kinds.empty() || kinds.back() != event.kind) kinds.push_back(event.kind);
      if (event.kind == MessageEvent::Kind::kArgument) shown += "[" + event.text + "]";
      if (event.kind == MessageEvent::Kind::kCallEnd) shown += event.text;
    }
  }
  EXPECT_EQ(shown, "[content]x\n</parameter>\ny é[path]p{\"content\":\"x\\n</parameter>\\ny é\",\"path\":\"p\"}");
  using K = MessageEvent::Kind;
  EXPECT_EQ(kinds, (std::vector<K>{K::kContent, K::kCallStart, K::kArgument, K::kValue, K::kArgumentEnd, K::kArgument,
                                   K::kValue, K::kArgumentEnd, K::kCallEnd, K::kMessageEnd}));
}

TEST(MessageParser, ClosesThinkingWhenForced) {
  World world;
  MessageParser parser(world.grammar(), true);
  for (TokenId id : world.tokens("hm")) ASSERT_TRUE(parser.accept(id));
  parser.force_close_thinking();
  EXPECT_EQ(parser.mask()->count(), 1U);
  EXPECT_FALSE(parser.accept(world.tokens("x")[0]));
  ASSERT_TRUE(parser.accept(*world.vocabulary.control("</think>")));
  EXPECT_FALSE(parser.in_reasoning());
  ASSERT_TRUE(parser.accept(world.tokens("x")[0]));
}

TEST(MessageParser, FollowsTheToolChoice) {
  World world;
  world.add("a", R"({"type":"object","properties":{}})");
  world.add("b", R"({"type":"object","properties":{}})");
  const std::string a = "<tool_call>\n<function=a>\n</function>\n</tool_call>",
                    b = "<tool_call>\n<function=b>\n</function>\n</tool_call>";
  EXPECT_TRUE(parse(world, a + "\n" + b + "\n<|im_end|>"));
  world.options.parallel_calls = false;
  EXPECT_FALSE(parse(world, a + "\n" + b));
  EXPECT_TRUE(parse(world, a + "\n</s>"));
  world.options.choice = ToolChoice::kNone;
  EXPECT_FALSE(parse(world, a));
  world.options.choice = ToolChoice::kRequired;
  EXPECT_FALSE(parse(world, "text"));
  EXPECT_FALSE(parse(world, "<|im_end|>"));
  EXPECT_TRUE(parse(world, "\n" + b + "<|im_end|>"));
  world.options.choice = ToolChoice::kNamed;
  world.options.named = "b";
  EXPECT_FALSE(parse(world, a));
  EXPECT_TRUE(parse(world, b + "<|im_end|>"));
}

TEST(MessageParser, TakesFreeKeysWhereTheSchemaGivesThem) {
  World world;
  world.add("map",
            R"({"type":"object","properties":{"k":{"type":"integer"}},"additionalProperties":{"type":"string"}})");
  auto message = parse(
      world,
      "<tool_call>\n<function=map>\n<parameter=x y>\n1\n</parameter>\n<parameter=k>\n2\n</parameter>\n<parameter=ké>\n"
      "a\n</parameter>\nb\n</parameter>\n</function>\n</tool_call><|im_end|>");
  ASSERT_TRUE(message) << message.error().message;
  EXPECT_EQ(to_json(message->calls[0].arguments), R"({"x y":"1","k":2,"ké":"a\n</parameter>\nb"})");
  EXPECT_FALSE(parse(world, "<tool_call>\n<function=map>\n<parameter=x>\n1\n</parameter>\n<parameter=x>"));
}

TEST(MessageParser, ReadsUnionsByTheLadder) {
  World world;
  world.add(
      "u",
      R"({"type":"object","properties":{"v":{"type":["string","integer","null"]},"e":{"enum":["a","1",1,null,"a\nb"]}}})");
  auto with = [&](const std::string& key, const std::string& value) -> std::string {
    auto message = parse(world, "<tool_call>\n<function=u>\n<parameter=" + key + ">\n" + value +
                                    "\n</parameter>\n</function>\n</tool_call><|im_end|>");
    return message ? to_json(message->calls[0].arguments.at(key)) : "refused";
  };
  EXPECT_EQ(with("v", "12"), "12");
  EXPECT_EQ(with("v", "None"), "null");
  EXPECT_EQ(with("v", "1.5"), "\"1.5\"");
  EXPECT_EQ(with("v", "99999999999999999999"), "\"99999999999999999999\"");  // does not fit 64 bits: text, not rounded
  EXPECT_EQ(with("e", "a"), "\"a\"");
  EXPECT_EQ(with("e", "a\nb"), "\"a\\nb\"");
  EXPECT_EQ(with("e", "1"), "1");
  EXPECT_EQ(with("e", "null"), "null");
  EXPECT_EQ(with("e", "b"), "refused");
}

constexpr std::string_view kTwo =
    R"({"type":"object","properties":{"q":{"type":"string"},"n":{"type":["integer","null"]},"deep":{"type":"array","items":{"type":"boolean"}}},"required":["q"]})";

TEST(CallFormats, HermesWritesJsonBetweenControlTokens) {
  World world;
  world.options.format = hermes_format();
  world.add("find \"it\"", std::string(kTwo));
  auto message =
      parse(world,
            "Hi.<tool_call>\n{\"name\": \"find \\\"it\\\"\", \"arguments\": {\"n\": 3, \"q\":\"<tool_call>}\"}}\n"
            "</tool_call>\n<tool_call>\n{\"name\": \"find \\\"it\\\"\", \"arguments\": "
            "{\"q\":\"\"}}\n</tool_call><|im_end|>");
  // Control tokens' names inside strings are text, and World writes them as control tokens: so this one is refused.
  EXPECT_FALSE(message);
  message = parse(world,
                  "Hi.<tool_call>\n{\"name\": \"find \\\"it\\\"\", \"arguments\": {\"n\": 3, \"q\":\"x}\"}}\n"
                  "</tool_call>\n<tool_call>\n{\"name\": \"find \\\"it\\\"\", \"arguments\": "
                  "{\"q\":\"\"}}\n</tool_call><|im_end|>");
  ASSERT_TRUE(message) << message.error().message;
  ASSERT_EQ(message->calls.size(), 2U);
  EXPECT_EQ(message->content, "Hi.");
  EXPECT_EQ(to_json(message->calls[0].arguments), R"({"n":3,"q":"x}"})");
  // Parameters that the schema does not name are not offered, required ones are.
  EXPECT_FALSE(parse(world, "<tool_call>\n{\"name\": \"find \\\"it\\\"\", \"arguments\": {\"z"));
  EXPECT_FALSE(parse(world, "<tool_call>\n{\"name\": \"find \\\"it\\\"\", \"arguments\": {}"));
  EXPECT_FALSE(parse(world, "<tool_call>\n{\"name\": \"other"));
}

TEST(CallFormats, OpenAiIsCallsOrTextFromTheFirstCharacterOn) {
  World world;
  world.options.format = openai_format();
  world.add("f", std::string(kTwo));
  world.add("g", R"({"type":"object","properties":{}})");
  auto one = parse(world, R"({"name": "f", "arguments": {"q": "a", "deep": [true]}}<|im_end|>)");
  ASSERT_TRUE(one) << one.error().message;
  EXPECT_EQ(one->content, "");
  ASSERT_EQ(one->calls.size(), 1U);
  EXPECT_EQ(to_json(one->calls[0].arguments), R"({"q":"a","deep":[true]})");
  auto list = parse(
      world, "\n[{\"name\": \"g\", \"arguments\": {}}, {\"name\": \"f\", \"arguments\": {\"q\":\"b\"}}]\n<|im_end|>");
  ASSERT_TRUE(list) << list.error().message;
  EXPECT_EQ(list->content, "\n");
  ASSERT_EQ(list->calls.size(), 2U);
  EXPECT_EQ(list->calls[1].name, "f");
  // Text that only looks like it for a while, and calls that come too late, are text.
  for (const char* text : {"[{\"nam", "[1, 2]", "{\"name\" : 1}", R"(See {"name": "f"})", "[", "{"}) {
    auto message = parse(world, std::string(text) + "<|im_end|>");
    ASSERT_TRUE(message) << text;
    EXPECT_EQ(message->content, text);
    EXPECT_TRUE(message->calls.empty());
  }
  EXPECT_FALSE(parse(world, R"({"name": "x)"));
  EXPECT_FALSE(parse(world, R"({"name": "g", "arguments": {}}, )"));  // one alone is no list
  world.options.parallel_calls = false;
  EXPECT_FALSE(parse(world, R"([{"name": "g", "arguments": {}}, )"));
  world.options.choice = ToolChoice::kRequired;
  EXPECT_FALSE(parse(world, "a"));
  EXPECT_FALSE(parse(world, "<|im_end|>"));
  EXPECT_TRUE(parse(world, "\n{\"name\": \"g\", \"arguments\": {}}<|im_end|>"));
  world.options.choice = ToolChoice::kNone;
  auto none = parse(world, R"({"name": "f", "arguments": 1}<|im_end|>)");
  ASSERT_TRUE(none);
  EXPECT_TRUE(none->calls.empty());
}

TEST(CallFormats, PythonicHasKeywordArguments) {
  World world;
  world.options.format = pythonic_format();
  world.add("m.f", std::string(kTwo));
  world.add("g", R"({"type":"object","properties":{}})");
  auto message = parse(world, R"#([m.f(deep=[True, False], q="a, n=1)", n=None), g(), m.f(q="", n=12)]<|im_end|>)#");
  ASSERT_TRUE(message) << message.error().message;
  ASSERT_EQ(message->calls.size(), 3U);
  EXPECT_EQ(to_json(message->calls[0].arguments), R"#({"deep":[true,false],"q":"a, n=1)","n":null})#");
  EXPECT_EQ(to_json(message->calls[2].arguments), R"({"q":"","n":12})");
  EXPECT_FALSE(parse(world, "[m.f(deep=[true"));
  EXPECT_FALSE(parse(world, "[m.f()"));
  EXPECT_FALSE(parse(world, "[m.f(q=\"\", q="));
  EXPECT_FALSE(parse(world, "[g(), h("));
  EXPECT_EQ(parse(world, "[h(1)]<|im_end|>")->content, "[h(1)]");  // no tool of that name: text
  world.add("bad name", R"({"type":"object"})");
  EXPECT_FALSE(Grammar::for_message(world.vocabulary, world.tools, world.options));
}

TEST(CallFormats, LongIntegersComeToAnEnd) {
  World world;
  world.options.format = pythonic_format();
  world.add("f", R"({"type":"object","properties":{"n":{"type":"integer"},"q":{"type":"null"}},"required":["q"]})");
  // No exponent can follow so many digits, so a 21st would leave nothing that may come.
  EXPECT_TRUE(parse(world, "[f(n=18446744073709551615, q=None)]<|im_end|>"));
  EXPECT_FALSE(parse(world, "[f(n=18446744073709551616"));
  EXPECT_FALSE(parse(world, "[f(n=836008869913008066000"));
  EXPECT_TRUE(parse(world, "[f(n=836e2, q=None)]<|im_end|>"));
}

TEST(StructuralTags, ComeAnywhereInTextAndAreFollowedByText) {
  World world;
  const auto schema =
      *compile_schema(*parse_json(R"({"type":"object","properties":{"x":{"type":"integer"}},"required":["x"]})"));
  const auto empty = *compile_schema(*parse_json(R"({"type":"object","properties":{}})"));
  const std::vector<StructuralTag> tags{{"<fn=a>", schema, "</fn>"}, {"<fn=b>", empty, "</fn>"}, {"<<q:", empty, ";"}};
  const auto index = TokenIndex::build(world.vocabulary);
  auto made = Grammar::for_tags(index, tags, {"<fn=", "<<q"}, world.options);
  ASSERT_TRUE(made) << made.error().message;
  auto read = [&](const std::string& text) {
    MessageParser parser(*made, false);
    for (TokenId id : world.tokens(text)) {
      const bool allowed = parser.mask()->allowed(id);
      EXPECT_EQ(*parser.mask(), (*made)->mask_by_trial(parser.state())) << text;
      auto ok = parser.accept(id);
      EXPECT_EQ(allowed, ok.has_value());
      if (!ok) return Result<ParsedMessage>(ok.error());
    }
    return Result<ParsedMessage>(parser.result());
  };
  auto message = read("a <f <<fn=a>{\"x\":1}</fn> b<fn=b>{}</fn><<<q:{};c<|im_end|>");
  ASSERT_TRUE(message) << message.error().message;
  EXPECT_EQ(message->content, "a <f < b<c");
  ASSERT_EQ(message->calls.size(), 3U);
  EXPECT_EQ(message->calls[0].name, "<fn=a>");
  EXPECT_EQ(to_json(message->calls[0].arguments), R"({"x":1})");
  EXPECT_EQ(message->calls[2].name, "<<q:");
  EXPECT_FALSE(read("<fn=c"));
  EXPECT_FALSE(read("<fn=a>{}"));
  EXPECT_EQ(read("<fn<|im_end|>")->content, "<fn");
  world.options.choice = ToolChoice::kRequired;
  made = Grammar::for_tags(index, tags, {"<fn=", "<<q"}, world.options);
  ASSERT_TRUE(made);
  EXPECT_FALSE(read("a"));
  EXPECT_FALSE(read("<|im_end|>"));
  EXPECT_EQ(read("\n<fn=b>{}</fn>and<|im_end|>")->calls.size(), 1U);
  world.options.parallel_calls = false;
  made = Grammar::for_tags(index, tags, {"<fn=", "<<q"}, world.options);
  EXPECT_FALSE(read("<fn=b>{}</fn>and"));
  EXPECT_TRUE(read("<fn=b>{}</fn><|im_end|>"));
  // What is wrong with a set of tags is said by name.
  EXPECT_NE(Grammar::for_tags(index, {{"<x>", empty, ";"}}, {"<y"}, world.options).error().message.find("<x>"),
            std::string::npos);
  EXPECT_FALSE(Grammar::for_tags(index, {{"<x", empty, ";"}, {"<xy", empty, ";"}}, {"<x"}, world.options));
  EXPECT_FALSE(Grammar::for_tags(index, {{"<x", empty, ""}}, {"<x"}, world.options));
  EXPECT_FALSE(Grammar::for_tags(index, {{"<x", *compile_schema(*parse_json("{\"type\":\"string\"}")), ";"}}, {"<x"},
                                 world.options));
}

TEST(MessageParser, ACallMayEndReasoningIfItIsAllowedTo) {
  World world;
  world.add("g", R"({"type":"object","properties":{}})");
  const std::string text = "hm<tool_call>\n<function=g>\n</function>\n</tool_call><|im_end|>";
  EXPECT_FALSE(parse(world, text, true));
  world.options.call_ends_thinking = true;
  auto message = parse(world, text, true);
  ASSERT_TRUE(message) << message.error().message;
  EXPECT_EQ(message->reasoning, "hm");
  EXPECT_TRUE(message->reasoning_closed);
  EXPECT_EQ(message->calls.size(), 1U);
}

}  // namespace
}  // namespace longhaul::tools
