// Exported sessions from hostile bytes. The first byte chooses: 0, the rest is a file as it is, which hardly ever gets
// past the checksums; else the rest is a header and sections that are put into a file with every checksum right, so
// that what stands behind them is reached. Never a crash, and memory stays within what the input can pay for.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "sessions/export_content.h"

namespace {

using namespace longhaul;
using namespace longhaul::sessions;

class Sink final : public ImportSink {
 public:
  Result<Fold> find_base(const ExportHeader& header) override { return not_found(header.name); }
  Result<std::uint64_t> branches(const std::vector<BranchEntry>& branches) override {
    n_branches_ = branches.size();
    return 0;
  }
  Result<void> record(std::size_t branch, const JournalEntry& entry, const Digest&) override {
    if (branch >= n_branches_ || entry.sequence != ++sequence_) std::abort();
    return {};
  }
  Result<void> manifests(const std::vector<ExportManifest>& manifests) override {
    for (const ExportManifest& at : manifests) n_states_ += at.manifest.has_state ? 1 : 0;
    return {};
  }
  Result<void> state(const ExportManifest& at, std::string_view fixed, std::string_view open_pages) override {
    if (fixed.size() != at.manifest.fixed_bytes || open_pages.size() != at.manifest.open_bytes || n_states_-- == 0) {
      std::abort();
    }
    return {};
  }
  Result<void> page(const ExportManifest& at, std::uint32_t layer, std::uint64_t index, std::string_view) override {
    if (layer >= at.manifest.page_layers || index < at.manifest.first_page) std::abort();
    return {};
  }

 private:
  std::size_t n_branches_ = 0, n_states_ = 0;
  std::uint64_t sequence_ = 0;
};

// u16 length and header payload; then sections: type, encoding, u16 length, bytes.
std::string assemble(std::string_view in) {
  const auto length = [&] {
    const std::size_t n = static_cast<unsigned char>(in[0]) | std::size_t{static_cast<unsigned char>(in[1])} << 8;
    in.remove_prefix(2);
    return n < in.size() ? n : in.size();
  };
  std::string out(kExportMagic);
  const auto u32 = [&](std::uint64_t value) {
    for (int i = 0; i < 4; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
  };
  u32(kExportFormatVersion);
  if (in.size() < 2) return out;
  const std::size_t n = length();
  u32(n);
  out += in.substr(0, n);
  in.remove_prefix(n);
  const std::uint64_t checksum = checksum64(out);
  u32(checksum);
  u32(checksum >> 32);
  std::uint32_t number = 0;
  while (in.size() >= 4) {
    const auto type = static_cast<SectionType>(in[0]);
    const auto encoding = static_cast<SectionEncoding>(in[1] & 1);
    in.remove_prefix(2);
    const std::size_t size = length();
    out += encode_section(type, number++, in.substr(0, size), encoding);
    in.remove_prefix(size);
  }
  return out + encode_footer(number, out.size(), digest_of(std::string_view(out)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  auto source = export_from_memory("input", data[0] == 0 ? std::string(bytes) : assemble(bytes));
  Sink sink;
  auto content = read_export(*source, sink);
  if (content && content->context.sequence() != content->header.end_sequence) std::abort();
  if (!content && content.error().message.empty()) std::abort();
  return 0;
}
