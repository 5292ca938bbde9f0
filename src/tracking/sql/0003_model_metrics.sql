-- Metric points that name a logged model: what it reached, in which run, on which dataset. They are points of the run,
-- too (run_metrics). NaN has value 0 and is_nan 1. Without a dataset, its name and digest are empty.
CREATE TABLE logged_model_metrics (
  model INTEGER NOT NULL REFERENCES logged_models(seq) ON DELETE CASCADE,
  key TEXT NOT NULL,
  timestamp_ms INTEGER NOT NULL,
  step INTEGER NOT NULL,
  run_id TEXT NOT NULL,
  dataset_name TEXT NOT NULL,
  dataset_digest TEXT NOT NULL,
  value REAL NOT NULL,
  is_nan INTEGER NOT NULL,
  PRIMARY KEY (model, key, timestamp_ms, step, run_id, dataset_name, dataset_digest)
) WITHOUT ROWID;
CREATE INDEX logged_model_metrics_by_value ON logged_model_metrics(key, value);
