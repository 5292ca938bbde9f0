-- One row per committed version; the manifest itself is the blob of that digest.
CREATE TABLE dataset_versions (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  version TEXT NOT NULL,
  row_count INTEGER NOT NULL,
  column_count INTEGER NOT NULL,
  byte_count INTEGER NOT NULL,
  created INTEGER NOT NULL,     -- microseconds since 1970 UTC
  created_by TEXT NOT NULL,
  UNIQUE (name, version)
) STRICT;
