#include "sandbox/wire.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "runtime/base/check.h"

namespace longhaul::sandbox {
namespace {

constexpr std::size_t kWireDepthMax = kJsonDepthMax + 8;

Error malformed(std::string text) {
  return corruption(std::move(text));
}

Result<json::object> parse_object(std::string_view what, std::string_view payload) {
  JsonLimits limits;
  limits.bytes_max = kFrameBytesMax;
  limits.depth_max = kWireDepthMax;
  auto value = parse_json(payload, limits);
  if (!value) return malformed(fmt::format("{}: {}", what, value.error().message));
  if (!value->is_object()) return malformed(fmt::format("{}: not an object", what));
  return std::move(value->get_object());
}

// A view into the object, or an error that names the field.
Result<std::string_view> string_field(std::string_view what, const json::object& object, std::string_view name,
                                      std::size_t bytes_max) {
  const json::value* field = object.if_contains(name);
  if (field == nullptr || !field->is_string()) return malformed(fmt::format("{}: {} is no string", what, name));
  const auto& text = field->get_string();
  if (text.size() > bytes_max) {
    return malformed(fmt::format("{}: {} has {} bytes, at most {}", what, name, text.size(), bytes_max));
  }
  return std::string_view(text.data(), text.size());
}

Result<std::int64_t> integer_field(std::string_view what, const json::object& object, std::string_view name) {
  const json::value* field = object.if_contains(name);
  if (field == nullptr || !field->is_int64()) return malformed(fmt::format("{}: {} is no integer", what, name));
  return field->get_int64();
}

json::object encode_limits(const Limits& limits) {
  return {{"cpu_ms", limits.cpu_ms},
          {"wall_ms", limits.wall_ms},
          {"memory_bytes", limits.memory_bytes},
          {"output_bytes", limits.output_bytes},
          {"log_bytes", limits.log_bytes},
          {"host_calls", limits.host_calls}};
}

Result<Limits> decode_limits(const json::object& parent) {
  const json::value* field = parent.if_contains("limits");
  if (field == nullptr || !field->is_object()) return malformed("limits missing");
  const json::object& object = field->get_object();
  Limits limits;
  struct Named {
    const char* name;
    std::int64_t* value;
  };
  for (const Named& named : {Named{"cpu_ms", &limits.cpu_ms}, Named{"wall_ms", &limits.wall_ms},
                             Named{"memory_bytes", &limits.memory_bytes}, Named{"output_bytes", &limits.output_bytes},
                             Named{"log_bytes", &limits.log_bytes}, Named{"host_calls", &limits.host_calls}}) {
    auto value = integer_field("limits", object, named.name);
    if (!value) return value.error();
    *named.value = *value;
  }
  return limits;
}

constexpr std::string_view kDoneNames[] = {"ok", "tool_error", "limit"};
constexpr std::string_view kLimitNames[] = {"none", "cpu", "memory", "output", "host_calls"};

template <std::size_t N>
std::optional<std::size_t> index_of(const std::string_view (&names)[N], std::string_view name) {
  const auto found = std::find(std::begin(names), std::end(names), name);
  if (found == std::end(names)) return std::nullopt;
  return static_cast<std::size_t>(found - std::begin(names));
}

Result<WorkerMessage> decode_worker_host_call(std::string_view payload) {
  auto object = parse_object("host_call", payload);
  if (!object) return object.error();
  auto id = integer_field("host_call", *object, "id");
  if (!id) return id.error();
  if (*id < 1) return malformed(fmt::format("host_call: id {} is not positive", *id));
  auto power = string_field("host_call", *object, "power", 64);
  if (!power) return power.error();
  auto op = string_field("host_call", *object, "op", 64);
  if (!op) return op.error();
  const Operation* operation = find_operation(*power, *op);
  if (operation == nullptr) return malformed(fmt::format("host_call: there is no operation {}.{}", *power, *op));
  const json::value* args = object->if_contains("args");
  if (args == nullptr || !args->is_array()) return malformed("host_call: args is no list");
  if (args->get_array().size() != static_cast<std::size_t>(operation->n_args)) {
    return malformed(fmt::format("host_call: {}.{} with {} arguments, takes {}", *power, *op, args->get_array().size(),
                                 operation->n_args));
  }
  WireHostCall call;
  call.id = static_cast<std::uint64_t>(*id);
  call.call.power = std::string(*power);
  call.call.op = std::string(*op);
  for (const json::value& arg : args->get_array()) {
    if (!arg.is_string()) return malformed(fmt::format("host_call: an argument of {}.{} is no string", *power, *op));
    if (arg.get_string().size() > kAllocationBytesMax) {
      return malformed(fmt::format("host_call: an argument of {}.{} has {} bytes, at most {}", *power, *op,
                                   arg.get_string().size(), kAllocationBytesMax));
    }
    call.call.args.emplace_back(arg.get_string());
  }
  return WorkerMessage(std::move(call));
}

Result<WorkerMessage> decode_done(std::string_view payload) {
  auto object = parse_object("done", payload);
  if (!object) return object.error();
  auto status = string_field("done", *object, "status", 16);
  if (!status) return status.error();
  auto limit = string_field("done", *object, "limit", 16);
  if (!limit) return limit.error();
  auto text = string_field("done", *object, "text", kAllocationBytesMax);
  if (!text) return text.error();
  auto cpu_us = integer_field("done", *object, "cpu_us");
  if (!cpu_us) return cpu_us.error();
  const auto status_index = index_of(kDoneNames, *status), limit_index = index_of(kLimitNames, *limit);
  if (!status_index) return malformed("done: unknown status");
  if (!limit_index) return malformed("done: unknown limit");
  if (*cpu_us < 0) return malformed(fmt::format("done: cpu_us {} is negative", *cpu_us));
  WireDone done;
  done.status = static_cast<DoneStatus>(*status_index);
  done.limit = static_cast<LimitKind>(*limit_index);
  if ((done.status == DoneStatus::kLimit) != (done.limit != LimitKind::kNone)) {
    return malformed("done: status and limit do not fit each other");
  }
  done.text = std::string(*text);
  done.cpu_us = *cpu_us;
  return WorkerMessage(std::move(done));
}

}  // namespace

std::string_view to_string(LimitKind limit) {
  return kLimitNames[static_cast<std::size_t>(limit)];
}

std::string encode_frame(FrameKind kind, std::string_view payload) {
  LONGHAUL_CHECK(payload.size() <= kFrameBytesMax, "the sender bounds its payload");
  std::string frame(kFrameHeaderBytes, '\0');
  frame[0] = 'L';
  frame[1] = 'H';
  frame[2] = static_cast<char>(kWireVersion);
  frame[3] = static_cast<char>(kind);
  const auto length = static_cast<std::uint32_t>(payload.size());
  for (int i = 0; i < 4; ++i) frame[4 + static_cast<std::size_t>(i)] = static_cast<char>(length >> (8 * i) & 0xff);
  frame.append(payload);
  return frame;
}

Result<std::optional<Frame>> FrameReader::next() {
  if (broken_) return *broken_;
  const auto fail = [&](std::string text) -> Result<std::optional<Frame>> {
    broken_ = malformed("frame: " + text);
    return *broken_;
  };
  const std::string_view rest = std::string_view(buffer_).substr(at_);
  if (rest.size() < kFrameHeaderBytes) return std::optional<Frame>();
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(rest[i]); };
  if (rest[0] != 'L' || rest[1] != 'H') return fail(fmt::format("begins with {:02x} {:02x}", byte(0), byte(1)));
  if (byte(2) != kWireVersion) return fail(fmt::format("version {}, expected {}", byte(2), kWireVersion));
  if (byte(3) < static_cast<unsigned>(FrameKind::kHello) || byte(3) > static_cast<unsigned>(FrameKind::kBrokerAnswer)) {
    return fail(fmt::format("unknown kind {}", byte(3)));
  }
  std::size_t length = 0;
  for (std::size_t i = 0; i < 4; ++i) length |= static_cast<std::size_t>(byte(4 + i)) << (8 * i);
  if (length > kFrameBytesMax) return fail(fmt::format("of {} bytes, at most {}", length, kFrameBytesMax));
  if (rest.size() < kFrameHeaderBytes + length) return std::optional<Frame>();
  Frame frame;
  frame.kind = static_cast<FrameKind>(byte(3));
  frame.payload = std::string(rest.substr(kFrameHeaderBytes, length));
  at_ += kFrameHeaderBytes + length;
  if (at_ == buffer_.size()) {
    buffer_.clear();
    at_ = 0;
  } else if (at_ > (64U << 10)) {
    buffer_.erase(0, at_);
    at_ = 0;
  }
  return std::optional<Frame>(std::move(frame));
}

