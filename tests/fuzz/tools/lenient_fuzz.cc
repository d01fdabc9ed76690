// Messages from elsewhere, in every format: any bytes are read, and what comes out as a call fits its schema.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "runtime/base/check.h"
#include "tools/lenient_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace longhaul;
  using namespace longhaul::tools;
  static const std::vector<GrammarTool> tools = [] {
    std::vector<GrammarTool> made;
    for (
        const auto& [name, schema] : std::vector<std::pair<const char*, const char*>>{
            {"f",
             R"({"type":"object","properties":{"q":{"type":"string"},"n":{"type":["integer","null"]}},"required":["q"]})"},
            {"m.g", R"({"type":"object","additionalProperties":{"type":"array"}})"}}) {
      made.push_back({name, *compile_schema(*parse_json(schema))});
    }
    return made;
  }();
  if (size == 0) return 0;
  const CallFormat* formats[] = {&nemotron_format(), &hermes_format(), &openai_format(), &pythonic_format()};
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const LenientMessage message = read_lenient(text, tools, *formats[data[0] % 4], (data[0] & 4) != 0);
  for (const ParsedCall& call : message.calls) {
    const GrammarTool& tool = call.name == "f" ? tools[0] : tools[1];
    LONGHAUL_CHECK(call.name == tool.name, "a call of a known tool");
    LONGHAUL_CHECK(validate(tool.parameters->document(), call.arguments).has_value(), "arguments fit");
  }
  return 0;
}
