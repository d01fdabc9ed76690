#include "runtime/base/hash.h"

#include <xxhash.h>

#include <array>
#include <cstring>

#include "runtime/base/check.h"

namespace longhaul {
namespace {
XXH3_state_t* state_of(void* state) {
  return static_cast<XXH3_state_t*>(state);
}
}  // namespace

std::string Digest::hex() const {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out(32, '0');
  for (int i = 0; i < 16; ++i) {
    out[static_cast<std::size_t>(15 - i)] = kHex[(high >> (4 * i)) & 15];
    out[static_cast<std::size_t>(31 - i)] = kHex[(low >> (4 * i)) & 15];
  }
  return out;
}

Digest digest_of(std::string_view bytes, std::uint64_t seed) {
  XXH128_hash_t h = XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed);
  return {h.high64, h.low64};
}

Digest digest_of(std::span<const std::byte> bytes, std::uint64_t seed) {
  return digest_of(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()), seed);
}

Digest chain(const Digest& previous, std::string_view bytes) {
  Hasher hasher;
  std::array<char, 16> head;
  for (int i = 0; i < 8; ++i) {
    head[static_cast<std::size_t>(i)] = static_cast<char>(previous.high >> (8 * i));
    head[static_cast<std::size_t>(8 + i)] = static_cast<char>(previous.low >> (8 * i));
  }
  hasher.update({head.data(), head.size()});
  hasher.update(bytes);
  return hasher.finish();
}

std::uint64_t checksum64(std::string_view bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

Hasher::Hasher() : state_(XXH3_createState()) {
  LONGHAUL_CHECK(state_ != nullptr, "out of memory");
  XXH3_128bits_reset(state_of(state_));
}

Hasher::~Hasher() {
  XXH3_freeState(state_of(state_));
}

void Hasher::update(std::string_view bytes) {
  XXH3_128bits_update(state_of(state_), bytes.data(), bytes.size());
}

Digest Hasher::finish() const {
  XXH128_hash_t h = XXH3_128bits_digest(state_of(state_));
  return {h.high64, h.low64};
}

}  // namespace longhaul
