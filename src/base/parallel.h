// Work on all cores. parallel_for runs body(begin, end) over [0, count) in chunks; the split
// depends only on count and grain, never on the number of threads, so reductions over chunks in
// order give the same bits on any machine.
#pragma once
#include <cstddef>
#include <functional>
#include <memory>

namespace slipway {

// Threads to use: SLIPWAY_THREADS, else the processors this process may run on.
int default_threads();

void parallel_for(std::size_t count, std::size_t grain,
                  const std::function<void(std::size_t begin, std::size_t end)>& body,
                  int threads = 0);

// A fixed set of threads with one queue. Destruction finishes what is queued.
class WorkerPool {
 public:
  explicit WorkerPool(int threads);
  ~WorkerPool();
  void post(std::function<void()> job);
  void drain();  // waits until the queue is empty and all threads idle

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway
