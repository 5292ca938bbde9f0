-- What came from what. A node is named by its type and id; facts are small JSON, kept from the first time it was named.
CREATE TABLE lineage_nodes(
  type TEXT NOT NULL,
  id TEXT NOT NULL,
  facts TEXT NOT NULL,
  PRIMARY KEY(type, id)
) WITHOUT ROWID;

CREATE TABLE lineage_edges(
  from_type TEXT NOT NULL,
  from_id TEXT NOT NULL,
  to_type TEXT NOT NULL,
  to_id TEXT NOT NULL,
  activity TEXT NOT NULL,
  at INTEGER NOT NULL,  -- microseconds
  actor TEXT NOT NULL,
  PRIMARY KEY(to_type, to_id, from_type, from_id, activity)
) WITHOUT ROWID;
CREATE INDEX lineage_edges_from ON lineage_edges(from_type, from_id);
