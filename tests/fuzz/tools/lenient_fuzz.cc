// Messages from elsewhere, in every format: any bytes are read, and what comes out as a call fits its schema.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "runtime/base/check.h"
#include "tools/lenient_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace longhaul;
  using namespace longhaul::tools;
  static const json::value schemas[] = {
      *parse_json(
          R"({"type":"object","properties":{"q":{"type":"string"},"n":{"type":["integer","null"]}},"required":["q"]})"),
      *parse_json(R"({"type":"object","additionalProperties":{"type":"array"}})")};
  static const std::vector<GrammarTool> tools{{"f", *compile_schema(schemas[0])}, {"m.g", *compile_schema(schemas[1])}};
  if (size == 0) return 0;
  const CallFormat* formats[] = {&nemotron_format(), &hermes_format(), &openai_format(), &pythonic_format()};
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const LenientMessage message = read_lenient(text, tools, *formats[data[0] % 4], (data[0] & 4) != 0);
  for (const ParsedCall& call : message.calls) {
    const std::size_t tool = call.name == "f" ? 0 : 1;
    LONGHAUL_CHECK(call.name == tools[tool].name, "a call of a known tool");
    LONGHAUL_CHECK(validate(schemas[tool], call.arguments).has_value(), "arguments fit");
  }
  return 0;
}
