#include "sessions/export_content.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "sessions/bytes.h"

namespace longhaul::sessions {
namespace {

constexpr std::uint8_t kHasTime = 1;
constexpr std::size_t kManifestBytesMax = 1024;
// Larger than any context; keeps sums of hostile numbers from overflowing.
constexpr std::uint64_t kCountMax = std::uint64_t{1} << 48;

// The sections as a stream of bytes of one type at a time.
class ContentStream {
 public:
  explicit ContentStream(ExportReader& reader) : reader_(reader) {}

  // Appends exactly n bytes of sections of this type to `out`. It grows only as bytes arrive.
  Result<void> take(SectionType type, std::uint64_t n, std::string& out) {
    while (n > 0) {
      auto there = fill(type);
      if (!there) return there.error();
      const std::size_t some = std::min<std::uint64_t>(n, left_.size());
      out.append(left_.substr(0, some));
      left_.remove_prefix(some);
      n -= some;
    }
    return {};
  }
  // The same without a copy, unless they are in more than one section: then in `scratch`. Until the next call.
  Result<std::string_view> view(SectionType type, std::uint64_t n, std::string& scratch) {
    if (n > 0 && left_.empty()) {
      auto there = fill(type);
      if (!there) return there.error();
    }
    if (type_ == type && n <= left_.size()) {
      const std::string_view out = left_.substr(0, n);
      left_.remove_prefix(n);
      return out;
    }
    scratch.clear();
    auto got = take(type, n, scratch);
    if (!got) return got.error();
    return std::string_view(scratch);
  }
  Result<std::uint64_t> varint(SectionType type) {
    std::string bytes;
    for (int i = 0; i < 10; ++i) {
      auto got = take(type, 1, bytes);
      if (!got) return got.error();
      if ((static_cast<unsigned char>(bytes.back()) & 0x80) == 0) break;
    }
    ByteReader in(bytes);
    const std::uint64_t value = in.varint();
    auto whole = in.finish("length");
    if (!whole) return whole.error();
    return value;
  }
  // Nothing is left over, and the whole file's digest is right.
  Result<void> finish() {
    if (!left_.empty())
      return corruption(fmt::format("{} bytes more than what the file is said to hold", left_.size()));
    auto next = reader_.next();
    if (!next) return next.error();
    if (*next) return corruption(fmt::format("section {} is one too many", (*next)->number));
    return {};
  }

 private:
  Result<void> fill(SectionType type) {
    if (left_.empty()) {
      auto next = reader_.next();
      if (!next) return next.error();
      if (!*next) return corruption("the sections end before everything was there");
      left_ = (*next)->bytes;
      type_ = (*next)->type;
    }
    if (type_ != type) {
      return corruption(
          fmt::format("a section of type {} where type {} is due", static_cast<int>(type_), static_cast<int>(type)));
    }
    return {};
  }

  ExportReader& reader_;
  std::string_view left_;
  SectionType type_ = SectionType::kEnd;
};

class ContentReader {
 public:
  ContentReader(ExportReader& reader, ImportSink& sink, const ByteProgress& progress, std::uint64_t file_bytes)
      : reader_(reader), stream_(reader), sink_(sink), progress_(progress), file_bytes_(file_bytes) {}

  Result<ExportContent> read() {
    out_.header = reader_.header();
    auto named = check_session_name(out_.header.name);
    if (!named) return corruption(named.error().message);
    if (!out_.header.origin.empty()) {
      named = check_session_name(out_.header.origin);
      if (!named) return corruption(named.error().message);
    }
    if (out_.header.base_sequence != 0) {
      auto base = sink_.find_base(out_.header);
      if (!base) return base.error();
      out_.context = std::move(base->context);
      chain_ = base->chain;
    }
    for (auto step : {&ContentReader::read_branches, &ContentReader::read_records, &ContentReader::read_manifests,
                      &ContentReader::read_bulk}) {
      auto done = (this->*step)();
      if (!done) return done.error();
    }
    auto whole = stream_.finish();
    if (!whole) return whole.error();
    return std::move(out_);
  }

 private:
  void tell() const {
    if (progress_) progress_(reader_.offset(), file_bytes_);
  }

