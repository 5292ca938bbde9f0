#include "jobs/worker.h"

#include "base/log.h"

namespace slipway::jobs {

struct Worker::Impl {
  Impl(Queue& job_queue, const Clock& job_clock, WorkerOptions worker_options)
      : queue(job_queue), clock(job_clock), options(std::move(worker_options)) {}

  Queue& queue;
  const Clock& clock;
  WorkerOptions options;
  std::map<std::string, Handler> handlers;
  std::vector<std::string> kinds;
  std::vector<std::jthread> threads;
  std::stop_source stopping;

  std::mutex mutex;
  std::condition_variable_any woken;
  std::uint64_t wakes = 0;  // under mutex

  Result<bool> step();
  void execute(const Lease& lease);
  void keep_lease(const Lease& lease, std::stop_source& job, std::stop_token ended,
                  std::atomic<bool>& cancelled);
  void loop();
};

// Beats until `ended`, on a thread of its own: a handler may take hours.
void Worker::Impl::keep_lease(const Lease& lease, std::stop_source& job, std::stop_token ended,
                              std::atomic<bool>& cancelled) {
  std::mutex beat_mutex;
  std::condition_variable_any beat;
  while (true) {
    {
      std::unique_lock lock(beat_mutex);
      beat.wait_for(lock, ended, options.lease / 3, [] { return false; });
    }
    if (ended.stop_requested()) return;
    const auto wanted = queue.heartbeat(lease, options.lease);
    if (wanted && *wanted) continue;
    if (wanted) {
      cancelled = true;
      job.request_stop();
    } else if (wanted.error().code == Code::failed_precondition) {
      log::warn("lease of a job lost", {{"job", lease.job.id}, {"kind", lease.job.kind}});
      job.request_stop();
      return;
    } else {  // the lease may outlive the trouble
      log::warn("heartbeat of a job failed",
                {{"job", lease.job.id}, {"error", wanted.error().message}});
    }
  }
}

void Worker::Impl::execute(const Lease& lease) {
  std::stop_source job;
  const std::stop_callback forward(stopping.get_token(), [&] { job.request_stop(); });
  Context ctx(clock);
  ctx.request_id = lease.job.id;
  ctx.principal.name = "slipway";
  ctx.stop = job.get_token();

  std::atomic<bool> cancelled = false;
  Result<Json> done = internal("the handler did not run");
  {
    const std::jthread keeper(
        [&](std::stop_token ended) { keep_lease(lease, job, ended, cancelled); });
    try {
      done = handlers.at(lease.job.kind)(ctx, lease.job);
    } catch (const std::exception& exception) {
      done = internal(fmt::format("handler of '{}' threw: {}", lease.job.kind, exception.what()));
    }
  }

  Result<void> reported;
  if (done) {
    reported = queue.complete(lease, *done);
  } else if (cancelled) {
    reported = queue.end_cancelled(lease);
  } else if (stopping.stop_requested() && done.error().code == Code::cancelled) {
    reported = queue.release(lease);
  } else {
    const auto code = done.error().code;
    reported = queue.fail(lease, done.error().message,
                          code == Code::invalid_argument || code == Code::failed_precondition);
    log::warn("job failed",
              {{"job", lease.job.id}, {"kind", lease.job.kind}, {"error", done.error().message}});
  }
  if (!reported) {
    log::error("end of a job not recorded",
               {{"job", lease.job.id}, {"error", reported.error().message}});
  }
}

Result<bool> Worker::Impl::step() {
  const auto leased = queue.lease(options.name, kinds, options.lease);
  if (!leased) return leased.error();
  if (!*leased) return false;
  execute(**leased);
  return true;
}

void Worker::Impl::loop() {
  while (!stopping.stop_requested()) {
    std::uint64_t seen = 0;
    {
      const std::scoped_lock lock(mutex);
      seen = wakes;
    }
    const auto worked = step();
    if (!worked) log::warn("cannot look for jobs", {{"error", worked.error().message}});
    if (worked && *worked) continue;
    std::unique_lock lock(mutex);
    woken.wait_for(lock, stopping.get_token(), options.poll_every, [&] { return wakes != seen; });
  }
}

Worker::Worker(Queue& queue, const Clock& clock, WorkerOptions options)
    : impl_(std::make_unique<Impl>(queue, clock, std::move(options))) {}

Worker::~Worker() { stop(); }

void Worker::handle(std::string kind, Handler handler) {
  impl_->kinds.push_back(kind);
  impl_->handlers[std::move(kind)] = std::move(handler);
}

void Worker::start() {
  if (impl_->kinds.empty()) return;  // an empty list would lease every kind
  for (int i = 0; i < impl_->options.threads; ++i) {
    impl_->threads.emplace_back([this] { impl_->loop(); });
  }
}

void Worker::stop() {
  impl_->stopping.request_stop();
  impl_->threads.clear();  // joins
}

void Worker::wake() {
  {
    const std::scoped_lock lock(impl_->mutex);
    ++impl_->wakes;
  }
  impl_->woken.notify_all();
}

Result<bool> Worker::step() {
  if (impl_->kinds.empty()) return false;
  return impl_->step();
}

}  // namespace slipway::jobs
