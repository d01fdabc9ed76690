// Masks of random grammars and regular expressions against a reference that shares nothing with them: Earley's
// algorithm over characters, one token at a time. Random walks from start to end; all the while a text may end exactly
// where the reference says that it is one.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "tests/support/test_vocabulary.h"
#include "tools/char_set.h"
#include "tools/grammar.h"
#include "tools/utf8.h"

namespace longhaul::tools {
namespace {

// --- the reference

struct Symbol {
  bool terminal = false;
  CharSet set;
  int rule = -1;
};
using Production = std::vector<Symbol>;

class Earley {
 public:
  int add_rule() {
    rules_.emplace_back();
    return static_cast<int>(rules_.size() - 1);
  }
  void add(int rule, Production production) { rules_[static_cast<std::size_t>(rule)].push_back(std::move(production)); }

  void begin(int root) {
    root_ = root;
    find_nullable();
    sets_.clear();
    sets_.emplace_back();
    partial_ = {};
    for (std::size_t p = 0; p < rules(root).size(); ++p) put({root, static_cast<int>(p), 0, 0});
    close();
  }
  // False: no text of the grammar begins so; then the reader stands where it stood.
  bool read(std::string_view bytes) {
    const std::size_t n = sets_.size();
    const CharInPart before = partial_;
    for (const char c : bytes) {
      if (read_byte(static_cast<std::uint8_t>(c))) continue;
      sets_.resize(n);
      partial_ = before;
      return false;
    }
    return true;
  }
  bool allows(std::string_view bytes) {
    const std::size_t n = sets_.size();
    const CharInPart before = partial_;
    const bool ok = read(bytes);
    sets_.resize(n);
    partial_ = before;
    return ok;
  }
  bool whole() const {
    if (partial_.phase != kUtf8Between) return false;
    for (const Item& i : sets_.back()) {
      if (i.rule == root_ && i.from == 0 && i.dot == production(i).size()) return true;
    }
    return false;
  }

 private:
  struct Item {
    int rule, way;
    std::size_t dot, from;
    friend bool operator==(const Item&, const Item&) = default;
  };
  const std::vector<Production>& rules(int rule) const { return rules_[static_cast<std::size_t>(rule)]; }
  const Production& production(const Item& i) const { return rules(i.rule)[static_cast<std::size_t>(i.way)]; }

  void put(Item item) {
    auto& set = sets_.back();
    if (std::find(set.begin(), set.end(), item) == set.end()) set.push_back(item);
  }
  void close() {
    const std::size_t here = sets_.size() - 1;
    for (std::size_t k = 0; k < sets_[here].size(); ++k) {
      const Item item = sets_[here][k];
      const Production& production_of = production(item);
      if (item.dot == production_of.size()) {
        const std::vector<Item> origin = sets_[item.from];
        for (const Item& waiting : origin) {
          const Production& other = production(waiting);
          if (waiting.dot < other.size() && !other[waiting.dot].terminal && other[waiting.dot].rule == item.rule) {
            put({waiting.rule, waiting.way, waiting.dot + 1, waiting.from});
          }
        }
      } else if (!production_of[item.dot].terminal) {
        const int rule = production_of[item.dot].rule;
        for (std::size_t p = 0; p < rules(rule).size(); ++p) put({rule, static_cast<int>(p), 0, here});
        if (nullable_[static_cast<std::size_t>(rule)]) put({item.rule, item.way, item.dot + 1, item.from});
      }
    }
  }
  bool read_byte(std::uint8_t byte) {
    CharInPart next = partial_;
    const bool done = next.add(byte);
    if (next.phase == kUtf8Wrong) return false;
    if (!done) {
      // Some character that begins so must be allowed.
      const CharSet range({{next.least(), next.most()}});
      bool any = false;
      for (const Item& i : sets_.back()) {
        if (i.dot < production(i).size() && production(i)[i.dot].terminal) {
          any = any || !(production(i)[i.dot].set & range).empty();
        }
      }
      partial_ = next;
      return any;
    }
    partial_ = {};
    const std::vector<Item> from = sets_.back();
    sets_.emplace_back();
    for (const Item& i : from) {
      if (i.dot < production(i).size() && production(i)[i.dot].terminal && production(i)[i.dot].set.has(next.value)) {
        put({i.rule, i.way, i.dot + 1, i.from});
      }
    }
    close();
    return !sets_.back().empty();
  }
  void find_nullable() {
    nullable_.assign(rules_.size(), false);
    for (bool changed = true; changed;) {
      changed = false;
      for (std::size_t r = 0; r < rules_.size(); ++r) {
        for (const Production& p : rules_[r]) {
          const bool empty = std::all_of(p.begin(), p.end(), [&](const Symbol& s) {
            return !s.terminal && nullable_[static_cast<std::size_t>(s.rule)];
          });
          if (!empty || nullable_[r]) continue;
          nullable_[r] = changed = true;
        }
      }
    }
  }

