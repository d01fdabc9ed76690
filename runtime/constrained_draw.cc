#include "runtime/constrained_draw.h"

namespace longhaul::runtime {

std::shared_ptr<const tools::AllowedTokens> allowed_before_draw(const tools::MessageParser& parser,
                                                                const model::SamplingOptions& sampling) {
  const bool truncates = sampling.top_k > 0 || sampling.top_p < 1 || sampling.min_p > 0;
  if (truncates) return parser.allowed();
  if (auto kept = parser.allowed_if_kept()) return kept;
  static const auto untested = std::make_shared<const tools::AllowedTokens>();
  return untested;
}

Result<model::TokenId> draw_allowed(const tools::MessageParser& parser, const tools::AllowedTokens& allowed,
                                    std::span<const float> logits, std::span<const model::TokenId> written,
                                    const model::SamplingOptions& sampling, std::uint64_t draw) {
  if (allowed.mask.size() > 0) return model::sample(logits, &allowed.mask, written, sampling, draw, allowed.ids);
  const auto token = model::sample(logits, nullptr, written, sampling, draw);
  if (token && parser.allows(*token)) return token;
  const auto exact = parser.allowed();
  return model::sample(logits, &exact->mask, written, sampling, draw, exact->ids);
}

}  // namespace longhaul::runtime
