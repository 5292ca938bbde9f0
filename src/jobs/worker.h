// Takes jobs from a queue and hands them to the handler of their kind, on threads of its own. While
// a handler runs, its lease is kept; its Context is stopped when the job is cancelled, when the
// lease is lost, and when the worker stops.
//   Worker worker(queue, {.name = "server"});
//   worker.handle("retrain", [&](const Context& ctx, const Job& job) -> Result<Json> { … });
//   worker.start();  …  worker.stop();      // waits for handlers; a job stopped in this way is
//   given back to the queue
// handle() before start(); start() and stop() from one thread.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/context.h"
#include "jobs/queue.h"

namespace slipway::jobs {

// An error with code invalid_argument or failed_precondition is final; any other is tried again
// while attempts are left.
using Handler = std::function<Result<Json>(const Context&, const Job&)>;

struct WorkerOptions {
  std::string name = "worker";
  int threads = 1;
  Duration poll_every = std::chrono::milliseconds{500};
  Duration lease = std::chrono::seconds{30};  // kept by a heartbeat at a third of it
};

class Worker {
 public:
  Worker(Queue& queue, const Clock& clock, WorkerOptions options);
  ~Worker();  // stops

  void handle(std::string kind, Handler handler);
  void start();
  void stop();
  void wake();  // looks for work now instead of at the next poll

  // One look: leases and runs at most one job on this thread. True when there was one.
  Result<bool> step();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::jobs
