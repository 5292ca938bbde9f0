-- name: insert_model
INSERT INTO registered_models(name, description, created, updated) VALUES (?1, ?2, ?3, ?3)

-- name: find_model
SELECT id, name, description, created, updated FROM registered_models WHERE name = ?

-- name: rename_model
UPDATE registered_models SET name = ?2, updated = ?3 WHERE id = ?1

-- name: describe_model
UPDATE registered_models SET description = ?2, updated = ?3 WHERE id = ?1

-- name: touch_model
UPDATE registered_models SET updated = ?2 WHERE id = ?1

-- name: delete_model
DELETE FROM registered_models WHERE id = ?

-- name: delete_model_aliases
DELETE FROM model_aliases WHERE model_id = ?

-- name: upsert_model_tag
INSERT INTO registered_model_tags(model_id, key, value) VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET value = excluded.value

-- name: delete_model_tag
DELETE FROM registered_model_tags WHERE model_id = ? AND key = ?

-- name: model_tags
SELECT key, value FROM registered_model_tags WHERE model_id = ? ORDER BY key

-- name: model_aliases
SELECT alias, number FROM model_aliases WHERE model_id = ? ORDER BY alias

-- name: take_number
UPDATE registered_models SET next_version = next_version + 1, updated = ?2 WHERE id = ?1

-- name: taken_number
SELECT next_version - 1 FROM registered_models WHERE id = ?

-- name: insert_version
INSERT INTO model_versions(model_id, number, source, run_id, logged_model_id, digest, description, status, stage, user,
  metadata, created, updated, storage, run_link)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'READY', 'None', ?8, ?9, ?10, ?10, ?11, ?12)

-- name: find_version
SELECT v.id, m.id, m.name, v.number, v.source, v.run_id, v.logged_model_id, v.digest, v.description, v.status, v.stage,
  v.user, v.metadata, v.created, v.updated, v.storage, v.run_link
FROM model_versions v JOIN registered_models m ON m.id = v.model_id WHERE m.name = ? AND v.number = ?

-- name: find_by_alias
SELECT v.id, m.id, m.name, v.number, v.source, v.run_id, v.logged_model_id, v.digest, v.description, v.status, v.stage,
  v.user, v.metadata, v.created, v.updated, v.storage, v.run_link
FROM registered_models m JOIN model_aliases a ON a.model_id = m.id
JOIN model_versions v ON v.model_id = m.id AND v.number = a.number WHERE m.name = ? AND a.alias = ?

-- name: find_latest
SELECT v.id, m.id, m.name, v.number, v.source, v.run_id, v.logged_model_id, v.digest, v.description, v.status, v.stage,
  v.user, v.metadata, v.created, v.updated, v.storage, v.run_link
FROM registered_models m JOIN model_versions v ON v.model_id = m.id WHERE m.name = ? ORDER BY v.number DESC LIMIT 1

-- name: versions_of_model
SELECT v.id, m.id, m.name, v.number, v.source, v.run_id, v.logged_model_id, v.digest, v.description, v.status, v.stage,
  v.user, v.metadata, v.created, v.updated, v.storage, v.run_link
FROM registered_models m JOIN model_versions v ON v.model_id = m.id WHERE m.name = ? ORDER BY v.number DESC

-- name: latest_by_stage
SELECT v.id, m.id, m.name, v.number, v.source, v.run_id, v.logged_model_id, v.digest, v.description, v.status, v.stage,
  v.user, v.metadata, v.created, v.updated, v.storage, v.run_link
FROM registered_models m JOIN model_versions v ON v.model_id = m.id
WHERE m.name = ? AND v.number = (SELECT max(number) FROM model_versions WHERE model_id = m.id AND stage = v.stage)
ORDER BY v.number DESC

-- name: version_tags
SELECT key, value FROM model_version_tags WHERE version_id = ? ORDER BY key

-- name: version_aliases
SELECT alias FROM model_aliases WHERE model_id = ? AND number = ? ORDER BY alias

-- name: describe_version
UPDATE model_versions SET description = ?2, updated = ?3 WHERE id = ?1

-- name: stage_version
UPDATE model_versions SET stage = ?2, updated = ?3 WHERE id = ?1

-- name: archive_others
UPDATE model_versions SET stage = 'Archived', updated = ?4 WHERE model_id = ?1 AND stage = ?2 AND id <> ?3

-- name: touch_version
UPDATE model_versions SET updated = ?2 WHERE id = ?1

-- name: delete_version
DELETE FROM model_versions WHERE id = ?

-- name: upsert_version_tag
INSERT INTO model_version_tags(version_id, key, value) VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET value = excluded.value

-- name: delete_version_tag
DELETE FROM model_version_tags WHERE version_id = ? AND key = ?

-- name: find_alias
SELECT number FROM model_aliases WHERE model_id = ? AND alias = ?

-- name: upsert_alias
INSERT INTO model_aliases(model_id, alias, number) VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET number = excluded.number

-- name: delete_alias
DELETE FROM model_aliases WHERE model_id = ? AND alias = ?

-- name: insert_move
INSERT INTO model_alias_moves(model_id, alias, from_number, to_number, at, actor, reason) VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: alias_history
SELECT h.alias, h.from_number, h.to_number, h.at, h.actor, h.reason
FROM model_alias_moves h JOIN registered_models m ON m.id = h.model_id
WHERE m.name = ? AND h.alias = ? ORDER BY h.seq

-- name: alias_at
SELECT h.to_number FROM model_alias_moves h JOIN registered_models m ON m.id = h.model_id
WHERE m.name = ? AND h.alias = ? AND h.at <= ? ORDER BY h.at DESC, h.seq DESC LIMIT 1

-- name: aliases_at
SELECT h.alias, h.from_number, h.to_number, h.at, h.actor, h.reason
FROM model_alias_moves h JOIN registered_models m ON m.id = h.model_id
WHERE m.name = ?1 AND h.at <= ?2 AND h.to_number IS NOT NULL AND NOT EXISTS (
  SELECT 1 FROM model_alias_moves n WHERE n.model_id = h.model_id AND n.alias = h.alias AND n.at <= ?2
    AND (n.at > h.at OR (n.at = h.at AND n.seq > h.seq)))
ORDER BY h.alias

-- name: insert_gate
INSERT INTO model_gates(model_id, number, passed, decision, at, actor) VALUES (?, ?, ?, ?, ?, ?)

-- name: gates
SELECT g.passed, g.decision, g.at, g.actor FROM model_gates g JOIN registered_models m ON m.id = g.model_id
WHERE m.name = ? AND g.number = ? ORDER BY g.seq

-- name: raise_next_version
UPDATE registered_models SET next_version = ?2 WHERE id = ?1 AND next_version < ?2

-- name: intake_version
UPDATE model_versions SET description = ?2, status = ?3, stage = ?4, updated = ?5 WHERE id = ?1

-- name: models_stored_at
SELECT DISTINCT m.name FROM model_versions v JOIN registered_models m ON m.id = v.model_id
WHERE v.storage IN (SELECT value FROM json_each(?1))
  OR (v.storage = '' AND v.source IN (SELECT value FROM json_each(?1)))