Result<WorkerMessage> decode_worker_frame(const Frame& frame) {
  switch (frame.kind) {
    case FrameKind::kHello: {
      auto object = parse_object("hello", frame.payload);
      if (!object) return object.error();
      auto report = layer_report(*object);
      if (!report) return malformed(report.error().message);
      return WorkerMessage(WireHello{std::move(*report)});
    }
    case FrameKind::kHostCall:
      return decode_worker_host_call(frame.payload);
    case FrameKind::kLog: {
      auto object = parse_object("log", frame.payload);
      if (!object) return object.error();
      auto text = string_field("log", *object, "text", kAllocationBytesMax);
      if (!text) return text.error();
      return WorkerMessage(WireLog{std::string(*text)});
    }
    case FrameKind::kDone:
      return decode_done(frame.payload);
    default:
      return malformed(fmt::format("frame kind {} is none that a worker sends", static_cast<int>(frame.kind)));
  }
}

std::string encode(const LoadRequest& load) {
  return to_json(json::object{{"name", load.name}, {"source", load.source}, {"limits", encode_limits(load.limits)}});
}

std::string encode(const WireCall& call) {
  return to_json(json::object{{"call_id", call.call_id},
                              {"key", call.key},
                              {"seed", call.seed},
                              {"args", call.args},
                              {"limits", encode_limits(call.limits)}});
}

