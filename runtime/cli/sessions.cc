// sessions list, show, fork, rewind, diff, export, import, verify, settle, delete, gc.
#include "sessions/session_manager.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <filesystem>

#include "runtime/cli/support.h"
#include "runtime/deep_verify.h"

namespace longhaul::cli {
namespace {

using sessions::Cut;
using sessions::SessionManager;

using sessions::StoreAccess;

// These commands look at a store that is there; only run and chat make one.
Result<std::unique_ptr<SessionManager>> open_store(const CommonOptions& common,
                                                   StoreAccess access = StoreAccess::kWrite) {
  auto path = store_folder(common);
  if (!path) return path.error();
  sessions::StoreOptions options;
  options.create_if_missing = false;
  options.access = access;
  return SessionManager::open(*path, options);
}

json::object call_json(const sessions::Call& call) {
  auto arguments = parse_json(call.intent.arguments_json);
  json::object out{{"ordinal", call.intent.ordinal},
                   {"id", call.intent.call_id},
                   {"key", call.intent.idempotency_key},
                   {"name", call.intent.tool},
                   {"arguments", arguments ? *arguments : json::value(call.intent.arguments_json)},
                   {"effect", sessions::to_string(call.intent.effect)},
                   {"turn", call.turn},
                   {"in_doubt", call.in_doubt},
                   {"steps", call.steps.size()},
                   {"sleeps_until_ms", call.sleeping ? json::value(call.sleeps_until_ms) : json::value(nullptr)}};
  if (call.result) {
    out["result"] = json::object{{"kind", call.result->kind}, {"text", call.result->text}};
  } else {
    out["result"] = nullptr;
  }
  return out;
}

json::object approval_json(const sessions::Approval& approval) {
  auto arguments = parse_json(approval.needed.arguments_json);
  json::object out{{"id", approval.needed.call_id},
                   {"name", approval.needed.tool},
                   {"arguments", arguments ? *arguments : json::value(approval.needed.arguments_json)},
                   {"reason", approval.needed.reason}};
  if (approval.given) out["verdict"] = to_string(approval.given->verdict);
  return out;
}

// What a fork or a rewind left behind of calls that must not be repeated without a thought (C6).
void report_cut(const SessionsOptions& options, const std::string& name, const sessions::CutReport& report) {
  if (options.common.json) {
    json::array calls;
    for (const sessions::Call& call : report.once_calls) calls.push_back(call_json(call));
    json::array guarded;
    for (const sessions::OnceBehind& behind : report.once_behind) {
      auto arguments = parse_json(behind.arguments_json);
      guarded.push_back(json::object{{"id", behind.call_id},
                                     {"key", behind.idempotency_key},
                                     {"name", behind.tool},
                                     {"arguments", arguments ? *arguments : json::value(behind.arguments_json)},
                                     {"turn", behind.turn}});
    }
    print_json({{"session", name},
                {"turn", report.turn},
                {"position", report.position},
                {"once_calls_behind", std::move(calls)},
                {"repeating_needs_approval", std::move(guarded)}});
    return;
  }
  fmt::print("{}: after turn {}, {} tokens\n", name, report.turn, report.position);
  for (const sessions::Call& call : report.once_calls) {
    fmt::print("  behind it lies {}({}), declared `once`{}\n", call.intent.tool, printable(call.intent.arguments_json),
               call.result ? "" : ", whose result is unknown");
  }
  if (!report.once_behind.empty()) fmt::print("  to repeat it, or one of the same tool, will need approval\n");
}

Cut cut_of(const SessionsOptions& options) {
  if (options.at_turn) return Cut::at_turn(static_cast<std::uint64_t>(*options.at_turn));
  if (options.at_token) return Cut::at_token(static_cast<std::uint64_t>(*options.at_token));
  return Cut::head();
}

Result<void> check_cut(const SessionManager& manager, const SessionsOptions& options) {
  if ((options.at_turn && *options.at_turn < 0) || (options.at_token && *options.at_token < 0)) {
    return invalid_argument("a turn or token to go back to is not negative");
  }
  if (!options.at_token) return {};
  // A trajectory can be cut between any two tokens that the model wrote. What was fed (a message, results) stays whole:
  // half a message has no meaning to go on from.
  auto details = manager.show(options.name);
  if (!details) return details.error();
  const auto at = static_cast<std::uint64_t>(*options.at_token);
  for (const sessions::TokenRun& run : details->context.token_runs()) {
    if (at <= run.first || at >= run.first + run.n) continue;
    auto sampled = false;
    auto ok = manager.for_each_record(options.name, [&](const sessions::JournalEntry& entry) -> Result<void> {
      if (entry.branch == run.branch && entry.sequence == run.sequence) {
        sampled = std::holds_alternative<sessions::TokensSampled>(entry.record);
      }
      return {};
    });
    if (!ok) return ok.error();
    if (!sampled) {
      return invalid_argument(
          fmt::format("token {} of session {} lies inside a message that was fed whole; cut at {} or {}", at,
                      options.name, run.first, run.first + run.n));
    }
  }
  return {};
}

}  // namespace

int sessions_list(const SessionsOptions& options) {
  auto manager = open_store(options.common, StoreAccess::kLook);
  if (!manager) return fail(options.common, manager.error());
  auto list = (*manager)->list();
  if (!list) return fail(options.common, list.error());
  if (!options.common.json && list->empty()) fmt::print("no sessions in {}\n", (*manager)->path());
  if (!options.common.json && !list->empty()) {
    fmt::print("{:<32} {:<10} {:>6} {:>8} {:>6}  {:<19}  {}\n", "NAME", "STATUS", "TURNS", "TOKENS", "CALLS",
               "LAST (UTC)", "FROM");
  }
  for (const sessions::SessionSummary& session : *list) {
    const sessions::SessionEntry& e = session.entry;
    if (options.common.json) {
      print_json({{"session", session.name},
                  {"status", sessions::to_string(e.status)},
                  {"turns", e.n_turns},
                  {"tokens", e.n_tokens},
                  {"calls", e.n_calls},
                  {"created_ms", e.created_ms},
                  {"updated_ms", e.updated_ms},
                  {"origin", e.origin},
                  {"model", e.identity.model_fingerprint},
                  {"numerics", e.identity.numerics_tag}});
    } else {
      fmt::print("{:<32} {:<10} {:>6} {:>8} {:>6}  {:<19}  {}\n", session.name, sessions::to_string(e.status),
                 e.n_turns, e.n_tokens, e.n_calls, time_text(e.updated_ms), e.origin);
    }
  }
  return kExitDone;
}

int sessions_show(const SessionsOptions& options) {
  auto manager = open_store(options.common, StoreAccess::kLook);
  if (!manager) return fail(options.common, manager.error());
  auto details = (*manager)->show(options.name);
  if (!details) return fail(options.common, details.error());
  const sessions::Context& context = details->context;
  if (options.common.json) {
    json::array tokens, turns, calls;
    for (std::uint32_t token : context.tokens()) tokens.emplace_back(token);
    for (const sessions::Turn& turn : context.turns()) {
      turns.push_back(json::object{{"turn", turn.turn},
                                   {"position", turn.position},
                                   {"draws", turn.n_draws},
                                   {"digest", turn.digest.hex()},
                                   {"time_ms", turn.time_ms}});
    }
    for (const sessions::Call& call : context.calls()) calls.push_back(call_json(call));
    auto notes = parse_json(context.notes_json());
    print_json(
        {{"session", details->name},
         {"status", sessions::to_string(context.status())},
         {"status_text", context.status_text()},
         {"tokens", std::move(tokens)},
         {"turns", std::move(turns)},
         {"calls", std::move(calls)},
         {"approval", context.approval() ? json::value(approval_json(*context.approval())) : json::value(nullptr)},
         {"notes", notes ? *notes : json::value(nullptr)},
         {"seed", context.seed()},
         {"draws", context.n_draws()},
         {"digest", context.digest().hex()},
         {"bytes",
          json::object{
              {"journal", details->journal_bytes}, {"states", details->state_bytes}, {"pages", details->page_bytes}}},
         {"n_states", details->n_states},
         {"n_pages", details->n_pages},
         {"model", details->entry.identity.model_fingerprint},
         {"numerics", details->entry.identity.numerics_tag},
         {"origin", details->entry.origin},
         {"created_ms", details->entry.created_ms},
         {"updated_ms", details->entry.updated_ms}});
    return kExitDone;
  }
  fmt::print("session  {}\nstatus   {}\n", details->name, sessions::to_string(context.status()));
  if (!context.status_text().empty()) fmt::print("         {}\n", printable(cut(context.status_text(), 2000)));
  fmt::print("model    {}\nnumerics {}\nseed     {}\ncreated  {} UTC\nlast     {} UTC\n",
             details->entry.identity.model_fingerprint, details->entry.identity.numerics_tag, context.seed(),
             time_text(details->entry.created_ms), time_text(details->entry.updated_ms));
  if (!details->entry.origin.empty()) fmt::print("from     {}\n", details->entry.origin);
  fmt::print("tokens   {} in context, {} drawn\n", context.tokens().size(), context.n_draws());
  fmt::print("stored   {} journal, {} in {} states, {} in {} KV pages\n", human_bytes(details->journal_bytes),
             human_bytes(details->state_bytes), details->n_states, human_bytes(details->page_bytes), details->n_pages);
  const std::uint64_t stored = details->journal_bytes + details->state_bytes + details->page_bytes;
  if (context.n_draws() > 0) {
    fmt::print("         {} a drawn token\n", human_bytes(stored / context.n_draws()));
  }
  fmt::print("digest   {}\n", context.digest().hex());
  std::size_t next_call = 0;
  for (const sessions::Turn& turn : context.turns()) {
    fmt::print("turn {:>3}  to token {:>6}\n", turn.turn, turn.position);
    for (; next_call < context.calls().size() && context.calls()[next_call].turn <= turn.turn; ++next_call) {
      const sessions::Call& call = context.calls()[next_call];
      fmt::print("          {} {}({}) -> {}\n", call.intent.call_id, call.intent.tool,
                 printable(call.intent.arguments_json),
                 call.result ? printable(cut(call.result->text, 200)) : "(no result)");
    }
  }
  for (; next_call < context.calls().size(); ++next_call) {
    const sessions::Call& call = context.calls()[next_call];
    fmt::print("open      {} {}({}){}\n", call.intent.call_id, call.intent.tool, printable(call.intent.arguments_json),
               call.in_doubt   ? ", in doubt"
               : call.sleeping ? ", sleeping"
                               : "");
  }
  if (context.approval() && !context.approval()->given) {
    const sessions::ApprovalNeeded& needed = context.approval()->needed;
    fmt::print("waits     {} {}({}): {}\n", needed.call_id, needed.tool, printable(needed.arguments_json),
               printable(needed.reason));
  }
  return kExitDone;
}

int sessions_fork(const SessionsOptions& options) {
  auto manager = open_store(options.common);
  if (!manager) return fail(options.common, manager.error());
  if (auto ok = check_cut(**manager, options); !ok) return fail(options.common, ok.error());
  auto report = (*manager)->fork(options.name, options.other, cut_of(options), options.seed);
  if (!report) return fail(options.common, report.error());
  report_cut(options, options.other, *report);
  return kExitDone;
}

int sessions_rewind(const SessionsOptions& options) {
  if (!options.at_turn && !options.at_token) {
    return fail(options.common, invalid_argument("say where to: --to TURN or --to-token N")), kExitUsage;
  }
  auto manager = open_store(options.common);
  if (!manager) return fail(options.common, manager.error());
  if (auto ok = check_cut(**manager, options); !ok) return fail(options.common, ok.error());
  auto report = (*manager)->rewind(options.name, cut_of(options), options.seed);
  if (!report) return fail(options.common, report.error());
  report_cut(options, options.name, *report);
  return kExitDone;
}

int sessions_diff(const SessionsOptions& options) {
  auto manager = open_store(options.common, StoreAccess::kLook);
  if (!manager) return fail(options.common, manager.error());
  auto a = (*manager)->show(options.name);
  if (!a) return fail(options.common, a.error());
  auto b = (*manager)->show(options.other);
  if (!b) return fail(options.common, b.error());
  const auto& ta = a->context.tokens();
  const auto& tb = b->context.tokens();
  const auto parted = std::mismatch(ta.begin(), ta.end(), tb.begin(), tb.end()).first - ta.begin();
  std::uint64_t turn = 0;
  for (std::size_t i = 0; i < std::min(a->context.turns().size(), b->context.turns().size()); ++i) {
    if (a->context.turns()[i].digest != b->context.turns()[i].digest) break;
    turn = a->context.turns()[i].turn;
  }
  const bool equal = ta == tb && a->context.digest() == b->context.digest();
  auto after = [&](const sessions::SessionDetails& session) {
    json::array calls;
    for (const sessions::Call& call : session.context.calls()) {
      if (call.turn > turn) calls.push_back(call_json(call));
    }
    return json::object{{"session", session.name},
                        {"turns", session.context.turns().size() - turn},
                        {"tokens", session.context.tokens().size() - static_cast<std::size_t>(parted)},
                        {"calls", std::move(calls)},
                        {"status", sessions::to_string(session.context.status())},
                        {"text", session.context.status_text()}};
  };
  const json::object left = after(*a), right = after(*b);
  if (options.common.json) {
    print_json({{"equal", equal}, {"same_tokens", parted}, {"same_turns", turn}, {"a", left}, {"b", right}});
    return kExitDone;
  }
  if (equal) {
    fmt::print("{} and {} are equal: {} turns, {} tokens\n", options.name, options.other, turn, ta.size());
    return kExitDone;
  }
  fmt::print("the same for {} turns and {} tokens of context; then\n", turn, parted);
  for (const json::object* side : {&left, &right}) {
    fmt::print("{}: {} more turns, {}\n", std::string_view(side->at("session").get_string()),
               to_json(side->at("turns")), std::string_view(side->at("status").get_string()));
    for (const json::value& call : side->at("calls").get_array()) {
      const json::value& result = call.at("result");
      fmt::print("  {}({}) -> {}\n", std::string_view(call.at("name").get_string()),
                 printable(to_json(call.at("arguments"))),
                 result.is_null() ? "(no result)" : printable(cut(result.at("text").get_string(), 2000)));
    }
    if (!side->at("text").get_string().empty()) fmt::print("  {}\n", printable(side->at("text").get_string()));
  }
  return kExitDone;
}

int sessions_export(const SessionsOptions& options) {
  auto manager = open_store(options.common, StoreAccess::kLook);
  if (!manager) return fail(options.common, manager.error());
  Result<sessions::ExportReport> report = [&] {
    Progress progress("exporting " + options.name);
    return (*manager)->export_session(options.name, options.file, options.since, progress.callback());
  }();
  if (!report) return fail(options.common, report.error());
  if (options.common.json) {
    json::object out{{"session", options.name},    {"file", options.file},       {"bytes", report->bytes},
                     {"turns", report->n_turns},   {"tokens", report->n_tokens}, {"records", report->n_records},
                     {"states", report->n_states}, {"pages", report->n_pages}};
    out["since"] = options.since ? json::value(*options.since) : json::value(nullptr);
    print_json(out);
    return kExitDone;
  }
  fmt::print("{}: {} in {}: {} turns, {} tokens, {} records, {} states, {} KV pages{}\n", options.file,
             human_bytes(report->bytes), options.name, report->n_turns, report->n_tokens, report->n_records,
             report->n_states, report->n_pages,
             options.since ? fmt::format("; only what came after turn {}", *options.since) : "");
  return kExitDone;
}

int sessions_import(const SessionsOptions& options) {
  // The one of these commands that may make a store: a session can be the first thing on a new machine.
  auto path = store_folder(options.common);
  if (!path) return fail(options.common, path.error());
  auto manager = SessionManager::open(*path);
  if (!manager) return fail(options.common, manager.error());
  Result<sessions::ImportReport> report = [&] {
    Progress progress("importing " + options.file);
    return (*manager)->import_session(options.file, options.as, progress.callback());
  }();
  if (!report) return fail(options.common, report.error());
  if (options.common.json) {
    print_json({{"session", report->name},
                {"file", options.file},
                {"bytes", report->bytes},
                {"turns", report->n_turns},
                {"tokens", report->n_tokens},
                {"records", report->n_records},
                {"states", report->n_states},
                {"pages", report->n_pages},
                {"moved_on", report->moved_on},
                {"status", sessions::to_string(report->status)}});
    return kExitDone;
  }
  fmt::print("{}: {}, {} turns, {} tokens; go on with: longhaul resume {}\n", report->name,
             report->moved_on ? "moved on" : "imported", report->n_turns, report->n_tokens, report->name);
  return kExitDone;
}

namespace {

json::array problems_json(const std::vector<sessions::Problem>& problems) {
  json::array out;
  for (const auto& problem : problems) {
    out.push_back(json::object{{"session", problem.session}, {"place", problem.place}, {"message", problem.message}});
  }
  return out;
}

void print_problems(const char* what, const std::vector<sessions::Problem>& problems) {
  for (const auto& problem : problems) {
    fmt::print("{}: {}{}{}: {}\n", what, problem.session, problem.session.empty() ? "" : ", ", problem.place,
               problem.message);
  }
}

int print_repair(const SessionsOptions& options, const std::string& where, const sessions::RepairReport& report) {
  if (options.common.json) {
    json::array notes;
    for (const std::string& note : report.notes) notes.emplace_back(note);
    print_json({{"store", where},
                {"made", report.made},
                {"history_whole", report.history_whole},
                {"sessions", report.sessions},
                {"branches", report.branches},
                {"records", report.records},
                {"states", report.state_values},
                {"pages", report.page_values},
                {"lost", problems_json(report.lost)},
                {"notes", std::move(notes)}});
  } else {
    for (const std::string& note : report.notes) fmt::print("note: {}\n", note);
    print_problems("lost", report.lost);
    fmt::print("{}: {} sessions, {} records, {} state and {} page values carried over{}\n", where, report.sessions,
               report.records, report.state_values, report.page_values,
               report.lost.empty()    ? "; nothing is missing"
               : report.history_whole ? "; no record is missing, states and pages are made again from the tokens"
                                      : "; what is missing is listed above");
  }
  return report.history_whole ? kExitDone : kExitFailed;
}

int repair_copy(const SessionsOptions& options) {
  auto path = store_folder(options.common);
  if (!path) return fail(options.common, path.error());
  auto report = SessionManager::repair_copy(*path, options.repair_copy);
  if (!report) return fail(options.common, report.error());
  return print_repair(options, options.repair_copy, *report);
}

// The model as a session was run with it: of those in a KV mode, in that mode.
Result<void> load_model_of(const CommonOptions& common, const sessions::SessionEntry& entry,
                           std::unique_ptr<runtime::ModelHost>& model) {
  if (model != nullptr && model->numerics_tag() == entry.identity.numerics_tag) return {};
  const model::KvMode kv = model::kv_mode_of(entry.identity.numerics_tag);
  if (model != nullptr && model::kv_mode_of(model->numerics_tag()) == kv) return {};  // it differs in something else
  auto loaded = load_model(common, runtime::ModelUse::kTokens, false, kv);
  if (!loaded) return loaded.error();
  model = std::move(*loaded);
  return {};
}

// Drops what is damaged (the manager is closed for that) and runs the model over the tokens of whoever lost something.
Result<void> rebuild(const SessionsOptions& options, std::unique_ptr<SessionManager>& manager) {
  const std::string path = manager->path();
  manager.reset();
  auto report = SessionManager::drop_damaged(path);
  if (!report) return report.error();
  if (!report->made) {
    const sessions::Problem& first = report->lost.front();
    return corruption(
        fmt::format("records are missing, and those cannot be computed again; nothing was changed ({}{}{}: {}). "
                    "`verify --repair-copy DIR` puts what is whole into a new store",
                    first.session, first.session.empty() ? "" : ", ", first.place, first.message));
  }
  static_cast<void>(print_repair(options, path, *report));
  sessions::StoreOptions store_options;
  store_options.create_if_missing = false;
  auto opened = SessionManager::open(path, store_options);
  if (!opened) return opened.error();
  manager = std::move(*opened);
  auto list = manager->list();
  if (!list) return list.error();
  std::unique_ptr<runtime::ModelHost> model;
  for (const auto& session : *list) {
    if (!options.name.empty() && session.name != options.name) continue;
    if (auto loaded = load_model_of(options.common, session.entry, model); !loaded) return loaded.error();
    if (session.entry.identity.model_fingerprint != model->fingerprint() ||
        session.entry.identity.numerics_tag != model->numerics_tag()) {
      if (!options.common.json) {
        fmt::print("{}: belongs to model {} ({}); what it lost is made again when that one resumes it\n", session.name,
                   session.entry.identity.model_fingerprint, session.entry.identity.numerics_tag);
      }
      continue;
    }
    Progress progress("running the model over " + session.name, Progress::Unit::kTokens);
    auto fed = runtime::rebuild_state(*manager, session.name, *model, progress.callback());
    if (!fed) return fed.error();
    if (*fed == 0) continue;
    if (options.common.json) {
      print_json({{"session", session.name}, {"rebuilt_tokens", *fed}});
    } else {
      fmt::print("{}: rebuilt from {} tokens\n", session.name, *fed);
    }
  }
  return {};
}

}  // namespace

int sessions_verify(const SessionsOptions& options) {
  if (!options.repair_copy.empty()) {
    if (options.deep || options.rebuild || !options.name.empty()) {
      return fail(options.common, invalid_argument("--repair-copy is about the whole store and goes alone")),
             kExitUsage;
    }
    return repair_copy(options);
  }
  auto manager = open_store(options.common, options.rebuild ? StoreAccess::kWrite : StoreAccess::kLook);
  if (!manager) {
    Error error = manager.error();
    if (error.code == ErrorCode::kCorruption) {
      error.message += "; `verify --repair-copy DIR` puts what is whole into a new store";
    }
    return fail(options.common, error);
  }
  const auto name = options.name.empty() ? std::nullopt : std::optional(options.name);
  const auto look = [&] {
    Progress progress("reading the store", Progress::Unit::kBytes);
    return (*manager)->verify(name, progress.callback());
  };
  auto report = look();
  if (!report) return fail(options.common, report.error());
  if (options.rebuild && !report->problems.empty()) {
    if (!options.common.json) print_problems("damaged", report->problems);
    if (auto done = rebuild(options, *manager); !done) return fail(options.common, done.error());
    report = look();
    if (!report) return fail(options.common, report.error());
  }
  if (options.deep && report->problems.empty()) {
    auto list = (*manager)->list();
    if (!list) return fail(options.common, list.error());
    std::unique_ptr<runtime::ModelHost> model;
    for (const auto& session : *list) {
      if (!options.name.empty() && session.name != options.name) continue;
      if (auto ok = load_model_of(options.common, session.entry, model); !ok) return fail(options.common, ok.error());
      Progress progress("running the model over " + session.name, Progress::Unit::kTokens);
      auto problem = runtime::deep_verify(**manager, session.name, *model, progress.callback());
      if (!problem) return fail(options.common, problem.error());
      if (!problem->empty()) report->problems.push_back({session.name, "stored state", *problem});
    }
  }
  if (options.common.json) {
    json::array notes;
    for (const std::string& note : report->notes) notes.emplace_back(note);
    print_json({{"sessions", report->sessions},
                {"branches", report->branches},
                {"records", report->records},
                {"states", report->states},
                {"pages", report->pages},
                {"bytes", report->bytes},
                {"deep", options.deep},
                {"ok", report->problems.empty()},
                {"notes", std::move(notes)},
                {"problems", problems_json(report->problems)}});
  } else {
    fmt::print("{} sessions, {} branches, {} records, {} states, {} pages, {} read\n", report->sessions,
               report->branches, report->records, report->states, report->pages, human_bytes(report->bytes));
    print_problems("damaged", report->problems);
    for (const std::string& note : report->notes) fmt::print("note: {}\n", printable(note));
    fmt::print("{}\n", report->problems.empty() ? "everything is whole" : "not whole");
  }
  return report->problems.empty() ? kExitDone : kExitFailed;
}

namespace {

int settle_approval(const SessionsOptions& options) {
  auto manager = open_store(options.common);
  if (!manager) return fail(options.common, manager.error());
  const auto verdict = options.approve ? sessions::Verdict::kApprove : sessions::Verdict::kDeny;
  auto decided = (*manager)->decide(options.name, verdict, options.deny);
  if (!decided) return fail(options.common, decided.error());
  if (options.common.json) {
    print_json({{"session", options.name}, {"settled", to_string(verdict)}, {"call", approval_json(*decided)}});
  } else {
    fmt::print("{}: {}({}) {}; go on with: longhaul resume {}\n", options.name, decided->needed.tool,
               printable(decided->needed.arguments_json), options.approve ? "may be made" : "is denied", options.name);
  }
  return kExitDone;
}

}  // namespace

int sessions_settle(const SessionsOptions& options) {
  const int n_given =
      int(options.has_done) + int(options.skip) + int(options.retry) + int(options.approve) + int(options.has_deny);
  if (n_given != 1) {
    return fail(options.common,
                invalid_argument("say what became of the call, --done JSON, --skip or --retry, or whether it may be "
                                 "made, --approve or --deny [REASON]")),
           kExitUsage;
  }
  if (options.approve || options.has_deny) return settle_approval(options);
  sessions::Settlement how = options.has_done ? sessions::Settlement::kDone
                             : options.skip   ? sessions::Settlement::kSkip
                                              : sessions::Settlement::kRetry;
  if (options.has_done) {
    if (auto ok = parse_json(options.done); !ok) return fail(options.common, with_context("--done", ok.error()));
  }
  if (!options.notes.empty()) {
    if (auto ok = parse_json(options.notes); !ok) return fail(options.common, with_context("--notes", ok.error()));
  }
  auto manager = open_store(options.common);
  if (!manager) return fail(options.common, manager.error());
  auto call = (*manager)->settle(options.name, how, options.done, options.notes);
  if (!call) return fail(options.common, call.error());
  if (options.common.json) {
    print_json({{"session", options.name}, {"settled", sessions::to_string(how)}, {"call", call_json(*call)}});
  } else {
    fmt::print("{}: {}({}) is settled as {}; go on with: longhaul resume {}\n", options.name, call->intent.tool,
               printable(call->intent.arguments_json), sessions::to_string(how), options.name);
  }
  return kExitDone;
}

namespace {

// The folder for files that its settings name, as created and as changed since.
Result<std::string> files_of(const SessionManager& manager, const std::string& name) {
  json::object settings;
  auto read = manager.for_each_record(name, [&](const sessions::JournalEntry& entry) -> Result<void> {
    const auto* created = std::get_if<sessions::SessionCreated>(&entry.record);
    const auto* note = std::get_if<sessions::Note>(&entry.record);
    if (created == nullptr && note == nullptr) return {};
    auto parsed = parse_json(created != nullptr ? created->settings_json : note->json);
    if (!parsed || !parsed->is_object()) return {};
    const json::value* changed = note != nullptr ? parsed->get_object().if_contains("settings") : &*parsed;
    const json::value* files =
        changed == nullptr || !changed->is_object() ? nullptr : changed->get_object().if_contains("files");
    if (files != nullptr && files->is_object()) settings = files->get_object();
    return {};
  });
  if (!read) return read.error();
  const json::value* root = settings.if_contains("root");
  return root != nullptr && root->is_string() ? std::string(root->get_string()) : std::string();
}

// What becomes of the files of a session that has been deleted. Only a folder that was made for it, below the store, is
// removed, and only if no other session (a fork) works in it.
struct FilesLeft {
  std::string folder;  // empty: it had none of its own
  bool removed = false;
  std::string reason;  // why not
};

FilesLeft remove_files(const SessionManager& manager, const std::string& folder, bool keep) {
  namespace fs = std::filesystem;
  const fs::path own = fs::absolute(manager.path()).lexically_normal() / "files";
  std::error_code ec;
  if (folder.empty() || fs::path(folder).lexically_normal().parent_path() != own ||
      !fs::is_directory(fs::symlink_status(folder, ec))) {
    return {};
  }
  FilesLeft left{folder, false, ""};
  if (!fs::is_empty(folder, ec)) {
    if (keep) {
      left.reason = "as asked for";
      return left;
    }
    auto list = manager.list();
    if (!list) {
      left.reason = list.error().message;
      return left;
    }
    for (const auto& session : *list) {
      auto theirs = files_of(manager, session.name);
      if (theirs && *theirs != folder) continue;
      left.reason = theirs ? fmt::format("session {} works in it too", session.name) : theirs.error().message;
      return left;
    }
  }
  fs::remove_all(folder, ec);
  if (ec) left.reason = ec.message();
  left.removed = !ec;
  return left;
}

}  // namespace

int sessions_delete(const SessionsOptions& options) {
  auto manager = open_store(options.common, StoreAccess::kMakeRoom);
  if (!manager) return fail(options.common, manager.error());
  // A session whose journal cannot be read can be deleted too; its files stay then.
  auto folder = files_of(**manager, options.name);
  if (auto ok = (*manager)->remove(options.name); !ok) return fail(options.common, ok.error());
  FilesLeft files;
  if (folder) files = remove_files(**manager, *folder, options.keep_files);
  if (options.common.json) {
    json::object out{{"session", options.name}, {"deleted", true}};
    out["files"] = files.folder.empty() ? json::value(nullptr) : json::value(files.folder);
    out["files_removed"] = files.removed;
    print_json(out);
    return kExitDone;
  }
  fmt::print("{} is deleted; `longhaul sessions gc` frees what nobody else uses\n", options.name);
  if (!files.folder.empty() && !files.removed) {
    fmt::print("its files stay in {}: {}\n", printable(files.folder), printable(files.reason));
  }
  return kExitDone;
}

int sessions_gc(const SessionsOptions& options) {
  auto manager = open_store(options.common, StoreAccess::kMakeRoom);
  if (!manager) return fail(options.common, manager.error());
  auto report = [&] {
    Progress progress("looking through branches", Progress::Unit::kBranches);
    return (*manager)->gc(progress.callback());
  }();
  if (!report) return fail(options.common, report.error());
  if (options.common.json) {
    print_json({{"bytes_before", report->bytes_before},
                {"bytes_after", report->bytes_after},
                {"branches", report->branches},
                {"records", report->records},
                {"states", report->states},
                {"pages", report->pages}});
  } else {
    fmt::print("{} before, {} after; {} branches, {} records, {} states, {} pages freed\n",
               human_bytes(report->bytes_before), human_bytes(report->bytes_after), report->branches, report->records,
               report->states, report->pages);
  }
  return kExitDone;
}

}  // namespace longhaul::cli
