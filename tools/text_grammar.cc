#include "tools/text_grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "tools/ebnf_reader.h"
#include "tools/pattern_tree.h"

namespace longhaul::tools {
namespace {

using Kind = EbnfNode::Kind;

constexpr std::size_t kRulesMax = 10'000;
constexpr std::uint32_t kPartWeightMax = 20'000;  // characters and classes of rules put together into one language
constexpr std::uint32_t kPartHeightMax = 1000;    // of its nesting, a sequence counting as nested to its right
constexpr std::size_t kPositionsMax = 20'000;     // of all rules
constexpr std::size_t kFollowsMax = 1'000'000;    // pairs of neighbouring positions
constexpr std::size_t kBeginningsMax = 1000;      // rules that one rule may begin with, by way of others
constexpr std::size_t kStatesLooked = 8192;       // of one language, when it is loaded
constexpr std::size_t kStatesWide = 1024;         // at the same distance from its beginning
constexpr std::uint32_t kNever = ~std::uint32_t{0};

std::uint32_t capped(std::uint64_t n) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(n, kNever - 1));
}

Error too_large(std::string message) {
  return make_error(ErrorCode::kResourceExhausted, std::move(message));
}

}  // namespace

class TextGrammarCompiler {
 public:
  Result<std::shared_ptr<const TextGrammar>> ebnf(Ebnf tree) {
    tree_ = std::move(tree);
    if (tree_.rules.size() > kRulesMax) {
      return too_large(fmt::format("a grammar of {} rules, at most {}", tree_.rules.size(), kRulesMax));
    }
    if (auto ok = check_reach(); !ok) return ok.error();
    if (auto ok = check_endings(); !ok) return ok.error();
    for (std::uint32_t i = 0; i < tree_.rules.size(); ++i) unroll_left(i);
    find_recursive();
    weigh();
    find_nullable();
    out_->rules_.resize(tree_.rules.size());
    for (std::uint32_t i = 0; i < tree_.rules.size(); ++i) {
      if (!used_as_call(i)) continue;
      if (auto ok = build(i); !ok) return with_context(place_of(i), ok.error());
    }
    out_->root_ = tree_.root;
    return finish();
  }

  Result<std::shared_ptr<const TextGrammar>> regex(std::string_view pattern) {
    // By itself first: its errors count characters of what was given, and it must be whole without the parentheses.
    if (auto ok = RegexPool().pattern(pattern); !ok) return ok.error();
    auto whole = out_->pool_.pattern(fmt::format("^(?:{})$", pattern));
    if (!whole) return whole.error();
    if (auto ok = out_->pool_.settle(*whole); !ok) return ok.error();
    if (out_->pool_.empty(*whole)) return invalid_argument("no text fits the pattern");
    if (auto ok = check_states(*whole); !ok) return ok.error();
    TextGrammar::Rule rule;
    rule.nullable = out_->pool_.accepts_empty(*whole);
    if (*whole != kEmptyText) {
      rule.first_to = 1;
      out_->positions_.push_back({.part = *whole, .last = true, .tail = true});
      out_->follows_.push_back(0);
    }
    out_->rules_.push_back(rule);
    return std::shared_ptr<const TextGrammar>(std::move(out_));
  }

 private:
  // What a part of a body can begin and end with.
  struct Span {
    std::vector<std::uint32_t> first, last;
    bool nullable = true;
  };

  std::string place_of(std::uint32_t rule) const {
    return fmt::format("{}: rule \"{}\"", to_string(tree_.rules[rule].place), tree_.rules[rule].name);
  }
  const EbnfNode& body(std::uint32_t rule) const { return tree_.nodes[tree_.rules[rule].body]; }

  // The rules named in a body, with repeats. Not recursive, though the reader bounds nesting: bodies may share nodes.
  std::vector<std::uint32_t> named_in(std::uint32_t rule) const {
    std::vector<std::uint32_t> found, todo{tree_.rules[rule].body};
    while (!todo.empty()) {
      const EbnfNode& node = tree_.nodes[todo.back()];
      todo.pop_back();
      if (node.kind == Kind::kRule) found.push_back(node.rule);
      todo.insert(todo.end(), node.parts.begin(), node.parts.end());
    }
    return found;
  }

