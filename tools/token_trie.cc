#include "tools/token_trie.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "tools/automaton.h"
#include "tools/string_tokens.h"
#include "tools/token_classes.h"
#include "tools/utf8.h"

namespace longhaul::tools {

TokenTrie::TokenTrie(const model::Vocabulary& vocabulary, const std::function<bool(model::TokenId)>& keep)
    : TokenTrie([&] {
        std::vector<Entry> entries;
        for (model::TokenId id = 0; id < vocabulary.size(); ++id) {
          if (!vocabulary.is_control(id) && keep(id)) entries.push_back({vocabulary.bytes(id), id});
        }
        return entries;
      }()) {}

TokenTrie TokenTrie::behind_whitespace(const model::Vocabulary& vocabulary,
                                       const std::function<bool(std::string_view)>& keep) {
  std::vector<Entry> entries;
  for (model::TokenId id = 0; id < vocabulary.size(); ++id) {
    std::string_view text = vocabulary.bytes(id);
    const std::size_t n = std::min(text.find_first_not_of(kJsonWhitespace), text.size());
    text.remove_prefix(n);
    if (n != 0 && !text.empty() && !vocabulary.is_control(id) && keep(text)) entries.push_back({text, id});
  }
  return TokenTrie(std::move(entries));
}

TokenTrie::TokenTrie(std::vector<Entry> entries) {
  std::erase_if(entries, [](const Entry& e) { return e.text.empty() || e.text.size() > 65535; });
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.text < b.text; });
  // In sorted order each token shares a prefix with the open path; what it does not share is closed, then extended.
  std::vector<std::uint32_t> path;  // node indices, one a byte
  std::string_view previous;
  auto close_to = [&](std::size_t depth) {
    while (path.size() > depth) {
      nodes_[path.back()].end = static_cast<std::uint32_t>(nodes_.size());
      path.pop_back();
    }
  };
  for (const auto& [bytes, id] : entries) {
    std::size_t shared = 0;
    while (shared < previous.size() && shared < bytes.size() && previous[shared] == bytes[shared]) ++shared;
    close_to(shared);
    for (std::size_t i = shared; i < bytes.size(); ++i) {
      Node node;
      node.first = static_cast<std::uint32_t>(ids_.size());
      node.byte = static_cast<std::uint8_t>(bytes[i]);
      node.depth = static_cast<std::uint16_t>(i + 1);
      path.push_back(static_cast<std::uint32_t>(nodes_.size()));
      nodes_.push_back(node);
    }
    ids_.push_back(id);
    depth_max_ = std::max(depth_max_, bytes.size());
    previous = bytes;
  }
  close_to(0);
  Node after;
  after.first = static_cast<std::uint32_t>(ids_.size());
  nodes_.push_back(after);
  classify();
  branch();
}

void TokenTrie::branch() {
  constexpr std::uint32_t kFewChildren = 6;  // are as soon looked at
  const auto n = static_cast<std::uint32_t>(nodes_.size() - 1);
  if (n == 0) return;
  branch_of_.assign(n, 0);
  auto add = [&](std::uint32_t from, std::uint32_t to) {
    Branches b;
    b.first = static_cast<std::uint32_t>(children_.size());
    for (std::uint32_t i = from; i < to; i = nodes_[i].end) {
      add_byte(b.bytes, nodes_[i].byte);
      children_.push_back(i);
    }
    branches_.push_back(b);
  };
  add(0, n);
  for (std::uint32_t i = 0; i < n; ++i) {
    if (nodes_[i].depth > kBranchDepthMax || nodes_[i].end - i <= kFewChildren) continue;
    std::uint32_t children = 0;
    for (std::uint32_t k = i + 1; k < nodes_[i].end && children <= kFewChildren; k = nodes_[k].end) ++children;
    if (children <= kFewChildren || branches_.size() > 65535) continue;
    branch_of_[i] = static_cast<std::uint16_t>(branches_.size());
    add(i + 1, nodes_[i].end);
  }
}