  Result<void> read_branches() {
    const ExportHeader& header = out_.header;
    std::string bytes;
    for (std::uint64_t i = 0; i < header.n_branches; ++i) {
      bytes.clear();
      auto got = stream_.take(SectionType::kBranches, 41, bytes);
      if (!got) return got.error();
      ByteReader in(bytes);
      BranchEntry entry;
      entry.journal_cut = in.u64();
      entry.position_cut = in.u64();
      entry.chain_at_cut = in.digest();
      const std::uint8_t reason = in.u8();
      entry.created_ms = in.i64();
      const std::uint64_t before = i == 0 ? header.base_sequence : out_.branches.back().journal_cut;
      const bool root = i == 0 && header.base_sequence == 0;
      if (reason > static_cast<std::uint8_t>(BranchReason::kReplay) || (reason == 0) != root ||
          entry.journal_cut < before || entry.journal_cut > header.end_sequence ||
          (i == 0 && entry.journal_cut != before) || entry.position_cut > kCountMax ||
          (root && entry.position_cut != 0)) {
        return corruption(fmt::format("branch {}: reason {}, cut after record {} and token {}, which cannot be", i,
                                      reason, entry.journal_cut, entry.position_cut));
      }
      entry.reason = static_cast<BranchReason>(reason);
      out_.branches.push_back(entry);
    }
    links_ = links_of(out_.branches, header.end_sequence, 1);
    auto pages = sink_.branches(out_.branches);
    if (!pages) return pages.error();
    n_pages_held_ = n_base_pages_ = *pages;
    return {};
  }

  // The next branch begins here.
  Result<void> enter(std::size_t branch) {
    const BranchEntry& entry = out_.branches[branch];
    if (entry.chain_at_cut != chain_) {
      return corruption(fmt::format("branch {} begins with chain {}, the records before it give {}", branch,
                                    entry.chain_at_cut.hex(), chain_.hex()));
    }
    if (entry.reason != BranchReason::kRoot && entry.reason != BranchReason::kReplay) {
      out_.context.cut(entry.position_cut);
    }
    return {};
  }

  Result<void> read_records() {
    const ExportHeader& header = out_.header;
    std::size_t next_branch = 0;
    std::string bytes;
    for (std::uint64_t sequence = header.base_sequence;; ++sequence) {
      while (next_branch < out_.branches.size() && out_.branches[next_branch].journal_cut == sequence) {
        auto entered = enter(next_branch++);
        if (!entered) return entered.error();
      }
      if (sequence == header.end_sequence) break;
      auto done = read_record(next_branch - 1, sequence + 1, bytes);
      if (!done) return with_context(fmt::format("record {}", sequence + 1), done.error());
      if (sequence % 4096 == 0) tell();
    }
    if (chain_ != header.end_chain) {
      return corruption(
          fmt::format("the records end with chain {}, the header says {}", chain_.hex(), header.end_chain.hex()));
    }
    if (out_.context.identity() != header.identity) {
      return corruption(fmt::format("the header names model {} ({}), the journal {} ({})",
                                    header.identity.model_fingerprint, header.identity.numerics_tag,
                                    out_.context.identity().model_fingerprint, out_.context.identity().numerics_tag));
    }
    return {};
  }

  Result<void> read_record(std::size_t branch, std::uint64_t sequence, std::string& bytes) {
    bytes.clear();
    auto got = stream_.take(SectionType::kRecords, 3, bytes);
    if (!got) return got.error();
    const auto kind = static_cast<std::uint8_t>(bytes[0]), version = static_cast<std::uint8_t>(bytes[1]),
               flags = static_cast<std::uint8_t>(bytes[2]);
    if ((flags & ~kHasTime) != 0) {
      return make_error(ErrorCode::kVersionMismatch,
                        fmt::format("flags {:#x}; this program knows {:#x}", flags, kHasTime));
    }
    JournalEntry entry{branch + 1, sequence, 0, {}};
    if ((flags & kHasTime) != 0) {
      bytes.clear();
      got = stream_.take(SectionType::kRecords, 8, bytes);
      if (!got) return got.error();
      entry.time_ms = ByteReader(bytes).i64();
      if (entry.time_ms == 0) return corruption("the time 0 spelt out");
    }
    auto length = stream_.varint(SectionType::kRecords);
    if (!length) return length.error();
    bytes.clear();
    got = stream_.take(SectionType::kRecords, *length, bytes);
    if (!got) return got.error();
    auto record = decode_payload(kind, version, bytes);
    if (!record) return record.error();
    entry.record = std::move(*record);
    auto applied = out_.context.apply(entry);
    if (!applied) return applied.error();
    const Digest before = chain_;
    chain_ = chain_record(chain_, sequence, entry.time_ms, entry.record, bytes);
    ++out_.n_records;
    if (auto expected = manifest_of(entry, out_.context, chain_)) expected_[sequence] = *expected;
    return sink_.record(branch, entry, before);
  }

