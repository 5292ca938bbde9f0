-- Times are microseconds since 1970 UTC; durations microseconds.
CREATE TABLE pipeline_runs (
  id TEXT PRIMARY KEY,
  pipeline TEXT NOT NULL,
  file TEXT NOT NULL,
  spec_digest TEXT NOT NULL,
  params TEXT NOT NULL,
  state TEXT NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  ended_at INTEGER,
  error TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX pipeline_runs_newest ON pipeline_runs (started_at);
CREATE INDEX pipeline_runs_running ON pipeline_runs (state) WHERE state = 'running';

CREATE TABLE step_runs (
  run_id TEXT NOT NULL REFERENCES pipeline_runs (id),
  position INTEGER NOT NULL,  -- in the file
  step TEXT NOT NULL,
  kind TEXT NOT NULL,
  state TEXT NOT NULL,
  passed INTEGER NOT NULL DEFAULT 1,
  why TEXT NOT NULL DEFAULT '',
  key TEXT NOT NULL DEFAULT '',
  outputs TEXT NOT NULL DEFAULT '{}',
  artifacts TEXT NOT NULL DEFAULT '[]',
  summary TEXT NOT NULL DEFAULT '',
  error TEXT NOT NULL DEFAULT '',
  attempts INTEGER NOT NULL DEFAULT 0,
  started_at INTEGER,
  ended_at INTEGER,
  duration INTEGER NOT NULL DEFAULT 0,
  log TEXT NOT NULL DEFAULT '',
  progress REAL NOT NULL DEFAULT 0,
  progress_text TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (run_id, position)
) STRICT, WITHOUT ROWID;

-- Results by the digest of everything they follow from.
CREATE TABLE step_cache (
  key TEXT PRIMARY KEY,
  inputs TEXT NOT NULL,  -- what was digested, for telling what changed
  outputs TEXT NOT NULL,
  artifacts TEXT NOT NULL,
  passed INTEGER NOT NULL,
  summary TEXT NOT NULL,
  run_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  duration INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The last result that each step of each pipeline had or used.
CREATE TABLE step_last (
  pipeline TEXT NOT NULL,
  step TEXT NOT NULL,
  key TEXT NOT NULL,
  PRIMARY KEY (pipeline, step)
) STRICT, WITHOUT ROWID;

-- Digests of files, valid while size, inode and times are the same.
CREATE TABLE file_digests (
  path TEXT PRIMARY KEY,
  size INTEGER NOT NULL,
  inode INTEGER NOT NULL,
  modified INTEGER NOT NULL,  -- nanoseconds
  changed INTEGER NOT NULL,
  sha256 TEXT NOT NULL
) STRICT, WITHOUT ROWID;
