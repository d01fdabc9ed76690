// One lane of the arithmetic that every kernel shares, and the reduction order of contract C2: sixteen virtual lanes
// (element i goes to lane i mod 16, in ascending i) and the tree 16 -> 8 -> 4 -> 2 -> 1.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace longhaul::model {

// bf16 is the upper half of fp32.
inline float from_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

// To nearest, ties to even; a NaN stays one.
inline std::uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return static_cast<std::uint16_t>((bits >> 16) | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

namespace scalar {

#define LONGHAUL_INLINE inline

struct F1 {
  float v;
};
inline F1 operator+(F1 a, F1 b) {
  return {a.v + b.v};
}
inline F1 operator-(F1 a, F1 b) {
  return {a.v - b.v};
}
inline F1 operator*(F1 a, F1 b) {
  return {a.v * b.v};
}
inline F1 operator/(F1 a, F1 b) {
  return {a.v / b.v};
}
inline F1 fma(F1 a, F1 b, F1 c) {
  return {std::fma(a.v, b.v, c.v)};
}
inline F1 less(F1 a, F1 b, F1 x, F1 y) {
  return a.v < b.v ? x : y;
}
template <class F>
inline F set(float value) {
  return {value};
}
// t = 1.5 * 2^23 + n: a * b = 2^n. For a NaN t both are some finite or infinite number.
inline void pow2_halves(F1 t, F1& a, F1& b) {
  const auto n = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(t.v) - 0x4B400000U);
  const std::int32_t half = n >> 1;
  a.v = std::bit_cast<float>((static_cast<std::uint32_t>(half) + 127U) << 23);
  b.v = std::bit_cast<float>((static_cast<std::uint32_t>(n) - static_cast<std::uint32_t>(half) + 127U) << 23);
}

#include "model/kernels/math_body.inc"

#undef LONGHAUL_INLINE

inline float exp(float x) {
  return exp_lanes(F1{x}).v;
}
inline float sigmoid(float x) {
  return sigmoid_lanes(F1{x}).v;
}
inline float silu(float x) {
  return silu_lanes(F1{x}).v;
}
inline float softplus(float x) {
  return softplus_lanes(F1{x}).v;
}

// The sum of sixteen lanes by the fixed tree.
inline float tree_sum(const float* lanes) {
  float v[8];
  for (int i = 0; i < 8; ++i) v[i] = lanes[i] + lanes[i + 8];
  for (int width = 4; width >= 1; width /= 2) {
    for (int i = 0; i < width; ++i) v[i] += v[i + width];
  }
  return v[0];
}

}  // namespace scalar
}  // namespace longhaul::model
