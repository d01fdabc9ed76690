// The tools of a session, ready to be declared to the model, to constrain it, and to be called: where the tools room
// (schemas, grammar) and the sandbox room (processes, powers) meet.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/chat.h"
#include "runtime/model_host.h"
#include "runtime/settings.h"
#include "sandbox/powers/steps.h"
#include "sandbox/worker_pool.h"
#include "sandbox/zygote.h"
#include "sessions/context.h"
#include "sessions/session_manager.h"
#include "tools/message_parser.h"
#include "tools/registry.h"

namespace longhaul::runtime {

struct TrajectoryParts;

// A plugin whose manifest, schema and powers were checked.
struct LoadedTool {
  ToolSource source;
  tools::Tool tool;
  sandbox::Grants grants;
};

// Errors name the file, the field or keyword, and the place.
Result<LoadedTool> check_tool(const ToolSource& source);

// All tools of the settings load and can be written in the model's call format. Gives their declarations.
Result<std::vector<model::ChatTool>> check_tools(const Settings& settings, const ModelHost& model);

struct ToolRun {
  bool cancelled = false;  // stopped by a person; nothing is recorded
  bool in_doubt = false;   // `result.text` says why it is not known whether the effect happened
  bool sleeping = false;   // it is to run again from its start; the journal was told when
  sessions::CallResult result;
  std::string host_calls_json;  // {"host_calls":{"ordinal":N,"calls":[...]}}, empty if there were none
};

class ToolRunner {
 public:
  // kUnsupported / kInvalidArgument name the tool and what is wrong with it.
  static Result<std::unique_ptr<ToolRunner>> create(const TrajectoryParts& parts, const Settings& settings);
  ~ToolRunner();

  const std::vector<model::ChatTool>& declarations() const;
  tools::MessageParser message_parser(bool thinking) const;
  sessions::Effect effect(const std::string& tool) const;
  // Why a person has to say yes before a call of this tool; empty: nobody has to.
  std::string approval_reason(const std::string& tool) const;

  // One run of a call in the sandbox; a call that slept before gets its steps and timers from the context. What a
  // plugin does wrong is in the result; an error is ours (no worker to be had, the files folder is gone, the journal
  // refused).
  Result<ToolRun> run(const sessions::CallIntent& intent, const sessions::Context& context,
                      sandbox::CallJournal& journal, sandbox::CancelToken* cancel);
  // Lets go of what is kept between calls; the next one opens it again.
  void rest();

 private:
  struct Impl;
  explicit ToolRunner(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// `longhaul tools call`: one call outside any session. `files` may be empty: no files power. A sleep takes
// no time: the call's clock is set forward.
Result<sandbox::CallOutcome> try_call(const LoadedTool& tool, const json::object& arguments, const std::string& files,
                                      sandbox::Zygote& zygote, sandbox::WorkerPool& pool);

// `longhaul tools replay`: a past call again, with the host's answers from the record instead of the world.
struct ReplayedCall {
  bool equal = false;
  std::string recorded, replayed, log, diverged;
};
Result<ReplayedCall> replay_call(sessions::SessionManager& manager, const std::string& session,
                                 const std::string& call_id, sandbox::WorkerPool& pool);

}  // namespace longhaul::runtime
