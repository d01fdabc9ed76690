#include "sessions/entries.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "sessions/bytes.h"

namespace longhaul::sessions {
namespace {

constexpr std::uint16_t kFlagTime = 1;

// Families and kinds enter the hash, so that equal bytes in another place are other bytes. The payload is hashed by
// itself first: a 47 MiB state is not copied to be checked.
std::uint64_t envelope_checksum(Family family, std::string_view key, std::string_view header,
                                std::string_view payload) {
  ByteWriter in;
  in.u8(static_cast<std::uint8_t>(family));
  in.text(key);
  in.raw(header);
  in.u64(checksum64(sealed_part(static_cast<std::uint8_t>(header[0]), payload)));
  return checksum64(in.bytes());
}

std::string header_bytes(std::uint8_t kind, std::uint8_t version, std::uint16_t flags, std::size_t payload_bytes) {
  ByteWriter out;
  out.u8(kind);
  out.u8(version);
  out.u16(flags);
  out.u32(static_cast<std::uint32_t>(payload_bytes));
  return out.take();
}

bool read_flag(ByteReader& in) {
  const std::uint8_t value = in.u8();
  if (value > 1) in.fail("a flag that is neither 0 nor 1");
  return value == 1;
}

std::string prefixed(char prefix, std::uint64_t value) {
  return prefix + big_endian(value);
}

}  // namespace

std::string_view family_name(Family family) {
  static constexpr std::array<std::string_view, kFamilies> kNames = {"default", "catalog", "snapshots", "states",
                                                                     "pages",   "journal", "summaries"};
  return kNames[static_cast<std::size_t>(family)];
}

std::string_view value_kind_name(ValueKind kind) {
  switch (kind) {
    case ValueKind::kNumbers:
      return "numbers";
    case ValueKind::kSession:
      return "session";
    case ValueKind::kBranch:
      return "branch";
    case ValueKind::kManifest:
      return "manifest";
    case ValueKind::kGeneration:
      return "generation";
    case ValueKind::kStateFixed:
      return "fixed state";
    case ValueKind::kStateOpen:
      return "open pages";
    case ValueKind::kPageRun:
      return "page run";
    case ValueKind::kSummaries:
      return "page summaries";
  }
  return "unknown";
}

void write_layout(ByteWriter& out, const model::StateLayout& layout) {
  for (const std::uint32_t n : {layout.n_mamba_layers, layout.n_attention_layers, layout.n_mtp_attention_layers,
                                layout.conv_channels, layout.conv_rows, layout.n_mamba_heads, layout.mamba_head_dim,
                                layout.d_state, layout.n_kv_heads, layout.head_dim}) {
    out.u32(n);
  }
  out.u8(static_cast<std::uint8_t>(layout.stored));
}

model::StateLayout read_layout(ByteReader& in) {
  model::StateLayout layout;
  for (std::uint32_t* n : {&layout.n_mamba_layers, &layout.n_attention_layers, &layout.n_mtp_attention_layers,
                           &layout.conv_channels, &layout.conv_rows, &layout.n_mamba_heads, &layout.mamba_head_dim,
                           &layout.d_state, &layout.n_kv_heads, &layout.head_dim}) {
    *n = in.u32();
  }
  const std::uint8_t stored = in.u8();
  if (stored > 1) in.fail("a stored type that is not known");
  layout.stored = static_cast<model::StoredType>(stored & 1);
  return layout;
}

// ---- Envelope ----

std::string_view sealed_part(std::uint8_t kind, std::string_view payload) {
  if (kind != static_cast<std::uint8_t>(ValueKind::kPageRun)) return payload;
  const std::uint64_t table = 4 + std::uint64_t{8} * ByteReader(payload.substr(0, 4)).u32();
  return payload.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(table, payload.size())));
}

