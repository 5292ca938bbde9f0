-- name: put_label
INSERT INTO labels(prediction_id, deployment, label, label_time, received) VALUES(?, ?, ?, ?, ?)
ON CONFLICT(prediction_id) DO UPDATE SET label = excluded.label, label_time = excluded.label_time, received = excluded.received
WHERE excluded.label_time >= labels.label_time
-- name: find_label
SELECT label, label_time FROM labels WHERE prediction_id = ?
-- name: count_labels
SELECT count(*) FROM labels WHERE deployment = ?
-- name: put_loop
INSERT INTO feedback_loops(deployment, spec, pipeline_folder) VALUES(?, ?, ?)
ON CONFLICT(deployment) DO UPDATE SET spec = excluded.spec, pipeline_folder = excluded.pipeline_folder
-- name: find_loop
SELECT spec, pipeline_folder FROM feedback_loops WHERE deployment = ?
-- name: list_loops
SELECT deployment, spec, pipeline_folder FROM feedback_loops ORDER BY deployment
-- name: put_trigger
INSERT INTO feedback_triggers(deployment, entry, cause, due, job) VALUES(?, ?, ?, ?, ?)
-- name: find_trigger
SELECT job FROM feedback_triggers WHERE deployment = ? AND entry = ? AND cause = ? AND due = ?
-- name: last_trigger
SELECT max(due) FROM feedback_triggers WHERE deployment = ? AND entry = ?
-- name: list_triggers
SELECT entry, cause, due, job FROM feedback_triggers WHERE deployment = ? ORDER BY id
-- name: find_schedule
SELECT seen FROM feedback_schedules WHERE deployment = ? AND entry = ?
-- name: put_schedule
INSERT INTO feedback_schedules(deployment, entry, seen) VALUES(?, ?, ?)
ON CONFLICT(deployment, entry) DO UPDATE SET seen = excluded.seen
-- name: put_trial
INSERT INTO feedback_trials(deployment, alias, version, champion, started, looked, state, ended, decision)
VALUES(?, ?, ?, ?, ?, ?, 'running', NULL, '{}')
-- name: update_trial
UPDATE feedback_trials SET champion = ?, looked = ?, state = ?, ended = ?, decision = ? WHERE id = ?
-- name: supersede_trials
UPDATE feedback_trials SET state = 'superseded', ended = ? WHERE deployment = ? AND alias = ? AND version <> ? AND state = 'running'
-- name: list_trials
SELECT id, alias, version, champion, started, looked, state, ended, decision FROM feedback_trials WHERE deployment = ? ORDER BY id