  std::vector<std::vector<Production>> rules_;
  std::vector<bool> nullable_;
  int root_ = 0;
  std::vector<std::vector<Item>> sets_;
  CharInPart partial_;
};

// --- random grammars, written down and given to the reference

struct Tree {
  enum class Kind { kText, kClass, kSequence, kChoice, kRepeat, kRule } kind = Kind::kText;
  std::vector<std::uint32_t> chars;  // of the text or class
  bool negated = false;
  std::vector<Tree> parts;
  int min = 0, max = -1;  // -1: no limit
  int rule = 0;
};

class Maker {
 public:
  Maker(std::mt19937_64& random, int n_rules) : random_(random), n_rules_(n_rules) {}

  Tree make(int depth) {
    Tree t;
    const auto roll = random_() % 12;
    if (depth == 0 || roll < 4) {
      if (n_rules_ > 0 && random_() % 2 == 0) {
        t.kind = Tree::Kind::kRule;
        t.rule = static_cast<int>(random_() % static_cast<std::uint64_t>(n_rules_));
      } else if (random_() % 3 == 0) {
        t.kind = Tree::Kind::kClass;
        t.negated = random_() % 5 == 0;
        for (std::size_t n = 1 + random_() % 3; n > 0; --n) t.chars.push_back(letter());
      } else {
        for (std::size_t n = random_() % 12 == 0 ? 0 : 1 + random_() % 3; n > 0; --n) t.chars.push_back(letter());
      }
      return t;
    }
    if (roll < 7) {
      t.kind = Tree::Kind::kChoice;
    } else if (roll < 10) {
      t.kind = Tree::Kind::kSequence;
    } else {
      t.kind = Tree::Kind::kRepeat;
      t.min = static_cast<int>(random_() % 3);
      t.max = random_() % 2 == 0 ? -1 : t.min + static_cast<int>(random_() % 3);
      t.parts.push_back(make(depth - 1));
      return t;
    }
    for (std::size_t n = 2 + random_() % 2; n > 0; --n) t.parts.push_back(make(depth - 1));
    return t;
  }