std::string seal(Family family, std::string_view key, std::uint8_t kind, std::uint8_t version, std::uint16_t flags,
                 std::string_view payload) {
  std::string out;
  seal_into(out, family, key, kind, version, flags, {&payload, 1});
  return out;
}

void seal_into(std::string& out, Family family, std::string_view key, std::uint8_t kind, std::uint8_t version,
               std::uint16_t flags, std::span<const std::string_view> payload) {
  std::size_t bytes = 0;
  for (const std::string_view part : payload) bytes += part.size();
  const std::string header = header_bytes(kind, version, flags, bytes);
  out.clear();
  out.reserve(bytes + kEnvelopeBytes);
  out.append(header);
  for (const std::string_view part : payload) out.append(part);
  ByteWriter tail;
  tail.u64(envelope_checksum(family, key, header, std::string_view(out).substr(header.size())));
  out.append(tail.bytes());
}

std::string seal_with_table(std::string_view key, std::string_view table, std::span<const std::byte* const> pages,
                            std::size_t page_bytes) {
  const std::string header = header_bytes(static_cast<std::uint8_t>(ValueKind::kPageRun), kValueVersion, 0,
                                          table.size() + pages.size() * page_bytes);
  ByteWriter tail;
  tail.u64(envelope_checksum(Family::kPages, key, header, table));
  std::string out;
  out.reserve(table.size() + pages.size() * page_bytes + kEnvelopeBytes);
  out.append(header).append(table);
  for (const std::byte* page : pages) out.append(reinterpret_cast<const char*>(page), page_bytes);
  return out.append(tail.bytes());
}

Result<Envelope> unseal(Family family, std::string_view key, std::string_view value) {
  if (value.size() < kEnvelopeBytes) {
    return corruption(fmt::format("a value of {} bytes; the smallest has {}", value.size(), kEnvelopeBytes));
  }
  ByteReader head(value.substr(0, 8));
  Envelope out;
  out.kind = head.u8();
  out.version = head.u8();
  out.flags = head.u16();
  const std::uint32_t length = head.u32();
  if (length != value.size() - kEnvelopeBytes) {
    return corruption(
        fmt::format("payload length {} in a value with {} bytes of payload", length, value.size() - kEnvelopeBytes));
  }
  out.payload = value.substr(8, length);
  const std::uint64_t found = ByteReader(value.substr(8 + length)).u64();
  const std::uint64_t expected = envelope_checksum(family, key, value.substr(0, 8), out.payload);
  if (found != expected) {
    return corruption(
        fmt::format("checksum {:016x}, expected {:016x} for these bytes under this key", found, expected));
  }
  return out;
}

Result<std::string_view> unseal(Family family, std::string_view key, std::string_view value, ValueKind kind,
                                std::uint8_t version) {
  auto envelope = unseal(family, key, value);
  if (!envelope) return envelope.error();
  if (envelope->kind != static_cast<std::uint8_t>(kind)) {
    return corruption(
        fmt::format("value kind {}, expected {} ({})", envelope->kind, static_cast<int>(kind), value_kind_name(kind)));
  }
  if (envelope->version != version) {
    return make_error(ErrorCode::kVersionMismatch, fmt::format("{} value of version {}; this program reads version {}",
                                                               value_kind_name(kind), envelope->version, version));
  }
  if (envelope->flags != 0)
    return corruption(fmt::format("flags {:#x} in a {}", envelope->flags, value_kind_name(kind)));
  return envelope->payload;
}

// ---- Keys ----

std::string big_endian(std::uint64_t value) {
  std::string out(8, '\0');
  for (int i = 7; i >= 0; --i, value >>= 8) out[static_cast<std::size_t>(i)] = static_cast<char>(value);
  return out;
}

std::uint64_t read_big_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < 8 && i < bytes.size(); ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

