#include "runtime/resident_set.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/base/sizes.h"

namespace longhaul::runtime {

MemorySplit split_memory(std::uint64_t bytes, std::uint64_t page_cache_max) {
  if (bytes == 0) return {0, page_cache_max};
  const std::uint64_t pages = std::min(bytes / 4, page_cache_max);
  return {bytes - pages, pages};
}

Result<void> ResidentSet::use(Tenant& tenant, std::uint64_t bytes) {
  leave(tenant);
  if (bytes == 0) return {};
  if (budget_bytes_ != 0) {
    if (bytes > budget_bytes_) {
      return make_error(ErrorCode::kResourceExhausted,
                        fmt::format("session {} needs {} of memory for its state, the budget is {}",
                                    tenant.tenant_name(), human_bytes(bytes), human_bytes(budget_bytes_)));
    }
    while (resident_bytes_ + bytes > budget_bytes_) {
      Tenant& oldest = *order_.front().tenant;
      if (auto ok = oldest.park(); !ok) return ok.error();
      leave(oldest);
      ++n_parked_;
    }
  }
  order_.push_back({&tenant, bytes});
  where_[&tenant] = std::prev(order_.end());
  resident_bytes_ += bytes;
  return {};
}

void ResidentSet::leave(Tenant& tenant) {
  const auto found = where_.find(&tenant);
  if (found == where_.end()) return;
  resident_bytes_ -= found->second->bytes;
  order_.erase(found->second);
  where_.erase(found);
}

}  // namespace longhaul::runtime
