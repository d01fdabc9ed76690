// Looks at the stamps in the log while the database reads it: a write of an owner that had lost the store to a later
// one (ownership.h) was acknowledged to nobody, and what it says is no longer true of the store. It is set aside and
// counted. Internal to this room.
#pragma once

#include <rocksdb/wal_filter.h>

#include <cstdint>
#include <string>
#include <vector>

#include "sessions/ownership.h"

namespace longhaul::sessions {

class StaleWrites final : public rocksdb::WalFilter {
 public:
  const char* Name() const override { return "LonghaulStaleWrites"; }
  WalProcessingOption LogRecordFound(unsigned long long log_number, const std::string& log_file,
                                     const rocksdb::WriteBatch& batch, rocksdb::WriteBatch* new_batch,
                                     bool* changed) override;

  void begin() { *this = StaleWrites(); }             // before the database is opened (once more)
  std::uint64_t highest() const { return highest_; }  // 0: no stamp was there
  std::vector<std::string> notes() const;             // one for each owner with writes that were set aside

 private:
  struct Stale {
    Stamp stamp;
    std::uint64_t behind = 0;  // the owner that had taken over
    std::uint64_t n = 0;
    std::string log;
  };
  std::uint64_t highest_ = 0;
  std::vector<Stale> stale_;
};

}  // namespace longhaul::sessions