  Result<void> check_reach() {
    std::vector<bool> reached(tree_.rules.size(), false);
    std::vector<std::uint32_t> todo{tree_.root};
    reached[tree_.root] = true;
    while (!todo.empty()) {
      const std::uint32_t at = todo.back();
      todo.pop_back();
      for (const std::uint32_t to : named_in(at)) {
        if (!reached[to]) todo.push_back(to);
        reached[to] = true;
      }
    }
    for (std::uint32_t i = 0; i < tree_.rules.size(); ++i) {
      if (!reached[i]) return invalid_argument(place_of(i) + " is never used");
    }
    return {};
  }

  // Every rule has a text: else whatever names it could not be finished.
  Result<void> check_endings() {
    std::vector<bool> ends(tree_.rules.size(), false);
    const auto users = users_of_rules();
    std::vector<std::uint32_t> todo;
    for (std::uint32_t i = 0; i < tree_.rules.size(); ++i) todo.push_back(i);
    while (!todo.empty()) {
      const std::uint32_t at = todo.back();
      todo.pop_back();
      if (ends[at] || !can_end(tree_.rules[at].body, ends)) continue;
      ends[at] = true;
      for (const std::uint32_t user : users[at]) {
        if (!ends[user]) todo.push_back(user);
      }
    }
    for (std::uint32_t i = 0; i < tree_.rules.size(); ++i) {
      if (!ends[i]) return invalid_argument(place_of(i) + " never ends: no text fits it");
    }
    return {};
  }

  std::vector<std::vector<std::uint32_t>> users_of_rules() const {
    std::vector<std::vector<std::uint32_t>> users(tree_.rules.size());
    for (std::uint32_t i = 0; i < tree_.rules.size(); ++i) {
      for (const std::uint32_t to : named_in(i)) {
        if (users[to].empty() || users[to].back() != i) users[to].push_back(i);
      }
    }
    return users;
  }

  bool can_end(std::uint32_t id, const std::vector<bool>& ends) const {
    const EbnfNode& node = tree_.nodes[id];
    const auto part_ends = [&](std::uint32_t part) { return can_end(part, ends); };
    switch (node.kind) {
      case Kind::kLiteral:
      case Kind::kChars:
        return true;
      case Kind::kRule:
        return ends[node.rule];
      case Kind::kSequence:
        return std::all_of(node.parts.begin(), node.parts.end(), part_ends);
      case Kind::kChoice:
        return std::any_of(node.parts.begin(), node.parts.end(), part_ends);
      case Kind::kRepeat:
        return node.min == 0 || part_ends(node.parts[0]);
    }
    return false;
  }

  std::uint32_t add(Kind kind, std::vector<std::uint32_t> parts, std::uint32_t like) {
    EbnfNode node;
    node.kind = kind;
    node.place = tree_.nodes[like].place;
    node.parts = std::move(parts);
    tree_.nodes.push_back(std::move(node));
    return static_cast<std::uint32_t>(tree_.nodes.size() - 1);
  }

  // a ::= a x | a y | b | c  is  a ::= (b | c) (x | y)*
  void unroll_left(std::uint32_t rule) {
    const std::uint32_t id = tree_.rules[rule].body;
    const std::vector<std::uint32_t> ways =
        tree_.nodes[id].kind == Kind::kChoice ? tree_.nodes[id].parts : std::vector<std::uint32_t>{id};
    auto is_self = [&](std::uint32_t part) {
      return tree_.nodes[part].kind == Kind::kRule && tree_.nodes[part].rule == rule;
    };
    std::vector<std::uint32_t> rests, others;
    bool found = false;
    for (const std::uint32_t way : ways) {
      const EbnfNode& node = tree_.nodes[way];
      if (is_self(way)) {
        found = true;  // a ::= a says nothing
      } else if (node.kind == Kind::kSequence && !node.parts.empty() && is_self(node.parts[0])) {
        found = true;
        rests.push_back(add(Kind::kSequence, {node.parts.begin() + 1, node.parts.end()}, way));
      } else {
        others.push_back(way);
      }
    }
    if (!found) return;
    // Some alternative ends (check_endings), so `others` is not empty.
    std::uint32_t made = add(Kind::kChoice, std::move(others), id);
    if (!rests.empty()) {
      const std::uint32_t rest = add(Kind::kChoice, std::move(rests), id);
      const std::uint32_t rounds = add(Kind::kRepeat, {rest}, id);
      tree_.nodes[rounds].max = kUnbounded;
      made = add(Kind::kSequence, {made, rounds}, id);
    }
    tree_.rules[rule].body = made;
  }

