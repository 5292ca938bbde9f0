-- name: insert_default_experiment
INSERT OR IGNORE INTO experiments(id, name, artifact_location, created_ms, updated_ms)
VALUES (0, 'Default', 'mlflow-artifacts:/0', ?1, ?1)

-- name: insert_experiment
INSERT INTO experiments(name, artifact_location, created_ms, updated_ms) VALUES (?1, ?2, ?3, ?3)

-- name: set_artifact_location
UPDATE experiments SET artifact_location = ?2 WHERE id = ?1

-- name: find_experiment
SELECT id, name, artifact_location, created_ms, updated_ms, deleted_ms FROM experiments WHERE id = ?

-- name: find_experiment_by_name
SELECT id, name, artifact_location, created_ms, updated_ms, deleted_ms FROM experiments WHERE name = ?

-- name: rename_experiment
UPDATE experiments SET name = ?2, updated_ms = ?3 WHERE id = ?1

-- name: mark_experiment_deleted
UPDATE experiments SET deleted_ms = ?2, updated_ms = ?2 WHERE id = ?1

-- name: mark_experiment_restored
UPDATE experiments SET deleted_ms = NULL, updated_ms = ?2 WHERE id = ?1

-- name: mark_runs_deleted_with_experiment
UPDATE runs SET deleted_ms = ?2 WHERE experiment_id = ?1 AND deleted_ms IS NULL

-- name: mark_runs_restored_with_experiment
UPDATE runs SET deleted_ms = NULL WHERE experiment_id = ?1 AND deleted_ms = ?2

-- name: upsert_experiment_tag
INSERT INTO experiment_tags(experiment_id, key, value) VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET value = excluded.value

-- name: delete_experiment_tag
DELETE FROM experiment_tags WHERE experiment_id = ? AND key = ?

-- name: experiment_tags
SELECT experiment_id, key, value FROM experiment_tags
WHERE experiment_id IN (SELECT value FROM json_each(?)) ORDER BY experiment_id, key

-- name: insert_run
INSERT INTO runs(id, experiment_id, name, user_id, status, start_ms, artifact_uri) VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: find_run
SELECT seq, experiment_id, deleted_ms, artifact_uri FROM runs WHERE id = ?

-- name: update_run
UPDATE runs SET status = coalesce(?2, status), end_ms = coalesce(?3, end_ms), name = coalesce(?4, name) WHERE seq = ?1

-- name: set_run_deleted
UPDATE runs SET deleted_ms = ?2 WHERE seq = ?1

-- name: runs_by_seq
SELECT seq, id, experiment_id, name, user_id, status, start_ms, end_ms, deleted_ms, artifact_uri
FROM runs WHERE seq IN (SELECT value FROM json_each(?))

-- name: params_by_seq
SELECT run, key, value FROM run_params WHERE run IN (SELECT value FROM json_each(?)) ORDER BY run, key

-- name: tags_by_seq
SELECT run, key, value FROM run_tags WHERE run IN (SELECT value FROM json_each(?)) ORDER BY run, key

-- name: latest_metrics_by_seq
SELECT run, key, value, is_nan, step, timestamp_ms FROM run_latest_metrics
WHERE run IN (SELECT value FROM json_each(?)) ORDER BY run, key

-- name: inputs_by_seq
SELECT run, name, digest, source_type, source, schema, profile, tags FROM run_inputs
WHERE run IN (SELECT value FROM json_each(?)) ORDER BY run, name, digest, context

-- name: models_by_seq
SELECT run, direction, model_id, step FROM run_models
WHERE run IN (SELECT value FROM json_each(?)) ORDER BY run, direction, model_id

-- name: last_metric_log
SELECT n, points FROM run_metric_log WHERE run = ? ORDER BY n DESC LIMIT 1

-- name: insert_metric_log
INSERT INTO run_metric_log(run, n, points, data) VALUES (?, ?, ?, ?)

