// What the benches of this room share: a folder on a real disk, raw writes of the same bytes for comparison, medians,
// and one line a figure, which scripts/bench.sh puts into a table.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "model/sequence_state.h"
#include "runtime/base/json.h"
#include "runtime/base/result.h"
#include "tests/support/sessions/fake_model.h"

namespace longhaul::sessions::bench {

using Steady = std::chrono::steady_clock;

inline double ms_since(Steady::time_point start) {
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

// LONGHAUL_BENCH_FOLDER or the system's: not in memory, where fsync costs nothing.
class Folder {
 public:
  Folder() {
    const char* given = std::getenv("LONGHAUL_BENCH_FOLDER");
    const std::filesystem::path base = given != nullptr ? given : std::filesystem::temp_directory_path();
    path_ = (base / "longhaul-bench-XXXXXX").string();
    if (::mkdtemp(path_.data()) == nullptr) {
      fmt::print(stderr, "cannot make a folder in {}\n", base.string());
      std::exit(1);
    }
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// What the disk takes: a new file of so many bytes, written in large pieces, and synced. `keep`: where what is compared
// keeps its files too. The memory and blocks of a file just removed are at hand for the next one; new ones are not,
// least of all in a virtual machine that has given memory back and is given it again page by page.
inline double raw_write_ms(const std::string& path, std::uint64_t bytes, bool keep = false) {
  static const std::string piece = [] {
    std::string out(std::size_t{8} << 20, '\0');
    test::fill(1, out.data(), out.size());
    return out;
  }();
  const auto start = Steady::now();
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  for (std::uint64_t left = bytes; left > 0;) {
    const std::size_t n = std::min<std::uint64_t>(left, piece.size());
    if (::write(fd, piece.data(), n) != static_cast<ssize_t>(n)) std::abort();
    left -= n;
  }
  if (::fsync(fd) != 0) std::abort();
  ::close(fd);
  const double ms = ms_since(start);
  if (!keep) ::unlink(path.c_str());
  return ms;
}

struct Spread {
  double median = 0, low = 0, high = 0;  // quartiles
};
inline Spread spread(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return {values[n / 2], values[n / 4], values[n * 3 / 4]};
}

// One line of the table. `bound`: the raw figure of the same run, same unit; 0: none.
inline void line(const std::string& what, const Spread& value, const std::string& unit, double bound,
                 const std::string& note) {
  json::object out{{"what", what}, {"median", value.median}, {"low", value.low}, {"high", value.high},
                   {"unit", unit}, {"bound", bound},         {"note", note}};
  fmt::print("{}\n", to_json(out));
  std::fflush(stdout);
}

// Nemotron 3 Nano's: 23 Mamba layers (47 MiB), 6 attention layers (6 KiB a token), bf16.
inline model::StateLayout nano_layout() {
  model::StateLayout layout;
  layout.n_mamba_layers = 23;
  layout.n_attention_layers = 6;
  layout.conv_channels = 6144;
  layout.n_mamba_heads = 64;
  layout.mamba_head_dim = 64;
  layout.d_state = 128;
  layout.n_kv_heads = 2;
  layout.head_dim = 128;
  layout.stored = model::StoredType::kBf16;
  return layout;
}

// A state of so many tokens without computing them: noise of the right size. Full pages are one and the same in memory,
// so that a million tokens fit; the store writes each by itself.
inline void grow(model::SequenceState& state, std::int64_t position) {
  const model::StateLayout& layout = state.layout();
  if (state.mamba.empty() || position <= state.position()) return;
  for (std::size_t l = 0; l < state.mamba.size(); ++l) {
    test::fill(static_cast<std::uint64_t>(position) * 1000 + l, state.mamba[l].ssm.data(),
               state.mamba[l].ssm.size() * sizeof(float));
    test::fill(static_cast<std::uint64_t>(position) * 2000 + l, state.mamba[l].conv.data(), state.mamba[l].conv.size());
  }
  for (std::uint32_t l = 0; l < layout.n_attention_layers; ++l) {
    auto page = std::make_shared<model::KvPage>();
    page->bytes.resize(layout.page_bytes());
    test::fill(l, page->bytes.data(), page->bytes.size());
    state.attention[l].full.resize(static_cast<std::size_t>(position / model::kPageTokens), page);
    state.attention[l].open.reset();
    if (position % model::kPageTokens != 0) state.attention[l].open = std::make_unique<model::KvPage>(*page);
  }
  state.set_position(position);
}

}  // namespace longhaul::sessions::bench