  // Which rules come back to themselves: Tarjan's components, without recursion.
  void find_recursive() {
    const std::size_t n = tree_.rules.size();
    recursive_.assign(n, false);
    std::vector<std::vector<std::uint32_t>> to(n);
    for (std::uint32_t i = 0; i < n; ++i) {
      to[i] = named_in(i);
      std::sort(to[i].begin(), to[i].end());
      to[i].erase(std::unique(to[i].begin(), to[i].end()), to[i].end());
      recursive_[i] = std::binary_search(to[i].begin(), to[i].end(), i);
    }
    std::vector<std::uint32_t> number(n, 0), low(n, 0), stack, next(n, 0);
    std::vector<bool> open(n, false);
    std::uint32_t count = 0;
    for (std::uint32_t start = 0; start < n; ++start) {
      if (number[start] != 0) continue;
      std::vector<std::uint32_t> path{start};
      while (!path.empty()) {
        const std::uint32_t at = path.back();
        if (number[at] == 0) {
          number[at] = low[at] = ++count;
          stack.push_back(at);
          open[at] = true;
        }
        if (next[at] < to[at].size()) {
          const std::uint32_t child = to[at][next[at]++];
          if (number[child] == 0) {
            path.push_back(child);
          } else if (open[child]) {
            low[at] = std::min(low[at], number[child]);
          }
          continue;
        }
        path.pop_back();
        if (!path.empty()) low[path.back()] = std::min(low[path.back()], low[at]);
        if (low[at] != number[at]) continue;
        const auto from = std::find(stack.begin(), stack.end(), at);
        const bool several = stack.end() - from > 1;
        for (auto i = from; i != stack.end(); ++i) {
          if (several) recursive_[*i] = true;
          open[*i] = false;
        }
        order_.insert(order_.end(), from, stack.end());
        stack.erase(from, stack.end());
      }
    }
  }

  // How large the language of a node becomes, if it can be one: kNever if it comes back to itself or is too large.
  // `order_` has every rule after those that it names.
  void weigh() {
    rule_weight_.assign(tree_.rules.size(), kNever);
    rule_height_.assign(tree_.rules.size(), 0);
    for (const std::uint32_t rule : order_) {
      if (recursive_[rule]) continue;
      const auto [weight, height] = weight_of(tree_.rules[rule].body);
      if (weight > kPartWeightMax || height > kPartHeightMax) continue;
      rule_weight_[rule] = weight;
      rule_height_[rule] = height;
    }
  }

  std::pair<std::uint32_t, std::uint32_t> weight_of(std::uint32_t id) const {
    const EbnfNode& node = tree_.nodes[id];
    if (node.kind == Kind::kRule) return {rule_weight_[node.rule], rule_height_[node.rule]};
    std::uint64_t weight = node.kind == Kind::kLiteral ? node.text.size() : node.kind == Kind::kChars ? 1 : 0;
    std::uint32_t height = 0;
    for (const std::uint32_t part : node.parts) {
      const auto [w, h] = weight_of(part);
      if (w == kNever) return {kNever, 0};
      weight += w;
      height = std::max(height, h);
    }
    if (node.kind == Kind::kSequence) height += capped(node.parts.size());
    return {capped(weight), height + 1};
  }

  // A literal or class by itself always is one.
  bool is_part(std::uint32_t id) const {
    const EbnfNode& node = tree_.nodes[id];
    if (node.kind == Kind::kLiteral || node.kind == Kind::kChars) return true;
    const auto [weight, height] = weight_of(id);
    return weight <= kPartWeightMax && height <= kPartHeightMax;
  }

  bool used_as_call(std::uint32_t rule) const { return rule == tree_.root || rule_weight_[rule] == kNever; }

  void find_nullable() {
    nullable_.assign(tree_.rules.size(), false);
    const auto users = users_of_rules();
    std::vector<std::uint32_t> todo(order_.rbegin(), order_.rend());
    while (!todo.empty()) {
      const std::uint32_t at = todo.back();
      todo.pop_back();
      if (nullable_[at] || !may_be_empty(tree_.rules[at].body)) continue;
      nullable_[at] = true;
      todo.insert(todo.end(), users[at].begin(), users[at].end());
    }
  }

