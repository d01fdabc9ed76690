#include "tools/mask_builder.h"

#include <algorithm>
#include <array>
#include <deque>
#include <utility>

#include "tools/token_classes.h"
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
  touched_[id >> 12] |= std::uint64_t{1} << ((id >> 6) & 63);
  out_.few = ++n_ids_ <= AllowedTokens::kFewTokens;
}

void MaskBuilder::allow(std::span<const TokenId> ids) {
  for (; out_.few && !ids.empty(); ids = ids.subspan(1)) allow(ids.front());
  for (const TokenId id : ids) out_.mask.allow(id);
}

void MaskBuilder::forbid(TokenId id) {
  if (!out_.mask.allowed(id)) return;
  out_.mask.forbid(id);
  --n_ids_;
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

void MaskBuilder::list_if_few() {
  const std::span<const std::uint64_t> words = std::as_const(out_.mask).words();
  if (!out_.few) {
    // Masks of text are copied without counting; near a bound they may yet be small.
    std::size_t n = 0;
    for (std::size_t w = 0; w < words.size(); ++w) {
      if (words[w] == 0) continue;
      n += count_bits(words[w]);
      if (n > AllowedTokens::kFewTokens) return;
      touched_[w / 64] |= std::uint64_t{1} << (w % 64);
    }
    out_.few = true;
    n_ids_ = n;
  }
  out_.ids.reserve(n_ids_);
  for (std::size_t t = 0; t < touched_.size(); ++t) {
    for (std::uint64_t some = touched_[t]; some != 0; some &= some - 1) {
      const std::size_t w = 64 * t + static_cast<std::size_t>(__builtin_ctzll(some));
      for (std::uint64_t word = words[w]; word != 0; word &= word - 1) {
        out_.ids.push_back(static_cast<TokenId>(64 * w + static_cast<std::size_t>(__builtin_ctzll(word))));
      }
    }
  }
}

// No token, as yet.
void MaskBuilder::clear() {
  out_ = {model::TokenMask(p_.index->vocabulary->size()), true, {}};
  n_ids_ = 0;
  touched_.assign((out_.mask.words().size() + 63) / 64, 0);
}

AllowedTokens MaskBuilder::build(const Configs& configs) {
  // Alternatives are taken one by one where that is the same as taking them together: unless there are so many that
  // the automaton would drop some.
  constexpr std::size_t kOneByOneMax = 64;
  clear();
  std::size_t total = 0;
  if (configs.size() <= kOneByOneMax) {
    for (const Config& config : configs) {
      widest_ = 1;
      if (config.top.kind != FrameKind::kRaw || &config == &configs[0]) {
        one(config);
      } else {  // takes tokens out again, which must not be the others'
        if (out_.few) list_if_few();
        const AllowedTokens before = std::move(out_);
        clear();
        one(config);
        if (!before.few) add(before.mask);
        allow(before.ids);
      }
      total += widest_;
    }
  }
  if (configs.size() > kOneByOneMax || (configs.size() > 1 && total > Automaton::kConfigsMax)) {
    clear();
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
  if (f.kind == FrameKind::kKey && f.phase == kUtf8Between && (f.flags & kHashed) == 0 && f.a != kOff) {
    Config key = config;
    return names(key, p_.index->all->branches(), 0, p_.index->all->nodes().size(), 0);
  }
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
  if (places_.size() < tokens.depth_max + 1U) places_.resize(tokens.depth_max + 1U);
  graph_.begin(after, places_[0]);
  for (std::size_t i = 0; i < tokens.nodes.size();) {
    const StringTokens::Node& node = tokens.nodes[i];
    if (!graph_.step(places_[node.depth - 1U], node.byte, places_[node.depth])) {
      i = node.end;
      continue;
    }
    widest_ = std::max(widest_, graph_.width(places_[node.depth]));
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
  // What may follow the name that ends after `text`, which is in `after` then; null: nothing.
  const auto class_of = [&](std::string_view text) -> const Class* {
    at = configs;
    if (!run(at, text)) return nullptr;
    step(at, '"', after);
    if (after.empty()) return nullptr;
    alike = after;
    for (Config& config : alike) config.top.h = config.top.h != 0 ? 1 : 0;
    const auto known = std::find_if(classes.begin(), classes.end(), [&](const Class& one) {
      return one.after.size() == alike.size() &&
             std::equal(alike.begin(), alike.end(), one.after.begin(),
                        [](const Config& x, const Config& y) { return x.top == y.top && x.count == y.count; });
    });
    if (known != classes.end()) return &*known;
    classes.push_back({alike, {}});
    suffixes(after, classes.back().fit);
    return &classes.back();
  };
  const auto allow_exits = [&](const StringTokens::Prefix& prefix, const Class& known, bool twice_only) {
    for (const auto& [suffix, id] : prefix.exits) {
      bool fits = known.fit[suffix] != 0;
      if (tokens.suffixes[suffix].n_quotes >= 2) {
        at = after;
        fits = run(at, tokens.suffixes[suffix].text);
      } else if (twice_only) {
        continue;
      }
      if (fits) allow(id);
    }
  };
  const Frame& first = configs[0].top;
  if (configs.size() > 1 || first.kind != FrameKind::kKey || (first.flags & kHashed) != 0 || first.h == 0) {
    for (const StringTokens::Prefix& prefix : tokens.prefixes) {
      if (const Class* known = class_of(prefix.text)) allow_exits(prefix, *known, false);
    }
    return;
  }
  // Of names that are like all others one is followed, and the rest have its outcome.
  const Class* others = nullptr;
  bool followed = false;
  for (const StringTokens::Prefix& prefix : tokens.prefixes) {
    if (followed && !prefix.escaped && !prefix.twice && automaton_.is_other_name(first, prefix.text)) continue;
    if (prefix.escaped || !automaton_.is_other_name(first, prefix.text)) {
      special_.push_back(&prefix);
      continue;
    }
    const Class* known = class_of(prefix.text);
    if (!followed) others = known;
    followed = true;
    if (known != nullptr) allow_exits(prefix, *known, true);
  }
  // Their tokens come with the others' below, unless another configuration allows them.
  not_yet_.clear();
  for (const StringTokens::Prefix* prefix : special_) {
    for (const auto& exit : prefix->exits) {
      if (!out_.mask.allowed(exit.second)) not_yet_.push_back(exit.second);
    }
  }
  if (others != nullptr) {
    for (std::size_t s = 0; s < tokens.suffixes.size(); ++s) {
      if (others->fit[s] == 0 || tokens.suffixes[s].n_quotes >= 2) continue;
      for (const StringTokens::Exit& exit : tokens.suffixes[s].exits) out_.mask.allow(exit.id);
    }
  }
  for (const TokenId id : not_yet_) out_.mask.forbid(id);
  for (const StringTokens::Prefix* prefix : special_) {
    if (const Class* known = class_of(prefix->text)) allow_exits(*prefix, *known, false);
  }
  special_.clear();
}

// A name of the schema: its letters lead through the names and the vocabulary at once, without a step of the automaton.
void MaskBuilder::names(Config& key, const TokenTrie::Branches* branches, std::size_t from, std::size_t to,
                        std::size_t depth) {
  constexpr std::size_t kDepthMax = 200;  // of a recursion
  const TokenTrie& trie = *p_.index->all;
  const auto nodes = trie.nodes();
  const auto child = [&](std::uint8_t byte) -> std::size_t {
    if (branches != nullptr) return trie.child(*branches, byte, to);
    std::size_t i = from;
    while (i < to && nodes[i].byte < byte) i = nodes[i].end;
    return i < to && nodes[i].byte == byte ? i : to;
  };
  const std::uint32_t name = key.top.a;
  const auto other = [&](std::uint8_t byte) {
    const std::size_t i = child(byte);
    if (i != to) walk({key}, trie, i, nodes[i].end, depth);
  };
  if (p_.tries[name].terminal >= 0) other('"');
  other('\\');
  for (const auto& [byte, next] : p_.next(name)) {
    if (byte == '"' || byte == '\\' || byte < 0x20) continue;  // come as escapes only
    if (byte >= 0x80 || depth >= kDepthMax) {
      other(byte);
      continue;
    }
    const std::size_t i = child(byte);
    if (i == to || !automaton_.name_open(key.top, next)) continue;
    allow(trie.ids(i));
    key.top.a = next;
    names(key, trie.branches(i), i + 1, nodes[i].end, depth + 1);
    key.top.a = name;
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
  kinds_.open = 0;
  if (depth != 0 || to != trie.nodes().size() || trie.branches() == nullptr) return walk_nodes(trie, from, to);
  if (&trie == p_.index->all.get()) take_kinds();
  ByteSet live = graph_.live(places_[0]);
  if (&trie == p_.index->all.get() && configs.size() == 1 && automaton_.skips_whitespace(configs[0])) {
    // Nothing changes by it.
    for (const char c : kJsonWhitespace) remove_byte(live, static_cast<std::uint8_t>(c));
    allow(p_.index->whitespace);
    if (const auto* branches = p_.index->spaced->branches()) walk_branches(*p_.index->spaced, *branches, live);
  }
  walk_branches(trie, *trie.branches(), live);
}

// Where letters may follow whichever they are, most tokens are taken or left by the kinds of their characters.
void MaskBuilder::take_kinds() {
  const FreeChars* free = graph_.free_chars(places_[0]);
  if (free == nullptr || free->length == 0) return;
  const CharClasses open = free->most[free->length - 1];
  if (((open >> kClassLower) & 1) == 0) return;
  // Beyond ASCII a character has several bytes, so that tokens of more bytes than characters may come might do, too.
  constexpr CharClasses kAscii = (CharClasses{1} << kClassWide) - 1;
  const bool bounded = free->length < FreeChars::kLevels;
  if (bounded && (open & ~kAscii) != 0) return;
  static_assert(TokenClasses::kBytesMax == FreeChars::kLevels);
  const std::size_t depth_max = p_.index->all->depth_max();
  kinds_.open = open;
  kinds_.decided = open | free->dead;
  kinds_.bytes_max = bounded ? depth_max : TokenClasses::kBytesMax;
  kinds_.path.resize(depth_max + 1);
  kinds_.path[0] = {true, {}};
  p_.index->classes->add_within(open, free->length, out_.mask);
  out_.few = false;
}

// Is the path down to a node of free characters only? `before`: is it, down to its parent.
MaskBuilder::Kinds::Step MaskBuilder::Kinds::after(const Step& before, std::uint8_t byte) const {
  Step step = before;
  if (!step.free) return step;
  const bool whole = step.part.add(byte);
  const int kind = !whole ? kClassWide : byte < 0x80 ? ascii_class(byte) : wide_class(step.part.value);
  step.free = step.part.phase != kUtf8Wrong && ((open >> kind) & 1) != 0;
  return step;
}

void MaskBuilder::walk_nodes(const TokenTrie& trie, std::size_t from, std::size_t to) {
  const auto nodes = trie.nodes();
  for (std::size_t i = from; i < to;) {
    const TokenTrie::Node& node = nodes[i];
    ConfigGraph::Place &at = places_[node.depth - 1U], &next = places_[node.depth];
    if (kinds_.open != 0 && kinds_.path[node.depth - 1U].free && node.depth - 1U + node.height <= kinds_.bytes_max &&
        (trie.classes(i) & ~kinds_.decided) == 0) {
      i = node.end;
      continue;
    }
    if (node.height <= FreeChars::kLevels) {
      const FreeChars* free = graph_.free_chars(at);
      if (free != nullptr && (trie.classes(i) & ~free->most[node.height - 1U]) == 0) {
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
    if (kinds_.open != 0) kinds_.path[node.depth] = kinds_.after(kinds_.path[node.depth - 1U], node.byte);
    if (const TokenTrie::Branches* branches = trie.branches(i)) {
      walk_branches(trie, *branches, graph_.live(next));
      i = node.end;
    } else {
      ++i;
    }
  }
}

// The subtrees below a node of many children, of which few may be alive: those of the bytes `live`. No deeper than
// there are such nodes.
void MaskBuilder::walk_branches(const TokenTrie& trie, const TokenTrie::Branches& branches, const ByteSet& live) {
  const auto nodes = trie.nodes();
  const std::uint32_t* child = trie.children(branches);
  for (std::size_t w = 0; w < live.size(); ++w) {
    const std::uint64_t bytes = branches.bytes[w];
    for (std::uint64_t left = bytes & live[w]; left != 0; left &= left - 1) {
      const std::size_t i = child[count_bits(bytes & ((left & -left) - 1))];
      walk_nodes(trie, i, nodes[i].end);
    }
    child += count_bits(bytes);
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
