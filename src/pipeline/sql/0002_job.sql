-- The job of a server's queue that a run does; empty for one started by hand. A job may take several runs.
ALTER TABLE pipeline_runs ADD COLUMN job TEXT NOT NULL DEFAULT '';
CREATE INDEX pipeline_runs_by_job ON pipeline_runs (job) WHERE job <> '';
