#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "model/kernels/attention.h"
#include "model/kernels/scalar_math.h"
#include "model/sequence_state.h"

namespace longhaul::model {
namespace {

// Element `d` of token `token`'s K (which = 0) or V (1) in a page.
float stored(const AttentionArgs& args, const std::byte* page, std::int64_t which, std::int64_t token, std::int64_t d) {
  const std::int64_t index = ((which * args.n_kv_heads + args.kv_head) * kPageTokens + token) * args.head_dim + d;
  if (args.bf16) {
    std::uint16_t bits;
    std::memcpy(&bits, page + index * 2, 2);
    return from_bf16(bits);
  }
  float value;
  std::memcpy(&value, page + index * 4, 4);
  return value;
}

void attend(const AttentionArgs& args, const float* q, float* out, std::int64_t position, float& total_max,
            float& total_sum) {
  for (std::int64_t index = args.first_page; index < args.end_page && index * kPageTokens <= position; ++index) {
    const std::int64_t first = index * kPageTokens;
    const std::byte* page = args.pages[index - args.first_page];
    const std::int64_t n = std::min(kPageTokens, position + 1 - first);
    float e[kPageTokens];
    float max = -std::numeric_limits<float>::infinity();
    for (std::int64_t j = 0; j < n; ++j) {
      float lanes[16] = {};
      for (std::int64_t d = 0; d < args.head_dim; ++d) {
        lanes[d % 16] = std::fma(q[d], stored(args, page, 0, j, d), lanes[d % 16]);
      }
      e[j] = scalar::tree_sum(lanes) * args.scale;
      if (max < e[j]) max = e[j];
    }
    float lanes[16] = {};
    for (std::int64_t j = 0; j < n; ++j) {
      e[j] = scalar::exp(e[j] - max);
      lanes[j % 16] += e[j];
    }
    const float sum = scalar::tree_sum(lanes);

    const float new_max = first == 0 || total_max < max ? max : total_max;
    const float keep = first == 0 ? 0.0F : scalar::exp(total_max - new_max);
    const float add = first == 0 ? 1.0F : scalar::exp(max - new_max);
    for (std::int64_t d = 0; d < args.head_dim; ++d) {
      float a = 0;
      for (std::int64_t j = 0; j < n; ++j) a = std::fma(e[j], stored(args, page, 1, j, d), a);
      out[d] = first == 0 ? a : std::fma(out[d], keep, a * add);
    }
    total_sum = first == 0 ? sum : std::fma(total_sum, keep, sum * add);
    total_max = new_max;
  }
  if (!args.finish) return;
  for (std::int64_t d = 0; d < args.head_dim; ++d) out[d] = out[d] / total_sum;
}

}  // namespace

void attention_scalar(const AttentionArgs& args) {
  for (std::int64_t t = 0; t < args.n_queries; ++t) {
    for (std::int64_t head = 0; head < args.n_group; ++head) {
      float* running = args.running + t * args.n_group + head;
      attend(args, args.q + t * args.q_stride + head * args.head_dim,
             args.out + t * args.out_stride + head * args.head_dim, args.first_position + t, running[0],
             running[args.n_queries * args.n_group]);
    }
  }
}

}  // namespace longhaul::model
