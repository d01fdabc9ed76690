// Whether an array can still be completed, where some of its elements are counted (contains). Internal to tools/.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "tools/json_schema.h"

namespace longhaul::tools {

// Which nodes an element may have now.
using LiveNode = std::function<bool(NodeId)>;

// `n` elements are there, `counts` of them count for each Contains. Can the array end after some more?
bool array_can_end(const ArrayRule& rule, std::uint32_t n, const std::vector<std::uint32_t>& counts,
                   const LiveNode& live);
// The array may end here.
bool array_may_end(const ArrayRule& rule, std::uint32_t n, const std::vector<std::uint32_t>& counts);
// After one more element that counts so. Counts stop where more makes no difference; false: too many.
bool array_count(const ArrayRule& rule, const Element& element, std::vector<std::uint32_t>& counts);
// How many different counts there are, at most.
std::uint64_t array_counts(const ArrayRule& rule);
inline constexpr std::uint64_t kArrayCountsMax = 4096;

}  // namespace longhaul::tools
