-- name: last_entry
SELECT sequence, leaf FROM audit_entries ORDER BY sequence DESC LIMIT 1

-- name: insert_entry
INSERT INTO audit_entries(sequence, time, actor, action, object, digest, details, previous, leaf, signature)
VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: insert_node
INSERT INTO audit_nodes(last, level, hash) VALUES(?, ?, ?)

-- name: find_leaf
SELECT leaf FROM audit_entries WHERE sequence = ?

-- name: find_node
SELECT hash FROM audit_nodes WHERE last = ? AND level = ?

-- name: all_entries
-- many rows
SELECT sequence, time, actor, action, object, digest, details, previous, leaf, signature
FROM audit_entries ORDER BY sequence

-- name: all_nodes
-- many rows
SELECT last, level, hash FROM audit_nodes ORDER BY last, level

-- name: list_oldest_first
SELECT sequence, time, actor, action, object, digest, details, previous, leaf FROM audit_entries
WHERE sequence > ?1 AND (?2 = '' OR substr(action, 1, length(?2)) = ?2)
  AND (?3 = '' OR substr(object, 1, length(?3)) = ?3) AND (?4 = '' OR actor = ?4)
ORDER BY sequence LIMIT ?5

-- name: list_newest_first
SELECT sequence, time, actor, action, object, digest, details, previous, leaf FROM audit_entries
WHERE sequence > ?1 AND (?2 = '' OR substr(action, 1, length(?2)) = ?2)
  AND (?3 = '' OR substr(object, 1, length(?3)) = ?3) AND (?4 = '' OR actor = ?4)
ORDER BY sequence DESC LIMIT ?5
