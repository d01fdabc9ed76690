// run, resume, chat: a trajectory driven in this process.
#include <fmt/format.h>
#include <poll.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <iostream>

#include "runtime/agent.h"
#include "runtime/cli/printer.h"
#include "runtime/cli/support.h"
#include "runtime/interrupt.h"
#include "runtime/status_board.h"
#include "runtime/tool_runner.h"
#include "runtime/trajectory.h"
#include "sessions/entries.h"
#include "sessions/session_manager.h"

namespace longhaul::cli {
namespace {

namespace fs = std::filesystem;

// A task is one user message; what does not fit the context is refused by the context limit, not here.
constexpr std::size_t kTaskBytesMax = std::size_t{64} << 20;

// Without a limit given, the context may grow until the memory for its KV is a quarter of the machine's.
std::int64_t default_context(const model::StateLayout& layout) {
  const std::uint64_t memory =
      static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGE_SIZE));
  const std::uint64_t a_token =
      std::max<std::uint64_t>(1, std::uint64_t{2} * layout.row_bytes() * layout.n_attention_layers);
  return static_cast<std::int64_t>(std::min<std::uint64_t>(memory / 4 / a_token, std::uint64_t{1} << 20));
}

Result<void> check_utf8(const std::string& text) {
  model::Utf8Stream stream;
  if (stream.push(text) + stream.flush() != text) return invalid_argument("the text is not valid UTF-8");
  return {};
}

std::uint64_t random_number() {
  std::uint64_t value = 0;
  if (::getrandom(&value, sizeof value, 0) != sizeof value) value = static_cast<std::uint64_t>(::getpid());
  return value;
}

// run-20261123-071500-3f9a: sorts by time, short enough to type.
std::string new_session_name() {
  const std::time_t now = static_cast<std::time_t>(system_clock().unix_ms() / 1000);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  return fmt::format("run-{:04}{:02}{:02}-{:02}{:02}{:02}-{:04x}", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min, utc.tm_sec, random_number() & 0xFFFF);
}

// Everything that a trajectory in this process stands on.
struct Bench {
  std::string store_path;
  std::unique_ptr<runtime::ModelHost> model;
  std::unique_ptr<sandbox::WorkerPool> pool;
  std::unique_ptr<sessions::SessionManager> manager;
  std::unique_ptr<runtime::ResidentSet> resident;
  std::unique_ptr<runtime::EventSink> printer;
  std::unique_ptr<runtime::StatusBoard> board;  // for `top`; reads the manager's list, so it goes first
  std::unique_ptr<runtime::EventSink> events;   // printer and board
};

// The mode that was asked for, else the one that the session has been run in (its numerics tag says it).
model::KvMode kv_mode(const TrajectoryOptions& options, const std::string& store, const std::string& session) {
  model::KvMode mode;
  if (options.kv_budget || options.kv_error) {
    mode.budget = options.kv_budget.value_or(0);
    mode.error = options.kv_error.value_or(0);
    return mode;
  }
  std::error_code ec;
  if (session.empty() || !fs::exists(fs::path(store) / "FORMAT", ec)) return mode;
  auto manager = sessions::SessionManager::open(store);
  if (!manager) return mode;  // it is opened again, and then the error is told
  auto entry = (*manager)->find(session);
  return entry ? model::kv_mode_of(entry->identity.numerics_tag) : mode;
}