void TokenTrie::classify() {
  const std::size_t n = nodes_.size() - 1;
  std::vector<CharClasses> below(n);
  std::vector<std::uint32_t> path(depth_max_ + 1), parent(n);
  std::vector<CharInPart> chars(depth_max_ + 1);
  for (std::uint32_t i = 0; i < n; ++i) {
    const Node& node = nodes_[i];
    parent[i] = path[node.depth - 1U];
    path[node.depth] = i;
    CharInPart& part = chars[node.depth];
    part = chars[node.depth - 1U];
    const bool whole = part.phase != kUtf8Wrong && part.add(node.byte);
    if (part.phase == kUtf8Wrong) {
      below[i] = kNoChar;
    } else if (whole && part.value < 0x80) {
      below[i] = CharClasses{1} << ascii_class(static_cast<std::uint8_t>(part.value));
    } else {
      below[i] = CharClasses{1} << (whole ? wide_class(part.value) : kClassWide);
    }
  }
  for (std::size_t i = n; i-- > 0;) {
    Node& node = nodes_[i];
    node.height = static_cast<std::uint8_t>(std::min(node.height + 1, 255));
    if (node.depth == 1) continue;
    below[parent[i]] |= below[i];
    nodes_[parent[i]].height = std::max(nodes_[parent[i]].height, node.height);
  }
  // Few sets differ. The first one stands for what does not fit into the table: it holds everything.
  class_sets_.push_back(~CharClasses{0});
  std::unordered_map<CharClasses, std::uint16_t> known;
  class_set_of_.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    const auto at = known.find(below[i]);
    if (at != known.end()) {
      class_set_of_[i] = at->second;
    } else if (class_sets_.size() < 65536) {
      class_set_of_[i] = known.emplace(below[i], static_cast<std::uint16_t>(class_sets_.size())).first->second;
      class_sets_.push_back(below[i]);
    }
  }
}

struct TokenIndex::Raw {
  std::mutex mutex;
  std::map<std::string, std::unique_ptr<const RawTokens>, std::less<>> by_close;
  std::map<std::string, std::vector<model::TokenId>, std::less<>> holding;
};

TokenIndex::TokenIndex() : raw_(std::make_unique<Raw>()) {}
TokenIndex::~TokenIndex() = default;

std::shared_ptr<const TokenIndex> TokenIndex::build(const model::Vocabulary& v) {
  std::shared_ptr<TokenIndex> index(new TokenIndex);
  index->vocabulary = &v;
  index->text = model::TokenMask(v.size());
  for (model::TokenId id = 0; id < v.size(); ++id) {
    if (v.is_control(id) || v.bytes(id).empty()) continue;
    index->longest_token = std::max(index->longest_token, v.bytes(id).size());
    index->text.allow(id);
  }
  index->all = std::make_unique<TokenTrie>(v);
  index->strings = std::make_unique<StringTokens>(v);
  index->classes = std::make_unique<TokenClasses>(v);
  // Words cannot come there: of the letters only those that begin a literal count.
  index->spaced = std::make_unique<TokenTrie>(TokenTrie::behind_whitespace(v, [](std::string_view text) {
    constexpr std::string_view kMarks = "\"-0123456789{}[],:";
    return kMarks.find(text[0]) != text.npos || std::any_of(kLiterals.begin(), kLiterals.end(), [&](auto literal) {
             return text.starts_with(literal) || literal.starts_with(text);
           });
  }));
  for (model::TokenId id = 0; id < v.size(); ++id) {
    const bool space = v.bytes(id).find_first_not_of(kJsonWhitespace) == std::string_view::npos;
    if (space && index->text.allowed(id)) index->whitespace.push_back(id);
  }
  return index;
}

const RawTokens& TokenIndex::raw(std::string_view close) const {
  const std::lock_guard lock(raw_->mutex);
  const auto known = raw_->by_close.find(close);
  if (known != raw_->by_close.end()) return *known->second;
  return *raw_->by_close.emplace(close, std::make_unique<const RawTokens>(*vocabulary, close)).first->second;
}

const std::vector<model::TokenId>& TokenIndex::holding(std::string_view text) const {
  const std::lock_guard lock(raw_->mutex);
  const auto known = raw_->holding.find(text);
  if (known != raw_->holding.end()) return known->second;
  std::vector<model::TokenId> ids;
  for (model::TokenId id = 0; id < vocabulary->size(); ++id) {
    if (!vocabulary->is_control(id) && vocabulary->bytes(id).find(text) != std::string_view::npos) ids.push_back(id);
  }
  return raw_->holding.emplace(text, std::move(ids)).first->second;
}

std::size_t TokenIndex::bytes() const {
  std::size_t n = all->bytes() + spaced->bytes() + whitespace.size() * sizeof(model::TokenId) + strings->bytes() +
                  classes->bytes() + text.words().size_bytes();
  const std::lock_guard lock(raw_->mutex);
  for (const auto& entry : raw_->by_close) n += entry.second->bytes();
  return n;
}

}  // namespace longhaul::tools