-- name: metric_log
SELECT data FROM run_metric_log WHERE run = ? ORDER BY n

-- name: delete_metric_log
DELETE FROM run_metric_log WHERE run = ?

-- name: insert_metric_chunk
INSERT INTO run_metric_chunks(run, key, points, first_ms, last_ms, data) VALUES (?, ?, ?, ?, ?, ?)

-- name: newest_metric_chunk
SELECT id, points, data FROM run_metric_chunks WHERE run = ? AND key = ? ORDER BY first_ms DESC LIMIT 1

-- name: replace_metric_chunk
UPDATE run_metric_chunks SET points = ?2, first_ms = ?3, last_ms = ?4, data = ?5 WHERE id = ?1

-- name: metric_chunk_sizes
SELECT id, points, first_ms, last_ms FROM run_metric_chunks WHERE run = ? AND key = ? ORDER BY first_ms, id

-- name: metric_chunks
SELECT data FROM run_metric_chunks WHERE run = ? AND key = ? AND first_ms BETWEEN ? AND ?

-- name: upsert_latest_metric
INSERT INTO run_latest_metrics(run, key, value, is_nan, step, timestamp_ms) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET value = excluded.value, is_nan = excluded.is_nan, step = excluded.step,
  timestamp_ms = excluded.timestamp_ms
WHERE (excluded.step, excluded.timestamp_ms, excluded.value) >
  (run_latest_metrics.step, run_latest_metrics.timestamp_ms, run_latest_metrics.value)

-- name: old_metric_points
SELECT value, is_nan, step, timestamp_ms FROM run_metrics WHERE run = ? AND key = ?

-- name: insert_param
INSERT OR IGNORE INTO run_params(run, key, value) VALUES (?, ?, ?)

-- name: find_param
SELECT value FROM run_params WHERE run = ? AND key = ?

-- name: upsert_tag
INSERT INTO run_tags(run, key, value) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value

-- name: find_tag
SELECT value FROM run_tags WHERE run = ? AND key = ?

-- name: delete_tag
DELETE FROM run_tags WHERE run = ? AND key = ?

-- name: upsert_input
INSERT INTO run_inputs(run, name, digest, source_type, source, schema, profile, context, tags)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET tags = excluded.tags

-- name: search_datasets
SELECT DISTINCT r.experiment_id, i.name, i.digest, i.context FROM run_inputs i JOIN runs r ON r.seq = i.run
WHERE r.experiment_id IN (SELECT value FROM json_each(?1))
ORDER BY r.experiment_id DESC, i.name, i.digest, i.context LIMIT ?2

-- name: upsert_model_link
INSERT INTO run_models(run, direction, model_id, step) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET step = excluded.step

-- name: upsert_artifact
INSERT INTO artifacts(path, sha256, size, created_ms) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET sha256 = excluded.sha256, size = excluded.size, created_ms = excluded.created_ms

-- name: find_artifact
SELECT sha256, size FROM artifacts WHERE path = ?

-- name: artifacts_below
-- ?1 = "folder/", ?2 = "folder0": "0" is the character after "/".
SELECT path, sha256, size FROM artifacts WHERE path >= ?1 AND path < ?2 ORDER BY path

-- name: any_artifact_below
SELECT 1 FROM artifacts WHERE path >= ?1 AND path < ?2 LIMIT 1

-- name: delete_artifact
DELETE FROM artifacts WHERE path = ?1

-- name: delete_artifacts_below
DELETE FROM artifacts WHERE path >= ?1 AND path < ?2

-- name: insert_logged_model
INSERT INTO logged_models(id, experiment_id, name, type, run_id, status, artifact_uri, created_ms, updated_ms)
VALUES (?1, ?2, ?3, ?4, ?5, 'PENDING', ?6, ?7, ?7)