std::string numbers_key() {
  return "numbers";
}
std::string session_key(std::string_view name) {
  return std::string(1, kSessionPrefix).append(name);
}
std::string branch_key(std::uint64_t branch) {
  return prefixed(kBranchPrefix, branch);
}
std::string manifest_key(std::uint64_t branch, std::uint64_t sequence) {
  return prefixed(kManifestPrefix, branch) + big_endian(sequence);
}
std::string generation_key(std::uint64_t generation) {
  return prefixed(kGenerationPrefix, generation);
}
std::string state_key(std::uint64_t generation, StatePart part, std::uint64_t piece) {
  std::string out = big_endian(generation) + static_cast<char>(part);
  if (piece > 0) out += big_endian(piece).substr(4);
  return out;
}
std::string page_key(std::uint64_t generation, std::uint32_t layer, std::uint64_t first_page) {
  return big_endian(generation) + big_endian(layer).substr(4) + big_endian(first_page);
}
std::string summaries_key(std::uint64_t generation) {
  return big_endian(generation);
}
std::string journal_key(std::uint64_t branch, std::uint64_t sequence) {
  return big_endian(branch) + big_endian(sequence);
}

std::string printable(std::string_view text, std::size_t length_max) {
  std::string out;
  for (const char c : text.substr(0, length_max)) {
    if (c >= 0x20 && c < 0x7F) {
      out.push_back(c);
    } else {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  if (text.size() > length_max) out += fmt::format("... ({} bytes)", text.size());
  return out;
}

Result<void> check_session_name(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  if (name.empty()) return invalid_argument("a session name must not be empty");
  if (name.size() > 128) {
    return invalid_argument(
        fmt::format("session name '{}' has {} bytes; at most 128 are allowed", printable(name), name.size()));
  }
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (!allowed(name[i])) {
      return invalid_argument(fmt::format("session name '{}': byte {} (0x{:02x}) is not one of A-Z a-z 0-9 . _ -",
                                          printable(name), i, static_cast<unsigned char>(name[i])));
    }
  }
  if (name[0] == '.' || name[0] == '-') {
    return invalid_argument(fmt::format("session name '{}' begins with '{}'", printable(name), name[0]));
  }
  return {};
}

// ---- Values ----

std::string_view to_string(SessionStatus status) {
  switch (status) {
    case SessionStatus::kNew:
      return "new";
    case SessionStatus::kRunning:
      return "running";
    case SessionStatus::kSuspended:
      return "suspended";
    case SessionStatus::kInDoubt:
      return "in_doubt";
    case SessionStatus::kAnswered:
      return "answered";
    case SessionStatus::kNeedsApproval:
      return "needs_approval";
    case SessionStatus::kSleeping:
      return "sleeping";
  }
  return "unknown";
}

std::string encode(const SessionEntry& entry) {
  ByteWriter out;
  out.u64(entry.head);
  out.text(entry.identity.model_fingerprint);
  out.text(entry.identity.numerics_tag);
  write_layout(out, entry.layout);
  out.i64(entry.created_ms);
  out.text(entry.origin);
  out.u8(static_cast<std::uint8_t>(entry.status));
  out.u64(entry.sequence);
  out.u64(entry.n_tokens);
  out.u64(entry.n_turns);
  out.u64(entry.n_calls);
  out.i64(entry.updated_ms);
  return out.take();
}

Result<SessionEntry> decode_session(std::string_view payload) {
  ByteReader in(payload);
  SessionEntry entry;
  entry.head = in.u64();
  entry.identity.model_fingerprint = in.text();
  entry.identity.numerics_tag = in.text();
  entry.layout = read_layout(in);
  entry.created_ms = in.i64();
  entry.origin = in.text();
  const std::uint8_t status = in.u8();
  if (status > static_cast<std::uint8_t>(SessionStatus::kSleeping)) in.fail("a status that is not known");
  entry.status = static_cast<SessionStatus>(status);
  entry.sequence = in.u64();
  entry.n_tokens = in.u64();
  entry.n_turns = in.u64();
  entry.n_calls = in.u64();
  entry.updated_ms = in.i64();
  auto done = in.finish("session entry");
  if (!done) return done.error();
  return entry;
}

std::string encode(const BranchEntry& entry) {
  ByteWriter out;
  out.u64(entry.parent);
  out.u64(entry.journal_cut);
  out.u64(entry.position_cut);
  out.digest(entry.chain_at_cut);
  out.u8(static_cast<std::uint8_t>(entry.reason));
  out.i64(entry.created_ms);
  return out.take();
}

Result<BranchEntry> decode_branch(std::string_view payload) {
  ByteReader in(payload);
  BranchEntry entry;
  entry.parent = in.u64();
  entry.journal_cut = in.u64();
  entry.position_cut = in.u64();
  entry.chain_at_cut = in.digest();
  const std::uint8_t reason = in.u8();
  if (reason > static_cast<std::uint8_t>(BranchReason::kReplay)) in.fail("a reason that is not known");
  entry.reason = static_cast<BranchReason>(reason);
  entry.created_ms = in.i64();
  if (in.ok() && entry.parent == 0 && (entry.journal_cut != 0 || entry.position_cut != 0)) {
    in.fail("a cut without a parent");
  }
  auto done = in.finish("branch entry");
  if (!done) return done.error();
  return entry;
}

std::string encode(const Manifest& manifest) {
  ByteWriter out;
  out.u64(manifest.turn);
  out.u64(manifest.n_tokens);
  out.u64(manifest.n_draws);
  out.digest(manifest.chain);
  out.digest(manifest.digest);
  out.u8(manifest.has_state ? 1 : 0);
  out.u8(manifest.pinned ? 1 : 0);
  out.u64(manifest.state_ordinal);
  out.u64(manifest.state_position);
  out.u64(manifest.fixed_bytes);
  out.u64(manifest.open_bytes);
  out.digest(manifest.state_digest);
  out.i64(manifest.state_time_ms);
  out.u64(manifest.generation);
  out.u64(manifest.first_page);
  out.u64(manifest.n_pages);
  out.u32(manifest.page_layers);
  out.u32(manifest.n_pages == 0 ? 0 : manifest.object_pages);
  return out.take();
}

Result<Manifest> decode_manifest(std::string_view payload) {
  ByteReader in(payload);
  Manifest manifest;
  manifest.turn = in.u64();
  manifest.n_tokens = in.u64();
  manifest.n_draws = in.u64();
  manifest.chain = in.digest();
  manifest.digest = in.digest();
  manifest.has_state = read_flag(in);
  manifest.pinned = read_flag(in);
  manifest.state_ordinal = in.u64();
  manifest.state_position = in.u64();
  manifest.fixed_bytes = in.u64();
  manifest.open_bytes = in.u64();
  manifest.state_digest = in.digest();
  manifest.state_time_ms = in.i64();
  manifest.generation = in.u64();
  manifest.first_page = in.u64();
  manifest.n_pages = in.u64();
  manifest.page_layers = in.u32();
  manifest.object_pages = in.u32();
  if (in.ok() && manifest.generation == 0 && (manifest.has_state || manifest.n_pages != 0)) {
    in.fail("a state or pages without a generation");
  }
  if (in.ok() && manifest.has_state && manifest.state_position > manifest.n_tokens) {
    in.fail("a state beyond the context");
  }
  if (in.ok() && (manifest.n_pages > (UINT64_MAX - manifest.first_page) ||
                  manifest.first_page + manifest.n_pages > UINT64_MAX / model::kPageTokens)) {
    in.fail("pages beyond what can be counted");
  }
  if (in.ok() && (manifest.n_pages != 0) != (manifest.object_pages != 0))
    in.fail("pages without values, or the reverse");
  auto done = in.finish("manifest");
  if (!done) return done.error();
  return manifest;
}

std::string encode(const GenerationEntry& entry) {
  ByteWriter out;
  out.u64(entry.branch);
  out.u64(entry.sequence);
  return out.take();
}

Result<GenerationEntry> decode_generation(std::string_view payload) {
  ByteReader in(payload);
  GenerationEntry entry;
  entry.branch = in.u64();
  entry.sequence = in.u64();
  auto done = in.finish("generation entry");
  if (!done) return done.error();
  return entry;
}

std::string encode(const Numbers& numbers) {
  ByteWriter out;
  out.u64(numbers.reserved);
  out.u64(numbers.clean);
  return out.take();
}

Result<Numbers> decode_numbers(std::string_view payload) {
  ByteReader in(payload);
  Numbers numbers;
  numbers.reserved = in.u64();
  numbers.clean = in.u64();
  if (in.ok() && (numbers.reserved == 0 || numbers.clean > numbers.reserved)) in.fail("counters that cannot be");
  auto done = in.finish("numbers");
  if (!done) return done.error();
  return numbers;
}

// ---- Journal values ----

Digest chain_record(const Digest& before, std::uint64_t sequence, std::int64_t time_ms, const Record& record,
                    std::string_view payload) {
  ByteWriter out;
  out.u64(sequence);
  out.i64(time_ms);
  out.u8(kind_of(record));
  out.raw(payload);
  return chain(before, out.bytes());
}

SealedRecord seal_record(std::string_view key, const Digest& before, const JournalEntry& entry) {
  const std::string payload = encode_payload(entry.record);
  SealedRecord out;
  out.chain = chain_record(before, entry.sequence, entry.time_ms, entry.record, payload);
  ByteWriter body;
  if (entry.time_ms != 0) body.i64(entry.time_ms);
  body.raw(payload);
  body.u64(out.chain.low);
  out.value = seal(Family::kJournal, key, kind_of(entry.record), kRecordVersion,
                   entry.time_ms != 0 ? kFlagTime : std::uint16_t{0}, body.bytes());
  return out;
}

Result<UnsealedRecord> unseal_record(std::string_view key, std::string_view value) {
  if (key.size() != 16) return corruption(fmt::format("a journal key of {} bytes", key.size()));
  auto envelope = unseal(Family::kJournal, key, value);
  if (!envelope) return envelope.error();
  if ((envelope->flags & ~kFlagTime) != 0) {
    return make_error(ErrorCode::kVersionMismatch,
                      fmt::format("record flags {:#x}; this program knows {:#x}", envelope->flags, kFlagTime));
  }
  UnsealedRecord out;
  out.entry.branch = read_big_endian(key);
  out.entry.sequence = read_big_endian(key.substr(8));
  std::string_view body = envelope->payload;
  const std::size_t time_bytes = (envelope->flags & kFlagTime) != 0 ? 8 : 0;
  if (body.size() < time_bytes + 8) return corruption(fmt::format("a record of {} bytes", body.size()));
  if (time_bytes != 0) {
    out.entry.time_ms = ByteReader(body.substr(0, 8)).i64();
    if (out.entry.time_ms == 0) return corruption("a record with the time 0 spelt out");
  }
  out.link = ByteReader(body.substr(body.size() - 8)).u64();
  out.payload = body.substr(time_bytes, body.size() - time_bytes - 8);
  auto record = decode_payload(envelope->kind, envelope->version, out.payload);
  if (!record) return record.error();
  out.entry.record = std::move(*record);
  return out;
}

Result<JournalEntry> unseal_record(std::string_view key, std::string_view value, Digest& chain) {
  auto out = unseal_record(key, value);
  if (!out) return out.error();
  const Digest next = chain_record(chain, out->entry.sequence, out->entry.time_ms, out->entry.record, out->payload);
  if (next.low != out->link) {
    return corruption(fmt::format("{} record: chain link {:016x}, expected {:016x} after the records before it",
                                  kind_name(kind_of(out->entry.record)), out->link, next.low));
  }
  chain = next;
  return std::move(out->entry);
}

}  // namespace longhaul::sessions
