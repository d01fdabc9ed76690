// generate, logits, tokenize, detokenize: the model without chat layout or sessions.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <utility>

#include "model/sampler.h"
#include "runtime/cli/support.h"
#include "runtime/response_format.h"

namespace longhaul::cli {
namespace {

// Tokens a step: what a step holds of them (logits, when all are wanted) stays small, and results do not depend on it.
constexpr std::size_t kChunk = 512;

json::array ids_json(std::span<const model::TokenId> ids) {
  json::array out;
  for (model::TokenId id : ids) out.emplace_back(id);
  return out;
}

// A safetensors file of one F32 tensor (format: 8 bytes of header length, JSON header, data).
class LogitsFile {
 public:
  Result<void> open(const std::string& path, std::int64_t n_rows, std::int64_t n_columns) {
    path_ = path;
    std::string header =
        to_json(json::object{{"logits", json::object{{"dtype", "F32"},
                                                     {"shape", json::array{n_rows, n_columns}},
                                                     {"data_offsets", json::array{0, n_rows * n_columns * 4}}}}});
    while (header.size() % 8 != 0) header.push_back(' ');
    file_.open(path, std::ios::binary | std::ios::trunc);
    std::uint64_t length = header.size();
    file_.write(reinterpret_cast<const char*>(&length), 8);
    file_ << header;
    return status();
  }
  Result<void> append(std::span<const float> values) {
    file_.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size_bytes()));
    return status();
  }
  Result<void> close() {
    file_.close();
    auto ok = status();
    complete_ = ok.has_value();
    return ok;
  }
  // Half a file would be taken for one that is damaged.
  ~LogitsFile() {
    std::error_code ec;
    if (!complete_ && std::filesystem::is_regular_file(path_, ec)) std::filesystem::remove(path_, ec);
  }

 private:
  Result<void> status() {
    if (!file_) return io_error(fmt::format("cannot write {}", path_));
    return {};
  }
  std::string path_;
  std::ofstream file_;
  bool complete_ = false;
};

// What holds the whole text to a form; null: nothing does.
Result<std::shared_ptr<tools::Grammar>> grammar_of(const ResponseOptions& options, const runtime::ModelHost& host) {
  auto format = response_format_of(options);
  if (!format) return format.error();
  if (format->empty()) return std::shared_ptr<tools::Grammar>();
  if (!host.has_tokenizer()) return invalid_argument("a form of the text needs a tokenizer, which the model lacks");
  auto response = runtime::compile_response_format(*format);
  if (!response) return response.error();
  std::vector<model::TokenId> stop;
  for (model::TokenId id : host.stop_tokens()) {
    if (id < host.tokenizer().vocabulary().size()) stop.push_back(id);
  }
  if (response->text) return tools::Grammar::for_text(host.token_index(), response->text, stop);
  tools::JsonGrammarOptions options_of_json;
  options_of_json.whitespace = tools::Whitespace::kBounded;
  options_of_json.call_limits = true;
  options_of_json.stop = stop;
  return tools::Grammar::for_json(host.token_index(), response->schema, options_of_json);
}

}  // namespace

