#include "runtime/mask_ahead.h"

#include <ctime>
#include <utility>

namespace longhaul::runtime {
namespace {

// A small vocabulary's mask is made in less time than a thread is woken in.
constexpr std::size_t kLargeVocabulary = 8192;
// Shorter layers end before the thread has woken and made a mask.
constexpr std::chrono::milliseconds kLongLayers{2};

std::int64_t processor_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

void NextTokens::make() {
  const std::int64_t begun = processor_ns();
  allowed_ = grammar_->allowed(state_);
  cost_ns_ = processor_ns() - begun;
}

bool MaskAhead::pays(std::size_t n_tokens, std::chrono::nanoseconds layers) {
  if (when_ == When::kAlways) return true;
  if (n_tokens <= kLargeVocabulary || layers < kLongLayers) return false;
  const std::lock_guard lock(mutex_);
  if (n_rest_ == 0) return true;
  --n_rest_;
  return false;
}

void MaskAhead::settle(std::chrono::nanoseconds cost, std::chrono::nanoseconds waited) {
  const std::lock_guard lock(mutex_);
  balance_ += cost - waited;
  if (++n_trials_ < kTrials) return;
  if (balance_ < std::chrono::nanoseconds(0)) n_rest_ = kRest;
  n_trials_ = 0;
  balance_ = {};
}

MaskAhead::~MaskAhead() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

std::shared_ptr<NextTokens> MaskAhead::begin(std::shared_ptr<const tools::Grammar> grammar, tools::State state) {
  auto next = std::make_shared<NextTokens>(std::move(grammar), state);
  {
    const std::lock_guard lock(mutex_);
    if (!thread_.joinable()) thread_ = std::thread([this] { work(); });
    wanted_.push_back(next);
  }
  changed_.notify_one();
  return next;
}

void MaskAhead::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return ending_ || !wanted_.empty(); });
    if (ending_) return;
    const std::shared_ptr<NextTokens> next = std::move(wanted_.front());
    wanted_.pop_front();
    lock.unlock();
    if (next.use_count() > 1) next->get();  // else whoever wanted it is gone
    lock.lock();
  }
}

}  // namespace longhaul::runtime
