// The bytes of an exported session: a header, checksummed sections of at most a MiB or so, a footer over the whole. It
// knows lengths, checksums and compression; what stands in the sections is export_content.h's. Bytes: FORMAT.md, "An
// exported session".
//
// Both directions stream: memory is one section, whatever the file's size. A reader believes no length before the bytes
// are there, and no section may unpack to more than kExpansionMax times its stored bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/base/hash.h"
#include "runtime/base/result.h"
#include "sessions/entries.h"

namespace longhaul::sessions {

inline constexpr std::uint32_t kExportFormatVersion = 1;
inline constexpr std::string_view kExportMagic = "LHEXPORT";
inline constexpr std::size_t kExportHeaderBytesMax = 64 << 10;
inline constexpr std::size_t kSectionBytesMax = 1 << 20;  // before compression
inline constexpr std::size_t kSectionHeaderBytes = 16, kSectionTailBytes = 8;
inline constexpr std::size_t kExpansionMax = 64, kExpansionFree = 4096;
inline constexpr std::size_t kFooterBytes = kSectionHeaderBytes + 32 + kSectionTailBytes;

// What the file says about itself before anything else.
struct ExportHeader {
  std::string name;
  SessionIdentity identity;
  model::StateLayout layout;
  std::int64_t created_ms = 0;
  std::string origin;
  // Everything up to this record is in the base, not in the file. 0 and zero: the file holds the whole session.
  std::uint64_t base_sequence = 0, base_turn = 0;
  Digest base_chain;
  std::uint64_t end_sequence = 0;  // the last record
  Digest end_chain;
  std::uint64_t n_branches = 0, n_manifests = 0;
  std::uint64_t bulk_bytes = 0;  // states and pages: what progress and the check for space go by
  friend bool operator==(const ExportHeader&, const ExportHeader&) = default;
};
std::string encode(const ExportHeader& header);
Result<ExportHeader> decode_export_header(std::string_view payload);
// kCorruption unless states and pages of the layout have sizes that can be (each under 4 GiB, no product overflows).
Result<void> check_layout(const model::StateLayout& layout);

enum class SectionType : std::uint8_t {
  kBranches = 1,
  kRecords = 2,
  kManifests = 3,
  kStates = 4,
  kPages = 5,
  kEnd = 6,
};
enum class SectionEncoding : std::uint8_t { kRaw = 0, kZstd = 1 };

// One section as bytes, for the writer and for tests that build files with one thing wrong.
std::string encode_section(SectionType type, std::uint32_t number, std::string_view bytes, SectionEncoding encoding);
std::string encode_preamble(const ExportHeader& header);  // magic, version, header, checksum
std::string encode_footer(std::uint32_t n_sections, std::uint64_t bytes, const Digest& digest);

// Writes beside `path` and renames at the end, so that what stands at `path` is always whole. An existing file is
// replaced only if it is empty or an export; kConflict else. Errors name the path.
class ExportWriter {
 public:
  static Result<std::unique_ptr<ExportWriter>> create(const std::string& path, const ExportHeader& header);
  ~ExportWriter();  // removes what was not finished
  ExportWriter(const ExportWriter&) = delete;
  ExportWriter& operator=(const ExportWriter&) = delete;

  // Goes on with the stream of this type; sections are cut as it comes.
  Result<void> add(SectionType type, std::string_view bytes);
  // Footer, fsync, rename, fsync of the folder. Gives the file's size.
  Result<std::uint64_t> finish();

 private:
  ExportWriter(int fd, std::string path, std::string temporary);
  Result<void> put(std::string_view bytes);
  Result<void> end_section();

  int fd_;
  std::string path_, temporary_;
  Hasher hasher_;
  std::uint64_t bytes_ = 0;
  std::uint32_t n_sections_ = 0;
  SectionType type_ = SectionType::kEnd;
  std::string buffer_;
  std::uint64_t flushed_ = 0;
};

// Where the bytes come from: a file, or memory in tests.
class ExportSource {
 public:
  virtual ~ExportSource() = default;
  virtual const std::string& name() const = 0;
  virtual std::uint64_t size() const = 0;
  // Exactly the wanted bytes; kIo or kCorruption (the file became shorter) names the file.
  virtual Result<void> read(std::uint64_t offset, char* out, std::size_t n) = 0;
};
Result<std::unique_ptr<ExportSource>> open_export(const std::string& path);
std::unique_ptr<ExportSource> export_from_memory(std::string name, std::string bytes);

struct Section {
  SectionType type = SectionType::kEnd;
  std::uint32_t number = 0;
  std::uint64_t offset = 0;  // in the file
  std::string_view bytes;    // unpacked; until the next call
};

class ExportReader {
 public:
  // Reads header and footer; a file that was cut short or has something behind its end is known from here on.
  // kVersionMismatch: from the future. kCorruption: anything else that is wrong. All name file and offset.
  static Result<std::unique_ptr<ExportReader>> open(ExportSource& source);

  const ExportHeader& header() const { return header_; }
  // The next section, or nullopt behind the last one, when the digest of the whole has been found right.
  Result<std::optional<Section>> next();
  std::uint64_t offset() const { return offset_; }

 private:
  explicit ExportReader(ExportSource& source) : source_(source) {}
  Result<void> read_preamble();
  Result<void> read_footer();
  Result<void> fetch(std::size_t n);
  Error damaged(std::string_view what) const;

  ExportSource& source_;
  ExportHeader header_;
  Hasher hasher_;
  std::uint64_t offset_ = 0, end_ = 0;  // `end_`: where the footer begins
  std::uint32_t n_sections_ = 0, number_ = 0;
  Digest digest_;
  std::string stored_, unpacked_;
};

}  // namespace longhaul::sessions
