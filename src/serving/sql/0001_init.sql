CREATE TABLE serving_deployments (
  name TEXT PRIMARY KEY,
  model TEXT NOT NULL,
  spec TEXT NOT NULL,        -- JSON of serving::Deployment without name, model and times
  created INTEGER NOT NULL,  -- microseconds
  updated INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
