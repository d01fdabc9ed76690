#include "sandbox/powers/steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace longhaul::sandbox {

Steps::Steps(std::vector<RecordedStep> steps, std::map<std::uint64_t, std::int64_t> wake_ms, Notes* notes, Clock& clock,
             CallJournal& journal, bool strict, StepLimits limits)
    : steps_(std::move(steps)),
      wake_ms_(std::move(wake_ms)),
      notes_(notes),
      clock_(clock),
      journal_(journal),
      strict_(strict),
      limits_(limits) {
  for (const RecordedStep& step : steps_) bytes_ += step.key.size() + step.value_json.size();
}

HostAnswer Steps::answer(const HostCall& call) {
  // Whatever the script makes of an error: what could not be recorded must not be built upon.
  if (failed_) return HostAnswer::failure(failed_->message);
  if (call.power == "timer") return sleep(call);
  if (call.op == "begin") return begin(call.args[0]);
  if (call.op == "end") return end(call.args[0], call.args[1]);
  return fail(call.args[0]);
}

void Steps::saw(const HostCall& call) {
  const Operation* operation = find_operation(call.power, call.op);
  if (operation == nullptr || !operation->effect) return;
  if (open_.empty()) {
    loose_effect_ = true;
  } else {
    open_.back().effect = true;
  }
}

HostAnswer Steps::begin(const std::string& key) {
  if (key.empty()) return HostAnswer::failure("the key of a step is empty");
  if (key.size() > limits_.key_bytes) {
    return HostAnswer::failure(
        fmt::format("the key of a step has {} bytes, at most {}", key.size(), limits_.key_bytes));
  }
  const auto known =
      std::find_if(steps_.begin(), steps_.end(), [&](const RecordedStep& step) { return step.key == key; });
  if (known != steps_.end()) {
    if (notes_ != nullptr) {
      for (const auto& [name, value] : known->notes) {
        notes_->answer({"notes", "put", {name, value}});
      }
    }
    return HostAnswer::of(json::array{known->value_json});
  }
  if (steps_.size() + open_.size() >= limits_.steps) {
    return HostAnswer::failure(fmt::format("the call has {} steps already", limits_.steps));
  }
  if (open_.size() >= limits_.nesting) {
    return HostAnswer::failure(fmt::format("steps are nested more than {} deep", limits_.nesting));
  }
  if (std::any_of(open_.begin(), open_.end(), [&](const Open& open) { return open.key == key; })) {
    return HostAnswer::failure(fmt::format("the step \"{}\" is made inside itself", key));
  }
  open_.push_back({key, notes_ != nullptr ? notes_->delta().size() : 0, false});
  return HostAnswer::of(json::array{});
}

HostAnswer Steps::end(const std::string& key, const std::string& value_json) {
  if (open_.empty() || open_.back().key != key) return HostAnswer::failure("there is no such step to end");
  const Open open = open_.back();
  const auto refuse = [&](std::string text) {
    fail(key);
    return HostAnswer::failure(std::move(text));
  };
  if (value_json.size() > limits_.value_bytes) {
    return refuse(
        fmt::format("the value of step \"{}\" has {} bytes, at most {}", key, value_json.size(), limits_.value_bytes));
  }
  if (bytes_ + key.size() + value_json.size() > limits_.all_bytes) {
    return refuse(fmt::format("the steps of a call have {} bytes at most", limits_.all_bytes));
  }
  if (auto value = parse_json(value_json); !value) {
    return refuse(fmt::format("the value of step \"{}\": {}", key, value.error().message));
  }
  RecordedStep step{key, value_json, {}};
  if (notes_ != nullptr) {
    const auto& delta = notes_->delta();
    step.notes.assign(delta.begin() + static_cast<std::ptrdiff_t>(open.n_notes), delta.end());
  }
  if (auto ok = journal_.step(step); !ok) return broken(ok.error());
  bytes_ += key.size() + value_json.size();
  steps_.push_back(std::move(step));
  open_.pop_back();
  return HostAnswer::of(true);
}

HostAnswer Steps::fail(const std::string& key) {
  if (open_.empty() || open_.back().key != key) return HostAnswer::failure("there is no such step to give up");
  // What it did is now done by nobody in particular.
  const bool effect = open_.back().effect;
  open_.pop_back();
  if (effect) {
    if (open_.empty()) {
      loose_effect_ = true;
    } else {
      open_.back().effect = true;
    }
  }
  return HostAnswer::of(true);
}

HostAnswer Steps::sleep(const HostCall& call) {
  const auto number = [](const std::string& text) {
    double value = std::nan("");
    const char* end = text.data() + text.size();
    const auto [at, ec] = std::from_chars(text.data(), end, value);
    return ec == std::errc() && at == end ? value : std::nan("");
  };
  if (!open_.empty()) return HostAnswer::failure("a step cannot sleep; sleep between steps");
  if (call.args[0] != std::to_string(n_timers_)) {
    return HostAnswer::failure(fmt::format("timer {}, the next is {}", call.args[0].substr(0, 20), n_timers_));
  }
  if (n_timers_ >= limits_.timers) return HostAnswer::failure(fmt::format("a call sleeps {} times at most", n_timers_));
  const std::int64_t now = clock_.unix_ms();
  std::int64_t wake = 0;
  if (const auto set = wake_ms_.find(n_timers_); set != wake_ms_.end()) {
    wake = set->second;  // by an earlier run
  } else {
    const double given = number(call.args[1]);
    const double seconds = call.op == "sleep" ? given : given - static_cast<double>(now) / 1000;
    if (!std::isfinite(given) || (call.op == "sleep" && given < 0)) {
      return HostAnswer::failure("not a time to sleep: " + call.args[1].substr(0, 40));
    }
    if (seconds > limits_.sleep_seconds) {
      return HostAnswer::failure(
          fmt::format("a sleep of {:.0f} seconds, at most {:.0f}", seconds, limits_.sleep_seconds));
    }
    wake = call.op == "sleep" ? now + static_cast<std::int64_t>(std::ceil(given * 1000))
                              : static_cast<std::int64_t>(std::ceil(std::max(given, 0.0) * 1000));
  }
  const std::uint64_t timer = n_timers_;
  if (wake > now) {
    if (strict_ && loose_effect_) {
      return HostAnswer::failure(
          "a call declared `once` has done something before this sleep, which would be done again after it; put it "
          "into ctx.once");
    }
    if (auto ok = journal_.sleep(timer, wake); !ok) return broken(ok.error());
    return HostAnswer::sleep(wake);
  }
  ++n_timers_;
  return HostAnswer::of(true);
}

HostAnswer Steps::broken(Error error) {
  failed_ = std::move(error);
  return HostAnswer::failure(failed_->message);
}

}  // namespace longhaul::sandbox
