#include "base/log.h"
#include "monitoring/migrations.h"
#include "monitoring/monitor_internal.h"
#include "monitoring/queries.h"

namespace slipway::monitoring {

namespace {

constexpr int kWindowsPerStep = 64;

std::string object_of(const std::string& deployment, const std::string& rule) {
  return "deployments/" + deployment + "/alerts/" + rule;
}

Json clauses_json(const std::vector<evaluation::Expression::Clause>& clauses) {
  Json json = Json::array();
  for (const auto& clause : clauses) {
    json.push_back({{"text", clause.text},
                    {"holds", clause.holds ? Json(*clause.holds) : Json()},
                    {"left", clause.left ? json_number(*clause.left) : Json()},
                    {"right", clause.right ? json_number(*clause.right) : Json()}});
  }
  return json;
}

// What a person reads in a chat.
std::string sentence(std::string_view event, const Alert& alert) {
  std::string text = fmt::format("{}: alert '{}' {}", alert.deployment, alert.rule, event);
  if (event == "resolved") return text + " (" + alert.resolution + ")";
  text += fmt::format(" ({}): {}", alert.severity, alert.expression);
  for (const auto& clause : alert.clauses) {
    if (clause.left && clause.right)
      text += fmt::format(" [{:.6g} against {:.6g}]", *clause.left, *clause.right);
  }
  return text + fmt::format("; window {} to {}, version {}", format_time(alert.window.start),
                            format_time(alert.window.end), alert.version);
}

Result<void> owe(db::Transaction& tx, const MonitorSpec& spec, std::string_view event,
                 const Alert& alert) {
  const std::string body = canonical({{"event", std::string(event)},
                                      {"text", sentence(event, alert)},
                                      {"alert", alert.to_json()}});
  if (auto owed = tx.run(sql::add_message, alert.id, alert.deployment, event, "", body); !owed)
    return owed;
  for (const auto& url : spec.webhooks) {
    if (auto owed = tx.run(sql::add_message, alert.id, alert.deployment, event, url, body); !owed)
      return owed;
  }
  return {};
}

struct Fired {
  Window window;
  std::int64_t version = 0;
  Time now;
};

Result<Alert> fire(db::Transaction& tx, const MonitorParts& parts, const MonitorSpec& spec,
                   const AlertRule& rule, const Fired& cause, const evaluation::Lookup& lookup) {
  Alert alert{.id = parts.ids.next(),
              .deployment = spec.deployment,
              .rule = rule.name,
              .severity = rule.severity,
              .expression = rule.when.text(),
              .version = cause.version,
              .window = cause.window,
              .fired_at = cause.now,
              .clauses = rule.when.clauses(lookup)};
  const Json clauses = clauses_json(alert.clauses);
  if (auto added = tx.run(sql::add_alert, alert.id, alert.deployment, alert.rule, alert.severity,
                          alert.expression, alert.version, to_micros(alert.window.start),
                          to_micros(alert.window.end), clauses.dump(), to_micros(cause.now));
      !added) {
    return added.error();
  }
  if (auto entry = parts.audit.append(tx, {.actor = std::string(kActor),
                                           .action = "alert.fire",
                                           .object = object_of(alert.deployment, alert.rule),
                                           .details = {{"alert", alert.id},
                                                       {"severity", alert.severity},
                                                       {"when", alert.expression},
                                                       {"clauses", clauses},
                                                       {"window", format_time(alert.window.start)},
                                                       {"version", alert.version}}});
      !entry) {
    return entry.error();
  }
  if (auto owed = owe(tx, spec, "fired", alert); !owed) return owed.error();
  return alert;
}

// `window`: the one that said no; nothing when the rule itself is gone.
Result<Alert> resolve(db::Transaction& tx, const MonitorParts& parts, const MonitorSpec& spec,
                      const std::string& id, std::optional<Window> window, const std::string& why,
                      Time now) {
  std::optional<std::int64_t> start;
  std::optional<std::int64_t> finish;
  if (window) {
    start = to_micros(window->start);
    finish = to_micros(window->end);
  }
  if (auto ended = tx.run(sql::resolve_alert, start, finish, to_micros(now), why, id); !ended)
    return ended.error();
  auto alert = load_alert(tx, id);
  if (!alert) return alert;
  Json details = {{"alert", id}, {"why", why}};
  if (window) details["window"] = format_time(window->start);
  if (auto entry = parts.audit.append(tx, {.actor = std::string(kActor),
                                           .action = "alert.resolve",
                                           .object = object_of(alert->deployment, alert->rule),
                                           .details = std::move(details)});
      !entry) {
    return entry.error();
  }
  if (auto owed = owe(tx, spec, "resolved", *alert); !owed) return owed.error();
  return alert;
}

Result<RuleState> load_state(db::Transaction& tx, const std::string& deployment,
                             const std::string& rule) {
  auto rows = tx.query(sql::get_state, deployment, rule);
  if (!rows) return rows.error();
  if (!rows->next()) return RuleState{};
  return RuleState{.streak = static_cast<int>(rows->integer(0)),
                   .alert_id = rows->maybe_text(1),
                   .since_told = static_cast<int>(rows->integer(2))};
}

// Asks one rule about one window and writes down what follows.
Result<Move> run_rule(db::Transaction& tx, const MonitorParts& parts, const MonitorSpec& spec,
                      const AlertRule& rule, const Fired& cause, const evaluation::Lookup& lookup) {
  auto state = load_state(tx, spec.deployment, rule.name);
  if (!state) return state.error();
  const std::optional<std::string> before = state->alert_id;
  const Move move = advance(rule, rule.when.test(lookup), *state);
  if (move == Move::fire) {
    auto alert = fire(tx, parts, spec, rule, cause, lookup);
    if (!alert) return alert.error();
    state->alert_id = alert->id;
  } else if (move == Move::repeat) {
    if (auto counted = tx.run(sql::repeat_alert, *before); !counted) return counted.error();
    auto alert = load_alert(tx, *before);
    if (!alert) return alert.error();
    if (auto owed = owe(tx, spec, "repeated", *alert); !owed) return owed.error();
  } else if (move == Move::resolve) {
    const std::string why =
        "the window from " + format_time(cause.window.start) + " no longer meets the condition";
    if (auto alert = resolve(tx, parts, spec, *before, cause.window, why, cause.now); !alert)
      return alert.error();
  }
  if (auto put = tx.run(sql::put_state, spec.deployment, rule.name, state->streak, state->alert_id,
                        state->since_told);
      !put) {
    return put.error();
  }
  return move;
}

Result<std::vector<std::string>> ids_of(const data::TablePtr& primary) {
  const auto columns = data::Columns::from_table(primary);
  if (!columns) return columns.error();
  const auto id = columns->column("id");
  if (!id) return id.error().at("prediction log");
  std::vector<std::string> ids;
  ids.reserve(static_cast<std::size_t>(id->rows));
  for (std::int64_t row = 0; row < id->rows; ++row) ids.emplace_back(id->text(row));
  return ids;
}

}  // namespace

Monitor::Monitor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Monitor::~Monitor() = default;

Result<std::unique_ptr<Monitor>> Monitor::open(const MonitorParts& parts) {
  if (auto migrated = parts.db.migrate("monitoring", kMigrations); !migrated)
    return migrated.error();
  return std::unique_ptr<Monitor>(new Monitor(std::make_unique<Impl>(parts)));
}

Result<void> Monitor::configure(const Context& ctx, const MonitorSpec& spec, Time now) {
  if (spec.deployment.empty()) return invalid_argument("a monitor names its deployment");
  const Json json = spec.to_json();
  const std::string text = canonical(json);
  return impl_->parts.db.write([&](db::Transaction& tx) -> Result<void> {
    auto old = tx.query(sql::get_monitor, spec.deployment);
    if (!old) return old.error();
    if (old->next() && old->text(0) == text) return {};
    if (auto put = tx.run(sql::put_monitor, spec.deployment, text); !put) return put;
    std::vector<std::pair<std::string, std::optional<std::string>>> gone;
    auto states = tx.query(sql::states_of, spec.deployment);
    if (!states) return states.error();
    while (states->next()) {
      const std::string name = states->text(0);
      const bool stays = std::any_of(spec.alerts.begin(), spec.alerts.end(),
                                     [&](const AlertRule& rule) { return rule.name == name; });
      if (!stays) gone.emplace_back(name, states->maybe_text(1));
    }
    for (const auto& [name, alert] : gone) {
      if (alert) {
        auto ended =
            resolve(tx, impl_->parts, spec, *alert, std::nullopt, "its rule was removed", now);
        if (!ended) return ended.error();
      }
      if (auto dropped = tx.run(sql::drop_state, spec.deployment, name); !dropped) return dropped;
    }
    Json details = json;
    details["webhooks"] = spec.webhooks.size();  // URLs may hold secrets
    auto entry =
        impl_->parts.audit.append(tx, {.actor = ctx.principal.name,
                                       .action = "monitor.configure",
                                       .object = "deployments/" + spec.deployment + "/monitor",
                                       .details = std::move(details)});
    return entry ? Result<void>{} : entry.error();
  });
}

std::optional<Time> Monitor::Impl::watermark(const MonitorSpec& spec, Time now) const {
  const auto last = parts.traffic.watermark(spec.deployment);
  if (!last || spec.request_clock) return last;
  return std::max(*last, now);
}

Result<std::optional<Monitor::Impl::Due>> Monitor::Impl::next_due(const MonitorSpec& spec,
                                                                  Time until) const {
  struct Known {
    std::optional<Window> last, open;
  };
  const auto window_of = [](const db::Rows& row) {
    return Window{from_micros(row.integer(0)), from_micros(row.integer(1))};
  };
  const auto known = parts.db.read([&](db::Connection& connection) -> Result<Known> {
    Known found;
    auto last = connection.query(sql::last_window, spec.deployment);
    if (!last) return last.error();
    if (last->next()) found.last = window_of(*last);
    auto open = connection.query(sql::first_open_window, spec.deployment);
    if (!open) return open.error();
    if (open->next()) found.open = window_of(*open);
    return found;
  });
  if (!known) return known.error();

  Window next;
  if (known->last) {
    next = window_at(known->last->end, spec.window);
    // The declared length changed: go on with the first new window that does not overlap.
    if (next.start < known->last->end) next = window_at(next.end, spec.window);
  } else {
    auto first = parts.traffic.first(spec.deployment);
    if (!first) return first.error();
    if (!*first) return std::optional<Due>{};
    next = window_at(**first, spec.window);
  }
  const Time next_at = next.end;
  std::optional<Due> due;
  if (known->open) {
    const Time open_at = known->open->end + spec.label_wait;
    if (open_at <= next_at && open_at <= until) due = Due{*known->open, Phase::labels};
  }
  if (!due && next_at <= until) due = Due{next, Phase::traffic};
  return due;
}

Result<void> Monitor::Impl::evaluate(const Context& ctx, const MonitorSpec& spec, const Due& due,
                                     Time now, StepResult& result) {
  auto primary = parts.traffic.read(spec.deployment, due.window.start, due.window.end, false);
  if (!primary) return primary.error();
  if (*primary == nullptr)
    return internal("the traffic of '" + spec.deployment + "' has a watermark but no rows");
  auto shadow = parts.traffic.read(spec.deployment, due.window.start, due.window.end, true);
  if (!shadow) return shadow.error();
  const auto ids = ids_of(*primary);
  if (!ids) return ids.error();
  auto labels = parts.labels.labels(spec.deployment, *ids);
  if (!labels) return labels.error();
  const auto version = main_version(*primary);
  if (!version) return version.error();
  std::shared_ptr<const Reference> reference;
  if (*version != 0) {
    auto found = parts.references.find(spec.deployment, *version);
    if (!found) return found.error();
    reference = std::move(*found);
  }
  if (auto going = ctx.check(); !going) return going;
  const auto report = evaluate_window(spec, {.window = due.window,
                                             .phase = due.phase,
                                             .primary = *primary,
                                             .shadow = *shadow,
                                             .labels = *labels,
                                             .reference = reference.get()});
  if (!report) return report.error();
  const std::string text = canonical(report->to_json(spec));
  const auto values = report->values(spec);

  struct Written {
    bool first = false;  // false: another process evaluated it before us
    std::vector<std::pair<std::string, Move>> moves;
  };
  const auto written = parts.db.write([&](db::Transaction& tx) -> Result<Written> {
    Written done;
    const std::int64_t start = to_micros(due.window.start);
    auto stored = due.phase == Phase::traffic
                      ? tx.run(sql::add_window, spec.deployment, start, to_micros(due.window.end),
                               text, to_micros(now))
                      : tx.run(sql::finish_window, text, to_micros(now), spec.deployment, start);
    if (!stored) return stored.error();
    if (tx.changes() == 0) return done;
    done.first = true;
    Json before;
    auto rows = tx.query(sql::report_before, spec.deployment, start);
    if (!rows) return rows.error();
    if (rows->next())
      before = parse_json(rows->view(0)).value_or(Json()).value("values", Json::object());
    const evaluation::Lookup lookup = [&](std::string_view name) -> std::optional<double> {
      constexpr std::string_view kPrevious = "previous.";
      if (name.starts_with(kPrevious)) {
        const auto found = before.find(std::string(name.substr(kPrevious.size())));
        return found != before.end() && found->is_number() ? std::optional(found->get<double>())
                                                           : std::nullopt;
      }
      const auto found = values.find(std::string(name));
      return found == values.end() ? std::nullopt : std::optional(found->second);
    };
    const Fired cause{.window = due.window, .version = report->version, .now = now};
    for (const auto& rule : spec.alerts) {
      if (rule.phase() != due.phase) continue;
      auto move = run_rule(tx, parts, spec, rule, cause, lookup);
      if (!move) return move.error();
      if (*move != Move::none) done.moves.emplace_back(rule.name, *move);
    }
    return done;
  });
  if (!written) return written.error();
  if (!written->first) return {};
  ++result.evaluated;
  for (const auto& [rule, move] : written->moves) {
    if (move == Move::fire) {
      ++result.fired;
      log::warn("alert fired", {{"deployment", spec.deployment},
                                {"rule", rule},
                                {"window", format_time(due.window.start)}});
    } else if (move == Move::resolve) {
      ++result.resolved;
      log::info("alert resolved", {{"deployment", spec.deployment},
                                   {"rule", rule},
                                   {"window", format_time(due.window.start)}});
    }
  }
  return {};
}

Result<StepResult> Monitor::step(const Context& ctx, Time now) {
  const std::scoped_lock lock(impl_->stepping);
  StepResult result;
  auto all = specs();
  if (!all) return all.error();
  std::optional<Error> failure;
  for (const auto& spec : *all) {
    const auto until = impl_->watermark(spec, now);
    while (until && result.evaluated < kWindowsPerStep) {
      if (auto going = ctx.check(); !going) return going.error();
      auto due = impl_->next_due(spec, *until);
      if (due && !*due) break;
      auto done = due ? impl_->evaluate(ctx, spec, **due, now, result) : Result<void>(due.error());
      if (!done) {
        // One deployment in trouble must not silence the others.
        log::error("monitoring failed",
                   {{"deployment", spec.deployment}, {"error", done.error().message}});
        failure = done.error().at("monitor of '" + spec.deployment + "'");
        break;
      }
    }
  }
  result.more = result.evaluated >= kWindowsPerStep;
  if (auto told = impl_->tell_sink(ctx, now, result); !told) return told.error();
  if (failure) return *failure;
  return result;
}

Result<bool> Monitor::settled(const std::string& deployment, Time time, Time now) const {
  const auto watched = spec(deployment);
  if (!watched) {
    if (watched.error().code == Code::not_found) return true;
    return watched.error();
  }
  if (const auto mark = impl_->watermark(*watched, now)) {
    const auto due = impl_->next_due(*watched, std::min(time, *mark));
    if (!due) return due.error();
    if (*due) return false;
  }
  return impl_->parts.db.read([&](db::Connection& connection) -> Result<bool> {
    auto owed = connection.query(sql::owes_the_sink, deployment);
    if (!owed) return owed.error();
    return !owed->next();
  });
}

}  // namespace slipway::monitoring
