#include "tools/token_trie.h"

#include <algorithm>
#include <string_view>

#include "tools/utf8.h"

namespace longhaul::tools {
namespace {

bool in_string_whole(std::string_view bytes) {
  return is_utf8(bytes) && std::none_of(bytes.begin(), bytes.end(), [](char c) {
           return c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20;
         });
}

}  // namespace

TokenTrie::TokenTrie(const model::Vocabulary& vocabulary, const std::function<bool(model::TokenId)>& keep) {
  std::vector<model::TokenId> order;
  for (model::TokenId id = 0; id < vocabulary.size(); ++id) {
    const std::size_t n = vocabulary.bytes(id).size();
    if (!vocabulary.is_control(id) && n != 0 && n <= 65535 && keep(id)) order.push_back(id);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](model::TokenId a, model::TokenId b) { return vocabulary.bytes(a) < vocabulary.bytes(b); });
  // In sorted order each token shares a prefix with the open path; what it does not share is closed, then extended.
  std::vector<std::uint32_t> path;  // node indices, one a byte
  std::string_view previous;
  auto close_to = [&](std::size_t depth) {
    while (path.size() > depth) {
      nodes_[path.back()].end = static_cast<std::uint32_t>(nodes_.size());
      path.pop_back();
    }
  };
  for (const model::TokenId id : order) {
    const std::string_view bytes = vocabulary.bytes(id);
    std::size_t shared = 0;
    while (shared < previous.size() && shared < bytes.size() && previous[shared] == bytes[shared]) ++shared;
    close_to(shared);
    for (std::size_t i = shared; i < bytes.size(); ++i) {
      Node node;
      node.byte = static_cast<std::uint8_t>(bytes[i]);
      node.depth = static_cast<std::uint16_t>(i + 1);
      path.push_back(static_cast<std::uint32_t>(nodes_.size()));
      nodes_.push_back(node);
    }
    Node& last = nodes_[path.back()];
    if (last.count == 0) last.first = static_cast<std::uint32_t>(ids_.size());
    ids_.push_back(id);
    ++last.count;
    depth_max_ = std::max(depth_max_, bytes.size());
    previous = bytes;
  }
  close_to(0);
}

std::shared_ptr<const TokenIndex> TokenIndex::build(const model::Vocabulary& v) {
  auto index = std::make_shared<TokenIndex>();
  index->vocabulary = &v;
  index->text = index->in_string = index->in_raw = model::TokenMask(v.size());
  for (model::TokenId id = 0; id < v.size(); ++id) {
    const std::string_view bytes = v.bytes(id);
    if (v.is_control(id) || bytes.empty()) continue;
    index->longest_token = std::max(index->longest_token, bytes.size());
    index->text.allow(id);
    if (in_string_whole(bytes)) index->in_string.allow(id);
    if (is_utf8(bytes) && bytes.find('\n') == bytes.npos) index->in_raw.allow(id);
  }
  index->all = std::make_unique<TokenTrie>(v);
  index->not_in_string =
      std::make_unique<TokenTrie>(v, [&](model::TokenId id) { return !index->in_string.allowed(id); });
  index->not_in_raw = std::make_unique<TokenTrie>(v, [&](model::TokenId id) { return !index->in_raw.allowed(id); });
  return index;
}

std::size_t TokenIndex::bytes() const {
  return all->bytes() + not_in_string->bytes() + not_in_raw->bytes() + 3 * text.words().size_bytes();
}

}  // namespace longhaul::tools
