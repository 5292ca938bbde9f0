#include "monitoring/window.h"

#include "evaluation/metrics.h"

namespace slipway::monitoring {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

std::map<std::int64_t, std::int64_t> count_versions(const data::ColumnView& versions) {
  std::map<std::int64_t, std::int64_t> counts;
  for (std::int64_t row = 0; row < versions.rows; ++row) {
    if (!versions.is_null(row)) ++counts[versions.integer(row)];
  }
  return counts;
}

std::int64_t most_frequent(const std::map<std::int64_t, std::int64_t>& counts) {
  std::int64_t version = 0;
  std::int64_t most = 0;
  for (const auto& [one, count] : counts) {
    if (count >= most) {
      version = one;
      most = count;
    }
  }
  return version;
}

// Labelled scores of one version.
struct Labelled {
  std::int64_t rows = 0;
  std::vector<double> labels, scores;
  void add(const std::optional<double>& label, const data::ColumnView& score, std::int64_t row) {
    ++rows;
    if (!label || score.is_null(row) || std::isnan(score.real(row))) return;
    labels.push_back(*label);
    scores.push_back(score.real(row));
  }
};

// Each metric's value, or why it has none.
template <class Value, class Reason>
void measure_all(std::span<const evaluation::Metric> metrics, const Value& value_of,
                 const Reason& reason_of, Performance& performance) {
  for (const auto metric : metrics) {
    const std::string name(to_string(metric));
    const double value = value_of(metric);
    if (std::isnan(value)) {
      performance.undefined[name] = reason_of(metric);
    } else {
      performance.metrics[name] = value;
    }
  }
}

Performance performance_of(const MonitorSpec& spec, const Labelled& labelled, std::string alias,
                           std::int64_t version, std::vector<std::string>& notes) {
  Performance performance{.alias = std::move(alias), .version = version, .rows = labelled.rows};
  performance.labelled = std::ssize(labelled.labels);
  const auto mean = [](const std::vector<double>& values) {
    return values.empty() ? kNaN
                          : std::accumulate(values.begin(), values.end(), 0.0) /
                                static_cast<double>(values.size());
  };
  performance.label_rate = mean(labelled.labels);
  performance.mean_score = mean(labelled.scores);
  std::optional<Error> wrong;
  if (spec.regression) {
    if (const auto pairs = evaluation::Numeric::of(labelled.labels, labelled.scores)) {
      measure_all(
          evaluation::kRegressionMetrics, [&](auto metric) { return measure(metric, *pairs); },
          [&](auto metric) { return why_undefined(metric, *pairs); }, performance);
    } else {
      wrong = pairs.error();
    }
  } else if (const auto pairs = evaluation::Binary::of(labelled.labels, labelled.scores)) {
    measure_all(
        evaluation::kBinaryMetrics,
        [&](auto metric) { return measure(metric, *pairs, spec.threshold); },
        [&](auto metric) { return why_undefined(metric, *pairs, spec.threshold); }, performance);
  } else {
    wrong = pairs.error();
  }
  if (wrong)
    notes.push_back("performance of version " + std::to_string(version) + ": " + wrong->message);
  return performance;
}

void add_traffic(const data::Columns& primary, WindowReport& report) {
  const auto latency = primary.column("latency_us");
  const auto score = primary.column("score");
  const double seconds =
      std::chrono::duration<double>(report.window.end - report.window.start).count();
  report.request_rate = static_cast<double>(report.rows) / seconds;
  std::vector<std::int64_t> micros;
  double sum = 0;
  for (std::int64_t row = 0; row < report.rows; ++row) {
    if (!latency->is_null(row)) micros.push_back(latency->integer(row));
    const double value = score->number(row);
    if (std::isnan(value)) {
      ++report.missing_scores;
    } else {
      sum += value;
    }
  }
  if (const std::int64_t scored = report.rows - report.missing_scores; scored > 0) {
    report.mean_score = sum / static_cast<double>(scored);
  }
  // The nearest-rank percentile: a latency that did occur.
  const auto percentile = [&](double q) {
    if (micros.empty()) return 0.0;
    const auto rank =
        static_cast<std::ptrdiff_t>(std::ceil(q * static_cast<double>(micros.size()))) - 1;
    const auto at = micros.begin() + std::max<std::ptrdiff_t>(rank, 0);
    std::nth_element(micros.begin(), at, micros.end());
    return static_cast<double>(*at) / 1000;
  };
  report.latency_p50_ms = percentile(0.5);
  report.latency_p99_ms = percentile(0.99);
}

void add_drift(const MonitorSpec& spec, const data::Columns& primary, const Reference& reference,
               WindowReport& report) {
  for (const auto& column : reference.profile.columns) {
    const bool ignored = std::find(spec.drift.ignore.begin(), spec.drift.ignore.end(),
                                   column.name) != spec.drift.ignore.end();
    // Time moves on by nature.
    if (ignored || column.type == data::Type::timestamp) continue;
    // The log calls an input that bears the name of one of its own columns "input.<name>".
    auto view = primary.column("input." + column.name);
    if (!view) view = primary.column(column.name);
    if (!view) {
      report.notes.push_back("drift of '" + column.name + "': the log has no such column");
      continue;
    }
    auto drift = column_drift(column, *view);
    if (!drift) {
      report.notes.push_back("drift of '" + column.name + "': " + drift.error().message);
      continue;
    }
    if (const auto weight = reference.importance.find(column.name);
        weight != reference.importance.end()) {
      drift->importance = weight->second;
    }
    report.columns.push_back(std::move(*drift));
  }
  decide(report.columns, spec.drift);
  report.weighted_drift = weighted_drift(report.columns);
  if (!reference.score) return;
  auto score = column_drift(*reference.score, *primary.column("score"));
  if (!score) {
    report.notes.push_back("drift of the score: " + score.error().message);
    return;
  }
  decide({&*score, 1}, spec.drift);
  report.score = std::move(*score);
}

Result<void> add_performance(const MonitorSpec& spec, const data::Columns& primary,
                             const WindowInput& input, WindowReport& report) {
  const auto id = primary.column("id");
  const auto score = primary.column("score");
  const auto alias = primary.column("alias");
  Labelled answers;
  std::unordered_map<std::string_view, std::optional<double>> label_of;
  for (std::int64_t row = 0; row < report.rows; ++row) {
    const auto& label = input.labels[static_cast<std::size_t>(row)];
    answers.add(label, *score, row);
    if (label) label_of.emplace(id->text(row), label);
  }
  const std::string name =
      report.rows > 0 && !alias->is_null(0) ? std::string(alias->text(report.rows - 1)) : "";
  report.performance = performance_of(spec, answers, name, report.version, report.notes);
  if (input.shadow == nullptr) return {};

  const auto shadow = data::Columns::from_table(input.shadow);
  if (!shadow) return shadow.error();
  std::map<std::pair<std::string, std::int64_t>, Labelled> by_version;
  const auto shadow_id = shadow->column("id");
  const auto shadow_alias = shadow->column("alias");
  const auto shadow_version = shadow->column("version");
  const auto shadow_score = shadow->column("score");
  for (const auto* column : {&shadow_id, &shadow_alias, &shadow_version, &shadow_score}) {
    if (!*column) return column->error().at("shadow rows");
  }
  for (std::int64_t row = 0; row < shadow->rows(); ++row) {
    const auto label = label_of.find(shadow_id->text(row));
    by_version[{std::string(shadow_alias->text(row)), shadow_version->integer(row)}].add(
        label == label_of.end() ? std::nullopt : label->second, *shadow_score, row);
  }
  for (const auto& [key, labelled] : by_version) {
    report.shadows.push_back(performance_of(spec, labelled, key.first, key.second, report.notes));
  }
  return {};
}

Json numbers(const std::map<std::string, double>& values) {
  Json json = Json::object();
  for (const auto& [name, value] : values) json[name] = json_number(value);
  return json;
}

}  // namespace

