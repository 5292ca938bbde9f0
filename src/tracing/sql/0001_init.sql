-- Traces, their spans, and what is said about them. Times of traces are milliseconds since 1970, those of spans
-- nanoseconds, as the callers send them.
CREATE TABLE traces (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- short key for the tables below
  id TEXT NOT NULL UNIQUE,                -- "tr-" and 32 hexadecimal characters
  experiment_id INTEGER NOT NULL,
  client_request_id TEXT NOT NULL,
  request_preview TEXT NOT NULL,
  response_preview TEXT NOT NULL,
  start_ms INTEGER NOT NULL,
  duration_ms INTEGER,
  state TEXT NOT NULL,
  recorded INTEGER NOT NULL  -- 1: its own record has come; spans do not change what it says
);
CREATE INDEX traces_newest ON traces(experiment_id, start_ms DESC, id);

CREATE TABLE trace_tags (
  trace INTEGER NOT NULL REFERENCES traces(seq) ON DELETE CASCADE,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (trace, key)
) WITHOUT ROWID;

CREATE TABLE trace_metadata (
  trace INTEGER NOT NULL REFERENCES traces(seq) ON DELETE CASCADE,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (trace, key)
) WITHOUT ROWID;

CREATE TABLE trace_spans (
  trace INTEGER NOT NULL REFERENCES traces(seq) ON DELETE CASCADE,
  span_id TEXT NOT NULL,
  parent_id TEXT NOT NULL,
  name TEXT NOT NULL,
  type TEXT NOT NULL,
  status TEXT NOT NULL,
  start_ns INTEGER NOT NULL,
  end_ns INTEGER NOT NULL,
  content TEXT NOT NULL,  -- the whole span as JSON
  PRIMARY KEY (trace, span_id)
) WITHOUT ROWID;

-- Runs a trace was linked to beside the one it came from.
CREATE TABLE trace_runs (
  trace INTEGER NOT NULL REFERENCES traces(seq) ON DELETE CASCADE,
  run_id TEXT NOT NULL,
  PRIMARY KEY (trace, run_id)
) WITHOUT ROWID;
CREATE INDEX trace_runs_by_run ON trace_runs(run_id);

CREATE TABLE trace_prompts (
  trace INTEGER NOT NULL REFERENCES traces(seq) ON DELETE CASCADE,
  prompt TEXT NOT NULL,  -- "name/version"
  PRIMARY KEY (trace, prompt)
) WITHOUT ROWID;
CREATE INDEX trace_prompts_by_prompt ON trace_prompts(prompt);

CREATE TABLE trace_assessments (
  id TEXT NOT NULL,
  trace INTEGER NOT NULL REFERENCES traces(seq) ON DELETE CASCADE,
  kind TEXT NOT NULL,     -- feedback | expectation | issue
  name TEXT NOT NULL,
  value TEXT NOT NULL,    -- text for comparing: true, 0.5, good
  number REAL,            -- when it is one
  valid INTEGER NOT NULL, -- 0: overridden by another one
  overrides TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  content TEXT NOT NULL,  -- JSON
  PRIMARY KEY (trace, id)
) WITHOUT ROWID;
CREATE INDEX trace_assessments_by_name ON trace_assessments(kind, name);
