#include "tools/manifest.h"

#include <fmt/format.h>

#include <algorithm>

namespace longhaul::tools {
namespace {

std::string shortened(const json::value& value) {
  std::string text = to_json(value);
  if (text.size() > 60) {
    text.resize(60);
    while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xC0) == 0x80) text.pop_back();
    text += "...";
  }
  return text;
}

struct Reader {
  std::string_view place;

  Error wrong(std::string_view field, const json::value& found, std::string_view wanted) const {
    return invalid_argument(fmt::format("{}: {} is {}, expected {}", place, field, shortened(found), wanted));
  }

  Result<std::string> text(const json::object& object, std::string_view field) const {
    const json::value* value = object.if_contains(field);
    if (value == nullptr) return invalid_argument(fmt::format("{}: {} is missing", place, field));
    if (!value->is_string()) return wrong(field, *value, "text");
    return std::string(value->get_string());
  }

  Result<std::optional<std::int64_t>> number(const json::value& value, std::string_view field, std::int64_t least,
                                             std::int64_t most) const {
    std::int64_t n = 0;
    // Lua writes whole numbers as integers or as floats.
    if (value.is_int64()) {
      n = value.get_int64();
    } else if (value.is_double() && value.get_double() >= -1e15 && value.get_double() <= 1e15 &&
               value.get_double() == static_cast<double>(static_cast<std::int64_t>(value.get_double()))) {
      n = static_cast<std::int64_t>(value.get_double());
    } else {
      return wrong(field, value, fmt::format("a whole number from {} to {}", least, most));
    }
    if (n < least || n > most) return wrong(field, value, fmt::format("a whole number from {} to {}", least, most));
    return std::optional<std::int64_t>(n);
  }

  Result<PowerLevel> level(const json::value& value, std::string_view field) const {
    if (value.is_string() && value.get_string() == "read") return PowerLevel::kRead;
    if (value.is_string() && value.get_string() == "write") return PowerLevel::kWrite;
    return wrong(field, value, "\"read\" or \"write\"");
  }

  Result<ToolPowers> powers(const json::value& value) const {
    ToolPowers result;
    if (value.is_array() && value.get_array().empty()) return result;  // an empty Lua table
    if (!value.is_object()) return wrong("powers", value, "a table of powers");
    for (const auto& member : value.get_object()) {
      const std::string_view key = member.key();
      if (key == "notes" || key == "files") {
        auto granted = level(member.value(), fmt::format("powers.{}", key));
        if (!granted) return granted.error();
        (key == "notes" ? result.notes : result.files) = *granted;
      } else if (key == "clock" || key == "timer") {
        if (!member.value().is_bool()) return wrong(fmt::format("powers.{}", key), member.value(), "true");
        (key == "clock" ? result.clock : result.timer) = member.value().get_bool();
      } else if (key == "commands" || key == "hosts" || key == "env") {
        return unsupported(fmt::format("{}: the power \"{}\" is not supported yet", place, key));
      } else {
        return invalid_argument(
            fmt::format("{}: unknown power \"{}\" (there are notes, files, clock, timer)", place, key));
      }
    }
    return result;
  }

  Result<ToolLimits> limits(const json::value& value) const {
    ToolLimits result;
    if (value.is_array() && value.get_array().empty()) return result;
    if (!value.is_object()) return wrong("limits", value, "a table of limits");
    struct Row {
      std::string_view name;
      std::optional<std::int64_t> ToolLimits::*field;
      std::int64_t least, most;
    };
    constexpr std::int64_t kMiB = 1 << 20;
    const Row rows[] = {{"cpu_ms", &ToolLimits::cpu_ms, 1, 600'000},
                        {"wall_ms", &ToolLimits::wall_ms, 1, 3'600'000},
                        {"memory_bytes", &ToolLimits::memory_bytes, kMiB, 1024 * kMiB},
                        {"output_bytes", &ToolLimits::output_bytes, 1, 16 * kMiB}};
    for (const auto& member : value.get_object()) {
      const std::string_view key = member.key();
      const auto row = std::find_if(std::begin(rows), std::end(rows), [&](const Row& r) { return r.name == key; });
      if (row == std::end(rows)) {
        return invalid_argument(fmt::format(
            "{}: unknown limit \"{}\" (there are cpu_ms, wall_ms, memory_bytes, output_bytes)", place, key));
      }
      auto n = number(member.value(), fmt::format("limits.{}", key), row->least, row->most);
      if (!n) return n.error();
      result.*(row->field) = *n;
    }
    return result;
  }
};

}  // namespace

std::string_view to_string(Effect effect) {
  switch (effect) {
    case Effect::kRead:
      return "read";
    case Effect::kIdempotent:
      return "idempotent";
    case Effect::kOnce:
      return "once";
  }
  return "?";
}

bool is_tool_name(std::string_view name) {
  auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  if (name.empty() || name.size() > 64 || !letter(name[0])) return false;
  return std::all_of(name.begin(), name.end(), [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

Result<ToolManifest> parse_manifest(const json::value& manifest, std::string_view place) {
  const Reader read{place};
  const json::object* object = manifest.if_object();
  if (object == nullptr)
    return invalid_argument(fmt::format("{}: the plugin does not return a table with fields", place));
  constexpr std::string_view kFields[] = {"name", "description", "parameters", "effect", "powers", "limits", "approve"};
  for (const auto& member : *object) {
    if (std::find(std::begin(kFields), std::end(kFields), std::string_view(member.key())) == std::end(kFields)) {
      return invalid_argument(fmt::format("{}: unknown field \"{}\"", place, std::string_view(member.key())));
    }
  }
  ToolManifest result;
  result.source_path = std::string(place);
  auto name = read.text(*object, "name");
  if (!name) return name.error();
  if (!is_tool_name(*name)) {
    return read.wrong("name", *object->if_contains("name"),
                      "a name: letters, digits and _, at most 64, no digit first");
  }
  result.name = std::move(*name);
  auto description = read.text(*object, "description");
  if (!description) return description.error();
  if (description->size() > 16 * 1024) {
    return invalid_argument(
        fmt::format("{}: description has {} bytes, at most {}", place, description->size(), 16 * 1024));
  }
  result.description = std::move(*description);
  const json::value* parameters = object->if_contains("parameters");
  if (parameters == nullptr) return invalid_argument(fmt::format("{}: parameters is missing", place));
  if (!parameters->is_object()) return read.wrong("parameters", *parameters, "a JSON Schema of an object");
  result.parameters = parameters->get_object();
  if (const json::value* effect = object->if_contains("effect")) {
    result.effect_given = true;
    const std::string_view text = effect->is_string() ? std::string_view(effect->get_string()) : std::string_view();
    if (text == "read") {
      result.effect = Effect::kRead;
    } else if (text == "idempotent") {
      result.effect = Effect::kIdempotent;
    } else if (text != "once") {
      return read.wrong("effect", *effect, "\"read\", \"idempotent\" or \"once\"");
    }
  }
  if (const json::value* value = object->if_contains("powers")) {
    auto powers = read.powers(*value);
    if (!powers) return powers.error();
    result.powers = *powers;
  }
  if (const json::value* value = object->if_contains("limits")) {
    auto limits = read.limits(*value);
    if (!limits) return limits.error();
    result.limits = *limits;
  }
  if (const json::value* value = object->if_contains("approve")) {
    if (!value->is_bool()) return read.wrong("approve", *value, "true or false");
    result.approve = value->get_bool();
  }
  return result;
}

}  // namespace longhaul::tools
