// Keys and values of the store, as values in memory and as bytes; FORMAT.md shows them byte by byte.
//
// Every value stands in an envelope with kind, version, length and a checksum that covers the family and the key too:
// a flipped bit is detected, and so is a whole value that turns up under another key.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "model/sequence_state.h"
#include "runtime/base/hash.h"
#include "runtime/base/result.h"
#include "sessions/record.h"

namespace longhaul::sessions {

class ByteReader;
class ByteWriter;

// The column families, by number. The numbers are part of the format (they enter the checksums).
enum class Family : std::uint8_t {
  kMeta = 0,
  kCatalog = 1,
  kSnapshots = 2,
  kStates = 3,
  kPages = 4,
  kJournal = 5,
  kSummaries = 6
};
inline constexpr int kFamilies = 7;
std::string_view family_name(Family family);  // RocksDB's name of it

// What kinds of value there are besides journal records, whose kinds are their own (record.h).
enum class ValueKind : std::uint8_t {
  kNumbers = 64,     // meta: the durable counter
  kSession = 65,     // catalog
  kBranch = 66,      // catalog
  kManifest = 67,    // snapshots
  kGeneration = 68,  // snapshots: generation -> manifest
  kStateFixed = 69,  // states
  kStateOpen = 70,   // states: the open pages
  kPageRun = 72,     // pages: consecutive pages of one layer (page_run.h); 71 was one page, in stores of version 1
  kSummaries = 73,   // summaries: of all pages of a generation
};
std::string_view value_kind_name(ValueKind kind);
inline constexpr std::uint8_t kValueVersion = 1;
inline constexpr std::uint8_t kPieceVersion = 2;  // of a state's value that is one of several pieces

// ---- Envelope ----

struct Envelope {
  std::uint8_t kind = 0;
  std::uint8_t version = 0;
  std::uint16_t flags = 0;
  std::string_view payload;
};

inline constexpr std::size_t kEnvelopeBytes = 16;  // 8 before the payload, 8 after

// What of a payload the envelope's checksum covers: all of it, but of a page run only the table of its pages' own
// checksums, so that a page can be checked, and named, without the others.
std::string_view sealed_part(std::uint8_t kind, std::string_view payload);

std::string seal(Family family, std::string_view key, std::uint8_t kind, std::uint8_t version, std::uint16_t flags,
                 std::string_view payload);
inline std::string seal(Family family, std::string_view key, ValueKind kind, std::string_view payload) {
  return seal(family, key, static_cast<std::uint8_t>(kind), kValueVersion, 0, payload);
}
// Into `out`, whose memory is used again, of a payload that lies in several places.
void seal_into(std::string& out, Family family, std::string_view key, std::uint8_t kind, std::uint8_t version,
               std::uint16_t flags, std::span<const std::string_view> payload);
// Of a page run whose pages lie elsewhere: as seal() of the table and the pages behind it, copying them once.
std::string seal_with_table(std::string_view key, std::string_view table, std::span<const std::byte* const> pages,
                            std::size_t page_bytes);
// kCorruption if length or checksum are wrong (both values are named). The payload points into `value`. The pages of a
// page run are not looked at (page_run.h).
Result<Envelope> unseal(Family family, std::string_view key, std::string_view value);
// Also checks the kind (kCorruption) and that the version is the one (kVersionMismatch).
Result<std::string_view> unseal(Family family, std::string_view key, std::string_view value, ValueKind kind,
                                std::uint8_t version = kValueVersion);

// ---- Keys ---- Integers are big-endian, so that the database's order is the order of the numbers.

std::string numbers_key();
std::string session_key(std::string_view name);
std::string branch_key(std::uint64_t branch);
std::string manifest_key(std::uint64_t branch, std::uint64_t sequence);
std::string generation_key(std::uint64_t generation);
enum class StatePart : std::uint8_t { kFixed = 0, kOpenPages = 1 };
// A part with more bytes than this is stored in pieces of so many, the last one with what is left. What is never copied
// as a whole needs no fresh memory, which costs more than the disk does.
inline constexpr std::uint64_t kStatePieceBytes = std::uint64_t{256} << 10;
inline std::uint64_t state_pieces(std::uint64_t part_bytes) {
  return (part_bytes + kStatePieceBytes - 1) / kStatePieceBytes;
}
std::string state_key(std::uint64_t generation, StatePart part, std::uint64_t piece = 0);
std::string page_key(std::uint64_t generation, std::uint32_t layer, std::uint64_t first_page);
std::string summaries_key(std::uint64_t generation);
std::string journal_key(std::uint64_t branch, std::uint64_t sequence);

std::string big_endian(std::uint64_t value);
std::uint64_t read_big_endian(std::string_view bytes);  // of the first eight

inline constexpr char kSessionPrefix = 'S', kBranchPrefix = 'B', kManifestPrefix = 'M', kGenerationPrefix = 'G';

// 1 to 128 bytes of [A-Za-z0-9._-], not beginning with a dot or a dash (names become file names and arguments).
// kInvalidArgument shows the name, shortened and with unprintable bytes escaped.
Result<void> check_session_name(std::string_view name);
std::string printable(std::string_view text, std::size_t length_max = 60);

// ---- Values ----

enum class SessionStatus : std::uint8_t {
  kNew = 0,
  kRunning = 1,
  kSuspended = 2,
  kInDoubt = 3,
  kAnswered = 4,
  kNeedsApproval = 5,
  kSleeping = 6,
};
std::string_view to_string(SessionStatus status);

struct SessionIdentity {
  std::string model_fingerprint;
  std::string numerics_tag;
  friend bool operator==(const SessionIdentity&, const SessionIdentity&) = default;
};

struct SessionEntry {
  std::uint64_t head = 0;  // branch
  SessionIdentity identity;
  model::StateLayout layout;
  std::int64_t created_ms = 0;
  std::string origin;  // name of the session this one was forked from, or empty
  // As of the last synced write; the journal is the truth.
  SessionStatus status = SessionStatus::kNew;
  std::uint64_t sequence = 0;
  std::uint64_t n_tokens = 0;
  std::uint64_t n_turns = 0;
  std::uint64_t n_calls = 0;
  std::int64_t updated_ms = 0;
  friend bool operator==(const SessionEntry&, const SessionEntry&) = default;
};

enum class BranchReason : std::uint8_t { kRoot = 0, kFork = 1, kRewind = 2, kReset = 3, kReplay = 4 };

// A branch and the edge to its parent. The parent's journal is visible up to journal_cut; states and pages of the
// lineage before are usable up to position_cut tokens, and no further than any later cut.
struct BranchEntry {
  std::uint64_t parent = 0;  // 0: none
  std::uint64_t journal_cut = 0;
  std::uint64_t position_cut = 0;
  Digest chain_at_cut;
  BranchReason reason = BranchReason::kRoot;
  std::int64_t created_ms = 0;
  friend bool operator==(const BranchEntry&, const BranchEntry&) = default;
};

// What one commit stored. A delta: pages of earlier commits are found through theirs.
struct Manifest {
  std::uint64_t turn = 0;  // the turn it ends; 0 for a state saved in between
  std::uint64_t n_tokens = 0, n_draws = 0;
  Digest chain;   // of the journal, after the commit's last record
  Digest digest;  // the contract's (context.h)

