#include "runtime/settings.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "runtime/response_format.h"

namespace longhaul::runtime {
namespace {

std::string reasoning_text(const Settings& settings) {
  if (settings.reasoning_budget > 0) return std::to_string(settings.reasoning_budget);
  switch (settings.reasoning) {
    case Reasoning::kOff:
      return "off";
    case Reasoning::kOn:
      return "on";
    case Reasoning::kLow:
      return "low";
    case Reasoning::kEfficient:
      return "efficient";
  }
  return "on";
}

// Reads fields of one object, remembering the first thing that is wrong.
class Reader {
 public:
  Reader(const json::object& object, std::string place) : object_(object), place_(std::move(place)) {}

  void text(std::string_view key, std::string& out) {
    if (const json::value* value = object_.if_contains(key)) {
      if (!value->is_string()) return wrong(key, *value, "a text");
      out = std::string(value->get_string());
    }
  }
  void boolean(std::string_view key, bool& out) {
    if (const json::value* value = object_.if_contains(key)) {
      if (!value->is_bool()) return wrong(key, *value, "true or false");
      out = value->get_bool();
    }
  }
  void integer(std::string_view key, std::int64_t low, std::int64_t high, std::int64_t& out) {
    if (const json::value* value = object_.if_contains(key)) {
      // Lua writes 4 and 4.0 alike.
      std::int64_t number = 0;
      if (value->is_int64()) {
        number = value->get_int64();
      } else if (value->is_double() && std::abs(value->get_double()) < 0x1p63 &&
                 value->get_double() == std::trunc(value->get_double())) {
        number = static_cast<std::int64_t>(value->get_double());
      } else {
        return wrong(key, *value, "a whole number");
      }
      if (number < low || number > high) return wrong(key, *value, fmt::format("{} to {}", low, high));
      out = number;
    }
  }
  void number(std::string_view key, double low, double high, float& out) {
    if (const json::value* value = object_.if_contains(key)) {
      if (!value->is_number()) return wrong(key, *value, "a number");
      const double number = value->to_number<double>();
      if (!(number >= low && number <= high)) return wrong(key, *value, fmt::format("{} to {}", low, high));
      out = static_cast<float>(number);
    }
  }
  const json::object* object(std::string_view key) {
    const json::value* value = object_.if_contains(key);
    if (value == nullptr) return nullptr;
    // An empty Lua table may come as an empty array.
    if (value->is_array() && value->get_array().empty()) return nullptr;
    if (!value->is_object()) wrong(key, *value, "an object");
    return value->if_object();
  }
  void known(std::initializer_list<std::string_view> keys) {
    for (const auto& member : object_) {
      bool found = false;
      for (std::string_view key : keys) found = found || key == std::string_view(member.key());
      if (!found) fail(fmt::format("{}: unknown field \"{}\"", place_, std::string_view(member.key())));
    }
  }
  void wrong(std::string_view key, const json::value& value, std::string_view expected) {
    fail(fmt::format("{}: {} is {}, expected {}", place_, key, to_json(value), expected));
  }
  void fail(std::string message) {
    if (error_.empty()) error_ = std::move(message);
  }
  Result<void> status() const {
    if (!error_.empty()) return invalid_argument(error_);
    return {};
  }

 private:
  const json::object& object_;
  std::string place_;
  std::string error_;
};

}  // namespace

Result<void> parse_reasoning(const std::string& text, Settings& settings) {
  settings.reasoning_budget = 0;
  if (text == "on") {
    settings.reasoning = Reasoning::kOn;
  } else if (text == "off") {
    settings.reasoning = Reasoning::kOff;
  } else if (text == "low") {
    settings.reasoning = Reasoning::kLow;
  } else if (text == "efficient") {
    settings.reasoning = Reasoning::kEfficient;
  } else {
    std::int64_t budget = 0;
    auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), budget);
    if (ec != std::errc() || end != text.data() + text.size() || budget < 1) {
      return invalid_argument(
          fmt::format("reasoning is \"{}\", expected on, off, low, efficient or a number of tokens", text));
    }
    settings.reasoning = Reasoning::kOn;
    settings.reasoning_budget = budget;
  }
  return {};
}

