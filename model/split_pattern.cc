// Two programs are compiled for each pattern. The plain one uses PCRE2's own classes. The wide one spells out the code
// points assigned since Unicode 14 in every class; it gives the same pieces but costs a long list of comparisons a
// character, so it is only run on text that holds such a code point.
#include "model/split_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <optional>
#include <vector>

#include "model/unicode_since_14.h"
#include "model/utf8.h"
#include "runtime/base/check.h"

namespace longhaul::model {
namespace {

constexpr std::size_t kPatternBytesMax = 64 << 10;
// Steps that the engine may take: some for each byte left. The family's pattern needs about two a byte.
constexpr std::uint64_t kStepsLeast = 1'000'000, kStepsPerByte = 64;
// How often it may give up in one text before the rest is left unsplit, so that a hostile pattern costs seconds at
// most.
constexpr int kGiveUpsMax = 8;

struct CodeFree {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
using Code = std::unique_ptr<pcre2_code, CodeFree>;

// What one thread needs to run programs: result slots, limits, a stack for the compiled code.
class Runner {
 public:
  Runner()
      : data_(pcre2_match_data_create(1, nullptr)),
        context_(pcre2_match_context_create(nullptr)),
        stack_(pcre2_jit_stack_create(32 << 10, 8 << 20, nullptr)) {
    LONGHAUL_CHECK(data_ != nullptr && context_ != nullptr, "out of memory for the split pattern");
    if (stack_ != nullptr) pcre2_jit_stack_assign(context_, nullptr, stack_);
  }
  ~Runner() {
    if (stack_ != nullptr) pcre2_jit_stack_free(stack_);
    pcre2_match_context_free(context_);
    pcre2_match_data_free(data_);
  }
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  // 1: found, with [begin, end); 0: no match from `at` on; -1: gave up.
  int match(const pcre2_code* code, std::string_view text, std::size_t at, std::size_t& begin, std::size_t& end) {
    const std::uint64_t steps = kStepsLeast + kStepsPerByte * (text.size() - at);
    pcre2_set_match_limit(context_, static_cast<std::uint32_t>(std::min<std::uint64_t>(steps, UINT32_MAX)));
    const int rc = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at, PCRE2_NO_UTF_CHECK,
                               data_, context_);
    if (rc == PCRE2_ERROR_NOMATCH) return 0;
    if (rc < 0) return -1;
    begin = pcre2_get_ovector_pointer(data_)[0];
    end = pcre2_get_ovector_pointer(data_)[1];
    return 1;
  }

 private:
  pcre2_match_data* data_;
  pcre2_match_context* context_;
  pcre2_jit_stack* stack_;
};

Runner& runner() {
  thread_local Runner instance;
  return instance;
}

Result<Code> compile_code(const std::string& pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                          PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr));
  if (code == nullptr) {
    std::array<PCRE2_UCHAR, 256> message = {};
    pcre2_get_error_message(error, message.data(), message.size());
    return invalid_argument(fmt::format("{} (at byte {} of {})", reinterpret_cast<const char*>(message.data()), offset,
                                        pattern.substr(0, 200)));
  }
  // Without executable memory the interpreter does the same, slower.
  (void)pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
  return code;
}

// Ranges of a general category ("L" or "Lu") assigned since Unicode 14, as they stand inside [ ].
std::string new_ranges(std::string_view category) {
  std::string out;
  for (const NewRange& range : kSinceUnicode14) {
    if (range.category.starts_with(category)) out += fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", range.first, range.last);
  }
  return out;
}

bool is_category(std::string_view name) {
  return (name.size() == 1 || name.size() == 2) &&
         std::any_of(std::begin(kSinceUnicode14), std::end(kSinceUnicode14),
                     [name](const NewRange& range) { return range.category.starts_with(name); });
}

// From Oniguruma's Ruby syntax to PCRE2. Walks the pattern once; knows whether it is inside [ ].
class Translator {
 public:
  Translator(std::string_view in, bool wide) : in_(in), wide_(wide) {}

  Result<std::string> run() {
    while (at_ < in_.size() && !error_) step();
    if (error_) return *error_;
    if (in_class_) return invalid_argument("a class is not closed");
    return std::move(out_);
  }

