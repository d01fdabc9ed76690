#include "sandbox/lua_pattern.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace longhaul::sandbox {
namespace {

constexpr std::size_t kCapturesMax = 32;
// Each level is one quantified item or capture of the pattern; Lua's own limit is the same.
constexpr int kDepthMax = 200;

// Classes by ASCII, whatever the locale.
bool is_alpha(unsigned char c) {
  return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}
bool is_digit(unsigned char c) {
  return c >= '0' && c <= '9';
}

bool in_class(unsigned char c, char name) {
  bool member;
  switch (name | 0x20) {
    case 'a':
      member = is_alpha(c);
      break;
    case 'c':
      member = c < 0x20 || c == 0x7f;
      break;
    case 'd':
      member = is_digit(c);
      break;
    case 'g':
      member = c > 0x20 && c < 0x7f;
      break;
    case 'l':
      member = c >= 'a' && c <= 'z';
      break;
    case 'p':
      member = c > 0x20 && c < 0x7f && !is_alpha(c) && !is_digit(c);
      break;
    case 's':
      member = c == ' ' || (c >= '\t' && c <= '\r');
      break;
    case 'u':
      member = c >= 'A' && c <= 'Z';
      break;
    case 'w':
      member = is_alpha(c) || is_digit(c);
      break;
    case 'x':
      member = is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
      break;
    default:
      return static_cast<unsigned char>(name) == c;
  }
  return (name & 0x20) ? member : !member;
}

}  // namespace

PatternMatcher::PatternMatcher(std::string_view subject, std::string_view pattern, std::uint64_t steps_max,
                               const volatile int* stop)
    : subject_(subject), pattern_(pattern), steps_left_(steps_max), steps_max_(steps_max), stop_(stop) {}

std::size_t PatternMatcher::fail(std::string text) {
  if (error_.empty()) error_ = std::move(text);
  return kNone;
}

bool PatternMatcher::step(std::uint64_t n) {
  if (!error_.empty()) return false;
  if (steps_left_ < n) {
    steps_left_ = 0;
    fail(fmt::format("the pattern takes more than {} steps", steps_max_));
    return false;
  }
  steps_left_ -= n;
  if (stop_ != nullptr && *stop_ != 0) {
    fail("stopped");
    return false;
  }
  return true;
}

bool PatternMatcher::match_at(std::size_t begin) {
  captures_.clear();
  depth_ = 0;
  end_ = match(begin, 0);
  if (!error_.empty() || end_ == kNone) return false;
  for (const PatternCapture& capture : captures_) {
    if (capture.length == PatternCapture::kOpen) {
      fail("unfinished capture");
      return false;
    }
  }
  return true;
}

std::size_t PatternMatcher::match(std::size_t s, std::size_t p) {
  if (++depth_ > kDepthMax) {
    --depth_;
    return fail("pattern too complex");
  }
  struct Leave {
    int& depth;
    ~Leave() { --depth; }
  } leave{depth_};
  for (;;) {
    if (!step()) return kNone;
    if (p == pattern_.size()) return s;
    const char c = pattern_[p];
    if (c == '(') {
      if (p + 1 < pattern_.size() && pattern_[p + 1] == ')') return open_capture(s, p + 2, PatternCapture::kPosition);
      return open_capture(s, p + 1, PatternCapture::kOpen);
    }
    if (c == ')') return close_capture(s, p + 1);
    if (c == '$' && p + 1 == pattern_.size()) return s == subject_.size() ? s : kNone;
    if (c == '%' && p + 1 < pattern_.size()) {
      const char kind = pattern_[p + 1];
      if (kind == 'b') {
        s = match_balance(s, p + 2);
        if (s == kNone) return kNone;
        p += 4;
        continue;
      }
      if (kind == 'f') {
        p += 2;
        if (p >= pattern_.size() || pattern_[p] != '[') return fail("missing '[' after '%f' in pattern");
        const std::size_t last = item_end(p);
        if (last == kNone) return kNone;
        const unsigned char before = s == 0 ? 0 : static_cast<unsigned char>(subject_[s - 1]);
        const unsigned char here = s == subject_.size() ? 0 : static_cast<unsigned char>(subject_[s]);
        if (in_set(before, p, last - 1) || !in_set(here, p, last - 1)) return kNone;
        p = last;
        continue;
      }
      if (is_digit(static_cast<unsigned char>(kind))) {
        s = match_back_reference(s, p + 1);
        if (s == kNone) return kNone;
        p += 2;
        continue;
      }
    }
    const std::size_t after = item_end(p);
    if (after == kNone) return kNone;
    const char quantifier = after < pattern_.size() ? pattern_[after] : '\0';
    if (quantifier == '?') {
      if (single(s, p, after)) {
        // The captures of a failed try must not stay behind.
        const std::vector<PatternCapture> saved = captures_;
        const std::size_t found = match(s + 1, after + 1);
        if (found != kNone) return found;
        captures_ = saved;
      }
      p = after + 1;
      continue;
    }
    if (quantifier == '*') return expand_most(s, p, after);
    if (quantifier == '+') return single(s, p, after) ? expand_most(s + 1, p, after) : kNone;
    if (quantifier == '-') return expand_least(s, p, after);
    if (!single(s, p, after)) return kNone;
    ++s;
    p = after;
  }
}