  bool has_state = false;           // thinning clears it
  bool pinned = false;              // the one after the last user message
  std::uint64_t state_ordinal = 0;  // counts states of a lineage; what thinning goes by
  std::uint64_t state_position = 0;
  std::uint64_t fixed_bytes = 0, open_bytes = 0;
  Digest state_digest;  // of the fixed part, the open pages and the position
  std::int64_t state_time_ms = 0;

  std::uint64_t generation = 0;               // under which states and pages of this commit are kept; 0: nothing stored
  std::uint64_t first_page = 0, n_pages = 0;  // of every attention layer...
  std::uint32_t page_layers = 0;              // ...so many
  std::uint32_t object_pages = 0;             // pages a value; the last value of a layer may have fewer
  friend bool operator==(const Manifest&, const Manifest&) = default;
};

// Which manifest a generation belongs to. One without is what a crash between ingestion and commit left behind.
struct GenerationEntry {
  std::uint64_t branch = 0;
  std::uint64_t sequence = 0;
  friend bool operator==(const GenerationEntry&, const GenerationEntry&) = default;
};

// Branch ids and generations come from one counter, reserved in blocks. Generations under `clean` have all been
// checked for a manifest.
struct Numbers {
  std::uint64_t reserved = 1;  // numbers under this one may be in use
  std::uint64_t clean = 1;
  friend bool operator==(const Numbers&, const Numbers&) = default;
};

std::string encode(const SessionEntry& entry);
std::string encode(const BranchEntry& entry);
std::string encode(const Manifest& manifest);
std::string encode(const GenerationEntry& entry);
std::string encode(const Numbers& numbers);
Result<SessionEntry> decode_session(std::string_view payload);
Result<BranchEntry> decode_branch(std::string_view payload);
Result<Manifest> decode_manifest(std::string_view payload);
Result<GenerationEntry> decode_generation(std::string_view payload);
Result<Numbers> decode_numbers(std::string_view payload);

// As it stands in a session entry and in an export's header.
void write_layout(ByteWriter& out, const model::StateLayout& layout);
model::StateLayout read_layout(ByteReader& in);

// ---- Journal values: an envelope around [time] + record payload + link ----

// The chain after a record, from the chain before it. Neither branch nor key enters it: a lineage copied elsewhere
// keeps its chain.
Digest chain_record(const Digest& before, std::uint64_t sequence, std::int64_t time_ms, const Record& record,
                    std::string_view payload);

struct SealedRecord {
  std::string value;
  Digest chain;
};
SealedRecord seal_record(std::string_view key, const Digest& before, const JournalEntry& entry);

// Without the chain before it (verify goes on behind a broken record); `link` is the low half of the chain after it.
struct UnsealedRecord {
  JournalEntry entry;
  std::uint64_t link = 0;
  std::string_view payload;
};
Result<UnsealedRecord> unseal_record(std::string_view key, std::string_view value);
// With it: kCorruption if the link is not the one that follows. Moves `chain` on.
Result<JournalEntry> unseal_record(std::string_view key, std::string_view value, Digest& chain);

}  // namespace longhaul::sessions
