-- Who may do what. Times are microseconds since 1970. Ids are never used twice, so that a new user, role or token never
-- inherits an old one's rights.

-- Grows with every change below, so that other processes see in one small query that there was one.
CREATE TABLE access_state (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  version INTEGER NOT NULL
);
INSERT INTO access_state(id, version) VALUES (1, 1);

CREATE TABLE access_users (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  folded TEXT NOT NULL UNIQUE,  -- in lower case: no two users look alike
  password TEXT NOT NULL,       -- argon2id, as libsodium writes it; empty: none, such a user has tokens only
  admin INTEGER NOT NULL,
  creates INTEGER NOT NULL,     -- may make experiments and models of their own
  created INTEGER NOT NULL,
  password_set INTEGER NOT NULL
);

CREATE TABLE access_roles (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  description TEXT NOT NULL,
  created INTEGER NOT NULL
);

CREATE TABLE access_members (
  role_id INTEGER NOT NULL REFERENCES access_roles(id) ON DELETE CASCADE,
  user_id INTEGER NOT NULL REFERENCES access_users(id) ON DELETE CASCADE,
  PRIMARY KEY (role_id, user_id)
) WITHOUT ROWID;

CREATE TABLE access_grants (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  holder_kind TEXT NOT NULL CHECK (holder_kind IN ('user', 'role', 'everyone')),
  holder_id INTEGER NOT NULL,   -- 0 of everyone
  kind TEXT NOT NULL,           -- workspace, experiment, model, deployment
  name TEXT NOT NULL,           -- '*': all of the kind
  level TEXT NOT NULL CHECK (level IN ('read', 'use', 'edit', 'manage')),
  created INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  UNIQUE (holder_kind, holder_id, kind, name)
);
CREATE INDEX access_grants_by_resource ON access_grants(kind, name);

CREATE TABLE access_tokens (
  id TEXT PRIMARY KEY,          -- the part of the token that is no secret
  user_id INTEGER NOT NULL REFERENCES access_users(id) ON DELETE CASCADE,
  hash TEXT NOT NULL,           -- hex SHA-256 of the whole token
  label TEXT NOT NULL,
  level TEXT NOT NULL CHECK (level IN ('read', 'use', 'edit', 'manage')),
  kind TEXT NOT NULL,           -- with name: what it is limited to; empty: nothing in particular
  name TEXT NOT NULL,
  created INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  expires INTEGER,
  last_used INTEGER,
  revoked INTEGER
);
CREATE INDEX access_tokens_by_user ON access_tokens(user_id);
