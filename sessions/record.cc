#include "sessions/record.h"

#include <fmt/format.h>

#include <array>
#include <limits>
#include <numeric>

#include "sessions/bytes.h"

namespace longhaul::sessions {
namespace {

struct KindRow {
  std::string_view name;
  bool sync;
};

// By kind number less one. Synced: what a person or a tool outside relies on from now on. Tokens are not: a crash
// regenerates the same ones (C2b), and a killed process loses none because each is handed to the system at once.
constexpr std::array<KindRow, std::variant_size_v<Record>> kKinds = {{
    {"session_created", true}, {"user_message", true},   {"tokens_fed", false},
    {"tokens_sampled", false}, {"turn_started", false},  {"assistant_message", false},
    {"call_intent", true},     {"call_result", true},    {"context_reset", false},
    {"seed_changed", true},    {"turn_committed", true}, {"state_saved", true},
    {"suspended", true},       {"answer", true},         {"in_doubt", true},
    {"settled", true},         {"note", false},          {"model_changed", true},
    {"approval_needed", true}, {"approval_given", true}, {"call_step", true},
    {"call_sleeping", true},   {"once_behind", true},    {"compacted", false},
}};

void write_ids(ByteWriter& out, const std::vector<TokenId>& ids, const std::vector<std::uint32_t>& split) {
  out.varint(ids.size());
  for (const TokenId id : ids) out.u32(id);
  out.varint(split.size());
  for (const std::uint32_t n : split) out.varint(n);
}

void read_ids(ByteReader& in, std::vector<TokenId>& ids, std::vector<std::uint32_t>& split) {
  const std::uint64_t n = in.varint();
  if (n > in.remaining() / 4) return in.fail("more tokens than bytes");
  ids.resize(n);
  for (TokenId& id : ids) id = in.u32();
  const std::uint64_t n_steps = in.varint();
  if (n_steps > in.remaining()) return in.fail("more steps than bytes");
  split.resize(n_steps);
  std::uint64_t sum = 0;
  for (std::uint32_t& step : split) {
    const std::uint64_t size = in.varint();
    if (size == 0 || size > n) return in.fail("a step of a size that cannot be");
    step = static_cast<std::uint32_t>(size);
    sum += size;
  }
  if (n_steps != 0 && sum != n) in.fail("the steps do not add up to the tokens");
}

struct Encoder {
  ByteWriter& out;
  void operator()(const SessionCreated& r) {
    out.text(r.model_fingerprint);
    out.text(r.numerics_tag);
    out.u64(r.seed);
    out.text(r.settings_json);
  }
  void operator()(const UserMessage& r) { out.text(r.text); }
  void operator()(const TokensFed& r) { write_ids(out, r.ids, r.split); }
  void operator()(const TokensSampled& r) {
    out.varint(r.first_draw);
    write_ids(out, r.ids, r.split);
  }
  void operator()(const TurnStarted& r) { out.varint(r.turn); }
  void operator()(const AssistantMessage& r) { out.text(r.json); }
  void operator()(const CallIntent& r) {
    out.varint(r.ordinal);
    out.text(r.call_id);
    out.text(r.idempotency_key);
    out.text(r.tool);
    out.text(r.arguments_json);
    out.u8(static_cast<std::uint8_t>(r.effect));
  }
  void operator()(const CallResult& r) {
    out.varint(r.ordinal);
    out.text(r.kind);
    out.text(r.text);
    out.text(r.notes_delta_json);
    out.text(r.receipts_json);
  }
  void operator()(const ContextReset& r) {
    out.varint(r.position);
    out.text(r.reason);
  }
  void operator()(const SeedChanged& r) { out.u64(r.seed); }
  void operator()(const ModelChanged& r) {
    out.text(r.model_fingerprint);
    out.text(r.numerics_tag);
  }
  void operator()(const TurnCommitted& r) {
    out.varint(r.turn);
    out.varint(r.position);
    out.digest(r.digest);
    out.u8(r.has_state ? 1 : 0);
    if (r.has_state) out.digest(r.state_digest);
  }
  void operator()(const StateSaved& r) {
    out.varint(r.position);
    out.digest(r.digest);
    out.digest(r.state_digest);
  }
  void operator()(const Suspended& r) { out.text(r.reason); }
  void operator()(const Answer& r) { out.text(r.text); }
  void operator()(const InDoubt& r) {
    out.varint(r.ordinal);
    out.text(r.reason);
  }
  void operator()(const Settled& r) {
    out.varint(r.ordinal);
    out.u8(static_cast<std::uint8_t>(r.how));
    out.text(r.result_json);
  }
  void operator()(const Note& r) { out.text(r.json); }
  void operator()(const ApprovalNeeded& r) {
    out.varint(r.ordinal);
    out.text(r.call_id);
    out.text(r.tool);
    out.text(r.arguments_json);
    out.text(r.reason);
  }
  void operator()(const ApprovalGiven& r) {
    out.varint(r.ordinal);
    out.u8(static_cast<std::uint8_t>(r.verdict));
    out.text(r.reason);
  }
  void operator()(const CallStep& r) {
    out.varint(r.ordinal);
    out.text(r.key);
    out.text(r.value_json);
    out.text(r.notes_delta_json);
  }
  void operator()(const CallSleeping& r) {
    out.varint(r.ordinal);
    out.varint(r.timer);
    out.i64(r.wake_ms);
  }
  void operator()(const OnceBehind& r) {
    out.text(r.call_id);
    out.text(r.idempotency_key);
    out.text(r.tool);
    out.text(r.arguments_json);
    out.varint(r.turn);
  }
  void operator()(const Compacted& r) {
    out.varint(r.first_message);
    out.varint(r.spans.size());
    for (const Compacted::Span& span : r.spans) {
      for (const std::uint64_t at : {span.header, span.begin, span.end, span.after}) out.varint(at);
    }
    out.varint(r.dropped.size());
    for (const std::uint64_t ordinal : r.dropped) out.varint(ordinal);
  }
};

std::uint8_t read_below(ByteReader& in, std::uint8_t bound, const char* reason) {
  const std::uint8_t value = in.u8();
  if (value >= bound) in.fail(reason);
  return value;
}

struct Decoder {
  ByteReader& in;
  void operator()(SessionCreated& r) {
    r.model_fingerprint = in.text();
    r.numerics_tag = in.text();
    r.seed = in.u64();
    r.settings_json = in.text();
  }
  void operator()(UserMessage& r) { r.text = in.text(); }
  void operator()(TokensFed& r) { read_ids(in, r.ids, r.split); }
  void operator()(TokensSampled& r) {
    r.first_draw = in.varint();
    read_ids(in, r.ids, r.split);
  }
  void operator()(TurnStarted& r) { r.turn = in.varint(); }
  void operator()(AssistantMessage& r) { r.json = in.text(); }
  void operator()(CallIntent& r) {
    r.ordinal = in.varint();
    r.call_id = in.text();
    r.idempotency_key = in.text();
    r.tool = in.text();
    r.arguments_json = in.text();
    r.effect = static_cast<Effect>(read_below(in, 3, "an effect that is not known"));
  }
  void operator()(CallResult& r) {
    r.ordinal = in.varint();
    r.kind = in.text();
    r.text = in.text();
    r.notes_delta_json = in.text();
    r.receipts_json = in.text();
  }
  void operator()(ContextReset& r) {
    r.position = in.varint();
    r.reason = in.text();
  }
  void operator()(SeedChanged& r) { r.seed = in.u64(); }
  void operator()(ModelChanged& r) {
    r.model_fingerprint = in.text();
    r.numerics_tag = in.text();
  }
  void operator()(TurnCommitted& r) {
    r.turn = in.varint();
    r.position = in.varint();
    r.digest = in.digest();
    r.has_state = read_below(in, 2, "a flag that is neither 0 nor 1") == 1;
    if (r.has_state) r.state_digest = in.digest();
  }
  void operator()(StateSaved& r) {
    r.position = in.varint();
    r.digest = in.digest();
    r.state_digest = in.digest();
  }
  void operator()(Suspended& r) { r.reason = in.text(); }
  void operator()(Answer& r) { r.text = in.text(); }
  void operator()(InDoubt& r) {
    r.ordinal = in.varint();
    r.reason = in.text();
  }
  void operator()(Settled& r) {
    r.ordinal = in.varint();
    r.how = static_cast<Settlement>(read_below(in, 3, "a settlement that is not known"));
    r.result_json = in.text();
  }
  void operator()(Note& r) { r.json = in.text(); }
  void operator()(ApprovalNeeded& r) {
    r.ordinal = in.varint();
    r.call_id = in.text();
    r.tool = in.text();
    r.arguments_json = in.text();
    r.reason = in.text();
  }
  void operator()(ApprovalGiven& r) {
    r.ordinal = in.varint();
    r.verdict = static_cast<Verdict>(read_below(in, 2, "a verdict that is not known"));
    r.reason = in.text();
  }
  void operator()(CallStep& r) {
    r.ordinal = in.varint();
    r.key = in.text();
    r.value_json = in.text();
    r.notes_delta_json = in.text();
  }
  void operator()(CallSleeping& r) {
    r.ordinal = in.varint();
    r.timer = in.varint();
    r.wake_ms = in.i64();
  }
  void operator()(OnceBehind& r) {
    r.call_id = in.text();
    r.idempotency_key = in.text();
    r.tool = in.text();
    r.arguments_json = in.text();
    r.turn = in.varint();
  }
  void operator()(Compacted& r) {
    r.first_message = in.varint();
    const std::uint64_t n_spans = in.varint();
    if (n_spans > in.remaining() / 4) return in.fail("more spans than bytes");
    r.spans.resize(n_spans);
    for (Compacted::Span& span : r.spans) {
      for (std::uint64_t* at : {&span.header, &span.begin, &span.end, &span.after}) *at = in.varint();
    }
    const std::uint64_t n_dropped = in.varint();
    if (n_dropped > in.remaining()) return in.fail("more calls than bytes");
    r.dropped.resize(n_dropped);
    for (std::uint64_t& ordinal : r.dropped) ordinal = in.varint();
  }
};

template <std::size_t I = 0>
Record empty_record(std::size_t index) {
  if constexpr (I + 1 < std::variant_size_v<Record>) {
    if (index != I) return empty_record<I + 1>(index);
  }
  return Record(std::in_place_index<I>);
}

}  // namespace

std::string_view to_string(Effect effect) {
  switch (effect) {
    case Effect::kRead:
      return "read";
    case Effect::kIdempotent:
      return "idempotent";
    case Effect::kOnce:
      return "once";
  }
  return "unknown";
}

std::string_view to_string(Settlement how) {
  switch (how) {
    case Settlement::kDone:
      return "done";
    case Settlement::kSkip:
      return "skip";
    case Settlement::kRetry:
      return "retry";
  }
  return "unknown";
}

std::string_view to_string(Verdict verdict) {
  return verdict == Verdict::kApprove ? "approve" : "deny";
}

std::string_view kind_name(std::uint8_t kind) {
  return kind >= 1 && kind <= kKinds.size() ? kKinds[kind - 1U].name : "unknown";
}

bool must_sync(const Record& record) {
  return kKinds[record.index()].sync;
}

bool is_tokens(const Record& record) {
  return std::holds_alternative<TokensFed>(record) || std::holds_alternative<TokensSampled>(record);
}

std::string encode_payload(const Record& record) {
  ByteWriter out;
  std::visit(Encoder{out}, record);
  return out.take();
}

Result<Record> decode_payload(std::uint8_t kind, std::uint8_t version, std::string_view payload) {
  if (kind == 0) return corruption("a record of kind 0");
  if (kind > std::variant_size_v<Record> || version > kRecordVersion) {
    return make_error(ErrorCode::kVersionMismatch,
                      fmt::format("record kind {} version {}; this program reads kinds 1 to {} of version {}", kind,
                                  version, std::variant_size_v<Record>, kRecordVersion));
  }
  if (version == 0) return corruption(fmt::format("a {} record of version 0", kind_name(kind)));
  Record record = empty_record(kind - 1U);
  ByteReader in(payload);
  std::visit(Decoder{in}, record);
  auto done = in.finish(kind_name(kind));
  if (!done) return done.error();
  return record;
}

}  // namespace longhaul::sessions
