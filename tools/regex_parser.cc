// Patterns to expressions. The tree of a pattern is turned into a language from its end: each part is told what may
// follow it, by what stands before it (the start, a word character, another one), so that anchors, \b and look-ahead
// become plain languages.
#include <fmt/format.h>

#include <algorithm>

#include "tools/formats.h"
#include "tools/pattern_tree.h"
#include "tools/regex.h"
#include "tools/utf8.h"

namespace longhaul::tools {
namespace {

using NodePtr = std::shared_ptr<const PatternNode>;
using Kind = PatternNode::Kind;

constexpr std::size_t kPatternBytesMax = 16 * 1024;
constexpr std::uint32_t kUnrollMax = 64;       // rounds of a counted repeat with assertions inside
constexpr std::uint32_t kPositionsMax = 4096;  // of a pattern whose rounds may overlap

}  // namespace

// From trees to languages.
class PatternReader {
 public:
  using Rest = std::array<RegexId, 3>;  // what may follow, by what stands before: the start, a word character, another

  explicit PatternReader(RegexPool& pool) : pool_(pool) {}

  // The texts of a part without assertions.
  RegexId plain(const PatternNode& node) {
    switch (node.kind) {
      case Kind::kChars:
        return pool_.chars(node.set);
      case Kind::kSequence: {
        RegexId result = kEmptyText;
        for (auto part = node.parts.rbegin(); part != node.parts.rend(); ++part)
          result = pool_.concat(plain(**part), result);
        return result;
      }
      case Kind::kChoice: {
        std::vector<RegexId> parts;
        for (const NodePtr& part : node.parts) parts.push_back(plain(*part));
        return pool_.either(std::move(parts));
      }
      default:
        return pool_.repeat(plain(*node.parts[0]), node.min, node.max);
    }
  }

  Result<Rest> before(const PatternNode& node, Rest rest) {
    if (node.plain) return before_plain(plain(node), rest);
    switch (node.kind) {
      case Kind::kSequence:
        for (auto part = node.parts.rbegin(); part != node.parts.rend(); ++part) {
          auto more = before(**part, rest);
          if (!more) return more;
          rest = *more;
        }
        return rest;
      case Kind::kChoice: {
        std::array<std::vector<RegexId>, 3> all;
        for (const NodePtr& part : node.parts) {
          auto one = before(*part, rest);
          if (!one) return one;
          for (std::size_t i = 0; i < 3; ++i) all[i].push_back((*one)[i]);
        }
        return Rest{pool_.either(all[0]), pool_.either(all[1]), pool_.either(all[2])};
      }
      case Kind::kStart:
        return Rest{rest[0], kNoText, kNoText};
      case Kind::kEnd:
        for (RegexId& r : rest) r = pool_.both({r, kEmptyText});
        return rest;
      case Kind::kWordEdge:
      case Kind::kNoWordEdge: {
        const RegexId word = pool_.concat(pool_.chars(word_set()), kAnyText);
        const RegexId other = pool_.either({kEmptyText, pool_.concat(pool_.chars(~word_set()), kAnyText)});
        const bool edge = node.kind == Kind::kWordEdge;
        return Rest{pool_.both({rest[0], edge ? word : other}), pool_.both({rest[1], edge ? other : word}),
                    pool_.both({rest[2], edge ? word : other})};
      }
      case Kind::kAhead:
      case Kind::kNotAhead: {
        auto seen = before(*node.parts[0], {kAnyText, kAnyText, kAnyText});
        if (!seen) return seen;
        for (std::size_t i = 0; i < 3; ++i) {
          const RegexId ahead = node.kind == Kind::kAhead ? (*seen)[i] : pool_.complement((*seen)[i]);
          rest[i] = pool_.both({rest[i], ahead});
        }
        return rest;
      }
      case Kind::kRepeat:
        return before_repeat(node, rest);
      case Kind::kChars:
        break;
    }
    return rest;
  }

 private:
  Rest before_plain(RegexId part, const Rest& rest) {
    if (rest[0] == rest[1] && rest[1] == rest[2]) {
      const RegexId all = pool_.concat(part, rest[0]);
      return {all, all, all};
    }
    const bool nullable = pool_.accepts_empty(part);
    RegexId after;
    if (rest[1] == rest[2]) {
      const RegexId some = nullable ? pool_.both({part, pool_.concat(pool_.chars(CharSet::all()), kAnyText)}) : part;
      after = pool_.concat(some, rest[1]);
    } else {
      const RegexId word = pool_.concat(kAnyText, pool_.chars(word_set()));
      const RegexId other = pool_.concat(kAnyText, pool_.chars(~word_set()));
      after = pool_.either(
          {pool_.concat(pool_.both({part, word}), rest[1]), pool_.concat(pool_.both({part, other}), rest[2])});
    }
    if (!nullable) return {after, after, after};
    return {pool_.either({after, rest[0]}), pool_.either({after, rest[1]}), pool_.either({after, rest[2]})};
  }

