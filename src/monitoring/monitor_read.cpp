// What others may know of a Monitor: its declarations, reports, alerts and gauges.
#include "monitoring/monitor_internal.h"
#include "monitoring/queries.h"

namespace slipway::monitoring {

namespace {

std::optional<double> maybe_number(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

Result<std::vector<Json>> reports(db::Connection& connection, std::string_view statement) {
  auto rows = connection.query(statement);
  if (!rows) return rows.error();
  std::vector<Json> found;
  while (rows->next()) {
    auto report = parse_json(rows->view(0), "window report");
    if (!report) return report.error();
    found.push_back(std::move(*report));
  }
  if (auto walked = rows->status(); !walked) return walked.error();
  return found;
}

class Gauges {
 public:
  void add(std::string name, std::string help,
           std::vector<std::pair<std::string, std::string>> labels, std::optional<double> value) {
    if (!value) return;
    samples_.push_back(
        {"slipway_monitoring_" + std::move(name), std::move(help), std::move(labels), *value});
  }
  // Samples of one name stand together, as the text format wants.
  std::vector<MetricSample> take() {
    std::stable_sort(samples_.begin(), samples_.end(),
                     [](const MetricSample& a, const MetricSample& b) { return a.name < b.name; });
    return std::move(samples_);
  }

 private:
  std::vector<MetricSample> samples_;
};

void add_traffic_gauges(const Json& report, Gauges& gauges) {
  const std::string deployment = report.value("deployment", "");
  const auto add = [&](const char* name, const char* help, std::optional<double> value) {
    gauges.add(name, help, {{"deployment", deployment}}, value);
  };
  if (const auto end = parse_time(report.value("end", ""))) {
    add("window_end_timestamp_seconds", "End of the latest evaluated window.",
        static_cast<double>(to_micros(*end)) / 1e6);
  }
  add("window_rows", "Predictions in the latest window.", maybe_number(report, "rows"));
  add("window_request_rate", "Predictions a second in the latest window.",
      maybe_number(report, "request_rate"));
  add("mean_score", "Mean score in the latest window.", maybe_number(report, "mean_score"));
  add("weighted_drift", "Jensen-Shannon distance of the inputs weighted by importance.",
      maybe_number(report, "weighted_drift"));
  if (const auto score = report.find("score"); score != report.end() && score->is_object()) {
    add("score_psi", "Population stability index of the score.", maybe_number(*score, "psi"));
  }
  for (const auto& column : report.value("columns", Json::array())) {
    const std::vector<std::pair<std::string, std::string>> labels = {
        {"deployment", deployment}, {"column", column.value("name", "")}};
    gauges.add("drift_psi", "Population stability index against the training data.", labels,
               maybe_number(column, "psi"));
    gauges.add("drift_distance", "Jensen-Shannon distance against the training data.", labels,
               maybe_number(column, "js"));
    gauges.add("drift_detected", "1: the change is significant and large enough.", labels,
               column.value("drifted", false) ? 1 : 0);
    gauges.add("null_share", "Share of missing values.", labels,
               maybe_number(column, "null_share"));
  }
}

void add_label_gauges(const Json& report, Gauges& gauges) {
  const std::string deployment = report.value("deployment", "");
  const auto add = [&](const Json& performance) {
    const std::vector<std::pair<std::string, std::string>> labels = {
        {"deployment", deployment}, {"alias", performance.value("alias", "")}};
    const Json metrics = performance.value("metrics", Json::object());  // items() borrows it
    for (const auto& [name, value] : metrics.items()) {
      if (!value.is_number()) continue;
      auto with_metric = labels;
      with_metric.emplace_back("metric", name);
      gauges.add("performance", "Quality in the latest window whose labels have arrived.",
                 with_metric, value.get<double>());
    }
    gauges.add("label_coverage_ratio", "Share of predictions whose label has arrived.", labels,
               maybe_number(performance, "coverage"));
    gauges.add("label_rate", "Mean label.", labels, maybe_number(performance, "label_rate"));
  };
  add(report.value("performance", Json::object()));
  for (const auto& shadow : report.value("shadows", Json::array())) add(shadow);
}

}  // namespace

Alert read_alert_row(const db::Rows& row) {
  Alert alert{.id = row.text(0),
              .deployment = row.text(1),
              .rule = row.text(2),
              .severity = row.text(3),
              .expression = row.text(4),
              .version = row.integer(5),
              .window = {from_micros(row.integer(6)), from_micros(row.integer(7))},
              .fired_at = from_micros(row.integer(9)),
              .resolution = row.text(14),
              .repeats = static_cast<int>(row.integer(10))};
  const auto maybe_bool = [](const Json& value) {
    return value.is_boolean() ? std::optional(value.get<bool>()) : std::nullopt;
  };
  for (const auto& clause : parse_json(row.view(8)).value_or(Json::array())) {
    alert.clauses.push_back({.text = clause.value("text", ""),
                             .holds = maybe_bool(clause.value("holds", Json())),
                             .left = maybe_number(clause, "left"),
                             .right = maybe_number(clause, "right")});
  }
  if (!row.is_null(11))
    alert.resolved_window = Window{from_micros(row.integer(11)), from_micros(row.integer(12))};
  if (!row.is_null(13)) {
    alert.resolved_at = from_micros(row.integer(13));
    alert.firing = false;
  }
  return alert;
}

Json Alert::to_json() const {
  Json json = {{"id", id},
               {"deployment", deployment},
               {"rule", rule},
               {"severity", severity},
               {"when", expression},
               {"state", firing ? "firing" : "resolved"},
               {"version", version},
               {"window_start", format_time(window.start)},
               {"window_end", format_time(window.end)},
               {"fired_at", format_time(fired_at)},
               {"resolved_at", resolved_at ? Json(format_time(*resolved_at)) : Json()},
               {"resolved_window_start",
                resolved_window ? Json(format_time(resolved_window->start)) : Json()},
               {"resolution", resolution},
               {"repeats", repeats},
               {"clauses", Json::array()}};
  for (const auto& clause : clauses) {
    json["clauses"].push_back({{"text", clause.text},
                               {"holds", clause.holds ? Json(*clause.holds) : Json()},
                               {"left", clause.left ? json_number(*clause.left) : Json()},
                               {"right", clause.right ? json_number(*clause.right) : Json()}});
  }
  return json;
}

Result<std::vector<MonitorSpec>> Monitor::specs() const {
  return impl_->parts.db.read([](db::Connection& connection) -> Result<std::vector<MonitorSpec>> {
    auto rows = reports(connection, sql::list_monitors);
    if (!rows) return rows.error();
    std::vector<MonitorSpec> specs;
    for (const auto& json : *rows) {
      auto spec = MonitorSpec::from_json(json);
      if (!spec) return spec.error();
      specs.push_back(std::move(*spec));
    }
    return specs;
  });
}

Result<MonitorSpec> Monitor::spec(const std::string& deployment) const {
  return impl_->parts.db.read([&](db::Connection& connection) -> Result<MonitorSpec> {
    auto rows = connection.query(sql::get_monitor, deployment);
    if (!rows) return rows.error();
    if (!rows->next()) return not_found("deployment '" + deployment + "' has no monitor");
    const auto json = parse_json(rows->view(0), "monitor");
    if (!json) return json.error();
    return MonitorSpec::from_json(*json);
  });
}

Result<std::vector<Json>> Monitor::windows(const std::string& deployment,
                                           const WindowFilter& filter) const {
  const std::int64_t from =
      filter.from ? to_micros(*filter.from) : std::numeric_limits<std::int64_t>::min();
  const std::int64_t to =
      filter.to ? to_micros(*filter.to) : std::numeric_limits<std::int64_t>::max();
  return impl_->parts.db.read([&](db::Connection& connection) -> Result<std::vector<Json>> {
    auto rows = connection.query(filter.newest_first ? sql::list_windows_newest : sql::list_windows,
                                 deployment, from, to, filter.limit);
    if (!rows) return rows.error();
    std::vector<Json> found;
    while (rows->next()) {
      auto report = parse_json(rows->view(0), "window report");
      if (!report) return report.error();
      found.push_back(std::move(*report));
    }
    if (auto walked = rows->status(); !walked) return walked.error();
    return found;
  });
}

Result<std::vector<Alert>> Monitor::alerts(const AlertFilter& filter) const {
  return impl_->parts.db.read([&](db::Connection& connection) -> Result<std::vector<Alert>> {
    auto rows =
        connection.query(sql::list_alerts, filter.deployment, filter.only_firing, filter.limit);
    if (!rows) return rows.error();
    std::vector<Alert> found;
    while (rows->next()) found.push_back(read_alert_row(*rows));
    if (auto walked = rows->status(); !walked) return walked.error();
    return found;
  });
}

Result<Alert> Monitor::alert(const std::string& id) const {
  return impl_->parts.db.read(
      [&](db::Connection& connection) -> Result<Alert> { return load_alert(connection, id); });
}

Result<std::vector<MetricSample>> Monitor::metrics() const {
  return impl_->parts.db.read([](db::Connection& connection) -> Result<std::vector<MetricSample>> {
    Gauges gauges;
    auto latest = reports(connection, sql::latest_reports);
    if (!latest) return latest.error();
    for (const auto& report : *latest) add_traffic_gauges(report, gauges);
    auto labelled = reports(connection, sql::latest_labelled_reports);
    if (!labelled) return labelled.error();
    for (const auto& report : *labelled) add_label_gauges(report, gauges);
    auto states = connection.query(sql::list_states);
    if (!states) return states.error();
    while (states->next()) {
      const double state = !states->is_null(3) ? 2 : states->integer(2) > 0 ? 1 : 0;
      gauges.add("alert_state", "0: quiet, 1: pending, 2: firing.",
                 {{"deployment", states->text(0)}, {"rule", states->text(1)}}, state);
    }
    auto owed = connection.query(sql::count_messages);
    if (!owed) return owed.error();
    if (owed->next())
      gauges.add("webhook_messages_owed", "Messages not delivered yet.", {},
                 static_cast<double>(owed->integer(0)));
    return gauges.take();
  });
}

}  // namespace slipway::monitoring
