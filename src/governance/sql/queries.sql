-- name: put_node
INSERT INTO lineage_nodes(type, id, facts) VALUES(?, ?, ?)
ON CONFLICT(type, id) DO UPDATE SET facts = excluded.facts WHERE excluded.facts <> '{}'
-- name: put_edge
INSERT INTO lineage_edges(from_type, from_id, to_type, to_id, activity, at, actor) VALUES(?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING
-- name: find_node
SELECT facts FROM lineage_nodes WHERE type = ? AND id = ?
-- name: find_sources
SELECT from_type, from_id, activity, at, actor FROM lineage_edges WHERE to_type = ? AND to_id = ? ORDER BY at, from_type, from_id
-- name: find_products
SELECT to_type, to_id, activity, at, actor FROM lineage_edges WHERE from_type = ? AND from_id = ? ORDER BY at, to_type, to_id

-- name: version_origins
SELECT m.name, v.number, v.run_id, v.logged_model_id, v.source
FROM model_versions v JOIN registered_models m ON m.id = v.model_id

-- name: experiment_names
SELECT id, name FROM experiments

-- name: experiment_content
SELECT (SELECT count(*) FROM runs WHERE experiment_id = ?1) + (SELECT count(*) FROM logged_models WHERE experiment_id = ?1)
