-- name: insert_version
INSERT INTO dataset_versions(name, version, row_count, column_count, byte_count, created, created_by)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: version_exists
SELECT 1 FROM dataset_versions WHERE name = ? AND version = ?;

-- name: find_version
SELECT name, version, row_count, column_count, byte_count, created, created_by
FROM dataset_versions WHERE name = ? AND version = ?;

-- name: versions_by_prefix
SELECT version FROM dataset_versions WHERE name = ? AND substr(version, 1, length(?)) = ? LIMIT 2;

-- name: newest_version
SELECT version FROM dataset_versions WHERE name = ? ORDER BY id DESC LIMIT 1;

-- name: list_names
SELECT DISTINCT name FROM dataset_versions ORDER BY name;

-- name: list_newest
SELECT name, version, row_count, column_count, byte_count, created, created_by
FROM dataset_versions WHERE id IN (SELECT max(id) FROM dataset_versions GROUP BY name) ORDER BY name;

-- name: list_versions
SELECT name, version, row_count, column_count, byte_count, created, created_by
FROM dataset_versions WHERE name = ? ORDER BY id DESC;

-- name: delete_version
DELETE FROM dataset_versions WHERE name = ? AND version = ?;
