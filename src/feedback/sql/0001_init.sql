-- Labels by prediction id: the truth that came back, the newest by its own time.
CREATE TABLE labels(
  prediction_id TEXT PRIMARY KEY,
  deployment TEXT NOT NULL,
  label REAL NOT NULL,
  label_time INTEGER NOT NULL,  -- microseconds: when the truth was known
  received INTEGER NOT NULL     -- microseconds: when it was sent to us
) WITHOUT ROWID;

-- What makes a deployment retrain and promote, as declared.
CREATE TABLE feedback_loops(
  deployment TEXT PRIMARY KEY,
  spec TEXT NOT NULL,
  pipeline_folder TEXT NOT NULL
);

-- One retraining that was asked for.
CREATE TABLE feedback_triggers(
  id INTEGER PRIMARY KEY,
  deployment TEXT NOT NULL,
  entry TEXT NOT NULL,     -- of feedback.retrain
  cause TEXT NOT NULL,     -- "alert decay …", "schedule …"
  due INTEGER NOT NULL,    -- deployment's time
  job TEXT NOT NULL,
  UNIQUE(deployment, entry, cause, due)
);

-- The time up to which an entry's schedule has been looked at.
CREATE TABLE feedback_schedules(
  deployment TEXT NOT NULL,
  entry TEXT NOT NULL,
  seen INTEGER NOT NULL,
  PRIMARY KEY(deployment, entry)
);

-- A challenger in shadow, until it is promoted or refused.
CREATE TABLE feedback_trials(
  id INTEGER PRIMARY KEY,
  deployment TEXT NOT NULL,
  alias TEXT NOT NULL,
  version INTEGER NOT NULL,
  champion INTEGER NOT NULL,   -- version when it ended, or when last looked at
  started INTEGER NOT NULL,    -- deployment's time
  looked INTEGER NOT NULL,     -- deployment's time of the last comparison
  state TEXT NOT NULL,         -- running | promoted | refused | superseded
  ended INTEGER,
  decision TEXT NOT NULL,      -- the last comparison, JSON
  UNIQUE(deployment, alias, version)
);
