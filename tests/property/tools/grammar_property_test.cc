// The automaton against independent readings: masks against one token at a time, accepted texts against the validator,
// messages against themselves cut differently. Every failure prints the seed that makes it.
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>
#include <thread>

#include "model/tokenizer.h"
#include "runtime/base/file.h"
#include "tests/property/tools/random_schema.h"
#include "tests/support/setting.h"
#include "tests/support/test_vocabulary.h"
#include "tools/grammar.h"
#include "tools/message_parser.h"

namespace longhaul::tools {
namespace {

using test::SchemaMaker;

// LONGHAUL_PROPERTY_SCALE multiplies the counts for long runs; LONGHAUL_PROPERTY_SEED moves them elsewhere.
std::uint64_t scale() {
  return std::max<std::uint64_t>(1, testing_support::setting("LONGHAUL_PROPERTY_SCALE", 1));
}
std::uint64_t first_seed() {
  return testing_support::setting("LONGHAUL_PROPERTY_SEED", 1);
}

const model::Vocabulary& small() {
  static const model::Vocabulary vocabulary = test::small_vocabulary();
  return vocabulary;
}
const model::Vocabulary& large() {
  static const model::Vocabulary vocabulary = test::large_vocabulary();
  return vocabulary;
}

TokenId byte_token(const model::Vocabulary& vocabulary, std::uint8_t byte) {
  static std::map<const model::Vocabulary*, std::array<TokenId, 256>> known;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  const auto [found, fresh] = known.try_emplace(&vocabulary);
  for (TokenId id = 0; fresh && id < vocabulary.size(); ++id) {
    const std::string_view bytes = vocabulary.bytes(id);
    if (!vocabulary.is_control(id) && bytes.size() == 1) found->second[static_cast<std::uint8_t>(bytes[0])] = id;
  }
  return found->second[byte];
}

std::vector<TokenId> allowed(const model::TokenMask& mask) {
  std::vector<TokenId> ids;
  for (TokenId id = 0; id < mask.size(); ++id) {
    if (mask.allowed(id)) ids.push_back(id);
  }
  return ids;
}

// Prefers what closes things once a walk has become long.
TokenId choose(SchemaMaker& make, const model::Vocabulary& vocabulary, const model::TokenMask& mask, int step) {
  const std::vector<TokenId> ids = allowed(mask);
  if (ids.empty()) return kNoToken;
  if (step > 30) {
    for (const char c : std::string_view("\"]}0")) {
      const TokenId id = byte_token(vocabulary, static_cast<std::uint8_t>(c));
      if (mask.allowed(id) && make.chance(90)) return id;
    }
  }
  // Bytes and tokens alike, so that strings do not swallow every walk.
  if (make.chance(50)) {
    for (int i = 0; i < 20; ++i) {
      const TokenId id = byte_token(vocabulary, static_cast<std::uint8_t>(make.pick(128)));
      if (mask.allowed(id)) return id;
    }
  }
  return ids[make.pick(ids.size())];
}

struct Made {
  json::value schema;
  std::shared_ptr<const Schema> compiled;
};

// A random schema that some value fits.
Made make_schema(SchemaMaker& make, int depth) {
  for (;;) {
    Made made;
    made.schema = make.schema(depth);
    auto compiled = compile_schema(made.schema);
    if (compiled) {
      made.compiled = *compiled;
      return made;
    }
  }
}

TEST(GrammarProperty, AcceptsExactlyWhatTheValidatorAccepts) {
  std::size_t n_accepted = 0, n_refused = 0;
  for (std::uint64_t seed = first_seed(); seed < first_seed() + 1500 * scale(); ++seed) {
    SchemaMaker make(seed);
    const Made made = make_schema(make, 3);
    auto grammar = Grammar::for_json(model::Vocabulary(), made.compiled);
    ASSERT_TRUE(grammar);
    for (int i = 0; i < 12; ++i) {
      const json::value value = make.near(made.schema, 4);
      const std::string text = make.spell(value);
      const State end = (*grammar)->advance((*grammar)->start(), text);
      const bool accepted = !end.dead() && (*grammar)->complete(end);
      const bool valid = validate(made.schema, value).has_value();
      ASSERT_EQ(accepted, valid) << "seed " << seed << "\n" << to_json(made.schema) << "\n" << text;
      ASSERT_EQ(node_accepts(*made.compiled, made.compiled->root(), value), valid) << "seed " << seed;
      (valid ? n_accepted : n_refused) += 1;
    }
  }
  // The test would be worth little if one side were rare.
  EXPECT_GT(n_accepted, n_refused / 5);
  EXPECT_GT(n_refused, n_accepted / 5);
}

void walk_json(const model::Vocabulary& vocabulary, std::uint64_t seeds, int walks) {
  std::size_t n_complete = 0, n_states = 0;
  for (std::uint64_t seed = first_seed(); seed < first_seed() + seeds; ++seed) {
    SchemaMaker make(seed);
    const Made made = make_schema(make, 3);
    JsonGrammarOptions options;
    options.whitespace = make.chance(50) ? Whitespace::kAny : Whitespace::kBounded;
    if (make.chance(50)) options.string_max = 5 + static_cast<std::uint32_t>(make.pick(4));
    const TokenId stop = *vocabulary.control("<|im_end|>");
    options.stop = {stop};
    auto grammar = Grammar::for_json(vocabulary, made.compiled, options);
    if (!grammar) {  // a pattern asks for longer strings than that
      ASSERT_NE(grammar.error().message.find("above the limit"), std::string::npos);
      continue;
    }
    for (int w = 0; w < walks; ++w) {
      State state = (*grammar)->start();
      std::string text;
      std::vector<State> past;
      for (int step = 0; step < 80; ++step) {
        const auto mask = (*grammar)->mask(state);
        if (make.chance(20)) {
          ASSERT_EQ(*mask, (*grammar)->mask_by_trial(state)) << "seed " << seed << " after " << text << "\n"
                                                             << to_json(made.schema);
          ++n_states;
        }
        ASSERT_EQ(mask->allowed(stop), (*grammar)->complete(state)) << "seed " << seed << " after " << text;
        ASSERT_FALSE(mask->none()) << "a dead end: seed " << seed << " after " << text << "\n" << to_json(made.schema);
        if ((*grammar)->complete(state) && make.chance(60)) break;
        past.push_back(state);
        const TokenId token = choose(make, vocabulary, *mask, step);
        if (token == stop) break;
        state = (*grammar)->advance(state, token);
        ASSERT_FALSE(state.dead());
        text += vocabulary.bytes(token);
      }
      // Going back is an assignment: an old state still means what it meant.
      if (!past.empty()) {
        const State old = past[make.pick(past.size())];
        if (!(*grammar)->mask(old)->none() && make.chance(20)) {
          ASSERT_EQ(*(*grammar)->mask(old), (*grammar)->mask_by_trial(old));
        }
      }
      if (!(*grammar)->complete(state)) continue;
      ++n_complete;
      auto value = parse_json(text);
      if (!value && value.error().message.find("out of range") != std::string::npos) continue;
      ASSERT_TRUE(value) << "seed " << seed << ": " << value.error().message << " in " << text;
      auto valid = validate(made.schema, *value);
      // The validator sees numbers as doubles; what their rounding may change is not a matter of this test.
      if (!valid && text.size() > 0 && text.find_first_of("0123456789") != std::string::npos) {
        const State end = (*grammar)->advance((*grammar)->start(), text);
        ASSERT_FALSE(end.dead());
        bool long_number = false;
        std::size_t digits = 0;
        for (char c : text) {
          digits = (c >= '0' && c <= '9') || c == '.' || c == 'e' || c == 'E' || c == '-' || c == '+' ? digits + 1 : 0;
          long_number = long_number || digits > 15;
        }
        if (long_number || text.find_first_of("eE") != std::string::npos) continue;
      }
      ASSERT_TRUE(valid) << "seed " << seed << ": " << valid.error().message << "\n"
                         << text << "\n"
                         << to_json(made.schema);
    }
  }
  EXPECT_GT(n_complete, seeds);
  EXPECT_GT(n_states, seeds);
  ::testing::Test::RecordProperty("states", static_cast<int>(n_states));
}

TEST(GrammarProperty, MasksEqualTrialsAndWalksAreValidSmall) {
  walk_json(small(), 150 * scale(), 4);
}
TEST(GrammarProperty, MasksEqualTrialsAndWalksAreValidLarge) {
  walk_json(large(), 25 * scale(), 2);
}

// 131,072 tokens, each of which is tried at every state that is looked at.
TEST(GrammarProperty, MasksEqualTrialsOverTheFamilysVocabulary) {
  const std::string path = std::string(LONGHAUL_BINARY_DIR) + "/tekken.json";
  if (!std::filesystem::exists(path)) {
    GTEST_SKIP() << "no build/tekken.json; `python3 scripts/golden/tekken.py build/tekken.json` writes it";
  }
  auto file = read_file(path, 64 << 20);
  ASSERT_TRUE(file);
  auto tokenizer = model::Tokenizer::parse(*file, path);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  ASSERT_EQ((*tokenizer)->vocabulary().size(), 131072U);
  walk_json((*tokenizer)->vocabulary(), 10 * scale(), 2);
}

struct Message {
  std::vector<GrammarTool> tools;
  std::vector<json::value> schemas;
  std::shared_ptr<Grammar> grammar;
};

Message make_message(SchemaMaker& make, const model::Vocabulary& vocabulary, const CallFormat& format) {
  static const char* const names[] = {"calc", "calc_more", "read_file"};
  for (;;) {
    Message message;
    for (std::uint64_t n = 1 + make.pick(3); n > 0; --n) {
      json::object schema;
      schema["type"] = "object";
      json::object properties;
      json::array required;
      for (std::uint64_t k = make.pick(4); k > 0; --k) {
        const std::string key = make.key();
        properties[key] = make.schema(2);
        if (make.chance(40)) required.push_back(json::string(key));
      }
      schema["properties"] = std::move(properties);
      if (!required.empty()) schema["required"] = std::move(required);
      if (make.chance(60)) schema["additionalProperties"] = make.chance(60) ? json::value(false) : make.schema(1);
      message.schemas.emplace_back(std::move(schema));
      auto compiled = compile_schema(message.schemas.back());
      if (!compiled) break;
      message.tools.push_back({names[message.tools.size()], *compiled});
    }
    if (message.tools.size() != message.schemas.size()) continue;
    MessageGrammarOptions options;
    options.stop = {*vocabulary.control("<|im_end|>"), *vocabulary.control("</s>")};
    options.string_max = make.chance(50) ? 8 : kCallStringMax;
    options.parallel_calls = make.chance(70);
    if (make.chance(format.control ? 30 : 80)) options.choice = ToolChoice::kRequired;
    options.format = format;
    auto grammar = Grammar::for_message(vocabulary, message.tools, options);
    if (!grammar) continue;
    message.grammar = *grammar;
    return message;
  }
}

// A token of a message, leaning towards calls and their ends.
TokenId choose_in_message(SchemaMaker& make, const model::Vocabulary& vocabulary, const model::TokenMask& mask,
                          int step) {
  for (const char* name : {"<|im_end|>", "</tool_call>", "<tool_call>", "</think>"}) {
    const TokenId id = *vocabulary.control(name);
    if (mask.allowed(id) && make.chance(step > 60 ? 90 : 20)) return id;
  }
  if (step > 25 && make.chance(85)) {
    // Towards the nearest end: quotes and brackets in JSON, then the terminator.
    for (const char c : std::string_view("\n<\"]}/>0")) {
      const TokenId id = byte_token(vocabulary, static_cast<std::uint8_t>(c));
      if (mask.allowed(id) && make.chance(70)) return id;
    }
  }
  return choose(make, vocabulary, mask, 0);
}

void same(const ParsedMessage& a, const ParsedMessage& b, std::uint64_t seed) {
  ASSERT_EQ(a.reasoning, b.reasoning) << seed;
  ASSERT_EQ(a.content, b.content) << seed;
  ASSERT_EQ(a.calls, b.calls) << seed;
  ASSERT_EQ(a.complete, b.complete) << seed;
  ASSERT_EQ(a.cut_call, b.cut_call) << seed;
}

// Neighbouring pieces of the same text joined.
std::vector<MessageEvent> joined(const std::vector<MessageEvent>& events) {
  std::vector<MessageEvent> result;
  for (const MessageEvent& e : events) {
    const bool joins = e.kind == MessageEvent::Kind::kReasoning || e.kind == MessageEvent::Kind::kContent ||
                       e.kind == MessageEvent::Kind::kValue;
    if (joins && !result.empty() && result.back().kind == e.kind && result.back().call == e.call) {
      result.back().text += e.text;
    } else {
      result.push_back(e);
    }
  }
  return result;
}

void walk_messages(const model::Vocabulary& vocabulary, std::uint64_t seeds,
                   const CallFormat& format = nemotron_format()) {
  std::size_t n_calls = 0;
  auto all_json = [](const std::vector<MessageEvent>& events) {
    std::vector<std::string> texts;
    ArgumentStream stream;
    for (const MessageEvent& event : events) {
      if (event.kind == MessageEvent::Kind::kCallStart) texts.emplace_back();
      const std::string more = stream.push(event);
      if (!more.empty()) texts.back() += more;
    }
    return texts;
  };
  for (std::uint64_t seed = first_seed(); seed < first_seed() + seeds; ++seed) {
    SchemaMaker make(seed + 1'000'000);
    const Message message = make_message(make, vocabulary, format);
    for (int w = 0; w < 3; ++w) {
      const bool thinking = make.chance(40);
      MessageParser parser(message.grammar, thinking);
      std::vector<TokenId> tokens;
      std::vector<MessageEvent> events;
      for (int step = 0; step < 260 && !parser.finished(); ++step) {
        const auto mask = parser.mask();
        if (mask->none()) {
          std::string text;
          for (TokenId token : tokens) text += vocabulary.bytes(token);
          for (const json::value& schema : message.schemas) text += "\n" + to_json(schema);
          FAIL() << "a dead end: seed " << seed << " after " << text;
        }
        if (make.chance(8)) {
          ASSERT_EQ(*mask, message.grammar->mask_by_trial(parser.state())) << "seed " << seed;
        }
        // A random token is accepted exactly if the mask has it.
        const auto random = static_cast<TokenId>(make.pick(vocabulary.size()));
        ASSERT_EQ(parser.allows(random), mask->allowed(random)) << "seed " << seed;
        const TokenId token = choose_in_message(make, vocabulary, *mask, step % 80);
        auto ok = parser.accept(token);
        ASSERT_TRUE(ok) << "seed " << seed << ": " << ok.error().message;
        tokens.push_back(token);
        for (MessageEvent& event : parser.take_events()) events.push_back(std::move(event));
      }
      const ParsedMessage result = parser.result();
      n_calls += result.calls.size();
      for (const ParsedCall& call : result.calls) {
        std::size_t tool = 0;
        while (message.tools[tool].name != call.name) ++tool;
        auto valid = validate(message.schemas[tool], call.arguments);
        ASSERT_TRUE(valid) << "seed " << seed << ": " << valid.error().message << "\n"
                           << to_json(call.arguments) << "\n"
                           << to_json(message.schemas[tool]);
      }
      // The same text, a byte at a time, and cut at random into tokens.
      std::vector<TokenId> bytes;
      for (TokenId token : tokens) {
        if (vocabulary.is_control(token)) {
          bytes.push_back(token);
          continue;
        }
        for (char c : vocabulary.bytes(token)) bytes.push_back(byte_token(vocabulary, static_cast<std::uint8_t>(c)));
      }
      MessageParser again(message.grammar, thinking);
      std::vector<MessageEvent> other;
      for (TokenId token : bytes) {
        ASSERT_TRUE(again.accept(token)) << "seed " << seed;
        for (MessageEvent& event : again.take_events()) other.push_back(std::move(event));
      }
      same(result, again.result(), seed);
      // Pieces that were held back at the end of an unfinished text may differ by what is still pending: none may.
      ASSERT_EQ(joined(events), joined(other)) << "seed " << seed;
      ASSERT_EQ(parser.state(), again.state()) << "seed " << seed;
      // The streamed arguments of a whole call are its arguments.
      const std::vector<std::string> streamed = all_json(events);
      ASSERT_EQ(streamed, all_json(other)) << "seed " << seed;
      for (std::size_t i = 0; i < result.calls.size(); ++i) {
        auto read = parse_json(streamed.at(i));
        ASSERT_TRUE(read) << "seed " << seed << ": " << streamed[i];
        ASSERT_TRUE(json_equal(*read, result.calls[i].arguments)) << "seed " << seed << ": " << streamed[i];
      }
      // Tables without a past give the same mask, and so does a fork that has since gone elsewhere.
      if (w == 0 && !parser.finished()) {
        auto fresh = Grammar::for_message(vocabulary, message.tools, message.grammar->options());
        ASSERT_TRUE(fresh);
        MessageParser replay(*fresh, thinking);
        for (TokenId token : tokens) ASSERT_TRUE(replay.accept(token));
        ASSERT_EQ(*replay.mask(), *parser.mask()) << "seed " << seed;
        MessageParser fork = parser;
        const auto before = *parser.mask();
        for (int i = 0; i < 5 && !fork.finished(); ++i) {
          ASSERT_TRUE(fork.accept(choose_in_message(make, vocabulary, *fork.mask(), 0)));
        }
        ASSERT_EQ(*parser.mask(), before);
        same(parser.result(), result, seed);
      }
    }
  }
  EXPECT_GT(n_calls, seeds / 2);
}

// One grammar, several threads: the masks are those of a grammar that one thread has for itself.
TEST(MessageProperty, ThreadsShareAGrammar) {
  SchemaMaker make(first_seed());
  const Message message = make_message(make, small(), nemotron_format());
  auto own = Grammar::for_message(small(), message.tools, message.grammar->options());
  ASSERT_TRUE(own);
  auto walk = [&](const std::shared_ptr<Grammar>& grammar, std::uint64_t seed) {
    SchemaMaker random(seed);
    std::vector<std::size_t> counts;
    for (int round = 0; round < 10; ++round) {
      MessageParser parser(grammar, random.chance(50));
      for (int step = 0; step < 60 && !parser.finished(); ++step) {
        const auto mask = parser.mask();
        counts.push_back(mask->count());
        if (!parser.accept(choose_in_message(random, small(), *mask, step))) counts.push_back(0);
      }
    }
    return counts;
  };
  std::vector<std::vector<std::size_t>> shared(3);
  std::vector<std::thread> threads;
  for (std::uint64_t i = 0; i < shared.size(); ++i) {
    threads.emplace_back([&, i] { shared[i] = walk(message.grammar, i + 1); });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::uint64_t i = 0; i < shared.size(); ++i) EXPECT_EQ(shared[i], walk(*own, i + 1));
}

TEST(MessageProperty, MasksCallsAndCutsSmall) {
  walk_messages(small(), 250 * scale());
}
TEST(MessageProperty, MasksCallsAndCutsHermes) {
  walk_messages(small(), 80 * scale(), hermes_format());
  walk_messages(large(), 8 * scale(), hermes_format());
}
TEST(MessageProperty, MasksCallsAndCutsOpenAi) {
  walk_messages(small(), 80 * scale(), openai_format());
  walk_messages(large(), 8 * scale(), openai_format());
}
TEST(MessageProperty, MasksCallsAndCutsPythonic) {
  walk_messages(small(), 80 * scale(), pythonic_format());
  walk_messages(large(), 8 * scale(), pythonic_format());
}
TEST(MessageProperty, MasksCallsAndCutsLarge) {
  walk_messages(large(), 20 * scale());
}

}  // namespace
}  // namespace longhaul::tools
