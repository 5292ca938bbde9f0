-- One row an entry, in the order they were committed. `leaf` is the entry's place in the Merkle tree and covers every
-- other column but `signature`; docs/reference/audit-log.md gives the bytes.
CREATE TABLE audit_entries (
  sequence  INTEGER PRIMARY KEY,  -- from 0, without gaps
  time      INTEGER NOT NULL,     -- microseconds since 1970 UTC
  actor     TEXT NOT NULL,
  action    TEXT NOT NULL,
  object    TEXT NOT NULL,
  digest    TEXT NOT NULL,
  details   TEXT NOT NULL,        -- canonical JSON
  previous  TEXT NOT NULL,        -- hex leaf of the entry before
  leaf      TEXT NOT NULL,        -- hex SHA-256(0x00 || canonical JSON of the entry)
  signature TEXT NOT NULL         -- base64 Ed25519 over sequence and leaf: proves entries no checkpoint covers yet
);
-- Against accidents; against intent there are the hashes and signatures.
CREATE TRIGGER audit_entries_no_update BEFORE UPDATE ON audit_entries
BEGIN SELECT RAISE(ABORT, 'audit entries are never changed'); END;
CREATE TRIGGER audit_entries_no_delete BEFORE DELETE ON audit_entries
BEGIN SELECT RAISE(ABORT, 'audit entries are never deleted'); END;
CREATE INDEX audit_entries_object ON audit_entries(object);
CREATE INDEX audit_entries_action ON audit_entries(action);

-- The roots of the tree's complete subtrees of 2^level leaves, level >= 1, keyed by their last leaf: in the order in
-- which appending completes them.
CREATE TABLE audit_nodes (
  last  INTEGER NOT NULL,
  level INTEGER NOT NULL,
  hash  TEXT NOT NULL,
  PRIMARY KEY (last, level)
) WITHOUT ROWID;
