-- Registered models, their numbered versions, and aliases. Times are microseconds since 1970.
CREATE TABLE registered_models (
  id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice, so that a new model never inherits an old one's history
  name TEXT NOT NULL UNIQUE,
  description TEXT NOT NULL,
  next_version INTEGER NOT NULL DEFAULT 1,
  created INTEGER NOT NULL,
  updated INTEGER NOT NULL
);

CREATE TABLE registered_model_tags (
  model_id INTEGER NOT NULL REFERENCES registered_models(id) ON DELETE CASCADE,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (model_id, key)
) WITHOUT ROWID;

CREATE TABLE model_versions (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  model_id INTEGER NOT NULL REFERENCES registered_models(id) ON DELETE CASCADE,
  number INTEGER NOT NULL,
  source TEXT NOT NULL,
  run_id TEXT NOT NULL,
  logged_model_id TEXT NOT NULL,
  digest TEXT NOT NULL,
  description TEXT NOT NULL,
  status TEXT NOT NULL,
  stage TEXT NOT NULL,
  user TEXT NOT NULL,
  metadata TEXT NOT NULL,  -- JSON
  created INTEGER NOT NULL,
  updated INTEGER NOT NULL,
  UNIQUE (model_id, number)
);
CREATE INDEX model_versions_by_run ON model_versions(run_id);
CREATE INDEX model_versions_by_digest ON model_versions(digest);

CREATE TABLE model_version_tags (
  version_id INTEGER NOT NULL REFERENCES model_versions(id) ON DELETE CASCADE,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (version_id, key)
) WITHOUT ROWID;

CREATE TABLE model_aliases (
  model_id INTEGER NOT NULL REFERENCES registered_models(id) ON DELETE CASCADE,
  alias TEXT NOT NULL,
  number INTEGER NOT NULL,
  PRIMARY KEY (model_id, alias),
  FOREIGN KEY (model_id, number) REFERENCES model_versions(model_id, number)
) WITHOUT ROWID;
CREATE INDEX model_aliases_by_number ON model_aliases(model_id, number);

-- Grows only. "What did an alias point at at time T" is the last row at or before T.
CREATE TABLE model_alias_moves (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  model_id INTEGER NOT NULL,
  alias TEXT NOT NULL,
  from_number INTEGER,
  to_number INTEGER,
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT NOT NULL
);
CREATE INDEX model_alias_moves_by_time ON model_alias_moves(model_id, alias, at, seq);

-- Grows only.
CREATE TABLE model_gates (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  model_id INTEGER NOT NULL,
  number INTEGER NOT NULL,
  passed INTEGER NOT NULL,
  decision TEXT NOT NULL,  -- JSON
  at INTEGER NOT NULL,
  actor TEXT NOT NULL
);
CREATE INDEX model_gates_by_version ON model_gates(model_id, number, seq);
