// Random histories against a model in memory. The model knows nothing of branches, edges or stores: a session is a list
// of steps, going back is a shorter list. After every history each session's list is replayed into a new session
// without a break, and must give the same tokens, draws and digest; every state loaded must be, after feeding, the
// state of those tokens from nothing.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <random>
#include <variant>

#include "sessions/session_manager.h"
#include "tests/support/sessions/fake_clock.h"
#include "tests/support/sessions/fake_model.h"
#include "tests/support/sessions/temp_folder.h"
#include "tests/support/setting.h"

namespace longhaul::sessions {
namespace {

using testing_support::setting;

struct Commit {
  std::uint64_t position;
};
struct Reset {
  std::uint64_t position;
};
using Step = std::variant<Record, Commit, Reset>;

const std::vector<TokenId>* ids_of(const Step& step) {
  const auto* record = std::get_if<Record>(&step);
  if (record == nullptr) return nullptr;
  if (const auto* fed = std::get_if<TokensFed>(record)) return &fed->ids;
  if (const auto* sampled = std::get_if<TokensSampled>(record)) return &sampled->ids;
  return nullptr;
}

// What the steps give, worked out plainly.
struct Outcome {
  std::vector<TokenId> tokens;
  std::vector<std::pair<std::size_t, std::size_t>> origin;  // of each token: step, place in it
  std::uint64_t n_draws = 0;
  std::uint64_t n_turns = 0;
  std::uint64_t seed = 7;
  std::vector<bool> call_open, call_doubt;
};

Outcome outcome_of(const std::vector<Step>& steps) {
  Outcome out;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (const auto* ids = ids_of(steps[i])) {
      for (std::size_t k = 0; k < ids->size(); ++k) out.origin.emplace_back(i, k);
      out.tokens.insert(out.tokens.end(), ids->begin(), ids->end());
      if (std::holds_alternative<TokensSampled>(std::get<Record>(steps[i]))) out.n_draws += ids->size();
    } else if (const auto* reset = std::get_if<Reset>(&steps[i])) {
      out.tokens.resize(reset->position);
      out.origin.resize(reset->position);
    } else if (std::holds_alternative<Commit>(steps[i])) {
      ++out.n_turns;
    } else if (const auto* record = std::get_if<Record>(&steps[i])) {
      if (const auto* seed = std::get_if<SeedChanged>(record)) out.seed = seed->seed;
      if (std::holds_alternative<CallIntent>(*record)) {
        out.call_open.push_back(true);
        out.call_doubt.push_back(false);
      }
      if (const auto* result = std::get_if<CallResult>(record)) {
        out.call_open[result->ordinal] = out.call_doubt[result->ordinal] = false;
      }
      if (const auto* doubt = std::get_if<InDoubt>(record)) out.call_doubt[doubt->ordinal] = true;
      if (const auto* settled = std::get_if<Settled>(record)) out.call_doubt[settled->ordinal] = false;
    }
  }
  return out;
}

std::vector<Step> cut_at_turn(const std::vector<Step>& steps, std::uint64_t turn) {
  std::vector<Step> out;
  for (const Step& step : steps) {
    if (turn == 0) break;
    out.push_back(step);
    if (std::holds_alternative<Commit>(step)) --turn;
  }
  return out;
}

std::vector<Step> cut_at_token(const std::vector<Step>& steps, std::uint64_t position) {
  if (position == 0) return {};
  const Outcome outcome = outcome_of(steps);
  const auto [step, place] = outcome.origin[position - 1];
  std::vector<Step> out(steps.begin(), steps.begin() + static_cast<std::ptrdiff_t>(step));
  if (place + 1 < ids_of(steps[step])->size()) {
    Record record = std::get<Record>(steps[step]);
    if (auto* fed = std::get_if<TokensFed>(&record)) fed->ids.resize(place + 1);
    if (auto* sampled = std::get_if<TokensSampled>(&record)) sampled->ids.resize(place + 1);
    out.emplace_back(std::move(record));
    return out;
  }
  // Whole: with the last turn that ended exactly here, before the next token that is still in the context.
  const std::size_t next = position < outcome.origin.size() ? outcome.origin[position].first : steps.size();
  std::size_t end = step + 1;
  for (std::size_t i = step + 1; i < next; ++i) {
    const auto* commit = std::get_if<Commit>(&steps[i]);
    if (commit != nullptr && commit->position == position) end = i + 1;
  }
  return {steps.begin(), steps.begin() + static_cast<std::ptrdiff_t>(end)};
}

class History {
 public:
  explicit History(std::uint64_t seed) : random_(seed) {}

