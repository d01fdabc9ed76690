#include "model/added_tokens.h"

#include <algorithm>
#include <utility>

#include "model/split_pattern.h"
#include "model/utf8.h"

namespace longhaul::model {
namespace {

// Unicode's White_Space.
bool is_space(std::uint32_t c) {
  return (c >= 0x9 && c <= 0xD) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::size_t leading_space(std::string_view text) {
  std::size_t n = 0;
  while (n < text.size()) {
    const Utf8Step step = next_utf8(text.substr(n));
    if (step.kind != Utf8Step::Kind::kCharacter || !is_space(step.code_point)) break;
    n += step.length;
  }
  return n;
}

// Where the white space at the end of text[from, end) begins.
std::size_t trailing_space(std::string_view text, std::size_t from, std::size_t end) {
  while (end > from) {
    std::size_t start = end - 1;
    while (start > from && end - start < 3 && (static_cast<std::uint8_t>(text[start]) & 0xC0) == 0x80) --start;
    const Utf8Step step = next_utf8(text.substr(start, end - start));
    if (step.kind != Utf8Step::Kind::kCharacter || step.length != end - start || !is_space(step.code_point)) break;
    end = start;
  }
  return end;
}

}  // namespace

void AddedTokens::add(AddedToken token) {
  std::uint32_t node = 0;
  for (char c : token.content) {
    auto& children = nodes_[node].children;
    auto it = std::find_if(children.begin(), children.end(), [c](const auto& child) { return child.first == c; });
    if (it != children.end()) {
      node = it->second;
      continue;
    }
    const auto fresh = static_cast<std::uint32_t>(nodes_.size());
    children.emplace_back(c, fresh);
    nodes_.emplace_back();
    node = fresh;
  }
  starts_[static_cast<std::uint8_t>(token.content.front())] = true;
  nodes_[node].token = static_cast<std::int32_t>(tokens_.size());
  tokens_.push_back(std::move(token));
}

std::int32_t AddedTokens::longest(std::string_view text) const {
  std::int32_t found = -1;
  std::uint32_t node = 0;
  for (char c : text) {
    const auto& children = nodes_[node].children;
    auto it = std::find_if(children.begin(), children.end(), [c](const auto& child) { return child.first == c; });
    if (it == children.end()) break;
    node = it->second;
    if (nodes_[node].token >= 0) found = nodes_[node].token;
  }
  return found;
}

void AddedTokens::split(std::string_view text,
                        const std::function<void(std::string_view, std::optional<TokenId>)>& each) const {
  std::size_t done = 0;  // up to here pieces were given
  for (std::size_t at = 0; at < text.size();) {
    const std::int32_t index = starts_[static_cast<std::uint8_t>(text[at])] ? longest(text.substr(at)) : -1;
    if (index < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<std::size_t>(index)];
    std::size_t begin = at, end = at + token.content.size();
    at = end;  // what follows is searched from here, also when the match does not count
    if (token.single_word && (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end)))) continue;
    if (token.lstrip) begin = trailing_space(text, std::min(done, begin), begin);
    if (token.rstrip) end += leading_space(text.substr(end));
    if (done < begin) each(text.substr(done, begin - done), std::nullopt);
    each(text.substr(begin, end - begin), token.id);
    done = end;
  }
  if (done < text.size()) each(text.substr(done), std::nullopt);
}

}  // namespace longhaul::model
