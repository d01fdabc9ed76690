// Times of the grammar: masks by the kind of state, cold (first visit) and cached, accepting, compiling, and masks
// along random texts of users' grammars.
//
//   grammar_states_bench [TOKENS]
//
// TOKENS: a file with one token a line, hexadecimal bytes; default: a synthetic vocabulary of 131,072 tokens made like
// a large BPE one (words with and without a leading space, digits, punctuation runs, UTF-8 pieces). Estimate before
// measuring: a full walk of a 131,072-token trie visits ~270,000 nodes; most are refused or accepted in a few ns, so ~3
// ms a cold mask where everything is open (free text is a copy: 16 KiB, under 1 us), ~50 us inside strings (the
// residual trie only), ~10 us where a handful of bytes is open.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tools/grammar.h"
#include "tools/message_parser.h"
#include "tools/text_grammar.h"

using namespace longhaul;
using namespace longhaul::tools;
using Clock_ = std::chrono::steady_clock;

namespace {

model::Vocabulary synthetic() {
  std::vector<model::Vocabulary::Token> tokens;
  for (const char* name :
       {"<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>"}) {
    tokens.push_back({name, true});
  }
  for (int byte = 0; byte < 256; ++byte) tokens.push_back({std::string(1, static_cast<char>(byte)), false});
  std::mt19937_64 random(3);
  std::set<std::string> pieces;
  const std::string letters = "etaoinshrdlucmfwypvbgkjqxz";
  const std::string marks = "\"'\\,.:;()[]{}<>/=+-*_#$%&!?|@~^`\n\t ";
  while (pieces.size() < 131'072 - tokens.size()) {
    std::string piece = random() % 2 == 0 ? " " : "";
    const auto kind = random() % 100;
    std::size_t n = 2 + random() % 9;
    if (kind < 88) {
      if (random() % 6 == 0) piece += static_cast<char>('A' + random() % 26);
      while (n-- > 0) piece += letters[std::min(random() % 26, random() % 26)];
    } else if (kind < 94) {
      for (n = 1 + random() % 4; n > 0; --n) piece += marks[random() % marks.size()];
    } else {
      for (n = 1 + random() % 3; n > 0; --n) {
        piece += static_cast<char>(0xE3 + random() % 6);
        piece += static_cast<char>(0x80 + random() % 64);
        if (random() % 5 != 0) piece += static_cast<char>(0x80 + random() % 64);
      }
    }
    if (piece.size() > 1) pieces.insert(piece);
  }
  for (const std::string& piece : pieces) tokens.push_back({piece, false});
  return model::Vocabulary(std::move(tokens));
}

model::Vocabulary from_file(const char* path) {
  std::vector<model::Vocabulary::Token> tokens;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    std::string bytes;
    for (std::size_t i = 0; i + 1 < line.size(); i += 2)
      bytes += static_cast<char>(std::stoi(line.substr(i, 2), nullptr, 16));
    const bool control = tokens.size() < 1000 && bytes.size() > 2 && bytes.front() == '<' && bytes.back() == '>';
    tokens.push_back({bytes, control});
  }
  return model::Vocabulary(std::move(tokens));
}

double us(Clock_::duration d) {
  return std::chrono::duration<double, std::micro>(d).count();
}

// Control tokens by name, the rest a byte at a time.
State reach(const Grammar& grammar, State state, std::string_view text) {
  const model::Vocabulary& v = grammar.vocabulary();
  while (!text.empty()) {
    bool control = false;
    for (const char* name : {"<tool_call>", "</tool_call>", "</think>"}) {
      if (!text.starts_with(name)) continue;
      state = grammar.advance(state, *v.control(name));
      text.remove_prefix(std::string_view(name).size());
      control = true;
      break;
    }
    if (control) continue;
    state = grammar.advance(state, static_cast<std::uint8_t>(text[0]));
    text.remove_prefix(1);
  }
  return state;
}

