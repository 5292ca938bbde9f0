-- What an import has brought over completely, so that it goes on where it was interrupted and does nothing twice.
CREATE TABLE transfer_items (
  source TEXT NOT NULL,       -- where from, as it was named: "https://mlflow.example.org"
  kind TEXT NOT NULL,         -- "experiment", "run", "logged_model"
  id TEXT NOT NULL,           -- there
  target TEXT NOT NULL,       -- here
  fingerprint TEXT NOT NULL,  -- of what was read: another one means that it has changed there
  counts TEXT NOT NULL,       -- JSON object: what was read of it
  PRIMARY KEY (source, kind, id)
) WITHOUT ROWID;
