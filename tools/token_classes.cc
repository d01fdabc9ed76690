#include "tools/token_classes.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>

#include "tools/utf8.h"

namespace longhaul::tools {
namespace {

CharClasses classes_of(std::string_view bytes) {
  CharClasses classes = 0;
  CharInPart part;
  for (const char c : bytes) {
    const auto byte = static_cast<std::uint8_t>(c);
    const bool whole = part.add(byte);
    if (part.phase == kUtf8Wrong) return classes | kNoChar;
    if (!whole) continue;
    classes |= CharClasses{1} << (part.value < 0x80 ? ascii_class(static_cast<std::uint8_t>(part.value))
                                                    : wide_class(part.value));
  }
  return part.phase == kUtf8Between ? classes : classes | CharClasses{1} << kClassWide;
}

}  // namespace

TokenClasses::TokenClasses(const model::Vocabulary& vocabulary) {
  std::unordered_map<CharClasses, std::vector<model::TokenId>> by_classes;
  for (model::TokenId id = 0; id < vocabulary.size(); ++id) {
    const std::string_view bytes = vocabulary.bytes(id);
    if (vocabulary.is_control(id) || bytes.empty() || bytes.size() > kBytesMax) continue;
    by_classes[classes_of(bytes)].push_back(id);
  }
  // As many cost as much one by one as a mask does.
  const std::size_t many = vocabulary.size() / 64;
  for (auto& [classes, ids] : by_classes) {
    std::stable_sort(ids.begin(), ids.end(), [&](model::TokenId a, model::TokenId b) {
      return vocabulary.bytes(a).size() < vocabulary.bytes(b).size();
    });
    Set set;
    set.classes = classes;
    set.first = static_cast<std::uint32_t>(ids_.size());
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    set.last = static_cast<std::uint32_t>(ids_.size());
    for (const model::TokenId id : ids) lengths_.push_back(static_cast<std::uint8_t>(vocabulary.bytes(id).size()));
    if (ids.size() >= many) {
      set.mask = static_cast<std::int32_t>(masks_.size());
      masks_.emplace_back(vocabulary.size());
      for (const model::TokenId id : ids) masks_.back().allow(id);
    }
    sets_.push_back(set);
  }
}

void TokenClasses::add_within(CharClasses classes, std::size_t bytes, model::TokenMask& mask) const {
  for (const Set& set : sets_) {
    if ((set.classes & ~classes) != 0) continue;
    if (set.mask >= 0 && lengths_[set.last - 1] <= bytes) {
      mask |= masks_[static_cast<std::size_t>(set.mask)];
      continue;
    }
    for (std::uint32_t i = set.first; i < set.last && lengths_[i] <= bytes; ++i) mask.allow(ids_[i]);
  }
}

std::size_t TokenClasses::bytes() const {
  std::size_t n = sets_.size() * sizeof(Set) + ids_.size() * (sizeof(model::TokenId) + 1);
  for (const model::TokenMask& mask : masks_) n += mask.words().size_bytes();
  return n;
}

}  // namespace longhaul::tools