int generate_command(const TextOptions& options) {
  // Ids can be continued without a tokenizer: then ids are what is shown.
  std::error_code ec;
  auto folder = model_folder(options.common);
  if (!folder) return fail(options.common, folder.error());
  const bool ids_only = options.has_tokens && !std::filesystem::exists(*folder + "/tokenizer.json", ec);
  auto host = load_model(options.common, ids_only ? runtime::ModelUse::kTokens : runtime::ModelUse::kText);
  if (!host) return fail(options.common, host.error());
  model::Engine& engine = (*host)->engine();
  std::vector<model::TokenId> tokens;
  if (options.has_tokens) {
    auto ids = parse_ids(options.tokens);
    if (!ids) return fail(options.common, ids.error());
    tokens = *ids;
  } else {
    auto text = text_or_stdin(options.text, std::size_t{64} << 20);
    if (!text) return fail(options.common, text.error());
    tokens = (*host)->tokenizer().encode(*text);
    if (tokens.empty()) tokens.push_back((*host)->config().bos_token);
  }
  model::SamplingOptions sampling;
  sampling.temperature = options.temperature;
  sampling.top_p = options.top_p;
  sampling.top_k = options.top_k;
  sampling.seed = options.seed;
  if (auto ok = model::check(sampling); !ok) return fail(options.common, ok.error());

  auto grammar = grammar_of(options.response, **host);
  if (!grammar) return fail(options.common, grammar.error());
  tools::State at = *grammar ? (*grammar)->start() : tools::State{};

  model::SequenceState state(engine.layout());
  std::vector<model::TokenId> next, generated;
  if (options.max_tokens > 0) {
    // All but the last token first, in pieces, so that a long prompt shows how far it is.
    Progress progress("reading the prompt", Progress::Unit::kTokens);
    for (std::size_t at = 0; at + 1 < tokens.size(); at += kChunk) {
      const auto part = std::span(std::as_const(tokens)).subspan(at, std::min(kChunk, tokens.size() - 1 - at));
      const model::SequenceStep step{.state = &state, .tokens = part, .wanted = model::LogitsWanted::kNone, .rows = {}};
      if (auto read = engine.step({&step, 1}); !read) return fail(options.common, read.error());
      progress.update(at + part.size(), tokens.size());
    }
  }
  next = {tokens.back()};
  model::Utf8Stream text;
  std::string whole;
  const auto& stops = (*host)->stop_tokens();
  std::string finish = "length";
  for (std::int64_t draw = 0; draw < options.max_tokens; ++draw) {
    // As in a trajectory: a token without alternative is read with the next ones.
    std::shared_ptr<const tools::AllowedTokens> allowed;
    if (*grammar) allowed = (*grammar)->allowed(at);
    if (allowed && allowed->few && allowed->ids.empty()) {  // the text is whole, and the model has no token to end it
      finish = "stop";
      break;
    }
    Result<model::TokenId> token = allowed && allowed->ids.size() == 1 ? allowed->ids[0] : model::TokenId{0};
    if (!allowed || allowed->ids.size() != 1) {
      const model::SequenceStep step{
          .state = &state,
          .tokens = next,
          .wanted = model::LogitsWanted::kLast,
          .rows = allowed ? std::span<const model::TokenId>(allowed->ids) : std::span<const model::TokenId>()};
      auto result = engine.step({&step, 1});
      if (!result) return fail(options.common, result.error());
      next.clear();
      std::span<const float> logits = result->front().logits;
      if (allowed) logits = logits.first(allowed->mask.size());
      token = model::sample(logits, allowed ? &allowed->mask : nullptr, tokens, sampling,
                            static_cast<std::uint64_t>(draw), allowed ? allowed->ids : std::vector<model::TokenId>());
    }
    if (!token) return fail(options.common, token.error());
    if (*grammar) at = (*grammar)->advance(at, *token);
    generated.push_back(*token);
    tokens.push_back(*token);
    next.push_back(*token);
    const bool stop = std::binary_search(stops.begin(), stops.end(), *token);
    std::string piece;
    if (ids_only) {
      piece = fmt::format("{}{}", generated.size() > 1 ? "," : "", *token);
    } else if (auto bytes = (*host)->tokenizer().decode({&*token, 1}, true)) {  // rows past the vocabulary have no text
      piece = text.push(*bytes);
    }
    if (options.common.json) {
      whole += piece;
    } else if (!stop || ids_only) {
      fmt::print("{}", ::isatty(STDOUT_FILENO) == 1 ? printable(piece) : piece);
      std::fflush(stdout);
    }
    if (stop) {
      finish = "stop";
      break;
    }
  }
  if (options.common.json) {
    json::object line{{"tokens", ids_json(generated)}, {"finish", finish}};
    if (!ids_only) line.emplace("text", whole + text.flush());
    print_json(line);
  } else {
    fmt::print("{}\n", text.flush());
  }
  return kExitDone;
}

int logits_command(const TextOptions& options) {
  auto ids = parse_ids(options.tokens);
  if (!ids) return fail(options.common, ids.error());
  auto host = load_model(options.common, runtime::ModelUse::kTokens);
  if (!host) return fail(options.common, host.error());
  model::Engine& engine = (*host)->engine();
  const std::size_t chunk = options.chunk > 0 ? static_cast<std::size_t>(options.chunk) : kChunk;
  LogitsFile file;
  auto ok = file.open(options.out, static_cast<std::int64_t>(ids->size()), (*host)->config().vocab_size);
  if (!ok) return fail(options.common, ok.error());
  model::SequenceState state(engine.layout());
  Progress progress("computing logits", Progress::Unit::kTokens);
  for (std::size_t at = 0; at < ids->size(); at += chunk) {
    const std::span<const model::TokenId> part = std::span(*ids).subspan(at, std::min(chunk, ids->size() - at));
    const model::SequenceStep step{.state = &state, .tokens = part, .wanted = model::LogitsWanted::kAll, .rows = {}};
    auto result = engine.step({&step, 1});
    if (!result) return fail(options.common, result.error());
    if (ok = file.append(result->front().logits); !ok) return fail(options.common, ok.error());
    progress.update(at + part.size(), ids->size());
  }
  if (ok = file.close(); !ok) return fail(options.common, ok.error());
  if (options.common.json) {
    print_json({{"file", options.out}, {"tokens", ids->size()}, {"vocab", (*host)->config().vocab_size}});
  } else {
    fmt::print("{}: logits [{}, {}]\n", options.out, ids->size(), (*host)->config().vocab_size);
  }
  return kExitDone;
}

int tokenize_command(const TextOptions& options) {
  auto tokenizer = load_tokenizer(options.common);
  if (!tokenizer) return fail(options.common, tokenizer.error());
  auto text = text_or_stdin(options.text, std::size_t{64} << 20);
  if (!text) return fail(options.common, text.error());
  const std::vector<model::TokenId> ids = (*tokenizer)->encode(*text);
  if (options.common.json) {
    print_json({{"tokens", ids_json(ids)}});
  } else {
    fmt::print("{}\n", fmt::join(ids, ","));
  }
  return kExitDone;
}

int detokenize_command(const TextOptions& options) {
  auto ids = parse_ids(options.tokens);
  if (!ids) return fail(options.common, ids.error());
  auto tokenizer = load_tokenizer(options.common);
  if (!tokenizer) return fail(options.common, tokenizer.error());
  auto text = (*tokenizer)->decode(*ids, true);
  if (!text) return fail(options.common, text.error());
  if (options.common.json) {
    model::Utf8Stream clean;
    print_json({{"text", clean.push(*text) + clean.flush()}});
  } else {
    // To a file or pipe go the exact bytes.
    const std::string out = ::isatty(STDOUT_FILENO) == 1 ? printable(*text) : *text;
    std::fwrite(out.data(), 1, out.size(), stdout);
    std::fputc('\n', stdout);
  }
  return kExitDone;
}

}  // namespace longhaul::cli
