// What holding a model to a grammar costs, end to end: tokens a second (of processor time, one thread) of the same
// decode loop without a grammar, with one that masks every draw, and as the runtime does it (only the rows of the
// output matrix that are allowed, no step for a token without alternative), with the masks made here or meanwhile by
// another thread. The modes take turns in every round, each
// round with a grammar that has not been used before, so the first masks are paid for. Estimate before it was written:
// a mask that is cached costs about 1 us and one that is not up to 1 ms, of which a message needs some dozens; a step
// of pico takes about 200 us, one with 131,072 rows of the output matrix some ms.
//
// constraint_bench [MODEL] [TOKENS=300] [ROUNDS=9] [bounded]; scripts/bench_grammar/wide_model.py makes models with
// the large vocabulary, and with long layers.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/sampler.h"
#include "runtime/base/json.h"
#include "runtime/constrained_draw.h"
#include "runtime/model_host.h"
#include "tools/message_parser.h"

namespace longhaul::runtime {
namespace {

using NamedSchema = std::pair<const char*, const char*>;

// The shipped tools' kind of parameters.
constexpr NamedSchema kPlain[] = {
    {"calc", R"({"type":"object","properties":{"expression":{"type":"string"}},"required":["expression"],
      "additionalProperties":false})"},
    {"kv_put", R"({"type":"object","properties":{"key":{"type":"string"},"value":{"type":"string"}},
      "required":["key","value"],"additionalProperties":false})"},
    {"write_file", R"({"type":"object","properties":{"path":{"type":"string"},"content":{"type":"string"}},
      "required":["path","content"],"additionalProperties":false})"},
    {"convert", R"({"type":"object","properties":{"value":{"type":"number"},"from":{"type":"string"},
      "to":{"type":"string"}},"required":["value","from","to"],"additionalProperties":false})"}};
// The hardest: strings that are always near their bound, where masks are made for every length.
constexpr NamedSchema kBounded[] = {
    {"edit_file", R"({"type":"object","properties":{"path":{"type":"string","maxLength":40},
      "mode":{"enum":["append","replace","create"]},"line":{"type":"integer","minimum":0,"maximum":100000},
      "text":{"type":"string","maxLength":120},
      "tags":{"type":"array","items":{"type":"string","maxLength":16},"maxItems":4}},
      "required":["path","mode","text"],"additionalProperties":false})"},
    {"search", R"({"type":"object","properties":{"query":{"type":"string","minLength":3,"maxLength":60},
      "limit":{"type":"integer","minimum":1,"maximum":50},"deep":{"type":"boolean"},
      "range":{"type":"object","properties":{"from":{"type":"number"},"to":{"type":"number"}},
      "required":["from","to"],"additionalProperties":false}},"required":["query"],"additionalProperties":false})"}};

enum class Mode { kFree, kMasked, kHere, kRuntime };
constexpr std::size_t kModes = 4;
constexpr const char* kNames[] = {"no grammar", "every draw masked", "runtime, none ahead", "as the runtime does"};

struct Timing {
  double tokens_per_s = 0;
  std::size_t n_asked = 0;  // tokens for which the model was asked
  double held_up = 0;       // seconds of the wall clock that drawing stood still for masks
  double held_up_max = 0;   // at one token
};

// Of the processor, for this thread: what passes on an idle machine, and others on a busy one do not count.
double processor_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Result<std::shared_ptr<tools::Grammar>> make_grammar(const ModelHost& host, std::span<const NamedSchema> schemas) {
  std::vector<tools::GrammarTool> tools;
  for (const auto& [name, text] : schemas) {
    auto document = parse_json(text);
    if (!document) return document.error();
    auto schema = tools::compile_schema(*document);
    if (!schema) return schema.error();
    tools.push_back({name, *schema});
  }
  tools::MessageGrammarOptions options;
  options.choice = tools::ToolChoice::kRequired;
  for (const model::TokenId stop : host.stop_tokens()) {
    if (stop < host.tokenizer().vocabulary().size()) options.stop.push_back(stop);
  }
  return tools::Grammar::for_message(host.token_index(), tools, options);
}