// `session`: the one to go on with, or empty.
Result<Bench> open_bench(const CommonOptions& common, const TrajectoryOptions& trajectory, const std::string& session,
                         sandbox::Zygote& zygote) {
  Bench bench;
  auto store = store_folder(common);
  if (!store) return store.error();
  bench.store_path = *store;
  auto model =
      load_model(common, runtime::ModelUse::kChat, trajectory.speculate > 0, kv_mode(trajectory, *store, session));
  if (!model) return model.error();
  bench.model = std::move(*model);
  // Said before anything is made: a budget that holds no session at all.
  const std::size_t smallest = model::SequenceState(bench.model->engine().layout()).resident_bytes();
  sessions::StoreOptions store_options;
  const runtime::MemorySplit memory = runtime::split_memory(trajectory.memory, store_options.page_cache_bytes);
  if (trajectory.memory != 0 && memory.states < smallest) {
    return make_error(
        ErrorCode::kResourceExhausted,
        fmt::format("--memory {}: the state of one session of this model takes {} at least, and {} are "
                    "kept for pages of the context",
                    human_bytes(trajectory.memory), human_bytes(smallest), human_bytes(memory.page_cache)));
  }
  store_options.page_cache_bytes = memory.page_cache;
  bench.resident = std::make_unique<runtime::ResidentSet>(memory.states);
  auto pool = sandbox::WorkerPool::start(zygote);
  if (!pool) return pool.error();
  bench.pool = std::move(*pool);
  std::error_code ec;
  fs::create_directories(fs::path(*store).parent_path(), ec);
  auto manager = sessions::SessionManager::open(*store, store_options);
  if (!manager) return manager.error();
  bench.manager = std::move(*manager);
  bench.printer = common.json ? make_json_printer() : make_human_printer();
  bench.board = std::make_unique<runtime::StatusBoard>(
      *store, [manager = bench.manager.get()] { return stored_sessions(*manager); });
  bench.events = std::make_unique<runtime::BoardSink>(*bench.printer, *bench.board);
  return bench;
}

sessions::SessionIdentity identity_of(const runtime::ModelHost& model) {
  return {.model_fingerprint = model.fingerprint(), .numerics_tag = model.numerics_tag()};
}

// What the options change, as fields of Settings.
Result<json::object> changes(const TrajectoryOptions& options, const json::object& current) {
  json::object changed;
  auto part = [&](std::string_view name) {
    const json::value* value = current.if_contains(name);
    return value != nullptr && value->is_object() ? value->get_object() : json::object{};
  };
  if (options.temperature || options.top_p || options.top_k) {
    json::object sampling = part("sampling");
    if (options.temperature) sampling["temperature"] = *options.temperature;
    if (options.top_p) sampling["top_p"] = *options.top_p;
    if (options.top_k) sampling["top_k"] = *options.top_k;
    changed["sampling"] = std::move(sampling);
  }
  if (options.context || options.max_turns) {
    json::object limits = part("limits");
    if (options.context) limits["context"] = *options.context;
    if (options.max_turns) limits["turns"] = *options.max_turns;
    changed["limits"] = std::move(limits);
  }
  auto response = response_format_of(options.response);
  if (!response) return response.error();
  if (!response->empty() || options.response.free) changed["response_format"] = std::move(*response);
  if (!options.reasoning.empty()) {
    runtime::Settings probe;
    if (auto ok = runtime::parse_reasoning(options.reasoning, probe); !ok) return ok.error();
    changed["reasoning"] = options.reasoning;
  }
  if (!options.files.empty() || options.read_only_files) {
    json::object files = part("files");
    if (!options.files.empty()) {
      std::error_code ec;
      const fs::path root = fs::canonical(options.files, ec);
      if (ec || !fs::is_directory(root)) {
        return not_found(fmt::format("--files {}: no such folder", options.files));
      }
      files["root"] = root.string();
      files["write"] = !options.read_only_files;
    } else {
      files["write"] = false;
    }
    changed["files"] = std::move(files);
  }
  return changed;
}

int exit_status(runtime::RunEnd end) {
  switch (end) {
    case runtime::RunEnd::kAnswered:
      return kExitDone;
    case runtime::RunEnd::kLength:
    case runtime::RunEnd::kContextFull:
    case runtime::RunEnd::kTurnLimit:
    case runtime::RunEnd::kLoop:
    case runtime::RunEnd::kSleeping:
      return kExitFailed;
    case runtime::RunEnd::kInterrupted:
      return kExitInterrupted;
    case runtime::RunEnd::kInDoubt:
    case runtime::RunEnd::kNeedsApproval:
      return kExitInDoubt;
  }
  return kExitFailed;
}