  bool may_be_empty(std::uint32_t id) const {
    const EbnfNode& node = tree_.nodes[id];
    const auto empty = [&](std::uint32_t part) { return may_be_empty(part); };
    switch (node.kind) {
      case Kind::kLiteral:
        return node.text.empty();
      case Kind::kChars:
        return false;
      case Kind::kRule:
        return nullable_[node.rule];
      case Kind::kSequence:
        return std::all_of(node.parts.begin(), node.parts.end(), empty);
      case Kind::kChoice:
        return std::any_of(node.parts.begin(), node.parts.end(), empty);
      case Kind::kRepeat:
        return node.min == 0 || empty(node.parts[0]);
    }
    return false;
  }

  // --- languages

  RegexId language(std::uint32_t id) {
    RegexPool& pool = out_->pool_;
    const EbnfNode& node = tree_.nodes[id];
    switch (node.kind) {
      case Kind::kLiteral:
        return pool.literal(node.text);
      case Kind::kChars:
        return pool.chars(node.set);
      case Kind::kRule: {
        if (languages_.empty()) languages_.resize(tree_.rules.size());
        if (!languages_[node.rule]) languages_[node.rule] = language(tree_.rules[node.rule].body);
        return *languages_[node.rule];
      }
      case Kind::kSequence: {
        RegexId all = kEmptyText;
        for (auto part = node.parts.rbegin(); part != node.parts.rend(); ++part)
          all = pool.concat(language(*part), all);
        return all;
      }
      case Kind::kChoice: {
        std::vector<RegexId> ways;
        for (const std::uint32_t part : node.parts) ways.push_back(language(part));
        return pool.either(std::move(ways));
      }
      case Kind::kRepeat:
        return pool.repeat(language(node.parts[0]), node.min, node.max);
    }
    return kNoText;
  }

  // Parts that overlap in too many ways would make states without end while a text is read: told when it is loaded.
  Result<void> check_states(RegexId part) {
    if (!looked_.insert(part).second) return {};
    const std::size_t width = out_->pool_.widest(part, kStatesLooked, kStatesWide);
    if (width <= kStatesWide) return {};
    return too_large(fmt::format("its parts overlap in more than {} ways", kStatesWide));
  }

  // --- the network

  Result<Span> position(RegexId part, std::uint32_t rule, bool nullable) {
    if (out_->positions_.size() >= kPositionsMax) {
      return too_large(fmt::format("a grammar of more than {} positions", kPositionsMax));
    }
    const auto id = static_cast<std::uint32_t>(out_->positions_.size());
    out_->positions_.push_back({.part = part, .rule = rule});
    next_.emplace_back();
    return Span{{id}, {id}, nullable};
  }

  Result<Span> part(RegexId id) {
    if (id == kEmptyText) return Span{};
    if (auto ok = check_states(id); !ok) return ok.error();
    return position(id, TextGrammar::kNoRule, out_->pool_.accepts_empty(id));
  }

  Result<void> link(const std::vector<std::uint32_t>& from, const std::vector<std::uint32_t>& to) {
    n_follows_ += from.size() * to.size();
    if (n_follows_ > kFollowsMax) return too_large("a grammar with too many alternatives that follow each other");
    for (const std::uint32_t f : from) next_[f].insert(next_[f].end(), to.begin(), to.end());
    return {};
  }

  Result<Span> join(Span a, Span b) {
    if (auto ok = link(a.last, b.first); !ok) return ok.error();
    Span all;
    all.first = std::move(a.first);
    if (a.nullable) all.first.insert(all.first.end(), b.first.begin(), b.first.end());
    all.last = std::move(b.last);
    if (b.nullable) all.last.insert(all.last.end(), a.last.begin(), a.last.end());
    all.nullable = a.nullable && b.nullable;
    return all;
  }

