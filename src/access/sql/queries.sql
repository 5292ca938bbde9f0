-- name: state_version
SELECT version FROM access_state WHERE id = 1

-- name: bump_version
UPDATE access_state SET version = version + 1 WHERE id = 1

-- name: insert_user
INSERT INTO access_users(name, folded, password, admin, creates, created, password_set)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)

-- name: find_user
SELECT id, name, password, admin, creates, created, password_set FROM access_users WHERE folded = ?

-- name: list_users
SELECT id, name, password, admin, creates, created, password_set FROM access_users ORDER BY name

-- name: count_other_admins
SELECT count(*) FROM access_users WHERE admin = 1 AND id <> ?

-- name: set_password
UPDATE access_users SET password = ?2, password_set = ?3 WHERE id = ?1

-- name: set_admin
UPDATE access_users SET admin = ?2 WHERE id = ?1

-- name: delete_user
DELETE FROM access_users WHERE id = ?

-- name: insert_role
INSERT INTO access_roles(name, description, created) VALUES (?1, ?2, ?3)

-- name: find_role
SELECT id, name, description, created FROM access_roles WHERE name = ?

-- name: list_roles
SELECT id, name, description, created FROM access_roles ORDER BY name

-- name: delete_role
DELETE FROM access_roles WHERE id = ?

-- name: add_member
INSERT OR IGNORE INTO access_members(role_id, user_id) VALUES (?1, ?2)

-- name: remove_member
DELETE FROM access_members WHERE role_id = ?1 AND user_id = ?2

-- name: list_members
SELECT role_id, user_id FROM access_members ORDER BY role_id, user_id

-- name: upsert_grant
INSERT INTO access_grants(holder_kind, holder_id, kind, name, level, created, created_by)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT(holder_kind, holder_id, kind, name)
DO UPDATE SET level = excluded.level, created = excluded.created, created_by = excluded.created_by

-- name: find_grant
SELECT level FROM access_grants WHERE holder_kind = ?1 AND holder_id = ?2 AND kind = ?3 AND name = ?4

-- name: delete_grant
DELETE FROM access_grants WHERE holder_kind = ?1 AND holder_id = ?2 AND kind = ?3 AND name = ?4

-- name: delete_grants_of_holder
DELETE FROM access_grants WHERE holder_kind = ?1 AND holder_id = ?2

-- name: delete_grants_on
DELETE FROM access_grants WHERE kind = ?1 AND name = ?2

-- name: rename_grants_on
UPDATE access_grants SET name = ?3 WHERE kind = ?1 AND name = ?2

-- name: list_grants
SELECT id, holder_kind, holder_id, kind, name, level, created, created_by FROM access_grants ORDER BY id

-- name: insert_token
INSERT INTO access_tokens(id, user_id, hash, label, level, kind, name, created, created_by, expires)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)

-- name: find_token
SELECT t.id, t.user_id, u.name, t.hash, t.label, t.level, t.kind, t.name, t.created, t.created_by, t.expires, t.last_used,
  t.revoked
FROM access_tokens t JOIN access_users u ON u.id = t.user_id WHERE t.id = ?

-- name: list_tokens
SELECT t.id, t.user_id, u.name, t.hash, t.label, t.level, t.kind, t.name, t.created, t.created_by, t.expires, t.last_used,
  t.revoked
FROM access_tokens t JOIN access_users u ON u.id = t.user_id ORDER BY t.created DESC, t.id

-- name: revoke_token
UPDATE access_tokens SET revoked = ?2 WHERE id = ?1

-- name: revoke_tokens_of
UPDATE access_tokens SET revoked = ?2 WHERE user_id = ?1 AND revoked IS NULL

-- name: revoke_tokens_for
UPDATE access_tokens SET revoked = ?3 WHERE kind = ?1 AND name = ?2 AND revoked IS NULL

-- name: rename_tokens_for
UPDATE access_tokens SET name = ?3 WHERE kind = ?1 AND name = ?2

-- name: touch_token
UPDATE access_tokens SET last_used = ?2 WHERE id = ?1 AND (last_used IS NULL OR last_used < ?2)

-- name: delete_old_tokens
DELETE FROM access_tokens WHERE expires < ?1 OR revoked < ?1
