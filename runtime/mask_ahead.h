// Masks made while the model computes. Which tokens may come next depends on the last one alone, and the engine needs
// them only for the rows of its output matrix, after all layers: so a thread makes the mask meanwhile. Whoever gets to
// it first makes it, the thread or the one who needs it, so nobody waits for a thread that has not begun. The mask is
// the same either way, and so is the draw. It takes long layers and a free core to pay: on a busy machine the
// thread may wait for a core in the middle of its work, longer than the mask would have taken here. So what was won and
// lost is counted.
//
//   auto mask = ahead.begin(parser.shared_grammar(), parser.state());
//   step.rows_later = [&] { return std::span<const TokenId>(mask->get().ids); };
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "tools/grammar.h"

namespace longhaul::runtime {

// The tokens that may come next, at hand or not yet. Any thread.
class NextTokens {
 public:
  explicit NextTokens(std::shared_ptr<const tools::AllowedTokens> known) : allowed_(std::move(known)), known_(true) {}
  // Keeps the grammar.
  NextTokens(std::shared_ptr<const tools::Grammar> grammar, tools::State state)
      : grammar_(std::move(grammar)), state_(state) {}
  NextTokens(const NextTokens&) = delete;
  NextTokens& operator=(const NextTokens&) = delete;

  // They were at hand from the beginning: get() takes no time.
  bool known() const { return known_; }
  const tools::AllowedTokens& get() {
    if (!known_) std::call_once(once_, [this] { make(); });
    return *allowed_;
  }
  // What the mask took to make, of the processor; zero before, or if they were at hand.
  std::chrono::nanoseconds cost() const { return std::chrono::nanoseconds(cost_ns_.load()); }

 private:
  void make();
  std::shared_ptr<const tools::Grammar> grammar_;
  tools::State state_;
  std::once_flag once_;
  std::shared_ptr<const tools::AllowedTokens> allowed_;
  std::atomic<std::int64_t> cost_ns_{0};
  const bool known_ = false;
};

// One thread, started when it is first needed. All functions from any thread.
class MaskAhead {
 public:
  enum class When {
    kPays,
    kAlways,  // for tests
  };
  explicit MaskAhead(When when) : when_(when) {}
  // What has not been begun is not made; its owners still can.
  ~MaskAhead();
  MaskAhead(const MaskAhead&) = delete;
  MaskAhead& operator=(const MaskAhead&) = delete;

  // Whether it is worth while: of a vocabulary of `n_tokens`, with layers that took so long at the token before, and
  // after what settle() was told.
  bool pays(std::size_t n_tokens, std::chrono::nanoseconds layers);

  std::shared_ptr<NextTokens> begin(std::shared_ptr<const tools::Grammar> grammar, tools::State state);
  // Of a mask from begin(): what it took to make, and how long who needed it stood still for it. Where that is more
  // over kTrials masks, the next kRest tokens do without.
  void settle(std::chrono::nanoseconds cost, std::chrono::nanoseconds waited);
  static constexpr int kTrials = 16, kRest = 2048;

 private:
  void work();
  const When when_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<NextTokens>> wanted_;
  bool ending_ = false;
  std::chrono::nanoseconds balance_{0};
  int n_trials_ = 0, n_rest_ = 0;
  std::thread thread_;
};

}  // namespace longhaul::runtime
