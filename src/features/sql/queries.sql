-- name: find_view
SELECT name, spec, version, switched, switched_by, serial FROM feature_views WHERE name = ?;

-- name: list_views
SELECT name, spec, version, switched, switched_by, serial FROM feature_views ORDER BY name;

-- name: put_view
INSERT INTO feature_views(name, spec, version, switched, switched_by, serial) VALUES (?, ?, ?, ?, ?, 1)
ON CONFLICT (name) DO UPDATE SET spec = excluded.spec, version = excluded.version, switched = excluded.switched,
  switched_by = excluded.switched_by, serial = feature_views.serial + 1;

-- name: drop_view
DELETE FROM feature_views WHERE name = ?;
