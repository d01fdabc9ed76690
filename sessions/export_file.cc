#include "sessions/export_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "runtime/base/file.h"
#include "sessions/bytes.h"

namespace longhaul::sessions {
namespace {

// Chosen, not measured: an export is to run at the disk's speed, and text compresses well at the lowest level already.
// States and pages are written as they are: float state hardly compresses.
constexpr int kZstdLevel = 1;
// Dirty pages are handed to the disk as they come, so that the fsync at the end finds little left to do.
constexpr std::uint64_t kFlushBytes = 8 << 20;

std::uint64_t section_checksum(std::string_view header, std::string_view stored) {
  ByteWriter in;
  in.raw(header);
  in.u64(checksum64(stored));
  return checksum64(in.bytes());
}

Error system_error(const std::string& path, std::string_view doing) {
  return io_error(fmt::format("{}: {}: {}", path, doing, std::strerror(errno)));
}

}  // namespace

// ---- Header ----

std::string encode(const ExportHeader& header) {
  ByteWriter out;
  out.text(header.name);
  out.text(header.identity.model_fingerprint);
  out.text(header.identity.numerics_tag);
  write_layout(out, header.layout);
  out.i64(header.created_ms);
  out.text(header.origin);
  out.u64(header.base_sequence);
  out.u64(header.base_turn);
  out.digest(header.base_chain);
  out.u64(header.end_sequence);
  out.digest(header.end_chain);
  out.u64(header.n_branches);
  out.u64(header.n_manifests);
  out.u64(header.bulk_bytes);
  return out.take();
}

Result<ExportHeader> decode_export_header(std::string_view payload) {
  ByteReader in(payload);
  ExportHeader header;
  header.name = in.text();
  header.identity.model_fingerprint = in.text();
  header.identity.numerics_tag = in.text();
  header.layout = read_layout(in);
  header.created_ms = in.i64();
  header.origin = in.text();
  header.base_sequence = in.u64();
  header.base_turn = in.u64();
  header.base_chain = in.digest();
  header.end_sequence = in.u64();
  header.end_chain = in.digest();
  header.n_branches = in.u64();
  header.n_manifests = in.u64();
  header.bulk_bytes = in.u64();
  if (in.ok() && header.end_sequence <= header.base_sequence) in.fail("no record");
  if (in.ok() && header.n_branches == 0) in.fail("no branch");
  if (in.ok() && (header.base_sequence == 0) != (header.base_chain == Digest{})) in.fail("a base that is not one");
  auto done = in.finish("header");
  if (!done) return done.error();
  return header;
}

Result<void> check_layout(const model::StateLayout& layout) {
  // Each factor under 2^24 and each product checked in turn: nothing overflows 64 bits on the way.
  const auto product = [](std::initializer_list<std::uint64_t> factors) {
    std::uint64_t out = 1;
    for (const std::uint64_t f : factors) {
      if (f >= (1U << 24) || (f != 0 && out > (std::uint64_t{1} << 40) / f)) return UINT64_MAX;
      out *= f;
    }
    return out;
  };
  const std::uint64_t stored = layout.stored_bytes();
  const std::uint64_t ssm =
      product({layout.n_mamba_layers, layout.n_mamba_heads, layout.mamba_head_dim, layout.d_state, 4});
  const std::uint64_t conv = product({layout.n_mamba_layers, layout.conv_rows, layout.conv_channels, stored});
  const std::uint64_t page =
      product({2 * static_cast<std::uint64_t>(model::kPageTokens), layout.n_kv_heads, layout.head_dim, stored});
  const std::uint64_t open = product({layout.n_attention_layers, std::min<std::uint64_t>(page, 1U << 24)});
  if (ssm >= UINT32_MAX || conv >= UINT32_MAX || ssm + conv >= UINT32_MAX || page >= (1U << 24) || open >= UINT32_MAX) {
    return corruption("a state layout of a size that cannot be");
  }
  return {};
}

std::string encode_preamble(const ExportHeader& header) {
  const std::string payload = encode(header);
  ByteWriter out;
  out.raw(kExportMagic);
  out.u32(kExportFormatVersion);
  out.u32(static_cast<std::uint32_t>(payload.size()));
  out.raw(payload);
  out.u64(checksum64(out.bytes()));
  return out.take();
}

// ---- Sections ----

namespace {

// What stands before and behind the stored bytes; `stored` is `bytes`, or what they were packed into.
struct SectionFrame {
  std::string header, tail;
  std::string_view stored;
};

SectionFrame frame_section(SectionType type, std::uint32_t number, std::string_view bytes, SectionEncoding encoding,
                           std::string& packed) {
  SectionFrame out;
  out.stored = bytes;
  if (encoding == SectionEncoding::kZstd) {
    packed.resize(ZSTD_compressBound(bytes.size()));
    const std::size_t n = ZSTD_compress(packed.data(), packed.size(), bytes.data(), bytes.size(), kZstdLevel);
    const bool pays = !ZSTD_isError(n) && n < bytes.size() && bytes.size() <= n * kExpansionMax + kExpansionFree;
    if (pays) {
      out.stored = std::string_view(packed).substr(0, n);
    } else {
      encoding = SectionEncoding::kRaw;
    }
  }
  ByteWriter header;
  header.u8(static_cast<std::uint8_t>(type));
  header.u8(static_cast<std::uint8_t>(encoding));
  header.u16(0);
  header.u32(static_cast<std::uint32_t>(bytes.size()));
  header.u32(static_cast<std::uint32_t>(out.stored.size()));
  header.u32(number);
  ByteWriter tail;
  tail.u64(section_checksum(header.bytes(), out.stored));
  out.header = header.take();
  out.tail = tail.take();
  return out;
}

}  // namespace

std::string encode_section(SectionType type, std::uint32_t number, std::string_view bytes, SectionEncoding encoding) {
  std::string packed;
  const SectionFrame frame = frame_section(type, number, bytes, encoding, packed);
  std::string out;
  out.reserve(frame.header.size() + frame.stored.size() + frame.tail.size());
  out.append(frame.header).append(frame.stored).append(frame.tail);
  return out;
}

std::string encode_footer(std::uint32_t n_sections, std::uint64_t bytes, const Digest& digest) {
  ByteWriter payload;
  payload.u64(n_sections);
  payload.u64(bytes);
  payload.digest(digest);
  return encode_section(SectionType::kEnd, n_sections, payload.bytes(), SectionEncoding::kRaw);
}

// ---- Writer ----

ExportWriter::ExportWriter(int fd, std::string path, std::string temporary)
    : fd_(fd), path_(std::move(path)), temporary_(std::move(temporary)) {}

ExportWriter::~ExportWriter() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

Result<std::unique_ptr<ExportWriter>> ExportWriter::create(const std::string& path, const ExportHeader& header) {
  struct stat about {};
  if (::stat(path.c_str(), &about) == 0) {
    bool ours = S_ISREG(about.st_mode) && about.st_size == 0;
    if (S_ISREG(about.st_mode) && !ours) {
      auto source = open_export(path);
      std::array<char, kExportMagic.size()> magic{};
      ours = source && (*source)->read(0, magic.data(), magic.size()).has_value() &&
             std::string_view(magic.data(), magic.size()) == kExportMagic;
    }
    if (!ours) {
      return make_error(ErrorCode::kConflict,
                        fmt::format("{} exists and is not an exported session; it is left as it is", path));
    }
  }
  const std::string temporary = fmt::format("{}.{}.part", path, ::getpid());
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return system_error(temporary, "cannot be created");
  std::unique_ptr<ExportWriter> writer(new ExportWriter(fd, path, temporary));
  auto put = writer->put(encode_preamble(header));
  if (!put) return put.error();
  return writer;
}

Result<void> ExportWriter::put(std::string_view bytes) {
  hasher_.update(bytes);
  bytes_ += bytes.size();
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error(path_, "writing");
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  if (bytes_ - flushed_ >= kFlushBytes) {
    // Only a hint: what it could not do, the fsync does or reports.
    static_cast<void>(::sync_file_range(fd_, static_cast<off_t>(flushed_), static_cast<off_t>(bytes_ - flushed_),
                                        SYNC_FILE_RANGE_WRITE));
    flushed_ = bytes_;
  }
  return {};
}

Result<void> ExportWriter::end_section() {
  if (buffer_.empty()) return {};
  const bool text =
      type_ == SectionType::kBranches || type_ == SectionType::kRecords || type_ == SectionType::kManifests;
  std::string packed;
  const SectionFrame frame =
      frame_section(type_, n_sections_++, buffer_, text ? SectionEncoding::kZstd : SectionEncoding::kRaw, packed);
  // One by one: a copy of them all would be one more pass over every byte.
  for (const std::string_view part : {std::string_view(frame.header), frame.stored, std::string_view(frame.tail)}) {
    auto written = put(part);
    if (!written) return written.error();
  }
  buffer_.clear();
  return {};
}

Result<void> ExportWriter::add(SectionType type, std::string_view bytes) {
  if (type != type_) {
    auto ended = end_section();
    if (!ended) return ended.error();
    type_ = type;
  }
  while (!bytes.empty()) {
    const std::size_t n = std::min(bytes.size(), kSectionBytesMax - buffer_.size());
    buffer_.append(bytes.substr(0, n));
    bytes.remove_prefix(n);
    if (buffer_.size() == kSectionBytesMax) {
      auto ended = end_section();
      if (!ended) return ended.error();
    }
  }
  return {};
}

Result<std::uint64_t> ExportWriter::finish() {
  auto ended = end_section();
  if (!ended) return ended.error();
  auto put_footer = put(encode_footer(n_sections_, bytes_, hasher_.finish()));
  if (!put_footer) return put_footer.error();
  if (::fsync(fd_) != 0) return system_error(path_, "syncing");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return system_error(path_, "renaming the finished file");
  ::close(fd_);
  fd_ = -1;
  const std::string folder = std::filesystem::path(path_).parent_path().string();
  auto synced = sync_folder(folder.empty() ? "." : folder);
  if (!synced) return synced.error();
  return bytes_;
}

// ---- Source ----

namespace {

class FileSource final : public ExportSource {
 public:
  FileSource(int fd, std::string path, std::uint64_t size) : fd_(fd), path_(std::move(path)), size_(size) {}
  ~FileSource() override { ::close(fd_); }
  const std::string& name() const override { return path_; }
  std::uint64_t size() const override { return size_; }
  Result<void> read(std::uint64_t offset, char* out, std::size_t n) override {
    while (n > 0) {
      const ssize_t got = ::pread(fd_, out, n, static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return system_error(path_, "reading");
      if (got == 0) return corruption(fmt::format("{}: ends at byte {}, {} more were expected", path_, offset, n));
      out += got;
      offset += static_cast<std::uint64_t>(got);
      n -= static_cast<std::size_t>(got);
    }
    return {};
  }

 private:
  int fd_;
  std::string path_;
  std::uint64_t size_;
};

class MemorySource final : public ExportSource {
 public:
  MemorySource(std::string name, std::string bytes) : name_(std::move(name)), bytes_(std::move(bytes)) {}
  const std::string& name() const override { return name_; }
  std::uint64_t size() const override { return bytes_.size(); }
  Result<void> read(std::uint64_t offset, char* out, std::size_t n) override {
    if (offset > bytes_.size() || n > bytes_.size() - offset) {
      return corruption(fmt::format("{}: {} bytes at {} of {}", name_, n, offset, bytes_.size()));
    }
    if (n > 0) std::memcpy(out, bytes_.data() + offset, n);
    return {};
  }

