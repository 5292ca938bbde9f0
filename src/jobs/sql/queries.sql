-- name: insert_job
INSERT INTO jobs (id, kind, payload, idempotency_key, state, max_attempts, retry_delay, created_at, run_at)
VALUES (?, ?, ?, ?, 'queued', ?, ?, ?, ?) ON CONFLICT (idempotency_key) DO NOTHING

-- name: find_by_key
SELECT id FROM jobs WHERE idempotency_key = ?

-- name: find_job
SELECT id, kind, payload, idempotency_key, state, attempts, max_attempts, created_at, run_at, started_at,
       ended_at, worker, lease_until, cancel_requested, result, error, fence, retry_delay
FROM jobs WHERE id = ?

-- name: find_due
SELECT id FROM jobs
WHERE state = 'queued' AND run_at <= ?1
  AND (?2 = '[]' OR kind IN (SELECT value FROM json_each(?2)))
ORDER BY run_at, created_at, id LIMIT 1

-- name: take_lease
UPDATE jobs SET state = 'leased', fence = fence + 1, attempts = attempts + 1, worker = ?2,
       started_at = ?3, lease_until = ?4, error = NULL
WHERE id = ?1

-- name: renew_lease
UPDATE jobs SET lease_until = ?3 WHERE id = ?1 AND fence = ?2 AND state = 'leased'

-- name: end_job
UPDATE jobs SET state = ?3, result = ?4, error = ?5, ended_at = ?6, lease_until = NULL
WHERE id = ?1 AND fence = ?2 AND state = 'leased'

-- name: requeue_job
UPDATE jobs SET state = 'queued', run_at = ?3, error = ?4, lease_until = NULL
WHERE id = ?1 AND fence = ?2 AND state = 'leased'

-- name: release_job
UPDATE jobs SET state = 'queued', attempts = attempts - 1, lease_until = NULL
WHERE id = ?1 AND fence = ?2 AND state = 'leased'

-- name: cancel_queued
UPDATE jobs SET state = 'cancelled', ended_at = ?2 WHERE id = ?1 AND state = 'queued'

-- name: request_cancel
UPDATE jobs SET cancel_requested = 1 WHERE id = ?1 AND state = 'leased'

-- name: expired_cancelled
UPDATE jobs SET state = 'cancelled', ended_at = ?1, lease_until = NULL
WHERE state = 'leased' AND lease_until <= ?1 AND cancel_requested = 1

-- name: expired_failed
UPDATE jobs SET state = 'failed', ended_at = ?1, lease_until = NULL,
       error = 'worker ' || worker || ' did not report before its lease ran out, and no attempt is left'
WHERE state = 'leased' AND lease_until <= ?1 AND attempts >= max_attempts

-- name: expired_queued
UPDATE jobs SET state = 'queued', run_at = ?1, lease_until = NULL,
       error = 'worker ' || worker || ' did not report before its lease ran out'
WHERE state = 'leased' AND lease_until <= ?1

-- name: list_jobs
SELECT id, kind, payload, idempotency_key, state, attempts, max_attempts, created_at, run_at, started_at,
       ended_at, worker, lease_until, cancel_requested, result, error, fence, retry_delay
FROM jobs WHERE (?1 = '' OR kind = ?1) AND (?2 = '' OR state = ?2)
ORDER BY created_at DESC, id DESC LIMIT ?3
