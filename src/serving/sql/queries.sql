-- name: insert_deployment
INSERT INTO serving_deployments(name, model, spec, created, updated) VALUES(?1, ?2, ?3, ?4, ?4)

-- name: update_deployment
UPDATE serving_deployments SET model = ?2, spec = ?3, updated = ?4 WHERE name = ?1

-- name: find_deployment
SELECT name, model, spec, created, updated FROM serving_deployments WHERE name = ?1

-- name: list_deployments
SELECT name, model, spec, created, updated FROM serving_deployments ORDER BY name

-- name: delete_deployment
DELETE FROM serving_deployments WHERE name = ?1

-- name: find_subject_key
SELECT id, sealed FROM serving_subject_keys WHERE subject = ?1

-- name: find_subject_key_by_id
SELECT id, sealed FROM serving_subject_keys WHERE id = ?1

-- name: insert_subject_key
INSERT INTO serving_subject_keys(id, subject, sealed, created) VALUES(?1, ?2, ?3, ?4)

-- name: blank_subject_key
UPDATE serving_subject_keys SET sealed = ?2 WHERE id = ?1

-- name: delete_subject_key
DELETE FROM serving_subject_keys WHERE id = ?1

-- name: count_subject_keys
SELECT count(*) FROM serving_subject_keys

-- name: insert_rollout
INSERT INTO serving_rollouts(id, deployment, state, started, updated, body) VALUES(?1, ?2, ?3, ?4, ?4, ?5)

-- name: update_rollout
UPDATE serving_rollouts SET state = ?2, updated = ?3, body = ?4 WHERE id = ?1

-- name: find_open_rollout
SELECT id, deployment, state, started, updated, body FROM serving_rollouts
WHERE deployment = ?1 AND state IN ('running', 'paused', 'promoting', 'rolling_back')

-- name: list_rollouts
SELECT id, deployment, state, started, updated, body FROM serving_rollouts
WHERE deployment = ?1 ORDER BY started DESC, id LIMIT 100

-- name: list_open_rollouts
SELECT id, deployment, state, started, updated, body FROM serving_rollouts
WHERE state IN ('running', 'paused', 'promoting', 'rolling_back') ORDER BY started, id