 private:
  void refuse(std::string_view what) {
    error_ = unsupported(fmt::format("{} (at byte {}) is not supported in a split pattern", what, at_));
  }

  // Members of a class, `negated` for \P, \S and the like.
  void emit_set(const std::string& members, bool negated, std::string_view name) {
    if (!in_class_) {
      out_ += (negated ? "[^" : "[") + members + "]";
    } else if (negated) {
      refuse(fmt::format("{} inside a class", name));
    } else {
      out_ += members;
    }
  }

  std::string category(std::string_view name) const {
    return fmt::format("\\p{{{}}}", name) + (wide_ ? new_ranges(name) : "");
  }

  // What Oniguruma takes for \w, found by asking it about every code point: letters and what behaves like them, marks,
  // decimal digits, connectors, and six of Latin-1's superscripts and fractions.
  std::string word() const {
    return "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}" + (wide_ ? new_ranges("w") : "");
  }

  void property(bool negated) {
    if (at_ + 2 >= in_.size() || in_[at_ + 2] != '{') return refuse("\\p without braces");
    const std::size_t close = in_.find('}', at_);
    if (close == std::string_view::npos) return refuse("an unclosed property");
    std::string_view name = in_.substr(at_ + 3, close - at_ - 3);
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    for (char c : name) {
      if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '_') return refuse("this property name");
    }
    const std::string members = is_category(name) ? category(name) : fmt::format("\\p{{{}}}", name);
    at_ = close + 1;
    emit_set(members, negated, "a negated property");
  }

  void escape() {
    if (at_ + 1 >= in_.size()) return refuse("a backslash at the end");
    const char c = in_[at_ + 1];
    switch (c) {
      case 'p':
        return property(false);
      case 'P':
        return property(true);
      // PCRE2's \s also takes U+180E, which Unicode does not call white space any more.
      case 's':
        out_ += "\\p{White_Space}";
        break;
      case 'S':
        out_ += "\\P{White_Space}";
        break;
      case 'd':
      case 'D':
        emit_set(category("Nd"), c == 'D', "\\D");
        break;
      case 'w':
      case 'W':
        emit_set(word(), c == 'W', "\\W");
        break;
      case 'v':
        out_ += "\\x{b}";
        break;
      case 'u': {
        const std::string_view digits = in_.substr(at_ + 2, 4);
        if (digits.size() != 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos) {
          return refuse("\\u without four digits");
        }
        out_ += fmt::format("\\x{{{}}}", digits);
        at_ += 4;
        break;
      }
      default:
        if (std::isalnum(static_cast<unsigned char>(c)) != 0 &&
            std::string_view("nrtfaexAz").find(c) == std::string_view::npos) {
          return refuse(fmt::format("\\{}", c));
        }
        out_ += in_.substr(at_, 2);
    }
    at_ += 2;
  }

  void step() {
    const char c = in_[at_];
    const char next = at_ + 1 < in_.size() ? in_[at_ + 1] : '\0';
    if (c == '\\') return escape();
    if (in_class_) {
      if (c == '[') return refuse("a class inside a class");
      if (c == '&' && next == '&') return refuse("&& inside a class");
      if (c == ']') in_class_ = false;
    } else if (c == '[') {
      in_class_ = true;
      if (next == '^') out_.push_back(in_[at_++]);
      if (at_ + 1 < in_.size() && in_[at_ + 1] == ']') return refuse("] at the start of a class");
    } else if (c == '}' && next == '+') {
      // Possessive in PCRE2, a repeated repeat in Ruby.
      return refuse("}+");
    } else if (c == '(' && next == '?') {
      const std::string_view group = in_.substr(at_ + 2, 2);
      const bool plain = group.starts_with(':') || group.starts_with('=') || group.starts_with('!') ||
                         group.starts_with('>') || group == "<=" || group == "<!" || group == "i:" || group == "i)";
      if (!plain) return refuse(fmt::format("(?{}", group));
    } else if (c == '^' || c == '$') {
      // Ruby's anchors are of lines.
      out_ += fmt::format("(?m:{})", c);
      ++at_;
      return;
    }
    out_.push_back(in_[at_++]);
  }

  std::string_view in_;
  bool wide_;
  std::size_t at_ = 0;
  bool in_class_ = false;
  std::string out_;
  std::optional<Error> error_;
};

