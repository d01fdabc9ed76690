// Tokens through the message parser: accept() and the mask always agree, and every call that comes out fits its schema.
#include <cstddef>
#include <cstdint>
#include <string>

#include "runtime/base/check.h"
#include "tests/support/test_vocabulary.h"
#include "tools/message_parser.h"

using namespace longhaul;
using namespace longhaul::tools;

namespace {

struct World {
  model::Vocabulary vocabulary = test::small_vocabulary();
  std::vector<json::value> schemas;
  std::shared_ptr<Grammar> grammar;

  World() {
    std::vector<GrammarTool> tools;
    const char* const texts[] = {
        R"({"type":"object","properties":{"path":{"type":"string"},"content":{"type":"string","maxLength":5}},"required":["path"],"additionalProperties":false})",
        R"({"type":"object","properties":{"n":{"type":"integer","minimum":-3},"x":{"type":"number","exclusiveMaximum":1},"e":{"enum":["a","ab",1,null,[true]]}},"additionalProperties":{"type":["string","boolean"]}})",
        R"({"type":"object","properties":{"deep":{"anyOf":[{"type":"array","items":{"type":"string","minLength":1}},{"type":"object"}]}},"required":["deep"]})"};
    for (const char* text : texts) {
      schemas.push_back(*parse_json(text));
      tools.push_back({"tool" + std::to_string(tools.size()), *compile_schema(schemas.back())});
    }
    MessageGrammarOptions options;
    options.stop = {*vocabulary.control("<|im_end|>")};
    grammar = *Grammar::for_message(vocabulary, tools, options);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static World world;
  world.grammar = Grammar::refreshed(world.grammar);
  if (size > 1200) size = 1200;
  if (size == 0) return 0;
  MessageParser parser(world.grammar, (data[0] & 1) != 0);
  for (std::size_t i = 1; i + 1 < size && !parser.finished(); i += 2) {
    const auto mask = parser.mask();
    const std::size_t n = mask->count();
    LONGHAUL_CHECK(n > 0, "an unfinished message can go on");
    std::size_t pick = data[i] * 256U + data[i + 1];
    TokenId token = 0;
    if (pick % 4 != 0) {
      // Mostly something that is allowed, to get far.
      pick = pick / 4 % n;
      while (!mask->allowed(token) || pick-- > 0) ++token;
    } else {
      token = static_cast<TokenId>(pick / 4 % world.vocabulary.size());
    }
    const bool allowed = mask->allowed(token);
    LONGHAUL_CHECK(parser.accept(token).has_value() == allowed, "accept and mask agree");
    parser.take_events();
  }
  for (const ParsedCall& call : parser.result().calls) {
    const std::size_t tool = static_cast<std::size_t>(call.name.back() - '0');
    LONGHAUL_CHECK(validate(world.schemas[tool], call.arguments).has_value(), "a call fits its schema");
  }
  return 0;
}