void say_how_to_go_on(const CommonOptions& common, const std::string& session, runtime::RunEnd end) {
  const std::string option = common.store.empty() ? "" : fmt::format(" --store {}", common.store);
  switch (end) {
    case runtime::RunEnd::kAnswered:
    case runtime::RunEnd::kLength:
      fmt::print("go on with: longhaul resume{} {} \"...\"\n", option, session);
      break;
    case runtime::RunEnd::kInDoubt:
      fmt::print("settle it with: longhaul sessions settle{} {} --done JSON | --skip | --retry\n", option, session);
      break;
    case runtime::RunEnd::kNeedsApproval:
      fmt::print("decide with: longhaul sessions settle{} {} --approve | --deny [REASON]\n", option, session);
      fmt::print("then go on with: longhaul resume{} {}\n", option, session);
      break;
    case runtime::RunEnd::kContextFull:
      fmt::print("go on with more context: longhaul resume{} {} --context N\n", option, session);
      break;
    case runtime::RunEnd::kTurnLimit:
    case runtime::RunEnd::kLoop:
      fmt::print("finish it with: longhaul resume{} {} [MESSAGE]\n", option, session);
      break;
    case runtime::RunEnd::kSleeping:
      fmt::print("go on then, or wait for it with: longhaul resume{} {} --wait\n", option, session);
      break;
    default:
      fmt::print("finish it with: longhaul resume{} {}\n", option, session);
  }
}

int report_end(const CommonOptions& common, const std::string& store, const sessions::Session& session,
               runtime::RunEnd end, double seconds) {
  if (!common.json) {
    fmt::print("\nsession {}: {} turns, {} tokens, {:.1f} s; stored in {}\n", session.name(),
               session.context().turns().size(), session.context().tokens().size(), seconds, store);
    say_how_to_go_on(common, session.name(), end);
  }
  return exit_status(end);
}

class Stopwatch {
 public:
  double seconds() const { return static_cast<double>(system_clock().monotonic_ns() - start_) * 1e-9; }

 private:
  std::int64_t start_ = system_clock().monotonic_ns();
};

// Where sessions that were given no folder have their files.
fs::path own_files_of(const Bench& bench) {
  return fs::absolute(bench.store_path).lexically_normal() / "files";
}

// A session's own folder is made when it is missing; a folder that a person named is not.
Result<void> make_own_files(const Bench& bench, const std::string& root) {
  if (fs::path(root).parent_path() != own_files_of(bench)) return {};
  std::error_code ec;
  fs::create_directories(root, ec);
  if (ec) return io_error(fmt::format("cannot create {}: {}", root, ec.message()));
  return {};
}

// NAME, or NAME.2 and so on where a folder has files already: of a session of that name that was deleted, and whose
// files were kept or belong to a fork of it as well.
fs::path unused_folder(const fs::path& parent, const std::string& name) {
  std::error_code ec;
  fs::path folder = parent / name;
  for (int i = 2; fs::exists(folder, ec) && !fs::is_empty(folder, ec); ++i) {
    folder = parent / fmt::format("{}.{}", name, i);
  }
  return folder;
}

struct NewSession {
  std::string agent, name;
  std::optional<std::uint64_t> seed;
  std::optional<std::string> task;  // the first message, if it is known: a session that cannot take it is not made
};

