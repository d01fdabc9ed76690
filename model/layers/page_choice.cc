#include "model/layers/page_choice.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "model/kernels/scalar_math.h"
#include "model/page_summary.h"

namespace longhaul::model {
namespace {

constexpr std::int64_t kFirstPages = 1, kLastPages = 2;
static_assert(kFirstPages + kLastPages == kKvPagesAlways);
constexpr std::int64_t kBatch = 8;  // pages that error mode reads before it looks again, or a quarter of those read
constexpr std::int64_t kRowsTogether = 16;  // bounds the memory for bounds and for pages held; chosen, not measured
constexpr std::int64_t kPagesATask = 1024;  // of one row's bounds
constexpr float kShareMin = 0x1p-126F;      // smaller numerators are rounded up to it: the sum stays a bound
constexpr double kRounding = 1.001;         // fp32 sums and exponentials are right to far more than that

// One row whose pages are chosen.
struct Row {
  const KvTarget* target = nullptr;
  std::int64_t row = 0;               // of the target
  std::int64_t position = 0;          // of the token
  std::int64_t n_before = 0;          // pages before its own
  std::vector<std::int64_t> order;    // candidates, best first
  std::int64_t n_taken = 0;           // of `order`
  std::vector<double> left;           // [head][order.size() + 1]: sum of numerators from there on
  std::vector<double> top;            // [head]: the largest bound, what numerators are relative to
  std::vector<double> maximum, read;  // [head]: of the scores read so far, and their sum relative to it
  bool done = false;

  std::int64_t n_candidates() const { return n_before - kFirstPages - kLastPages; }
};

// Summaries of a cache's pages, stored or own.
class Summaries {
 public:
  static Result<Summaries> of(const StateLayout& layout, const KvTarget& target) {
    Summaries out;
    AttentionLayerState& cache = *target.cache;
    if (cache.n_stored > 0) {
      auto blocks = target.stored->summaries(target.layer);
      if (!blocks) return blocks.error();
      out.blocks_ = std::move(*blocks);
    }
    // Pages that came since the last time, also within this step.
    const std::size_t each = summary_bytes(layout);
    for (std::size_t i = cache.summaries.size() / each; i < cache.full.size(); ++i) {
      cache.summaries.resize((i + 1) * each);
      summarise_page(layout, cache.full[i]->bytes.data(), cache.summaries.data() + i * each);
    }
    out.blocks_.push_back(
        {cache.n_stored, static_cast<std::int64_t>(cache.full.size()), nullptr, cache.summaries.data()});
    return out;
  }

  // Calls f(first, n, summaries) for the pieces that cover pages [first, end).
  template <class F>
  void for_each(std::size_t each, std::int64_t first, std::int64_t end, F f) const {
    auto block = std::upper_bound(blocks_.begin(), blocks_.end(), first,
                                  [](std::int64_t page, const SummaryBlock& b) { return page < b.first; });
    for (--block; first < end; ++block) {
      const std::int64_t stop = std::min(end, block->first + block->n);
      if (first >= stop) continue;
      f(first, stop - first, block->bytes + static_cast<std::size_t>(first - block->first) * each);
      first = stop;
    }
  }

 private:
  std::vector<SummaryBlock> blocks_;
};

struct Chooser {
  const StepContext& step;
  const WalkRows& rows;
  const std::int64_t n_heads = step.config.n_heads, head_dim = step.config.head_dim, width = n_heads * head_dim;