Window window_at(Time time, Duration length) {
  constexpr Time kMonday{std::chrono::sys_days{std::chrono::year{1970} / 1 / 5}};
  const auto since = time - kMonday;
  auto index = since / length;
  if (since < Duration::zero() && index * length != since) --index;  // division rounds towards zero
  const Time start = kMonday + index * length;
  return {start, start + length};
}

Json Performance::to_json() const {
  return {{"alias", alias},
          {"version", version},
          {"rows", rows},
          {"labelled", labelled},
          {"coverage", coverage()},
          {"label_rate", json_number(label_rate)},
          {"mean_score", json_number(mean_score)},
          {"metrics", numbers(metrics)},
          {"undefined", undefined}};
}

std::map<std::string, double> WindowReport::values(const MonitorSpec& spec) const {
  std::map<std::string, double> values = {{"rows", static_cast<double>(rows)},
                                          {"request_rate", request_rate},
                                          {"labelled", static_cast<double>(performance.labelled)},
                                          {"coverage", performance.coverage()},
                                          {"missing_scores", static_cast<double>(missing_scores)}};
  for (const auto& [name, value] : reference_metrics) values["reference." + name] = value;
  if (enough_rows) {
    values["latency_p50_ms"] = latency_p50_ms;
    values["latency_p99_ms"] = latency_p99_ms;
    if (mean_score) values["mean_score"] = *mean_score;
    if (score) {
      values["score_psi"] = score->psi;
      values["score_js"] = score->js;
    }
    if (weighted_drift) values["weighted_drift"] = *weighted_drift;
    if (!columns.empty()) {
      for (const char* name : {"drifted_columns", "major_columns", "nulls_changed", "max_psi",
                               "max_unseen_share", "max_out_of_range_share"}) {
        values[name] = 0;
      }
    }
    for (const auto& column : columns) {
      values["drifted_columns"] += column.drifted ? 1 : 0;
      values["major_columns"] += column.major ? 1 : 0;
      values["nulls_changed"] += column.nulls_changed ? 1 : 0;
      values["max_psi"] = std::max(values["max_psi"], column.psi);
      values["max_unseen_share"] = std::max(values["max_unseen_share"], column.unseen_share);
      values["max_out_of_range_share"] =
          std::max(values["max_out_of_range_share"], column.out_of_range_share);
      values["drift." + column.name + ".psi"] = column.psi;
      values["drift." + column.name + ".js"] = column.js;
      values["drift." + column.name + ".p"] = column.p_adjusted;
      values["nulls." + column.name] = column.null_share;
    }
    if (!columns.empty())
      values["drifted_share"] = values["drifted_columns"] / static_cast<double>(columns.size());
  }
  if (performance.labelled >= spec.min_rows) {
    values["label_rate"] = performance.label_rate;
    values["calibration_gap"] = performance.mean_score - performance.label_rate;
    for (const auto& [name, value] : performance.metrics) values[name] = value;
  }
  for (const auto& shadow : shadows) {
    if (shadow.labelled < spec.min_rows) continue;
    // Of an alias that moved within the window the newest version counts: it stands last.
    for (const auto& [name, value] : shadow.metrics)
      values["shadow." + shadow.alias + "." + name] = value;
  }
  std::erase_if(values, [](const auto& one) { return std::isnan(one.second); });
  return values;
}