Result<std::unique_ptr<sessions::Session>> create_session(Bench& bench, const NewSession& wanted,
                                                          const TrajectoryOptions& options) {
  auto settings = runtime::load_agent(*bench.pool, wanted.agent);
  if (!settings) return settings.error();
  const std::string name = wanted.name.empty() ? new_session_name() : wanted.name;
  // It becomes a folder's name before the store sees it.
  if (auto ok = sessions::check_session_name(name); !ok) return ok.error();
  auto changed = changes(options, runtime::to_json_object(*settings));
  if (!changed) return changed.error();
  json::object whole = runtime::to_json_object(*settings);
  for (const auto& change : *changed) whole[change.key()] = change.value();
  auto final_settings = runtime::settings_from_json(whole);
  if (!final_settings) return final_settings.error();
  if (final_settings->context == 0) final_settings->context = default_context(bench.model->engine().layout());
  // The tools must load before a session exists.
  auto tools = runtime::check_tools(*final_settings, *bench.model);
  if (!tools) return tools.error();
  if (wanted.task) {
    if (auto ok = runtime::check_first_message(*bench.model, *final_settings, *tools, *wanted.task); !ok) {
      return with_context(fmt::format("session {}", name), ok.error());
    }
  }
  const bool own_files = final_settings->files_root.empty();
  if (own_files) {
    final_settings->files_root = unused_folder(own_files_of(bench), name).string();
    // Before the session: one that is there can be gone on with.
    if (auto ok = make_own_files(bench, final_settings->files_root); !ok) return ok.error();
  }
  const std::uint64_t seed = wanted.seed.value_or(0);
  sessions::CreateRequest request;
  request.identity = identity_of(*bench.model);
  request.layout = bench.model->engine().layout();
  request.seed = seed;
  request.settings_json = to_json(runtime::to_json_object(*final_settings));
  auto session = bench.manager->create(name, request);
  if (!session) return session.error();
  return session;
}

// Opens a session for this model; with --replay a session of another model or numerics is taken over into this one.
Result<std::unique_ptr<sessions::Session>> open_session(Bench& bench, const std::string& name, bool replay) {
  auto session = bench.manager->open_session(name, identity_of(*bench.model));
  if (session || session.error().code != ErrorCode::kVersionMismatch || !replay) {
    if (!session && session.error().code == ErrorCode::kVersionMismatch) {
      Error error = session.error();
      error.message += "; --replay continues it by reading its tokens again";
      return error;
    }
    return session;
  }
  return bench.manager->adopt(name, identity_of(*bench.model), bench.model->engine().layout());
}

// Asks the person at the terminal. Nothing (the end of input, Ctrl-C) leaves the call waiting.
std::optional<runtime::ApprovalAnswer> ask_on_terminal(runtime::InterruptWatch& interrupt) {
  for (int tries = 0; tries < 3; ++tries) {
    fmt::print("allow it? y, n, or n and a reason: ");
    std::fflush(stdout);
    pollfd ready[2] = {{STDIN_FILENO, POLLIN, 0}, {interrupt.token().fd(), POLLIN, 0}};
    while (::poll(ready, 2, -1) < 0 && errno == EINTR) {
    }
    std::string line;
    if (ready[1].revents != 0 || !std::getline(std::cin, line)) break;
    if (line == "y" || line == "yes") return runtime::ApprovalAnswer{true, ""};
    if (line == "n" || line == "no") return runtime::ApprovalAnswer{false, ""};
    if (line.starts_with("n ") && check_utf8(line)) return runtime::ApprovalAnswer{false, line.substr(2)};
  }
  fmt::print("\n");
  return std::nullopt;
}

runtime::TrajectoryParts parts_of(Bench& bench, sandbox::Zygote& zygote, sessions::Session& session,
                                  runtime::InterruptWatch& interrupt, const TrajectoryOptions& options, bool json) {
  runtime::AskApproval ask;
  if (!json && ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1) {
    ask = [&interrupt](const runtime::Event&) { return ask_on_terminal(interrupt); };
  }
  bench.board->add(session.name(), std::string(to_string(session.context().status())), session.context().turns().size(),
                   session.context().tokens().size());
  return {.model = *bench.model,
          .zygote = zygote,
          .pool = *bench.pool,
          .session = session,
          .events = *bench.events,
          .clock = system_clock(),
          .interrupted = interrupt.flag(),
          .cancel = &interrupt.token(),
          .speculate = options.speculate,
          .resident = bench.resident.get(),
          .wait = options.wait ? runtime::TimerWait::kAll : runtime::TimerWait::kOwn,
          .ask_approval = std::move(ask)};
}

