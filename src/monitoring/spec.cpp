#include "monitoring/spec.h"

#include "evaluation/metrics.h"

namespace slipway::monitoring {

namespace {

constexpr std::string_view kTrafficValues[] = {"rows",
                                               "request_rate",
                                               "latency_p50_ms",
                                               "latency_p99_ms",
                                               "mean_score",
                                               "missing_scores",
                                               "score_psi",
                                               "score_js",
                                               "drifted_columns",
                                               "major_columns",
                                               "drifted_share",
                                               "max_psi",
                                               "weighted_drift",
                                               "nulls_changed",
                                               "max_unseen_share",
                                               "max_out_of_range_share"};
constexpr std::string_view kLabelValues[] = {"labelled", "coverage", "label_rate",
                                             "calibration_gap"};

std::vector<std::string> metric_names() {
  std::vector<std::string> names;
  for (const auto metric : evaluation::kBinaryMetrics) names.emplace_back(to_string(metric));
  for (const auto metric : evaluation::kRegressionMetrics) names.emplace_back(to_string(metric));
  return names;
}

bool needs_labels(std::string_view name) {
  if (name.starts_with("previous.")) name.remove_prefix(std::string_view("previous.").size());
  if (name.starts_with("shadow.")) return true;
  static const std::vector<std::string> kMetrics = metric_names();
  return std::find(std::begin(kLabelValues), std::end(kLabelValues), name) !=
             std::end(kLabelValues) ||
         std::find(kMetrics.begin(), kMetrics.end(), name) != kMetrics.end();
}

std::string seconds_text(Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::seconds>(duration).count()) + "s";
}

void read_alert(SpecReader& reader, MonitorSpec& spec) {
  const std::string name = reader.text("name");
  const std::string when = reader.text("when");
  const std::int64_t for_windows = reader.integer("for", 1);
  const std::int64_t repeat = reader.integer("repeat", 0);
  const std::string severity =
      reader.one_of("severity", {"info", "warning", "critical"}, "warning");
  reader.close();
  if (for_windows < 1 || for_windows > 1000) {
    reader.problem("for", fmt::format("for is {} windows; 1 to 1000 is allowed", for_windows));
  }
  if (repeat < 0 || repeat > 1000) {
    reader.problem("repeat",
                   fmt::format("repeat is {} windows; 0 (never) to 1000 is allowed", repeat));
  }
  if (std::any_of(spec.alerts.begin(), spec.alerts.end(),
                  [&](const AlertRule& rule) { return rule.name == name; })) {
    reader.problem("name", "there are two alerts '" + name + "'");
  }
  if (when.empty()) return;  // noted by the reader
  auto condition = evaluation::Expression::parse_condition(when);
  if (!condition) {
    reader.problem("when", condition.error().message);
    return;
  }
  if (auto known = condition->check_names(rule_vocabulary()); !known) {
    reader.problem("when", known.error().message);
    return;
  }
  spec.alerts.push_back({.name = name,
                         .when = std::move(*condition),
                         .for_windows = static_cast<int>(for_windows),
                         .severity = severity,
                         .repeat_windows = static_cast<int>(repeat)});
}

}  // namespace

std::string_view to_string(Phase phase) { return phase == Phase::traffic ? "traffic" : "labels"; }

const evaluation::Vocabulary& rule_vocabulary() {
  static const evaluation::Vocabulary kVocabulary = [] {
    evaluation::Vocabulary known;
    const auto metrics = metric_names();
    known.names.assign(std::begin(kTrafficValues), std::end(kTrafficValues));
    known.names.insert(known.names.end(), std::begin(kLabelValues), std::end(kLabelValues));
    known.names.insert(known.names.end(), metrics.begin(), metrics.end());
    std::vector<std::string> previous;
    for (const auto& name : known.names) previous.push_back("previous." + name);
    for (const auto& name : metrics) known.names.push_back("reference." + name);
    for (const char* name : {"reference.label_rate", "reference.mean_score", "reference.rows"})
      known.names.emplace_back(name);
    known.names.insert(known.names.end(), previous.begin(), previous.end());
    known.prefixes = {"drift.", "nulls.", "shadow."};
    return known;
  }();
  return kVocabulary;
}

Phase AlertRule::phase() const {
  return std::any_of(when.names().begin(), when.names().end(), needs_labels) ? Phase::labels
                                                                             : Phase::traffic;
}

MonitorSpec MonitorSpec::read(SpecReader& reader, std::string deployment) {
  MonitorSpec spec;
  spec.deployment = deployment.empty() ? reader.text("deployment")
                                       : reader.text("deployment", std::move(deployment));
  spec.regression = reader.one_of("task", {"binary", "regression"}, "binary") == "regression";
  spec.window = reader.duration("window", spec.window);
  if (spec.window < std::chrono::minutes(1) || spec.window > std::chrono::days(366)) {
    reader.problem("window", "window is " + format_duration(spec.window) +
                                 "; 1 minute to 366 days is allowed");
    spec.window = std::chrono::days(7);
  }
  spec.label_wait = reader.duration("label_wait", spec.label_wait);
  if (spec.label_wait < Duration::zero() || spec.label_wait > std::chrono::days(366)) {
    reader.problem("label_wait", "label_wait is " + format_duration(spec.label_wait) +
                                     "; 0 to 366 days is allowed");
    spec.label_wait = std::chrono::days(1);
  }
  spec.min_rows = reader.integer("min_rows", spec.min_rows);
  if (spec.min_rows < 1) {
    reader.problem("min_rows", fmt::format("min_rows is {}; at least 1", spec.min_rows));
    spec.min_rows = 1;
  }
  spec.threshold = reader.number("threshold", spec.threshold);
  spec.request_clock = reader.one_of("clock", {"wall", "request"}, "wall") == "request";
  SpecReader drift = reader.object("drift");
  spec.drift = DriftOptions::read(drift);
  drift.close();
  for (auto& alert : reader.list("alerts")) read_alert(alert, spec);
  for (const auto& url : reader.texts("webhooks")) {
    if (!url.starts_with("http://") && !url.starts_with("https://")) {
      reader.problem("webhooks", "'" + url + "' is not an http:// or https:// URL");
      continue;
    }
    spec.webhooks.push_back(url);
  }
  return spec;
}

Json MonitorSpec::to_json() const {
  Json json = {{"deployment", deployment},
               {"task", regression ? "regression" : "binary"},
               {"window", seconds_text(window)},
               {"label_wait", seconds_text(label_wait)},
               {"min_rows", min_rows},
               {"threshold", threshold},
               {"clock", request_clock ? "request" : "wall"},
               {"drift", drift.to_json()},
               {"alerts", Json::array()},
               {"webhooks", webhooks}};
  for (const auto& rule : alerts) {
    json["alerts"].push_back({{"name", rule.name},
                              {"when", rule.when.text()},
                              {"for", rule.for_windows},
                              {"severity", rule.severity},
                              {"repeat", rule.repeat_windows}});
  }
  return json;
}

Result<MonitorSpec> MonitorSpec::from_json(const Json& json) {
  const SpecDocument document = SpecDocument::from_json(json, "monitor");
  SpecReader reader(document);
  MonitorSpec spec = read(reader);
  if (auto sound = reader.finish(); !sound) return sound.error();
  return spec;
}

}  // namespace slipway::monitoring
