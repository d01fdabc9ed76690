// An agent loop in small, written as the runtime's would be: it decides what to do next from the folded journal alone,
// so it goes on wherever it was cut off. Its tool appends a line to a witness file outside the store, which tells in
// the end how often each call really happened.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "sessions/session_manager.h"
#include "tests/support/sessions/fake_model.h"

namespace longhaul::sessions::test {

inline std::vector<std::string> witness_lines(const std::string& path) {
  std::vector<std::string> lines;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

inline void witness_append(const std::string& path, const std::string& line) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  const std::string text = line + "\n";
  if (::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) ::abort();
  ::close(fd);
}

struct MiniAgent {
  Session& session;
  std::string witness;
  Effect effect = Effect::kIdempotent;
  std::uint64_t n_turns = 6;

  enum class Outcome { kDone, kInDoubt };

  static std::uint64_t n_fed(std::uint64_t turn) { return 20 + turn * 37 % 90; }
  static std::uint64_t n_sampled(std::uint64_t turn) { return 5 + turn * 13 % 30; }
  static std::uint64_t n_calls(std::uint64_t turn) { return turn % 3; }

  // Runs to the end, or until a `once` call is in doubt.
  Result<Outcome> run() {
    auto loaded = session.load_state();
    if (!loaded) return loaded.error();
    model::SequenceState state = loaded->state ? std::move(*loaded->state) : model::SequenceState(session.layout());
    feed(state, loaded->tokens_to_feed);
    while (session.context().turns().size() < n_turns) {
      auto outcome = turn(state);
      if (!outcome) return outcome.error();
      if (*outcome == Outcome::kInDoubt) return outcome;
    }
    return Outcome::kDone;
  }

 private:
  // What the open turn has had so far.
  struct Progress {
    bool reset = false, user = false, started = false;
    std::uint64_t prompt = 0, sampled = 0, n_calls = 0, n_results_fed = 0;
  };

  Result<Progress> progress() {
    Progress p;
    const auto& turns = session.context().turns();
    const std::uint64_t since = turns.empty() ? 0 : turns.back().sequence;
    auto walked = session.for_each_record([&](const JournalEntry& entry) -> Result<void> {
      if (entry.sequence <= since) return {};
      if (std::holds_alternative<ContextReset>(entry.record)) p.reset = true;
      if (std::holds_alternative<UserMessage>(entry.record)) p.user = true;
      if (std::holds_alternative<TurnStarted>(entry.record)) p.started = true;
      if (std::holds_alternative<CallIntent>(entry.record)) ++p.n_calls;
      if (std::holds_alternative<TokensFed>(entry.record)) ++(p.prompt == 0 ? p.prompt : p.n_results_fed);
      if (const auto* s = std::get_if<TokensSampled>(&entry.record)) p.sampled += s->ids.size();
      return {};
    });
    if (!walked) return walked.error();
    return p;
  }

  Result<void> feed_both(model::SequenceState& state, std::uint64_t first, std::uint64_t n) {
    std::vector<TokenId> ids(n);
    for (std::uint64_t i = 0; i < n; ++i) ids[i] = static_cast<TokenId>((first + i) % 997);
    auto fed = session.feed_tokens(ids);
    if (!fed) return fed.error();
    feed(state, ids);
    return {};
  }

  Result<Outcome> turn(model::SequenceState& state) {
    const std::uint64_t turn = session.context().next_turn();
    auto p = progress();
    if (!p) return p.error();
    // Every third turn the last one's reasoning goes out of the context.
    if (turn % 3 == 0 && !p->reset) {
      const std::uint64_t position = session.context().turns()[turn - 3].position + 10;
      auto back = session.reset_context(position, "reasoning");
      if (!back) return back.error();
      auto loaded = session.load_state();
      if (!loaded) return loaded.error();
      state = loaded->state ? std::move(*loaded->state) : model::SequenceState(session.layout());
      feed(state, loaded->tokens_to_feed);
    }
    if (!p->user) {
      auto done = session.append(UserMessage{"message " + std::to_string(turn)});
      if (!done) return done.error();
    }
    if (!p->started) {
      auto done = session.append(TurnStarted{turn});
      if (!done) return done.error();
    }
    if (p->prompt == 0) {
      auto done = feed_both(state, turn * 100, n_fed(turn));
      if (!done) return done.error();
      auto saved = session.save_state(state, true);
      if (!saved) return saved.error();
    }
    for (std::uint64_t i = p->sampled; i < n_sampled(turn); ++i) {
      const std::uint64_t draw = session.context().n_draws();
      const TokenId id = draw_token(state, session.context().seed(), draw);
      auto done = session.sample_token(id, draw);
      if (!done) return done.error();
      feed(state, std::span(&id, 1));
    }
    for (std::uint64_t call = 0; call < n_calls(turn); ++call) {
      auto outcome = one_call(state, *p, call);
      if (!outcome) return outcome.error();
      if (*outcome == Outcome::kInDoubt) return outcome;
    }
    CommitRequest request;
    request.records = {AssistantMessage{"{\"turn\":" + std::to_string(turn) + "}"}};
    if (turn == n_turns) request.records.emplace_back(Answer{"done"});
    request.state = &state;
    auto committed = session.commit(request);
    if (!committed) return committed.error();
    return Outcome::kDone;
  }