  Result<void> read_manifests() {
    std::string bytes;
    std::uint64_t generation = 0, bulk_bytes = 0;
    for (std::uint64_t i = 0; i < out_.header.n_manifests; ++i) {
      bytes.clear();
      auto got = stream_.take(SectionType::kManifests, 12, bytes);
      if (!got) return got.error();
      ByteReader in(bytes);
      ExportManifest at;
      at.branch = in.u32();
      at.sequence = in.u64();
      auto length = stream_.varint(SectionType::kManifests);
      if (!length) return length.error();
      if (*length > kManifestBytesMax) return corruption(fmt::format("a manifest of {} bytes", *length));
      bytes.clear();
      got = stream_.take(SectionType::kManifests, *length, bytes);
      if (!got) return got.error();
      auto manifest = decode_manifest(bytes);
      if (!manifest) return manifest.error();
      at.manifest = *manifest;
      auto fits = check_manifest(at, generation, bulk_bytes);
      if (!fits) {
        return with_context(fmt::format("manifest of record {} of branch {}", at.sequence, at.branch), fits.error());
      }
      out_.manifests.push_back(at);
    }
    if (n_expected_seen_ != expected_.size()) {
      return corruption(fmt::format("{} commits, {} of them with a manifest", expected_.size(), n_expected_seen_));
    }
    if (bulk_bytes != out_.header.bulk_bytes) {
      return corruption(
          fmt::format("states and pages of {} bytes, the header says {}", bulk_bytes, out_.header.bulk_bytes));
    }
    return sink_.manifests(out_.manifests);
  }

  Result<void> check_manifest(const ExportManifest& at, std::uint64_t& generation, std::uint64_t& bulk_bytes) {
    if (at.branch >= links_.size()) return corruption(fmt::format("{} branches are there", links_.size()));
    const Link& link = links_[at.branch];
    const Manifest& m = at.manifest;
    if (!out_.manifests.empty()) {
      const ExportManifest& last = out_.manifests.back();
      if (std::pair(last.branch, last.sequence) >= std::pair(at.branch, at.sequence)) {
        return corruption(fmt::format("comes after record {} of branch {}", last.sequence, last.branch));
      }
    }
    if (at.sequence <= link.entry.journal_cut || at.sequence > kCountMax) return corruption("is not of this branch");
    if (at.sequence <= link.journal_end) {
      const auto found = expected_.find(at.sequence);
      if (found == expected_.end()) return corruption("that record is no commit");
      auto fits = sessions::check_manifest(m, found->second);
      if (!fits) return fits.error();
      ++n_expected_seen_;
    } else if (at.branch + 1 == links_.size()) {
      return corruption("behind the last record");
    }
    if (m.state_ordinal > kCountMax || m.n_tokens > kCountMax) return corruption("numbers that cannot be");
    if (m.generation != 0 && m.generation != ++generation) {
      return corruption(fmt::format("says it is number {} of those with a state or pages; it is number {}",
                                    m.generation, generation));
    }
    if (m.generation != 0 && !m.has_state && m.n_pages == 0) return corruption("a generation of nothing");
    auto fits = check_bulk(link, m, bulk_bytes);
    if (!fits) return fits.error();
    // By what comes before: a session that is rewound to here has nothing else.
    const std::uint64_t needed =
        m.has_state && out_.header.layout.n_attention_layers > 0 ? m.state_position / model::kPageTokens : 0;
    if (needed > n_pages_held_) {
      return corruption(
          fmt::format("the state at token {} needs {} pages, {} are there", m.state_position, needed, n_pages_held_));
    }
    return {};
  }

  Result<void> check_bulk(const Link& link, const Manifest& m, std::uint64_t& bulk_bytes) {
    const model::StateLayout& layout = out_.header.layout;
    if (m.has_state) {
      const std::uint64_t open = open_pages_bytes(layout, m.state_position);
      if (m.fixed_bytes != layout.fixed_bytes() || m.open_bytes != open) {
        return corruption(fmt::format("a state of {} + {} bytes, the layout needs {} + {} at token {}", m.fixed_bytes,
                                      m.open_bytes, layout.fixed_bytes(), open, m.state_position));
      }
      if (m.state_position > link.position_end) {
        return corruption(
            fmt::format("a state at token {}, this branch is of use up to {}", m.state_position, link.position_end));
      }
      bulk_bytes += m.fixed_bytes + m.open_bytes;
      ++out_.n_states;
    }
    if (m.n_pages == 0) return {};
    const std::uint64_t end = m.first_page + m.n_pages;  // decode_manifest: no overflow, in tokens neither
    if (m.page_layers != layout.n_attention_layers || m.page_layers == 0 || end * model::kPageTokens > m.n_tokens ||
        (link.position_end != kNoLimit && end * model::kPageTokens > link.position_end)) {
      return corruption(fmt::format("pages {} to {} of {} layers, which cannot be", m.first_page, end, m.page_layers));
    }
    // Overlap is good: whoever holds the base may have stored pages of it later than the exporter's base had.
    if (m.first_page > n_pages_held_ && n_pages_held_ == n_base_pages_ && out_.header.base_sequence > 0) {
      return not_found(
          fmt::format("the file's pages go on from page {} of the base, and no session here that has the base holds "
                      "more than its first {}: import the session whole",
                      m.first_page, n_base_pages_));
    }
    if (m.first_page > n_pages_held_) {
      return corruption(fmt::format("pages from {} on; the ones before it end at {}", m.first_page, n_pages_held_));
    }
    n_pages_held_ = end;
    // At most 2^48 / 128 pages, 2^24 bytes each; layers times page bytes were checked to be under 2^32.
    if (m.n_pages > kCountMax / (std::uint64_t{m.page_layers} * layout.page_bytes())) {
      return corruption("more pages than can be");
    }
    bulk_bytes += m.n_pages * m.page_layers * layout.page_bytes();
    if (bulk_bytes > out_.header.bulk_bytes) return corruption("more states and pages than the header says");
    out_.n_pages += m.n_pages * m.page_layers;
    return {};
  }

