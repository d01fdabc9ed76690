#include "tools/config_graph.h"

#include <algorithm>

#include "tools/utf8.h"

namespace longhaul::tools {
namespace {

// Frames that keep the hash of the text they read (Automaton::emit).
bool keeps_hash(const Frame& f) {
  const bool quoted = f.kind == FrameKind::kString || f.kind == FrameKind::kPatternString ||
                      f.kind == FrameKind::kKey || f.kind == FrameKind::kPatternKey;
  return quoted && (f.flags & (kMayLeaveTrie | kHashed)) != 0;
}

// Frames of JSON whose `parent` is a frame: others keep other numbers there.
bool has_parent(FrameKind kind) {
  return kind == FrameKind::kValue || kind == FrameKind::kString || kind == FrameKind::kPatternString ||
         kind == FrameKind::kNumber || kind == FrameKind::kLiteral || kind == FrameKind::kObject ||
         kind == FrameKind::kArray;
}

constexpr std::uint64_t kSomeHash = 1;

}  // namespace

ConfigGraph::ConfigGraph(const GrammarProgram& program, Automaton& automaton)
    : p_(program), automaton_(automaton), above_(automaton.above()) {
  clear();
}

void ConfigGraph::clear() {
  // What one large walk took is given back.
  if (sets_.capacity() > 2 * kKept) {
    rows_ = {};
    configs_ = {};
    sets_ = {};
    free_ = {};
  }
  sets_.assign(kFirst, Set{});
  rows_.clear();
  configs_.clear();
  free_.clear();
  ids_.clear();
}

bool ConfigGraph::near_limit(const Config& config) const {
  if (!counts(config.top.kind)) return false;
  const auto [min, max] = automaton_.limits(config);
  const auto pending = static_cast<std::uint32_t>(automaton_.pending(config));
  const auto reach = static_cast<std::uint32_t>(p_.index->longest_token) + pending;
  return (max != kNoLimit && config.count + std::uint64_t{reach} + 1 > max) ||
         config.count < std::uint64_t{min} + pending;
}

void ConfigGraph::begin(const Configs& configs, Place& place) {
  if (sets_.size() > kKept) clear();
  at_ = configs;
  bool hashed = false;
  place.id = kLoose;
  place.hash = 0;
  if (simplify(at_, place, hashed)) place.id = intern(at_, hashed);
  if (place.id == kLoose) place.loose = configs;
}

// Leaves out what does not matter. false: the set is to stay as it is.
bool ConfigGraph::simplify(Configs& configs, Place& place, bool& hashed) const {
  if (configs.size() > kWidthMax) return false;
  hashed = false;
  for (const Config& config : configs) {
    const Frame& f = config.top;
    if (!keeps_hash(f)) continue;
    // Inside an escape the bytes read are not those of the text.
    if (f.phase != kUtf8Between && f.phase < kUtf8One) return false;
    if (hashed && f.h != place.hash) return false;
    hashed = true;
    place.hash = f.h;
  }
  const std::uint32_t parent = configs.empty() ? 0 : configs[0].top.parent;
  if (std::all_of(configs.begin(), configs.end(), [&](const Config& config) {
        return config.top.parent == parent && automaton_.stands_alone(config.top);
      })) {
    place.parent = parent;
    for (Config& config : configs) config.top.parent = above_;
  }
  for (Config& config : configs) {
    if (keeps_hash(config.top)) config.top.h = kSomeHash;
  }
  // Alternatives that differ in the count only must stay apart: there is a limit on how many are followed.
  if (configs.size() == 1 && counts(configs[0].top.kind) && !near_limit(configs[0])) {
    // One more, because a character that has only begun may be counted.
    const std::uint64_t enough =
        std::uint64_t{automaton_.limits(configs[0]).first} + automaton_.pending(configs[0]) + 1;
    configs[0].count = static_cast<std::uint32_t>(std::min<std::uint64_t>(configs[0].count, enough));
  }
  return true;
}

ConfigGraph::Id ConfigGraph::intern(const Configs& configs, bool hashed) {
  WordHash h;
  h.mix(hashed ? 1 : 0);
  for (const Config& config : configs) {
    std::uint64_t words[sizeof(Frame) / 8];
    std::memcpy(words, &config.top, sizeof words);
    for (const std::uint64_t word : words) h.mix(word);
    h.mix(config.count);
  }
  const Id known = ids_.find(h.value(), [&](Id id) {
    const Set& set = sets_[id];
    return set.n_configs == configs.size() && set.hashed == hashed &&
           std::equal(configs.begin(), configs.end(), configs_.begin() + set.first_config,
                      [](const Config& x, const Config& y) { return x.top == y.top && x.count == y.count; });
  });
  if (known != IdTable::kNone) return known;
  if (sets_.size() >= kMost) return kLoose;
  const Id id = static_cast<Id>(sets_.size());
  Set set;
  set.first_config = static_cast<std::uint32_t>(configs_.size());
  set.n_configs = static_cast<std::uint32_t>(configs.size());
  set.hashed = hashed;
  set.alone = !configs.empty() && has_parent(configs[0].top.kind) && configs[0].top.parent == above_;
  sets_.push_back(set);
  configs_.insert(configs_.end(), configs.begin(), configs.end());
  ids_.add(h.value(), id);
  return id;
}

void ConfigGraph::add_row(Id id) {
  Set& set = sets_[id];
  // What no configuration can go on with needs no step to find out.
  for (std::uint32_t i = 0; i < set.n_configs; ++i) automaton_.may_follow(configs_[set.first_config + i], set.live);
  static const Row kDead = [] {
    Row row;
    row.fill(static_cast<Next>(kNone));
    return row;
  }();
  set.row = static_cast<std::uint32_t>(rows_.size());
  rows_.push_back(kDead);
  for (std::size_t w = 0; w < set.live.size(); ++w) {
    for (std::uint64_t left = set.live[w]; left != 0; left &= left - 1) {
      rows_.back()[64 * w + static_cast<std::size_t>(__builtin_ctzll(left))] = kUnknown;
    }
  }
}

bool ConfigGraph::step_slow(const Place& from, std::uint8_t byte, Place& to) {
  to.id = kLoose;
  if (from.id == kLoose) {
    automaton_.step(from.loose, byte, next_);
    to.loose = next_;
    return !next_.empty();
  }
  if (sets_[from.id].row == kNotAsked) {
    add_row(from.id);
    if (rows_[sets_[from.id].row][byte] == kNone) return false;
  }
  const Set set = sets_[from.id];
  Next& known = rows_[set.row][byte];
  const auto refuse = [&] {
    known = kNone;
    remove_byte(sets_[from.id].live, byte);
  };
  at_.assign(configs_.begin() + set.first_config, configs_.begin() + set.first_config + set.n_configs);
  bool hashed = false;
  if (set.alone && known != kAnew) {
    automaton_.step(at_, byte, next_);
    if (next_.empty()) {
      refuse();
      return false;
    }
    if (std::all_of(next_.begin(), next_.end(), [&](const Config& config) { return config.top.parent == above_; })) {
      const std::uint32_t parent = from.parent;
      to.parent = parent;
      at_ = next_;
      if (simplify(at_, to, hashed)) to.id = intern(at_, hashed);
      if (to.id != kLoose) {
        known = static_cast<Next>(to.id);
      } else {
        for (Config& config : next_) config.top.parent = parent;
        to.loose = next_;
      }
      return true;
    }
    known = kAnew;
  }
  for (Config& config : at_) {
    if (set.hashed && keeps_hash(config.top)) config.top.h = from.hash;
    if (set.alone) config.top.parent = from.parent;
  }
  automaton_.took_hash();
  automaton_.step(at_, byte, next_);
  // With another hash the outcome might be another: at the end of the text, in an escape (whose bytes are not those
  // that are hashed), and where few texts are left.
  const bool own = set.hashed && (byte == '"' || byte == '\\' || automaton_.took_hash());
  if (next_.empty()) {
    if (!own && !set.alone) refuse();
    return false;
  }
  if (!own) {
    at_ = next_;
    if (simplify(at_, to, hashed)) {
      // A text that has just begun, or the one that was being read.
      const bool opens = hashed && !set.hashed;
      if (!opens || to.hash == kHashBasis) to.id = intern(at_, hashed);
      if (to.id != kLoose && !set.alone) {
        const bool pushes = sets_[to.id].alone;
        std::uint32_t& below = sets_[from.id].below;
        if (pushes && below == 0) below = to.parent;
        if (!pushes || below == to.parent) {
          known = static_cast<Next>(to.id | (opens ? kOpens : 0) | (pushes ? kPushes : 0));
        }
      }
    }
  }
  if (to.id == kLoose) to.loose = next_;
  return true;
}

const FreeChars* ConfigGraph::ask_free(Id id) {
  Set& set = sets_[id];
  set.free = kNoFree;
  if (set.n_configs != 1) return nullptr;
  FreeChars chars;
  automaton_.free_chars(configs_[set.first_config], chars);
  if (chars.most[0] == 0) return nullptr;
  set.free = static_cast<std::uint32_t>(free_.size());
  free_.push_back(chars);
  return &free_.back();
}

std::size_t ConfigGraph::bytes() const {
  return sets_.capacity() * sizeof(Set) + configs_.capacity() * sizeof(Config) + rows_.capacity() * sizeof(Row) +
         free_.capacity() * sizeof(free_[0]) + ids_.bytes();
}

}  // namespace longhaul::tools