// Many tools, from their schemas' JSON to the first mask: as structural tags, and in the default call format.
void many_tools(std::shared_ptr<const TokenIndex> index, const MessageGrammarOptions& options) {
  constexpr int kTools = 128, kRepeats = 9;
  std::vector<json::value> schemas;
  for (int i = 0; i < kTools; ++i) {
    const std::string n = std::to_string(i);
    schemas.push_back(*parse_json(
        R"({"type":"object","properties":{"path_)" + n +
        R"(":{"type":"string","description":"which"},"limit":{"type":)"
        R"("integer","minimum":1,"maximum":1000},"mode":{"enum":["read","write","mode_)" +
        n +
        R"("]},"tags":{"type":)"
        R"("array","items":{"type":"string"},"maxItems":10},"since":{"type":"string","format":"date"},"where":{"type":)"
        R"("object","properties":{"field_)" +
        n +
        R"(":{"type":"string"},"value":{"type":["string","number","null"]}},)"
        R"("required":["value"],"additionalProperties":false}},"required":["path_)" +
        n +
        R"("],)"
        R"("additionalProperties":false})"));
  }
  for (const bool tags : {true, false}) {
    std::vector<double> compile, made, mask;
    for (int round = 0; round < kRepeats; ++round) {
      auto begin = Clock_::now();
      std::vector<StructuralTag> all;
      std::vector<GrammarTool> tools;
      for (int i = 0; i < kTools; ++i) {
        const std::string name = "tool_" + std::to_string(i);
        auto schema = *compile_schema(schemas[static_cast<std::size_t>(i)]);
        if (tags) {
          all.push_back({"<function=" + name + ">", std::move(schema), "</function>"});
        } else {
          tools.push_back({name, std::move(schema)});
        }
      }
      compile.push_back(us(Clock_::now() - begin));
      begin = Clock_::now();
      const auto grammar =
          tags ? *Grammar::for_tags(index, all, {"<function="}, options) : *Grammar::for_message(index, tools, options);
      made.push_back(us(Clock_::now() - begin));
      begin = Clock_::now();
      grammar->mask(grammar->start());
      mask.push_back(us(Clock_::now() - begin));
    }
    for (std::vector<double>* times : {&compile, &made, &mask}) std::sort(times->begin(), times->end());
    std::printf("%d tools as %s: schemas %.2f ms, grammar %.2f ms, first mask %.3f ms (medians of %d)\n", kTools,
                tags ? "structural tags" : "calls", compile[kRepeats / 2] / 1000, made[kRepeats / 2] / 1000,
                mask[kRepeats / 2] / 1000, kRepeats);
  }
}

// Of this thread.
double processor_us() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) * 1e-3;
}

