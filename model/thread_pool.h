// A fixed set of threads for one engine. `run` hands out task numbers one by one; which thread does which task never
// shows in a result, because tasks write disjoint outputs and no sum is split over tasks (contract C2).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace longhaul::model {

class ThreadPool {
 public:
  using Task = std::function<void(std::int64_t task, int worker)>;

  explicit ThreadPool(int n_threads);  // the caller of run() is one of them
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int n_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls task(i, worker) for every i below n_tasks, worker from 0 to n_threads() - 1, and returns when all are done.
  // One caller at a time; tasks must not call run().
  void run(std::int64_t n_tasks, const Task& task);

 private:
  void work(int worker);
  void drain(int worker);

  std::vector<std::thread> workers_;
  const Task* task_ = nullptr;
  std::int64_t n_tasks_ = 0;
  std::atomic<std::int64_t> next_{0};
  std::atomic<std::int32_t> busy_{0};
  std::atomic<std::uint32_t> generation_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace longhaul::model
