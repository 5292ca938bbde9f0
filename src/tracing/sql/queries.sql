-- name: find_trace
SELECT seq, id, experiment_id, client_request_id, request_preview, response_preview, start_ms, duration_ms, state,
  recorded FROM traces WHERE id = ?

-- name: insert_trace
INSERT INTO traces(id, experiment_id, client_request_id, request_preview, response_preview, start_ms, duration_ms, state,
  recorded) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: update_trace
UPDATE traces SET client_request_id = ?2, request_preview = ?3, response_preview = ?4, start_ms = ?5, duration_ms = ?6,
  state = ?7, recorded = ?8 WHERE seq = ?1

-- name: delete_trace
DELETE FROM traces WHERE seq = ?

-- name: delete_of_experiment
DELETE FROM traces WHERE experiment_id = ?

-- name: tags
SELECT key, value FROM trace_tags WHERE trace = ? ORDER BY key

-- name: metadata
SELECT key, value FROM trace_metadata WHERE trace = ? ORDER BY key

-- name: upsert_tag
INSERT INTO trace_tags(trace, key, value) VALUES (?, ?, ?) ON CONFLICT (trace, key) DO UPDATE SET value = excluded.value

-- name: delete_tag
DELETE FROM trace_tags WHERE trace = ? AND key = ?

-- name: upsert_metadata
INSERT INTO trace_metadata(trace, key, value) VALUES (?, ?, ?)
ON CONFLICT (trace, key) DO UPDATE SET value = excluded.value

-- name: upsert_span
INSERT INTO trace_spans(trace, span_id, parent_id, name, type, status, start_ns, end_ns, content)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (trace, span_id) DO UPDATE SET parent_id = excluded.parent_id, name = excluded.name, type = excluded.type,
  status = excluded.status, start_ns = excluded.start_ns, end_ns = excluded.end_ns, content = excluded.content

-- name: count_spans
SELECT count(*) FROM trace_spans WHERE trace = ?

-- name: spans
SELECT content FROM trace_spans WHERE trace = ?
ORDER BY CASE WHEN parent_id = '' THEN 0 ELSE 1 END, start_ns, span_id

-- name: oldest
SELECT seq FROM traces WHERE experiment_id = ?1 AND start_ms <= ?2 ORDER BY start_ms, id LIMIT ?3

-- name: link_run
INSERT OR IGNORE INTO trace_runs(trace, run_id) VALUES (?, ?)

-- name: link_prompt
INSERT OR IGNORE INTO trace_prompts(trace, prompt) VALUES (?, ?)

-- name: prompts
SELECT prompt FROM trace_prompts WHERE trace = ? ORDER BY prompt

-- name: assessments
SELECT id, content FROM trace_assessments WHERE trace = ? ORDER BY created_ms, id

-- name: count_assessments
SELECT count(*) FROM trace_assessments WHERE trace = ?

-- name: find_assessment
SELECT id, content FROM trace_assessments WHERE trace = ? AND id = ?

-- name: upsert_assessment
INSERT INTO trace_assessments(trace, id, kind, name, value, number, valid, overrides, created_ms, content)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (trace, id) DO UPDATE SET kind = excluded.kind, name = excluded.name, value = excluded.value,
  number = excluded.number, valid = excluded.valid, overrides = excluded.overrides, content = excluded.content

-- name: delete_assessment
DELETE FROM trace_assessments WHERE trace = ? AND id = ?
