// What a call keeps of itself while it runs: steps (`ctx.once`) whose values a later run of the same call gets instead
// of making them again, and timers (`ctx.sleep`) at which a run ends and after which the call runs again from its
// start. This class holds one run's view and its limits; what must last is handed to a CallJournal, which makes it
// durable before the script goes on.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/result.h"
#include "sandbox/powers/notes.h"
#include "sandbox/powers/powers.h"

namespace longhaul::sandbox {

struct RecordedStep {
  std::string key;
  std::string value_json;
  std::vector<std::pair<std::string, std::string>> notes;  // put in the step; put again when it is not made again
};

class CallJournal {
 public:
  virtual ~CallJournal() = default;
  // Durable when they return. An error ends the run.
  virtual Result<void> step(const RecordedStep& step) = 0;
  virtual Result<void> sleep(std::uint64_t timer, std::int64_t wake_ms) = 0;
};

// Chosen, not measured: a call that keeps more has a place for it in the notes or in files.
struct StepLimits {
  std::size_t steps = 256;
  std::size_t key_bytes = 256;
  std::size_t value_bytes = std::size_t{64} << 10;
  std::size_t all_bytes = std::size_t{1} << 20;  // of all keys and values of a call
  std::size_t nesting = 8;
  std::uint64_t timers = 1000;
  double sleep_seconds = 366.0 * 86'400;
};

// Serves the powers `steps` and `timer`. Confined to one thread; used for one run.
class Steps : public Power {
 public:
  // `steps` and `wake_ms` (of the call's timers, by number) are what earlier runs recorded. `notes` may be null.
  // `strict`: the call is declared `once`, so a sleep is refused after an effect outside a finished step: the next run
  // would repeat it.
  Steps(std::vector<RecordedStep> steps, std::map<std::uint64_t, std::int64_t> wake_ms, Notes* notes, Clock& clock,
        CallJournal& journal, bool strict, StepLimits limits = {});

  HostAnswer answer(const HostCall& call) override;
  // Every host call that was answered, of any power.
  void saw(const HostCall& call);
  // Why the journal refused, if it did: the run must not go on.
  const std::optional<Error>& failed() const { return failed_; }

 private:
  struct Open {
    std::string key;
    std::size_t n_notes = 0;  // puts before it
    bool effect = false;      // one was begun in it
  };
  HostAnswer begin(const std::string& key);
  HostAnswer end(const std::string& key, const std::string& value_json);
  HostAnswer fail(const std::string& key);
  HostAnswer sleep(const HostCall& call);
  HostAnswer broken(Error error);

  std::vector<RecordedStep> steps_;
  std::map<std::uint64_t, std::int64_t> wake_ms_;
  Notes* notes_;
  Clock& clock_;
  CallJournal& journal_;
  const bool strict_;
  const StepLimits limits_;
  std::size_t bytes_ = 0;
  std::uint64_t n_timers_ = 0;  // of this run
  std::vector<Open> open_;
  bool loose_effect_ = false;  // begun in this run, and in no step that was recorded
  std::optional<Error> failed_;
};

}  // namespace longhaul::sandbox