  Result<Rest> before_repeat(const PatternNode& node, Rest rest) {
    const PatternNode& body = *node.parts[0];
    if (node.min > kUnrollMax || (node.max != kUnbounded && node.max > kUnrollMax)) {
      return unsupported(fmt::format("a repeat of an assertion more than {} times is not enforced", kUnrollMax));
    }
    if (node.max == kUnbounded) {
      // A round that matches nothing would go on for ever.
      if (body.shortest == 0)
        return unsupported("an unbounded repeat of what may be an assertion alone is not enforced");
      RegexPool::Loop loop;
      loop.body = node.parts[0];
      loop.rest = rest;
      const auto index = static_cast<std::uint32_t>(pool_.loops_.size());
      pool_.loops_.push_back(loop);
      for (std::uint32_t i = 0; i < 3; ++i) {
        rest[i] = pool_.add({.kind = RegexPool::Kind::kLoop,
                             .nullable = pool_.exprs_[loop.rest[i]].nullable,
                             .positive = false,
                             .a = index,
                             .b = i});
        pool_.loops_[index].self[i] = rest[i];
      }
    } else {
      const Rest end = rest;
      for (std::uint32_t i = node.min; i < node.max; ++i) {
        auto round = before(body, rest);
        if (!round) return round;
        for (std::size_t k = 0; k < 3; ++k) rest[k] = pool_.either({(*round)[k], end[k]});
      }
    }
    for (std::uint32_t i = 0; i < node.min; ++i) {
      auto round = before(body, rest);
      if (!round) return round;
      rest = *round;
      if (pool_.size() > 200'000) return make_error(ErrorCode::kResourceExhausted, "a repeat that becomes too large");
    }
    return rest;
  }

  RegexPool& pool_;
};

RegexId RegexPool::unfold(RegexId id) {
  const std::uint32_t index = exprs_[id].a, context = exprs_[id].b;
  if (index == kUnbounded) {
    const std::uint32_t hour = context & 0xFF, ten = context >> 8;  // as leap_rest() put them: 0 is no ten
    const auto [at, fresh] = leaps_.emplace(id, kNoText);
    if (fresh) {
      const RegexId made = ten == 0 ? leap_second_rest(*this, hour) : leap_second_rest(*this, hour, ten - 1);
      leaps_[id] = made;
      return made;
    }
    return at->second;
  }
  if (!loops_[index].done[context]) {
    const Loop loop = loops_[index];
    // Read once before without trouble, so it is now.
    const auto round = PatternReader(*this).before(*loop.body, loop.self);
    for (std::uint32_t i = 0; i < 3; ++i) {
      loops_[index].unfolded[i] = round ? either({(*round)[i], loop.rest[i]}) : kNoText;
      loops_[index].done[i] = true;
    }
  }
  return loops_[index].unfolded[context];
}

Result<RegexId> RegexPool::pattern(std::string_view text) {
  if (text.size() > kPatternBytesMax) {
    return make_error(ErrorCode::kResourceExhausted,
                      fmt::format("a pattern of {} bytes, at most {}", text.size(), kPatternBytesMax));
  }
  if (!is_utf8(text)) return invalid_argument("a pattern that is not UTF-8");
  auto tree = read_pattern(text);
  if (!tree) return tree.error();
  return pattern(**tree);
}

Result<RegexId> RegexPool::pattern(const PatternNode& tree) {
  PatternReader reader(*this);
  auto found = reader.before(tree, {kAnyText, kAnyText, kAnyText});
  if (!found) return found.error();
  // Found at the start, or after some character.
  const RegexId after_word = concat(concat(kAnyText, chars(word_set())), (*found)[1]);
  const RegexId after_other = concat(concat(kAnyText, chars(~word_set())), (*found)[2]);
  RegexId result;
  if ((*found)[0] == (*found)[1] && (*found)[1] == (*found)[2]) {
    result = concat(kAnyText, (*found)[0]);
  } else if ((*found)[1] == (*found)[2]) {
    result = either({(*found)[0], concat(chars(CharSet::all()), concat(kAnyText, (*found)[1]))});
  } else {
    result = either({(*found)[0], after_word, after_other});
  }
  if (exprs_[result].positive && exprs_[result].positions > kPositionsMax) {
    const bool anchored = (*found)[1] == kNoText && (*found)[2] == kNoText;
    if (!anchored || !one_way(tree, CharSet::all())) {
      // What follows an end anchor is nothing: then only the pattern itself counts.
      const bool ends = anchored && tree.kind == PatternNode::Kind::kSequence && !tree.parts.empty() &&
                        tree.parts.back()->kind == PatternNode::Kind::kEnd;
      if (!ends || !one_way(tree, CharSet())) {
        return make_error(ErrorCode::kResourceExhausted,
                          fmt::format("a pattern of {} positions whose parts overlap, at most {}",
                                      exprs_[result].positions, kPositionsMax));
      }
    }
  }
  return result;
}

}  // namespace longhaul::tools
