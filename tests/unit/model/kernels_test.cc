// Every instruction set against the scalar kernels, bit for bit, over sizes around the tiles, odd tails, misaligned
// starts, zeros, large and denormal values; and the scalar kernels against double precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "model/kernels/kernels.h"
#include "model/kernels/scalar_math.h"
#include "model/sequence_state.h"
#include "model/weights.h"
#include "runtime/base/rng.h"

namespace longhaul::model {
namespace {

class Random {
 public:
  explicit Random(std::uint64_t seed) : seed_(seed) {}
  float value() {  // mostly around 1, sometimes zero, denormal or large
    const PhiloxBlock block = philox(seed_, {counter_++, 0, 0, 1});
    const float u = static_cast<float>(block[0]) * 0x1p-31F - 1.0F;
    switch (block[1] % 64) {
      case 0:
        return 0.0F;
      case 1:
        return u * 1e-39F;
      case 2:
        return u * 1e6F;
      default:
        return u;
    }
  }
  // One float more than asked for in front, so that data() + 1 is misaligned.
  std::vector<float> values(std::int64_t n) {
    std::vector<float> v(static_cast<std::size_t>(n));
    for (float& x : v) x = value();
    return v;
  }

 private:
  std::uint64_t seed_;
  std::uint32_t counter_ = 0;
};

void expect_same(const std::vector<float>& want, const std::vector<float>& got, const std::string& what) {
  ASSERT_EQ(want.size(), got.size());
  for (std::size_t i = 0; i < want.size(); ++i) {
    ASSERT_EQ(std::bit_cast<std::uint32_t>(want[i]), std::bit_cast<std::uint32_t>(got[i]))
        << what << " element " << i << ": " << want[i] << " and " << got[i];
  }
}

struct Matrix {
  std::vector<std::byte> bytes;
  PackedMatrix packed;
  std::vector<float> values;
};

Matrix random_matrix(Random& random, std::int64_t n_out, std::int64_t n_in, bool bf16) {
  Matrix m;
  m.values = random.values(n_out * n_in);
  m.bytes.resize(m.values.size() * (bf16 ? 2 : 4));
  for (std::size_t i = 0; i < m.values.size(); ++i) {
    if (bf16) {
      const std::uint16_t bits = to_bf16(m.values[i]);
      m.values[i] = from_bf16(bits);
      std::memcpy(m.bytes.data() + 2 * i, &bits, 2);
    } else {
      std::memcpy(m.bytes.data() + 4 * i, &m.values[i], 4);
    }
  }
  m.packed = PackedMatrix::pack({"w", bf16 ? DType::kBf16 : DType::kF32, {n_out, n_in}, m.bytes}).value();
  return m;
}

TEST(Matmul, EveryInstructionSetHasTheBitsOfThePlainLoop) {
  Random random(11);
  for (bool bf16 : {false, true}) {
    for (std::int64_t n_out : {1, 15, 16, 17, 64, 65, 128, 150, 200}) {
      for (std::int64_t n_in : {1, 7, 64, 129}) {
        const Matrix m = random_matrix(random, n_out, n_in, bf16);
        for (std::int64_t n_rows : {1, 2, 3, 4, 5, 6, 7, 13}) {
          const std::vector<float> x = random.values(n_rows * n_in + 1);
          std::vector<float> want(static_cast<std::size_t>(n_rows * n_out));
          for (std::int64_t t = 0; t < n_rows; ++t) {  // straight from the row-major weights
            for (std::int64_t o = 0; o < n_out; ++o) {
              float sum = 0;
              for (std::int64_t k = 0; k < n_in; ++k) {
                sum = std::fma(m.values[static_cast<std::size_t>(o * n_in + k)],
                               x[static_cast<std::size_t>(1 + t * n_in + k)], sum);
              }
              want[static_cast<std::size_t>(t * n_out + o)] = sum;
            }
          }
          for (const Kernels& kernels : available_kernels()) {
            std::vector<float> got(want.size(), 123.0F);
            kernels.matmul({.w = m.packed.view(),
                            .x = x.data() + 1,
                            .x_stride = n_in,
                            .n_rows = n_rows,
                            .y = got.data(),
                            .y_stride = n_out,
                            .n_panels = m.packed.view().n_panels()});
            expect_same(want, got, std::string(kernels.name));
          }
        }
      }
    }
  }
}

TEST(Matmul, SomePanelsAndAListOfPanels) {
  Random random(12);
  const std::int64_t n_out = 150, n_in = 33, n_rows = 3;
  const Matrix m = random_matrix(random, n_out, n_in, true);
  const std::vector<float> x = random.values(n_rows * n_in);
  for (const Kernels& kernels : available_kernels()) {
    MatmulArgs args{.w = m.packed.view(), .x = x.data(), .x_stride = n_in, .n_rows = n_rows, .y_stride = n_out};
    std::vector<float> whole(static_cast<std::size_t>(n_rows * n_out)), parts(whole.size());
    args.y = whole.data();
    args.n_panels = 10;
    kernels.matmul(args);
    args.y = parts.data();
    for (std::int64_t first : {0, 3, 4, 9}) {
      args.first_panel = first;
      args.n_panels = first == 0 ? 3 : first == 3 ? 1 : first == 4 ? 5 : 1;
      kernels.matmul(args);
    }
    expect_same(whole, parts, std::string(kernels.name));
    const std::vector<std::int32_t> ids = {9, 0, 4};
    std::vector<float> slots(static_cast<std::size_t>(n_rows * 48));
    kernels.matmul({.w = m.packed.view(),
                    .x = x.data(),
                    .x_stride = n_in,
                    .n_rows = n_rows,
                    .y = slots.data(),
                    .y_stride = 48,
                    .n_panels = 3,
                    .panel_ids = ids.data()});
    for (std::int64_t t = 0; t < n_rows; ++t) {
      for (std::size_t slot = 0; slot < ids.size(); ++slot) {
        for (std::int64_t j = 0; j < 16 && ids[slot] * 16 + j < n_out; ++j) {
          ASSERT_EQ(slots[static_cast<std::size_t>(t * 48) + slot * 16 + static_cast<std::size_t>(j)],
                    whole[static_cast<std::size_t>(t * n_out + ids[slot] * 16 + j)]);
        }
      }
    }
  }
}

TEST(Norm, EveryInstructionSetHasTheSameBitsAndTheRightValues) {
  Random random(13);
  for (std::int64_t n : {1, 15, 16, 17, 40, 64, 130}) {
    for (std::int64_t n_groups : {1, 2}) {
      if (n % n_groups != 0) continue;
      const std::int64_t n_rows = 3, stride = n + 5;
      const std::vector<float> x = random.values(n_rows * stride), z = random.values(n_rows * stride);
      const std::vector<float> weight = random.values(n);
      NormArgs args{.x = x.data(),
                    .x_stride = stride,
                    .z = z.data(),
                    .z_stride = stride,
                    .weight = weight.data(),
                    .y_stride = n,
                    .n_rows = n_rows,
                    .n = n,
                    .n_groups = n_groups,
                    .eps = 1e-5F};
      for (bool gated : {false, true}) {
        if (!gated && n_groups != 1) continue;
        std::vector<float> want;
        for (auto kernels = available_kernels().rbegin(); kernels != available_kernels().rend(); ++kernels) {
          std::vector<float> y(static_cast<std::size_t>(n_rows * n));
          args.y = y.data();
          (gated ? kernels->gated_rms_norm : kernels->rms_norm)(args);
          if (want.empty()) {
            want = y;
            const std::int64_t width = n / n_groups;
            for (std::int64_t row = 0; row < n_rows; ++row) {
              for (std::int64_t g = 0; g < n_groups; ++g) {
                double sum = 0;
                const auto q = [&](std::int64_t i) {
                  const auto at = static_cast<std::size_t>(row * stride + g * width + i);
                  const double zi = z[at];
                  return gated ? x[at] * (zi / (1 + std::exp(-zi))) : double{x[at]};
                };
                for (std::int64_t i = 0; i < width; ++i) sum += q(i) * q(i);
                const double r = 1 / std::sqrt(sum / static_cast<double>(width) + 1e-5);
                for (std::int64_t i = 0; i < width; ++i) {
                  const double expected = q(i) * r * weight[static_cast<std::size_t>(g * width + i)];
                  // fp32 sums of at most 130 terms: a few units of the last place, relative.
                  ASSERT_NEAR(y[static_cast<std::size_t>(row * n + g * width + i)], expected,
                              2e-6 * std::abs(expected) + 1e-30);
                }
              }
            }
          }
          expect_same(want, y, std::string(kernels->name));
        }
      }
    }
  }
}

TEST(Conv, EveryInstructionSetHasTheSameBitsAndTheRightValues) {
  Random random(14);
  for (std::int64_t n_channels : {1, 16, 31, 48, 100}) {
    for (std::int64_t n_rows : {1, 2, 5}) {
      for (std::int64_t d_conv : {2, 4}) {
        const std::int64_t stride = n_channels + 3;
        const std::vector<float> history = random.values((d_conv - 1) * n_channels), x = random.values(n_rows * stride);
        const std::vector<float> weight = random.values(d_conv * n_channels), bias = random.values(n_channels);
        std::vector<float> want;
        for (auto kernels = available_kernels().rbegin(); kernels != available_kernels().rend(); ++kernels) {
          std::vector<float> y(static_cast<std::size_t>(n_rows * n_channels));
          kernels->conv({.history = history.data(),
                         .history_stride = n_channels,
                         .x = x.data(),
                         .x_stride = stride,
                         .weight = weight.data(),
                         .bias = bias.data(),
                         .y = y.data(),
                         .n_rows = n_rows,
                         .n_channels = n_channels,
                         .d_conv = d_conv});
          if (want.empty()) {
            want = y;
            for (std::int64_t t = 0; t < n_rows; ++t) {
              for (std::int64_t c = 0; c < n_channels; ++c) {
                double sum = bias[static_cast<std::size_t>(c)], size = std::abs(sum);
                for (std::int64_t j = 0; j < d_conv; ++j) {
                  const std::int64_t row = t + j - (d_conv - 1);
                  const double value = row < 0 ? history[static_cast<std::size_t>((row + d_conv - 1) * n_channels + c)]
                                               : x[static_cast<std::size_t>(row * stride + c)];
                  sum += weight[static_cast<std::size_t>(j * n_channels + c)] * value;
                  size += std::abs(weight[static_cast<std::size_t>(j * n_channels + c)] * value);
                }
                ASSERT_NEAR(y[static_cast<std::size_t>(t * n_channels + c)], sum / (1 + std::exp(-sum)), 1e-6 * size);
              }
            }
          }
          expect_same(want, y, std::string(kernels->name));
        }
      }
    }
  }
}

TEST(SsmScan, EveryInstructionSetHasTheSameBitsAndTheRightValues) {
  Random random(15);
  for (std::int64_t head_dim : {1, 4, 10}) {
    for (std::int64_t d_state : {16, 24, 48}) {  // 24: no multiple of sixteen
      const std::int64_t n_tokens = 5, stride = head_dim + 2 * d_state;
      const std::vector<float> rows = random.values(n_tokens * stride);
      std::vector<float> dt = random.values(n_tokens);
      for (float& v : dt) v = std::min(std::abs(v), 3.0F);
      const std::vector<float> start = random.values(head_dim * d_state);
      SsmScanArgs args{.n_tokens = n_tokens,
                       .head_dim = head_dim,
                       .d_state = d_state,
                       .a = -0.7F,
                       .d = 1.25F,
                       .x = rows.data(),
                       .b = rows.data() + head_dim,
                       .c = rows.data() + head_dim + d_state,
                       .stride = stride,
                       .dt = dt.data(),
                       .dt_stride = 1,
                       .y_stride = head_dim};
      std::vector<float> want_state, want_y;
      for (auto kernels = available_kernels().rbegin(); kernels != available_kernels().rend(); ++kernels) {
        std::vector<float> state = start, y(static_cast<std::size_t>(n_tokens * head_dim));
        args.state = state.data();
        args.y = y.data();
        kernels->ssm_scan(args);
        if (want_y.empty()) {
          want_state = state;
          want_y = y;
          for (std::int64_t p = 0; p < head_dim; ++p) {
            std::vector<double> s(start.begin() + p * d_state, start.begin() + (p + 1) * d_state);
            for (std::int64_t t = 0; t < n_tokens; ++t) {
              const float* row = rows.data() + t * stride;
              const double step = dt[static_cast<std::size_t>(t)];
              double sum = 1.25 * row[p], size = std::abs(sum);
              for (std::int64_t n = 0; n < d_state; ++n) {
                double& value = s[static_cast<std::size_t>(n)];
                value = std::exp(step * -0.7) * value + step * row[p] * row[head_dim + n];
                sum += value * row[head_dim + d_state + n];
                size += std::abs(value * row[head_dim + d_state + n]);
              }
              ASSERT_NEAR(y[static_cast<std::size_t>(t * head_dim + p)], sum, 2e-6 * size + 1e-30);
            }
          }
        }
        expect_same(want_state, state, std::string(kernels->name));
        expect_same(want_y, y, std::string(kernels->name));
        std::vector<float> quiet = start;  // without outputs the state is the same
        args.state = quiet.data();
        args.y = nullptr;
        kernels->ssm_scan(args);
        expect_same(want_state, quiet, std::string(kernels->name));
      }
    }
  }
}

TEST(Attention, EveryInstructionSetHasTheSameBitsAndTheRightValues) {
  Random random(16);
  for (bool bf16 : {false, true}) {
    for (std::int64_t head_dim : {16, 40, 64}) {  // 40: no multiple of sixteen
      const std::int64_t n_kv = 2, n_queries = 5;
      for (std::int64_t first : {0, 1, 126, 128, 300}) {
        const std::int64_t group = first % 7 + 1;  // 1, 2, 1, 3, 7 heads: tiles of every size
        const std::int64_t n_tokens = first + n_queries;
        const std::int64_t page_values = 2 * n_kv * kPageTokens * head_dim;
        std::vector<std::vector<float>> values;
        std::vector<std::vector<std::byte>> bytes;
        std::vector<const std::byte*> pages;
        for (std::int64_t at = 0; at < n_tokens; at += kPageTokens) {
          values.push_back(random.values(page_values));
          bytes.emplace_back(static_cast<std::size_t>(page_values) * (bf16 ? 2 : 4));
          for (std::size_t i = 0; i < values.back().size(); ++i) {
            float& value = values.back()[i];
            value = std::max(-4.0F, std::min(4.0F, value));
            if (bf16) {
              const std::uint16_t bits = to_bf16(value);
              value = from_bf16(bits);
              std::memcpy(bytes.back().data() + 2 * i, &bits, 2);
            } else {
              std::memcpy(bytes.back().data() + 4 * i, &value, 4);
            }
          }
        }
        for (const auto& page : bytes) pages.push_back(page.data());
        std::vector<float> q = random.values(n_queries * group * head_dim);
        for (float& value : q) value = std::max(-4.0F, std::min(4.0F, value));
        for (std::int64_t kv_head = 0; kv_head < n_kv; ++kv_head) {
          AttentionArgs args{.pages = pages.data(),
                             .end_page = static_cast<std::int64_t>(pages.size()),
                             .bf16 = bf16,
                             .n_kv_heads = n_kv,
                             .kv_head = kv_head,
                             .head_dim = head_dim,
                             .n_group = group,
                             .first_position = first,
                             .n_queries = n_queries,
                             .scale = 0.3F,
                             .q = q.data(),
                             .q_stride = group * head_dim,
                             .out_stride = group * head_dim};
          std::vector<float> scratch(static_cast<std::size_t>(args.scratch_floats()));
          args.scratch = scratch.data();
          std::vector<float> running(static_cast<std::size_t>(args.running_floats()));
          args.running = running.data();
          std::vector<float> want;
          for (auto kernels = available_kernels().rbegin(); kernels != available_kernels().rend(); ++kernels) {
            std::vector<float> out(q.size());
            args.out = out.data();
            kernels->attention(args);
            if (want.empty()) {
              want = out;
              for (std::int64_t t = 0; t < n_queries; ++t) {
                for (std::int64_t h = 0; h < group; ++h) {
                  const float* query = q.data() + (t * group + h) * head_dim;
                  std::vector<double> mix(static_cast<std::size_t>(head_dim));
                  double total = 0;
                  for (std::int64_t j = 0; j <= first + t; ++j) {
                    const float* page = values[static_cast<std::size_t>(j / kPageTokens)].data();
                    const std::int64_t row = (kv_head * kPageTokens + j % kPageTokens) * head_dim;
                    double score = 0;
                    for (std::int64_t d = 0; d < head_dim; ++d) score += double{query[d]} * page[row + d];
                    const double e = std::exp(score * 0.3 - 40);
                    total += e;
                    const float* v = page + n_kv * kPageTokens * head_dim + row;
                    for (std::int64_t d = 0; d < head_dim; ++d) mix[static_cast<std::size_t>(d)] += e * v[d];
                  }
                  for (std::int64_t d = 0; d < head_dim; ++d) {
                    // Values are at most 4; scores of size 100 carry 1e-5 of absolute error into the weights.
                    ASSERT_NEAR(out[static_cast<std::size_t>((t * group + h) * head_dim + d)],
                                mix[static_cast<std::size_t>(d)] / total, 1e-4);
                  }
                }
              }
            }
            expect_same(want, out, std::string(kernels->name));
          }
        }
      }
    }
  }
}

TEST(Kernels, AreChosenByName) {
  const auto chosen = choose_kernels("scalar");
  ASSERT_TRUE(chosen);
  EXPECT_EQ((*chosen)->name, "scalar");
  const auto unknown = choose_kernels("sse9");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(unknown.error().message.find("sse9"), std::string::npos);
  EXPECT_NE(unknown.error().message.find("scalar"), std::string::npos);
}

TEST(Kernels, AProcessorWithoutVectorsMustAskForScalar) {
  const std::vector<Kernels> known = {available_kernels().back()};
  const auto automatic = choose_kernels("auto", known);
  ASSERT_FALSE(automatic);
  EXPECT_EQ(automatic.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(choose_kernels("scalar", known).value(), &known[0]);
}

}  // namespace
}  // namespace longhaul::model
