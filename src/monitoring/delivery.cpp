// Telling of alerts: the sink inside this program, webhooks outside. Messages stand in the outbox
// until they are taken.
#include "base/log.h"
#include "monitoring/monitor_internal.h"
#include "monitoring/queries.h"

namespace slipway::monitoring {

namespace {

constexpr int kMessagesPerStep = 256;
constexpr int kMaxAttempts = 16;  // with the delays below about half a day

// 1, 2, 4 … seconds, at most an hour.
Duration delay_after(std::int64_t attempts) {
  return std::chrono::seconds(
      std::min<std::int64_t>(std::int64_t{1} << std::min<std::int64_t>(attempts, 12), 3600));
}

}  // namespace

Result<Alert> load_alert(db::Connection& connection, const std::string& id) {
  auto rows = connection.query(sql::get_alert, id);
  if (!rows) return rows.error();
  if (!rows->next()) return not_found("there is no alert '" + id + "'");
  return read_alert_row(*rows);
}

Result<void> Monitor::Impl::tell_sink(const Context& ctx, Time now, StepResult& result) {
  struct Message {
    std::int64_t id = 0, attempts = 0;
    std::string event;
    Alert alert;
  };
  const auto messages =
      parts.db.read([&](db::Connection& connection) -> Result<std::vector<Message>> {
        std::vector<Message> due;
        auto rows = connection.query(sql::due_sink_messages, to_micros(now), kMessagesPerStep);
        if (!rows) return rows.error();
        while (rows->next()) {
          const auto body = parse_json(rows->view(2));
          if (!body)
            return data_loss(
                fmt::format("message {} of the alert outbox is not JSON", rows->integer(0)));
          auto alert = load_alert(connection, body->at("alert").at("id").get<std::string>());
          if (!alert) return alert.error();
          due.push_back({rows->integer(0), rows->integer(3), rows->text(1), std::move(*alert)});
        }
        if (auto walked = rows->status(); !walked) return walked.error();
        return due;
      });
  if (!messages) return messages.error();
  for (const auto& message : *messages) {
    Alert alert = message.alert;
    auto told = Result<void>{};
    if (message.event == "resolved") {
      told = parts.sink.resolved(ctx, alert);
    } else {
      // As it was when the message came up: it may have ended since.
      alert.firing = true;
      alert.resolved_window.reset();
      alert.resolved_at.reset();
      alert.resolution.clear();
      if (message.event == "fired") alert.repeats = 0;
      told = parts.sink.fired(ctx, alert);
    }
    auto noted = parts.db.write([&](db::Transaction& tx) -> Result<void> {
      if (told) return tx.run(sql::message_done, message.id);
      return tx.run(sql::message_failed, to_micros(now + delay_after(message.attempts)),
                    told.error().message, message.id);
    });
    if (!noted) return noted;
    if (!told) {
      log::error("an alert could not be acted on",
                 {{"alert", alert.id}, {"error", told.error().message}});
      return {};  // those after it wait: the order of an alert's events is kept
    }
    ++result.delivered;
  }
  return {};
}

Result<StepResult> Monitor::deliver(const Context& ctx, Time now) {
  const std::scoped_lock lock(impl_->delivering);
  auto& parts = impl_->parts;
  struct Message {
    std::int64_t id = 0, attempts = 0;
    std::string event, body, url, alert;
  };
  const auto messages =
      parts.db.read([&](db::Connection& connection) -> Result<std::vector<Message>> {
        std::vector<Message> due;
        auto rows = connection.query(sql::due_webhook_messages, to_micros(now), kMessagesPerStep);
        if (!rows) return rows.error();
        while (rows->next()) {
          due.push_back({rows->integer(0), rows->integer(3), rows->text(1), rows->text(2),
                         rows->text(4), rows->text(5)});
        }
        if (auto walked = rows->status(); !walked) return walked.error();
        return due;
      });
  if (!messages) return messages.error();
  StepResult result;
  result.more = std::ssize(*messages) == kMessagesPerStep;
  std::set<std::string> down;  // one failure of a URL is enough for this round
  for (const auto& message : *messages) {
    if (auto going = ctx.check(); !going) return going.error();
    if (down.contains(message.url)) continue;
    const auto sent = parts.webhooks.post(
        ctx, message.url, fmt::format("{}-{}", message.alert, message.id), message.body);
    if (!sent) down.insert(message.url);
    const bool given_up = !sent && message.attempts + 1 >= kMaxAttempts;
    auto noted = parts.db.write([&](db::Transaction& tx) -> Result<void> {
      if (sent) return tx.run(sql::message_done, message.id);
      if (!given_up) {
        return tx.run(sql::message_failed, to_micros(now + delay_after(message.attempts)),
                      sent.error().message, message.id);
      }
      // The URL and the error's text may hold secrets: the entry has only the error's kind.
      auto entry = parts.audit.append(
          tx, {.actor = std::string(kActor),
               .action = "webhook.abandon",
               .object = "alerts/" + message.alert,
               .details = {{"event", message.event},
                           {"attempts", message.attempts + 1},
                           {"error", std::string(to_string(sent.error().code))}}});
      if (!entry) return entry.error();
      return tx.run(sql::message_done, message.id);
    });
    if (!noted) return noted.error();
    if (sent) {
      ++result.delivered;
    } else {
      log::warn(given_up ? "a webhook was given up" : "a webhook failed",
                {{"alert", message.alert},
                 {"attempts", message.attempts + 1},
                 {"error", sent.error().message}});
    }
  }
  return result;
}

}  // namespace slipway::monitoring
