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
