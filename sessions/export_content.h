// What stands in an exported session's sections, in this order: the lineage's branches, its records, its manifests,
// then for each manifest that has them its state and its pages. The reader checks everything against everything (chain,
// numbering, every record's fit, digests, sizes, that pages join up) before a sink is told that the file is whole; it
// knows no store, so that a test can feed it anything.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sessions/context.h"
#include "sessions/entries.h"
#include "sessions/export_file.h"
#include "sessions/lineage.h"
#include "sessions/session_manager.h"

namespace longhaul::sessions {

// Branches by their place in the file: the first one's parent is nothing (or the base), every other's the one before.
struct ExportManifest {
  std::size_t branch = 0;
  std::uint64_t sequence = 0;
  Manifest manifest;  // generation: 0 nothing follows, else how many with one have come so far
};

std::string encode_export_branch(const BranchEntry& entry);
std::string encode_export_record(const JournalEntry& entry);
std::string encode_export_manifest(const ExportManifest& manifest);

// Own records of branch i: (journal_cut, journal_end]; its states and pages are usable up to position_end. As in a
// lineage read from a store; `branch` is the place in the file plus `first`.
std::vector<Link> links_of(const std::vector<BranchEntry>& branches, std::uint64_t end_sequence, std::uint64_t first);

// Gets the content as it has been checked so far. Nothing may be made visible before read_export returned. An error of
// the sink ends the reading and is returned.
class ImportSink {
 public:
  virtual ~ImportSink() = default;
  // For a delta: what the base holds up to header.base_sequence, with its chain. kNotFound names the base.
  virtual Result<Fold> find_base(const ExportHeader& header) = 0;
  // Gives how many pages of the base (from page 0 on) this lineage can use; 0 without base.
  virtual Result<std::uint64_t> branches(const std::vector<BranchEntry>& branches) = 0;
  virtual Result<void> record(std::size_t branch, const JournalEntry& entry, const Digest& chain_before) = 0;
  virtual Result<void> manifests(const std::vector<ExportManifest>& manifests) = 0;
  virtual Result<void> state(const ExportManifest& at, std::string_view fixed, std::string_view open_pages) = 0;
  // In the order of layer, index.
  virtual Result<void> page(const ExportManifest& at, std::uint32_t layer, std::uint64_t index,
                            std::string_view bytes) = 0;
};

struct ExportContent {
  ExportHeader header;
  std::vector<BranchEntry> branches;
  std::vector<ExportManifest> manifests;
  Context context;
  std::uint64_t n_records = 0, n_states = 0, n_pages = 0;
};

// kCorruption, kVersionMismatch or kIo with file and offset; or the sink's error.
Result<ExportContent> read_export(ExportSource& source, ImportSink& sink, const ByteProgress& progress = nullptr);

}  // namespace longhaul::sessions