Json WindowReport::to_json(const MonitorSpec& spec) const {
  Json json = {{"deployment", deployment},
               {"version", version},
               {"start", format_time(window.start)},
               {"end", format_time(window.end)},
               {"phase", std::string(to_string(phase))},
               {"rows", rows},
               {"request_rate", request_rate},
               {"latency_p50_ms", latency_p50_ms},
               {"latency_p99_ms", latency_p99_ms},
               {"mean_score", mean_score ? json_number(*mean_score) : Json()},
               {"missing_scores", missing_scores},
               {"score", score ? score->to_json() : Json()},
               {"weighted_drift", weighted_drift ? json_number(*weighted_drift) : Json()},
               {"performance", performance.to_json()},
               {"reference_metrics", numbers(reference_metrics)},
               {"enough_rows", enough_rows},
               {"notes", notes},
               {"values", numbers(values(spec))}};
  json["rows_by_version"] = Json::array();
  for (const auto& [one, count] : rows_by_version)
    json["rows_by_version"].push_back({{"version", one}, {"rows", count}});
  json["columns"] = Json::array();
  for (const auto& column : columns) json["columns"].push_back(column.to_json());
  json["shadows"] = Json::array();
  for (const auto& shadow : shadows) json["shadows"].push_back(shadow.to_json());
  return json;
}

Result<std::int64_t> main_version(const data::TablePtr& primary) {
  const auto columns = data::Columns::from_table(primary);
  if (!columns) return columns.error();
  const auto versions = columns->column("version");
  if (!versions) return versions.error();
  return most_frequent(count_versions(*versions));
}

Result<WindowReport> evaluate_window(const MonitorSpec& spec, const WindowInput& input) {
  const auto primary = data::Columns::from_table(input.primary);
  if (!primary) return primary.error();
  for (const char* name : {"id", "version", "alias", "latency_us", "score"}) {
    if (const auto column = primary->column(name); !column)
      return column.error().at("prediction log");
  }
  if (std::ssize(input.labels) != primary->rows()) {
    return invalid_argument(
        fmt::format("there are {} labels for {} rows", input.labels.size(), primary->rows()));
  }
  WindowReport report;
  report.deployment = spec.deployment;
  report.window = input.window;
  report.phase = input.phase;
  report.rows = primary->rows();
  report.enough_rows = report.rows >= spec.min_rows;
  report.rows_by_version = count_versions(*primary->column("version"));
  report.version = most_frequent(report.rows_by_version);
  if (!report.enough_rows) {
    report.notes.push_back(fmt::format("{} rows are fewer than min_rows {}: rules about them wait",
                                       report.rows, spec.min_rows));
  }
  add_traffic(*primary, report);
  if (input.reference != nullptr) {
    report.reference_metrics = input.reference->metrics;
    if (report.rows > 0) add_drift(spec, *primary, *input.reference, report);
  } else if (report.rows > 0) {
    report.notes.push_back(
        fmt::format("version {} has no reference profile: no drift", report.version));
  }
  if (auto added = add_performance(spec, *primary, input, report); !added) return added.error();
  return report;
}

}  // namespace slipway::monitoring