Result<Timing> decode(ModelHost& host, std::span<const NamedSchema> schemas, Mode mode, std::size_t n_tokens,
                      std::uint64_t seed) {
  model::Engine& engine = host.engine();
  const std::size_t vocabulary = host.tokenizer().vocabulary().size();
  model::SamplingOptions sampling;
  sampling.temperature = 1;
  sampling.seed = seed;
  model::SequenceState state(engine.layout());
  std::vector<model::TokenId> tokens =
      host.tokenizer().encode("The next thing to do is to edit the file, and then to look for it.");
  const model::SequenceStep prompt{.state = &state, .tokens = tokens, .wanted = model::LogitsWanted::kNone, .rows = {}};
  if (auto read = engine.step({&prompt, 1}); !read) return read.error();
  std::vector<model::TokenId> next{tokens.back()};
  Timing timing;
  double start = processor_seconds();
  std::shared_ptr<tools::Grammar> grammar;
  std::optional<tools::MessageParser> parser;
  if (mode != Mode::kFree) {
    auto made = make_grammar(host, schemas);
    if (!made) return made.error();
    grammar = std::move(*made);
    parser.emplace(grammar, false);
  }
  std::chrono::nanoseconds layers{0};
  for (std::size_t draw = 0; draw < n_tokens; ++draw) {
    std::shared_ptr<NextTokens> allowed;
    double held_up = 0;
    const auto hold = [&](const auto& work) {
      const double begin = wall_seconds();
      work();
      held_up += wall_seconds() - begin;
    };
    if (parser) {
      if (parser->finished()) parser.emplace(grammar, false);
      hold([&] {
        allowed =
            mode == Mode::kMasked
                ? std::make_shared<NextTokens>(parser->allowed())
                : allowed_before_draw(*parser, sampling, mode == Mode::kRuntime ? host.mask_ahead() : nullptr, layers);
      });
    }
    const bool sparse = mode == Mode::kHere || mode == Mode::kRuntime;
    const bool no_choice = sparse && allowed->known() && allowed->get().ids.size() == 1;
    Result<model::TokenId> token = no_choice ? allowed->get().ids[0] : model::TokenId{0};
    if (!no_choice) {
      model::SequenceStep step{.state = &state, .tokens = next};
      if (sparse) {
        const auto begun = std::chrono::steady_clock::now();
        step.rows_later = [&, begun] {
          if (next.size() == 1) layers = std::chrono::steady_clock::now() - begun;
          if (!allowed->known()) {
            const double asked = wall_seconds(), used = processor_seconds();
            hold([&] { allowed->get(); });
            const std::chrono::duration<double> waited(wall_seconds() - asked);
            // Waiting for the other thread is time too.
            start -= std::max(0.0, waited.count() - (processor_seconds() - used));
            host.mask_ahead()->settle(allowed->cost(), std::chrono::duration_cast<std::chrono::nanoseconds>(waited));
          }
          return std::span<const model::TokenId>(allowed->get().ids);
        };
      }
      auto result = engine.step({&step, 1});
      if (!result) return result.error();
      next.clear();
      ++timing.n_asked;
      const std::span<const float> logits = std::span<const float>(result->front().logits).first(vocabulary);
      token = sparse ? draw_allowed(*parser, allowed->get(), logits, tokens, sampling, draw)
                     : model::sample(logits, allowed ? &allowed->get().mask : nullptr, tokens, sampling, draw);
    }
    if (!token) return token.error();
    if (parser) {
      if (auto ok = parser->accept(*token); !ok) return ok.error();
      parser->take_events();
    }
    tokens.push_back(*token);
    next.push_back(*token);
    timing.held_up += held_up;
    timing.held_up_max = std::max(timing.held_up_max, held_up);
  }
  timing.tokens_per_s = static_cast<double>(n_tokens) / (processor_seconds() - start);
  return timing;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

Result<void> run(const std::string& folder, std::span<const NamedSchema> schemas, std::size_t n_tokens,
                 std::size_t n_rounds) {
  ModelOptions options;
  options.folder = folder;
  options.use = ModelUse::kText;
  auto host = ModelHost::load(options, [](std::uint64_t, std::uint64_t) {});
  if (!host) return host.error();
  (*host)->token_index();  // once a model, not once a session
  std::vector<double> speed[kModes], share[kModes], held_up[kModes], held_up_max[kModes];
  std::size_t asked[kModes] = {};
  for (std::size_t round = 0; round < n_rounds + 1; ++round) {
    double rate[kModes];
    for (std::size_t k = 0; k < kModes; ++k) {
      const std::size_t mode = (k + round) % kModes;
      auto timing = decode(**host, schemas, static_cast<Mode>(mode), n_tokens, round);
      if (!timing) return timing.error();
      rate[mode] = timing->tokens_per_s;
      if (round == 0) continue;
      asked[mode] += timing->n_asked;
      held_up[mode].push_back(timing->held_up / static_cast<double>(n_tokens));
      held_up_max[mode].push_back(timing->held_up_max);
    }
    if (round == 0) continue;  // warms caches of the machine
    for (std::size_t mode = 0; mode < kModes; ++mode) {
      speed[mode].push_back(rate[mode]);
      share[mode].push_back(rate[mode] / rate[0]);
    }
  }
  fmt::print("{}, vocabulary {}, {} on one thread, {} rounds of {} tokens\n", (*host)->folder(),
             (*host)->tokenizer().vocabulary().size(), (*host)->engine().kernels(), n_rounds, n_tokens);
  for (std::size_t mode = 0; mode < kModes; ++mode) {
    const auto [low, high] = std::minmax_element(speed[mode].begin(), speed[mode].end());
    const auto [least, most] = std::minmax_element(share[mode].begin(), share[mode].end());
    fmt::print(
        "{:<20} {:8.0f} tokens/s ({:.0f} to {:.0f}); of no grammar {:6.1f} % ({:.1f} to {:.1f}); asked for {:.1f} %; "
        "held up by masks {:.1f} us a token, {:.0f} us at most\n",
        kNames[mode], median(speed[mode]), *low, *high, 100 * median(share[mode]), 100 * *least, 100 * *most,
        100.0 * static_cast<double>(asked[mode]) / static_cast<double>(n_tokens * n_rounds),
        1e6 * median(held_up[mode]), 1e6 * median(held_up_max[mode]));
  }
  return {};
}

}  // namespace
}  // namespace longhaul::runtime

int main(int argc, char** argv) {
  const auto number = [&](int i, std::size_t otherwise) {
    return argc > i ? std::max<std::size_t>(1, static_cast<std::size_t>(std::strtoull(argv[i], nullptr, 10)))
                    : otherwise;
  };
  const auto done =
      longhaul::runtime::run(argc > 1 ? argv[1] : "",
                             argc > 4 && std::string_view(argv[4]) == "bounded"
                                 ? std::span<const longhaul::runtime::NamedSchema>(longhaul::runtime::kBounded)
                                 : longhaul::runtime::kPlain,
                             number(2, 300), number(3, 9));
  if (!done) {
    fmt::print(stderr, "constraint_bench: {}\n", done.error().message);
    return 1;
  }
  return 0;
}
