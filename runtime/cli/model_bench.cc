// `longhaul model bench`: prefill and decode in tokens per second, beside the bound measured in the same run.
//
// Bounds. Decode reads every active weight once a step: bytes / read bandwidth of this machine. Prefill does two flops
// a weight and token: flops / the rate of a fused-multiply-add loop that stays in registers.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <thread>

#include "model/sampler.h"
#include "runtime/base/clock.h"
#include "runtime/cli/support.h"

namespace longhaul::cli {
namespace {

struct Sample {
  double median = 0, low = 0, high = 0;
};

Sample summarise(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}

double seconds_since(std::int64_t start_ns) {
  return static_cast<double>(system_clock().monotonic_ns() - start_ns) * 1e-9;
}

// Bytes a second that one pass over a buffer far larger than the caches reaches, all threads together.
double read_bandwidth(int n_threads) {
  const std::size_t words = std::size_t{16} << 20;  // 128 MiB a thread
  std::vector<std::vector<std::uint64_t>> buffers(static_cast<std::size_t>(n_threads));
  for (auto& buffer : buffers) buffer.assign(words, 1);
  std::vector<double> rates;
  std::vector<std::uint64_t> sums(buffers.size());
  for (int round = 0; round < 3; ++round) {
    const std::int64_t start = system_clock().monotonic_ns();
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < buffers.size(); ++t) {
      threads.emplace_back([&, t] {
        std::uint64_t a = 0, b = 0, c = 0, d = 0;
        const std::uint64_t* p = buffers[t].data();
        for (std::size_t i = 0; i < words; i += 4) {
          a += p[i];
          b += p[i + 1];
          c += p[i + 2];
          d += p[i + 3];
        }
        sums[t] = a + b + c + d;
      });
    }
    for (auto& thread : threads) thread.join();
    rates.push_back(static_cast<double>(buffers.size() * words * 8) / seconds_since(start));
  }
  // The sums keep the loop from being removed.
  if (std::accumulate(sums.begin(), sums.end(), std::uint64_t{0}) == 0) return 0;
  return *std::max_element(rates.begin(), rates.end());
}

// Weights that one decoded token reads: everything but the input embedding and the experts not chosen.
std::uint64_t active_bytes(const model::Checkpoint& checkpoint) {
  const model::ModelConfig& config = checkpoint.config();
  double bytes = 0;
  for (const model::TensorView& tensor : checkpoint.tensors()) {
    if (tensor.name.starts_with("mtp.")) continue;
    if (tensor.name.find("embeddings") != std::string_view::npos && !config.tie_word_embeddings) continue;
    double share = 1;
    if (tensor.name.find(".experts.") != std::string_view::npos && config.n_experts > 0) {
      share = static_cast<double>(config.n_experts_per_token) / static_cast<double>(config.n_experts);
    }
    bytes += share * static_cast<double>(tensor.bytes.size());
  }
  return static_cast<std::uint64_t>(bytes);
}

}  // namespace

