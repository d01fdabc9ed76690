#include "sandbox/powers/notes.h"

#include <fmt/format.h>

namespace longhaul::sandbox {

HostAnswer Notes::answer(const HostCall& call) {
  if (call.op == "get") {
    const auto found = notes_.find(call.args[0]);
    return HostAnswer::of(found == notes_.end() ? json::value(nullptr) : json::value(found->second));
  }
  if (call.op == "put") return put(call.args[0], call.args[1]);
  json::array keys;
  for (const auto& note : notes_) keys.emplace_back(note.first);
  return HostAnswer::of(std::move(keys));
}

HostAnswer Notes::put(const std::string& key, const std::string& value) {
  if (key.empty()) return HostAnswer::failure("the key is empty");
  if (key.size() > limits_.key_bytes) {
    return HostAnswer::failure(fmt::format("the key has {} bytes, at most {}", key.size(), limits_.key_bytes));
  }
  if (value.size() > limits_.value_bytes) {
    return HostAnswer::failure(fmt::format("the value has {} bytes, at most {}", value.size(), limits_.value_bytes));
  }
  if (notes_.size() >= limits_.notes && !notes_.contains(key)) {
    return HostAnswer::failure(fmt::format("there are {} notes already, no more fit", notes_.size()));
  }
  notes_[key] = value;
  delta_.emplace_back(key, value);
  return HostAnswer::of(true);
}

}  // namespace longhaul::sandbox
