#include "sandbox/powers/powers.h"

#include <fmt/format.h>

namespace longhaul::sandbox {
namespace {

std::string show(const HostCall& call) {
  std::string text = call.power + "." + call.op + "(";
  for (std::size_t i = 0; i < call.args.size(); ++i) {
    if (i > 0) text += ", ";
    text += fmt::format("{} bytes", call.args[i].size());
  }
  return text + ")";
}

}  // namespace

Result<Grants> parse_grants(const json::value& powers) {
  Grants grants;
  if (powers.is_null()) return grants;
  if (!powers.is_object()) return invalid_argument("powers is not a table of power = \"read\" or \"write\"");
  for (const auto& member : powers.get_object()) {
    const std::string_view name(member.key().data(), member.key().size());
    const json::value& value = member.value();
    if (value.is_bool() && !value.get_bool()) continue;
    if (name == "clock" || name == "timer") {
      if (value.is_bool() || (value == "read" && name == "clock")) {
        (name == "clock" ? grants.clock : grants.timer) = Access::kRead;
        continue;
      }
      return invalid_argument(fmt::format("powers.{}: expected true", name));
    }
    if (name != "notes" && name != "files") {
      return invalid_argument(
          fmt::format("powers.{}: there is no such power (there are clock, timer, notes, files)", name));
    }
    Access& access = name == "notes" ? grants.notes : grants.files;
    if (value == "read") {
      access = Access::kRead;
    } else if (value == "write") {
      access = Access::kWrite;
    } else {
      return invalid_argument(fmt::format("powers.{} is {}, expected \"read\" or \"write\"", name, to_json(value)));
    }
  }
  return grants;
}

const Operation* find_operation(std::string_view power, std::string_view name) {
  for (const Operation& operation : kOperations) {
    if (operation.power == power && operation.name == name) return &operation;
  }
  return nullptr;
}

Access granted(const Grants& grants, std::string_view power) {
  if (power == "clock") return grants.clock;
  if (power == "notes") return grants.notes;
  if (power == "files") return grants.files;
  if (power == "timer") return grants.timer;
  return Access::kNone;
}

void PowerSet::set(std::string power, Power& implementation) {
  for (auto& entry : powers_) {
    if (entry.first == power) {
      entry.second = &implementation;
      return;
    }
  }
  powers_.emplace_back(std::move(power), &implementation);
}

HostAnswer PowerSet::answer(const HostCall& call) {
  for (auto& entry : powers_) {
    if (entry.first == call.power) return entry.second->answer(call);
  }
  return HostAnswer::failure(fmt::format("power {} is not available here", call.power));
}

HostAnswer RecordingPowers::answer(const HostCall& call) {
  HostAnswer answer = inner_.answer(call);
  record_(call, answer);
  return answer;
}

HostAnswer ReplayPowers::answer(const HostCall& call) {
  if (diverged_.empty() && at_ < record_.size() && record_[at_].call == call) return record_[at_++].answer;
  if (diverged_.empty()) {
    diverged_ = at_ < record_.size()
                    ? fmt::format("host call {} is {}, recorded was {}", at_ + 1, show(call), show(record_[at_].call))
                    : fmt::format("host call {} is {}, the record has {}", at_ + 1, show(call), record_.size());
  }
  return HostAnswer::failure("replay diverged: " + diverged_);
}

json::value to_json_value(const RecordedHostCall& recorded) {
  json::object object;
  object["power"] = recorded.call.power;
  object["op"] = recorded.call.op;
  json::array args;
  for (const std::string& arg : recorded.call.args) args.emplace_back(arg);
  object["args"] = std::move(args);
  if (recorded.answer.ok) {
    object["ok"] = recorded.answer.value;
  } else {
    object["error"] = recorded.answer.error;
  }
  return object;
}

Result<RecordedHostCall> recorded_host_call(const json::value& value) {
  const auto bad = [](std::string_view what) { return invalid_argument(fmt::format("recorded host call: {}", what)); };
  if (!value.is_object()) return bad("not an object");
  const json::object& object = value.get_object();
  const json::value* power = object.if_contains("power");
  const json::value* op = object.if_contains("op");
  const json::value* args = object.if_contains("args");
  if (power == nullptr || !power->is_string() || op == nullptr || !op->is_string()) return bad("power or op missing");
  if (args == nullptr || !args->is_array()) return bad("args missing");
  RecordedHostCall recorded;
  recorded.call.power = std::string(power->get_string());
  recorded.call.op = std::string(op->get_string());
  for (const json::value& arg : args->get_array()) {
    if (!arg.is_string()) return bad("an argument is not a string");
    recorded.call.args.emplace_back(arg.get_string());
  }
  if (const json::value* ok = object.if_contains("ok")) {
    recorded.answer = HostAnswer::of(*ok);
  } else if (const json::value* error = object.if_contains("error"); error != nullptr && error->is_string()) {
    recorded.answer = HostAnswer::failure(std::string(error->get_string()));
  } else {
    return bad("neither ok nor error");
  }
  return recorded;
}

}  // namespace longhaul::sandbox
