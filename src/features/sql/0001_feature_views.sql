-- One row per view: which dataset version it is looked up in. Replacing the row is the switch.
CREATE TABLE feature_views (
  name TEXT NOT NULL PRIMARY KEY,
  spec TEXT NOT NULL,            -- JSON
  version TEXT NOT NULL,         -- name@version of the dataset
  switched INTEGER NOT NULL,     -- microseconds since 1970 UTC
  switched_by TEXT NOT NULL,
  serial INTEGER NOT NULL        -- grows with each switch
) STRICT;
