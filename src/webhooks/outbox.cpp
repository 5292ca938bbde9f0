// The outbox: events go in with the change they tell of, and out to whoever asked for them.
#include <algorithm>
#include <charconv>

#include "base/log.h"
#include "webhooks/queries.h"
#include "webhooks/webhooks_internal.h"

namespace slipway::webhooks {
namespace {

constexpr int kAtOnce =
    4;  // webhooks told at the same time: a slow one does not hold up the others
constexpr std::chrono::seconds kLongestRetryAfter{3600};
constexpr std::size_t kMostErrorBytes = 300;
constexpr std::int64_t kMostReplayed = 100'000;

// MLflow writes Python's isoformat(): "2026-11-24T09:30:00.123456+00:00".
std::string iso_time(Time time) {
  std::string text = format_time(time);
  if (!text.empty() && text.back() == 'Z') text.replace(text.size() - 1, 1, "+00:00");
  return text;
}

std::string body_of(const Message& message) {
  const auto dot = message.name.find('.');
  const auto data = Json::parse(message.data, nullptr, false);
  return Json{{"entity", message.name.substr(0, dot)},
              {"action", message.name.substr(dot + 1)},
              {"timestamp", iso_time(message.at)},
              {"data", data}}
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::chrono::seconds retry_after(const net::HttpResponse& response) {
  const auto text = response.header("retry-after");
  std::int64_t seconds = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (problem != std::errc{} || seconds < 0) return std::chrono::seconds(0);  // a date: not read
  return std::min(std::chrono::seconds(seconds), kLongestRetryAfter);
}

// Whether the same message may be taken later: the receiver is busy or broken, as opposed to one
// that says the message is wrong.
bool may_heal(int status) {
  return status >= 500 || status == 408 || status == 425 || status == 429;
}

Result<std::vector<Target>> due_targets(db::Connection& connection, std::int64_t now) {
  auto rows = connection.query(sql::due_webhooks, now);
  if (!rows) return rows.error();
  std::vector<Target> targets;
  while (rows->next()) {
    targets.push_back({rows->text(0), rows->text(1), rows->text(2), rows->text(3)});
  }
  if (auto status = rows->status(); !status) return status.error();
  return targets;
}

}  // namespace

Result<void> Webhooks::publish(db::Transaction& tx, const Event& event) {
  const std::int64_t now = impl_->now();
  const std::string data = event.data.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (auto run = tx.run(sql::insert_event, event.name(), data, now); !run) return run;
  const std::int64_t id = tx.last_row_id();
  std::vector<std::string> webhooks;
  {
    auto rows = tx.query(sql::subscribers, event.name());
    if (!rows) return rows.error();
    while (rows->next()) webhooks.push_back(rows->text(0));
    if (auto status = rows->status(); !status) return status;
  }
  for (const auto& webhook : webhooks) {
    auto owed = tx.run(sql::insert_delivery, impl_->parts.ids.next(), webhook, id, now);
    if (!owed) return owed;
  }
  return {};
}

Result<Attempt> Webhooks::Impl::send(const Context& ctx, const Target& target,
                                     const Message& message) const {
  const std::string body = body_of(message);
  const std::string timestamp = std::to_string(now() / 1'000'000);
  net::HttpRequest request{
      .method = "POST", .url = target.url, .body = body, .timeout = options.timeout};
  request.headers = {{"content-type", "application/json"},
                     {"x-mlflow-delivery-id", message.delivery},
                     {"x-mlflow-timestamp", timestamp}};
  if (!target.sealed_secret.empty()) {
    const auto secret = box.unseal(target.sealed_secret, target.id);
    if (!secret) return Attempt{.error = secret.error().message, .retry = true};
    request.headers.emplace_back("x-mlflow-signature",
                                 signature(*secret, message.delivery, timestamp, body));
  }
  request.max_response_bytes = 64 * 1024;
  auto answer = parts.http.send(ctx, request);
  if (!answer) {
    if (answer.error().code == Code::cancelled) return answer.error();
    return Attempt{.error = answer.error().message, .retry = true};
  }
  Attempt attempt{.status = answer->status, .body = std::move(answer->body)};
  if (answer->status / 100 != 2) {
    attempt.error = fmt::format("the receiver answered {}", answer->status);
    attempt.retry = may_heal(answer->status);
    attempt.after = retry_after(*answer);
  }
  return attempt;
}

std::int64_t Webhooks::Impl::next_attempt(std::int64_t attempts, std::chrono::seconds after) {
  const double longest = static_cast<double>(options.longest_delay.count());
  const double full =
      std::min(longest, static_cast<double>(options.first_delay.count()) *
                            std::exp2(std::min<double>(static_cast<double>(attempts), 40)));
  const std::scoped_lock lock(chance);
  const double delay = std::max(full * rng.uniform(0.5, 1.0), static_cast<double>(after.count()));
  return now() + static_cast<std::int64_t>(delay * 1e6);
}

Result<int> Webhooks::Impl::deliver_to(const Context& ctx, const Target& target) {
  const auto messages = parts.db.read([&](db::Connection& c) -> Result<std::vector<Message>> {
    auto rows = c.query(sql::owed, target.id, options.per_step);
    if (!rows) return rows.error();
    std::vector<Message> owed;
    while (rows->next()) {
      owed.push_back({.delivery = rows->text(0),
                      .event = rows->integer(2),
                      .name = rows->text(3),
                      .data = rows->text(4),
                      .at = from_micros(rows->integer(5)),
                      .attempts = rows->integer(1),
                      .due = rows->integer(6)});
    }
    if (auto status = rows->status(); !status) return status.error();
    return owed;
  });
  if (!messages) return messages.error();
  int delivered = 0;
  for (const auto& message : *messages) {
    if (auto going = ctx.check(); !going) return going.error();
    if (message.due > now()) break;  // another thread has tried it since
    const auto attempt = send(ctx, target, message);
    if (!attempt) return attempt.error();
    const bool dead = !attempt->error.empty() &&
                      (!attempt->retry || message.attempts + 1 >= options.max_attempts);
    auto noted = parts.db.write([&](db::Transaction& tx) -> Result<void> {
      if (attempt->error.empty()) return tx.run(sql::delivery_done, message.delivery);
      return tx.run(sql::delivery_failed, message.delivery,
                    to_string(dead ? DeliveryState::dead : DeliveryState::pending),
                    next_attempt(message.attempts, attempt->after),
                    attempt->error.substr(0, kMostErrorBytes));
    });
    if (!noted) return noted.error();
    if (attempt->error.empty()) {
      ++delivered;
      continue;
    }
    log::warn(dead ? "a webhook message is a dead letter" : "a webhook message waits",
              {{"webhook", target.name},
               {"event", message.event},
               {"attempts", message.attempts + 1},
               {"error", attempt->error}});
    if (!dead) break;  // those after it wait: the order is kept
  }
  return delivered;
}

Result<int> Webhooks::deliver(const Context& ctx) {
  const auto targets =
      impl_->parts.db.read([&](db::Connection& c) { return due_targets(c, impl_->now()); });
  if (!targets) return targets.error();
  int delivered = 0;
  for (const auto& target : *targets) {
    const bool mine =
        impl_->served.with([&](auto& served) { return served.insert(target.id).second; });
    if (!mine) continue;
    const auto sent = impl_->deliver_to(ctx, target);
    impl_->served.with([&](auto& served) { served.erase(target.id); });
    if (!sent) return sent.error();
    delivered += *sent;
  }
  if (auto forgotten = impl_->forget_old(); !forgotten) return forgotten.error();
  return delivered;
}

Result<void> Webhooks::Impl::forget_old() {
  const Time time = parts.clock.now();
  const bool due = forgotten.with([&](std::optional<Time>& last) {
    if (last && time < *last + std::chrono::hours(1)) return false;
    last = time;
    return true;
  });
  if (!due) return {};
  return parts.db.write([&](db::Transaction& tx) {
    return tx.run(sql::forget_events, to_micros(time - options.keep));
  });
}

Result<TestResult> Webhooks::test(const Context& ctx, const std::string& id,
                                  const std::string& event_name) const {
  const auto row = impl_->parts.db.read([&](db::Connection& c) { return load(c, id); });
  if (!row) return row.error();
  const std::string name = event_name.empty() ? row->webhook.events.front() : event_name;
  if (!is_event_name(name)) {
    return invalid_argument(fmt::format("there is no webhook event '{}'", name.substr(0, 100)));
  }
  const auto attempt = impl_->send(ctx,
                                   {.id = row->webhook.id,
                                    .name = row->webhook.name,
                                    .url = row->webhook.url,
                                    .sealed_secret = row->sealed_secret},
                                   {.delivery = impl_->parts.ids.next(),
                                    .name = name,
                                    .data = example_data(name).dump(),
                                    .at = impl_->parts.clock.now()});
  if (!attempt) return attempt.error();
  return TestResult{.success = attempt->error.empty(),
                    .status = attempt->status,
                    .body = attempt->body,
                    .error = attempt->status == 0 ? attempt->error : std::string()};
}

Result<std::vector<Delivery>> Webhooks::deliveries(const Filter& filter) const {
  return impl_->parts.db.read([&](db::Connection& c) -> Result<std::vector<Delivery>> {
    std::string webhook;
    if (!filter.webhook.empty()) {
      const auto row = load(c, filter.webhook);
      if (!row) return row.error();
      webhook = row->webhook.id;
    }
    const std::string state(filter.state ? to_string(*filter.state) : "");
    auto rows = c.query(sql::list_deliveries, webhook, state, filter.limit);
    if (!rows) return rows.error();
    std::vector<Delivery> found;
    while (rows->next()) {
      DeliveryState read = DeliveryState::pending;
      for (const auto known : {DeliveryState::delivered, DeliveryState::dead}) {
        if (rows->view(4) == to_string(known)) read = known;
      }
      found.push_back({.id = rows->text(0),
                       .event = rows->integer(1),
                       .event_name = rows->text(2),
                       .webhook = rows->text(3),
                       .state = read,
                       .attempts = rows->integer(5),
                       .at = from_micros(rows->integer(6)),
                       .next_attempt = from_micros(rows->integer(7)),
                       .last_error = rows->text(8)});
    }
    if (auto status = rows->status(); !status) return status.error();
    return found;
  });
}

Result<std::vector<Webhooks::Backlog>> Webhooks::backlogs() const {
  return impl_->parts.db.read([&](db::Connection& c) -> Result<std::vector<Backlog>> {
    auto rows = c.query(sql::backlogs);
    if (!rows) return rows.error();
    std::vector<Backlog> all;
    while (rows->next()) {
      all.push_back(
          {.webhook = rows->text(0), .pending = rows->integer(1), .dead = rows->integer(2)});
    }
    if (auto status = rows->status(); !status) return status.error();
    return all;
  });
}

Result<std::int64_t> Webhooks::replay(const Context& ctx, const Replay& replay) {
  const std::int64_t now = impl_->now();
  return impl_->parts.db.write([&](db::Transaction& tx) -> Result<std::int64_t> {
    const auto row = load(tx, replay.webhook);
    if (!row) return row.error();
    const std::string& id = row->webhook.id;
    auto again = tx.run(sql::replay_known, id, replay.from_event, now, replay.only_dead);
    if (!again) return again.error();
    std::int64_t owed = tx.changes();
    std::vector<std::int64_t> events;
    if (!replay.only_dead) {
      auto rows = tx.query(sql::events_never_owed, id, replay.from_event, kMostReplayed);
      if (!rows) return rows.error();
      while (rows->next()) events.push_back(rows->integer(0));
      if (auto status = rows->status(); !status) return status.error();
    }
    for (const std::int64_t event : events) {
      auto put = tx.run(sql::insert_delivery, impl_->parts.ids.next(), id, event, now);
      if (!put) return put.error();
    }
    owed += std::ssize(events);
    auto entry = impl_->parts.audit.append(tx, {.actor = ctx.principal.name,
                                                .action = "webhook.replay",
                                                .object = "webhooks/" + row->webhook.name,
                                                .details = {{"from_event", replay.from_event},
                                                            {"only_dead", replay.only_dead},
                                                            {"messages", owed}}});
    if (!entry) return entry.error();
    return owed;
  });
}

}  // namespace slipway::webhooks
