-- Metric points, packed. What is logged goes to the end of run_metric_log, one row a call, which costs one small write;
-- now and then a run's rows there become chunks, many points of one metric in a few bytes each. A history is what the
-- log, the chunks and run_metrics (points from before this version) hold together, each point once. The layout of `data`
-- is described in metric_codec_internal.h.
CREATE TABLE run_metric_log (
  run INTEGER NOT NULL REFERENCES runs(seq) ON DELETE CASCADE,
  n INTEGER NOT NULL,
  points INTEGER NOT NULL,  -- in this row and the run's rows before it
  data BLOB NOT NULL,
  PRIMARY KEY (run, n)
) WITHOUT ROWID;

CREATE TABLE run_metric_chunks (
  id INTEGER PRIMARY KEY,
  run INTEGER NOT NULL REFERENCES runs(seq) ON DELETE CASCADE,
  key TEXT NOT NULL,
  points INTEGER NOT NULL,
  first_ms INTEGER NOT NULL,  -- the earliest point's time
  last_ms INTEGER NOT NULL,   -- the latest point's
  data BLOB NOT NULL
);
CREATE INDEX run_metric_chunks_by_key ON run_metric_chunks(run, key, first_ms);
