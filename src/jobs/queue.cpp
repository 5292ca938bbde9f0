#include "jobs/queue.h"

#include "jobs/migrations.h"
#include "jobs/queries.h"

namespace slipway::jobs {
namespace {

constexpr std::pair<JobState, std::string_view> kStates[] = {{JobState::queued, "queued"},
                                                             {JobState::leased, "leased"},
                                                             {JobState::succeeded, "succeeded"},
                                                             {JobState::failed, "failed"},
                                                             {JobState::cancelled, "cancelled"}};
constexpr Duration kLongestDelay = std::chrono::hours{1};

JobState state_named(std::string_view name) {
  for (const auto& [state, text] : kStates) {
    if (text == name) return state;
  }
  return JobState::failed;
}

std::optional<Time> maybe_time(const db::Rows& rows, int column) {
  const auto micros = rows.maybe_integer(column);
  return micros ? std::optional<Time>(from_micros(*micros)) : std::nullopt;
}

struct StoredJob {
  Job job;
  std::int64_t fence = 0;
  Duration retry_delay{0};
};

Result<StoredJob> read_job(const db::Rows& rows) {
  StoredJob stored;
  Job& job = stored.job;
  job.id = rows.text(0);
  job.kind = rows.text(1);
  auto payload = parse_json(rows.view(2), "payload of job " + job.id);
  if (!payload) return payload.error();
  job.payload = std::move(*payload);
  job.idempotency_key = rows.text(3);
  job.state = state_named(rows.view(4));
  job.attempts = static_cast<int>(rows.integer(5));
  job.max_attempts = static_cast<int>(rows.integer(6));
  job.created = from_micros(rows.integer(7));
  job.run_at = from_micros(rows.integer(8));
  job.started = maybe_time(rows, 9);
  job.ended = maybe_time(rows, 10);
  job.worker = rows.text(11);
  job.lease_until = maybe_time(rows, 12);
  job.cancel_requested = rows.integer(13) != 0;
  if (!rows.is_null(14)) {
    auto result = parse_json(rows.view(14), "result of job " + job.id);
    if (!result) return result.error();
    job.result = std::move(*result);
  }
  job.error = rows.text(15);
  stored.fence = rows.integer(16);
  stored.retry_delay = Duration{rows.integer(17)};
  return stored;
}

Result<StoredJob> find_job(db::Connection& connection, std::string_view id) {
  auto rows = connection.query(sql::find_job, id);
  if (!rows) return rows.error();
  if (!rows->next()) {
    if (const auto status = rows->status(); !status) return status.error();
    return not_found(fmt::format("job '{}' does not exist", id));
  }
  return read_job(*rows);
}

Error lost(const Lease& lease) {
  return failed_precondition(fmt::format(
      "the lease on job {} was lost: it ran out and was taken back, or the job has ended",
      lease.job.id));
}

// Delay before the next attempt, after `attempts` of them.
Duration backoff(Duration delay, int attempts) {
  for (int i = 1; i < attempts && delay < kLongestDelay; ++i) delay *= 2;
  return std::min(delay, kLongestDelay);
}

}  // namespace

std::string_view to_string(JobState state) {
  for (const auto& [candidate, text] : kStates) {
    if (candidate == state) return text;
  }
  return "failed";
}

Result<std::unique_ptr<Queue>> Queue::open(db::Database& db, const Clock& clock, IdSource& ids) {
  if (const auto migrated = db.migrate("jobs", kMigrations); !migrated) return migrated.error();
  return std::unique_ptr<Queue>(new Queue(db, clock, ids));
}

Result<Enqueued> Queue::enqueue(const NewJob& job) {
  return db_.write([&](db::Transaction& tx) { return enqueue(tx, job); });
}

Result<Enqueued> Queue::enqueue(db::Transaction& tx, const NewJob& job) {
  if (job.kind.empty()) return invalid_argument("a job needs a kind");
  if (job.max_attempts < 1) {
    return invalid_argument(fmt::format("job of kind '{}': max_attempts is {}, must be 1 or more",
                                        job.kind, job.max_attempts));
  }
  const std::string id = ids_.next();
  const auto now = clock_.now();
  const auto key = job.idempotency_key.empty() ? std::optional<std::string>() : job.idempotency_key;
  const auto inserted =
      tx.run(sql::insert_job, id, job.kind, canonical(job.payload), key, job.max_attempts,
             job.retry_delay.count(), to_micros(now), to_micros(job.run_at.value_or(now)));
  if (!inserted) return inserted.error();
  if (tx.changes() > 0) return Enqueued{id, true};
  auto rows = tx.query(sql::find_by_key, job.idempotency_key);
  if (!rows) return rows.error();
  if (!rows->next())
    return internal("a job neither was made nor was there: " + job.idempotency_key);
  return Enqueued{rows->text(0), false};
}

Result<int> Queue::recover(db::Transaction& tx, Time now) {
  int taken_back = 0;
  for (const auto statement : {sql::expired_cancelled, sql::expired_failed, sql::expired_queued}) {
    if (const auto ran = tx.run(statement, to_micros(now)); !ran) return ran.error();
    taken_back += static_cast<int>(tx.changes());
  }
  return taken_back;
}

Result<int> Queue::recover() {
  return db_.write([&](db::Transaction& tx) { return recover(tx, clock_.now()); });
}

Result<std::optional<Lease>> Queue::lease(std::string_view worker,
                                          const std::vector<std::string>& kinds, Duration ttl) {
  const std::string kinds_json = canonical(Json(kinds));
  return db_.write([&](db::Transaction& tx) -> Result<std::optional<Lease>> {
    const Time now = clock_.now();
    if (const auto recovered = recover(tx, now); !recovered) return recovered.error();
    std::string id;
    {
      auto rows = tx.query(sql::find_due, to_micros(now), kinds_json);
      if (!rows) return rows.error();
      if (!rows->next()) {
        if (const auto status = rows->status(); !status) return status.error();
        return std::optional<Lease>();
      }
      id = rows->text(0);
    }
    const auto taken = tx.run(sql::take_lease, id, worker, to_micros(now), to_micros(now + ttl));
    if (!taken) return taken.error();
    auto stored = find_job(tx, id);
    if (!stored) return stored.error();
    return std::optional<Lease>(Lease{std::move(stored->job), stored->fence});
  });
}

Result<bool> Queue::heartbeat(const Lease& lease, Duration ttl) {
  return db_.write([&](db::Transaction& tx) -> Result<bool> {
    const auto renewed =
        tx.run(sql::renew_lease, lease.job.id, lease.fence, to_micros(clock_.now() + ttl));
    if (!renewed) return renewed.error();
    if (tx.changes() == 0) return lost(lease);
    const auto stored = find_job(tx, lease.job.id);
    if (!stored) return stored.error();
    return !stored->job.cancel_requested;
  });
}

Result<void> Queue::finish(const Lease& lease, JobState state, const Json& result,
                           const std::string& error) {
  return db_.write([&](db::Transaction& tx) -> Result<void> {
    const auto result_text = result.is_null() ? std::optional<std::string>()
                                              : std::optional<std::string>(canonical(result));
    const auto error_text = error.empty() ? std::optional<std::string>() : error;
    const auto ended = tx.run(sql::end_job, lease.job.id, lease.fence, to_string(state),
                              result_text, error_text, to_micros(clock_.now()));
    if (!ended) return ended.error();
    if (tx.changes() == 0) return lost(lease);
    return {};
  });
}

Result<void> Queue::complete(const Lease& lease, const Json& result) {
  return finish(lease, JobState::succeeded, result, "");
}

Result<void> Queue::end_cancelled(const Lease& lease) {
  return finish(lease, JobState::cancelled, Json(), "cancelled on request");
}

Result<void> Queue::fail(const Lease& lease, const std::string& error, bool final) {
  return db_.write([&](db::Transaction& tx) -> Result<void> {
    const auto stored = find_job(tx, lease.job.id);
    if (!stored) return stored.error();
    const Time now = clock_.now();
    const bool again =
        !final && !stored->job.cancel_requested && stored->job.attempts < stored->job.max_attempts;
    const auto state = stored->job.cancel_requested ? JobState::cancelled : JobState::failed;
    const auto ran =
        again ? tx.run(sql::requeue_job, lease.job.id, lease.fence,
                       to_micros(now + backoff(stored->retry_delay, stored->job.attempts)), error)
              : tx.run(sql::end_job, lease.job.id, lease.fence, to_string(state), nullptr, error,
                       to_micros(now));
    if (!ran) return ran.error();
    if (tx.changes() == 0) return lost(lease);
    return {};
  });
}

Result<void> Queue::release(const Lease& lease) {
  return db_.write([&](db::Transaction& tx) -> Result<void> {
    if (const auto ran = tx.run(sql::release_job, lease.job.id, lease.fence); !ran)
      return ran.error();
    if (tx.changes() == 0) return lost(lease);
    return {};
  });
}

Result<void> Queue::cancel(std::string_view id) {
  return db_.write([&](db::Transaction& tx) -> Result<void> {
    const auto stored = find_job(tx, id);
    if (!stored) return stored.error();
    switch (stored->job.state) {
      case JobState::queued:
        return tx.run(sql::cancel_queued, id, to_micros(clock_.now()));
      case JobState::leased:
        return tx.run(sql::request_cancel, id);
      default:
        return failed_precondition(
            fmt::format("job '{}' has already ended: it {}", id, to_string(stored->job.state)));
    }
  });
}

Result<Job> Queue::get(std::string_view id) const {
  return db_.read([&](db::Connection& connection) -> Result<Job> {
    auto stored = find_job(connection, id);
    if (!stored) return stored.error();
    return std::move(stored->job);
  });
}

Result<std::vector<Job>> Queue::list(const Filter& filter) const {
  return db_.read([&](db::Connection& connection) -> Result<std::vector<Job>> {
    const auto state = filter.state ? to_string(*filter.state) : std::string_view();
    auto rows = connection.query(sql::list_jobs, filter.kind, state, filter.limit);
    if (!rows) return rows.error();
    std::vector<Job> jobs;
    while (rows->next()) {
      auto stored = read_job(*rows);
      if (!stored) return stored.error();
      jobs.push_back(std::move(stored->job));
    }
    if (const auto status = rows->status(); !status) return status.error();
    return jobs;
  });
}

}  // namespace slipway::jobs
