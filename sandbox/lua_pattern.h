// Lua's patterns (reference manual, section 6.4.1) with a budget of steps. Lua's own matcher backtracks without bound
// inside one C call, which no hook can stop: `.-.-.-.-b` on a few kilobytes runs for hours. Knows no lua_State.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace longhaul::sandbox {

struct PatternCapture {
  std::size_t begin = 0;
  std::ptrdiff_t length = 0;  // kPosition: the capture is the position itself

  static constexpr std::ptrdiff_t kPosition = -2;
  static constexpr std::ptrdiff_t kOpen = -1;
};

class PatternMatcher {
 public:
  // Both texts are borrowed. `stop` is looked at now and then; when it becomes non-zero the match fails with an error.
  PatternMatcher(std::string_view subject, std::string_view pattern, std::uint64_t steps_max,
                 const volatile int* stop = nullptr);

  // Tries at exactly this place. True: end() and captures() are set. False: no match, or error() is not empty.
  bool match_at(std::size_t begin);

  std::size_t end() const { return end_; }
  const std::vector<PatternCapture>& captures() const { return captures_; }
  const std::string& error() const { return error_; }

 private:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  std::size_t match(std::size_t s, std::size_t p);
  std::size_t expand_most(std::size_t s, std::size_t p, std::size_t item_end);
  std::size_t expand_least(std::size_t s, std::size_t p, std::size_t item_end);
  std::size_t open_capture(std::size_t s, std::size_t p, std::ptrdiff_t kind);
  std::size_t close_capture(std::size_t s, std::size_t p);
  std::size_t match_balance(std::size_t s, std::size_t p);
  std::size_t match_back_reference(std::size_t s, std::size_t p);
  std::size_t item_end(std::size_t p);
  bool single(std::size_t s, std::size_t p, std::size_t item_end);
  bool in_set(unsigned char c, std::size_t p, std::size_t last);
  bool step(std::uint64_t n = 1);
  std::size_t fail(std::string text);

  std::string_view subject_, pattern_;
  std::uint64_t steps_left_, steps_max_;
  const volatile int* stop_;
  std::vector<PatternCapture> captures_;
  std::size_t end_ = 0;
  int depth_ = 0;
  std::string error_;
};

}  // namespace longhaul::sandbox