  void run(int n_steps) {
    open();
    for (int i = 0; i < n_steps && !::testing::Test::HasFatalFailure(); ++i) step();
    if (::testing::Test::HasFatalFailure()) return;
    finish();
  }

 private:
  std::uint64_t below(std::uint64_t n) { return random_() % n; }

  void open() {
    StoreOptions options;
    options.clock = &clock_;
    options.ingest_bytes_min = below(2) == 0 ? 4000 : std::size_t{1} << 20;
    options.state_policy.tokens_min = 1 + below(200);
    // Pages of 2 KiB: one a value, a few, all; and a cache that holds next to nothing, little, or everything.
    options.page_object_bytes = std::size_t{1} << (10 + below(8));
    options.page_cache_bytes = below(3) == 0 ? std::size_t{1} << 20 : below(5000);
    auto manager = SessionManager::open(folder_ / "s", options);
    ASSERT_TRUE(manager.has_value()) << manager.error().message;
    manager_ = std::move(*manager);
  }

  void pick_session() {
    if (live_ != nullptr) return;
    if (model_.empty() || (model_.size() < 4 && below(10) == 0)) {
      name_ = "s" + std::to_string(n_names_++);
      auto session = manager_->create(name_, {identity_, test::small_layout(), 7, "{}"});
      ASSERT_TRUE(session.has_value()) << session.error().message;
      live_ = std::move(*session);
      model_[name_] = {};
      return;
    }
    auto it = model_.begin();
    std::advance(it, below(model_.size()));
    name_ = it->first;
    auto session = manager_->open_session(name_, identity_);
    ASSERT_TRUE(session.has_value()) << session.error().message;
    live_ = std::move(*session);
    check_live();
  }

  std::vector<Step>& steps() { return model_[name_]; }

  void append(Record record) {
    auto appended = live_->append(record);
    ASSERT_TRUE(appended.has_value()) << appended.error().message;
    steps().emplace_back(std::move(record));
  }