// What every event of a trajectory carries, also the one that says why there is none.
json::object event_place(const std::string& wanted, const sessions::Session* session) {
  if (session == nullptr) return {{"session", wanted}, {"position", 0}};
  return {{"session", session->name()}, {"position", session->context().tokens().size()}};
}

}  // namespace

int run_command(const RunOptions& options, sandbox::Zygote& zygote) {
  runtime::InterruptWatch interrupt;
  const sessions::Session* live = nullptr;
  auto failed = [&](const Error& error) { return fail(options.common, error, event_place(options.session, live)); };
  const Stopwatch watch;
  auto task = text_or_stdin(options.task, kTaskBytesMax);
  if (!task) return failed(task.error());
  if (auto ok = check_utf8(*task); !ok) return failed(with_context("task", ok.error()));
  auto bench = open_bench(options.common, options.trajectory, "", zygote);
  if (!bench) return failed(bench.error());
  auto session =
      create_session(*bench, {options.agent, options.session, options.trajectory.seed, *task}, options.trajectory);
  if (!session) return failed(session.error());
  live = session->get();
  auto trajectory = runtime::Trajectory::open(
      parts_of(*bench, zygote, **session, interrupt, options.trajectory, options.common.json));
  if (!trajectory) return failed(trajectory.error());
  interrupt.begin();
  if (!options.common.json) {
    fmt::print("session {}\ntask   {}\n\n", (*session)->name(), printable(cut(*task, 2000)));
    std::fflush(stdout);
  }
  if (auto ok = (*trajectory)->say(*task); !ok) return failed(ok.error());
  auto end = (*trajectory)->run();
  if (!end) return failed(end.error());
  return report_end(options.common, bench->store_path, **session, *end, watch.seconds());
}

int resume_command(const ResumeOptions& options, sandbox::Zygote& zygote) {
  runtime::InterruptWatch interrupt;
  const sessions::Session* live = nullptr;
  auto failed = [&](const Error& error) { return fail(options.common, error, event_place(options.session, live)); };
  const Stopwatch watch;
  std::optional<std::string> message;
  if (options.message) {
    auto text = text_or_stdin(*options.message, kTaskBytesMax);
    if (!text) return failed(text.error());
    if (auto ok = check_utf8(*text); !ok) return failed(with_context("message", ok.error()));
    message = std::move(*text);
  }
  auto bench = open_bench(options.common, options.trajectory, options.session, zygote);
  if (!bench) return failed(bench.error());
  auto session = open_session(*bench, options.session, options.trajectory.replay);
  if (!session) return failed(session.error());
  live = session->get();
  auto trajectory = runtime::Trajectory::open(
      parts_of(*bench, zygote, **session, interrupt, options.trajectory, options.common.json));
  if (!trajectory) return failed(trajectory.error());
  if (auto ok = make_own_files(*bench, (*trajectory)->settings().files_root); !ok) return failed(ok.error());
  interrupt.begin();
  auto changed = changes(options.trajectory, (*trajectory)->state().settings);
  if (!changed) return failed(changed.error());
  if (auto ok = (*trajectory)->change(*changed, options.trajectory.seed); !ok) return failed(ok.error());
  if (message) {
    if (auto ok = (*trajectory)->say(*message); !ok) return failed(ok.error());
    if (!options.common.json) fmt::print("session {}\n\n", (*session)->name());
  } else if ((*trajectory)->state().phase == runtime::Phase::kIdle) {
    if ((*session)->context().turns().empty()) {
      return fail(options.common,
                  invalid_argument(fmt::format("session {} has no message yet; give one: longhaul resume {} MESSAGE",
                                               options.session, options.session)));
    }
    if (!options.common.json) fmt::print("session {} is finished; give it a new message to go on\n", options.session);
  }
  auto end = (*trajectory)->run();
  if (!end) return failed(end.error());
  return report_end(options.common, bench->store_path, **session, *end, watch.seconds());
}

