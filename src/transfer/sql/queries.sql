-- name: find_item
SELECT target, fingerprint, counts FROM transfer_items WHERE source = ? AND kind = ? AND id = ?

-- name: put_item
INSERT INTO transfer_items(source, kind, id, target, fingerprint, counts) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (source, kind, id) DO UPDATE SET target = excluded.target, fingerprint = excluded.fingerprint,
  counts = excluded.counts
