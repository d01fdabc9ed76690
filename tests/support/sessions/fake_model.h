// A stand-in for the engine that keeps its contract: the state after a prefix is a function of the prefix alone,
// however it was split, and every byte of it depends on every token before. So a resume that is off by one token, one
// page or one bit ends in another state, which the tests compare.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "model/sequence_state.h"
#include "sessions/record.h"

namespace longhaul::sessions::test {

inline std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t x = a * 0x9E3779B97F4A7C15 + b + 0x7F4A7C15;
  x ^= x >> 31;
  x *= 0xBF58476D1CE4E5B9;
  x ^= x >> 29;
  return x * 0x94D049BB133111EB + 1;
}

inline model::StateLayout small_layout() {
  model::StateLayout layout;
  layout.n_mamba_layers = 2;
  layout.n_attention_layers = 2;
  layout.conv_channels = 6;
  layout.n_mamba_heads = 2;
  layout.mamba_head_dim = 3;
  layout.d_state = 4;
  layout.n_kv_heads = 1;
  layout.head_dim = 2;
  return layout;
}

// As large as pico's: 3 Mamba layers of 8x32x32, convolution 3 x 320 rows, 2 attention layers of 2x32.
inline model::StateLayout pico_layout() {
  model::StateLayout layout;
  layout.n_mamba_layers = 3;
  layout.n_attention_layers = 2;
  layout.conv_channels = 320;
  layout.n_mamba_heads = 8;
  layout.mamba_head_dim = 32;
  layout.d_state = 32;
  layout.n_kv_heads = 2;
  layout.head_dim = 32;
  return layout;
}

inline std::uint64_t read_hash(const model::SequenceState& state) {
  std::uint64_t hash = 0;
  std::memcpy(&hash, state.mamba[0].ssm.data(), sizeof hash);
  return hash;
}

inline void fill(std::uint64_t seed, void* bytes, std::size_t n) {
  auto* out = static_cast<unsigned char*>(bytes);
  for (std::size_t i = 0; i < n; i += 8) {
    const std::uint64_t word = mix(seed, i);
    std::memcpy(out + i, &word, n - i < 8 ? n - i : 8);
  }
}

// Appends the tokens, one after the other.
inline void feed(model::SequenceState& state, std::span<const TokenId> ids) {
  const model::StateLayout& layout = state.layout();
  const std::size_t vector_bytes = layout.head_dim * layout.stored_bytes();
  std::uint64_t hash = read_hash(state);
  for (const TokenId id : ids) {
    hash = mix(hash, id);
    const std::int64_t at = state.position() % model::kPageTokens;
    for (std::uint32_t l = 0; l < layout.n_attention_layers; ++l) {
      auto& layer = state.attention[l];
      if (layer.open == nullptr) {
        layer.open = std::make_unique<model::KvPage>();
        layer.open->bytes.resize(layout.page_bytes());
      }
      for (std::uint32_t part = 0; part < 2; ++part) {
        for (std::uint32_t head = 0; head < layout.n_kv_heads; ++head) {
          const std::size_t row =
              ((part * layout.n_kv_heads + head) * model::kPageTokens + static_cast<std::size_t>(at));
          fill(mix(hash, l * 64 + part * 32 + head), layer.open->bytes.data() + row * vector_bytes, vector_bytes);
        }
      }
      if (at + 1 == model::kPageTokens)
        layer.full.push_back(std::shared_ptr<const model::KvPage>(std::move(layer.open)));
    }
    state.set_position(state.position() + 1);
  }
  // Only the last token's fixed part can be seen.
  for (std::size_t l = 0; l < state.mamba.size(); ++l) {
    auto& layer = state.mamba[l];
    fill(mix(hash, 1000 + l), layer.conv.data(), layer.conv.size());
    fill(mix(hash, 2000 + l), layer.ssm.data(), layer.ssm.size() * sizeof(float));
  }
  std::memcpy(state.mamba[0].ssm.data(), &hash, sizeof hash);
}

// The token that the model would draw after this state.
inline TokenId draw_token(const model::SequenceState& state, std::uint64_t seed, std::uint64_t draw) {
  return static_cast<TokenId>(mix(mix(read_hash(state), seed), draw) % 50'000);
}

// The state after these tokens, from nothing: what every resume is compared with.
inline model::SequenceState state_after(const model::StateLayout& layout, std::span<const TokenId> ids) {
  model::SequenceState state(layout);
  feed(state, ids);
  return state;
}

}  // namespace longhaul::sessions::test
