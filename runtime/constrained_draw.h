// The next token of a message under its grammar (contract C2b): the Gumbel-max draw over the allowed logits. Two things
// keep the mask off the way, and neither changes a draw. Without truncation (top-k, top-p, min-p) the draw is the
// greatest of numbers that each belong to one token alone, so if the greatest of all is allowed, it is the draw: then a
// mask that is not at hand need not be made. That pays for small vocabularies. Where the model's layers take long, a
// large one's mask is made while they are computed (mask_ahead.h).
#pragma once

#include <chrono>
#include <memory>
#include <span>

#include "model/sampler.h"
#include "runtime/mask_ahead.h"
#include "tools/message_parser.h"

namespace longhaul::runtime {

// What is known of the next token before the model is asked: the tokens that may come, at hand or on their way, or an
// empty mask (of no tokens at all) where the one that is drawn will be tested instead. `ahead`: who makes masks
// meanwhile, if it pays with `layers` (MaskAhead::pays); null: nobody, they are made here.
std::shared_ptr<NextTokens> allowed_before_draw(const tools::MessageParser& parser,
                                                const model::SamplingOptions& sampling, MaskAhead* ahead,
                                                std::chrono::nanoseconds layers);

// `allowed` from above; `logits` of the whole vocabulary, or of the listed tokens. Errors as model::sample.
Result<model::TokenId> draw_allowed(const tools::MessageParser& parser, const tools::AllowedTokens& allowed,
                                    std::span<const float> logits, std::span<const model::TokenId> written,
                                    const model::SamplingOptions& sampling, std::uint64_t draw);

}  // namespace longhaul::runtime
