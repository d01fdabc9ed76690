// Drives one session: from a user message through turns of generation and tool calls to an answer, with every step in
// the journal before anything depends on it. Read trajectory_state.h first: the loop here only looks at the phase, does
// the one thing that comes next, records it, and looks again; so a fresh process continues by the same loop.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "model/sequence_state.h"
#include "runtime/base/clock.h"
#include "runtime/events.h"
#include "runtime/model_host.h"
#include "runtime/resident_set.h"
#include "runtime/settings.h"
#include "runtime/trajectory_state.h"
#include "sandbox/worker_pool.h"
#include "sandbox/zygote.h"
#include "sessions/session.h"
#include "tools/registry.h"

namespace longhaul::runtime {

// What a person says to a call that waits for it. None: nothing yet.
struct ApprovalAnswer {
  bool approve = false;
  std::string reason;  // of a denial; the model is told
};
using AskApproval = std::function<std::optional<ApprovalAnswer>(const Event& approval_needed)>;

// What to do while a call sleeps. The model's state is let go of meanwhile.
enum class TimerWait {
  kOwn,  // wait for timers that this process has set; one from before that is not due ends the run (kSleeping)
  kAll,
};

// Borrowed for the life of the trajectory.
struct TrajectoryParts {
  ModelHost& model;
  sandbox::Zygote& zygote;
  sandbox::WorkerPool& pool;
  sessions::Session& session;
  EventSink& events;
  Clock& clock;
  const std::atomic<bool>& interrupted;
  sandbox::CancelToken* cancel = nullptr;  // for tools that may be stopped
  int speculate = 0;                       // draft tokens a step
  ResidentSet* resident = nullptr;         // what bounds the memory of states; null: nothing does
  TimerWait wait = TimerWait::kAll;
  AskApproval ask_approval = {};  // somebody who can be asked at once; else the trajectory is parked
};

enum class RunEnd {
  kAnswered,
  kLength,       // a limit of tokens ended the message (finish "length")
  kContextFull,  // suspended: the results of the calls would pass the limit of tokens; the journal has them
  kTurnLimit,    // suspended by the limit of turns
  kLoop,         // suspended: the same call gave the same result too often
  kInterrupted,
  kInDoubt,
  kNeedsApproval,  // a call waits for a person's word
  kSleeping,       // a call waits for its time, and nobody here waits with it
};

class Trajectory {
 public:
  // Folds the journal, compiles the tools' grammar. kUnsupported / kInvalidArgument name the tool and the keyword.
  static Result<std::unique_ptr<Trajectory>> open(const TrajectoryParts& parts);
  ~Trajectory();

  const TrajectoryState& state() const;
  const Settings& settings() const;

  // Journals changed settings (fields of Settings as JSON) and the seed, if it is another.
  Result<void> change(const json::object& settings, std::optional<std::uint64_t> seed);
  // A new user message. kConflict if the session is not waiting for one.
  Result<void> say(const std::string& text);
  // Goes on until there is nothing to do without a person.
  Result<RunEnd> run();

 private:
  struct Impl;
  explicit Trajectory(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The first message of a session that is still to be made: kResourceExhausted if it and the system text before it do
// not fit the context of `settings`, so that no session is left behind which never began.
Result<void> check_first_message(const ModelHost& model, const Settings& settings,
                                 const std::vector<model::ChatTool>& tools, const std::string& text);

}  // namespace longhaul::runtime
