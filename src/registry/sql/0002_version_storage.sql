-- Where a version's files are when its source names another model, found out when the version was made; and MLflow's
-- link to the run for people.
ALTER TABLE model_versions ADD COLUMN storage TEXT NOT NULL DEFAULT '';
ALTER TABLE model_versions ADD COLUMN run_link TEXT NOT NULL DEFAULT '';
