-- MLflow 3 keeps a model a run made as a thing of its own, with files below <experiment>/models/<id>/artifacts.
CREATE TABLE logged_models (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,  -- "m-" and 32 hexadecimal characters
  experiment_id INTEGER NOT NULL REFERENCES experiments(id),
  name TEXT NOT NULL,
  type TEXT NOT NULL,
  run_id TEXT NOT NULL,  -- of the run that made it; empty when none did
  status TEXT NOT NULL CHECK (status IN ('PENDING', 'READY', 'FAILED')),
  artifact_uri TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,
  deleted_ms INTEGER
);
CREATE INDEX logged_models_newest ON logged_models(experiment_id, created_ms DESC, id);
CREATE INDEX logged_models_by_name ON logged_models(experiment_id, name);

CREATE TABLE logged_model_tags (
  model INTEGER NOT NULL REFERENCES logged_models(seq) ON DELETE CASCADE,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (model, key)
) WITHOUT ROWID;

CREATE TABLE logged_model_params (
  model INTEGER NOT NULL REFERENCES logged_models(seq) ON DELETE CASCADE,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (model, key)
) WITHOUT ROWID;