  Result<void> read_bulk() {
    std::string first, second;
    for (const ExportManifest& at : out_.manifests) {
      const Manifest& m = at.manifest;
      if (m.has_state) {
        first.clear();
        second.clear();
        auto got = stream_.take(SectionType::kStates, m.fixed_bytes, first);
        if (!got) return got.error();
        got = stream_.take(SectionType::kStates, m.open_bytes, second);
        if (!got) return got.error();
        const Digest found =
            state_digest(m.state_position, digest_of(std::string_view(first)), digest_of(std::string_view(second)));
        if (found != m.state_digest) {
          return corruption(fmt::format("the state at token {}: digest {}, its manifest says {}", m.state_position,
                                        found.hex(), m.state_digest.hex()));
        }
        auto given = sink_.state(at, first, second);
        if (!given) return given.error();
        tell();
      }
      for (std::uint32_t layer = 0; m.n_pages > 0 && layer < m.page_layers; ++layer) {
        for (std::uint64_t index = m.first_page; index < m.first_page + m.n_pages; ++index) {
          auto bytes = stream_.view(SectionType::kPages, out_.header.layout.page_bytes(), first);
          if (!bytes) return bytes.error();
          auto given = sink_.page(at, layer, index, *bytes);
          if (!given) return given.error();
        }
        tell();
      }
    }
    return {};
  }

  ExportReader& reader_;
  ContentStream stream_;
  ImportSink& sink_;
  const ByteProgress& progress_;
  std::uint64_t file_bytes_;
  ExportContent out_;
  Digest chain_;
  std::vector<Link> links_;
  std::map<std::uint64_t, Manifest> expected_;
  std::size_t n_expected_seen_ = 0;
  std::uint64_t n_pages_held_ = 0, n_base_pages_ = 0;
};

}  // namespace

std::string encode_export_branch(const BranchEntry& entry) {
  ByteWriter out;
  out.u64(entry.journal_cut);
  out.u64(entry.position_cut);
  out.digest(entry.chain_at_cut);
  out.u8(static_cast<std::uint8_t>(entry.reason));
  out.i64(entry.created_ms);
  return out.take();
}

std::string encode_export_record(const JournalEntry& entry) {
  ByteWriter out;
  out.u8(kind_of(entry.record));
  out.u8(kRecordVersion);
  out.u8(entry.time_ms != 0 ? kHasTime : 0);
  if (entry.time_ms != 0) out.i64(entry.time_ms);
  out.text(encode_payload(entry.record));
  return out.take();
}

std::string encode_export_manifest(const ExportManifest& manifest) {
  ByteWriter out;
  out.u32(static_cast<std::uint32_t>(manifest.branch));
  out.u64(manifest.sequence);
  out.text(encode(manifest.manifest));
  return out.take();
}

std::vector<Link> links_of(const std::vector<BranchEntry>& branches, std::uint64_t end_sequence, std::uint64_t first) {
  std::vector<Link> out(branches.size());
  std::uint64_t journal_end = end_sequence, position_end = kNoLimit;
  for (std::size_t i = branches.size(); i-- > 0;) {
    out[i] = {first + i, branches[i], journal_end, position_end};
    journal_end = branches[i].journal_cut;
    position_end = std::min(position_end, branches[i].position_cut);
  }
  return out;
}

Result<ExportContent> read_export(ExportSource& source, ImportSink& sink, const ByteProgress& progress) {
  auto reader = ExportReader::open(source);
  if (!reader) return reader.error();
  ContentReader content(**reader, sink, progress, source.size());
  auto read = content.read();
  if (!read) {
    // A sink's error names what it is about; those of the content name the file.
    const bool named = read.error().message.find(source.name()) != std::string::npos;
    return named ? read.error() : with_context(source.name(), read.error());
  }
  return read;
}

}  // namespace longhaul::sessions
