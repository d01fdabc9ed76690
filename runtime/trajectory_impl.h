// What a Trajectory is made of. Internal: for trajectory.cc (the loop) and the files beside it, one a topic:
// trajectory_sequence.cc (the model's state), trajectory_history.cc (what is fed), trajectory_calls.cc (tools).
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/chat.h"
#include "model/engine.h"
#include "runtime/mask_ahead.h"
#include "runtime/resident_set.h"
#include "runtime/tool_runner.h"
#include "runtime/trajectory.h"
#include "tools/message_parser.h"

namespace longhaul::runtime {

struct Trajectory::Impl final : ResidentSet::Tenant {
  explicit Impl(const TrajectoryParts& given) : p(given), engine(given.model.engine()) {}
  ~Impl() override {
    if (p.resident != nullptr) p.resident->leave(*this);
  }
  std::string tenant_name() const override { return p.session.name(); }
  Result<void> park() override { return let_go(); }

  TrajectoryParts p;
  model::Engine& engine;
  TrajectoryState s;
  Settings settings;
  std::unique_ptr<ToolRunner> tools;

  // The sequence as far as it was computed; behind the context by what was not needed yet.
  std::optional<model::SequenceState> sequence;
  std::vector<float> last_logits;  // after the sequence's position; empty if not computed
  std::vector<TokenId> last_rows;  // the tokens whose logits these are; empty: all
  std::vector<float> last_hidden;
  std::chrono::nanoseconds layers_took{0};  // of the last step over one token
  model::KvReport kv;                       // of the turn so far
  // A provisional step over the last sampled token and drafts after it, not consumed yet.
  struct Drafted {
    std::size_t base = 0;  // the sequence's position
    std::vector<TokenId> tokens;
    std::vector<TokenId> rows;  // as last_rows
    model::StepResult result;
  };
  std::optional<Drafted> drafted;

  const std::vector<TokenId>& context() const { return p.session.context().tokens(); }
  const model::Tokenizer& tokenizer() const { return p.model.tokenizer(); }
  std::vector<TokenId> tokens_of(const std::vector<model::ChatPiece>& pieces) const {
    return model::to_tokens(pieces, tokenizer());
  }
  bool slept_here = false;  // a timer was set by this process

  bool thinking() const { return settings.reasoning != Reasoning::kOff; }

  void emit(EventKind kind, json::object fields);
  void add_kv(const model::KvReport& step);
  json::object kv_fields() const;  // empty if there is nothing to say
  void emit_progress(std::size_t n_tokens);
  // Every record goes through here: journal first, then the fold.
  Result<void> record(const sessions::Record& record);
  Result<void> feed(const std::vector<TokenId>& ids) { return record(sessions::TokensFed{ids, {}}); }
  Result<void> reload_settings();

  // ---- The model: trajectory_sequence.cc ----

  // Takes the newest stored state; the tokens after it are fed when somebody asks for logits.
  Result<void> load_sequence();
  // Drafts that turned out right become part of the sequence, the others leave no trace.
  Result<void> settle_drafts();
  // Computes everything in the context. Returns false if it was interrupted in between.
  // `next`: the tokens whose logits are wanted, asked for when the layers are done; null: all, if any.
  Result<bool> catch_up(bool want_logits, NextTokens* next = nullptr);
  // Logits after the last token of the context, which `parser` has read; others than those of `next` may be
  // -infinity. Empty if interrupted.
  Result<std::span<const float>> next_logits(const tools::MessageParser& parser, NextTokens& next);
  // What to guess after the context's last token: text that the grammar forces, else the draft module's tokens as far
  // as the grammar takes them. Fills in `rows`.
  Result<Drafted> guess(const tools::MessageParser& parser, const tools::AllowedTokens& allowed);

  // After it was let go of.
  Result<void> ensure_sequence();
  // Tells the set what the state holds now; others make room. An error: this one alone is too large.
  Result<void> account();
  // Frees the model's state; what is worth keeping of it is stored first. It comes back when it is needed.
  Result<void> let_go();

  // ---- What is fed: trajectory_history.cc ----

  Result<void> feed_user();
  // The effort suffix rides on the last user message only: if the one before has it, that message is shown anew
  // without. Puts it before `kept` and returns how many tokens of the context it stands for.
  std::size_t effort_tokens(std::vector<TokenId>& kept) const;
  // The messages of the current exchange as the chat layout shows them once a new user message follows: without
  // reasoning. Tokens that the model wrote are kept as they were wherever the layout shows the same text.
  std::vector<TokenId> history_of_exchange() const;
  // What was fed after a message, without what ended the message itself.
  std::vector<TokenId> after_message(const MessageSpan& span) const;
  std::vector<TokenId> message_ending(bool cut_off) const;
  // What follows an assistant message in the context: its end, and the results of its calls.
  std::vector<TokenId> turn_end() const;

  // ---- What leaves: trajectory_compact.cc ----

  // If the context has grown to where the agent compacts: old results leave it. One write, so a killed process has done
  // all of it or nothing.
  Result<void> compact();

  // ---- Tools: trajectory_calls.cc ----

  // Nothing: all calls have results. Otherwise how the run ends here.
  Result<std::optional<RunEnd>> run_calls();
  class JournalOfCall;
  enum class Permission { kRun, kWait, kDenied };
  // Whether the next call, which has no intent yet, may be made; asks who can be asked.
  Result<Permission> permission(const CallState& call);
  std::string approval_reason(const CallState& call) const;
  sessions::CallIntent new_intent(const CallState& call) const;
  // The call with the answer that it was not made, in one write: an intent alone would look like a call under way.
  Result<void> record_denied(std::size_t index);
  // The session's record of a call that has an intent.
  const sessions::Call& call_of(std::uint64_t ordinal) const;
  // Waits for a sleeping call's time. False: somebody interrupted.
  Result<bool> wait_until(std::int64_t wake_ms);
  sessions::CallIntent open_intent(std::uint64_t ordinal) const;
  sessions::CallResult settled_result(const CallState& call) const;
  void emit_result(const CallState& call);
  void emit_in_doubt(const CallState& call);

  // ---- The loop: trajectory.cc ----

  Result<void> start_turn();
  // Samples the assistant message to its end. False: interrupted.
  Result<bool> generate();
  void show(const std::vector<tools::MessageEvent>& events);
  // False: interrupted before the state was there.
  Result<bool> commit_turn();
  Result<RunEnd> suspend(RunEnd end, const std::string& reason);
  Result<RunEnd> run();
};

// A text field of a record's JSON; empty if it is not there.
std::string text_field(const json::object& object, std::string_view key);

}  // namespace longhaul::runtime