  // Puts candidates in order by the bounds ([head][stride], the row's candidates first in each), which become
  // numerators.
  void rank(Row& row, float* bounds, std::int64_t stride) const {
    const std::int64_t n = row.n_candidates();
    std::vector<float> score(static_cast<std::size_t>(n), 0.0F);
    row.top.resize(static_cast<std::size_t>(n_heads));
    for (std::int64_t head = 0; head < n_heads; ++head) {
      float* e = bounds + head * stride;
      float top = -std::numeric_limits<float>::infinity();
      for (std::int64_t i = 0; i < n; ++i) top = top < e[i] ? e[i] : top;
      // An infinite bound is a page that must be read; beside it the others' shares are nothing.
      const bool infinite = std::isinf(top);
      const float reference = infinite ? 0.0F : top;
      row.top[static_cast<std::size_t>(head)] = reference;
      for (std::int64_t i = 0; i < n; ++i) {
        e[i] = std::isinf(e[i]) && e[i] > 0 ? std::numeric_limits<float>::infinity() : e[i] - reference;
      }
      std::vector<std::int64_t> must;
      for (std::int64_t i = 0; infinite && i < n; ++i) {
        if (std::isinf(e[i]) && e[i] > 0) must.push_back(i);
      }
      step.kernels.exp({.x = e, .y = e, .n = n});
      double sum = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        e[i] = e[i] < kShareMin ? kShareMin : e[i];
        sum += e[i];
      }
      for (const std::int64_t i : must) e[i] = std::numeric_limits<float>::infinity();
      for (std::int64_t i = 0; i < n; ++i) {
        const auto share = static_cast<float>(e[i] / sum);
        float& best = score[static_cast<std::size_t>(i)];
        best = best < share ? share : best;
      }
    }
    row.order.resize(static_cast<std::size_t>(n));
    std::iota(row.order.begin(), row.order.end(), 0);
    const auto better = [&](std::int64_t a, std::int64_t b) {
      const float x = score[static_cast<std::size_t>(a)], y = score[static_cast<std::size_t>(b)];
      return x > y || (x == y && a < b);
    };
    if (step.kv.budget > 0) {  // only what is taken has to stand in front
      row.n_taken = std::min(n, step.kv.budget - kKvPagesAlways);
      std::nth_element(row.order.begin(), row.order.begin() + row.n_taken, row.order.end(), better);
    } else {
      std::sort(row.order.begin(), row.order.end(), better);
    }
    row.left.assign(static_cast<std::size_t>(n_heads * (n + 1)), 0.0);
    for (std::int64_t head = 0; head < n_heads; ++head) {
      double* left = row.left.data() + head * (n + 1);
      for (std::int64_t i = n; i-- > 0;) {
        left[i] = left[i + 1] + double{bounds[head * stride + row.order[static_cast<std::size_t>(i)]]};
      }
    }
  }

  // The largest share of a head's softmax mass that what has not been read can hold.
  double mass_bound(const Row& row) const {
    const std::int64_t n = row.n_candidates();
    double worst = 0;
    for (std::int64_t head = 0; head < n_heads; ++head) {
      const auto h = static_cast<std::size_t>(head);
      const double left = row.left[static_cast<std::size_t>(head * (n + 1) + row.n_taken)];
      if (left == 0) continue;
      const float ratio = scalar::exp(static_cast<float>(row.top[h] - row.maximum[h]));
      const double skipped = static_cast<double>(kPageTokens) * left * ratio * kRounding;
      const double bound = skipped / (skipped + row.read[h]);
      worst = bound <= worst ? worst : bound;
      if (std::isnan(bound)) worst = 1;
    }
    return std::min(worst, 1.0);
  }

  PageWalk walk_of(const Row& row) const {
    PageWalk walk{row.target, row.row, 1, {}, 0};
    for (std::int64_t i = 0; i < kFirstPages; ++i) walk.pages.push_back(i);
    for (std::int64_t i = 0; i < row.n_taken; ++i) {
      walk.pages.push_back(row.order[static_cast<std::size_t>(i)] + kFirstPages);
    }
    std::sort(walk.pages.begin(), walk.pages.end());
    for (std::int64_t i = row.n_before - kLastPages; i <= row.n_before; ++i) walk.pages.push_back(i);
    walk.list_position = (static_cast<std::int64_t>(walk.pages.size()) - 1) * kPageTokens + row.position % kPageTokens;
    return walk;
  }

