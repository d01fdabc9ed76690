// The polynomials against double precision, and one lane against sixteen, bit for bit.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "model/kernels/kernels.h"
#include "model/kernels/math_f64.h"
#include "model/kernels/scalar_math.h"

namespace longhaul::model {
namespace {

// Arguments over the whole range: all signs and exponents, dense around zero, and the edges.
std::vector<float> arguments() {
  std::vector<float> x;
  for (std::uint32_t bits = 0; bits < 0x7F800000; bits += 40009) {
    x.push_back(std::bit_cast<float>(bits));
    x.push_back(-std::bit_cast<float>(bits));
  }
  for (int i = -110000; i <= 110000; ++i) x.push_back(static_cast<float>(i) * 0.001F);
  const float inf = std::numeric_limits<float>::infinity();
  for (float edge : {0.0F, -0.0F, 1e-45F, -1e-45F, 88.72283F, 88.72284F, -87.33655F, -103.97F, -103.98F, -104.0F, 20.0F,
                     89.0F, inf, -inf, std::numeric_limits<float>::max()}) {
    x.push_back(edge);
  }
  return x;
}

// Distance in units of the last place of the correctly rounded result (of the smallest denormal near zero).
double ulps(float got, double want) {
  const auto rounded = static_cast<float>(want);
  if (std::isinf(rounded) || std::isinf(got)) return got == rounded ? 0 : 1e9;
  int exponent = 0;
  std::frexp(rounded, &exponent);
  return std::abs(static_cast<double>(got) - want) / std::ldexp(1.0, std::max(exponent - 24, -149));
}

template <class F, class Reference>
double worst(F f, Reference reference) {
  double result = 0;
  for (float x : arguments()) {
    if (std::isinf(x)) continue;
    const double error = ulps(f(x), reference(static_cast<double>(x)));
    if (error > result) result = error;
  }
  return result;
}

double softplus_f64(double x) {
  return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
}
double sigmoid_f64(double x) {
  return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
}

// Bounds: what was measured, rounded up. Denormal results of the quotients lose a bit to the rounded numerator.
TEST(Math, ErrorsAgainstDoublePrecision) {
  EXPECT_LE(worst(scalar::exp, [](double x) { return std::exp(x); }), 1.1);
  EXPECT_LE(worst(scalar::sigmoid, sigmoid_f64), 2.6);
  EXPECT_LE(worst(scalar::silu, [](double x) { return x * sigmoid_f64(x); }), 100.0);
  EXPECT_LE(worst(scalar::softplus, softplus_f64), 3.0);
}

TEST(Math, EdgesAreExact) {
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(scalar::exp(0.0F), 1.0F);
  EXPECT_EQ(scalar::exp(-inf), 0.0F);
  EXPECT_EQ(scalar::exp(inf), inf);
  EXPECT_EQ(scalar::sigmoid(0.0F), 0.5F);
  EXPECT_EQ(scalar::sigmoid(inf), 1.0F);
  EXPECT_EQ(scalar::sigmoid(-inf), 0.0F);
  EXPECT_EQ(scalar::softplus(100.0F), 100.0F);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(scalar::exp(nan)));
  EXPECT_TRUE(std::isnan(scalar::sigmoid(nan)));
  EXPECT_TRUE(std::isnan(scalar::silu(nan)));
  EXPECT_TRUE(std::isnan(scalar::softplus(nan)));
}

TEST(Math, EveryInstructionSetHasTheSameBits) {
  const std::vector<float> x = arguments();
  const auto run = [&](MapFunction f, std::size_t n) {
    std::vector<float> y(n);
    f({.x = x.data(), .y = y.data(), .n = static_cast<std::int64_t>(n)});
    return y;
  };
  const Kernels& truth = available_kernels().back();
  ASSERT_EQ(truth.name, "scalar");
  for (const Kernels& kernels : available_kernels()) {
    for (auto member : {&Kernels::exp, &Kernels::sigmoid, &Kernels::silu, &Kernels::softplus}) {
      for (std::size_t n : {x.size(), std::size_t{1}, std::size_t{15}, std::size_t{16}, std::size_t{17}}) {
        const std::vector<float> want = run(truth.*member, n), got = run(kernels.*member, n);
        for (std::size_t i = 0; i < n; ++i) {
          ASSERT_EQ(std::bit_cast<std::uint32_t>(want[i]), std::bit_cast<std::uint32_t>(got[i]))
              << kernels.name << " at " << x[i];
        }
      }
    }
  }
}

TEST(Math, Bf16RoundsToNearestEven) {
  EXPECT_EQ(to_bf16(1.0F), 0x3F80);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3F808000U)), 0x3F80);  // a tie goes to the even one
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3F818000U)), 0x3F82);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3F808001U)), 0x3F81);
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::max()), 0x7F80);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x7F800001U)), 0x7FC0);  // a NaN whose payload is cut stays a NaN
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = from_bf16(static_cast<std::uint16_t>(bits));
    if (std::isnan(value)) continue;
    ASSERT_EQ(to_bf16(value), bits);
  }
}

TEST(Math, DoubleLogarithmAndExponential) {
  double worst_log = 0, worst_exp = 0;
  std::uint64_t bits = 1;
  for (int i = 0; i < 200000; ++i) {
    bits = bits * 6364136223846793005ULL + 1442695040888963407ULL;
    const double u = (static_cast<double>(bits >> 12) + 0.5) * 0x1p-52;
    const double inner = -std::log(u);
    for (double x : {u, inner, 1 - u * 1e-9, inner * 1e9}) {
      const double want = std::log(x);
      if (want != 0) worst_log = std::max(worst_log, std::abs(log_f64(x) - want) / std::abs(want));
    }
    const double x = (u - 0.5) * 1400;
    worst_exp = std::max(worst_exp, std::abs(exp_f64(x) - std::exp(x)) / std::exp(x));
  }
  EXPECT_LE(worst_log, 4 * 0x1p-53);
  EXPECT_LE(worst_exp, 6 * 0x1p-53);
  EXPECT_EQ(log_f64(1.0), 0.0);
  EXPECT_EQ(exp_f64(0.0), 1.0);
  EXPECT_EQ(exp_f64(-1e9), 0.0);
}

}  // namespace
}  // namespace longhaul::model
