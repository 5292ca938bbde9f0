-- One staged rollout of a candidate version behind a deployment; at most one of a deployment runs.
CREATE TABLE serving_rollouts (
  id TEXT PRIMARY KEY,
  deployment TEXT NOT NULL,
  state TEXT NOT NULL,       -- running | paused | promoted | rolled_back | aborted
  started INTEGER NOT NULL,  -- microseconds
  updated INTEGER NOT NULL,
  body TEXT NOT NULL         -- JSON: what was declared, and how far it got
);
CREATE INDEX serving_rollouts_by_deployment ON serving_rollouts(deployment, started);

-- Keys of the people whose inputs are sealed in the prediction log.
CREATE TABLE serving_subject_keys (
  id TEXT PRIMARY KEY,
  subject TEXT NOT NULL UNIQUE,  -- keyed hash of who it is
  sealed TEXT NOT NULL,          -- the key, under keys/predictions.key
  created INTEGER NOT NULL
);
