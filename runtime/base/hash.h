// Digests. XXH3-128 guards against damage and mistakes, not against an adversary: what an adversary could forge
// (a checkpoint, an imported session) is checked by structure before use, and its digest only says "the same bytes".
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace longhaul {

struct Digest {
  std::uint64_t high = 0;
  std::uint64_t low = 0;

  friend auto operator<=>(const Digest&, const Digest&) = default;
  std::string hex() const;  // 32 lower-case digits
};

// XXH3 128 bit; the seed separates uses.
Digest digest_of(std::span<const std::byte> bytes, std::uint64_t seed = 0);
Digest digest_of(std::string_view bytes, std::uint64_t seed = 0);

// link = H(previous || bytes): one step of a hash chain.
Digest chain(const Digest& previous, std::string_view bytes);

// XXH3 64 bit, for checksums inside records.
std::uint64_t checksum64(std::string_view bytes);

// Streaming, for files larger than memory.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;

  void update(std::string_view bytes);
  Digest finish() const;

 private:
  void* state_;
};

}  // namespace longhaul
