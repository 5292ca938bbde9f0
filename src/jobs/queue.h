// A durable queue of work that outlives processes: retrainings, deliveries, clean-ups. A job is
// leased to one worker for a while; a worker that dies lets its lease run out, and the job is
// leased again. Each lease has a greater fence than the one before, and only the holder of the
// newest may report, so a worker that was merely slow changes nothing.
//   auto job = queue.enqueue({.kind = "retrain", .payload = {{"pipeline", file}}, .idempotency_key
//   = "alert/17"}); auto lease = queue.lease("worker-1", {"retrain"}, std::chrono::seconds{30}); //
//   nothing when there is no work … queue.heartbeat(**lease, …) …  queue.complete(**lease, {{"run",
//   id}});
// One idempotency key makes at most one job, ever. Times are the given clock's. Thread-safe; also
// between processes.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/result.h"
#include "db/database.h"

namespace slipway::jobs {

enum class JobState { queued, leased, succeeded, failed, cancelled };
std::string_view to_string(JobState state);

struct Job {
  std::string id;
  std::string kind;
  Json payload;
  std::string idempotency_key;  // empty: none
  JobState state = JobState::queued;
  int attempts = 0;  // leases so far
  int max_attempts = 1;
  Time created;
  Time run_at;                  // not before
  std::optional<Time> started;  // of the last lease
  std::optional<Time> ended;
  std::string worker;
  std::optional<Time> lease_until;
  bool cancel_requested = false;
  Json result;
  std::string error;  // of the last attempt
};

struct NewJob {
  std::string kind;
  Json payload = Json::object();
  std::string idempotency_key;
  std::optional<Time> run_at;  // default: now
  int max_attempts = 3;
  Duration retry_delay = std::chrono::seconds{10};  // doubled after each attempt, up to an hour
};

struct Enqueued {
  std::string id;
  bool created = false;  // false: a job with this key was there already
};

struct Lease {
  Job job;
  std::int64_t fence = 0;
};

class Queue {
 public:
  static Result<std::unique_ptr<Queue>> open(db::Database& db, const Clock& clock, IdSource& ids);

  Result<Enqueued> enqueue(const NewJob& job);
  // Inside a transaction of the caller, so that a trigger and its job are one change.
  Result<Enqueued> enqueue(db::Transaction& tx, const NewJob& job);

  // The oldest job that is due, of one of these kinds (empty: any). A job whose lease ran out
  // counts as due, or ends as failed when it has no attempts left.
  Result<std::optional<Lease>> lease(std::string_view worker, const std::vector<std::string>& kinds,
                                     Duration ttl);
  // Keeps a lease for another ttl. False: the job should be cancelled. failed_precondition: the
  // lease was lost.
  Result<bool> heartbeat(const Lease& lease, Duration ttl);
  Result<void> complete(const Lease& lease, const Json& result);
  // To be tried again after the job's delay while attempts are left, unless `final`.
  Result<void> fail(const Lease& lease, const std::string& error, bool final = false);
  // The worker stopped without being done: the job is due again at once, and the attempt is not
  // counted.
  Result<void> release(const Lease& lease);
  // Ends a lease whose worker heeded a cancel.
  Result<void> end_cancelled(const Lease& lease);

  // A queued job ends at once; a leased one when its worker next sends a heartbeat.
  // failed_precondition: it has ended.
  Result<void> cancel(std::string_view id);
  Result<Job> get(std::string_view id) const;

  struct Filter {
    std::string kind;               // empty: all
    std::optional<JobState> state;  // nothing: all
    int limit = 100;
  };
  Result<std::vector<Job>> list(const Filter& filter) const;  // newest first

  // Takes back leases that ran out; returns how many. lease() does the same for what it looks at.
  Result<int> recover();

 private:
  Queue(db::Database& db, const Clock& clock, IdSource& ids) : db_(db), clock_(clock), ids_(ids) {}
  Result<int> recover(db::Transaction& tx, Time now);
  Result<void> finish(const Lease& lease, JobState state, const Json& result,
                      const std::string& error);

  db::Database& db_;
  const Clock& clock_;
  IdSource& ids_;
};

}  // namespace slipway::jobs
