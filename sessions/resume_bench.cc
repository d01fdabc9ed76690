// What coming back costs: cold resume to the first token, exact beside a raw sequential read of the same bytes in the
// same run, with a page budget, and certified; and what the modes do to the logits of the built-in model. Estimate: at
// 2^20 tokens of pico (2 layers, 32 KiB a page) exact reads 512 MiB, at 1 GB/s half a second; a budget of 256 pages of
// 8192 reads 3 % of it plus the summaries (4 MiB), so some 30 ms.
//
//   resume_bench [--json] [--contexts N,N] [--generated N,N] [--nano N] [--quality] [--folder DIR]
//
// Contexts are computed by pico; generated ones are pages of random keys around a centre a page, of pico's layout or of
// Nano's (6 attention layers of 2 x 128, 47 MiB of state), which no prefill has to be waited for.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>
#include <vector>

#include "model/engine.h"
#include "model/layers/layer.h"
#include "sessions/session_manager.h"

namespace {

using namespace longhaul;
using namespace longhaul::sessions;
namespace fs = std::filesystem;
using Steady = std::chrono::steady_clock;

double ms_since(Steady::time_point start) {
  return std::chrono::duration<double, std::milli>(Steady::now() - start).count();
}

template <class T>
T must(Result<T> result) {
  if (!result) {
    fmt::print(stderr, "{}\n", result.error().message);
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

bool g_json = false;

// The store's tables out of the system's cache; gives their bytes.
std::uint64_t drop_cache(const std::string& folder) {
  std::uint64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    const int fd = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    ::fsync(fd);
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd);
    if (entry.path().extension() == ".sst") bytes += entry.file_size();
  }
  return bytes;
}

// Milliseconds for reading so many bytes of the store's tables, one after the other, cold.
double raw_read_ms(const std::string& folder, std::uint64_t wanted) {
  drop_cache(folder);
  std::vector<char> buffer(std::size_t{1} << 20);
  std::uint64_t n = 0;
  const auto start = Steady::now();
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file() || entry.path().extension() != ".sst" || n >= wanted) continue;
    const int fd = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    for (ssize_t got = 1; got > 0 && n < wanted; n += static_cast<std::uint64_t>(got)) {
      got = ::read(fd, buffer.data(), buffer.size());
      if (got <= 0) break;
    }
    ::close(fd);
  }
  return ms_since(start) * static_cast<double>(wanted) / static_cast<double>(std::max<std::uint64_t>(1, n));
}

struct Model {
  std::shared_ptr<const model::Checkpoint> checkpoint;
  std::unique_ptr<model::Engine> engine(const model::KvMode& mode) const {
    return must(model::Engine::load(checkpoint, {.n_threads = 1, .kv = mode, .mtp = false}));
  }
};

Model load_pico() {
  return {must(model::Checkpoint::open(std::string(LONGHAUL_SOURCE_DIR) + "/model/pico"))};
}

// Text as the model itself would write it, at temperature 1.
std::vector<TokenId> sampled_text(const Model& pico, std::size_t n) {
  auto engine = pico.engine({});
  model::SequenceState state(engine->layout());
  std::vector<TokenId> out = {1};
  std::mt19937_64 random(7);
  while (out.size() < n) {
    const model::SequenceStep step{.state = &state, .tokens = std::span(out).last(1)};
    const std::vector<float> logits = std::move(must(engine->step({&step, 1}))[0].logits);
    const float top = *std::max_element(logits.begin(), logits.end());
    std::vector<double> weights;
    for (const float x : logits) weights.push_back(std::exp(static_cast<double>(x - top)));
    out.push_back(static_cast<TokenId>(std::discrete_distribution<int>(weights.begin(), weights.end())(random)));
  }
  return out;
}

// A context that pico has read, committed every 2048 tokens.
void store_computed(const Model& pico, const std::string& folder, std::size_t n, const std::vector<TokenId>& text) {
  auto engine = pico.engine({});
  auto manager = must(SessionManager::open(folder));
  auto session = must(manager->create("s", {{"bench", "none"}, engine->layout(), 1, "{}"}));
  model::SequenceState state(engine->layout());
  for (std::size_t at = 0; at < n;) {
    const std::size_t piece = std::min<std::size_t>(2048, n - at);
    std::vector<TokenId> ids;
    for (std::size_t i = 0; i < piece; ++i) ids.push_back(text[(at + i) % text.size()]);
    must(session->feed_tokens(ids));
    const model::SequenceStep step{.state = &state, .tokens = ids, .wanted = model::LogitsWanted::kNone};
    must(engine->step({&step, 1}));
    CommitRequest commit;
    commit.state = &state;
    commit.wish = StateWish::kAlways;
    must(session->commit(commit));
    session->share_pages(state);
    at += piece;
  }
}

