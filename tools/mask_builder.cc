#include "tools/mask_builder.h"

#include <algorithm>
#include <array>
#include <deque>
#include <utility>

#include "tools/utf8.h"

namespace longhaul::tools {
namespace {

bool is_key(const Frame& f) {
  return f.kind == FrameKind::kKey || f.kind == FrameKind::kPatternKey;
}

}  // namespace

void MaskBuilder::add(const model::TokenMask& mask) {
  out_.mask |= mask;
  out_.few = false;
}

void MaskBuilder::allow(TokenId id) {
  if (out_.mask.allowed(id)) return;
  out_.mask.allow(id);
  if (!out_.few) return;
  out_.ids.push_back(id);
  out_.few = out_.ids.size() <= AllowedTokens::kFewTokens;
}

void MaskBuilder::allow(std::span<const TokenId> ids) {
  for (; out_.few && !ids.empty(); ids = ids.subspan(1)) allow(ids.front());
  for (const TokenId id : ids) out_.mask.allow(id);
}

void MaskBuilder::forbid(TokenId id) {
  if (!out_.mask.allowed(id)) return;
  out_.mask.forbid(id);
  if (out_.few) std::erase(out_.ids, id);
}

void MaskBuilder::step(const Configs& from, std::uint8_t byte, Configs& to) {
  automaton_.step(from, byte, to);
  widest_ = std::max(widest_, to.size());
}

bool MaskBuilder::run(Configs& configs, std::string_view bytes) {
  Configs next;
  for (char c : bytes) {
    step(configs, static_cast<std::uint8_t>(c), next);
    configs.swap(next);
    if (configs.empty()) return false;
  }
  return true;
}

// Masks of text are copied without counting; near a bound they may yet be small.
void MaskBuilder::list_if_few() {
  // More than these are sooner found again in order than sorted.
  constexpr std::size_t kSortedMax = 48;
  if (out_.few && out_.ids.size() <= kSortedMax) {
    std::sort(out_.ids.begin(), out_.ids.end());
    return;
  }
  out_.ids.clear();
  if (!out_.few) {
    std::size_t n = 0;
    for (const std::uint64_t word : out_.mask.words()) {
      n += static_cast<std::size_t>(__builtin_popcountll(word));
      if (n > AllowedTokens::kFewTokens) return;
    }
  }
  out_.few = true;
  for (std::size_t w = 0; w < out_.mask.words().size(); ++w) {
    for (std::uint64_t word = out_.mask.words()[w]; word != 0; word &= word - 1) {
      out_.ids.push_back(static_cast<TokenId>(64 * w + static_cast<std::size_t>(__builtin_ctzll(word))));
    }
  }
}

AllowedTokens MaskBuilder::build(const Configs& configs) {
  // Alternatives are taken one by one where that is the same as taking them together: unless there are so many that
  // the automaton would drop some.
  constexpr std::size_t kOneByOneMax = 64;
  const auto none = [&] { return AllowedTokens{model::TokenMask(p_.index->vocabulary->size()), true, {}}; };
  out_ = none();
  std::size_t total = 0;
  if (configs.size() <= kOneByOneMax) {
    for (const Config& config : configs) {
      widest_ = 1;
      if (config.top.kind != FrameKind::kRaw || &config == &configs[0]) {
        one(config);
      } else {  // takes tokens out again, which must not be the others'
        const AllowedTokens before = std::exchange(out_, none());
        one(config);
        if (!before.few) add(before.mask);
        if (before.few) std::for_each(before.ids.begin(), before.ids.end(), [&](TokenId id) { allow(id); });
      }
      total += widest_;
    }
  }
  if (configs.size() > kOneByOneMax || (configs.size() > 1 && total > Automaton::kConfigsMax)) {
    out_ = none();
    together(configs);
  }
  controls(configs);
  list_if_few();
  return std::move(out_);
}

void MaskBuilder::one(const Config& config) {
  const Frame& f = config.top;
  if (f.kind == FrameKind::kThink) return add(p_.index->text);
  if (f.kind == FrameKind::kContent && (!p_.must_call() || f.phase != 0)) return content(config);
  // A pattern's bound is told from afar only (Automaton::limits), so near it every token is tried.
  const bool exact_bound = f.kind != FrameKind::kPatternString || !near_limit(config);
  if (exact_bound && automaton_.takes_any_text(f)) return is_key(f) ? keys({config}) : strings({config});
  if (f.kind == FrameKind::kRaw && f.phase == kUtf8Between) return raw(config);
  walk({config}, *p_.index->all, 0, p_.index->all->nodes().size(), 0);
}

void MaskBuilder::together(const Configs& configs) {
  auto all = [&](auto&& is) {
    return std::all_of(configs.begin(), configs.end(), [&](const Config& c) { return is(c.top) && !near_limit(c); });
  };
  if (all([&](const Frame& f) { return !is_key(f) && automaton_.takes_any_text(f); })) return strings(configs);
  if (all([&](const Frame& f) { return is_key(f) && automaton_.takes_any_text(f); })) return keys(configs);
  // Inside a quoted text alternatives never become more, so one that takes everything decides for all.
  const bool quoted = std::all_of(configs.begin(), configs.end(), [](const Config& c) {
    return is_key(c.top) || c.top.kind == FrameKind::kString || c.top.kind == FrameKind::kPatternString;
  });
  const bool open = quoted && std::any_of(configs.begin(), configs.end(), [&](const Config& c) {
                      return automaton_.takes_any_text(c.top) && !near_limit(c);
                    });
  if (open) add(p_.index->strings->stays.all());
  const TokenTrie& trie = open ? p_.index->strings->rest : *p_.index->all;
  walk(configs, trie, 0, trie.nodes().size(), 0);
}

// One configuration, or several that are far from their limits.
void MaskBuilder::strings(const Configs& configs) {
  const StringTokens& tokens = *p_.index->strings;
  std::uint64_t least = 0, most = kNoLimit;  // characters that may yet come
  Configs after, closing = configs;
  if (configs.size() == 1) {
    const auto [min, max] = automaton_.limits(configs[0]);
    if (max != kNoLimit) most = max > configs[0].count ? max - configs[0].count : 0;
    if (min > configs[0].count) least = min - configs[0].count;
    closing[0].count = std::max(closing[0].count, min);
  }
  if (most > 0) {
    tokens.stays.add_at_most(most, out_.mask);
    out_.few = false;
  }
  step(closing, '"', after);
  if (after.empty()) return;
  suffixes(after, fit_);
  for (std::size_t s = 0; s < tokens.suffixes.size(); ++s) {
    if (fit_[s] == 0) continue;
    for (const StringTokens::Exit& exit : tokens.suffixes[s].exits) {
      if (exit.code_points > most) break;
      if (exit.code_points >= least) allow(exit.id);
    }
  }
}

// Which suffixes may follow, the string being closed.
void MaskBuilder::suffixes(const Configs& after, std::vector<std::uint8_t>& fit) {
  const StringTokens& tokens = *p_.index->strings;
  fit.assign(tokens.suffixes.size(), 0);
  fit[0] = 1;
  if (path_.size() < tokens.depth_max + 1U) path_.resize(tokens.depth_max + 1U);
  path_[0] = after;
  for (std::size_t i = 0; i < tokens.nodes.size();) {
    const StringTokens::Node& node = tokens.nodes[i];
    step(path_[node.depth - 1U], node.byte, path_[node.depth]);
    if (path_[node.depth].empty()) {
      i = node.end;
      continue;
    }
    if (node.suffix >= 0) fit[static_cast<std::size_t>(node.suffix)] = 1;
    ++i;
  }
}

// A name outside the schema is told apart from others by its hash only, so what may follow it is the same for all such
// names that are not taken, as far as no second name ends in the same token (that takes two more quotes).
void MaskBuilder::keys(const Configs& configs) {
  const StringTokens& tokens = *p_.index->strings;
  add(tokens.stays.all());
  struct Class {
    Configs after;
    std::vector<std::uint8_t> fit;
  };
  std::deque<Class> classes;
  Configs at, after, alike;
  // Of names that are like all others one is followed, and the rest have its outcome.
  const Frame& first = configs[0].top;
  const bool one_of_all =
      configs.size() == 1 && first.kind == FrameKind::kKey && (first.flags & kHashed) == 0 && first.h != 0;
  const Class* others = nullptr;
  bool no_others = false;
  for (const StringTokens::Prefix& prefix : tokens.prefixes) {
    std::uint64_t hash = 0;
    const bool other =
        one_of_all && prefix.text.find('\\') == prefix.text.npos && automaton_.is_other_name(first, prefix.text, hash);
    if (other && no_others) continue;
    const Class* same = nullptr;
    if (other && others != nullptr) {
      same = others;
      after = same->after;
      for (Config& config : after) config.top.h = config.top.h != 0 ? hash : 0;
    } else {
      at = configs;
      if (!run(at, prefix.text)) continue;
      step(at, '"', after);
      if (after.empty()) {
        no_others = no_others || other;
        continue;
      }
      alike = after;
      for (Config& config : alike) config.top.h = config.top.h != 0 ? 1 : 0;
      const auto known = std::find_if(classes.begin(), classes.end(), [&](const Class& one) {
        return one.after.size() == alike.size() &&
               std::equal(alike.begin(), alike.end(), one.after.begin(),
                          [](const Config& x, const Config& y) { return x.top == y.top && x.count == y.count; });
      });
      if (known != classes.end()) {
        same = &*known;
      } else {
        classes.push_back({alike, {}});
        suffixes(after, classes.back().fit);
        same = &classes.back();
      }
      if (other) others = same;
    }
    for (const auto& [suffix, id] : prefix.exits) {
      bool fits = same->fit[suffix] != 0;
      if (tokens.suffixes[suffix].n_quotes >= 2) {
        at = after;
        fits = run(at, tokens.suffixes[suffix].text);
      }
      if (fits) allow(id);
    }
  }
}

// Raw text goes on with any characters, except that a terminator may come to its end inside a token: one that began
// before (follow) or inside it (RawTokens::closing).
void MaskBuilder::raw(const Config& config) {
  const RawTokens& tokens = p_.index->raw(p_.options.format.value_close);
  const auto [min, max] = automaton_.limits(config);
  const TokenTrie& all = *p_.index->all;
  const bool far = max == kNoLimit || config.count + std::uint64_t{p_.index->longest_token} <= max;
  if (far) {
    add(tokens.any);
    for (const TokenId id : tokens.closing) {
      scratch_.assign(1, config);
      if (!run(scratch_, p_.index->vocabulary->bytes(id))) forbid(id);
    }
  } else {
    if (config.count < max && tokens.plain.add_at_most(max - config.count, out_.mask)) out_.few = false;
    walk({config}, tokens.rest, 0, tokens.rest.nodes().size(), 0);
  }
  if (p_.tries[config.top.a].depth > 0) follow({config}, 0, all.nodes().size(), 0);
}

// Free text goes on with any token, except that a trigger may come to its end in it.
void MaskBuilder::content(const Config& config) {
  add(p_.index->text);
  if (config.top.a == kOff) return;
  for (const TokenId id : p_.triggering) {
    scratch_.assign(1, config);
    if (!run(scratch_, p_.index->vocabulary->bytes(id))) forbid(id);
  }
  if (p_.tries[config.top.a].depth > 0) follow({config}, 0, p_.index->all->nodes().size(), 0);
}

// Tokens that go on with a terminator or trigger begun before them, as far as they do; others are left as they are.
void MaskBuilder::follow(const Configs& configs, std::size_t from, std::size_t to, std::size_t depth) {
  const TokenTrie& trie = *p_.index->all;
  const auto nodes = trie.nodes();
  // The bytes that any terminator begun so far goes on with.
  std::array<bool, 256> live{};
  for (const Config& config : configs) {
    for (std::uint32_t t = config.top.a; p_.tries[t].depth > depth; t = p_.tries[t].fail) {
      for (const auto& [byte, next] : p_.next(t)) live[byte] = true;
    }
  }
  Configs next;
  for (std::size_t i = from; i < to; i = nodes[i].end) {
    if (!live[nodes[i].byte]) continue;
    step(configs, nodes[i].byte, next);
    const bool on = next.size() == 1 && next[0].top.kind == configs[0].top.kind;
    if (on && (next[0].top.a == kOff || p_.tries[next[0].top.a].depth <= depth + 1)) continue;
    for (const TokenId id : trie.ids(i)) {
      if (next.empty()) {
        forbid(id);
      } else {
        allow(id);
      }
    }
    if (on) {
      follow(next, i + 1, nodes[i].end, depth + 1);
      continue;
    }
    for (const TokenId id : trie.ids(i + 1, nodes[i].end)) forbid(id);
    if (!next.empty()) walk(next, trie, i + 1, nodes[i].end, depth + 1);
  }
}

// The tokens under the trie's nodes `from` to `to`, which are those below `configs` at `depth`.
void MaskBuilder::walk(const Configs& configs, const TokenTrie& trie, std::size_t from, std::size_t to,
                       std::size_t depth) {
  if (places_.size() < trie.depth_max() + 1) places_.resize(trie.depth_max() + 1);
  graph_.begin(configs, places_[depth]);
  const auto nodes = trie.nodes();
  for (std::size_t i = from; i < to;) {
    const TokenTrie::Node& node = nodes[i];
    ConfigGraph::Place &at = places_[node.depth - 1U], &next = places_[node.depth];
    if (node.height <= ConfigGraph::kFreeLevels) {
      const CharClasses* free = graph_.free_classes(at);
      if (free != nullptr && (trie.classes(i) & ~free[node.height - 1U]) == 0) {
        allow(trie.ids(i, node.end));
        i = node.end;
        continue;
      }
    }
    if (!graph_.step(at, node.byte, next)) {
      i = node.end;
      continue;
    }
    widest_ = std::max(widest_, graph_.width(next));
    allow(trie.ids(i));
    ++i;
  }
}

void MaskBuilder::controls(const Configs& configs) {
  Configs after;
  auto control = [&](TokenId token) {
    if (token == kNoToken) return;
    automaton_.step_control(configs, token, after);
    if (after.empty()) {
      forbid(token);
    } else {
      allow(token);
    }
  };
  control(p_.think_close);
  control(p_.call_open);
  control(p_.call_close);
  for (const TokenId token : p_.stop) control(token);
}

}  // namespace longhaul::tools
