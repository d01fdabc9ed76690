#include "sandbox/worker_pool.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "sandbox/drive.h"
#include "sandbox/worker_main.h"

namespace longhaul::sandbox {
namespace {

// On top of a call's memory limit: frames, JSON values, and what malloc keeps.
constexpr std::int64_t kAddressSpaceSlack = 96 << 20;
constexpr std::int64_t kHelloMs = 10'000;
constexpr std::size_t kLoadedMax = 256;

using Kind = CallOutcome::Kind;

CallOutcome outcome_of(Kind kind, std::string text) {
  CallOutcome outcome;
  outcome.kind = kind;
  outcome.text = std::move(text);
  return outcome;
}

std::string basename_of(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

std::string key_of(const PluginSource& source) {
  return source.path + '\0' + source.text;
}

Result<void> check_source(const PluginSource& source) {
  if (source.text.size() > kSourceBytesMax) {
    return make_error(ErrorCode::kResourceExhausted, fmt::format("{}: {} bytes of source, at most {}", source.path,
                                                                 source.text.size(), kSourceBytesMax));
  }
  if (!is_utf8(source.text)) return invalid_argument(fmt::format("{}: not UTF-8 text", source.path));
  if (!is_utf8(source.path) || source.path.size() > 4'096) return invalid_argument("plugin path: not short UTF-8 text");
  return {};
}

Access least(Access a, Access b) {
  return std::min(a, b);
}

Error error_of(const CallOutcome& outcome, const std::string& path) {
  const auto named = [&](ErrorCode code) { return make_error(code, fmt::format("{}: {}", path, outcome.text)); };
  switch (outcome.kind) {
    case Kind::kToolError:
      return named(ErrorCode::kInvalidArgument);
    case Kind::kLimit:
      return named(ErrorCode::kResourceExhausted);
    case Kind::kTimeout:
      return named(ErrorCode::kDeadlineExceeded);
    case Kind::kCancelled:
      return named(ErrorCode::kCancelled);
    case Kind::kUnavailable:
      return named(ErrorCode::kIo);
    default:
      return named(ErrorCode::kToolFailed);
  }
}

bool is_dead(const Spawned& process) {
  pollfd dead{process.pidfd.get(), POLLIN, 0};
  return ::poll(&dead, 1, 0) != 0;
}

}  // namespace

struct WorkerPool::Loaded {
  std::string table_json;
  json::value table;
  bool has_run = false;
  Grants grants;
};

struct WorkerPool::Worker {
  Spawned process;
  std::unique_ptr<Channel> channel;
  std::string key;
  std::shared_ptr<const Loaded> loaded;
  int n_calls = 0;
};

std::string_view to_string(CallOutcome::Kind kind) {
  switch (kind) {
    case Kind::kOk:
      return "ok";
    case Kind::kToolError:
      return "tool_error";
    case Kind::kLimit:
      return "limit";
    case Kind::kTimeout:
      return "timeout";
    case Kind::kWorkerDied:
      return "worker_died";
    case Kind::kCancelled:
      return "cancelled";
    case Kind::kProtocol:
      return "protocol";
    case Kind::kUnavailable:
      return "unavailable";
    case Kind::kSleeping:
      return "sleeping";
  }
  return "unknown";
}

WorkerPool::WorkerPool(Zygote& zygote, const PoolOptions& options) : zygote_(zygote), options_(options) {}

Result<std::unique_ptr<WorkerPool>> WorkerPool::start(Zygote& zygote, const PoolOptions& options) {
  if (options.n_workers_max < 1 || options.n_idle_max < 0 || options.calls_per_worker < 1) {
    return invalid_argument(fmt::format("pool: {} workers, {} idle, {} calls a worker", options.n_workers_max,
                                        options.n_idle_max, options.calls_per_worker));
  }
  std::unique_ptr<WorkerPool> pool(new WorkerPool(zygote, options));
  {
    std::lock_guard lock(pool->mutex_);
    ++pool->n_alive_;
  }
  auto first = pool->start_worker({"", ""});
  if (!first) return first.error();
  if (auto ended = pool->end(std::move(*first)); !ended) return ended.error();
  return pool;
}

WorkerPool::~WorkerPool() {
  for (auto& worker : idle_) {
    [[maybe_unused]] const auto status = zygote_.finish(worker->process);
  }
}

std::vector<WorkerInfo> WorkerPool::workers() const {
  std::lock_guard lock(mutex_);
  return infos_;
}

// The caller has counted it in n_alive_; on failure that is undone here.
Result<std::unique_ptr<WorkerPool::Worker>> WorkerPool::start_worker(const PluginSource& source) {
  const auto undo = [&] {
    std::lock_guard lock(mutex_);
    --n_alive_;
    changed_.notify_one();
  };
  auto spawned = zygote_.spawn_worker(options_.memory_bytes_max + kAddressSpaceSlack);
  if (!spawned) {
    undo();
    return spawned.error();
  }
  auto worker = std::make_unique<Worker>();
  worker->process = std::move(*spawned);
  worker->channel = std::make_unique<Channel>(worker->process.socket.get());
  worker->key = key_of(source);
  {
    std::lock_guard lock(mutex_);
    infos_.push_back({source.path, worker->process.pid, true});
  }
  auto frame = worker->channel->receive(Deadline::in_ms(kHelloMs), nullptr);
  Result<WorkerMessage> message = frame ? decode_worker_frame(*frame) : Result<WorkerMessage>(frame.error());
  if (!message || !std::holds_alternative<WireHello>(*message)) {
    const std::string why = message ? "its first message is no hello" : message.error().message;
    auto status = end(std::move(worker));
    return io_error(fmt::format("a new worker failed: {} ({})", why, status ? status->text() : status.error().message));
  }
  LayerReport report = std::move(std::get<WireHello>(*message).layers);
  const bool allowed = report.plugins_allowed;
  const std::string reason = report.reason;
  {
    std::lock_guard lock(mutex_);
    if (layers_.layers.empty()) layers_ = std::move(report);
  }
  if (!allowed) {
    [[maybe_unused]] auto status = end(std::move(worker));
    return unsupported(fmt::format("plugins are off: {}", reason));
  }
  return worker;
}

Result<ExitStatus> WorkerPool::end(std::unique_ptr<Worker> worker) {
  auto status = zygote_.finish(worker->process);
  std::lock_guard lock(mutex_);
  std::erase_if(infos_, [&](const WorkerInfo& info) { return info.pid == worker->process.pid; });
  --n_alive_;
  changed_.notify_one();
  return status;
}

void WorkerPool::end_after_failure(std::unique_ptr<Worker> worker, CallOutcome& outcome) {
  // Its own end counts only if it died by itself; else the signal is the one sent here.
  const bool by_itself = outcome.kind == Kind::kWorkerDied;
  auto status = end(std::move(worker));
  if (!by_itself) return;
  if (!status) {
    outcome.text = fmt::format("the worker died ({})", status.error().message);
  } else if (!status->signalled && status->value == kExitCpuLimit) {
    outcome.kind = Kind::kLimit;
    outcome.limit = LimitKind::kCpu;
    outcome.text = "CPU limit reached inside one instruction";
  } else {
    outcome.signal = status->signalled ? status->value : 0;
    outcome.text = fmt::format("the worker died: {}", status->text());
  }
}

void WorkerPool::give_back(std::unique_ptr<Worker> worker) {
  if (++worker->n_calls >= options_.calls_per_worker || options_.n_idle_max == 0) {
    [[maybe_unused]] auto status = end(std::move(worker));
    return;
  }
  std::unique_ptr<Worker> surplus;
  {
    std::lock_guard lock(mutex_);
    for (WorkerInfo& info : infos_) {
      if (info.pid == worker->process.pid) info.busy = false;
    }
    idle_.push_back(std::move(worker));
    if (idle_.size() > static_cast<std::size_t>(options_.n_idle_max)) {
      surplus = std::move(idle_.front());
      idle_.erase(idle_.begin());
    }
    changed_.notify_one();
  }
  if (surplus) {
    [[maybe_unused]] auto status = end(std::move(surplus));
  }
}

bool WorkerPool::load(Worker& worker, const PluginSource& source, const Limits& limits, Deadline deadline,
                      CancelToken* cancel, CallOutcome& outcome) {
  Limits load_limits = limits;
  // A table of declarations has nothing to do with how long a call's result may be.
  load_limits.output_bytes = std::max<std::int64_t>(load_limits.output_bytes, kSourceBytesMax);
  Drive drive(*worker.channel, load_limits, deadline, cancel);
  outcome =
      drive.run(FrameKind::kLoad, encode(LoadRequest{basename_of(source.path), source.text, load_limits}), {}, nullptr);
  if (outcome.kind != Kind::kOk) return false;
  const auto malformed = [&](std::string text) {
    outcome = outcome_of(Kind::kProtocol, std::move(text));
    return false;
  };
  auto value = parse_json(outcome.text);
  if (!value || !value->is_object()) return malformed("the loaded table is no JSON object");
  const json::value* table = value->get_object().if_contains("table");
  const json::value* has_run = value->get_object().if_contains("has_run");
  if (table == nullptr || !table->is_object() || has_run == nullptr || !has_run->is_bool()) {
    if (table != nullptr && table->is_array()) {
      outcome = outcome_of(Kind::kToolError, "the file returns a list, expected a table with names");
      return false;
    }
    return malformed("the loaded table lacks a field");
  }
  auto loaded = std::make_shared<Loaded>();
  loaded->table_json = to_json(*table);
  loaded->table = *table;
  loaded->has_run = has_run->get_bool();
  if (const json::value* powers = table->get_object().if_contains("powers"); powers != nullptr && loaded->has_run) {
    auto grants = parse_grants(*powers);
    if (!grants) {
      outcome = outcome_of(Kind::kToolError, grants.error().message);
      return false;
    }
    loaded->grants = *grants;
  }
  std::lock_guard lock(mutex_);
  if (loaded_.size() >= kLoadedMax) loaded_.clear();
  const auto [at, is_new] = loaded_.emplace(worker.key, loaded);
  if (!is_new && at->second->table_json != loaded->table_json) {
    outcome = outcome_of(Kind::kProtocol, "the plugin's table differs from the one it showed before");
    return false;
  }
  worker.loaded = at->second;
  return true;
}

std::unique_ptr<WorkerPool::Worker> WorkerPool::take(const PluginSource& source, const Limits& load_limits,
                                                     Deadline deadline, CancelToken* cancel, CallOutcome& outcome) {
  const std::string key = key_of(source);
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto same = std::find_if(idle_.rbegin(), idle_.rend(), [&](const auto& idle) { return idle->key == key; });
    std::unique_ptr<Worker> worker;
    if (same != idle_.rend()) {
      worker = std::move(*same);
      idle_.erase(std::next(same).base());
      if (!is_dead(worker->process)) {
        for (WorkerInfo& info : infos_) {
          if (info.pid == worker->process.pid) info.busy = true;
        }
        return worker;
      }
    } else if (n_alive_ < options_.n_workers_max) {
      ++n_alive_;
      lock.unlock();
      auto started = start_worker(source);
      if (!started) {
        outcome = outcome_of(Kind::kUnavailable, started.error().message);
        return nullptr;
      }
      if (load(**started, source, load_limits, deadline, cancel, outcome)) return std::move(*started);
      end_after_failure(std::move(*started), outcome);
      return nullptr;
    } else if (!idle_.empty()) {
      worker = std::move(idle_.front());
      idle_.erase(idle_.begin());
    }
    if (worker) {
      lock.unlock();
      [[maybe_unused]] auto status = end(std::move(worker));
      lock.lock();
      continue;
    }
    // All are busy. The slices are for the cancel token, which is no condition variable.
    const int left = deadline.left_ms();
    if (left == 0) {
      outcome = outcome_of(Kind::kUnavailable, fmt::format("all {} workers are busy", options_.n_workers_max));
      return nullptr;
    }
    if (cancel != nullptr && cancel->cancelled()) {
      outcome = outcome_of(Kind::kCancelled, "cancelled");
      return nullptr;
    }
    changed_.wait_for(lock, std::chrono::milliseconds(std::min(left, 50)));
  }
}

CallOutcome WorkerPool::call(const PluginSource& source, const CallRequest& request, HostPowers& powers,
                             CancelToken* cancel) {
  if (auto fine = check_source(source); !fine) return outcome_of(Kind::kToolError, fine.error().message);
  if (auto fine = check_limits(request.limits); !fine) return outcome_of(Kind::kToolError, fine.error().message);
  if (request.limits.memory_bytes > options_.memory_bytes_max) {
    return outcome_of(Kind::kToolError, fmt::format("limit memory_bytes is {}, the pool allows {}",
                                                    request.limits.memory_bytes, options_.memory_bytes_max));
  }
  if (request.call_id.size() > 4'096 || request.idempotency_key.size() > 4'096 || !is_utf8(request.call_id) ||
      !is_utf8(request.idempotency_key)) {
    return outcome_of(Kind::kToolError, "call id and key are short UTF-8 texts");
  }
  JsonLimits json_limits;
  json_limits.bytes_max = kArgumentsBytesMax;
  json_limits.depth_max = kJsonDepthMax;
  auto args = parse_json(request.arguments_json, json_limits);
  if (!args) return outcome_of(Kind::kToolError, fmt::format("arguments: {}", args.error().message));
  if (!args->is_object()) return outcome_of(Kind::kToolError, "arguments: not a JSON object");

  const Deadline deadline = Deadline::in_ms(request.limits.wall_ms);
  CallOutcome outcome;
  std::unique_ptr<Worker> worker = take(source, request.limits, deadline, cancel, outcome);
  if (!worker) return outcome;
  Grants grants = worker->loaded->grants;
  if (request.grants) {
    grants.clock = least(grants.clock, request.grants->clock);
    grants.notes = least(grants.notes, request.grants->notes);
    grants.files = least(grants.files, request.grants->files);
    grants.timer = least(grants.timer, request.grants->timer);
  }
  const std::string payload =
      encode(WireCall{request.call_id, request.idempotency_key, request.seed, std::move(*args), request.limits});
  Drive drive(*worker->channel, request.limits, deadline, cancel);
  outcome = drive.run(FrameKind::kCall, payload, grants, &powers);
  if (outcome.ended()) {
    give_back(std::move(worker));
  } else {
    end_after_failure(std::move(worker), outcome);
  }
  return outcome;
}

Result<std::shared_ptr<const WorkerPool::Loaded>> WorkerPool::load_table(const PluginSource& source,
                                                                         const Limits& limits) {
  if (auto fine = check_source(source); !fine) return fine.error();
  if (auto fine = check_limits(limits); !fine) return fine.error();
  CallOutcome outcome;
  std::unique_ptr<Worker> worker = take(source, limits, Deadline::in_ms(limits.wall_ms), nullptr, outcome);
  if (!worker) return error_of(outcome, source.path);
  std::shared_ptr<const Loaded> loaded = worker->loaded;
  give_back(std::move(worker));
  return loaded;
}

Result<std::string> WorkerPool::read_table(const PluginSource& source, const Limits& limits) {
  auto loaded = load_table(source, limits);
  if (!loaded) return loaded.error();
  return (*loaded)->table_json;
}

Result<std::string> WorkerPool::describe(const PluginSource& source, const Limits& limits) {
  auto loaded = load_table(source, limits);
  if (!loaded) return loaded.error();
  const json::object& table = (*loaded)->table.get_object();
  const auto bad = [&](std::string text) { return invalid_argument(fmt::format("{}: {}", source.path, text)); };
  const auto text_of = [&](const char* name) -> std::string_view {
    const json::value* field = table.if_contains(name);
    if (field == nullptr || !field->is_string()) return {};
    return {field->get_string().data(), field->get_string().size()};
  };
  if (!(*loaded)->has_run) return bad("the table has no function run");
  for (const char* name : {"name", "description", "effect"}) {
    if (text_of(name).empty()) return bad(fmt::format("{} is missing, or no text", name));
  }
  const std::string_view effect = text_of("effect");
  if (effect != "read" && effect != "idempotent" && effect != "once") {
    return bad(fmt::format("effect is \"{}\", expected \"read\", \"idempotent\" or \"once\"", effect));
  }
  const json::value* parameters = table.if_contains("parameters");
  if (parameters == nullptr) return bad("parameters is missing");
  json::value schema = *parameters;
  if (schema.is_string()) {
    const auto& text = schema.get_string();
    auto parsed = parse_json({text.data(), text.size()});
    if (!parsed) return bad(fmt::format("parameters: {}", parsed.error().message));
    schema = std::move(*parsed);
  }
  if (!schema.is_object()) return bad("parameters is neither a table nor the JSON text of an object");
  json::object manifest;
  manifest["name"] = text_of("name");
  manifest["description"] = text_of("description");
  manifest["parameters"] = std::move(schema);
  manifest["effect"] = effect;
  for (const auto& member : table) {
    if (!manifest.contains(member.key())) manifest[member.key()] = member.value();
  }
  return to_json(manifest);
}

}  // namespace longhaul::sandbox