// As store_computed, with random pages: keys around a centre a page, values around nothing. 32 pages a commit.
void store_generated(const model::StateLayout& layout, const std::string& folder, std::size_t n) {
  auto manager = must(SessionManager::open(folder));
  auto session = must(manager->create("s", {{"bench", "none"}, layout, 1, "{}"}));
  model::SequenceState state(layout);
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  // Drawing every value anew would take longer than all else: a page is a random stretch of a pool plus its centre.
  std::vector<float> pool(1 << 16), row(layout.head_dim), centre(layout.head_dim);
  for (float& x : pool) x = normal(random);
  for (std::size_t at = 0; at < n;) {
    const std::size_t piece = std::min<std::size_t>(std::size_t{32} * model::kPageTokens, n - at);
    must(session->feed_tokens(std::vector<TokenId>(piece, 5)));
    for (std::size_t first = 0; first < piece; first += model::kPageTokens) {
      for (auto& layer : state.attention) {
        auto page = std::make_shared<model::KvPage>();
        page->bytes.resize(layout.page_bytes());
        std::byte* to = page->bytes.data();
        for (std::uint32_t part = 0; part < 2 * layout.n_kv_heads; ++part) {
          const bool keys = part < layout.n_kv_heads;
          for (float& c : centre) c = keys ? 2 * normal(random) : 0.0F;
          for (std::int64_t token = 0; token < model::kPageTokens; ++token) {
            const std::size_t from = random() % (pool.size() - row.size());
            for (std::size_t d = 0; d < row.size(); ++d) row[d] = centre[d] + (keys ? 0.5F : 1.0F) * pool[from + d];
            model::store_values(layout.stored, row.data(), static_cast<std::int64_t>(row.size()), to);
            to += row.size() * layout.stored_bytes();
          }
        }
        layer.full.push_back(std::move(page));
      }
    }
    at += piece;
    state.set_position(static_cast<std::int64_t>(at));
    CommitRequest commit;
    commit.state = &state;
    commit.wish = StateWish::kAlways;
    must(session->commit(commit));
    session->share_pages(state);
  }
}

struct Resumed {
  double open_ms = 0, load_ms = 0, first_token_ms = 0;  // the last from load_state to the logits of one more token
  model::KvReport kv;
};

// Without an engine (a layout that nothing here computes) every page of every layer is asked for as attention would.
Resumed resume(const std::string& folder, model::Engine* engine) {
  drop_cache(folder);
  Resumed out;
  const auto start = Steady::now();
  auto manager = must(SessionManager::open(folder));
  auto session = must(manager->open_any("s"));
  out.open_ms = ms_since(start);
  const auto loading = Steady::now();
  auto loaded = must(session->load_state());
  out.load_ms = ms_since(loading);
  model::SequenceState& state = *loaded.state;
  if (engine != nullptr) {
    const TokenId token = 5;
    const model::SequenceStep step{.state = &state, .tokens = {&token, 1}};
    out.kv = std::move(must(engine->step({&step, 1}))[0].kv);
    out.first_token_ms = ms_since(loading);
    return out;
  }
  const model::PageSource& pages = *state.stored();
  for (std::uint32_t layer = 0; layer < state.layout().n_attention_layers; ++layer) {
    const auto window = [&](std::int64_t first) {
      std::vector<std::int64_t> indices;
      for (std::int64_t i = first; i < std::min(first + pages.window(), pages.n_pages()); ++i) indices.push_back(i);
      return indices;
    };
    for (std::int64_t first = 0; first < pages.n_pages(); first += pages.window()) {
      const auto indices = window(first);
      std::vector<model::PagePin> pins(indices.size());
      pages.prefetch(layer, window(first + pages.window()));
      must(pages.load(layer, indices, pins));
    }
  }
  out.kv.bytes_read = pages.bytes_read();
  out.first_token_ms = ms_since(loading);
  return out;
}

// Fastest, middle and slowest of three.
void print_resume(const std::string& what, std::size_t context, const std::string& mode,
                  const std::vector<Resumed>& runs, std::uint64_t kv_bytes, double raw_ms) {
  const Resumed& r = runs[1];
  const double share =
      100 * static_cast<double>(r.kv.bytes_read) / static_cast<double>(std::max<std::uint64_t>(1, kv_bytes));
  float mass = 0;
  for (const float bound : r.kv.mass_bound) mass = std::max(mass, bound);
  if (g_json) {
    fmt::print(
        "{{\"what\":\"resume to first token, {} {}, {}\",\"median\":{:.3f},\"unit\":\"ms\",\"low\":{:.3f},"
        "\"high\":{:.3f},\"bound\":{:.3f},\"note\":\"cold; {:.2f} % of {} MiB KV read; state back in {:.2f} ms; "
        "skipped "
        "mass <= {:.2g}\"}}\n",
        what, context, mode, r.first_token_ms, runs[0].first_token_ms, runs[2].first_token_ms, raw_ms, share,
        kv_bytes >> 20, r.load_ms, mass);
  } else {
    fmt::print("{:>10} {:>9} {:>14} {:>9.1f} {:>8.2f} {:>12.2f} {:>9.2f} {:>7.2f} {:>8.2f}% {:>9.2g}\n", what, context,
               mode, r.open_ms, r.load_ms, r.first_token_ms, raw_ms, raw_ms / r.first_token_ms, share, mass);
  }
  std::fflush(stdout);
}

