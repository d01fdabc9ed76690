#include "runtime/recall.h"

#include <fmt/format.h>

#include <algorithm>

namespace longhaul::runtime {
namespace {

// So that giving back cannot fill the context that was just emptied. Chosen, not measured.
constexpr std::size_t kBytesMax = 8192, kBytesDefault = 4096;

bool inside_character(const std::string& text, std::size_t at) {
  return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80;
}

}  // namespace

json::object recall_manifest() {
  return {{"name", kRecallTool},
          {"description", "Get back the result of an earlier call that was dropped from the context"},
          {"parameters",
           json::object{{"type", "object"},
                        {"properties",
                         json::object{{"call", json::object{{"type", "string"}, {"description", "for example call_3"}}},
                                      {"from", json::object{{"type", "integer"}, {"minimum", 0}}},
                                      {"bytes", json::object{{"type", "integer"}, {"minimum", 1}, {"maximum", 8192}}}}},
                        {"required", json::array{"call"}},
                        {"additionalProperties", false}}},
          {"effect", "read"}};
}

std::string recall_placeholder(const sessions::Call& call) {
  return fmt::format("[the result of {} {} was dropped: {} bytes; recall gives it back]", call.intent.tool,
                     call.intent.call_id, call.result ? call.result->text.size() : 0);
}

Result<std::string> recall(const sessions::Context& context, const json::object& arguments) {
  const std::string id(arguments.at("call").as_string());
  const auto found = std::find_if(context.calls().rbegin(), context.calls().rend(),
                                  [&](const sessions::Call& call) { return call.intent.call_id == id && call.result; });
  if (found == context.calls().rend()) return invalid_argument(fmt::format("there is no result of {}", id));
  const std::string& text = found->result->text;
  const auto number = [&](std::string_view name, std::size_t otherwise) {
    const json::value* value = arguments.if_contains(name);
    return value != nullptr && value->is_int64() && value->get_int64() >= 0
               ? static_cast<std::size_t>(value->get_int64())
               : otherwise;
  };
  std::size_t from = number("from", 0);
  if (from > text.size())
    return invalid_argument(fmt::format("{} has {} bytes, {} was asked for", id, text.size(), from));
  std::size_t end = from + std::min({number("bytes", kBytesDefault), kBytesMax, text.size() - from});
  while (inside_character(text, from)) --from;
  while (inside_character(text, end)) ++end;
  if (from == 0 && end == text.size()) return text;
  return fmt::format("{}\n[bytes {} to {} of {}]", text.substr(from, end - from), from, end, text.size());
}

}  // namespace longhaul::runtime
