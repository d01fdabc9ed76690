#include "tools/schema_alike.h"

#include <algorithm>
#include <functional>
#include <string>

#include "tools/id_table.h"

namespace longhaul::tools {
namespace {

bool is_scalar(const Node& n) {
  return n.any_of.empty() && (n.types & (kArrayBit | kObjectBit)) == 0;
}

// Of what a scalar node says of its types.
std::uint64_t hash_of(const Node& n) {
  WordHash h;
  h.mix(n.types);
  if ((n.types & kStringBit) != 0) {
    h.mix(std::uint64_t{n.string.min} << 32 | n.string.max);
    h.mix(std::uint64_t{n.string.pattern} << 32 | n.string.values.size());
    for (const std::string& value : n.string.values) h.mix(std::hash<std::string>()(value));
  }
  if ((n.types & kNumberBit) != 0) h.mix(n.number.intervals.size() * 2 + (n.number.integer ? 1 : 0));
  return h.value();
}

bool same(const Node& a, const Node& b) {
  return a.types == b.types && ((a.types & kStringBit) == 0 || a.string == b.string) &&
         ((a.types & kNumberBit) == 0 || a.number == b.number);
}

}  // namespace

void share_alike(std::vector<Node>& nodes) {
  std::vector<NodeId> first(nodes.size());
  IdTable scalars, unions;
  for (NodeId i = 0; i < nodes.size(); ++i) {
    first[i] = i;
    if (!is_scalar(nodes[i])) continue;
    const std::uint64_t h = hash_of(nodes[i]);
    const NodeId known = scalars.find(h, [&](NodeId id) { return same(nodes[id], nodes[i]); });
    if (known != IdTable::kNone) first[i] = known;
    if (known == IdTable::kNone) scalars.add(h, i);
  }
  for (NodeId i = 0; i < nodes.size(); ++i) {
    auto& choices = nodes[i].choices;
    auto kept = choices.begin();
    for (const NodeId choice : choices) {
      if (std::find(choices.begin(), kept, first[choice]) == kept) *kept++ = first[choice];
    }
    choices.erase(kept, choices.end());
    WordHash h;
    for (const NodeId choice : choices) h.mix(choice);
    const NodeId known = unions.find(h.value(), [&](NodeId id) { return nodes[id].choices == choices; });
    nodes[i].alike = known == IdTable::kNone ? i : known;
    if (known == IdTable::kNone) unions.add(h.value(), i);
  }
}

}  // namespace longhaul::tools