 private:
  std::uint32_t letter() {
    static const std::vector<std::uint32_t> letters{'a', 'a',  'b',    'b',     'c', '(', ')',
                                                    ' ', 0xE9, 0x65E5, 0x1F600, '"', '\\'};
    return letters[random_() % letters.size()];
  }
  std::mt19937_64& random_;
  int n_rules_;
};

std::string spelled(std::uint32_t c, std::mt19937_64& random) {
  char buffer[16];
  if (random() % 6 == 0) {
    std::snprintf(buffer, sizeof buffer, c < 0x10000 ? "\\u%04x" : "\\U%08X", c);
    return buffer;
  }
  std::string text = c == '"' || c == '\\' ? "\\" : "";
  append_utf8(c, text);
  return text;
}

std::string ebnf(const Tree& t, std::mt19937_64& random) {
  std::string out;
  const std::string gap = random() % 8 == 0 ? "\n  # a comment\n  " : " ";
  switch (t.kind) {
    case Tree::Kind::kText:
      out = "\"";
      for (const std::uint32_t c : t.chars) out += spelled(c, random);
      return out + "\"";
    case Tree::Kind::kClass:
      out = t.negated ? "[^" : "[";
      for (const std::uint32_t c : t.chars) out += spelled(c, random);
      return out + "]";
    case Tree::Kind::kRule:
      return t.rule == 0 ? "root" : "r" + std::to_string(t.rule);
    case Tree::Kind::kSequence:
    case Tree::Kind::kChoice:
      for (const Tree& part : t.parts)
        out += (out.empty() ? "(" : t.kind == Tree::Kind::kChoice ? gap + "|" + gap : gap) + ebnf(part, random);
      return out + ")";
    case Tree::Kind::kRepeat:
      out = "(" + ebnf(t.parts[0], random) + ")";
      if (t.max < 0 && t.min < 2 && random() % 2 == 0) return out + (t.min == 0 ? "*" : "+");
      if (t.min == 0 && t.max == 1) return out + "?";
      if (t.min == t.max) return out + "{" + std::to_string(t.min) + "}";
      return out + "{" + std::to_string(t.min) + ", " + (t.max < 0 ? "" : std::to_string(t.max)) + "}";
  }
  return out;
}

std::string regex(const Tree& t) {
  auto escaped = [](std::uint32_t c) {
    std::string text = c == '(' || c == ')' || c == '\\' ? "\\" : "";
    append_utf8(c, text);
    return text;
  };
  std::string out;
  switch (t.kind) {
    case Tree::Kind::kText:
      for (const std::uint32_t c : t.chars) out += escaped(c);
      return out;
    case Tree::Kind::kClass:
      out = t.negated ? "[^" : "[";
      for (const std::uint32_t c : t.chars) out += escaped(c);
      return out + "]";
    case Tree::Kind::kRule:
      return "";
    case Tree::Kind::kSequence:
    case Tree::Kind::kChoice:
      for (const Tree& part : t.parts) {
        out += (out.empty() ? "(?:" : t.kind == Tree::Kind::kChoice ? "|" : "") + regex(part);
      }
      return out + ")";
    case Tree::Kind::kRepeat:
      return "(?:" + regex(t.parts[0]) + "){" + std::to_string(t.min) + "," + (t.max < 0 ? "" : std::to_string(t.max)) +
             "}";
  }
  return out;
}

Symbol reference(const Tree& t, Earley& earley) {
  Symbol symbol;
  if (t.kind == Tree::Kind::kRule) {
    symbol.rule = t.rule;
    return symbol;
  }
  if (t.kind == Tree::Kind::kClass) {
    symbol.terminal = true;
    std::vector<CharSet::Range> ranges;
    for (const std::uint32_t c : t.chars) ranges.push_back({c, c});
    symbol.set = CharSet(ranges);
    if (t.negated) symbol.set = ~symbol.set;
    return symbol;
  }
  symbol.rule = earley.add_rule();
  std::vector<Symbol> parts;
  for (const Tree& part : t.parts) parts.push_back(reference(part, earley));
  if (t.kind == Tree::Kind::kText) {
    Production p;
    for (const std::uint32_t c : t.chars) p.push_back({true, CharSet::one(c), -1});
    earley.add(symbol.rule, p);
  } else if (t.kind == Tree::Kind::kSequence) {
    earley.add(symbol.rule, parts);
  } else if (t.kind == Tree::Kind::kChoice) {
    for (const Symbol& part : parts) earley.add(symbol.rule, {part});
  } else {
    Production p(static_cast<std::size_t>(t.min), parts[0]);
    if (t.max < 0) {
      Symbol more;
      more.rule = earley.add_rule();
      earley.add(more.rule, {});
      earley.add(more.rule, {parts[0], more});
      p.push_back(more);
      earley.add(symbol.rule, p);
    }
    for (int n = t.min; n <= t.max; ++n, p.push_back(parts[0])) earley.add(symbol.rule, p);
  }
  return symbol;
}

// --- the comparison

const model::Vocabulary& vocabulary() {
  static const model::Vocabulary made = [] {
    std::mt19937_64 random(31);
    const std::vector<std::string> atoms{
        "a",  "b",  "c",    "(",    ")",        " ",    "é",        "日",   "\xF0\x9F\x98\x80",
        "\"", "\\", "\xC3", "\xA9", "\xE6\x97", "\xA5", "\xF0\x9F", "\x98", "\n"};
    std::set<std::string> pieces;
    while (pieces.size() < 250) {
      std::string piece;
      for (std::size_t n = 2 + random() % 3; n > 0; --n) piece += atoms[random() % atoms.size()];
      pieces.insert(piece);
    }
    return test::make_vocabulary(pieces);
  }();
  return made;
}

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* given = std::getenv(name);
  return given == nullptr ? otherwise : std::strtoull(given, nullptr, 10);
}

struct Compared {
  std::size_t states = 0, ended = 0, crowded = 0;
};

void compare(const Grammar& grammar, Earley& earley, int root, std::mt19937_64& random, const std::string& source,
             Compared& compared) {
  const model::Vocabulary& v = vocabulary();
  const TokenId stop = *v.control("</s>");
  for (int walk = 0; walk < 4; ++walk) {
    earley.begin(root);
    State state = grammar.start();
    std::string text;
    for (int step = 0; step < 12; ++step) {
      const std::string where = source + "\nafter: " + text;
      const auto allowed = grammar.allowed(state);
      // Of texts that can be read in very many ways some ways are not followed: then less is allowed, never more.
      const bool crowded = grammar.dropped() > 0;
      compared.crowded += crowded ? 1 : 0;
      const bool ends = grammar.complete(state);
      ASSERT_TRUE(ends == earley.whole() || (crowded && !ends)) << where;
      std::vector<TokenId> open;
      for (TokenId id = 0; id < v.size(); ++id) {
        const bool expected = v.is_control(id) ? id == stop && earley.whole() : earley.allows(v.bytes(id));
        if (crowded && !allowed->mask.allowed(id)) continue;
        ASSERT_EQ(allowed->mask.allowed(id), expected) << where << "\ntoken: " << v.bytes(id);
        if (expected) open.push_back(id);
      }
      ++compared.states;
      ASSERT_FALSE(open.empty()) << where;
      const TokenId next = open[random() % open.size()];
      if (next == stop) {
        ++compared.ended;
        break;
      }
      text += v.bytes(next);
      ASSERT_TRUE(earley.read(v.bytes(next)));
      const State after = grammar.advance(state, next);
      ASSERT_EQ(after, grammar.advance(state, v.bytes(next))) << where;
      state = after;
    }
  }
}

TEST(TextGrammarProperty, MasksAreThoseOfEarley) {
  const std::uint64_t seed = setting("LONGHAUL_PROPERTY_SEED", 1);
  const std::uint64_t n = 400 * setting("LONGHAUL_PROPERTY_SCALE", 1);
  RecordProperty("seed", std::to_string(seed));
  std::mt19937_64 random(seed);
  const auto index = TokenIndex::build(vocabulary());
  Compared compared;
  std::size_t compiled = 0;
  for (std::uint64_t round = 0; round < n; ++round) {
    const int n_rules = 1 + static_cast<int>(random() % 4);
    Maker maker(random, n_rules);
    std::vector<Tree> bodies;
    std::string source;
    Earley earley;
    for (int r = 0; r < n_rules; ++r) {
      bodies.push_back(maker.make(3));
      source += (r == 0 ? "root" : "r" + std::to_string(r)) + " ::= " + ebnf(bodies.back(), random) + "\n";
      earley.add_rule();
    }
    auto text = compile_ebnf(source);
    if (!text) {
      const std::string& why = text.error().message;
      const bool expected = why.find("begins with itself") != why.npos || why.find("never ends") != why.npos ||
                            why.find("is never used") != why.npos || why.find("overlap") != why.npos;
      ASSERT_TRUE(expected) << source << why;
      continue;
    }
    for (int r = 0; r < n_rules; ++r) earley.add(r, {reference(bodies[static_cast<std::size_t>(r)], earley)});
    auto grammar = Grammar::for_text(index, *text, {*vocabulary().control("</s>")});
    ASSERT_TRUE(grammar);
    ++compiled;
    compare(**grammar, earley, 0, random, source, compared);
    if (HasFatalFailure()) FAIL() << "LONGHAUL_PROPERTY_SEED=" << seed << ", grammar " << round;
  }
  EXPECT_GT(compiled, n / 12);
  EXPECT_GT(compared.ended, compiled);
  EXPECT_LT(compared.crowded, compared.states / 10);
  std::printf("%zu grammars of %zu, %zu states, %zu texts to their end\n", compiled, static_cast<std::size_t>(n),
              compared.states, compared.ended);
}

TEST(TextGrammarProperty, RegexMasksAreThoseOfEarley) {
  const std::uint64_t seed = setting("LONGHAUL_PROPERTY_SEED", 1);
  const std::uint64_t n = 40 * setting("LONGHAUL_PROPERTY_SCALE", 1);
  RecordProperty("seed", std::to_string(seed));
  std::mt19937_64 random(seed + 1000);
  const auto index = TokenIndex::build(vocabulary());
  Compared compared;
  for (std::uint64_t round = 0; round < n; ++round) {
    const Tree tree = Maker(random, 0).make(3);
    const std::string source = regex(tree);
    auto text = compile_regex(source);
    if (!text && text.error().code == ErrorCode::kResourceExhausted) continue;
    ASSERT_TRUE(text) << source << ": " << text.error().message;
    Earley earley;
    const int root = earley.add_rule();
    earley.add(root, {reference(tree, earley)});
    auto grammar = Grammar::for_text(index, *text, {*vocabulary().control("</s>")});
    ASSERT_TRUE(grammar);
    compare(**grammar, earley, root, random, source, compared);
    if (HasFatalFailure()) FAIL() << "LONGHAUL_PROPERTY_SEED=" << seed << ", pattern " << round;
  }
  EXPECT_GT(compared.ended, n);
}

}  // namespace
}  // namespace longhaul::tools
