// Logits, masks and options of any bits: the sampler gives an allowed token, the same one twice, or an error.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "model/sampler.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace longhaul::model;
  struct Head {
    float temperature, top_p, min_p, presence, frequency, repetition;
    std::int32_t top_k;
    std::uint32_t flags;
    std::uint64_t seed, draw;
  } head = {};
  if (size < sizeof(head)) return 0;
  std::memcpy(&head, data, sizeof(head));
  SamplingOptions options;
  // Some options are mutated bits, some a sound value, by the flags: else nearly every input would be refused.
  options.temperature = (head.flags & 1) != 0 ? head.temperature : static_cast<float>(head.flags >> 8 & 3);
  if ((head.flags & 2) != 0) options.top_p = head.top_p;
  if ((head.flags & 4) != 0) options.min_p = head.min_p;
  if ((head.flags & 8) != 0) options.presence_penalty = head.presence;
  if ((head.flags & 16) != 0) options.frequency_penalty = head.frequency;
  if ((head.flags & 32) != 0) options.repetition_penalty = head.repetition;
  if ((head.flags & 64) != 0) options.top_k = head.top_k;
  options.seed = head.seed;
  std::vector<float> logits((size - sizeof(head)) / 4);
  if (!logits.empty()) std::memcpy(logits.data(), data + sizeof(head), logits.size() * 4);
  TokenMask mask(logits.size());
  std::vector<TokenId> history;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if ((head.seed >> (i % 64) & 1) != 0) mask.allow(static_cast<TokenId>(i));
    if ((head.draw >> (i % 64) & 1) != 0) history.push_back(static_cast<TokenId>(i));
    if ((head.flags & 128) == 0 && !std::isfinite(logits[i])) logits[i] = -1;
  }
  const auto first = sample(logits, &mask, history, options, head.draw);
  const auto second = sample(logits, &mask, history, options, head.draw);
  if (first.has_value() != second.has_value()) std::abort();
  if (!first) return 0;
  if (*first != *second || *first >= logits.size() || !mask.allowed(*first)) std::abort();
  return 0;
}