  Result<Span> network(std::uint32_t id) {
    if (is_part(id)) return part(language(id));
    const EbnfNode node = tree_.nodes[id];
    switch (node.kind) {
      case Kind::kRule:
        return position(kNoText, node.rule, nullable_[node.rule]);
      case Kind::kSequence: {
        Span all;
        for (std::size_t i = 0; i < node.parts.size();) {
          // Neighbours that are languages are one.
          std::uint64_t weight = 0;
          std::size_t n = 0;
          while (i + n < node.parts.size() && is_part(node.parts[i + n])) {
            weight += weight_of(node.parts[i + n]).first;
            if (n > 0 && weight > kPartWeightMax) break;
            ++n;
          }
          Result<Span> one = Span{};
          if (n == 0) {
            one = network(node.parts[i++]);
          } else {
            RegexId together = kEmptyText;
            for (std::size_t k = n; k-- > 0;) together = out_->pool_.concat(language(node.parts[i + k]), together);
            one = part(together);
            i += n;
          }
          if (!one) return one;
          auto longer = join(std::move(all), std::move(*one));
          if (!longer) return longer;
          all = std::move(*longer);
        }
        return all;
      }
      case Kind::kChoice: {
        Span all;
        all.nullable = false;
        std::vector<RegexId> plain;
        std::uint64_t weight = 0;
        auto add_way = [&](Span&& way) {
          all.first.insert(all.first.end(), way.first.begin(), way.first.end());
          all.last.insert(all.last.end(), way.last.begin(), way.last.end());
          all.nullable = all.nullable || way.nullable;
        };
        for (const std::uint32_t way : node.parts) {
          const std::uint64_t more = is_part(way) ? weight_of(way).first : 0;
          if (is_part(way) && weight + more <= kPartWeightMax) {
            plain.push_back(language(way));
            weight += more;
            continue;
          }
          auto one = network(way);
          if (!one) return one;
          add_way(std::move(*one));
        }
        if (!plain.empty()) {
          auto one = part(out_->pool_.either(std::move(plain)));
          if (!one) return one;
          add_way(std::move(*one));
        }
        return all;
      }
      case Kind::kRepeat:
        return repeated(node);
      case Kind::kLiteral:
      case Kind::kChars:
        break;
    }
    return Span{};
  }

  // Counted repeats of what is no language are written out.
  Result<Span> repeated(const EbnfNode& node) {
    const bool endless = node.max == kUnbounded;
    const std::uint32_t rounds = endless ? std::max(node.min, 1U) : node.max;
    // From the last round on: what may be left out is inside what comes before it, so that each round is followed by
    // the next one only.
    Span all;
    for (std::uint32_t i = rounds; i-- > 0;) {
      auto one = network(node.parts[0]);
      if (!one) return with_context(to_string(node.place), one.error());
      if (endless && i + 1 == rounds) {
        if (auto ok = link(one->last, one->first); !ok) return ok.error();
      }
      auto longer = join(std::move(*one), std::move(all));
      if (!longer) return longer;
      all = std::move(*longer);
      if (i >= node.min) all.nullable = true;
    }
    return all;
  }

  static void tidy(std::vector<std::uint32_t>& ids) {
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  }

  Result<void> build(std::uint32_t rule) {
    built_.resize(tree_.rules.size());
    built_[rule].first = out_->positions_.size();
    auto span = network(tree_.rules[rule].body);
    if (!span) return span.error();
    tidy(span->first);
    firsts_.resize(tree_.rules.size());
    firsts_[rule] = std::move(span->first);
    out_->rules_[rule].nullable = span->nullable;
    for (const std::uint32_t id : span->last) out_->positions_[id].last = true;
    built_[rule].second = out_->positions_.size();
    return {};
  }

  Result<std::shared_ptr<const TextGrammar>> finish() {
    firsts_.resize(tree_.rules.size());
    auto store = [&](std::vector<std::uint32_t>& ids, std::uint32_t& from, std::uint32_t& to) {
      tidy(ids);
      from = static_cast<std::uint32_t>(out_->follows_.size());
      out_->follows_.insert(out_->follows_.end(), ids.begin(), ids.end());
      to = static_cast<std::uint32_t>(out_->follows_.size());
    };
    for (std::size_t i = 0; i < out_->positions_.size(); ++i) {
      TextGrammar::Position& p = out_->positions_[i];
      store(next_[i], p.follow_from, p.follow_to);
      p.tail = p.last && p.follow_from == p.follow_to;
    }
    for (std::size_t i = 0; i < out_->rules_.size(); ++i) {
      store(firsts_[i], out_->rules_[i].first_from, out_->rules_[i].first_to);
    }
    if (auto ok = check_left(); !ok) return ok.error();
    if (auto ok = find_needs(); !ok) return ok.error();
    return std::shared_ptr<const TextGrammar>(std::move(out_));
  }