  static std::uint64_t first_ordinal(std::uint64_t turn) {
    std::uint64_t n = 0;
    for (std::uint64_t t = 1; t < turn; ++t) n += n_calls(t);
    return n;
  }

  Result<Outcome> one_call(model::SequenceState& state, const Progress& p, std::uint64_t call) {
    const std::uint64_t ordinal = first_ordinal(session.context().next_turn()) + call;
    const auto& calls = session.context().calls();
    bool fresh = false, run = true;
    if (ordinal == calls.size()) {
      if (ordinal % 3 == 1) {
        auto asked = approve(ordinal);
        if (!asked) return asked.error();
      }
      auto intended = intend(ordinal, session.idempotency_key());
      if (!intended) return intended.error();
      fresh = true;
    }
    if (calls[ordinal].sleeping) {
      auto woken = intend(ordinal, calls[ordinal].intent.idempotency_key);
      if (!woken) return woken.error();
      fresh = true;
    }
    if (!calls[ordinal].result) {
      if (!fresh && effect == Effect::kOnce) {
        // Cut off between intent and result: nobody here can know whether it happened.
        if (!calls[ordinal].settled) {
          if (!calls[ordinal].in_doubt) {
            auto said = session.append(InDoubt{ordinal, "cut off"});
            if (!said) return said.error();
          }
          return Outcome::kInDoubt;
        }
        run = calls[ordinal].settled->how == Settlement::kRetry;
        if (run) {
          auto intended = intend(ordinal, calls[ordinal].intent.idempotency_key);
          if (!intended) return intended.error();
        }
      }
      if (run) {
        auto prepared = step_and_sleep(ordinal);
        if (!prepared) return prepared.error();
        run_tool(ordinal, calls[ordinal].intent.idempotency_key);
      }
      auto done =
          session.append(CallResult{ordinal, "ok", "line written", "", "[\"" + std::to_string(ordinal) + "\"]"});
      if (!done) return done.error();
    }
    if (p.n_results_fed <= call) {
      auto done = feed_both(state, 500 + ordinal, 11);
      if (!done) return done.error();
    }
    return Outcome::kDone;
  }

  // Every third call waits for somebody's word.
  Result<void> approve(std::uint64_t ordinal) {
    if (!session.context().approval()) {
      auto asked = session.append(
          ApprovalNeeded{ordinal, "call-" + std::to_string(ordinal), "append", "{}", "every third one does"});
      if (!asked) return asked.error();
    }
    if (!session.context().approval()->given) {
      auto given = session.append(ApprovalGiven{ordinal, Verdict::kApprove, ""});
      if (!given) return given.error();
    }
    return {};
  }

  // Every call makes a step, once; every third one sleeps after it, and runs again from its start.
  Result<void> step_and_sleep(std::uint64_t ordinal) {
    const Call& call = session.context().calls()[ordinal];
    const std::string value = "\"step of " + std::to_string(ordinal) + "\"";
    if (call.steps.empty()) {
      auto made = session.append(CallStep{ordinal, "s", value, ""});
      if (!made) return made.error();
    }
    if (call.steps.size() != 1 || call.steps[0].value_json != value) return internal_error("a step is not what it was");
    if (ordinal % 3 != 0 || !call.wake_ms.empty()) return {};
    auto slept = session.append(CallSleeping{ordinal, 0, 1});
    if (!slept) return slept.error();
    return intend(ordinal, call.intent.idempotency_key);
  }

  Result<void> intend(std::uint64_t ordinal, const std::string& key) {
    auto done = session.append(CallIntent{ordinal, "call-" + std::to_string(ordinal), key, "append", "{}", effect});
    if (!done) return done.error();
    return {};
  }

  void run_tool(std::uint64_t ordinal, const std::string& key) {
    const std::string line = std::to_string(ordinal) + " " + key;
    if (effect == Effect::kIdempotent) {
      for (const std::string& there : witness_lines(witness)) {
        if (there == line) return;
      }
    }
    witness_append(witness, line);
  }
};

}  // namespace longhaul::sessions::test
