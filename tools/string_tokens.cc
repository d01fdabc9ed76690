#include "tools/string_tokens.h"

#include <algorithm>
#include <map>

#include "tools/automaton.h"
#include "tools/utf8.h"

namespace longhaul::tools {
namespace {

using Counts = std::vector<std::pair<model::TokenId, std::uint32_t>>;

Counts raw_counts(const model::Vocabulary& vocabulary, char without, bool all) {
  Counts counts;
  for (model::TokenId id = 0; id < vocabulary.size(); ++id) {
    const std::string_view bytes = vocabulary.bytes(id);
    if (vocabulary.is_control(id) || bytes.empty()) continue;
    if (!all && bytes.find(without) != bytes.npos) continue;
    std::uint8_t phase = kUtf8Between;
    std::uint32_t n = 0;
    for (char c : bytes) {
      if (phase != kUtf8Wrong) phase = utf8_step(phase, static_cast<std::uint8_t>(c));
      n += (static_cast<std::uint8_t>(c) & 0xC0) != 0x80 ? 1 : 0;
    }
    if (phase != kUtf8Wrong) counts.emplace_back(id, n);
  }
  return counts;
}

std::vector<std::uint8_t> whole_raw(const model::Vocabulary& vocabulary, char without) {
  std::vector<std::uint8_t> whole(vocabulary.size());
  for (const auto& [id, n] : raw_counts(vocabulary, without, false)) {
    if (n <= 255 && is_utf8(vocabulary.bytes(id))) whole[id] = static_cast<std::uint8_t>(n);
  }
  return whole;
}

}  // namespace

struct Reading {
  std::vector<std::uint8_t> whole;
  Counts staying;
  std::map<std::string, std::vector<StringTokens::Exit>, std::less<>> by_suffix;
  std::map<std::string, std::vector<std::pair<std::string, model::TokenId>>, std::less<>> by_prefix;
};

namespace {

// The automaton itself reads the tokens, in a string that nothing constrains.
Reading read_strings(const model::Vocabulary& vocabulary) {
  Reading reading;
  reading.whole.resize(vocabulary.size());
  reading.by_suffix[""];
  reading.by_prefix[""];
  const Node any;
  GrammarProgram program;
  GrammarNode node;
  node.node = &any;
  program.nodes.push_back(node);
  Interner interner;
  Automaton automaton(program, interner);
  std::vector<Config> at, next;
  for (model::TokenId id = 0; id < vocabulary.size(); ++id) {
    const std::string_view bytes = vocabulary.bytes(id);
    if (vocabulary.is_control(id) || bytes.empty()) continue;
    Config start;
    start.top.kind = FrameKind::kString;
    start.top.a = kOff;
    at.assign(1, start);
    std::size_t i = 0;
    while (i < bytes.size() && !at.empty() && (bytes[i] != '"' || at[0].top.phase != kUtf8Between)) {
      automaton.step(at, static_cast<std::uint8_t>(bytes[i]), next);
      at.swap(next);
      ++i;
    }
    if (at.empty()) continue;
    const std::uint32_t whole = at[0].count;
    if (i == bytes.size()) {
      const bool between = at[0].top.phase == kUtf8Between;
      reading.staying.emplace_back(id, whole + (between ? 0 : 1));
      if (between && whole <= 255) reading.whole[id] = static_cast<std::uint8_t>(whole);
      continue;
    }
    const std::string suffix(bytes.substr(i + 1));
    reading.by_suffix[suffix].push_back({id, whole});
    reading.by_prefix[std::string(bytes.substr(0, i))].emplace_back(suffix, id);
  }
  return reading;
}

}  // namespace

LengthClasses::LengthClasses(std::size_t n_tokens, const Counts& counts) {
  std::uint32_t most = 0;
  for (const auto& [id, n] : counts) {
    if (n < kClassesMax) {
      most = std::max(most, n);
    } else {
      longer_.emplace_back(n, id);
    }
  }
  std::sort(longer_.begin(), longer_.end());
  masks_.assign(most + (longer_.empty() ? 1 : 2), model::TokenMask(n_tokens));
  for (const auto& [id, n] : counts) masks_[n < kClassesMax ? n : most + 1].allow(id);
  for (std::size_t k = 1; k < masks_.size(); ++k) masks_[k] |= masks_[k - 1];
}

bool LengthClasses::add_at_most(std::uint64_t n, model::TokenMask& mask) const {
  if (n == 0) return false;
  if (longer_.empty() || n >= longer_.back().first) {
    mask |= masks_[std::min<std::uint64_t>(n, masks_.size() - 1)];
    return true;
  }
  mask |= masks_[std::min<std::uint64_t>(n, masks_.size() - 2)];
  for (const auto& [length, id] : longer_) {
    if (length <= n) mask.allow(id);
  }
  return true;
}

StringTokens::StringTokens(const model::Vocabulary& vocabulary) : StringTokens(vocabulary, read_strings(vocabulary)) {}

StringTokens::StringTokens(const model::Vocabulary& vocabulary, Reading&& reading)
    : whole(std::move(reading.whole)),
      stays(vocabulary.size(), reading.staying),
      rest(vocabulary, [&](model::TokenId id) { return !stays.all().allowed(id); }) {
  std::map<std::string, std::uint32_t, std::less<>> numbers;
  for (auto& [text, exits] : reading.by_suffix) {
    std::stable_sort(exits.begin(), exits.end(),
                     [](const Exit& a, const Exit& b) { return a.code_points < b.code_points; });
    numbers[text] = static_cast<std::uint32_t>(suffixes.size());
    suffixes.push_back({text, static_cast<std::size_t>(std::count(text.begin(), text.end(), '"')), std::move(exits)});
  }
  for (auto& [text, exits] : reading.by_prefix) {
    Prefix prefix;
    prefix.text = text;
    for (const auto& [suffix, id] : exits) {
      prefix.exits.emplace_back(numbers[suffix], id);
      prefix.twice = prefix.twice || suffixes[numbers[suffix]].n_quotes >= 2;
    }
    prefix.escaped = text.find('\\') != std::string::npos;
    std::sort(prefix.exits.begin(), prefix.exits.end());
    prefixes.push_back(std::move(prefix));
  }
  // As TokenTrie does: sorted texts share their beginnings.
  std::vector<std::uint32_t> path;
  std::string_view previous;
  auto close_to = [&](std::size_t depth) {
    while (path.size() > depth) {
      nodes[path.back()].end = static_cast<std::uint32_t>(nodes.size());
      path.pop_back();
    }
  };
  for (std::uint32_t s = 0; s < suffixes.size(); ++s) {
    const std::string_view text = suffixes[s].text;
    std::size_t shared = 0;
    while (shared < previous.size() && shared < text.size() && previous[shared] == text[shared]) ++shared;
    close_to(shared);
    for (std::size_t i = shared; i < text.size(); ++i) {
      path.push_back(static_cast<std::uint32_t>(nodes.size()));
      nodes.push_back({0, -1, static_cast<std::uint16_t>(i + 1), static_cast<std::uint8_t>(text[i])});
    }
    if (!text.empty()) nodes[path.back()].suffix = static_cast<std::int32_t>(s);
    depth_max = std::max(depth_max, static_cast<std::uint32_t>(text.size()));
    previous = text;
  }
  close_to(0);
}

std::size_t StringTokens::bytes() const {
  std::size_t n = whole.size() + stays.bytes() + rest.bytes() + nodes.size() * sizeof(Node);
  for (const Suffix& suffix : suffixes) n += sizeof(Suffix) + suffix.exits.size() * sizeof(Exit);
  for (const Prefix& prefix : prefixes) n += sizeof(Prefix) + prefix.exits.size() * sizeof(prefix.exits[0]);
  return n;
}

RawTokens::RawTokens(const model::Vocabulary& vocabulary, std::string_view close)
    : whole(whole_raw(vocabulary, close[0])),
      any(LengthClasses(vocabulary.size(), raw_counts(vocabulary, close[0], true)).all()),
      plain(vocabulary.size(), raw_counts(vocabulary, close[0], false)),
      rest(vocabulary, [&](model::TokenId id) { return any.allowed(id) && !plain.all().allowed(id); }) {
  for (model::TokenId id = 0; id < vocabulary.size(); ++id) {
    if (!vocabulary.is_control(id) && vocabulary.bytes(id).find(close) != std::string_view::npos) closing.push_back(id);
  }
}

}  // namespace longhaul::tools