std::size_t PatternMatcher::expand_most(std::size_t s, std::size_t p, std::size_t item_end) {
  std::size_t n = 0;
  while (single(s + n, p, item_end)) {
    ++n;
    if (!step()) return kNone;
  }
  const std::vector<PatternCapture> saved = captures_;
  for (;;) {
    const std::size_t found = match(s + n, item_end + 1);
    if (found != kNone) return found;
    if (!error_.empty() || n == 0) return kNone;
    --n;
    captures_ = saved;
  }
}

std::size_t PatternMatcher::expand_least(std::size_t s, std::size_t p, std::size_t item_end) {
  const std::vector<PatternCapture> saved = captures_;
  for (;;) {
    const std::size_t found = match(s, item_end + 1);
    if (found != kNone) return found;
    if (!error_.empty() || !single(s, p, item_end)) return kNone;
    ++s;
    captures_ = saved;
  }
}

std::size_t PatternMatcher::open_capture(std::size_t s, std::size_t p, std::ptrdiff_t kind) {
  if (captures_.size() >= kCapturesMax) return fail("too many captures");
  captures_.push_back({s, kind});
  const std::size_t n = captures_.size();
  const std::size_t found = match(s, p);
  if (found == kNone) captures_.resize(std::min(captures_.size(), n - 1));
  return found;
}

std::size_t PatternMatcher::close_capture(std::size_t s, std::size_t p) {
  for (std::size_t i = captures_.size(); i-- > 0;) {
    if (captures_[i].length != PatternCapture::kOpen) continue;
    captures_[i].length = static_cast<std::ptrdiff_t>(s - captures_[i].begin);
    const std::size_t found = match(s, p);
    if (found == kNone && i < captures_.size()) captures_[i].length = PatternCapture::kOpen;
    return found;
  }
  return fail("invalid pattern capture");
}

std::size_t PatternMatcher::match_balance(std::size_t s, std::size_t p) {
  if (p + 1 >= pattern_.size()) return fail("malformed pattern (missing arguments to '%b')");
  if (s >= subject_.size() || subject_[s] != pattern_[p]) return kNone;
  const char open = pattern_[p], close = pattern_[p + 1];
  int level = 1;
  for (std::size_t i = s + 1; i < subject_.size(); ++i) {
    if (!step()) return kNone;
    if (subject_[i] == close) {
      if (--level == 0) return i + 1;
    } else if (subject_[i] == open) {
      ++level;
    }
  }
  return kNone;
}

std::size_t PatternMatcher::match_back_reference(std::size_t s, std::size_t p) {
  const auto index = static_cast<std::size_t>(pattern_[p] - '1');
  if (pattern_[p] == '0' || index >= captures_.size() || captures_[index].length == PatternCapture::kOpen) {
    return fail(fmt::format("invalid capture index %{}", pattern_[p]));
  }
  if (captures_[index].length == PatternCapture::kPosition) return kNone;
  const auto length = static_cast<std::size_t>(captures_[index].length);
  // A comparison of n bytes is charged as such.
  if (!step(1 + length / 16)) return kNone;
  if (subject_.size() - s < length) return kNone;
  if (subject_.compare(s, length, subject_, captures_[index].begin, length) != 0) return kNone;
  return s + length;
}

// One past the single-character item that begins at p.
std::size_t PatternMatcher::item_end(std::size_t p) {
  const char c = pattern_[p++];
  if (c == '%') {
    if (p == pattern_.size()) return fail("malformed pattern (ends with '%')");
    return p + 1;
  }
  if (c != '[') return p;
  if (p < pattern_.size() && pattern_[p] == '^') ++p;
  // The first character of a set stands for itself, also `]`.
  do {
    if (p == pattern_.size()) return fail("malformed pattern (missing ']')");
    if (!step()) return kNone;
    const char member = pattern_[p++];
    if (member == '%') {
      if (p == pattern_.size()) return fail("malformed pattern (ends with '%')");
      ++p;
    }
  } while (p >= pattern_.size() || pattern_[p] != ']');
  return p + 1;
}

bool PatternMatcher::single(std::size_t s, std::size_t p, std::size_t item_end) {
  if (s >= subject_.size()) return false;
  const auto c = static_cast<unsigned char>(subject_[s]);
  switch (pattern_[p]) {
    case '.':
      return true;
    case '%':
      return in_class(c, pattern_[p + 1]);
    case '[':
      return in_set(c, p, item_end - 1);
    default:
      return static_cast<unsigned char>(pattern_[p]) == c;
  }
}

// The set from `[` at p to `]` at last.
bool PatternMatcher::in_set(unsigned char c, std::size_t p, std::size_t last) {
  if (!step((last - p) / 8)) return false;
  bool member = true;
  ++p;
  if (pattern_[p] == '^') {
    member = false;
    ++p;
  }
  for (; p < last; ++p) {
    if (pattern_[p] == '%') {
      ++p;
      if (in_class(c, pattern_[p])) return member;
    } else if (p + 2 < last && pattern_[p + 1] == '-') {
      if (static_cast<unsigned char>(pattern_[p]) <= c && c <= static_cast<unsigned char>(pattern_[p + 2])) {
        return member;
      }
      p += 2;
    } else if (static_cast<unsigned char>(pattern_[p]) == c) {
      return member;
    }
  }
  return !member;
}

}  // namespace longhaul::sandbox
