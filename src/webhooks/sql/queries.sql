-- name: insert_webhook
INSERT INTO webhooks(id, name, description, url, secret, active, created, updated) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)

-- name: update_webhook
UPDATE webhooks SET name = ?2, description = ?3, url = ?4, secret = ?5, active = ?6, updated = ?7 WHERE id = ?1

-- name: find_webhook
SELECT id, name, description, url, secret, active, created, updated FROM webhooks WHERE id = ?1 OR name = ?1
ORDER BY CASE WHEN id = ?1 THEN 0 ELSE 1 END LIMIT 1

-- name: list_webhooks
SELECT id, name, description, url, secret, active, created, updated FROM webhooks ORDER BY created, id

-- name: count_webhooks
SELECT count(*) FROM webhooks

-- name: delete_webhook
DELETE FROM webhooks WHERE id = ?

-- name: subscriptions
SELECT event FROM webhook_subscriptions WHERE webhook = ? ORDER BY place

-- name: delete_subscriptions
DELETE FROM webhook_subscriptions WHERE webhook = ?

-- name: insert_subscription
INSERT OR IGNORE INTO webhook_subscriptions(webhook, event, place) VALUES (?, ?, ?)

-- name: insert_event
INSERT INTO webhook_events(name, data, at) VALUES (?, ?, ?)

-- name: subscribers
SELECT w.id FROM webhook_subscriptions s JOIN webhooks w ON w.id = s.webhook
WHERE s.event = ? AND w.active = 1 ORDER BY w.id

-- name: insert_delivery
INSERT INTO webhook_deliveries(id, webhook, event, state, attempts, next_attempt, last_error)
VALUES (?1, ?2, ?3, 'pending', 0, ?4, '')

-- name: due_webhooks
-- Those whose oldest message owed is due: the ones after it wait, so that the order is kept.
SELECT w.id, w.name, w.url, w.secret FROM webhooks w JOIN webhook_deliveries d ON d.webhook = w.id
WHERE w.active = 1 AND d.state = 'pending' AND d.next_attempt <= ?1
  AND d.event = (SELECT min(event) FROM webhook_deliveries WHERE webhook = w.id AND state = 'pending')
ORDER BY d.next_attempt, w.id

-- name: owed
SELECT d.id, d.attempts, e.id, e.name, e.data, e.at, d.next_attempt
FROM webhook_deliveries d JOIN webhook_events e ON e.id = d.event
WHERE d.webhook = ?1 AND d.state = 'pending' ORDER BY d.event LIMIT ?2

-- name: delivery_done
UPDATE webhook_deliveries SET state = 'delivered', attempts = attempts + 1, last_error = '' WHERE id = ?

-- name: delivery_failed
UPDATE webhook_deliveries SET state = ?2, attempts = attempts + 1, next_attempt = ?3, last_error = ?4 WHERE id = ?1

-- name: list_deliveries
SELECT d.id, e.id, e.name, w.name, d.state, d.attempts, e.at, d.next_attempt, d.last_error
FROM webhook_deliveries d JOIN webhook_events e ON e.id = d.event JOIN webhooks w ON w.id = d.webhook
WHERE (?1 = '' OR w.id = ?1) AND (?2 = '' OR d.state = ?2) ORDER BY e.id DESC, w.name LIMIT ?3

-- name: backlogs
SELECT w.name, count(CASE WHEN d.state = 'pending' THEN 1 END), count(CASE WHEN d.state = 'dead' THEN 1 END)
FROM webhooks w LEFT JOIN webhook_deliveries d ON d.webhook = w.id AND d.state <> 'delivered'
GROUP BY w.name ORDER BY w.name

-- name: replay_known
UPDATE webhook_deliveries SET state = 'pending', attempts = 0, next_attempt = ?3, last_error = ''
WHERE webhook = ?1 AND event >= ?2 AND state <> 'pending' AND (?4 = 0 OR state = 'dead')

-- name: events_never_owed
SELECT e.id FROM webhook_events e JOIN webhook_subscriptions s ON s.event = e.name AND s.webhook = ?1
WHERE e.id >= ?2 AND NOT EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d.webhook = ?1 AND d.event = e.id)
ORDER BY e.id LIMIT ?3

-- name: forget_events
-- What is still owed is kept.
DELETE FROM webhook_events WHERE at < ?1
  AND NOT EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d.event = webhook_events.id AND d.state = 'pending')
