#include "model/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "model/kernels/math_f64.h"
#include "runtime/base/rng.h"

namespace longhaul::model {
namespace {

struct Candidate {
  double score = 0;  // logit after penalties, over the temperature
  TokenId id = 0;
};

// Higher score first, ties to the lower id: the order of every cut and of the draw itself.
bool before(const Candidate& a, const Candidate& b) {
  return a.score != b.score ? a.score > b.score : a.id < b.id;
}

// The uniform number behind a token's noise at one draw: 52 bits of Philox, never 0 or 1. Two tokens share a block. The
// last word keeps these draws apart from any other use of the seed.
double uniform(std::uint64_t seed, std::uint64_t draw_number, TokenId id) {
  constexpr std::uint32_t kSamplerStream = 0x6C6F6E67;
  const PhiloxBlock block = philox(seed, {id >> 1, static_cast<std::uint32_t>(draw_number),
                                          static_cast<std::uint32_t>(draw_number >> 32), kSamplerStream});
  const std::uint64_t word = (std::uint64_t{block[2 * (id & 1)]} << 32) | block[2 * (id & 1) + 1];
  return (static_cast<double>(word >> 12) + 0.5) * 0x1p-52;
}

// The Gumbel-max draw: the highest score plus noise -log(-log(u)). Most tokens cannot win, and are passed over without
// a logarithm (or without noise at all); the choice is the same:
//   noise > gap  <=>  -log(u) < exp(-gap),  and  -log(u) >= 1 - u,  exp(-gap) <= 1 / (1 + gap + gap^2 / 2 + gap^3 / 6),
// with a margin for roundings. The noise is never above 36.74 (u = 1 - 2^-53).
TokenId gumbel_max(std::span<const Candidate> candidates, const SamplingOptions& options, std::uint64_t draw_number) {
  constexpr double kNoiseMax = 36.75, kMargin = 1.000001;
  const auto with_noise = [&](const Candidate& c, double u) { return Candidate{c.score - log_f64(-log_f64(u)), c.id}; };
  const Candidate& top = *std::min_element(candidates.begin(), candidates.end(), before);
  Candidate best = with_noise(top, uniform(options.seed, draw_number, top.id));
  for (const Candidate& c : candidates) {
    const double gap = best.score - c.score;
    if (gap > kNoiseMax || c.id == top.id) continue;
    const double u = uniform(options.seed, draw_number, c.id);
    if (gap > 0 && (1.0 - u) * (1.0 + gap * (1.0 + gap * (0.5 + gap * (1.0 / 6)))) > kMargin) continue;
    const Candidate noisy = with_noise(c, u);
    if (before(noisy, best)) best = noisy;
  }
  return best.id;
}

void keep_top_p(std::vector<Candidate>& candidates, double top_p) {
  // The total is summed in id order and the prefix in order of rank, both fixed, so the cut is a function of the
  // logits.
  double best = -std::numeric_limits<double>::infinity(), total = 0;
  for (const Candidate& c : candidates) best = std::max(best, c.score);
  for (const Candidate& c : candidates) total += exp_f64(c.score - best);
  const auto worse = [](const Candidate& a, const Candidate& b) { return before(b, a); };
  std::make_heap(candidates.begin(), candidates.end(), worse);  // nuclei are small: a heap beats sorting everything
  double sum = 0;
  auto end = candidates.end();
  while (end != candidates.begin()) {
    sum += exp_f64(candidates.front().score - best);
    std::pop_heap(candidates.begin(), end, worse);
    --end;
    if (sum >= top_p * total) break;
  }
  candidates.erase(candidates.begin(), end);
}

Result<void> penalise(std::vector<Candidate>& candidates, std::span<const TokenId> history,
                      const SamplingOptions& options, std::size_t n_tokens) {
  if (options.presence_penalty == 0 && options.frequency_penalty == 0 && options.repetition_penalty == 1) return {};
  std::vector<std::uint32_t> counts(n_tokens);
  for (TokenId id : history) {
    if (id >= n_tokens) {
      return invalid_argument(fmt::format("sample: history holds token {}, the vocabulary has {}", id, n_tokens));
    }
    ++counts[id];
  }
  for (Candidate& c : candidates) {
    const std::uint32_t count = counts[c.id];
    if (count == 0) continue;
    c.score = c.score > 0 ? c.score / options.repetition_penalty : c.score * options.repetition_penalty;
    c.score -= double{options.presence_penalty} + double{options.frequency_penalty} * count;
  }
  return {};
}

}  // namespace

Result<void> check(const SamplingOptions& options) {
  const auto in = [](const char* name, float value, double low, double high) -> Result<void> {
    if (value >= low && value <= high) return {};  // false for NaN
    return invalid_argument(fmt::format("{} is {}, must be from {} to {}", name, value, low, high));
  };
  if (auto r = in("temperature", options.temperature, 0, 100); !r) return r;
  if (options.top_k < 0) return invalid_argument(fmt::format("top_k is {}, must be 0 (off) or more", options.top_k));
  if (auto r = in("top_p", options.top_p, 0, 1); !r) return r;
  if (auto r = in("min_p", options.min_p, 0, 1); !r) return r;
  if (auto r = in("presence_penalty", options.presence_penalty, -2, 2); !r) return r;
  if (auto r = in("frequency_penalty", options.frequency_penalty, -2, 2); !r) return r;
  if (auto r = in("repetition_penalty", options.repetition_penalty, 0.01, 100); !r) return r;
  return {};
}

Result<TokenId> sample(std::span<const float> logits, const TokenMask* mask, std::span<const TokenId> history,
                       const SamplingOptions& options, std::uint64_t draw_number, std::span<const TokenId> few) {
  if (auto r = check(options); !r) return r.error();
  if (logits.empty()) return invalid_argument("sample: there are no logits");
  if (mask != nullptr && mask->size() != logits.size()) {
    return invalid_argument(
        fmt::format("sample: the mask is over {} tokens, the logits over {}", mask->size(), logits.size()));
  }
  const auto bad = [&](std::size_t i) -> Result<void> {
    if (logits[i] < std::numeric_limits<float>::infinity()) return {};  // false for NaN
    return invalid_argument(fmt::format("sample: the logit of token {} is {}", i, logits[i]));
  };
  std::vector<Candidate> candidates;
  if (!few.empty()) {
    candidates.reserve(few.size());
    for (const TokenId id : few) {
      if (id >= logits.size()) {
        return invalid_argument(fmt::format("sample: token {} is allowed, the vocabulary has {}", id, logits.size()));
      }
      if (auto r = bad(id); !r) return r.error();
      if (logits[id] != -std::numeric_limits<float>::infinity()) candidates.push_back({logits[id], id});
    }
  } else {
    for (std::size_t i = 0; i < logits.size(); ++i) {
      if (!(logits[i] < std::numeric_limits<float>::infinity())) return bad(i).error();
    }
    candidates.reserve(mask == nullptr ? logits.size() : mask->count());
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const auto id = static_cast<TokenId>(i);
      if (mask != nullptr && !mask->allowed(id)) continue;
      if (logits[i] == -std::numeric_limits<float>::infinity()) continue;
      candidates.push_back({logits[i], id});
    }
  }
  if (candidates.empty()) {
    return invalid_argument(mask != nullptr && mask->none() ? "sample: the mask forbids every token"
                                                            : "sample: every allowed token has a logit of -infinity");
  }
  if (auto r = penalise(candidates, history, options, logits.size()); !r) return r.error();
  if (options.temperature == 0) return std::min_element(candidates.begin(), candidates.end(), before)->id;

  for (Candidate& c : candidates) c.score /= options.temperature;
  if (options.top_k > 0 && static_cast<std::size_t>(options.top_k) < candidates.size()) {
    std::nth_element(candidates.begin(), candidates.begin() + options.top_k, candidates.end(), before);
    candidates.resize(static_cast<std::size_t>(options.top_k));
    // nth_element leaves an order that is the library's own; sums below must not depend on it.
    std::sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  }
  if (options.top_p < 1) keep_top_p(candidates, options.top_p);
  if (options.min_p > 0) {
    const double best = std::min_element(candidates.begin(), candidates.end(), before)->score;
    std::erase_if(candidates, [&](const Candidate& c) { return exp_f64(c.score - best) < options.min_p; });
  }
  return gumbel_max(candidates, options, draw_number);
}

}  // namespace longhaul::model