std::string mode_name(const model::KvMode& mode) {
  const std::string tag = model::kv_mode_tag(mode);
  return tag.empty() ? "exact" : tag.substr(4);
}

void measure(const std::string& what, const std::string& folder, std::size_t context, const Model* pico,
             const model::StateLayout& layout, const std::vector<model::KvMode>& modes) {
  must(SessionManager::open(folder)).reset();  // the log becomes tables
  const std::uint64_t kv_bytes = context / model::kPageTokens * layout.page_bytes() * layout.n_attention_layers;
  for (const model::KvMode& mode : modes) {
    auto engine = pico != nullptr ? pico->engine(mode) : nullptr;
    // Raw reads before and after, since the disk is not ours alone; the middle one of three.
    std::vector<std::pair<double, Resumed>> runs;
    for (int i = 0; i < 3; ++i) {
      const double raw = raw_read_ms(folder, kv_bytes);
      runs.emplace_back(raw, resume(folder, engine.get()));
    }
    std::vector<double> raws;
    for (const auto& run : runs) raws.push_back(run.first);
    std::sort(raws.begin(), raws.end());
    std::sort(runs.begin(), runs.end(),
              [](const auto& a, const auto& b) { return a.second.first_token_ms < b.second.first_token_ms; });
    std::vector<Resumed> sorted;
    for (const auto& run : runs) sorted.push_back(run.second);
    print_resume(what, context, mode_name(mode), sorted, kv_bytes, raws[1]);
  }
}

std::vector<std::vector<double>> log_probabilities(model::Engine& engine, const std::vector<TokenId>& text,
                                                   std::size_t from, model::KvReport& report) {
  model::SequenceState state(engine.layout());
  const auto vocab = static_cast<std::size_t>(engine.config().vocab_size);
  std::vector<std::vector<double>> out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = at < from ? std::min(from, at + 512) : std::min(text.size(), at + 512);
    const model::SequenceStep step{.state = &state,
                                   .tokens = std::span(text).subspan(at, end - at),
                                   .wanted = at < from ? model::LogitsWanted::kNone : model::LogitsWanted::kAll};
    const model::StepResult result = std::move(must(engine.step({&step, 1}))[0]);
    if (at >= from) {
      report.pages_read += result.kv.pages_read;
      report.pages_skipped += result.kv.pages_skipped;
    }
    for (std::size_t row = 0; row * vocab < result.logits.size(); ++row) {
      const float* x = result.logits.data() + row * vocab;
      const double top = *std::max_element(x, x + vocab);
      double sum = 0;
      for (std::size_t i = 0; i < vocab; ++i) sum += std::exp(x[i] - top);
      std::vector<double> p(vocab);
      for (std::size_t i = 0; i < vocab; ++i) p[i] = x[i] - top - std::log(sum);
      out.push_back(std::move(p));
    }
    at = end;
  }
  return out;
}

// KL(exact || mode) of the next token and how often both have the same first choice, over the last 512 positions.
void quality(const Model& pico, std::size_t context, const std::vector<TokenId>& source) {
  std::vector<TokenId> text;
  for (std::size_t i = 0; i < context; ++i) text.push_back(source[i % source.size()]);
  const std::size_t from = context - 512;
  model::KvReport none;
  const auto exact = log_probabilities(*pico.engine({}), text, from, none);
  for (const model::KvMode& mode :
       {model::KvMode{.budget = 3}, model::KvMode{.budget = 4}, model::KvMode{.budget = 6}, model::KvMode{.budget = 8},
        model::KvMode{.budget = 12}, model::KvMode{.budget = 32}, model::KvMode{.error = 0.5},
        model::KvMode{.error = 0.1}, model::KvMode{.error = 0.01}}) {
    model::KvReport report;
    const auto got = log_probabilities(*pico.engine(mode), text, from, report);
    double kl = 0, worst = 0, same = 0;
    for (std::size_t row = 0; row < exact.size(); ++row) {
      double here = 0;
      for (std::size_t i = 0; i < exact[row].size(); ++i) {
        here += std::exp(exact[row][i]) * (exact[row][i] - got[row][i]);
      }
      kl += here;
      worst = std::max(worst, here);
      const auto first = [](const std::vector<double>& p) { return std::max_element(p.begin(), p.end()) - p.begin(); };
      same += first(exact[row]) == first(got[row]) ? 1 : 0;
    }
    const auto n = static_cast<double>(exact.size());
    const double read = static_cast<double>(report.pages_read) /
                        static_cast<double>(std::max<std::int64_t>(1, report.pages_read + report.pages_skipped));
    if (g_json) {
      fmt::print(
          "{{\"what\":\"KL to exact logits, pico {}, {}\",\"median\":{:.3g},\"unit\":\"nat (mean)\",\"low\":0,"
          "\"high\":{:.3g},\"bound\":null,\"note\":\"{:.1f} % of pages read; same first choice {:.1f} %\"}}\n",
          context, mode_name(mode), kl / n, worst, 100 * read, 100 * same / n);
    } else {
      fmt::print("{:>9} {:>14} {:>10.2e} {:>10.2e} {:>9.1f}% {:>9.1f}%\n", context, mode_name(mode), kl / n, worst,
                 100 * same / n, 100 * read);
    }
    std::fflush(stdout);
  }
}