// True for every block of 256 code points that holds one assigned since Unicode 14.
const std::array<bool, 0x1100>& new_blocks() {
  static const std::array<bool, 0x1100> blocks = [] {
    std::array<bool, 0x1100> out = {};
    for (const NewRange& range : kSinceUnicode14) {
      for (std::uint32_t block = range.first >> 8; block <= range.last >> 8; ++block) out[block] = true;
    }
    return out;
  }();
  return blocks;
}

bool has_new_code_points(std::string_view text) {
  const auto& blocks = new_blocks();
  for (std::size_t i = 0; i < text.size();) {
    // None of them is below U+0800, so two-byte characters need no look.
    if (static_cast<std::uint8_t>(text[i]) < 0xE0) {
      ++i;
      continue;
    }
    const Utf8Step step = next_utf8(text.substr(i));
    if (blocks[step.code_point >> 8]) return true;
    i += step.length;
  }
  return false;
}

}  // namespace

struct SplitPattern::Impl {
  Code plain, wide;
};

SplitPattern::SplitPattern(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SplitPattern::~SplitPattern() = default;

Result<std::unique_ptr<SplitPattern>> SplitPattern::compile(std::string_view pattern) {
  if (pattern.empty() || pattern.size() > kPatternBytesMax) {
    return invalid_argument(
        fmt::format("a split pattern of {} bytes, expected 1 to {}", pattern.size(), kPatternBytesMax));
  }
  auto impl = std::make_unique<Impl>();
  for (bool wide : {false, true}) {
    auto translated = Translator(pattern, wide).run();
    if (!translated) return translated.error();
    auto code = compile_code(*translated);
    if (!code) return code.error();
    (wide ? impl->wide : impl->plain) = std::move(*code);
  }
  return std::unique_ptr<SplitPattern>(new SplitPattern(std::move(impl)));
}

void SplitPattern::split(std::string_view text, const std::function<void(std::size_t, std::size_t, bool)>& each) const {
  const pcre2_code* code = has_new_code_points(text) ? impl_->wide.get() : impl_->plain.get();
  Runner& engine = runner();
  std::size_t done = 0;  // up to here pieces were given
  std::size_t at = 0;    // the next search begins here
  int n_give_ups = 0;
  while (at < text.size()) {
    std::size_t begin = 0, end = 0;
    const int found = engine.match(code, text, at, begin, end);
    if (found == 0 || (found < 0 && ++n_give_ups == kGiveUpsMax)) break;
    if (found < 0 || end <= begin) {
      // Gave up, or matched nothing: the next search begins one character on.
      at = (found < 0 ? at : begin);
      if (at < text.size()) at += next_utf8(text.substr(at)).length;
      continue;
    }
    if (begin > done) each(done, begin, false);
    each(begin, end, true);
    done = at = end;
  }
  if (done < text.size()) each(done, text.size(), false);
}

std::string quote_pattern(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (static_cast<unsigned char>(c) < 0x80 && std::isalnum(static_cast<unsigned char>(c)) == 0) {
      out += fmt::format("\\x{{{:x}}}", static_cast<unsigned char>(c));
    } else {
      out.push_back(c);
    }
  }
  return out;
}

namespace {

bool is_word(std::string_view character) {
  // The definition of UTS #18, which Rust's \w follows.
  static const Code code = [] {
    auto compiled = compile_code("^[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}]");
    LONGHAUL_CHECK(compiled.has_value(), "the word class compiles");
    return std::move(*compiled);
  }();
  std::size_t begin = 0, end = 0;
  return runner().match(code.get(), character, 0, begin, end) > 0;
}

}  // namespace

bool starts_with_word(std::string_view text) {
  if (text.empty()) return false;
  const Utf8Step step = next_utf8(text);
  return step.kind == Utf8Step::Kind::kCharacter && is_word(text.substr(0, step.length));
}

bool ends_with_word(std::string_view text) {
  for (std::size_t length = 1; length <= 4 && length <= text.size(); ++length) {
    const std::string_view tail = text.substr(text.size() - length);
    const Utf8Step step = next_utf8(tail);
    if (step.kind == Utf8Step::Kind::kCharacter && step.length == length) return is_word(tail);
  }
  return false;
}

}  // namespace longhaul::model
