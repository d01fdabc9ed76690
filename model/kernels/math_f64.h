// Natural logarithm and exponential in double precision, from IEEE additions, multiplications and divisions only: the
// sampler's noise must have the same bits on every processor and C library (contract C2b). No fused multiply-adds:
// where the baseline has none they are library calls, and these run for every token of a vocabulary. Errors are
// measured in tests/unit/model/math_test.cc.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace longhaul::model {

// x > 0 and normal.
inline double log_f64(double x) {
  const auto bits = std::bit_cast<std::uint64_t>(x);
  auto exponent = static_cast<std::int64_t>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0xFFFFFFFFFFFFFULL) | 0x3FF0000000000000ULL);
  if (m > 1.4142135623730951) {  // m in (sqrt(1/2), sqrt(2)]: the series below then has |s| <= 0.1716
    m *= 0.5;
    ++exponent;
  }
  // log(m) = 2 atanh(s), s = (m - 1) / (m + 1); the terms of the series are 1 / (2 n + 1).
  const double s = (m - 1.0) / (m + 1.0), s2 = s * s;
  constexpr double kTerms[] = {1.0 / 3,  1.0 / 5,  1.0 / 7,  1.0 / 9,  1.0 / 11, 1.0 / 13,
                               1.0 / 15, 1.0 / 17, 1.0 / 19, 1.0 / 21, 1.0 / 23};
  double p = kTerms[10];
  for (int n = 9; n >= 0; --n) p = p * s2 + kTerms[n];
  const double log_m = 2.0 * (s * (s2 * p) + s);
  const auto e = static_cast<double>(exponent);
  constexpr double kLn2High = 0x1.62e42fefa38p-1, kLn2Low = 0x1.ef35793c7673p-45;  // high * e is exact
  return e * kLn2High + (e * kLn2Low + log_m);
}

// Any x that is not NaN; 0 below -745, infinity above 709.8.
inline double exp_f64(double x) {
  if (x < -745.2) return 0.0;
  if (x > 709.8) return HUGE_VAL;
  const double n = (x * 0x1.71547652b82fep+0 + 0x1.8p52) - 0x1.8p52;  // to the nearest integer
  const double r = (x - n * 0x1.62e42fefa38p-1) - n * 0x1.ef35793c7673p-45;
  // Taylor to degree 13: |r| <= 0.347, remainder below 2^-56.
  constexpr double kTerms[] = {
      1.0,        1.0,         1.0 / 2,      1.0 / 6,       1.0 / 24,       1.0 / 120,       1.0 / 720,
      1.0 / 5040, 1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
  double p = kTerms[13];
  for (int k = 12; k >= 0; --k) p = p * r + kTerms[k];
  const auto e = static_cast<std::int64_t>(n);
  const std::int64_t half = e >> 1;
  const auto power = [](std::int64_t k) { return std::bit_cast<double>(static_cast<std::uint64_t>(k + 1023) << 52); };
  return p * power(half) * power(e - half);
}

}  // namespace longhaul::model
