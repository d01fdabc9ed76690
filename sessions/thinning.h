// Which stored states stay as they age: the newest four, then ever sparser with the spacing doubling, so that n commits
// keep O(log n) states and every earlier point is rebuilt from one not much further back than it is old. Any position
// stays reachable: the recorded tokens are fed again from the nearest state before it.
#pragma once

#include <cstdint>

namespace longhaul::sessions {

inline constexpr std::uint64_t kNewestStatesKept = 4;

// States are numbered 0, 1, 2, ... along a lineage; `newest` is the last one's number. A state once dropped stays
// dropped: the rule gets only stricter with age. At age [4*2^j, 4*2^(j+1)) multiples of 2^(j+1) stay: two an octave.
constexpr bool keep_state(std::uint64_t number, std::uint64_t newest) {
  const std::uint64_t age = newest - number;
  std::uint64_t spacing = 1;
  for (std::uint64_t bound = kNewestStatesKept; age >= bound && spacing < (std::uint64_t{1} << 60); bound *= 2) {
    spacing *= 2;
  }
  return number % spacing == 0;
}

}  // namespace longhaul::sessions
