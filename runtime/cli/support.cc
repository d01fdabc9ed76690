#include "runtime/cli/support.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <filesystem>

#include "runtime/base/clock.h"
#include "runtime/base/file.h"
#include "runtime/resources.h"
#include "runtime/response_format.h"

namespace longhaul::cli {

int fail(const CommonOptions& common, const Error& error, const json::object& place) {
  std::fflush(stdout);
  fmt::print(stderr, "longhaul: {}\n", printable(error.message));
  if (common.json) {
    json::object line{{"event", "error"}};
    line.insert(place.begin(), place.end());
    line.emplace("code", to_string(error.code));
    line.emplace("message", error.message);
    print_json(line);
  }
  return error.code == ErrorCode::kInDoubt ? kExitInDoubt : kExitFailed;
}

void print_json(const json::object& object) {
  // A message may quote a file name or an argument, which can be any bytes.
  model::Utf8Stream clean;
  std::string line = clean.push(to_json(object));
  line += clean.flush() + "\n";
  std::fwrite(line.data(), 1, line.size(), stdout);
  std::fflush(stdout);
}

Result<std::string> model_folder(const CommonOptions& common) {
  if (!common.model.empty()) return common.model;
  return runtime::builtin_model_folder();
}

Result<std::string> store_folder(const CommonOptions& common) {
  if (!common.store.empty()) return common.store;
  return runtime::default_store();
}

std::string digest_cache(const CommonOptions& common) {
  auto store = store_folder(common);
  if (!store) return "";
  return (std::filesystem::path(*store) / "cache/fingerprints.json").string();
}

Result<std::unique_ptr<runtime::ModelHost>> load_model(const CommonOptions& common, runtime::ModelUse use, bool mtp,
                                                       const model::KvMode& kv) {
  runtime::ModelOptions options;
  options.folder = common.model;
  options.n_threads = common.n_threads;
  options.kernels = common.kernels;
  options.chat_format = common.chat_format;
  options.mtp = mtp;
  options.kv = kv;
  options.use = use;
  options.digest_cache = digest_cache(common);
  Progress progress("reading the model for its digest");
  return runtime::ModelHost::load(options, progress.callback());
}

Result<std::unique_ptr<model::Tokenizer>> load_tokenizer(const CommonOptions& common) {
  auto folder = model_folder(common);
  if (!folder) return folder.error();
  return model::Tokenizer::load(*folder);
}

Result<json::object> response_format_of(const ResponseOptions& options) {
  json::object format;
  if (options.regex) format["regex"] = *options.regex;
  std::string place = "--regex";
  for (const auto& [key, path] : {std::pair{"schema", &options.schema}, {"grammar", &options.grammar}}) {
    if (path->empty()) continue;
    auto text = read_file(*path, std::size_t{16} << 20);
    if (!text) return text.error();
    format[key] = *text;
    place = *path;
  }
  // Judged here, where its file is known.
  auto normal = runtime::normal_response_format(format);
  if (!normal) return with_context(place, normal.error());
  if (auto ok = runtime::compile_response_format(*normal); !ok) return with_context(place, ok.error());
  return normal;
}

std::string time_text(std::int64_t unix_ms) {
  const std::time_t seconds = static_cast<std::time_t>(unix_ms / 1000);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min, utc.tm_sec);
}

std::vector<runtime::SessionLine> stored_sessions(const sessions::SessionManager& manager) {
  std::vector<runtime::SessionLine> lines;
  auto list = manager.list();
  if (!list) return lines;
  for (const sessions::SessionSummary& session : *list) {
    runtime::SessionLine line;
    line.name = session.name;
    line.status = to_string(session.entry.status);
    line.turns = session.entry.n_turns;
    line.tokens = session.entry.n_tokens;
    line.updated_ms = session.entry.updated_ms;
    lines.push_back(std::move(line));
  }
  return lines;
}

Result<std::vector<model::TokenId>> parse_ids(const std::string& text) {
  std::vector<model::TokenId> ids;
  const char* at = text.data();
  const char* end = at + text.size();
  while (at != end) {
    while (at != end && (*at == ' ' || *at == ',')) ++at;
    if (at == end) break;
    model::TokenId id = 0;
    auto [next, ec] = std::from_chars(at, end, id);
    if (ec != std::errc() || (next != end && *next != ',' && *next != ' ')) {
      return invalid_argument(fmt::format("not a token id at byte {}: \"{}\"", at - text.data(),
                                          std::string(at, std::min<std::ptrdiff_t>(end - at, 20))));
    }
    ids.push_back(id);
    at = next;
  }
  if (ids.empty()) return invalid_argument("no token ids given");
  return ids;
}

Result<std::string> text_or_stdin(const std::string& text, std::size_t bytes_max) {
  if (text != "-") return text;
  std::string all;
  std::array<char, 65536> buffer;
  while (true) {
    const ssize_t n = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error("cannot read standard input");
    if (n == 0) return all;
    all.append(buffer.data(), static_cast<std::size_t>(n));
    if (all.size() > bytes_max) {
      return make_error(ErrorCode::kResourceExhausted,
                        fmt::format("standard input is larger than {} bytes", bytes_max));
    }
  }
}

Progress::Progress(std::string what, Unit unit)
    : what_(std::move(what)),
      unit_(unit),
      start_ns_(system_clock().monotonic_ns()),
      terminal_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (shown_) fmt::print(stderr, "\r\033[K");
}

void Progress::update(std::uint64_t done, std::uint64_t total) {
  const std::int64_t now = system_clock().monotonic_ns();
  if (!terminal_ || now - start_ns_ < 2'000'000'000 || now - last_ns_ < 100'000'000) return;
  last_ns_ = now;
  shown_ = true;
  if (unit_ == Unit::kBytes) {
    fmt::print(stderr, "\r\033[K{}: {}{}", what_, human_bytes(done),
               total == 0 ? "" : fmt::format(" of {}", human_bytes(total)));
  } else {
    fmt::print(stderr, "\r\033[K{}: {} of {} {}", what_, done, total, unit_ == Unit::kTokens ? "tokens" : "branches");
  }
  std::fflush(stderr);
}

std::function<void(std::uint64_t, std::uint64_t)> Progress::callback() {
  return [this](std::uint64_t done, std::uint64_t total) { update(done, total); };
}

std::string cut(std::string_view text, std::size_t bytes) {
  if (text.size() <= bytes) return std::string(text);
  std::size_t at = bytes;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return fmt::format("{}\n... ({} more bytes)", text.substr(0, at), text.size() - at);
}

std::string printable(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    // 0xC2 0x80..0x9F are the C1 controls, which some terminals obey like ESC sequences.
    const bool c1 = c == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (c1) {
      ++i;
      out += "\xEF\xBF\xBD";
    } else if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7F) {
      out += fmt::format("\\x{:02x}", c);
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

}  // namespace longhaul::cli