  // Attends to what is chosen so far and takes what it read into account.
  Result<void> attend(std::span<Row* const> group) const {
    std::vector<PageWalk> walks;
    for (const Row* row : group) walks.push_back(walk_of(*row));
    return account(group, walks, true);
  }

  Result<void> account(std::span<Row* const> group, std::span<const PageWalk> walks, bool fresh) const {
    std::vector<float> maxima(group.size() * static_cast<std::size_t>(n_heads)), sums(maxima.size());
    if (auto r = walk_pages(step, walks, rows, maxima.data(), sums.data()); !r) return r;
    for (std::size_t i = 0; i < group.size(); ++i) {
      Row& row = *group[i];
      if (fresh) {
        row.maximum.assign(static_cast<std::size_t>(n_heads), -std::numeric_limits<double>::infinity());
        row.read.assign(static_cast<std::size_t>(n_heads), 0.0);
      }
      for (std::int64_t head = 0; head < n_heads; ++head) {
        const auto h = static_cast<std::size_t>(head);
        const float max = maxima[i * static_cast<std::size_t>(n_heads) + h];
        const float sum = sums[i * static_cast<std::size_t>(n_heads) + h];
        const double above = std::max(row.maximum[h], double{max});
        const double before =
            row.read[h] == 0 ? 0 : row.read[h] * scalar::exp(static_cast<float>(row.maximum[h] - above));
        row.read[h] = before + double{sum} * scalar::exp(static_cast<float>(max - above));
        row.maximum[h] = above;
      }
    }
    return {};
  }

  // Error mode: reads on until every row's bound is small enough, then attends to all of it in order.
  Result<void> certify(std::span<Row> group) const {
    std::vector<Row*> all;
    for (Row& row : group) all.push_back(&row);
    if (auto r = attend(all); !r) return r;
    std::vector<Row*> grown;
    for (;;) {
      std::vector<Row*> reading;
      std::vector<PageWalk> walks;
      for (Row& row : group) {
        row.done = row.done || row.n_taken == row.n_candidates() || mass_bound(row) < step.kv.error;
        if (row.done) continue;
        if (row.n_taken == 0) grown.push_back(&row);
        const std::int64_t batch = std::max(kBatch, row.n_taken / 4);
        const std::int64_t n = std::min(batch, row.n_candidates() - row.n_taken);
        PageWalk walk{row.target, row.row, 1, {}, n * kPageTokens - 1};  // sees all of them
        for (std::int64_t i = row.n_taken; i < row.n_taken + n; ++i) {
          walk.pages.push_back(row.order[static_cast<std::size_t>(i)] + kFirstPages);
        }
        std::sort(walk.pages.begin(), walk.pages.end());
        row.n_taken += n;
        reading.push_back(&row);
        walks.push_back(std::move(walk));
      }
      if (reading.empty()) break;
      if (auto r = account(reading, walks, false); !r) return r;
    }
    return grown.empty() ? Result<void>() : attend(grown);
  }

  // Bounds of all candidates of the rows, [row][head][stride].
  void bound(std::span<const Row> group, const std::vector<Summaries>& summaries, std::span<const KvTarget> targets,
             float* bounds, std::int64_t stride) const {
    const std::int64_t n_kv = step.config.n_kv_heads, pieces = (stride + kPagesATask - 1) / kPagesATask;
    const std::size_t each = summary_bytes(step.layout);
    step.pool.run(static_cast<std::int64_t>(group.size()) * pieces, [&](std::int64_t task, int) {
      const Row& row = group[static_cast<std::size_t>(task / pieces)];
      const std::int64_t first = kFirstPages + task % pieces * kPagesATask;
      const std::int64_t end = std::min(first + kPagesATask, kFirstPages + row.n_candidates());
      if (first >= end) return;
      const auto which = static_cast<std::size_t>(row.target - targets.data());
      summaries[which].for_each(each, first, end, [&](std::int64_t page, std::int64_t n, const std::byte* bytes) {
        step.kernels.page_bounds({.summaries = bytes,
                                  .n_pages = n,
                                  .bf16 = step.layout.stored == StoredType::kBf16,
                                  .n_kv_heads = n_kv,
                                  .head_dim = head_dim,
                                  .n_group = n_heads / n_kv,
                                  .scale = 1.0F / std::sqrt(static_cast<float>(head_dim)),
                                  .q = rows.q + (row.target->first_row + row.row) * width,
                                  .out = bounds + task / pieces * n_heads * stride + (page - kFirstPages),
                                  .out_stride = stride});
      });
    });
  }

