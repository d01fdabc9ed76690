#include "runtime/cli/printer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "runtime/base/clock.h"
#include "runtime/cli/support.h"

namespace longhaul::cli {
namespace {

using runtime::Event;
using runtime::EventKind;

class JsonPrinter final : public runtime::EventSink {
 public:
  void on_event(const Event& event) override {
    json::object line{{"event", to_string(event.kind)}, {"session", event.session}, {"position", event.position}};
    for (const auto& field : event.fields) line.emplace(field.key(), field.value());
    print_json(line);
  }
};

std::string text_of(const json::object& fields, std::string_view key) {
  const json::value* value = fields.if_contains(key);
  if (value == nullptr) return "";
  if (value->is_string()) return std::string(value->get_string());
  return to_json(*value);
}

class HumanPrinter final : public runtime::EventSink {
 public:
  HumanPrinter() : colour_(::isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr) {}

  // Reading a long message takes time in which nothing is said.
  void on_progress(const runtime::Progress& progress) override {
    n_read_ += progress.n_tokens;
    const std::int64_t now = system_clock().monotonic_ns();
    if (!terminal_ || now - quiet_since_ns_ < 2'000'000'000) return;
    reading_ = true;
    fmt::print(stderr, "\r\033[Kreading: {} of at most {} tokens", n_read_, progress.position);
    std::fflush(stderr);
  }

  void on_event(const Event& event) override {
    if (reading_) fmt::print(stderr, "\r\033[K");
    reading_ = false;
    n_read_ = 0;
    quiet_since_ns_ = system_clock().monotonic_ns();
    switch (event.kind) {
      case EventKind::kTurnStarted:
        close();
        break;
      case EventKind::kReasoning:
        stream("think ", "2", text_of(event.fields, "text"));
        break;
      case EventKind::kText:
        stream("answer", "1", text_of(event.fields, "text"));
        break;
      case EventKind::kToolCall:
        line("call  ", "36", call_text(event.fields));
        break;
      case EventKind::kToolResult: {
        const json::value* ok = event.fields.if_contains("ok");
        const bool good = ok == nullptr || !ok->is_bool() || ok->get_bool();
        line("result", good ? "32" : "31", cut(text_of(event.fields, "text"), 2000));
        break;
      }
      case EventKind::kCommitted:
        if (const json::value* kv = event.fields.if_contains("kv")) show_kv(kv->as_object());
        break;
      case EventKind::kSuspended:
        line("paused", "33", text_of(event.fields, "reason"));
        break;
      case EventKind::kInDoubt:
        line("doubt ", "33", fmt::format("{} may or may not have happened", call_text(event.fields)));
        break;
      case EventKind::kCompacted:
        line("drops ", "33",
             fmt::format("{} old results leave the context: {} tokens, {} before", text_of(event.fields, "dropped"),
                         text_of(event.fields, "tokens_after"), text_of(event.fields, "tokens_before")));
        break;
      case EventKind::kSleeping: {
        const json::value* wake = event.fields.if_contains("wake_ms");
        line("sleeps", "33",
             fmt::format("{} until {} UTC", text_of(event.fields, "name"),
                         time_text(wake != nullptr && wake->is_int64() ? wake->get_int64() : 0)));
        break;
      }
      case EventKind::kApprovalNeeded:
        line("asks  ", "33", fmt::format("{}; {}", call_text(event.fields), text_of(event.fields, "reason")));
        break;
      case EventKind::kError:
        line("error ", "31", text_of(event.fields, "message"));
        break;
      case EventKind::kAnswer: {
        // It has been streamed as text; here it only gets its frame.
        close();
        if (text_of(event.fields, "finish") != "stop") {
          line("limit ", "33", fmt::format("ended by a limit: {}", text_of(event.fields, "finish")));
        }
        break;
      }
    }
    std::fflush(stdout);
  }

 private:
  // What a turn in a KV mode read and left out.
  void show_kv(const json::object& kv) {
    const auto n = [&](std::string_view key) { return kv.at(key).to_number<std::int64_t>(); };
    if (n("pages_skipped") == 0) return;
    double mass = 0;
    for (const json::value& bound : kv.at("mass_bound").as_array()) mass = std::max(mass, bound.to_number<double>());
    line("kv    ", "2",
         fmt::format("{} pages read, {} skipped, which held {:.2g} of attention at most", n("pages_read"),
                     n("pages_skipped"), mass));
  }

  static std::string call_text(const json::object& fields) {
    std::string out = text_of(fields, "name") + "(";
    const json::value* arguments = fields.if_contains("arguments");
    if (arguments != nullptr && arguments->is_object()) {
      bool first = true;
      for (const auto& argument : arguments->get_object()) {
        if (!first) out += ", ";
        first = false;
        out += fmt::format("{}={}", std::string_view(argument.key()), to_json(argument.value()));
      }
    }
    return out + ")";
  }

  std::string paint(std::string_view code, std::string_view text) const {
    if (!colour_ || code.empty()) return std::string(text);
    return fmt::format("\033[{}m{}\033[0m", code, text);
  }

  void line(std::string_view label, std::string_view colour, const std::string& text) {
    close();
    fmt::print("{} {}\n", paint("2", label), paint(colour, indent(printable(text))));
  }

  // Further lines stand under the first.
  static std::string indent(const std::string& text) {
    std::string out;
    for (char c : text) {
      out.push_back(c);
      if (c == '\n') out += "       ";
    }
    return out;
  }

  void stream(std::string_view label, std::string_view colour, std::string text) {
    if (open_ != label) {
      // Whitespace before the first word is layout, not speech.
      const std::size_t first = text.find_first_not_of(" \n\t");
      if (first == std::string::npos) return;
      text.erase(0, first);
      close();
      fmt::print("{} ", paint("2", label));
      open_ = label;
    }
    // Newlines wait: trailing ones are never shown.
    pending_newlines_ += text;
    const std::size_t last = pending_newlines_.find_last_not_of(" \n\t");
    if (last == std::string::npos) return;
    fmt::print("{}", paint(colour, indent(printable(pending_newlines_.substr(0, last + 1)))));
    pending_newlines_.erase(0, last + 1);
  }

  void close() {
    if (!open_.empty()) fmt::print("\n");
    open_ = {};
    pending_newlines_.clear();
  }

  bool colour_;
  bool terminal_ = ::isatty(STDERR_FILENO) == 1;
  bool reading_ = false;  // the progress line is there
  std::uint64_t n_read_ = 0;
  std::int64_t quiet_since_ns_ = system_clock().monotonic_ns();
  std::string_view open_;
  std::string pending_newlines_;
};

}  // namespace

std::unique_ptr<runtime::EventSink> make_json_printer() {
  return std::make_unique<JsonPrinter>();
}
std::unique_ptr<runtime::EventSink> make_human_printer() {
  return std::make_unique<HumanPrinter>();
}

}  // namespace longhaul::cli
