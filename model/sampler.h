// Logits to one token, as a pure function (contract C2b): the Gumbel-max draw over the logits after mask, penalties,
// temperature, top-k, top-p, min-p, in this order; the noise of a token is a function of (seed, draw number, token id).
// So a crash in mid-sentence regenerates the same sentence, and speculation never changes the text.
#pragma once

#include <cstdint>
#include <span>

#include "model/token_mask.h"
#include "runtime/base/result.h"

namespace longhaul::model {

struct SamplingOptions {
  float temperature = 0.0F;  // 0: greedy (ties to the lower id, no noise)
  std::int32_t top_k = 0;    // 0: off
  float top_p = 1.0F;        // 1: off
  float min_p = 0.0F;        // 0: off
  float presence_penalty = 0.0F;
  float frequency_penalty = 0.0F;
  float repetition_penalty = 1.0F;  // 1: off
  std::uint64_t seed = 0;

  friend bool operator==(const SamplingOptions&, const SamplingOptions&) = default;
};

// kInvalidArgument names the option and its range.
Result<void> check(const SamplingOptions& options);

// `logits` [vocab]; `mask` may be null; `history` the tokens that penalties look at. `few`, if not empty, is the mask
// as a list (ascending): the draw is the same, and no other logit is looked at. Errors: kInvalidArgument if the mask
// forbids everything or the logits hold a NaN (named with its index).
Result<TokenId> sample(std::span<const float> logits, const TokenMask* mask, std::span<const TokenId> history,
                       const SamplingOptions& options, std::uint64_t draw_number, std::span<const TokenId> few = {});

}  // namespace longhaul::model
