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

constexpr std::uint64_t kSomeHash = 1;

}  // namespace

ConfigGraph::ConfigGraph(const GrammarProgram& program, Automaton& automaton) : p_(program), automaton_(automaton) {
  clear();
}

void ConfigGraph::clear() {
  // What one large walk took is given back.
  if (next_of_.capacity() > 2 * 256 * kKept) {
    next_of_ = {};
    configs_ = {};
    sets_ = {};
    free_ = {};
  }
  sets_.assign(kFirst, Set{});
  next_of_.assign(256 * kFirst, kUnknown);
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
  if (simplify(at_, place.hash, hashed)) place.id = intern(at_, hashed);
  if (place.id == kLoose) place.loose = configs;
}

// Leaves out what does not matter. false: the set is to stay as it is.
bool ConfigGraph::simplify(Configs& configs, std::uint64_t& hash, bool& hashed) const {
  if (configs.size() > kWidthMax) return false;
  hashed = false;
  for (const Config& config : configs) {
    const Frame& f = config.top;
    if (!keeps_hash(f)) continue;
    // Inside an escape the bytes read are not those of the text.
    if (f.phase != kUtf8Between && f.phase < kUtf8One) return false;
    if (hashed && f.h != hash) return false;
    hashed = true;
    hash = f.h;
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
  sets_.push_back(set);
  configs_.insert(configs_.end(), configs.begin(), configs.end());
  const std::size_t row = next_of_.size();
  static_assert(kUnknown == 0);
  next_of_.resize(row + 256);
  // What no configuration can go on with needs no step to find out.
  ByteSet bytes{};
  for (const Config& config : configs) automaton_.may_follow(config, bytes);
  if (std::any_of(bytes.begin(), bytes.end(), [](std::uint64_t word) { return ~word != 0; })) {
    std::fill(next_of_.begin() + static_cast<std::ptrdiff_t>(row), next_of_.end(), static_cast<Next>(kNone));
    for (std::size_t w = 0; w < bytes.size(); ++w) {
      for (std::uint64_t left = bytes[w]; left != 0; left &= left - 1) {
        next_of_[row + 64 * w + static_cast<std::size_t>(__builtin_ctzll(left))] = kUnknown;
      }
    }
  }
  ids_.add(h.value(), id);
  return id;
}

bool ConfigGraph::step_slow(const Place& from, std::uint8_t byte, Place& to) {
  if (from.id == kLoose) {
    automaton_.step(from.loose, byte, next_);
    to.id = kLoose;
    to.loose = next_;
    return !next_.empty();
  }
  const Set set = sets_[from.id];
  at_.assign(configs_.begin() + set.first_config, configs_.begin() + set.first_config + set.n_configs);
  for (Config& config : at_) {
    if (set.hashed && keeps_hash(config.top)) config.top.h = from.hash;
  }
  automaton_.took_hash();
  automaton_.step(at_, byte, next_);
  // With another hash the outcome might be another: at the end of the text, in an escape (whose bytes are not those
  // that are hashed), and where few texts are left.
  const bool own = set.hashed && (byte == '"' || byte == '\\' || automaton_.took_hash());
  Next& known = next_of_[std::size_t{from.id} * 256 + byte];
  if (next_.empty()) {
    if (!own) known = kNone;
    return false;
  }
  to.id = kLoose;
  if (!own) {
    at_ = next_;
    bool hashed = false;
    if (simplify(at_, to.hash, hashed)) {
      // A text that has just begun, or the one that was being read.
      const bool opens = hashed && !set.hashed;
      if (!opens || to.hash == kHashBasis) to.id = intern(at_, hashed);
      // `known` may have moved.
      if (to.id != kLoose) {
        next_of_[std::size_t{from.id} * 256 + byte] = static_cast<Next>(to.id | (opens ? kOpens : 0));
      }
    }
  }
  if (to.id == kLoose) to.loose = next_;
  return true;
}

const CharClasses* ConfigGraph::ask_free(Id id) {
  Set& set = sets_[id];
  set.free = kNoFree;
  if (set.n_configs != 1) return nullptr;
  std::array<CharClasses, kFreeLevels> levels{};
  automaton_.free_classes(configs_[set.first_config], levels);
  if (levels[0] == 0) return nullptr;
  set.free = static_cast<std::uint32_t>(free_.size());
  free_.push_back(levels);
  return free_.back().data();
}

std::size_t ConfigGraph::bytes() const {
  return sets_.capacity() * sizeof(Set) + configs_.capacity() * sizeof(Config) + next_of_.capacity() * sizeof(Next) +
         free_.capacity() * sizeof(free_[0]) + ids_.bytes();
}

}  // namespace longhaul::tools
