// The regular expression that cuts text into pre-tokens. `tokenizers` runs it with Oniguruma; here it is translated to
// PCRE2 where the two differ (\s, \w, \d, \v, nested classes, anchors) and refused by name where it cannot be. Unicode
// classes are those of the Unicode version that `tokenizers` ships (unicode_since_14.h adds what PCRE2 10.42 lacks).
// Immutable; safe to use from any thread.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "runtime/base/result.h"

namespace longhaul::model {

class SplitPattern {
 public:
  static Result<std::unique_ptr<SplitPattern>> compile(std::string_view pattern);
  ~SplitPattern();
  SplitPattern(const SplitPattern&) = delete;
  SplitPattern& operator=(const SplitPattern&) = delete;

  // Calls `each(begin, end, is_match)` for the matches of `text` and what lies between, in order, without empty ones.
  // `text` has to be valid UTF-8. Where the engine gives up (a pattern that needs more steps than a fixed multiple of
  // the text), one character counts as unmatched and the search goes on behind it; at the eighth time the rest of the
  // text is one piece. So text always gets through, in bounded time.
  void split(std::string_view text, const std::function<void(std::size_t, std::size_t, bool)>& each) const;

 private:
  struct Impl;
  explicit SplitPattern(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// `text` so that it stands for itself in a pattern.
std::string quote_pattern(std::string_view text);

// Whether Unicode calls the last (first) character of `text` part of a word, for added tokens that are single words.
bool ends_with_word(std::string_view text);
bool starts_with_word(std::string_view text);

}  // namespace longhaul::model
