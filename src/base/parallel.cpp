#include "base/parallel.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace slipway {

int default_threads() {
  static const int threads = [] {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody sets it
    if (const char* wanted = std::getenv("SLIPWAY_THREADS"); wanted != nullptr) {
      if (const int count = std::atoi(wanted); count > 0) return count;
    }
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }();
  return threads;
}

void parallel_for(std::size_t count, std::size_t grain,
                  const std::function<void(std::size_t, std::size_t)>& body, int threads) {
  if (count == 0) return;
  grain = std::max<std::size_t>(grain, 1);
  const std::size_t chunks = (count + grain - 1) / grain;
  const std::size_t workers = std::min<std::size_t>(
      chunks, static_cast<std::size_t>(threads > 0 ? threads : default_threads()));
  const auto run_chunk = [&](std::size_t chunk) {
    body(chunk * grain, std::min(count, (chunk + 1) * grain));
  };
  if (workers <= 1) {
    for (std::size_t chunk = 0; chunk < chunks; ++chunk) run_chunk(chunk);
    return;
  }
  std::atomic<std::size_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto work = [&] {
    try {
      for (std::size_t chunk = next++; chunk < chunks; chunk = next++) run_chunk(chunk);
    } catch (...) {
      const std::scoped_lock lock(failure_mutex);
      failure = std::current_exception();
      next = chunks;
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (std::size_t i = 1; i < workers; ++i) helpers.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
}

struct WorkerPool::Impl {
  std::mutex mutex;
  std::condition_variable queued;  // a job, or the end: one thread is woken for a job
  std::condition_variable idle;    // for drain(): nothing queued, nobody busy
  std::deque<std::function<void()>> queue;
  int busy = 0;
  bool stopping = false;
  std::vector<std::jthread> threads;

  void work() {
    std::unique_lock lock(mutex);
    while (true) {
      queued.wait(lock, [&] { return stopping || !queue.empty(); });
      if (queue.empty()) return;
      auto job = std::move(queue.front());
      queue.pop_front();
      ++busy;
      lock.unlock();
      job();
      job = nullptr;  // what it captured goes before the pool counts as idle
      lock.lock();
      --busy;
      if (busy == 0 && queue.empty()) idle.notify_all();
    }
  }
};

WorkerPool::WorkerPool(int threads) : impl_(std::make_unique<Impl>()) {
  for (int i = 0; i < std::max(1, threads); ++i)
    impl_->threads.emplace_back([this] { impl_->work(); });
}

WorkerPool::~WorkerPool() {
  {
    const std::scoped_lock lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->queued.notify_all();
  impl_->threads.clear();  // joins
}

void WorkerPool::post(std::function<void()> job) {
  {
    const std::scoped_lock lock(impl_->mutex);
    impl_->queue.push_back(std::move(job));
  }
  impl_->queued.notify_one();
}

void WorkerPool::drain() {
  std::unique_lock lock(impl_->mutex);
  impl_->idle.wait(lock, [&] { return impl_->queue.empty() && impl_->busy == 0; });
}

}  // namespace slipway
