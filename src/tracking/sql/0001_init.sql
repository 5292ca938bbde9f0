-- MLflow's terms: experiments hold runs; runs hold params, metrics, tags, dataset inputs and artifacts.
-- Times are milliseconds since 1970 as MLflow sends them (a caller may send any). A row with a deleted_ms is deleted
-- but can be restored.
CREATE TABLE experiments (
  id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice
  name TEXT NOT NULL UNIQUE,
  artifact_location TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,
  deleted_ms INTEGER
);

CREATE TABLE experiment_tags (
  experiment_id INTEGER NOT NULL REFERENCES experiments(id) ON DELETE CASCADE,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (experiment_id, key)
) WITHOUT ROWID;

CREATE TABLE runs (
  seq INTEGER PRIMARY KEY,  -- short key for the tables below
  id TEXT NOT NULL UNIQUE,
  experiment_id INTEGER NOT NULL REFERENCES experiments(id),
  name TEXT NOT NULL,
  user_id TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('RUNNING', 'SCHEDULED', 'FINISHED', 'FAILED', 'KILLED')),
  start_ms INTEGER NOT NULL,
  end_ms INTEGER,
  deleted_ms INTEGER,
  artifact_uri TEXT NOT NULL
);
-- The default page, newest first, is read straight off this index.
CREATE INDEX runs_newest ON runs(experiment_id, start_ms DESC, id) WHERE deleted_ms IS NULL;
CREATE INDEX runs_all ON runs(experiment_id, start_ms DESC, id);

CREATE TABLE run_params (
  run INTEGER NOT NULL REFERENCES runs(seq) ON DELETE CASCADE,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (run, key)
) WITHOUT ROWID;
-- Values may be thousands of characters long: 64 of them are enough to find the few rows that need a full look.
CREATE INDEX run_params_by_value ON run_params(key, substr(value, 1, 64));

CREATE TABLE run_tags (
  run INTEGER NOT NULL REFERENCES runs(seq) ON DELETE CASCADE,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (run, key)
) WITHOUT ROWID;
CREATE INDEX run_tags_by_value ON run_tags(key, substr(value, 1, 64));

-- Every point ever logged, in the order in which histories are read. The whole row is the key, so that a repeated
-- request changes nothing. SQLite has no NaN: such a point has value 0 and is_nan 1.
CREATE TABLE run_metrics (
  run INTEGER NOT NULL REFERENCES runs(seq) ON DELETE CASCADE,
  key TEXT NOT NULL,
  timestamp_ms INTEGER NOT NULL,
  step INTEGER NOT NULL,
  value REAL NOT NULL,
  is_nan INTEGER NOT NULL,
  PRIMARY KEY (run, key, timestamp_ms, step, value, is_nan)
) WITHOUT ROWID;

-- The point with the greatest (step, timestamp, value) of each key.
CREATE TABLE run_latest_metrics (
  run INTEGER NOT NULL REFERENCES runs(seq) ON DELETE CASCADE,
  key TEXT NOT NULL,
  value REAL NOT NULL,
  is_nan INTEGER NOT NULL,
  step INTEGER NOT NULL,
  timestamp_ms INTEGER NOT NULL,
  PRIMARY KEY (run, key)
) WITHOUT ROWID;
-- Runs in the order of one metric, without looking at those that lack it.
CREATE INDEX run_latest_metrics_by_value ON run_latest_metrics(key, is_nan, value);

CREATE TABLE run_inputs (
  run INTEGER NOT NULL REFERENCES runs(seq) ON DELETE CASCADE,
  name TEXT NOT NULL,
  digest TEXT NOT NULL,
  source_type TEXT NOT NULL,
  source TEXT NOT NULL,
  schema TEXT NOT NULL,
  profile TEXT NOT NULL,
  context TEXT NOT NULL,  -- the tag mlflow.data.context: "training", "validation" …
  tags TEXT NOT NULL,     -- JSON object
  PRIMARY KEY (run, name, digest, context)
) WITHOUT ROWID;
CREATE INDEX run_inputs_by_name ON run_inputs(name, digest);

-- Logged models a run read or made.
CREATE TABLE run_models (
  run INTEGER NOT NULL REFERENCES runs(seq) ON DELETE CASCADE,
  direction TEXT NOT NULL CHECK (direction IN ('input', 'output')),
  model_id TEXT NOT NULL,
  step INTEGER NOT NULL,
  PRIMARY KEY (run, direction, model_id)
) WITHOUT ROWID;

-- The tree of files below mlflow-artifacts:/ ("<experiment>/<run>/artifacts/model/MLmodel"); bytes are in the blob store.
CREATE TABLE artifacts (
  path TEXT PRIMARY KEY,
  sha256 TEXT NOT NULL,
  size INTEGER NOT NULL,
  created_ms INTEGER NOT NULL
) WITHOUT ROWID;
