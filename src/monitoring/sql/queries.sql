-- name: put_monitor
INSERT INTO monitors (deployment, spec) VALUES (?, ?)
ON CONFLICT (deployment) DO UPDATE SET spec = excluded.spec

-- name: get_monitor
SELECT spec FROM monitors WHERE deployment = ?

-- name: list_monitors
SELECT spec FROM monitors ORDER BY deployment

-- name: last_window
SELECT start, finish FROM monitor_windows WHERE deployment = ? ORDER BY start DESC LIMIT 1

-- name: first_open_window
SELECT start, finish FROM monitor_windows WHERE deployment = ? AND phase = 0 ORDER BY start LIMIT 1

-- name: report_before
SELECT report FROM monitor_windows WHERE deployment = ? AND start < ? ORDER BY start DESC LIMIT 1

-- name: add_window
INSERT INTO monitor_windows (deployment, start, finish, phase, report, evaluated_at) VALUES (?, ?, ?, 0, ?, ?)
ON CONFLICT (deployment, start) DO NOTHING

-- name: finish_window
UPDATE monitor_windows SET phase = 1, report = ?, evaluated_at = ? WHERE deployment = ? AND start = ? AND phase = 0

-- name: list_windows
SELECT report FROM monitor_windows WHERE deployment = ? AND start >= ? AND start < ? ORDER BY start LIMIT ?

-- name: list_windows_newest
SELECT report FROM monitor_windows WHERE deployment = ? AND start >= ? AND start < ? ORDER BY start DESC LIMIT ?

-- name: latest_reports
SELECT report FROM monitor_windows AS w
WHERE start = (SELECT max(start) FROM monitor_windows WHERE deployment = w.deployment) ORDER BY deployment

-- name: latest_labelled_reports
SELECT report FROM monitor_windows AS w
WHERE start = (SELECT max(start) FROM monitor_windows WHERE deployment = w.deployment AND phase = 1) ORDER BY deployment

-- name: get_state
SELECT streak, alert_id, since_told FROM alert_states WHERE deployment = ? AND rule = ?

-- name: put_state
INSERT INTO alert_states (deployment, rule, streak, alert_id, since_told) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (deployment, rule) DO UPDATE
SET streak = excluded.streak, alert_id = excluded.alert_id, since_told = excluded.since_told

-- name: list_states
SELECT deployment, rule, streak, alert_id FROM alert_states ORDER BY deployment, rule

-- name: states_of
SELECT rule, alert_id FROM alert_states WHERE deployment = ? ORDER BY rule

-- name: drop_state
DELETE FROM alert_states WHERE deployment = ? AND rule = ?

-- name: add_alert
INSERT INTO alerts (id, deployment, rule, severity, expression, version, start, finish, clauses, fired_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: resolve_alert
UPDATE alerts SET resolved_start = ?, resolved_finish = ?, resolved_at = ?, resolution = ?
WHERE id = ? AND resolved_at IS NULL

-- name: repeat_alert
UPDATE alerts SET repeats = repeats + 1 WHERE id = ?

-- name: get_alert
SELECT id, deployment, rule, severity, expression, version, start, finish, clauses, fired_at, repeats, resolved_start,
       resolved_finish, resolved_at, resolution
FROM alerts WHERE id = ?

-- name: list_alerts
SELECT id, deployment, rule, severity, expression, version, start, finish, clauses, fired_at, repeats, resolved_start,
       resolved_finish, resolved_at, resolution
FROM alerts WHERE (?1 = '' OR deployment = ?1) AND (?2 = 0 OR resolved_at IS NULL)
ORDER BY fired_at DESC, start DESC, id LIMIT ?3

-- name: count_alerts
SELECT deployment, rule, severity, count(*) FROM alerts GROUP BY deployment, rule, severity ORDER BY deployment, rule

-- name: add_message
INSERT INTO alert_outbox (alert_id, deployment, event, target, body) VALUES (?, ?, ?, ?, ?)

-- Messages to one target keep their order: none is due before an earlier one that waits for its next attempt.
-- name: due_sink_messages
SELECT id, event, body, attempts FROM alert_outbox AS m
WHERE target = '' AND next_attempt <= ?1
  AND NOT EXISTS (SELECT 1 FROM alert_outbox AS e WHERE e.target = '' AND e.id < m.id AND e.next_attempt > ?1)
ORDER BY id LIMIT ?2

-- name: due_webhook_messages
SELECT id, event, body, attempts, target, alert_id FROM alert_outbox AS m
WHERE target <> '' AND next_attempt <= ?1
  AND NOT EXISTS (SELECT 1 FROM alert_outbox AS e WHERE e.target = m.target AND e.id < m.id AND e.next_attempt > ?1)
ORDER BY id LIMIT ?2

-- name: owes_the_sink
SELECT 1 FROM alert_outbox WHERE target = '' AND deployment = ? LIMIT 1

-- name: count_messages
SELECT count(*) FROM alert_outbox WHERE target <> ''

-- name: message_done
DELETE FROM alert_outbox WHERE id = ?

-- name: message_failed
UPDATE alert_outbox SET attempts = attempts + 1, next_attempt = ?, last_error = ? WHERE id = ?
