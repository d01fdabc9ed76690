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

// Scores of R keys at once: their chains are independent.
template <int R, class T>
HWY_INLINE void scores(const float* q, const T* k, std::int64_t head_dim, float scale, float* s) {
  F16 sum[R];
  LONGHAUL_UNROLL for (int r = 0; r < R; ++r) sum[r] = set<F16>(0.0F);
  for (std::int64_t d = 0; d < head_dim; d += 16) {
    const F16 qd = load16(q + d);
    LONGHAUL_UNROLL for (int r = 0; r < R; ++r) sum[r] = fma(qd, load16(k + r * head_dim + d), sum[r]);
  }
  LONGHAUL_UNROLL for (int r = 0; r < R; ++r) s[r] = tree_sum(sum[r]) * scale;
}

// R times 16 channels of sum over j of e[j] * v[j], into acc.
template <int R, class T>
HWY_INLINE void weigh(const float* e, std::int64_t n, const T* v, std::int64_t head_dim, float* acc) {
  F16 sum[R];
  LONGHAUL_UNROLL for (int r = 0; r < R; ++r) sum[r] = set<F16>(0.0F);
  for (std::int64_t j = 0; j < n; ++j) {
    const F16 ej = set<F16>(e[j]);
    LONGHAUL_UNROLL for (int r = 0; r < R; ++r) sum[r] = fma(ej, load16(v + j * head_dim + r * 16), sum[r]);
  }
  LONGHAUL_UNROLL for (int r = 0; r < R; ++r) store16(sum[r], acc + r * 16);
}

template <class T>
HWY_INLINE void attend_page(const AttentionArgs& args, const T* k, const T* v, std::int64_t n, bool first,
                            const float* q, float* out, float* acc, float& total_max, float& total_sum) {
  const std::int64_t head_dim = args.head_dim;
  float e[kPageTokens];
  std::int64_t j = 0;
  for (; j + 4 <= n; j += 4) scores<4>(q, k + j * head_dim, head_dim, args.scale, e + j);
  for (; j < n; ++j) scores<1>(q, k + j * head_dim, head_dim, args.scale, e + j);
  float max = -std::numeric_limits<float>::infinity();
  for (j = 0; j < n; ++j) max = max < e[j] ? e[j] : max;
  // Scores past n become 0 after exp: they add nothing to their lanes.
  for (j = n; j % 16 != 0; ++j) e[j] = -std::numeric_limits<float>::infinity();
  F16 sums = set<F16>(0.0F);
  const F16 max16 = set<F16>(max);
  for (j = 0; j < n; j += 16) {
    F16 value = exp_lanes(load16(e + j) - max16);
    if (n - j < 16) {  // an infinite or NaN maximum must not reach the padding
      float lanes[16];
      store16(value, lanes);
      for (std::int64_t i = n - j; i < 16; ++i) lanes[i] = 0.0F;
      value = load16(lanes);
    }
    store16(value, e + j);
    sums = sums + value;
  }
  const float sum = tree_sum(sums);

  std::int64_t d = 0;
  for (; d + 64 <= head_dim; d += 64) weigh<4>(e, n, v + d, head_dim, acc + d);
  for (; d < head_dim; d += 16) weigh<1>(e, n, v + d, head_dim, acc + d);
  if (first) {
    for (d = 0; d < head_dim; d += 16) store16(load16(acc + d), out + d);
    total_max = max;
    total_sum = sum;
    return;
  }
  const float new_max = total_max < max ? max : total_max;
  const float keep = exp1(total_max - new_max), add = exp1(max - new_max);
  const F16 keep16 = set<F16>(keep), add16 = set<F16>(add);
  for (d = 0; d < head_dim; d += 16) store16(fma(load16(out + d), keep16, load16(acc + d) * add16), out + d);
  total_sum = __builtin_fmaf(total_sum, keep, sum * add);
  total_max = new_max;
}

template <class T>
HWY_INLINE void attend(const AttentionArgs& args) {
  float* max = args.scratch;
  float* sum = max + args.n_queries * args.n_group;
  float* acc = sum + args.n_queries * args.n_group;
  const std::int64_t end = args.first_position + args.n_queries;  // tokens in sight of the last query
  for (std::int64_t first = 0; first < end; first += kPageTokens) {
    const T* base = reinterpret_cast<const T*>(args.pages[first / kPageTokens]);
    const T* k = base + args.kv_head * kPageTokens * args.head_dim;
    const T* v = k + args.n_kv_heads * kPageTokens * args.head_dim;
    const std::int64_t skip = first > args.first_position ? first - args.first_position : 0;  // queries before the page
    for (std::int64_t t = skip; t < args.n_queries; ++t) {
      const std::int64_t in_sight = args.first_position + t + 1 - first;
      const std::int64_t n = in_sight < kPageTokens ? in_sight : kPageTokens;
      for (std::int64_t head = 0; head < args.n_group; ++head) {
        const std::int64_t i = t * args.n_group + head;
        attend_page<T>(args, k, v, n, first == 0, args.q + t * args.q_stride + head * args.head_dim,
                       args.out + t * args.out_stride + head * args.head_dim, acc, max[i], sum[i]);
      }
    }
  }
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
