#include "runtime/store_status.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>

#include "runtime/base/file.h"
#include "runtime/base/hash.h"
#include "runtime/base/json.h"

namespace longhaul::runtime {
namespace {

constexpr std::string_view kMagic = "LHSTATUS";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 16, kTrailerBytes = 8;
constexpr std::size_t kTextBytesMax = 1024;  // of a name, status, event, call

std::string little_endian(std::uint64_t value, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
  return out;
}

std::uint64_t read_little_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = bytes.size(); i > 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[i - 1]);
  return value;
}

std::string cut(const std::string& text) {
  std::size_t n = std::min(text.size(), kTextBytesMax);
  while (n > 0 && n < text.size() && (static_cast<unsigned char>(text[n]) & 0xC0) == 0x80) --n;
  return text.substr(0, n);
}

json::object line_json(const SessionLine& line) {
  return {{"name", cut(line.name)},
          {"status", cut(line.status)},
          {"live", line.live},
          {"turns", line.turns},
          {"tokens", line.tokens},
          {"event", cut(line.event)},
          {"event_ms", line.event_ms},
          {"call", cut(line.call)},
          {"tokens_per_second", line.tokens_per_second},
          {"state_bytes", line.state_bytes},
          {"updated_ms", line.updated_ms}};
}

// Strict: every field is there, of its type, and no other.
class Fields {
 public:
  Fields(const json::object& object, std::size_t n) : object_(object) {
    if (object.size() != n) fail(fmt::format("{} fields, expected {}", object.size(), n));
  }

  const json::value* find(std::string_view key) {
    const json::value* value = object_.if_contains(key);
    if (value == nullptr) fail(fmt::format("no field {}", key));
    return value;
  }
  void text(std::string_view key, std::string& out) {
    const json::value* value = find(key);
    if (value == nullptr) return;
    if (!value->is_string() || value->get_string().size() > kTextBytesMax) return fail(fmt::format("{}: no text", key));
    out = std::string(value->get_string());
  }
  template <class Number>
  void count(std::string_view key, Number& out) {
    const json::value* value = find(key);
    if (value == nullptr) return;
    if (!value->is_int64() || value->get_int64() < 0) return fail(fmt::format("{}: no count", key));
    out = static_cast<Number>(value->get_int64());
  }
  void boolean(std::string_view key, bool& out) {
    const json::value* value = find(key);
    if (value == nullptr) return;
    if (!value->is_bool()) return fail(fmt::format("{}: neither true nor false", key));
    out = value->get_bool();
  }
  void rate(std::string_view key, double& out) {
    const json::value* value = find(key);
    if (value == nullptr) return;
    if (!value->is_number()) return fail(fmt::format("{}: no number", key));
    out = value->to_number<double>();
    if (!(out >= 0) || !std::isfinite(out)) fail(fmt::format("{}: not a rate", key));
  }
  void fail(std::string reason) {
    if (reason_.empty()) reason_ = std::move(reason);
  }
  const std::string& reason() const { return reason_; }

 private:
  const json::object& object_;
  std::string reason_;
};

std::string payload_of(const StoreStatus& status) {
  json::array sessions;
  for (const SessionLine& line : status.sessions) sessions.push_back(line_json(line));
  return to_json(json::object{{"pid", status.pid},
                              {"started_ms", status.started_ms},
                              {"written_ms", status.written_ms},
                              {"n_sessions", status.n_sessions},
                              {"sessions", std::move(sessions)}});
}

}  // namespace

std::string encode_status(StoreStatus status) {
  std::string payload = payload_of(status);
  while (payload.size() + kHeaderBytes + kTrailerBytes > kStatusBytesMax) {
    status.sessions.resize(status.sessions.size() / 2);
    payload = payload_of(status);
  }
  std::string out(kMagic);
  out += little_endian(kVersion, 4);
  out += little_endian(payload.size(), 4);
  out += payload;
  out += little_endian(checksum64(out), 8);
  return out;
}

