// Bounds the memory that model states of sessions take together, their own KV pages included: who was used least
// recently is parked (its state stored, its memory freed) and comes back by itself when it is used again, without
// anyone noticing but the clock.
//
// Confined to one thread. Tenants are borrowed; each leaves before it goes.
#pragma once

#include <cstdint>
#include <list>
#include <string>
#include <unordered_map>

#include "runtime/base/result.h"

namespace longhaul::runtime {

// What `--memory` bounds, in two parts that do not lend to each other, so that which session is parked does not depend
// on what was read before.
struct MemorySplit {
  std::uint64_t states = 0;  // bytes, for a ResidentSet; 0: no bound
  std::uint64_t page_cache =
      0;  // bytes of KV pages kept after they were read: sessions::StoreOptions::page_cache_bytes
};
// A quarter is the page cache's, up to what it takes without a bound; the rest is the states'. 0: no bound on states.
MemorySplit split_memory(std::uint64_t bytes, std::uint64_t page_cache_max);

class ResidentSet {
 public:
  class Tenant {
   public:
    virtual ~Tenant() = default;
    virtual std::string tenant_name() const = 0;
    // Stores what is new and frees the memory. After an error it may still hold it.
    virtual Result<void> park() = 0;
  };

  // 0: no bound.
  explicit ResidentSet(std::uint64_t budget_bytes) : budget_bytes_(budget_bytes) {}
  ResidentSet(const ResidentSet&) = delete;
  ResidentSet& operator=(const ResidentSet&) = delete;

  // `tenant` is in use and holds, or is about to hold, `bytes`: the others are parked until all fit. 0: it holds
  // nothing. kResourceExhausted: it is larger than the budget by itself; both are named.
  Result<void> use(Tenant& tenant, std::uint64_t bytes);
  void leave(Tenant& tenant);

  std::uint64_t budget_bytes() const { return budget_bytes_; }
  std::uint64_t resident_bytes() const { return resident_bytes_; }
  std::size_t n_resident() const { return order_.size(); }
  std::uint64_t n_parked() const { return n_parked_; }  // so far

 private:
  struct Entry {
    Tenant* tenant = nullptr;
    std::uint64_t bytes = 0;
  };
  std::uint64_t budget_bytes_;
  std::uint64_t resident_bytes_ = 0, n_parked_ = 0;
  std::list<Entry> order_;  // least recently used first
  std::unordered_map<const Tenant*, std::list<Entry>::iterator> where_;
};

}  // namespace longhaul::runtime
