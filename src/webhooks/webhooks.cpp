#include "webhooks/webhooks.h"

#include <algorithm>

#include "webhooks/migrations.h"
#include "webhooks/queries.h"
#include "webhooks/webhooks_internal.h"

namespace slipway::webhooks {
namespace {

constexpr std::int64_t kMostWebhooks = 1000;
constexpr std::size_t kLongestName = 63;
constexpr std::size_t kLongestUrl = 500;
constexpr std::size_t kLongestText = 1000;  // of a description or a secret, in bytes

Result<void> check_name(const std::string& name) {
  const auto alphanumeric = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  const auto fine = [&](char c) { return alphanumeric(c) || c == '.' || c == '_' || c == '-'; };
  if (!name.empty() && name.size() <= kLongestName && std::ranges::all_of(name, fine) &&
      alphanumeric(name.front()) && alphanumeric(name.back())) {
    return {};
  }
  return invalid_argument(
      fmt::format("Webhook name '{}' is invalid: at most {} lower-case letters, digits, '.', '_' "
                  "and '-', beginning and ending with a letter or digit",
                  name.substr(0, 100), kLongestName));
}

bool is_https(std::string_view url) {
  constexpr std::string_view kScheme = "https://";
  return std::ranges::equal(url.substr(0, kScheme.size()), kScheme, {},
                            [](unsigned char c) { return std::tolower(c); });
}

Result<void> complete(db::Connection& connection, Webhook& webhook) {
  auto events = connection.query(sql::subscriptions, webhook.id);
  if (!events) return events.error();
  while (events->next()) webhook.events.push_back(events->text(0));
  return events->status();
}

Row read_row(const db::Rows& rows) {
  Row row;
  row.webhook.id = rows.text(0);
  row.webhook.name = rows.text(1);
  row.webhook.description = rows.text(2);
  row.webhook.url = rows.text(3);
  row.sealed_secret = rows.text(4);
  row.webhook.has_secret = !row.sealed_secret.empty();
  row.webhook.active = rows.integer(5) != 0;
  row.webhook.created = from_micros(rows.integer(6));
  row.webhook.updated = from_micros(rows.integer(7));
  return row;
}

Result<void> write_subscriptions(db::Transaction& tx, const Webhook& webhook) {
  if (auto run = tx.run(sql::delete_subscriptions, webhook.id); !run) return run;
  std::int64_t place = 0;
  for (const auto& event : webhook.events) {
    if (auto run = tx.run(sql::insert_subscription, webhook.id, event, place++); !run) return run;
  }
  return {};
}

// The URL stays out of the audit log: it may hold a token.
Result<void> record(const Parts& parts, db::Transaction& tx, const Context& ctx, std::string action,
                    const Webhook& webhook) {
  auto entry = parts.audit.append(tx, {.actor = ctx.principal.name,
                                       .action = std::move(action),
                                       .object = "webhooks/" + webhook.name,
                                       .details = {{"events", webhook.events},
                                                   {"active", webhook.active},
                                                   {"signed", webhook.has_secret}}});
  if (!entry) return entry.error();
  return {};
}

Result<void> check_name_is_free(db::Connection& connection, const Webhook& webhook) {
  const auto taken = load(connection, webhook.name);
  if (taken && taken->webhook.id != webhook.id) {
    return already_exists(fmt::format("Webhook '{}' already exists", webhook.name));
  }
  if (!taken && taken.error().code != Code::not_found) return taken.error();
  return {};
}

}  // namespace

Result<Row> load(db::Connection& connection, const std::string& id_or_name) {
  Row row;
  {
    auto rows = connection.query(sql::find_webhook, id_or_name);
    if (!rows) return rows.error();
    if (!rows->next()) {
      if (auto status = rows->status(); !status) return status.error();
      return not_found(fmt::format("Webhook '{}' not found", id_or_name.substr(0, 100)));
    }
    row = read_row(*rows);
  }
  if (auto completed = complete(connection, row.webhook); !completed) return completed.error();
  return row;
}

Webhooks::Webhooks(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Webhooks::~Webhooks() = default;

Result<std::unique_ptr<Webhooks>> Webhooks::open(const Parts& parts,
                                                 const std::filesystem::path& keys_dir,
                                                 std::uint64_t seed, const Options& options) {
  if (auto migrated = parts.db.migrate("webhooks", kMigrations); !migrated) {
    return migrated.error();
  }
  auto box = SecretBox::open(keys_dir);
  if (!box) return box.error();
  return std::unique_ptr<Webhooks>(
      new Webhooks(std::unique_ptr<Impl>(new Impl(parts, options, *box, Rng(seed)))));
}

Result<void> Webhooks::Impl::check(const Webhook& webhook) const {
  if (auto checked = check_name(webhook.name); !checked) return checked;
  if (webhook.description.size() > kLongestText) {
    return invalid_argument(fmt::format("a webhook's description has at most {} bytes, this has {}",
                                        kLongestText, webhook.description.size()));
  }
  if (webhook.events.empty()) return invalid_argument("Webhook events cannot be empty");
  for (const auto& event : webhook.events) {
    if (!is_event_name(event)) {
      return invalid_argument(fmt::format("there is no webhook event '{}'", event.substr(0, 100)));
    }
  }
  if (webhook.url.size() > kLongestUrl) {
    return invalid_argument(fmt::format("a webhook's URL has at most {} bytes, this has {}",
                                        kLongestUrl, webhook.url.size()));
  }
  if (!options.allow_http && !is_https(webhook.url)) {
    return invalid_argument(
        "a webhook's URL has to begin with https://; http is allowed to hosts named by "
        "--allow-webhook");
  }
  return parts.http.check(webhook.url);
}

Result<Webhook> Webhooks::create(const Context& ctx, const WebhookSpec& spec) {
  Webhook webhook{.id = impl_->parts.ids.next(),
                  .name = spec.name,
                  .description = spec.description,
                  .url = spec.url,
                  .events = spec.events,
                  .active = spec.active,
                  .has_secret = !spec.secret.empty()};
  if (auto checked = impl_->check(webhook); !checked) return checked.error();
  if (spec.secret.size() > kLongestText) {
    return invalid_argument(fmt::format("a webhook's secret has at most {} bytes", kLongestText));
  }
  const std::int64_t now = impl_->now();
  webhook.created = webhook.updated = from_micros(now);
  const std::string sealed =
      spec.secret.empty() ? std::string() : impl_->box.seal(spec.secret, webhook.id);
  return impl_->parts.db.write([&](db::Transaction& tx) -> Result<Webhook> {
    if (auto free = check_name_is_free(tx, webhook); !free) return free.error();
    {
      auto count = tx.query(sql::count_webhooks);
      if (!count) return count.error();
      if (count->next() && count->integer(0) >= kMostWebhooks) {
        return resource_exhausted(fmt::format(
            "there are {} webhooks, which is the most: remove one first", kMostWebhooks));
      }
    }
    auto inserted = tx.run(sql::insert_webhook, webhook.id, webhook.name, webhook.description,
                           webhook.url, sealed, webhook.active, now);
    if (!inserted) return inserted.error();
    if (auto put = write_subscriptions(tx, webhook); !put) return put.error();
    if (auto put = record(impl_->parts, tx, ctx, "webhook.create", webhook); !put) {
      return put.error();
    }
    return webhook;
  });
}

Result<Webhook> Webhooks::get(const std::string& id) const {
  return impl_->parts.db.read([&](db::Connection& c) -> Result<Webhook> {
    auto row = load(c, id);
    if (!row) return row.error();
    return std::move(row->webhook);
  });
}

Result<std::vector<Webhook>> Webhooks::list() const {
  return impl_->parts.db.read([&](db::Connection& c) -> Result<std::vector<Webhook>> {
    std::vector<Webhook> webhooks;
    {
      auto rows = c.query(sql::list_webhooks);
      if (!rows) return rows.error();
      while (rows->next()) webhooks.push_back(read_row(*rows).webhook);
      if (auto status = rows->status(); !status) return status.error();
    }
    for (auto& webhook : webhooks) {
      if (auto completed = complete(c, webhook); !completed) return completed.error();
    }
    return webhooks;
  });
}

Result<Webhook> Webhooks::update(const Context& ctx, const std::string& id,
                                 const WebhookChange& change) {
  if (change.secret && change.secret->size() > kLongestText) {
    return invalid_argument(fmt::format("a webhook's secret has at most {} bytes", kLongestText));
  }
  const std::int64_t now = impl_->now();
  return impl_->parts.db.write([&](db::Transaction& tx) -> Result<Webhook> {
    auto row = load(tx, id);
    if (!row) return row.error();
    Webhook webhook = row->webhook;
    webhook.name = change.name.value_or(webhook.name);
    webhook.description = change.description.value_or(webhook.description);
    webhook.url = change.url.value_or(webhook.url);
    webhook.events = change.events.value_or(webhook.events);
    webhook.active = change.active.value_or(webhook.active);
    webhook.updated = from_micros(now);
    if (auto checked = impl_->check(webhook); !checked) return checked.error();
    if (auto free = check_name_is_free(tx, webhook); !free) return free.error();
    if (change.secret) {
      row->sealed_secret =
          change.secret->empty() ? std::string() : impl_->box.seal(*change.secret, webhook.id);
      webhook.has_secret = !change.secret->empty();
    }
    auto updated = tx.run(sql::update_webhook, webhook.id, webhook.name, webhook.description,
                          webhook.url, row->sealed_secret, webhook.active, now);
    if (!updated) return updated.error();
    if (auto put = write_subscriptions(tx, webhook); !put) return put.error();
    if (auto put = record(impl_->parts, tx, ctx, "webhook.update", webhook); !put) {
      return put.error();
    }
    return webhook;
  });
}

Result<void> Webhooks::remove(const Context& ctx, const std::string& id) {
  return impl_->parts.db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = load(tx, id);
    if (!row) return row.error();
    if (auto run = tx.run(sql::delete_webhook, row->webhook.id); !run) return run;
    return record(impl_->parts, tx, ctx, "webhook.delete", row->webhook);
  });
}

}  // namespace slipway::webhooks