Result<StoreStatus> decode_status(std::string_view bytes) {
  const auto bad = [](std::string what) { return corruption("status file: " + what); };
  if (bytes.size() < kHeaderBytes + kTrailerBytes) return bad(fmt::format("{} bytes", bytes.size()));
  if (bytes.size() > kStatusBytesMax) return bad(fmt::format("{} bytes, at most {}", bytes.size(), kStatusBytesMax));
  if (!bytes.starts_with(kMagic)) return bad("it does not begin with LHSTATUS");
  const std::uint64_t version = read_little_endian(bytes.substr(8, 4));
  if (version != kVersion) {
    return make_error(ErrorCode::kVersionMismatch,
                      fmt::format("status file: version {}, this program reads {}", version, kVersion));
  }
  const std::uint64_t n = read_little_endian(bytes.substr(12, 4));
  if (n != bytes.size() - kHeaderBytes - kTrailerBytes) {
    return bad(fmt::format("{} bytes of payload said, {} there", n, bytes.size() - kHeaderBytes - kTrailerBytes));
  }
  const std::uint64_t sum = read_little_endian(bytes.substr(bytes.size() - kTrailerBytes));
  const std::uint64_t found = checksum64(bytes.substr(0, bytes.size() - kTrailerBytes));
  if (sum != found) return bad(fmt::format("checksum {:016x}, its bytes give {:016x}", sum, found));
  auto value = parse_json(bytes.substr(kHeaderBytes, n), {.bytes_max = kStatusBytesMax, .depth_max = 4});
  if (!value) return bad(value.error().message);
  if (!value->is_object()) return bad("not an object");
  StoreStatus status;
  Fields fields(value->get_object(), 5);
  fields.count("pid", status.pid);
  fields.count("started_ms", status.started_ms);
  fields.count("written_ms", status.written_ms);
  fields.count("n_sessions", status.n_sessions);
  const json::value* sessions = fields.find("sessions");
  if (sessions != nullptr && !sessions->is_array()) fields.fail("sessions is no list");
  if (!fields.reason().empty()) return bad(fields.reason());
  for (const json::value& entry : sessions->get_array()) {
    if (!entry.is_object()) return bad("a session is no object");
    SessionLine line;
    Fields session(entry.get_object(), 11);
    session.text("name", line.name);
    session.text("status", line.status);
    session.boolean("live", line.live);
    session.count("turns", line.turns);
    session.count("tokens", line.tokens);
    session.text("event", line.event);
    session.count("event_ms", line.event_ms);
    session.text("call", line.call);
    session.rate("tokens_per_second", line.tokens_per_second);
    session.count("state_bytes", line.state_bytes);
    session.count("updated_ms", line.updated_ms);
    if (!session.reason().empty()) return bad(session.reason());
    status.sessions.push_back(std::move(line));
  }
  return status;
}

std::string status_path(const std::string& store) {
  return store + "/status";
}

Result<StoreStatus> read_status(const std::string& store) {
  auto bytes = read_file(status_path(store), kStatusBytesMax);
  if (!bytes) return bytes.error();
  auto status = decode_status(*bytes);
  if (!status) return with_context(status_path(store), status.error());
  return status;
}

Result<std::int64_t> store_owner(const std::string& store) {
  const std::string path = store + "/db/LOCK";
  // For writing: asking whether an exclusive lock could be had needs no more than reading rights, and leaves nothing.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    if (errno == ENOENT) return not_found(fmt::format("there is no store at {}", store));
    return io_error(fmt::format("cannot open {}: {}", path, std::strerror(errno)));
  }
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  const int asked = ::fcntl(fd, F_GETLK, &lock);
  const int error = errno;
  ::close(fd);
  if (asked != 0) return io_error(fmt::format("cannot ask for the lock {}: {}", path, std::strerror(error)));
  // In another namespace of process ids the owner's is shown as 0: somebody has it all the same.
  if (lock.l_type == F_UNLCK) return std::int64_t{0};
  return lock.l_pid > 0 ? static_cast<std::int64_t>(lock.l_pid) : std::int64_t{-1};
}

}  // namespace longhaul::runtime
