// Pages outside, queries inside: a page's K and V of one kv head (64 KiB at 128 x 128 bf16) are read from memory once
// for all queries of the block and all heads of the group.
#include "model/kernels/attention.h"

#include <limits>

#include "model/sequence_state.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "model/kernels/attention_simd.cc"
#include "hwy/foreach_target.h"
//
#include "model/kernels/simd-inl.h"

#ifndef LONGHAUL_NO_SIMD
HWY_BEFORE_NAMESPACE();
namespace longhaul::model {
namespace HWY_NAMESPACE {

HWY_INLINE float exp1(float x) {
  float lanes[16];
  store16(exp_lanes(set<F16>(x)), lanes);
  return lanes[0];
}

// Tiles of H query heads by four keys, and of H heads by C times 16 channels: K and V are widened once for H heads, and
// the accumulators fill the registers (32 of 512 bits, 16 of 256).
inline constexpr int kHeads = kRegs == 1 ? 4 : 2;
inline constexpr int kChannels = kRegs == 1 ? 4 : 2;

// Scores of H heads (q: head_dim apart) with four keys, s: kPageTokens apart.
template <int H, class T>
HWY_INLINE void scores4(const float* q, const T* k, std::int64_t head_dim, float scale, float* s) {
  constexpr int kKeys = kRegs == 1 ? 4 : 2;
  for (int first = 0; first < 4; first += kKeys) {
    F16 sum[H][4];
    LONGHAUL_UNROLL for (int h = 0; h < H; ++h) {
      LONGHAUL_UNROLL for (int r = 0; r < 4; ++r) sum[h][r] = set<F16>(0.0F);
    }
    for (std::int64_t d = 0; d < head_dim; d += 16) {
      F16 kd[kKeys];
      LONGHAUL_UNROLL for (int r = 0; r < kKeys; ++r) kd[r] = load16(k + (first + r) * head_dim + d);
      LONGHAUL_UNROLL for (int h = 0; h < H; ++h) {
        const F16 qd = load16(q + h * head_dim + d);
        LONGHAUL_UNROLL for (int r = 0; r < kKeys; ++r) sum[h][r] = fma(qd, kd[r], sum[h][r]);
      }
    }
    LONGHAUL_UNROLL for (int h = 0; h < H; ++h) {
      float four[4];
      tree_sums(sum[h][0], sum[h][1], sum[h][2], sum[h][3], four);
      LONGHAUL_UNROLL for (int r = 0; r < kKeys; ++r) s[h * kPageTokens + first + r] = four[r] * scale;
    }
  }
}

template <int H, class T>
HWY_INLINE void scores1(const float* q, const T* k, std::int64_t head_dim, float scale, float* s) {
  for (int h = 0; h < H; ++h) {
    F16 sum = set<F16>(0.0F);
    for (std::int64_t d = 0; d < head_dim; d += 16) sum = fma(load16(q + h * head_dim + d), load16(k + d), sum);
    s[h * kPageTokens] = tree_sum(sum) * scale;
  }
}

// C times 16 channels of sum over j of e[j] * v[j] for H heads, into acc (head_dim apart).
template <int H, int C, class T>
HWY_INLINE void weigh(const float* e, std::int64_t n, const T* v, std::int64_t head_dim, float* acc) {
  F16 sum[H][C];
  LONGHAUL_UNROLL for (int h = 0; h < H; ++h) {
    LONGHAUL_UNROLL for (int c = 0; c < C; ++c) sum[h][c] = set<F16>(0.0F);
  }
  for (std::int64_t j = 0; j < n; ++j) {
    F16 vj[C];
    LONGHAUL_UNROLL for (int c = 0; c < C; ++c) vj[c] = load16(v + j * head_dim + c * 16);
    LONGHAUL_UNROLL for (int h = 0; h < H; ++h) {
      const F16 ej = set<F16>(e[h * kPageTokens + j]);
      LONGHAUL_UNROLL for (int c = 0; c < C; ++c) sum[h][c] = fma(ej, vj[c], sum[h][c]);
    }
  }
  LONGHAUL_UNROLL for (int h = 0; h < H; ++h) {
    LONGHAUL_UNROLL for (int c = 0; c < C; ++c) store16(sum[h][c], acc + h * head_dim + c * 16);
  }
}

// Scores to weights, in place; gives the maximum and the sum. e has room up to the next multiple of 16.
HWY_INLINE void soften(float* e, std::int64_t n, float& max, float& sum) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  for (std::int64_t j = n; j % 16 != 0; ++j) e[j] = kNone;
  F16 maxima = set<F16>(kNone);
  for (std::int64_t j = 0; j < n; j += 16) {
    const F16 s = load16(e + j);
    maxima = less(maxima, s, s, maxima);  // which of equal zeros wins does not show; a NaN never wins
  }
  float lanes[16];
  store16(maxima, lanes);
  max = kNone;
  for (float lane : lanes) max = max < lane ? lane : max;

