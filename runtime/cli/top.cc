// top: what the sessions of a store do. While a process owns the store its status file is read, which never disturbs
// it; while nobody does, the store itself is opened for a moment, and again only after it has changed.
#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "runtime/cli/support.h"
#include "runtime/interrupt.h"
#include "runtime/store_status.h"

namespace longhaul::cli {
namespace {

namespace fs = std::filesystem;
using runtime::SessionLine;
using runtime::StoreStatus;

struct Look {
  StoreStatus status;
  std::int64_t owner = 0;  // 0: nobody
  std::string note;        // why the picture is not whole
};

class Viewer {
 public:
  explicit Viewer(std::string store) : store_(std::move(store)) {}

  Result<Look> look() {
    auto owner = runtime::store_owner(store_);
    if (!owner) return owner.error();
    Look look;
    look.owner = *owner;
    if (look.owner != 0) {
      auto status = runtime::read_status(store_);
      if (status && (look.owner < 0 || status->pid == look.owner)) {
        look.status = std::move(*status);
        return look;
      }
      look.status = stored_;
      look.note = "it does not say what it does";
      if (!status && status.error().code != ErrorCode::kNotFound) look.note = status.error().message;
      return look;
    }
    // The mark changes with every write: as long as it is the old one, so is what was read.
    std::error_code ec;
    const fs::file_time_type changed = fs::last_write_time(fs::path(store_) / "high-water", ec);
    if (ec || !read_ || changed != read_at_) {
      sessions::StoreOptions options;
      options.create_if_missing = false;
      auto manager = sessions::SessionManager::open(store_, options);
      if (!manager) {
        // Somebody was faster; the next look will say who.
        if (manager.error().code != ErrorCode::kConflict) return manager.error();
        look.note = "just opened by another process";
      } else {
        stored_ = {};
        stored_.sessions = stored_sessions(**manager);
        stored_.n_sessions = stored_.sessions.size();
        std::sort(stored_.sessions.begin(), stored_.sessions.end(), [](const SessionLine& a, const SessionLine& b) {
          return a.updated_ms != b.updated_ms ? a.updated_ms > b.updated_ms : a.name < b.name;
        });
        manager->reset();
        read_ = true;
        read_at_ = fs::last_write_time(fs::path(store_) / "high-water", ec);
      }
    }
    look.status = stored_;
    return look;
  }

 private:
  std::string store_;
  StoreStatus stored_;
  bool read_ = false;
  fs::file_time_type read_at_{};
};

std::string age(std::int64_t then_ms) {
  if (then_ms == 0) return "";
  const std::int64_t seconds = std::max<std::int64_t>(0, (system_clock().unix_ms() - then_ms) / 1000);
  if (seconds < 120) return fmt::format("{}s", seconds);
  if (seconds < 7200) return fmt::format("{}m", seconds / 60);
  if (seconds < 172800) return fmt::format("{}h", seconds / 3600);
  return fmt::format("{}d", seconds / 86400);
}

json::object to_json_line(const std::string& store, const Look& look) {
  json::array sessions;
  for (const SessionLine& s : look.status.sessions) {
    sessions.push_back(json::object{{"session", s.name},
                                    {"status", s.status},
                                    {"live", s.live},
                                    {"turns", s.turns},
                                    {"tokens", s.tokens},
                                    {"event", s.event},
                                    {"event_ms", s.event_ms},
                                    {"call", s.call},
                                    {"tokens_per_second", s.tokens_per_second},
                                    {"state_bytes", s.state_bytes},
                                    {"updated_ms", s.updated_ms}});
  }
  json::object out{{"store", store},
                   {"time_ms", system_clock().unix_ms()},
                   {"owner", look.owner == 0 ? json::value(nullptr) : json::value(look.owner)},
                   {"sessions_in_store", look.status.n_sessions},
                   {"sessions", std::move(sessions)}};
  if (!look.note.empty()) out["note"] = look.note;
  return out;
}

std::string to_text(const std::string& store, const Look& look, std::size_t rows_max) {
  std::string out = fmt::format("store {}: {} sessions, {}{}{}\n", store, look.status.n_sessions,
                                look.owner == 0  ? std::string("nobody has it open")
                                : look.owner < 0 ? std::string("open elsewhere")
                                                 : fmt::format("open in process {}", look.owner),
                                look.note.empty() ? "" : "; ", look.note);
  out += fmt::format("{:<32} {:<14} {:>5} {:>8} {:>8} {:>10} {:<14} {:>5}  {}\n", "SESSION", "STATUS", "TURNS",
                     "TOKENS", "TOK/S", "STATE", "LAST EVENT", "AGO", "CALL");
  std::size_t shown = 0;
  for (const SessionLine& s : look.status.sessions) {
    if (shown == rows_max) break;
    ++shown;
    const std::string rate = s.live ? fmt::format("{:.0f}", s.tokens_per_second) : "";
    out += printable(fmt::format("{:<32} {:<14} {:>5} {:>8} {:>8} {:>10} {:<14} {:>5}  {}", s.name, s.status, s.turns,
                                 s.tokens, rate, s.live ? human_bytes(s.state_bytes) : "", s.event,
                                 age(s.live ? s.event_ms : s.updated_ms), s.call)) +
           "\n";
  }
  if (look.status.n_sessions > shown) out += fmt::format("and {} more\n", look.status.n_sessions - shown);
  return out;
}

}  // namespace

int top_command(const TopOptions& options) {
  auto store = store_folder(options.common);
  if (!store) return fail(options.common, store.error());
  runtime::InterruptWatch interrupt;
  interrupt.begin();
  Viewer viewer(*store);
  const bool in_place = !options.once && !options.common.json && ::isatty(STDOUT_FILENO) == 1;
  int status = kExitDone;
  if (in_place) fmt::print("\033[?1049h\033[?25l");  // a screen of its own, without cursor
  while (!interrupt.flag()) {
    auto look = viewer.look();
    if (!look) {
      if (in_place) fmt::print("\033[?25h\033[?1049l");
      return fail(options.common, look.error());
    }
    if (options.common.json) {
      print_json(to_json_line(*store, *look));
    } else {
      winsize size{};
      const bool sized = in_place && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 4;
      const std::string text = to_text(*store, *look, sized ? size.ws_row - 4U : 1000);
      if (in_place) fmt::print("\033[H\033[J");
      fmt::print("{}{}", text, in_place || options.once ? "" : "\n");
    }
    if (std::fflush(stdout) != 0) {
      status = kExitFailed;  // nobody reads
      break;
    }
    if (options.once) break;
    pollfd stop{interrupt.token().fd(), POLLIN, 0};
    ::poll(&stop, 1, static_cast<int>(options.interval_seconds * 1000));
  }
  if (in_place) {
    fmt::print("\033[?25h\033[?1049l");
    std::fflush(stdout);
  }
  return status;
}

}  // namespace longhaul::cli