int chat_command(const RunOptions& options, sandbox::Zygote& zygote) {
  runtime::InterruptWatch interrupt;
  const sessions::Session* live = nullptr;
  auto failed = [&](const Error& error) { return fail(options.common, error, event_place(options.session, live)); };
  auto bench = open_bench(options.common, options.trajectory, options.session, zygote);
  if (!bench) return failed(bench.error());
  Result<std::unique_ptr<sessions::Session>> session =
      options.session.empty() ? Result<std::unique_ptr<sessions::Session>>(not_found(""))
                              : open_session(*bench, options.session, options.trajectory.replay);
  if (!session && session.error().code == ErrorCode::kNotFound) {
    session = create_session(*bench, {options.agent, options.session, options.trajectory.seed, {}}, options.trajectory);
  }
  if (!session) return failed(session.error());
  live = session->get();
  auto trajectory = runtime::Trajectory::open(
      parts_of(*bench, zygote, **session, interrupt, options.trajectory, options.common.json));
  if (!trajectory) return failed(trajectory.error());
  if (auto ok = make_own_files(*bench, (*trajectory)->settings().files_root); !ok) return failed(ok.error());
  interrupt.begin();
  const bool terminal = ::isatty(STDIN_FILENO) == 1;
  if (!options.common.json) {
    fmt::print("session {}; /help lists the commands, Ctrl-D ends\n", (*session)->name());
  }
  int status = kExitDone;
  auto drive = [&]() -> bool {
    auto end = (*trajectory)->run();
    if (!end) {
      status = failed(end.error());
      return false;
    }
    status = exit_status(*end);
    if (*end == runtime::RunEnd::kAnswered || *end == runtime::RunEnd::kLength) return true;
    if (!options.common.json) say_how_to_go_on(options.common, (*session)->name(), *end);
    return false;
  };
  // What an earlier run left unfinished comes first.
  if ((*trajectory)->state().phase != runtime::Phase::kIdle && !drive()) return status;
  std::string line;
  while (true) {
    if (terminal && !options.common.json) {
      fmt::print("\n> ");
      std::fflush(stdout);
    }
    if (terminal) {
      pollfd ready[2] = {{STDIN_FILENO, POLLIN, 0}, {interrupt.token().fd(), POLLIN, 0}};
      while (::poll(ready, 2, -1) < 0 && errno == EINTR) {
      }
      if (ready[1].revents != 0) {
        fmt::print("\n");
        say_how_to_go_on(options.common, (*session)->name(), runtime::RunEnd::kAnswered);
        return kExitInterrupted;
      }
    }
    if (!std::getline(std::cin, line)) break;
    if (line.empty()) continue;
    if (line == "/quit" || line == "/exit") break;
    if (line.front() == '/' && options.common.json) {
      failed(invalid_argument(fmt::format("{}: with --json, commands have no answer", cut(line, 100))));
      continue;
    }
    if (line == "/help") {
      fmt::print("/status  tokens, turns and where the session is stored\n/quit    leave; the session stays\n");
      continue;
    }
    if (line == "/status") {
      fmt::print("session {}: {} turns, {} tokens; stored in {}\n", (*session)->name(),
                 (*session)->context().turns().size(), (*session)->context().tokens().size(), bench->store_path);
      continue;
    }
    if (line.front() == '/') {
      fmt::print("unknown command {}; /help lists them\n", printable(line));
      continue;
    }
    if (auto ok = check_utf8(line); !ok) {
      failed(ok.error());
      continue;
    }
    if (auto ok = (*trajectory)->say(line); !ok) return failed(ok.error());
    if (!drive()) return status;
  }
  return kExitDone;
}

}  // namespace longhaul::cli