json::object to_json_object(const Settings& settings) {
  json::array tools;
  for (const ToolSource& tool : settings.tools) {
    json::object object{{"path", tool.path}, {"source", tool.text}, {"manifest", tool.manifest}};
    if (tool.approve) object["approve"] = true;
    tools.push_back(std::move(object));
  }
  json::object out{
      {"version", 1},
      {"system", settings.system},
      {"reasoning", reasoning_text(settings)},
      {"limits", json::object{{"turns", settings.max_turns},
                              {"message_tokens", settings.max_message_tokens},
                              {"equal_calls", settings.max_equal_calls},
                              {"context", settings.context}}},
      {"sampling", json::object{{"temperature", settings.sampling.temperature},
                                {"top_p", settings.sampling.top_p},
                                {"top_k", settings.sampling.top_k},
                                {"min_p", settings.sampling.min_p}}},
      {"notes", settings.notes},
      {"files", json::object{{"root", settings.files_root}, {"write", settings.files_writable}}},
      {"tools", std::move(tools)},
  };
  if (!settings.response_format.empty()) out["response_format"] = settings.response_format;
  if (settings.compact_at > 0) {
    out["compact"] = json::object{{"at", settings.compact_at}, {"keep_turns", settings.compact_keep_turns}};
  }
  return out;
}

Result<Settings> settings_from_json(const json::object& object) {
  Settings settings;
  Reader reader(object, "settings");
  reader.known({"version", "system", "reasoning", "limits", "sampling", "notes", "files", "tools", "name",
                "description", "compact", "response_format"});
  reader.text("system", settings.system);
  if (const json::value* reasoning = object.if_contains("reasoning")) {
    const std::string text = reasoning->is_string() ? std::string(reasoning->get_string()) : to_json(*reasoning);
    if (auto ok = parse_reasoning(text, settings); !ok) reader.fail(ok.error().message);
  }
  static constexpr std::int64_t kLarge = std::int64_t{1} << 40;
  if (const json::object* part = reader.object("limits")) {
    Reader limits(*part, "settings.limits");
    limits.known({"turns", "message_tokens", "equal_calls", "context"});
    limits.integer("turns", 1, kLarge, settings.max_turns);
    limits.integer("message_tokens", 1, kLarge, settings.max_message_tokens);
    limits.integer("equal_calls", 2, kLarge, settings.max_equal_calls);
    limits.integer("context", 0, kLarge, settings.context);
    if (auto ok = limits.status(); !ok) return ok.error();
  }
  if (const json::object* part = reader.object("compact")) {
    Reader compact(*part, "settings.compact");
    compact.known({"at", "keep_turns"});
    if (!part->contains("at")) compact.fail("settings.compact: at is missing, expected a number of tokens");
    compact.integer("at", 1, kLarge, settings.compact_at);
    compact.integer("keep_turns", 1, kLarge, settings.compact_keep_turns);
    if (auto ok = compact.status(); !ok) return ok.error();
  }
  if (const json::object* part = reader.object("sampling")) {
    Reader sampling(*part, "settings.sampling");
    sampling.known({"temperature", "top_p", "top_k", "min_p"});
    std::int64_t top_k = 0;
    sampling.number("temperature", 0, 100, settings.sampling.temperature);
    sampling.number("top_p", 0, 1, settings.sampling.top_p);
    sampling.number("min_p", 0, 1, settings.sampling.min_p);
    sampling.integer("top_k", 0, 1 << 30, top_k);
    settings.sampling.top_k = static_cast<std::int32_t>(top_k);
    if (auto ok = sampling.status(); !ok) return ok.error();
    if (auto ok = model::check(settings.sampling); !ok) return ok.error();
  }
  if (const json::object* part = reader.object("files")) {
    Reader files(*part, "settings.files");
    files.known({"root", "write"});
    files.text("root", settings.files_root);
    files.boolean("write", settings.files_writable);
    if (auto ok = files.status(); !ok) return ok.error();
  }
  if (const json::object* format = reader.object("response_format")) {
    auto normal = normal_response_format(*format);
    if (!normal) return with_context("settings", normal.error());
    settings.response_format = std::move(*normal);
  }
  if (const json::object* notes = reader.object("notes")) {
    for (const auto& note : *notes) {
      if (!note.value().is_string()) {
        return invalid_argument(fmt::format("settings.notes: {} is not a text", std::string_view(note.key())));
      }
    }
    settings.notes = *notes;
  }
  if (const json::value* tools = object.if_contains("tools")) {
    if (!tools->is_array()) return invalid_argument("settings: tools is not a list");
    for (const json::value& entry : tools->get_array()) {
      const json::object* tool = entry.if_object();
      if (tool == nullptr) return invalid_argument("settings: a tool is not an object");
      ToolSource source;
      Reader fields(*tool, "settings.tools");
      fields.text("path", source.path);
      fields.text("source", source.text);
      fields.boolean("approve", source.approve);
      if (const json::object* manifest = fields.object("manifest")) source.manifest = *manifest;
      if (auto ok = fields.status(); !ok) return ok.error();
      settings.tools.push_back(std::move(source));
    }
  }
  if (auto ok = reader.status(); !ok) return ok.error();
  return settings;
}

}  // namespace longhaul::runtime