 private:
  std::string name_, bytes_;
};

}  // namespace

Result<std::unique_ptr<ExportSource>> open_export(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0 && errno == ENOENT) return not_found(fmt::format("there is no file {}", path));
  if (fd < 0) return system_error(path, "cannot be opened");
  struct stat about {};
  if (::fstat(fd, &about) != 0 || !S_ISREG(about.st_mode)) {
    ::close(fd);
    return io_error(fmt::format("{} is not a file", path));
  }
  static_cast<void>(::posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
  return std::unique_ptr<ExportSource>(new FileSource(fd, path, static_cast<std::uint64_t>(about.st_size)));
}

std::unique_ptr<ExportSource> export_from_memory(std::string name, std::string bytes) {
  return std::make_unique<MemorySource>(std::move(name), std::move(bytes));
}

// ---- Reader ----

Error ExportReader::damaged(std::string_view what) const {
  return corruption(fmt::format("{}: at byte {}: {}", source_.name(), offset_, what));
}

// Into stored_.
Result<void> ExportReader::fetch(std::size_t n) {
  stored_.resize(n);
  return source_.read(offset_, stored_.data(), n);
}

Result<std::unique_ptr<ExportReader>> ExportReader::open(ExportSource& source) {
  std::unique_ptr<ExportReader> reader(new ExportReader(source));
  auto read = reader->read_preamble();
  if (!read) return read.error();
  auto footer = reader->read_footer();
  if (!footer) return footer.error();
  return reader;
}

Result<void> ExportReader::read_preamble() {
  if (source_.size() < 16) return damaged(fmt::format("a file of {} bytes is not an exported session", source_.size()));
  auto got = fetch(16);
  if (!got) return got.error();
  if (std::string_view(stored_).substr(0, 8) != kExportMagic) return damaged("this is not an exported session");
  ByteReader in(std::string_view(stored_).substr(8));
  const std::uint32_t version = in.u32(), length = in.u32();
  if (version != kExportFormatVersion) {
    return make_error(ErrorCode::kVersionMismatch,
                      fmt::format("{}: an export of format version {}; this program reads version {}", source_.name(),
                                  version, kExportFormatVersion));
  }
  if (length > kExportHeaderBytesMax || source_.size() < 16 + std::uint64_t{length} + 8) {
    return damaged(fmt::format("a header of {} bytes in a file of {}", length, source_.size()));
  }
  got = fetch(16 + length + 8);
  if (!got) return got.error();
  const std::string_view all = stored_;
  const std::uint64_t found = ByteReader(all.substr(16 + length)).u64();
  const std::uint64_t expected = checksum64(all.substr(0, 16 + length));
  if (found != expected) {
    return damaged(fmt::format("the header's checksum is {:016x}, its bytes give {:016x}", found, expected));
  }
  auto header = decode_export_header(all.substr(16, length));
  if (!header) return with_context(source_.name(), header.error());
  auto layout = check_layout(header->layout);
  if (!layout) return with_context(source_.name(), layout.error());
  header_ = std::move(*header);
  hasher_.update(all);
  offset_ = all.size();
  return {};
}

Result<void> ExportReader::read_footer() {
  const std::uint64_t first = offset_;
  if (source_.size() < first + kFooterBytes) return damaged("the file ends here: it was cut short");
  end_ = source_.size() - kFooterBytes;
  offset_ = end_;
  auto got = fetch(kFooterBytes);
  if (!got) return got.error();
  const std::string_view all = stored_;
  ByteReader in(all.substr(kSectionHeaderBytes));
  const std::uint64_t n_sections = in.u64(), bytes = in.u64();
  digest_ = in.digest();
  if (n_sections > UINT32_MAX || all != encode_footer(static_cast<std::uint32_t>(n_sections), bytes, digest_)) {
    return damaged("no footer: the file was cut short, or something stands behind its end, or it is damaged there");
  }
  if (bytes != end_) {
    return damaged(fmt::format("the footer says {} bytes come before it; {} do", bytes, end_));
  }
  n_sections_ = static_cast<std::uint32_t>(n_sections);
  offset_ = first;
  return {};
}

Result<std::optional<Section>> ExportReader::next() {
  if (offset_ == end_) {
    if (number_ != n_sections_) return damaged(fmt::format("{} sections, the footer says {}", number_, n_sections_));
    const Digest found = hasher_.finish();
    if (found != digest_) {
      return damaged(fmt::format("the file's digest is {}, the footer says {}", found.hex(), digest_.hex()));
    }
    return std::optional<Section>();
  }
  if (end_ - offset_ < kSectionHeaderBytes + kSectionTailBytes) return damaged("half a section");
  // Apart from stored_, which keeps its size: making it larger again would fill it first.
  std::array<char, kSectionHeaderBytes> header;
  auto got = source_.read(offset_, header.data(), header.size());
  if (!got) return got.error();
  ByteReader in(std::string_view(header.data(), header.size()));
  const std::uint8_t type = in.u8(), encoding = in.u8();
  const std::uint16_t zero = in.u16();
  const std::uint32_t raw = in.u32(), stored = in.u32(), number = in.u32();
  if (type < static_cast<std::uint8_t>(SectionType::kBranches) ||
      type >= static_cast<std::uint8_t>(SectionType::kEnd) ||
      encoding > static_cast<std::uint8_t>(SectionEncoding::kZstd) || zero != 0) {
    return damaged(fmt::format("a section of type {}, encoding {}, which do not exist", type, encoding));
  }
  if (number != number_) return damaged(fmt::format("section {} where {} is due", number, number_));
  const bool packed = encoding == static_cast<std::uint8_t>(SectionEncoding::kZstd);
  if (raw == 0 || raw > kSectionBytesMax || stored == 0 || stored > raw || (!packed && stored != raw) ||
      raw > std::uint64_t{stored} * kExpansionMax + kExpansionFree ||
      stored > end_ - offset_ - kSectionHeaderBytes - kSectionTailBytes) {
    return damaged(fmt::format("a section of {} bytes, {} unpacked, which cannot be", stored, raw));
  }
  got = fetch(kSectionHeaderBytes + stored + kSectionTailBytes);
  if (!got) return got.error();
  const std::string_view all = stored_;
  const std::string_view body = all.substr(kSectionHeaderBytes, stored);
  const std::uint64_t found = ByteReader(all.substr(kSectionHeaderBytes + stored)).u64();
  const std::uint64_t expected = section_checksum(all.substr(0, kSectionHeaderBytes), body);
  if (found != expected) {
    return damaged(fmt::format("section {}: checksum {:016x}, its bytes give {:016x}", number, found, expected));
  }
  Section out{static_cast<SectionType>(type), number, offset_, body};
  if (packed) {
    unpacked_.resize(raw);
    const std::size_t n = ZSTD_decompress(unpacked_.data(), raw, body.data(), body.size());
    if (ZSTD_isError(n) || n != raw) {
      return damaged(fmt::format("section {} does not unpack to {} bytes{}{}", number, raw, ZSTD_isError(n) ? ": " : "",
                                 ZSTD_isError(n) ? ZSTD_getErrorName(n) : ""));
    }
    out.bytes = unpacked_;
  }
  hasher_.update(all);
  offset_ += all.size();
  ++number_;
  return std::optional<Section>(out);
}

}  // namespace longhaul::sessions