std::string encode_host_answer(std::uint64_t id, const HostAnswer& answer) {
  json::object object{{"id", id}};
  if (answer.ok) {
    object["ok"] = answer.value;
  } else {
    object["error"] = answer.error;
  }
  return to_json(object);
}

std::string encode(const LayerReport& hello) {
  return to_json(hello.to_json_value());
}

std::string encode(const WireHostCall& call) {
  json::array args;
  for (const std::string& arg : call.call.args) args.emplace_back(arg);
  return to_json(
      json::object{{"id", call.id}, {"power", call.call.power}, {"op", call.call.op}, {"args", std::move(args)}});
}

std::string encode(const WireLog& log) {
  return to_json(json::object{{"text", log.text}});
}

std::string encode(const WireDone& done) {
  return to_json(json::object{{"status", kDoneNames[static_cast<std::size_t>(done.status)]},
                              {"limit", kLimitNames[static_cast<std::size_t>(done.limit)]},
                              {"text", done.text},
                              {"cpu_us", done.cpu_us}});
}

Result<LoadRequest> decode_load(std::string_view payload) {
  auto object = parse_object("load", payload);
  if (!object) return object.error();
  auto name = string_field("load", *object, "name", 4096);
  if (!name) return name.error();
  auto source = string_field("load", *object, "source", kSourceBytesMax);
  if (!source) return source.error();
  auto limits = decode_limits(*object);
  if (!limits) return limits.error();
  return LoadRequest{std::string(*name), std::string(*source), *limits};
}

Result<WireCall> decode_call(std::string_view payload) {
  auto object = parse_object("call", payload);
  if (!object) return object.error();
  auto call_id = string_field("call", *object, "call_id", 4096);
  if (!call_id) return call_id.error();
  auto key = string_field("call", *object, "key", 4096);
  if (!key) return key.error();
  const json::value* seed = object->if_contains("seed");
  const json::value* args = object->if_contains("args");
  if (seed == nullptr || !seed->is_number()) return malformed("call: seed is no integer");
  if (args == nullptr || !args->is_object()) return malformed("call: args is no object");
  boost::system::error_code ec;
  const auto seed_value = seed->to_number<std::uint64_t>(ec);
  if (ec) return malformed("call: seed is no unsigned integer");
  auto limits = decode_limits(*object);
  if (!limits) return limits.error();
  return WireCall{std::string(*call_id), std::string(*key), seed_value, *args, *limits};
}

Result<HostAnswer> decode_host_answer(std::string_view payload, std::uint64_t id) {
  auto object = parse_object("host_answer", payload);
  if (!object) return object.error();
  auto got = integer_field("host_answer", *object, "id");
  if (!got) return got.error();
  if (*got < 0 || static_cast<std::uint64_t>(*got) != id) {
    return malformed(fmt::format("host_answer {}, expected {}", *got, id));
  }
  if (const json::value* ok = object->if_contains("ok")) return HostAnswer::of(*ok);
  auto error = string_field("host_answer", *object, "error", kAllocationBytesMax);
  if (!error) return error.error();
  return HostAnswer::failure(std::string(*error));
}

bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const int n = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || text.size() - i < static_cast<std::size_t>(n)) return false;
    std::uint32_t code = lead & (0x7fU >> n);
    for (int k = 1; k < n; ++k) {
      const auto next = static_cast<unsigned char>(text[i + static_cast<std::size_t>(k)]);
      if ((next & 0xc0) != 0x80) return false;
      code = code << 6 | (next & 0x3f);
    }
    if ((n == 3 && (code < 0x800 || (code >= 0xd800 && code < 0xe000))) ||
        (n == 4 && (code < 0x10000 || code > 0x10ffff))) {
      return false;
    }
    i += static_cast<std::size_t>(n);
  }
  return true;
}

}  // namespace longhaul::sandbox