  void report(const Row& row) const {
    KvReport& to = *row.target->report;
    to.pages_read += kKvPagesAlways + row.n_taken;
    to.pages_skipped += row.n_candidates() - row.n_taken;
    float& mass = to.mass_bound[row.target->layer];
    mass = std::max(mass, static_cast<float>(mass_bound(row)));
  }
};

}  // namespace

Result<void> attend_chosen(const StepContext& step, std::span<const KvTarget> targets, const WalkRows& rows) {
  std::vector<PageWalk> whole;  // rows that read everything share the reading
  std::vector<Row> chosen;
  std::vector<Summaries> summaries(targets.size());
  const std::int64_t all = step.kv.budget > 0 ? std::max(step.kv.budget, kKvPagesAlways) : kKvPagesAlways;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const KvTarget& target = targets[i];
    std::int64_t n_whole = 0;
    while (n_whole < target.n_rows && (target.position + n_whole) / kPageTokens <= all) ++n_whole;
    if (n_whole > 0) {
      PageWalk walk = whole_walk(target);
      walk.n = n_whole;
      walk.pages.resize(static_cast<std::size_t>((target.position + n_whole - 1) / kPageTokens + 1));
      whole.push_back(std::move(walk));
      for (std::int64_t row = 0; row < n_whole; ++row) {
        target.report->pages_read += (target.position + row) / kPageTokens;
      }
    }
    for (std::int64_t row = n_whole; row < target.n_rows; ++row) {
      Row next;
      next.target = &target;
      next.row = row;
      next.position = target.position + row;
      next.n_before = next.position / kPageTokens;
      chosen.push_back(std::move(next));
    }
    if (n_whole == target.n_rows) continue;
    auto read = Summaries::of(step.layout, target);
    if (!read) return read.error();
    summaries[i] = std::move(*read);
  }
  if (!whole.empty()) {
    if (auto r = walk_pages(step, whole, rows); !r) return r;
  }

  const Chooser chooser{step, rows};
  for (std::size_t first = 0; first < chosen.size(); first += kRowsTogether) {
    const auto group = std::span(chosen).subspan(first, std::min<std::size_t>(kRowsTogether, chosen.size() - first));
    std::int64_t stride = 0;
    for (const Row& row : group) stride = std::max(stride, row.n_candidates());
    const std::int64_t n_heads = step.config.n_heads;
    float* bounds = step.work.bounds.floats(static_cast<std::int64_t>(group.size()) * n_heads * stride);
    chooser.bound(group, summaries, targets, bounds, stride);
    step.pool.run(static_cast<std::int64_t>(group.size()), [&](std::int64_t i, int) {
      chooser.rank(group[static_cast<std::size_t>(i)], bounds + i * n_heads * stride, stride);
    });
    if (step.kv.budget > 0) {
      std::vector<Row*> rows_of_group;
      for (Row& row : group) rows_of_group.push_back(&row);
      if (auto r = chooser.attend(rows_of_group); !r) return r;
    } else {
      if (auto r = chooser.certify(group); !r) return r;
    }
    for (Row& row : group) {
      chooser.report(row);
      row = Row();
    }
  }
  return {};
}

}  // namespace longhaul::model
