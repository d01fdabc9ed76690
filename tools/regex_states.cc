// What can be said of a language by looking at its states: which have texts, how long these are, how many, which.
#include <fmt/format.h>

#include <algorithm>

#include "tools/regex_lengths.h"
#include "tools/utf8.h"

namespace longhaul::tools {
namespace {

constexpr std::size_t kExploreMax = 4000;         // states of an expression with "and" or "not"
constexpr std::size_t kWindowCellsMax = 400'000;  // states times lengths looked at by fits()

}  // namespace

bool RegexPool::explore(RegexId id, std::size_t limit, std::vector<RegexId>& states) {
  states = {id};
  std::unordered_map<RegexId, bool> seen{{id, true}};
  for (std::size_t i = 0; i < states.size(); ++i) {
    for (const RegexId to : row(states[i]).to) {
      if (to != kNoText && !exprs_[to].positive && seen.emplace(to, true).second) states.push_back(to);
    }
    if (states.size() > limit) return false;
  }
  return true;
}

std::size_t RegexPool::widest(RegexId id, std::size_t states_max, std::size_t width_max) {
  constexpr std::size_t kWorkMax = 2'000'000;  // derivatives of parts
  std::unordered_map<RegexId, bool> seen{{id, true}};
  std::vector<RegexId> level{id}, next;
  std::size_t width = 1, work = 0;
  while (!level.empty() && seen.size() <= states_max && width <= width_max && work <= kWorkMax) {
    next.clear();
    for (const RegexId state : level) {
      const Row& r = row(state);
      work += r.to.size() * (1 + parts(exprs_[state]).size());
      for (const RegexId to : r.to) {
        if (to != kNoText && seen.emplace(to, true).second) next.push_back(to);
      }
      if (work > kWorkMax || next.size() > width_max) break;
    }
    width = std::max(width, next.size());
    level.swap(next);
  }
  return width;
}

Result<void> RegexPool::settle(RegexId id) {
  if (exprs_[id].positive || infos_.count(id) != 0) return {};
  std::vector<RegexId> states;
  if (!explore(id, kExploreMax, states)) {
    for (const RegexId state : states) rows_[state] = nullptr;
    return make_error(ErrorCode::kResourceExhausted,
                      fmt::format("the combination of patterns has more than {} states", kExploreMax));
  }
  const std::size_t n = states.size();
  std::unordered_map<RegexId, std::uint32_t> index;
  for (std::uint32_t i = 0; i < n; ++i) index[states[i]] = i;
  std::vector<std::vector<std::uint32_t>> back(n);  // predecessors, once an edge
  std::vector<Info> found(n);
  std::uint32_t leaves = 0;
  std::vector<std::uint32_t> queue;
  for (std::uint32_t i = 0; i < n; ++i) {
    found[i] = {false, exprs_[states[i]].nullable ? 0 : kUnbounded, 0, 0};
    for (const RegexId to : rows_[states[i]]->to) {
      if (to == kNoText) continue;
      if (const auto at = index.find(to); at != index.end()) {
        back[at->second].push_back(i);
      } else {
        leaves = std::max(leaves, positions(to));
        found[i].shortest = std::min(found[i].shortest, plus(shortest(to), 1));
      }
    }
  }
  // Least lengths by relaxation backwards (all edges are one long, leaves aside).
  for (std::uint32_t i = 0; i < n; ++i) {
    if (found[i].shortest != kUnbounded) queue.push_back(i);
  }
  while (!queue.empty()) {
    const std::uint32_t i = queue.back();
    queue.pop_back();
    for (const std::uint32_t from : back[i]) {
      if (found[i].shortest + 1 < found[from].shortest) {
        found[from].shortest = found[i].shortest + 1;
        queue.push_back(from);
      }
    }
  }
  for (Info& f : found) f.live = f.shortest != kUnbounded;
  // Greatest lengths: states are done when all live successors are; what never gets done is on the way to a cycle.
  std::vector<std::uint32_t> waiting(n, 0);
  for (std::uint32_t i = 0; i < n; ++i) {
    if (!found[i].live) continue;
    for (const RegexId to : rows_[states[i]]->to) {
      if (to == kNoText) continue;
      if (const auto at = index.find(to); at != index.end()) {
        if (found[at->second].live) ++waiting[i];
      } else {
        found[i].longest = std::max(found[i].longest, plus(longest(to), 1));
      }
    }
    if (waiting[i] == 0) queue.push_back(i);
  }
  std::vector<bool> done(n, false);
  while (!queue.empty()) {
    const std::uint32_t i = queue.back();
    queue.pop_back();
    done[i] = true;
    for (const std::uint32_t from : back[i]) {
      if (!found[from].live) continue;
      found[from].longest = std::max(found[from].longest, plus(found[i].longest, 1));
      if (--waiting[from] == 0) queue.push_back(from);
    }
  }
  for (std::uint32_t i = 0; i < n; ++i) {
    if (found[i].live && !done[i]) found[i].longest = kUnbounded;
    found[i].positions = plus(static_cast<std::uint32_t>(n), leaves);
    infos_[states[i]] = found[i];
  }
  // Rows made on the way still lead to dead ends.
  for (const RegexId state : states) rows_[state] = nullptr;
  bytes_ += n * 48;
  return {};
}

bool RegexPool::fits(RegexId id, LengthWindow rest) {
  if (empty(id) || shortest(id) > rest.max) return false;
  if (shortest(id) >= rest.min) return true;
  if (longest(id) < rest.min) return false;
  if (rest.max == kUnbounded) return true;
  // A longer text passes some state twice, and can be cut there by less than the window's width.
  if (rest.max >= rest.min && rest.max - rest.min >= positions(id)) return true;
  const std::array<std::uint64_t, 3> key{id, rest.min, rest.max};
  if (const auto known = windows_.find(key); known != windows_.end()) return known->second;
  const Row& r = row(id);
  bool result = false;
  for (const RegexId to : r.to) {
    if (!result && to != kNoText) result = fits(to, {rest.min - 1, rest.max - 1});
  }
  bytes_ += 80;
  windows_[key] = result;
  return result;
}

Result<void> RegexPool::check_window(RegexId id, LengthWindow window) {
  if (empty(id) || window.max == kUnbounded || window.max < window.min || shortest(id) >= window.min) return {};
  if (window.max - window.min >= positions(id)) return {};
  std::vector<RegexId> states{id};
  std::unordered_map<RegexId, bool> seen{{id, true}};
  for (std::size_t i = 0; i < states.size(); ++i) {
    const Row& r = row(states[i]);
    for (const RegexId to : r.to) {
      if (to != kNoText && seen.emplace(to, true).second) states.push_back(to);
    }
    if (window.min > 2000 || states.size() * window.min > kWindowCellsMax) {
      return make_error(ErrorCode::kResourceExhausted,
                        fmt::format("lengths of {} to {} with a pattern of that many states", window.min, window.max));
    }
  }
  return {};
}

bool RegexPool::open_between(RegexId id, std::uint32_t from, std::uint32_t to, LengthWindow rest) {
  if (rest.max == 0) return false;
  if (rest.max != kUnbounded) --rest.max;
  if (rest.min != 0) --rest.min;
  if (id == kNoText) return false;
  if (id == kAnyText) return true;
  const Row& r = row(id);
  for (std::size_t i = 0; i < r.from.size() && r.from[i] <= to; ++i) {
    const std::uint32_t last = i + 1 < r.from.size() ? r.from[i + 1] - 1 : kCodePointMax;
    if (last < from || r.to[i] == kNoText) continue;
    // Surrogates are no characters.
    if (std::max(from, r.from[i]) >= 0xD800 && std::min(to, last) <= 0xDFFF) continue;
    if (fits(r.to[i], rest)) return true;
  }
  return false;
}

std::uint64_t RegexPool::count(RegexId id, std::uint64_t limit) {
  if (empty(id)) return 0;
  if (longest(id) > 4000) return limit;
  if (const auto known = counts_.find(id); known != counts_.end()) return std::min(known->second, limit);
  std::uint64_t n = exprs_[id].nullable ? 1 : 0;
  const Row& r = row(id);
  for (std::size_t i = 0; i < r.from.size(); ++i) {
    if (r.to[i] == kNoText) continue;
    const std::uint32_t last = i + 1 < r.from.size() ? r.from[i + 1] - 1 : kCodePointMax;
    std::uint64_t width = last - r.from[i] + 1;
    if (r.from[i] <= 0xD800 && last >= 0xDFFF) width -= 0x800;
    const std::uint64_t each = count(r.to[i], limit);
    if (each >= limit || width >= limit || each * width + n >= limit) return limit;
    n += each * width;
  }
  counts_[id] = n;
  return n;
}

std::optional<std::vector<std::string>> RegexPool::list(RegexId id, std::size_t limit) {
  if (count(id, limit + 1) > limit) return std::nullopt;
  std::vector<std::string> result;
  std::vector<std::pair<RegexId, std::string>> todo;
  if (!empty(id)) todo.push_back({id, ""});
  while (!todo.empty()) {
    const auto [state, text] = todo.back();
    todo.pop_back();
    if (exprs_[state].nullable) result.push_back(text);
    const Row& r = row(state);
    for (std::size_t i = 0; i < r.from.size(); ++i) {
      if (r.to[i] == kNoText) continue;
      const std::uint32_t last = i + 1 < r.from.size() ? r.from[i + 1] - 1 : kCodePointMax;
      for (std::uint32_t c = r.from[i]; c <= last; ++c) {
        if (c >= 0xD800 && c <= 0xDFFF) continue;
        std::string longer = text;
        append_utf8(c, longer);
        todo.push_back({r.to[i], std::move(longer)});
      }
    }
  }
  return result;
}

bool RegexPool::matches(RegexId id, std::string_view utf8) {
  for (std::size_t i = 0; i < utf8.size() && id != kNoText;) {
    const auto lead = static_cast<std::uint8_t>(utf8[i]);
    const std::size_t n = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    std::uint32_t c = n == 1 ? lead : lead & (0x7FU >> n);
    for (std::size_t k = 1; k < n && i + k < utf8.size(); ++k) {
      c = (c << 6) | (static_cast<std::uint8_t>(utf8[i + k]) & 0x3F);
    }
    id = step(id, c);
    i += n;
  }
  return exprs_[id].nullable;
}

}  // namespace longhaul::tools
