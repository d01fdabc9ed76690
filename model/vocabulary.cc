#include "model/vocabulary.h"

#include <algorithm>
#include <utility>

namespace longhaul::model {

Vocabulary::Vocabulary(std::vector<Token> tokens) : tokens_(std::move(tokens)) {
  for (std::size_t id = 0; id < tokens_.size(); ++id) {
    if (tokens_[id].control) control_.emplace_back(tokens_[id].bytes, static_cast<TokenId>(id));
  }
  std::sort(control_.begin(), control_.end());
}

std::optional<TokenId> Vocabulary::control(std::string_view name) const {
  auto it = std::lower_bound(control_.begin(), control_.end(), name,
                             [](const auto& entry, std::string_view key) { return entry.first < key; });
  if (it == control_.end() || it->first != name || name.empty()) return std::nullopt;
  return it->second;
}

}  // namespace longhaul::model
