#include "sessions/stale_writes.h"

#include <fmt/format.h>
#include <rocksdb/write_batch.h>

namespace longhaul::sessions {
namespace {

// A batch is a header of 12 bytes and its operations; ours begin with the stamp, as data for the log only.
constexpr std::size_t kBatchHeaderBytes = 12;
constexpr char kLogDataTag = 3;

std::optional<Stamp> stamp_of(std::string_view batch) {
  if (batch.size() < kBatchHeaderBytes + 2 || batch[kBatchHeaderBytes] != kLogDataTag) return std::nullopt;
  const auto n = static_cast<unsigned char>(batch[kBatchHeaderBytes + 1]);  // a stamp is far below 128 bytes
  if (n >= 0x80 || batch.size() < kBatchHeaderBytes + 2 + n) return std::nullopt;
  return decode_stamp(batch.substr(kBatchHeaderBytes + 2, n));
}

}  // namespace

rocksdb::WalFilter::WalProcessingOption StaleWrites::LogRecordFound(unsigned long long, const std::string& log_file,
                                                                    const rocksdb::WriteBatch& batch,
                                                                    rocksdb::WriteBatch*, bool*) {
  const auto stamp = stamp_of(batch.Data());
  if (!stamp || stamp->epoch >= highest_) {
    if (stamp) highest_ = stamp->epoch;
    return WalProcessingOption::kContinueProcessing;
  }
  if (stale_.empty() || !(stale_.back().stamp == *stamp)) stale_.push_back({*stamp, highest_, 0, log_file});
  ++stale_.back().n;
  return WalProcessingOption::kIgnoreCurrentRecord;
}

std::vector<std::string> StaleWrites::notes() const {
  std::vector<std::string> out;
  for (const Stale& each : stale_) {
    out.push_back(
        fmt::format("{}: {} writes of owner {} (..{:08x}) stood behind those of owner {}, which had taken the store "
                    "from it; they had "
                    "been acknowledged to nobody and were set aside",
                    each.log, each.n, each.stamp.epoch, each.stamp.id, each.behind));
  }
  return out;
}

}  // namespace longhaul::sessions