std::vector<std::size_t> numbers(const std::string& text) {
  std::vector<std::size_t> out;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = text.find(',', at);
    if (end == std::string::npos) end = text.size();
    out.push_back(std::strtoull(text.substr(at, end - at).c_str(), nullptr, 10));
    at = end + 1;
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::size_t> contexts = {1024, 8192}, generated = {262144}, nano;
  bool with_quality = false;
  std::string folder = fs::temp_directory_path().string();
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i], value = i + 1 < argc ? argv[i + 1] : "";
    if (option == "--json") {
      g_json = true;
    } else if (option == "--quality") {
      with_quality = true;
    } else if (option == "--contexts") {
      contexts = numbers(value), ++i;
    } else if (option == "--generated") {
      generated = numbers(value), ++i;
    } else if (option == "--nano") {
      nano = numbers(value), ++i;
    } else if (option == "--folder") {
      folder = value, ++i;
    } else {
      fmt::print(stderr,
                 "resume_bench [--json] [--contexts N,N] [--generated N,N] [--nano N] [--quality] [--folder DIR]\n");
      return 2;
    }
  }
  // On a real disk, else reading costs nothing.
  std::string work = folder + "/longhaul-bench-XXXXXX";
  if (::mkdtemp(work.data()) == nullptr) return 1;
  const Model pico = load_pico();
  const model::StateLayout layout = pico.engine({})->layout();
  const std::vector<TokenId> text = sampled_text(pico, 2048);
  const std::vector<model::KvMode> all = {{},
                                          {.budget = 16},
                                          {.budget = 64},
                                          {.budget = 256},
                                          {.error = 0.5},
                                          {.error = 0.1},
                                          {.error = 0.01},
                                          {.error = 0.001}};
  if (!g_json && !(contexts.empty() && generated.empty() && nano.empty())) {
    fmt::print("{:>10} {:>9} {:>14} {:>9} {:>8} {:>12} {:>9} {:>7} {:>9} {:>9}\n", "", "context", "mode", "open ms",
               "load ms", "to token ms", "raw ms", "raw/us", "of KV", "mass <=");
  }
  for (const std::size_t context : contexts) {
    store_computed(pico, work + "/store", context, text);
    measure("pico", work + "/store", context, &pico, layout, all);
    fs::remove_all(work + "/store");
  }
  for (const std::size_t context : generated) {
    store_generated(layout, work + "/store", context);
    measure("generated", work + "/store", context, &pico, layout, all);
    fs::remove_all(work + "/store");
  }
  for (const std::size_t context : nano) {
    const model::StateLayout of_nano{.n_mamba_layers = 23,
                                     .n_attention_layers = 6,
                                     .conv_channels = 6144,
                                     .conv_rows = 3,
                                     .n_mamba_heads = 64,
                                     .mamba_head_dim = 64,
                                     .d_state = 128,
                                     .n_kv_heads = 2,
                                     .head_dim = 128,
                                     .stored = model::StoredType::kBf16};
    store_generated(of_nano, work + "/store", context);
    measure("nano", work + "/store", context, nullptr, of_nano, {{}});
    fs::remove_all(work + "/store");
  }
  if (with_quality) {
    if (!g_json) {
      fmt::print("{:>9} {:>14} {:>10} {:>10} {:>10} {:>10}\n", "context", "mode", "KL mean", "KL max", "same 1st",
                 "pages");
    }
    for (const std::size_t context : {std::size_t{2048}, std::size_t{8192}}) quality(pico, context, text);
  }
  fs::remove_all(work);
  return 0;
}