  // No rule begins with itself, and none with too many others.
  Result<void> check_left() {
    for (std::uint32_t start = 0; start < out_->rules_.size(); ++start) {
      std::vector<std::uint32_t> path_from(out_->rules_.size(), TextGrammar::kNoRule);
      std::vector<std::uint32_t> todo{start};
      std::size_t n = 0;
      while (!todo.empty()) {
        const std::uint32_t at = todo.back();
        todo.pop_back();
        for (std::uint32_t i = out_->rules_[at].first_from; i < out_->rules_[at].first_to; ++i) {
          const TextGrammar::Position& p = out_->positions_[out_->follows_[i]];
          if (++n > kBeginningsMax) {
            return too_large(fmt::format("{} can begin in more than {} ways", place_of(start), kBeginningsMax));
          }
          if (p.rule == TextGrammar::kNoRule) continue;
          if (p.rule == start) {
            std::string chain = tree_.rules[start].name;
            for (std::uint32_t r = at; r != start; r = path_from[r]) chain = tree_.rules[r].name + " -> " + chain;
            return invalid_argument(fmt::format("{} begins with itself ({} -> {}); write it as a repetition",
                                                place_of(start), tree_.rules[start].name, chain));
          }
          if (path_from[p.rule] != TextGrammar::kNoRule) continue;
          path_from[p.rule] = at;
          todo.push_back(p.rule);
        }
      }
    }
    return {};
  }

  // Least nesting of calls from a position to its rule's end; rounds until nothing changes, which is soon, as rules
  // come after those that they name.
  Result<void> find_needs() {
    constexpr int kRoundsMax = 1000;
    std::vector<std::uint32_t> need(out_->positions_.size(), kNever), height(out_->rules_.size(), kNever);
    auto least = [&](std::uint32_t from, std::uint32_t to) {
      std::uint32_t n = kNever;
      for (std::uint32_t i = from; i < to; ++i) n = std::min(n, need[out_->follows_[i]]);
      return n;
    };
    bool changed = true;
    auto lower = [&](std::uint32_t& known, std::uint32_t found) {
      changed = changed || found < known;
      known = std::min(known, found);
    };
    for (int round = 0; changed; ++round) {
      if (round == kRoundsMax) return too_large("rules that name each other in too many ways");
      changed = false;
      for (const std::uint32_t r : order_) {
        for (std::size_t k = built_[r].second; k-- > built_[r].first;) {
          const TextGrammar::Position& p = out_->positions_[k];
          const std::uint32_t rest = p.last ? 0 : least(p.follow_from, p.follow_to);
          std::uint32_t own = 0;
          if (p.rule != TextGrammar::kNoRule) {
            own = height[p.rule] == kNever ? kNever : height[p.rule] + (p.tail ? 0 : 1);
          }
          lower(need[k], std::max(rest, own));
        }
        const TextGrammar::Rule& rule = out_->rules_[r];
        lower(height[r], rule.nullable ? 0 : least(rule.first_from, rule.first_to));
      }
    }
    for (std::size_t k = 0; k < need.size(); ++k) {
      out_->positions_[k].need = static_cast<std::uint16_t>(std::min(need[k], kTextNestingMax + 1));
    }
    if (height[tree_.root] > kTextNestingMax) {
      return too_large(
          fmt::format("{}: its shortest text nests rules more than {} deep", place_of(tree_.root), kTextNestingMax));
    }
    return {};
  }

  Ebnf tree_;
  std::shared_ptr<TextGrammar> out_ = std::make_shared<TextGrammar>();
  std::vector<bool> recursive_, nullable_;
  std::vector<std::uint32_t> order_;
  std::vector<std::uint32_t> rule_weight_, rule_height_;
  std::vector<std::optional<RegexId>> languages_;
  std::vector<std::vector<std::uint32_t>> next_;  // by position, what may follow
  std::vector<std::vector<std::uint32_t>> firsts_;
  std::set<RegexId> looked_;
  std::vector<std::pair<std::size_t, std::size_t>> built_;  // by rule, its positions
  std::size_t n_follows_ = 0;
};

Result<std::shared_ptr<const TextGrammar>> compile_ebnf(std::string_view text) {
  auto tree = read_ebnf(text);
  if (!tree) return tree.error();
  return TextGrammarCompiler().ebnf(std::move(*tree));
}

Result<std::shared_ptr<const TextGrammar>> compile_regex(std::string_view pattern) {
  return TextGrammarCompiler().regex(pattern);
}

}  // namespace longhaul::tools