// Masks along random texts of users' grammars, of processor time: every text with a grammar of its own, so that the
// first masks count, and every token drawn from the ones allowed.
void user_grammars(const std::shared_ptr<const TokenIndex>& index) {
  constexpr int kTexts = 20;
  constexpr std::size_t kTokens = 60;
  const struct {
    const char* name;
    bool ebnf;
    const char* text;
  } grammars[] = {
      {"expressions", true,
       R"g(root ::= sum
sum ::= product (("+" | "-") product)*
product ::= factor (("*" | "/") factor)*
factor ::= [0-9]+ ("." [0-9]+)? | [a-z] [a-z0-9_]* | "(" sum ")")g"},
      {"statements", true,
       R"g(root ::= (statement "\n")+
statement ::= "let " name " = " value | "print " value | "if " value ": " statement
name ::= [a-zA-Z_] [a-zA-Z0-9_]{0,20}
value ::= name | [0-9]{1,9} | "\"" [^"\n]* "\"" | "[" (value (", " value)*)? "]")g"},
      {"table", true,
       R"g(root ::= row{1,50}
row ::= cell ("," cell){2} "\n"
cell ::= [^,"\n]* | "\"" ([^"] | "\"\"")* "\"")g"},
      {"list", true, R"g(root ::= ("- " [^\n]{1,200} "\n")+)g"},
      {"date and time", false, R"g(\d{4}-(0[1-9]|1[0-2])-\d{2}T([01]\d|2[0-3]):[0-5]\d(\.\d{1,6})?Z)g"},
      {"addresses", false, R"g([a-z0-9._-]{1,30}@([a-z0-9-]{1,20}\.){1,3}[a-z]{2,6})g"},
      {"words", false, R"g([A-Z][a-z]+( [a-z]+){5,40}[.!?])g"},
  };
  std::printf("%-22s %7s %10s %10s %10s %10s\n", "masks of user grammars", "n", "p50 us", "p99 us", "max us",
              "mean us");
  std::vector<double> empty;
  for (int i = 0; i < 1000; ++i) {
    const double begin = processor_us();
    empty.push_back(processor_us() - begin);
  }
  std::sort(empty.begin(), empty.end());
  std::vector<double> all;
  const auto row = [](const char* name, std::vector<double> us) {
    std::sort(us.begin(), us.end());
    double sum = 0;
    for (const double one : us) sum += one;
    std::printf("%-22s %7zu %10.2f %10.1f %10.1f %10.2f\n", name, us.size(), us[us.size() / 2],
                us[us.size() * 99 / 100], us.back(), sum / static_cast<double>(us.size()));
  };
  std::mt19937_64 random(5);
  for (const auto& grammar : grammars) {
    const auto text = grammar.ebnf ? compile_ebnf(grammar.text) : compile_regex(grammar.text);
    if (!text) {
      std::fprintf(stderr, "%s: %s\n", grammar.name, text.error().message.c_str());
      std::exit(1);
    }
    std::vector<double> us;
    for (int i = 0; i < kTexts; ++i) {
      const auto made = Grammar::for_text(index, *text);
      State state = (*made)->start();
      for (std::size_t n = 0; n < kTokens; ++n) {
        const double begin = processor_us();
        const auto allowed = (*made)->allowed(state);
        us.push_back(std::max(0.0, processor_us() - begin - empty[500]));
        if (allowed->mask.none()) break;
        TokenId token = 0;
        if (allowed->few) {
          token = allowed->ids[random() % allowed->ids.size()];
        } else {
          do token = static_cast<TokenId>(random() % allowed->mask.size());
          while (!allowed->mask.allowed(token));
        }
        state = (*made)->advance(state, token);
      }
    }
    row(grammar.name, us);
    all.insert(all.end(), us.begin(), us.end());
  }
  row("all", all);
}

}  // namespace

int main(int argc, char** argv) {
  const model::Vocabulary vocabulary = argc > 1 ? from_file(argv[1]) : synthetic();
  const std::string schema_text =
      R"({"type":"object","properties":{"path":{"type":"string"},"count":{"type":"integer"},"short":{"type":"string","maxLength":100000},"mode":{"enum":["read","write","append"]},"options":{"type":"object","properties":{"deep":{"type":"array","items":{"type":"string"}},"flag":{"type":"boolean"}},"additionalProperties":{"type":"number"}}},"required":["path"],"additionalProperties":false})";
  const json::value schema = *parse_json(schema_text);
  constexpr int kRepeats = 15;
  std::vector<double> compile;
  std::shared_ptr<const Schema> compiled;
  for (int i = 0; i < kRepeats; ++i) {
    const auto begin = Clock_::now();
    compiled = *compile_schema(schema);
    compile.push_back(us(Clock_::now() - begin));
  }
  std::sort(compile.begin(), compile.end());
  MessageGrammarOptions options;
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    if (vocabulary.is_control(id) && vocabulary.bytes(id) == "<|im_end|>") options.stop = {id};
  }
  auto begin = Clock_::now();
  const auto index = TokenIndex::build(vocabulary);
  const double indexed = us(Clock_::now() - begin);
  auto make = [&] {
    auto made = Grammar::for_message(index, {{"open", compiled}, {"close", compiled}}, options);
    if (!made) {
      std::fprintf(stderr, "%s\n", made.error().message.c_str());
      std::exit(1);
    }
    return *made;
  };
  begin = Clock_::now();
  auto first = make();
  const double load = us(Clock_::now() - begin);
  std::printf(
      "vocabulary of %zu tokens, indexed in %.0f ms; schema compiled in %.1f us (median of %d), grammar of two tools "
      "in %.1f us\n",
      vocabulary.size(), indexed / 1000, compile[compile.size() / 2], kRepeats, load);

  const std::string call = "<tool_call>\n<function=open>\n";
  const struct {
    const char* name;
    std::string text;
    bool thinking;
  } places[] = {{"reasoning", "hm", true},
                {"content", "Well", false},
                {"call opened", "<tool_call>", false},
                {"function name", "<tool_call>\n<function=", false},
                {"parameter or end", call, false},
                {"parameter name", call + "<parameter=", false},
                {"raw string", call + "<parameter=path>\nab", false},
                {"raw string, line end", call + "<parameter=path>\nab\n", false},
                {"raw string, bounded", call + "<parameter=short>\nab", false},
                {"raw set", call + "<parameter=mode>\n", false},
                {"integer", call + "<parameter=count>\n12", false},
                {"object, key", call + "<parameter=options>\n{\"", false},
                {"object, free key", call + "<parameter=options>\n{\"zz", false},
                {"string in a list", call + "<parameter=options>\n{\"deep\": [\"ab", false}};
  std::printf("%-22s %10s %12s %12s %12s\n", "state", "allowed", "cold us", "cached us", "accept us");
  auto grammar = first;
  for (const auto& place : places) {
    std::vector<double> cold;
    State state;
    for (int i = 0; i < 5; ++i) {
      grammar = make();
      state = reach(*grammar, grammar->start(place.thinking), place.text);
      begin = Clock_::now();
      grammar->mask(state);
      cold.push_back(us(Clock_::now() - begin));
    }
    std::sort(cold.begin(), cold.end());
    constexpr int kCached = 20'000;
    std::size_t n = 0;
    begin = Clock_::now();
    for (int i = 0; i < kCached; ++i) n += grammar->mask(state)->size();
    const double cached = us(Clock_::now() - begin) / kCached;
    const auto mask = grammar->mask(state);
    std::vector<TokenId> allowed;
    for (TokenId id = 0; id < mask->size() && allowed.size() < 1000; ++id) {
      if (mask->allowed(id)) allowed.push_back(id);
    }
    begin = Clock_::now();
    for (int i = 0; i < kCached; ++i)
      n += grammar->advance(state, allowed[static_cast<std::size_t>(i) % allowed.size()]).id;
    const double accept = us(Clock_::now() - begin) / kCached;
    std::printf("%-22s %10zu %12.1f %12.3f %12.3f\n", place.name, mask->count(), cold[cold.size() / 2], cached, accept);
    if (n == 0) return 1;
  }
  many_tools(index, options);
  user_grammars(index);
  return 0;
}
