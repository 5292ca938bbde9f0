-- Times are microseconds since 1970 UTC. Windows and alerts tell simulated time where a deployment's clock is its
-- requests'; fired_at, resolved_at, evaluated_at and next_attempt are by the machine's clock.
CREATE TABLE monitors (
  deployment TEXT PRIMARY KEY,
  spec       TEXT NOT NULL  -- JSON
) WITHOUT ROWID;

CREATE TABLE monitor_windows (
  deployment   TEXT NOT NULL,
  start        INTEGER NOT NULL,
  finish       INTEGER NOT NULL,
  phase        INTEGER NOT NULL,  -- 0: over; 1: its labels have arrived too
  report       TEXT NOT NULL,     -- JSON, of the latest phase
  evaluated_at INTEGER NOT NULL,
  PRIMARY KEY (deployment, start)
) WITHOUT ROWID;
CREATE INDEX monitor_windows_open ON monitor_windows (deployment, start) WHERE phase = 0;

CREATE TABLE alerts (
  id              TEXT PRIMARY KEY,
  deployment      TEXT NOT NULL,
  rule            TEXT NOT NULL,
  severity        TEXT NOT NULL,
  expression      TEXT NOT NULL,
  version         INTEGER NOT NULL,
  start           INTEGER NOT NULL,
  finish          INTEGER NOT NULL,
  clauses         TEXT NOT NULL,    -- JSON
  fired_at        INTEGER NOT NULL,
  repeats         INTEGER NOT NULL DEFAULT 0,
  resolved_start  INTEGER,
  resolved_finish INTEGER,
  resolved_at     INTEGER,          -- NULL: firing
  resolution      TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX alerts_by_time ON alerts (deployment, fired_at);

-- One row per rule that has been asked: where it stands.
CREATE TABLE alert_states (
  deployment TEXT NOT NULL,
  rule       TEXT NOT NULL,
  streak     INTEGER NOT NULL,  -- windows in a row that said yes
  alert_id   TEXT,              -- of the firing alert
  since_told INTEGER NOT NULL,  -- windows since it was told last, while firing
  PRIMARY KEY (deployment, rule)
) WITHOUT ROWID;

-- Messages owed, in the order in which they came up.
CREATE TABLE alert_outbox (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  alert_id     TEXT NOT NULL,
  deployment   TEXT NOT NULL,
  event        TEXT NOT NULL,     -- fired | repeated | resolved
  target       TEXT NOT NULL,     -- '' for the sink, else a URL
  body         TEXT NOT NULL,     -- JSON of the alert as it was then
  attempts     INTEGER NOT NULL DEFAULT 0,
  next_attempt INTEGER NOT NULL DEFAULT 0,
  last_error   TEXT NOT NULL DEFAULT ''
);
CREATE INDEX alert_outbox_due ON alert_outbox (target, next_attempt);
