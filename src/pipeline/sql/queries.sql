-- name: insert_run
INSERT INTO pipeline_runs (id, pipeline, file, spec_digest, params, state, actor, reason, started_at, job)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: end_run
UPDATE pipeline_runs SET state = ?2, ended_at = ?3, error = ?4 WHERE id = ?1

-- name: insert_step
INSERT INTO step_runs (run_id, position, step, kind, state) VALUES (?, ?, ?, ?, 'waiting')

-- name: update_step
UPDATE step_runs SET state = ?3, passed = ?4, why = ?5, key = ?6, outputs = ?7, artifacts = ?8, summary = ?9,
       error = ?10, attempts = ?11, started_at = ?12, ended_at = ?13, duration = ?14, log = ?15
WHERE run_id = ?1 AND position = ?2

-- name: update_progress
UPDATE step_runs SET progress = ?3, progress_text = ?4 WHERE run_id = ?1 AND position = ?2 AND state = 'running'

-- name: put_result
INSERT OR REPLACE INTO step_cache (key, inputs, outputs, artifacts, passed, summary, run_id, created_at, duration)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: put_last
INSERT INTO step_last (pipeline, step, key) VALUES (?, ?, ?)
ON CONFLICT (pipeline, step) DO UPDATE SET key = excluded.key WHERE step_last.key <> excluded.key

-- name: last_results
SELECT l.step, l.key, c.inputs, c.outputs, c.artifacts, c.passed, c.summary, c.run_id, c.created_at, c.duration
FROM step_last l JOIN step_cache c ON c.key = l.key WHERE l.pipeline = ?

-- name: find_result
SELECT '', key, inputs, outputs, artifacts, passed, summary, run_id, created_at, duration
FROM step_cache WHERE key = ?

-- name: running_runs
SELECT id, pipeline FROM pipeline_runs WHERE state = 'running'

-- name: interrupt_run
UPDATE pipeline_runs SET state = 'interrupted', ended_at = ?2, error = ?3 WHERE id = ?1 AND state = 'running'

-- name: interrupt_steps
UPDATE step_runs SET state = 'interrupted', ended_at = ?2
WHERE run_id = ?1 AND (state = 'running' OR state = 'waiting')

-- name: list_runs
SELECT id, pipeline, file, state, params, actor, reason, started_at, ended_at, error, job
FROM pipeline_runs WHERE (?1 = '' OR pipeline = ?1) AND (?3 = '' OR job = ?3)
ORDER BY started_at DESC, id DESC LIMIT ?2

-- name: find_runs
SELECT id, pipeline, file, state, params, actor, reason, started_at, ended_at, error, job
FROM pipeline_runs WHERE id >= ?1 AND id < ?1 || 'g' ORDER BY id LIMIT 2

-- name: list_steps
SELECT step, kind, state, passed, why, key, outputs, artifacts, summary, error, attempts, started_at, ended_at,
       duration, log, progress, progress_text
FROM step_runs WHERE run_id = ? ORDER BY position

-- name: find_digest
SELECT size, inode, modified, changed, sha256 FROM file_digests WHERE path = ?

-- name: put_digest
INSERT OR REPLACE INTO file_digests (path, size, inode, modified, changed, sha256) VALUES (?, ?, ?, ?, ?, ?)
