#include "tools/array_plan.h"

#include <algorithm>
#include <set>

namespace longhaul::tools {
namespace {

using Counts = std::vector<std::uint32_t>;

const std::vector<Element>& elements_at(const ArrayRule& rule, std::uint32_t i) {
  return rule.elements[std::min<std::size_t>(i, rule.elements.size() - 1)];
}

bool enough(const ArrayRule& rule, const Counts& counts) {
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] < rule.contains[i].min || counts[i] > rule.contains[i].max) return false;
  }
  return true;
}

// All further elements are alike and one thing is counted: arithmetic.
bool single_can_end(const ArrayRule& rule, std::uint32_t n, std::uint32_t count, const LiveNode& live) {
  const Contains& c = rule.contains[0];
  if (count > c.max) return false;
  bool one = false, other = false;
  for (const Element& e : elements_at(rule, n)) {
    if (live(e.node)) (e.counts != 0 ? one : other) = true;
  }
  const std::uint32_t need = count >= c.min ? 0 : c.min - count;
  const std::uint32_t allowed = c.max == kNoLimit ? kNoLimit : c.max - count;
  const std::uint32_t least = n >= rule.min ? 0 : rule.min - n;
  const std::uint32_t most = rule.max == kNoLimit ? kNoLimit : rule.max - n;
  if (need > 0 && !one) return false;
  if (std::max(least, need) > most) return false;
  if (one && !other) return std::max(least, need) <= allowed;
  return (other && need <= allowed) || least == 0;
}

// The same in general, by going through the counts that can be reached.
bool tail_can_end(const ArrayRule& rule, std::uint32_t n, const Counts& counts, const LiveNode& live) {
  if (counts.size() == 1) return single_can_end(rule, n, counts[0], live);
  const std::vector<Element>& elements = elements_at(rule, n);
  const std::uint32_t least = n >= rule.min ? 0 : rule.min - n;
  const std::uint32_t most = rule.max == kNoLimit ? kNoLimit : rule.max - n;
  std::set<Counts> now{counts};
  // Beyond `least` every set of counts is either met again or new, so this ends.
  std::set<std::set<Counts>> seen;
  for (std::uint32_t i = 0;; ++i) {
    if (i >= least && std::any_of(now.begin(), now.end(), [&](const Counts& c) { return enough(rule, c); }))
      return true;
    if (i >= most || now.empty()) return false;
    if (i >= least && !seen.insert(now).second) return false;
    std::set<Counts> next;
    for (const Element& e : elements) {
      if (!live(e.node)) continue;
      for (Counts c : now) {
        if (array_count(rule, e, c)) next.insert(std::move(c));
      }
    }
    if (i < least && next == now) i = least - 1;  // nothing changes until then
    now = std::move(next);
  }
}

}  // namespace

bool array_count(const ArrayRule& rule, const Element& element, Counts& counts) {
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if ((element.counts >> i & 1) == 0) continue;
    const Contains& c = rule.contains[i];
    if (c.max != kNoLimit ? ++counts[i] > c.max : counts[i] < c.min && ++counts[i] > c.min) return false;
  }
  return true;
}

bool array_may_end(const ArrayRule& rule, std::uint32_t n, const Counts& counts) {
  return n >= rule.min && enough(rule, counts);
}

bool array_can_end(const ArrayRule& rule, std::uint32_t n, const Counts& counts, const LiveNode& live) {
  if (rule.min > rule.max || n > rule.max) return false;
  std::set<Counts> now{counts};
  const auto n_prefix = static_cast<std::uint32_t>(rule.elements.size() - 1);
  for (; n < n_prefix; ++n) {
    if (std::any_of(now.begin(), now.end(), [&](const Counts& c) { return array_may_end(rule, n, c); })) return true;
    if (n >= rule.max) return false;
    std::set<Counts> next;
    for (const Element& e : elements_at(rule, n)) {
      if (!live(e.node)) continue;
      for (Counts c : now) {
        if (array_count(rule, e, c)) next.insert(std::move(c));
      }
    }
    now = std::move(next);
  }
  return std::any_of(now.begin(), now.end(), [&](const Counts& c) { return tail_can_end(rule, n, c, live); });
}

std::uint64_t array_counts(const ArrayRule& rule) {
  std::uint64_t n = 1;
  for (const Contains& c : rule.contains) {
    n = std::min<std::uint64_t>(n * (std::uint64_t{c.max != kNoLimit ? c.max : c.min} + 1), 1ULL << 40);
  }
  return n;
}

}  // namespace longhaul::tools
