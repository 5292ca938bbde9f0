-- Who asked to be told of what, what happened, and what is owed to whom. Times are microseconds since 1970.
CREATE TABLE webhooks (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  description TEXT NOT NULL,
  url TEXT NOT NULL,
  secret TEXT NOT NULL,  -- encrypted with the home's key, base64; empty: none
  active INTEGER NOT NULL,
  created INTEGER NOT NULL,
  updated INTEGER NOT NULL
);

CREATE TABLE webhook_subscriptions (
  webhook TEXT NOT NULL REFERENCES webhooks(id) ON DELETE CASCADE,
  event TEXT NOT NULL,       -- "model_version.created"
  place INTEGER NOT NULL,    -- in the list as it was given
  PRIMARY KEY (webhook, event)
) WITHOUT ROWID;
CREATE INDEX webhook_subscriptions_by_event ON webhook_subscriptions(event);

-- Grows with every event, whether anybody asked for it or not, so that a webhook that comes later can be told; old ones
-- are removed.
CREATE TABLE webhook_events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  data TEXT NOT NULL,  -- JSON
  at INTEGER NOT NULL
);
CREATE INDEX webhook_events_by_time ON webhook_events(at);

CREATE TABLE webhook_deliveries (
  id TEXT PRIMARY KEY,
  webhook TEXT NOT NULL REFERENCES webhooks(id) ON DELETE CASCADE,
  event INTEGER NOT NULL REFERENCES webhook_events(id) ON DELETE CASCADE,
  state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
  attempts INTEGER NOT NULL,
  next_attempt INTEGER NOT NULL,
  last_error TEXT NOT NULL,
  UNIQUE (webhook, event)
);
CREATE INDEX webhook_deliveries_owed ON webhook_deliveries(webhook, event) WHERE state = 'pending';