int model_bench(const ModelCommandOptions& options) {
  auto host = load_model(options.common, runtime::ModelUse::kTokens);
  if (!host) return fail(options.common, host.error());
  model::Engine& engine = (*host)->engine();
  const std::size_t batch = static_cast<std::size_t>(options.batch);
  const auto vocab = static_cast<model::TokenId>((*host)->config().vocab_size);

  // Ordinary token ids in a fixed pseudo-random order: the router must see variety, the values do not matter.
  auto tokens_of = [&](std::int64_t n, std::uint32_t salt) {
    std::vector<model::TokenId> tokens(static_cast<std::size_t>(n));
    std::uint32_t x = 12345 + salt;
    for (auto& token : tokens) {
      x = x * 1664525 + 1013904223;
      token = (x >> 8) % vocab;
    }
    return tokens;
  };

  static constexpr int kRounds = 5;
  std::vector<double> prefill, decode;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<model::SequenceState> states;
    std::vector<std::vector<model::TokenId>> prompts;
    for (std::size_t i = 0; i < batch; ++i) states.emplace_back(engine.layout());
    auto step = [&](const std::vector<std::vector<model::TokenId>>& tokens, model::LogitsWanted wanted) {
      std::vector<model::SequenceStep> steps;
      for (std::size_t i = 0; i < batch; ++i) {
        steps.push_back({.state = &states[i], .tokens = tokens[i], .wanted = wanted, .rows = {}});
      }
      return engine.step(steps);
    };
    auto feed = [&](std::int64_t n, std::uint32_t salt) -> Result<void> {
      // Chunks as the runtime feeds them.
      static constexpr std::int64_t kChunk = 512;
      for (std::int64_t at = 0; at < n; at += kChunk) {
        std::vector<std::vector<model::TokenId>> part;
        for (std::size_t i = 0; i < batch; ++i) {
          part.push_back(tokens_of(std::min(kChunk, n - at), salt + static_cast<std::uint32_t>(i * 7919 + at)));
        }
        auto result = step(part, at + kChunk >= n ? model::LogitsWanted::kLast : model::LogitsWanted::kNone);
        if (!result) return result.error();
      }
      return {};
    };
    if (options.depth > 0) {
      if (auto ok = feed(options.depth, 1); !ok) return fail(options.common, ok.error());
    }
    std::int64_t start = system_clock().monotonic_ns();
    if (auto ok = feed(options.n_prompt, 2); !ok) return fail(options.common, ok.error());
    prefill.push_back(static_cast<double>(options.n_prompt) * static_cast<double>(batch) / seconds_since(start));
    start = system_clock().monotonic_ns();
    for (std::int64_t i = 0; i < options.n_generate; ++i) {
      std::vector<std::vector<model::TokenId>> one;
      for (std::size_t s = 0; s < batch; ++s) one.push_back(tokens_of(1, static_cast<std::uint32_t>(i * 31 + s)));
      auto result = step(one, model::LogitsWanted::kLast);
      if (!result) return fail(options.common, result.error());
    }
    decode.push_back(static_cast<double>(options.n_generate) * static_cast<double>(batch) / seconds_since(start));
  }

  const double bandwidth = read_bandwidth(options.common.n_threads);
  const std::uint64_t bytes = active_bytes((*host)->checkpoint());
  const Sample p = summarise(prefill), d = summarise(decode);
  const double bound = bandwidth / static_cast<double>(bytes) * static_cast<double>(batch);
  if (options.common.json) {
    print_json({{"model", (*host)->folder()},
                {"kernels", engine.kernels()},
                {"threads", options.common.n_threads},
                {"prompt", options.n_prompt},
                {"gen", options.n_generate},
                {"depth", options.depth},
                {"batch", options.batch},
                {"prefill_tokens_per_s", p.median},
                {"decode_tokens_per_s", d.median},
                {"active_bytes", bytes},
                {"read_bytes_per_s", bandwidth},
                {"decode_bound_tokens_per_s", bound}});
  } else {
    fmt::print("{} on {}, {} thread(s), batch {}, depth {}\n", (*host)->folder(), engine.kernels(),
               options.common.n_threads, options.batch, options.depth);
    fmt::print("prefill {:5}  {:10.0f} tokens/s  ({:.0f} to {:.0f}, {} rounds)\n", options.n_prompt, p.median, p.low,
               p.high, kRounds);
    fmt::print("decode  {:5}  {:10.0f} tokens/s  ({:.0f} to {:.0f})\n", options.n_generate, d.median, d.low, d.high);
    fmt::print(
        "bound          {:10.0f} tokens/s  ({} of active weights a token at {}/s read from memory; a model that "
        "fits the caches may beat it)\n",
        bound, human_bytes(bytes), human_bytes(static_cast<std::uint64_t>(bandwidth)));
  }
  return kExitDone;
}

}  // namespace longhaul::cli