-- name: find_logged_model
SELECT seq, id, experiment_id, name, type, run_id, status, artifact_uri, created_ms, updated_ms, deleted_ms
FROM logged_models WHERE id = ?

-- name: set_logged_model_status
UPDATE logged_models SET status = ?2, updated_ms = ?3 WHERE seq = ?1

-- name: set_logged_model_deleted
UPDATE logged_models SET deleted_ms = ?2, updated_ms = ?2 WHERE seq = ?1

-- name: upsert_logged_model_tag
INSERT INTO logged_model_tags(model, key, value) VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET value = excluded.value

-- name: delete_logged_model_tag
DELETE FROM logged_model_tags WHERE model = ? AND key = ?

-- name: logged_model_tags
SELECT key, value FROM logged_model_tags WHERE model = ? ORDER BY key

-- name: insert_logged_model_param
INSERT OR IGNORE INTO logged_model_params(model, key, value) VALUES (?, ?, ?)

-- name: logged_model_params
SELECT key, value FROM logged_model_params WHERE model = ? ORDER BY key

-- name: insert_logged_model_metric
INSERT OR IGNORE INTO logged_model_metrics(model, key, timestamp_ms, step, run_id, dataset_name, dataset_digest, value,
  is_nan)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: logged_model_metrics
SELECT key, timestamp_ms, step, run_id, dataset_name, dataset_digest, value, is_nan FROM logged_model_metrics
WHERE model = ?1 ORDER BY timestamp_ms DESC, step DESC, key, run_id, dataset_name LIMIT ?2

-- name: retention_tags
SELECT experiment_id, value FROM experiment_tags WHERE key = ?

-- name: deleted_runs
SELECT id, experiment_id, deleted_ms, artifact_uri FROM runs WHERE deleted_ms IS NOT NULL ORDER BY id

-- name: deleted_logged_models
SELECT id, experiment_id, deleted_ms, artifact_uri FROM logged_models WHERE deleted_ms IS NOT NULL ORDER BY id

-- name: deleted_experiments
SELECT name, id, deleted_ms FROM experiments WHERE deleted_ms IS NOT NULL AND id <> 0 ORDER BY id

-- name: run_still_deleted
SELECT seq FROM runs WHERE id = ? AND deleted_ms IS NOT NULL

-- name: purge_run
DELETE FROM runs WHERE seq = ?

-- name: logged_model_still_deleted
SELECT seq FROM logged_models WHERE id = ? AND deleted_ms IS NOT NULL

-- name: purge_logged_model
DELETE FROM logged_models WHERE seq = ?

-- name: purge_experiment
DELETE FROM experiments WHERE id = ?1 AND id <> 0 AND deleted_ms IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM runs WHERE experiment_id = ?1)
  AND NOT EXISTS (SELECT 1 FROM logged_models WHERE experiment_id = ?1)

-- name: intake_experiment
INSERT INTO experiments(id, name, artifact_location, created_ms, updated_ms) VALUES (?, ?, ?, ?, ?)

-- name: intake_experiment_times
UPDATE experiments SET created_ms = ?2, updated_ms = ?3, deleted_ms = ?4 WHERE id = ?1

-- name: intake_run
UPDATE runs SET name = ?2, user_id = ?3, status = ?4, start_ms = ?5, end_ms = ?6, deleted_ms = ?7 WHERE seq = ?1

-- name: drop_run_tags
DELETE FROM run_tags WHERE run = ?

-- name: intake_logged_model
UPDATE logged_models SET status = ?2, created_ms = ?3, updated_ms = ?4, deleted_ms = ?5 WHERE seq = ?1

-- name: drop_logged_model_tags
DELETE FROM logged_model_tags WHERE model = ?

-- name: experiment_of_run
SELECT experiment_id FROM runs WHERE id = ?

-- name: experiment_of_logged_model
SELECT experiment_id FROM logged_models WHERE id = ?

-- name: experiment_of_name
SELECT id FROM experiments WHERE name = ?