  std::vector<TokenId> some_ids(std::uint64_t n_max) {
    std::vector<TokenId> ids(1 + below(n_max));
    for (TokenId& id : ids) id = static_cast<TokenId>(below(50'000));
    return ids;
  }

  void step() {
    clock_.now_ms += static_cast<std::int64_t>(below(3000));
    ASSERT_NO_FATAL_FAILURE(pick_session());
    const Outcome now = outcome_of(steps());
    switch (below(18)) {
      case 0:
        append(UserMessage{"words " + std::to_string(below(100))});
        break;
      case 1:
      case 2:
        append(TokensFed{some_ids(below(3) == 0 ? 400 : 60), {}});
        break;
      case 3:
      case 4:
        append(TokensSampled{now.n_draws, some_ids(below(4) == 0 ? 150 : 3), {}});
        break;
      case 5:
        append(TurnStarted{now.n_turns + 1});
        break;
      case 6:
        call(now);
        break;
      case 7:
      case 8:
      case 9:
        commit();
        break;
      case 10: {
        const std::uint64_t position = below(now.tokens.size() + 1);
        auto report = live_->reset_context(position, "why not");
        ASSERT_TRUE(report.has_value()) << report.error().message;
        steps().emplace_back(Reset{position});
        break;
      }
      case 11:
        go_back(now);
        break;
      case 12:
        fork(now);
        break;
      case 13:
        live_.reset();
        if (below(2) == 0) {
          manager_.reset();
          open();
        }
        break;
      case 14:
        live_.reset();
        if (below(3) == 0) {
          auto removed = manager_->remove(name_);
          ASSERT_TRUE(removed.has_value()) << removed.error().message;
          model_.erase(name_);
        } else {
          auto report = manager_->gc();
          ASSERT_TRUE(report.has_value()) << report.error().message;
        }
        break;
      case 15:
        check_resume(below(3) == 0 ? below(now.tokens.size() + 1) : UINT64_MAX);
        break;
      case 16:
      case 17:
        carry_over(now);
        break;
    }
  }

  void call(const Outcome& now) {
    for (std::size_t i = 0; i < now.call_open.size(); ++i) {
      if (!now.call_open[i] || below(2) == 0) continue;
      if (now.call_doubt[i]) {
        if (below(2) == 0) return append(Settled{i, static_cast<Settlement>(below(3)), ""});
      } else if (below(2) == 0) {
        return append(InDoubt{i, "cut off"});
      }
      return append(CallResult{i, "ok", "text", below(2) == 0 ? "" : "{\"k\":" + std::to_string(below(9)) + "}", "[]"});
    }
    append(
        CallIntent{now.call_open.size(), "c", live_->idempotency_key(), "tool", "{}", static_cast<Effect>(below(3))});
  }

  void commit() {
    model::SequenceState state = test::state_after(test::small_layout(), live_->context().tokens());
    if (below(4) == 0) {
      const StateWish wish = below(2) == 0 ? StateWish::kAlways : StateWish::kByPolicy;
      auto saved = live_->save_state(state, below(2) == 0, wish);
      ASSERT_TRUE(saved.has_value()) << saved.error().message;
      ASSERT_TRUE(saved->state_stored || wish == StateWish::kByPolicy);
      return;  // no step: it changes nothing that can be seen
    }
    CommitRequest request;
    request.state = below(5) == 0 ? nullptr : &state;
    request.wish = static_cast<StateWish>(below(3));
    request.pin = below(4) == 0;
    if (below(2) == 0) request.records = {AssistantMessage{"{}"}, Answer{"yes"}};
    auto report = live_->commit(request);
    ASSERT_TRUE(report.has_value()) << report.error().message;
    if (request.state != nullptr && below(2) == 0) {
      const model::SequenceState before = state.clone();
      live_->share_pages(state);
      ASSERT_TRUE(state.same_as(before));
    }
    for (const Record& record : request.records) steps().emplace_back(record);
    steps().emplace_back(Commit{live_->context().tokens().size()});
  }

  Cut some_cut(const Outcome& now, std::vector<Step>& after) {
    switch (below(3)) {
      case 0:
        after = steps();
        return Cut::head();
      case 1: {
        const std::uint64_t turn = below(now.n_turns + 1);
        after = cut_at_turn(steps(), turn);
        return Cut::at_turn(turn);
      }
      default: {
        const std::uint64_t position = below(now.tokens.size() + 1);
        after = cut_at_token(steps(), position);
        return Cut::at_token(position);
      }
    }
  }

  void go_back(const Outcome& now) {
    std::vector<Step> after;
    const Cut cut = some_cut(now, after);
    std::optional<std::uint64_t> seed;
    if (below(4) == 0) after.emplace_back(Record(SeedChanged{*(seed = below(1000))}));
    auto report = live_->rewind(cut, seed);
    ASSERT_TRUE(report.has_value()) << report.error().message;
    steps() = std::move(after);
    check_live();
  }

  void fork(const Outcome& now) {
    if (model_.size() > 6) return;
    std::vector<Step> after;
    const Cut cut = some_cut(now, after);
    const std::string name = "f" + std::to_string(n_names_++);
    auto report = manager_->fork(name_, name, cut);
    ASSERT_TRUE(report.has_value()) << report.error().message;
    model_[name] = std::move(after);
  }

  // Out into a file and in again under another name; or what came after a turn, behind whoever holds the rest.
  void carry_over(const Outcome& now) {
    if (model_.size() > 6) return;
    const std::string file = folder_ / "carried", name = "i" + std::to_string(n_names_++);
    std::optional<std::uint64_t> since;
    if (now.n_turns > 0 && below(2) == 0) since = 1 + below(now.n_turns);
    auto written = manager_->export_session(name_, file, since);
    if (!written) {
      ASSERT_NE(written.error().message.find("nothing has come after"), std::string::npos) << written.error().message;
      return;
    }
    auto taken = manager_->import_session(file, name);
    ASSERT_TRUE(taken.has_value()) << taken.error().message;
    model_[name] = steps();
    live_.reset();
    auto session = manager_->open_session(name, identity_);
    ASSERT_TRUE(session.has_value()) << session.error().message;
    live_ = std::move(*session);
    name_ = name;
    check_live();
  }

  void check_live() {
    const Outcome expected = outcome_of(steps());
    const Context& context = live_->context();
    ASSERT_EQ(context.tokens(), expected.tokens) << name_;
    ASSERT_EQ(context.n_draws(), expected.n_draws) << name_;
    ASSERT_EQ(context.turns().size(), expected.n_turns) << name_;
    ASSERT_EQ(context.seed(), expected.seed) << name_;
    ASSERT_EQ(context.calls().size(), expected.call_open.size()) << name_;
  }

  void check_resume(std::uint64_t limit) {
    check_live();
    auto loaded = live_->load_state(limit);
    ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
    model::SequenceState state = loaded->state ? std::move(*loaded->state) : model::SequenceState(test::small_layout());
    ASSERT_EQ(static_cast<std::uint64_t>(state.position()), loaded->position);
    test::feed(state, loaded->tokens_to_feed);
    const auto& tokens = live_->context().tokens();
    const std::size_t end = std::min<std::uint64_t>(limit, tokens.size());
    ASSERT_TRUE(state.same_as(test::state_after(test::small_layout(), std::span(tokens).first(end)))) << name_;
  }

  void finish() {
    live_.reset();
    manager_.reset();
    open();
    if (below(2) == 0) {
      ASSERT_TRUE(manager_->gc().has_value());
    }
    auto report = manager_->verify();
    ASSERT_TRUE(report.has_value()) << report.error().message;
    for (const Problem& p : report->problems) ADD_FAILURE() << p.session << ": " << p.place << ": " << p.message;
    ASSERT_EQ(report->sessions, model_.size());
    for (const auto& [name, list] : std::map(model_)) {
      name_ = name;
      auto session = manager_->open_session(name, identity_);
      ASSERT_TRUE(session.has_value()) << session.error().message;
      live_ = std::move(*session);
      check_resume(UINT64_MAX);
      const Digest digest = live_->context().digest();
      const std::string notes = live_->context().notes_json();
      live_.reset();
      ASSERT_NO_FATAL_FAILURE(replay(list));
      EXPECT_EQ(live_->context().tokens(), outcome_of(list).tokens);
      EXPECT_EQ(live_->context().digest(), digest) << name;
      EXPECT_EQ(live_->context().notes_json(), notes) << name;
      live_.reset();
    }
  }

  // The same steps without a break, tokens cut into other records.
  void replay(const std::vector<Step>& list) {
    auto session = manager_->create("replay" + std::to_string(n_names_++), {identity_, test::small_layout(), 7, "{}"});
    ASSERT_TRUE(session.has_value()) << session.error().message;
    live_ = std::move(*session);
    for (const Step& step : list) {
      if (const auto* reset = std::get_if<Reset>(&step)) {
        ASSERT_TRUE(live_->reset_context(reset->position, "").has_value());
      } else if (std::holds_alternative<Commit>(step)) {
        ASSERT_TRUE(live_->commit({}).has_value());
      } else if (const auto* ids = ids_of(step)) {
        const bool sampled = std::holds_alternative<TokensSampled>(std::get<Record>(step));
        for (std::size_t at = 0; at < ids->size();) {
          const std::size_t n = std::min<std::size_t>(1 + below(100), ids->size() - at);
          const auto piece = std::span(*ids).subspan(at, n);
          auto done = sampled ? live_->sample_tokens(piece, live_->context().n_draws()) : live_->feed_tokens(piece);
          ASSERT_TRUE(done.has_value()) << done.error().message;
          at += n;
        }
      } else {
        auto appended = live_->append(std::get<Record>(step));
        ASSERT_TRUE(appended.has_value()) << appended.error().message;
      }
    }
  }

  std::mt19937_64 random_;
  test::TempFolder folder_;
  test::FakeClock clock_;
  SessionIdentity identity_{"model", "tag"};
  std::unique_ptr<SessionManager> manager_;
  std::unique_ptr<Session> live_;
  std::string name_;
  int n_names_ = 0;
  std::map<std::string, std::vector<Step>> model_;
};

TEST(HistoryProperty, MatchesAModelInMemory) {
  const std::uint64_t seed = setting("LONGHAUL_SEED", 1);
  const std::uint64_t runs = setting("LONGHAUL_RUNS", 150);
  for (std::uint64_t i = seed; i < seed + runs; ++i) {
    SCOPED_TRACE("LONGHAUL_SEED=" + std::to_string(i) + " LONGHAUL_RUNS=1");
    History(i).run(40);
    if (::testing::Test::HasFailure()) break;
  }
}

TEST(HistoryProperty, OnceFoundSomething) {
  History(4'009'343).run(40);  // a session brought in twice and rewound between had a state whose pages stayed behind
}

}  // namespace
}  // namespace longhaul::sessions