  F16 sums = set<F16>(0.0F);
  const F16 max16 = set<F16>(max);
  for (std::int64_t j = 0; j < n; j += 16) {
    F16 value = exp_lanes(load16(e + j) - max16);
    if (n - j < 16) {  // an infinite or NaN maximum must not reach the padding
      store16(value, lanes);
      for (std::int64_t i = n - j; i < 16; ++i) lanes[i] = 0.0F;
      value = load16(lanes);
    }
    store16(value, e + j);
    sums = sums + value;
  }
  sum = tree_sum(sums);
}

// One page for H heads of one query; max and sum are those heads' running ones.
template <int H, class T>
HWY_INLINE void attend_page(const AttentionArgs& args, const T* k, const T* v, std::int64_t n, bool first,
                            const float* q, float* out, float* acc, float* total_max, float* total_sum) {
  const std::int64_t head_dim = args.head_dim;
  float e[H * kPageTokens];
  std::int64_t j = 0;
  for (; j + 4 <= n; j += 4) scores4<H>(q, k + j * head_dim, head_dim, args.scale, e + j);
  for (; j < n; ++j) scores1<H>(q, k + j * head_dim, head_dim, args.scale, e + j);
  float max[H], sum[H];
  for (int h = 0; h < H; ++h) soften(e + h * kPageTokens, n, max[h], sum[h]);
  std::int64_t d = 0;
  for (; d + 16 * kChannels <= head_dim; d += 16 * kChannels) weigh<H, kChannels>(e, n, v + d, head_dim, acc + d);
  for (; d < head_dim; d += 16) weigh<H, 1>(e, n, v + d, head_dim, acc + d);

  for (int h = 0; h < H; ++h, out += head_dim, acc += head_dim) {
    if (first) {
      for (d = 0; d < head_dim; d += 16) store16(load16(acc + d), out + d);
      total_max[h] = max[h];
      total_sum[h] = sum[h];
      continue;
    }
    const float new_max = total_max[h] < max[h] ? max[h] : total_max[h];
    const float keep = exp1(total_max[h] - new_max), add = exp1(max[h] - new_max);
    const F16 keep16 = set<F16>(keep), add16 = set<F16>(add);
    for (d = 0; d < head_dim; d += 16) store16(fma(load16(out + d), keep16, load16(acc + d) * add16), out + d);
    total_sum[h] = __builtin_fmaf(total_sum[h], keep, sum[h] * add);
    total_max[h] = new_max;
  }
}

template <class T>
HWY_INLINE void attend(const AttentionArgs& args) {
  float* max = args.running;
  float* sum = max + args.n_queries * args.n_group;
  float* acc = args.scratch;
  const std::int64_t end = args.first_position + args.n_queries;  // tokens in sight of the last query
  for (std::int64_t page = args.first_page; page < args.end_page && page * kPageTokens < end; ++page) {
    const std::int64_t first = page * kPageTokens;
    const T* base = reinterpret_cast<const T*>(args.pages[page - args.first_page]);
    const T* k = base + args.kv_head * kPageTokens * args.head_dim;
    const T* v = k + args.n_kv_heads * kPageTokens * args.head_dim;
    const std::int64_t skip = first > args.first_position ? first - args.first_position : 0;  // queries before the page
    for (std::int64_t t = skip; t < args.n_queries; ++t) {
      const std::int64_t in_sight = args.first_position + t + 1 - first;
      const std::int64_t n = in_sight < kPageTokens ? in_sight : kPageTokens;
      const float* q = args.q + t * args.q_stride;
      float* out = args.out + t * args.out_stride;
      float *row_max = max + t * args.n_group, *row_sum = sum + t * args.n_group;
      std::int64_t head = 0;
      for (; head + kHeads <= args.n_group; head += kHeads) {
        attend_page<kHeads, T>(args, k, v, n, first == 0, q + head * args.head_dim, out + head * args.head_dim, acc,
                               row_max + head, row_sum + head);
      }
      for (; head + 2 <= args.n_group; head += 2) {
        attend_page<2, T>(args, k, v, n, first == 0, q + head * args.head_dim, out + head * args.head_dim, acc,
                          row_max + head, row_sum + head);
      }
      for (; head < args.n_group; ++head) {
        attend_page<1, T>(args, k, v, n, first == 0, q + head * args.head_dim, out + head * args.head_dim, acc,
                          row_max + head, row_sum + head);
      }
    }
  }
  if (!args.finish) return;
  for (std::int64_t t = 0; t < args.n_queries; ++t) {
    for (std::int64_t head = 0; head < args.n_group; ++head) {
      float* out = args.out + t * args.out_stride + head * args.head_dim;
      const F16 total = set<F16>(sum[t * args.n_group + head]);
      for (std::int64_t d = 0; d < args.head_dim; d += 16) store16(load16(out + d) / total, out + d);
    }
  }
}

void attention(const AttentionArgs& args) {
  if (args.head_dim % 16 != 0) return attention_scalar(args);  // no published model; the bits are the same
  if (args.bf16) {
    attend<std::uint16_t>(args);
  } else {
    attend<float>(args);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace longhaul::model
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
namespace longhaul::model {
AttentionFunction attention_simd(SimdTarget target) {
  return LONGHAUL_SIMD_FUNCTION(target, attention);
}
}  // namespace longhaul::model
#endif
