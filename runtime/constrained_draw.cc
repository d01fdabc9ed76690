#include "runtime/constrained_draw.h"

namespace longhaul::runtime {
namespace {

// A refused token means a second draw, which takes longer than the mask where there are many candidates: some
// microseconds for a thousand, ten milliseconds for 131,072.
constexpr std::size_t kSmallVocabulary = 8192;

}  // namespace

std::shared_ptr<NextTokens> allowed_before_draw(const tools::MessageParser& parser,
                                                const model::SamplingOptions& sampling, MaskAhead* ahead,
                                                std::chrono::nanoseconds layers) {
  const std::size_t n_tokens = parser.grammar().vocabulary().size();
  if (ahead != nullptr && ahead->pays(n_tokens, layers)) {
    // A token without alternative is among the quick ones, and then the model need not be asked.
    if (auto quick = parser.allowed_if_quick()) return std::make_shared<NextTokens>(std::move(quick));
    return ahead->begin(parser.shared_grammar(), parser.state());
  }
  const bool truncates = sampling.top_k > 0 || sampling.top_p < 1 || sampling.min_p > 0;
  if (truncates || n_tokens > kSmallVocabulary) return std::make_shared<NextTokens>(parser.allowed());
  static const auto untested = std::make_shared<const tools::AllowedTokens>();
  auto kept = parser.allowed_if_kept();
  return std::make_shared<NextTokens>(kept ? std::move(kept) : untested);
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
