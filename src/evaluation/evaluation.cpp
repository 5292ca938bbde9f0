#include "evaluation/evaluation.h"

#include "base/clock.h"
#include "evaluation/order_internal.h"

namespace slipway::evaluation {

namespace {

std::span<const Metric> metrics_of(bool regression) {
  if (regression) return kRegressionMetrics;
  return kBinaryMetrics;
}

struct Measured {
  std::map<std::string, double> metrics;
  std::map<std::string, std::string> undefined;
};

// Every metric of the task; the pairs were checked before.
Measured measure_all(bool regression, std::span<const double> labels,
                     std::span<const double> scores, double threshold) {
  Measured measured;
  const auto add = [&](Metric metric, double value, const auto& reason) {
    if (std::isnan(value)) {
      measured.undefined.emplace(to_string(metric), reason());
    } else {
      measured.metrics.emplace(to_string(metric), value);
    }
  };
  if (regression) {
    const auto pairs = Numeric::of(labels, scores);
    for (const Metric metric : kRegressionMetrics) {
      add(metric, measure(metric, *pairs), [&] { return why_undefined(metric, *pairs); });
    }
    return measured;
  }
  const auto pairs = Binary::of(labels, scores);
  const Confusion counts = confusion(*pairs, threshold);
  const std::pair<Metric, double> values[] = {{Metric::auc, auc(*pairs)},
                                              {Metric::log_loss, log_loss(*pairs)},
                                              {Metric::brier, brier(*pairs)},
                                              {Metric::ece, expected_calibration_error(*pairs)},
                                              {Metric::accuracy, counts.accuracy()},
                                              {Metric::precision, counts.precision()},
                                              {Metric::recall, counts.recall()},
                                              {Metric::f1, counts.f1()}};
  for (const auto& [metric, value] : values) {
    add(metric, value, [&, one = metric] { return why_undefined(one, *pairs, threshold); });
  }
  return measured;
}

std::string slice_value(const data::ColumnView& view, std::int64_t row) {
  if (view.is_null(row)) return "(null)";
  switch (view.type) {
    case data::Type::text:
      return std::string(view.text(row));
    case data::Type::boolean:
      return view.boolean(row) ? "true" : "false";
    case data::Type::timestamp:
      return format_time(from_micros(view.integer(row)));
    default:
      return std::to_string(view.integer(row));
  }
}

Result<std::vector<Slice>> cut(const SliceColumn& column, bool regression,
                               std::span<const double> labels, std::span<const double> scores,
                               const EvaluateOptions& options) {
  if (column.values.rows != static_cast<std::int64_t>(labels.size())) {
    return invalid_argument(fmt::format("slice column '{}' has {} rows beside {} labels",
                                        column.name, column.values.rows, labels.size()));
  }
  if (column.values.type == data::Type::float64) {
    return invalid_argument("slice column '" + column.name +
                            "' is float64; slice by text, integers or booleans, or bin it first");
  }
  std::unordered_map<std::string, std::vector<std::size_t>> groups;
  for (std::size_t row = 0; row < labels.size(); ++row) {
    groups[slice_value(column.values, static_cast<std::int64_t>(row))].push_back(row);
  }
  std::vector<std::pair<std::string, std::vector<std::size_t>>> kept;
  for (auto& [value, rows] : groups) {
    if (static_cast<std::int64_t>(rows.size()) >= options.min_slice_rows) {
      kept.emplace_back(value, std::move(rows));
    }
  }
  std::sort(kept.begin(), kept.end(), [](const auto& a, const auto& b) {
    return a.second.size() != b.second.size() ? a.second.size() > b.second.size()
                                              : a.first < b.first;
  });
  kept.resize(std::min(kept.size(), static_cast<std::size_t>(std::max(options.max_slices, 0))));
  std::vector<Slice> slices;
  for (const auto& [value, rows] : kept) {
    std::vector<double> some_labels;
    std::vector<double> some_scores;
    for (const std::size_t row : rows) {
      some_labels.push_back(labels[row]);
      some_scores.push_back(scores[row]);
    }
    Slice slice{
        .column = column.name, .value = value, .rows = static_cast<std::int64_t>(rows.size())};
    slice.label_rate = mean(some_labels);
    slice.mean_score = mean(some_scores);
    slice.metrics = measure_all(regression, some_labels, some_scores, options.threshold).metrics;
    slices.push_back(std::move(slice));
  }
  return slices;
}

Result<void> check(bool regression, std::span<const double> labels,
                   std::span<const double> scores) {
  if (regression) {
    const auto pairs = Numeric::of(labels, scores);
    return pairs ? Result<void>{} : pairs.error();
  }
  const auto pairs = Binary::of(labels, scores);
  return pairs ? Result<void>{} : pairs.error();
}

Result<Evaluation> evaluate(bool regression, std::span<const double> labels,
                            std::span<const double> scores, const EvaluateOptions& options) {
  if (auto sound = check(regression, labels, scores); !sound) return sound.error();
  if (!(options.threshold >= 0 && options.threshold <= 1)) {
    return invalid_argument(fmt::format("threshold is {}; 0 to 1 is allowed", options.threshold));
  }
  if (options.prior_rate && !regression &&
      !(*options.prior_rate >= 0 && *options.prior_rate <= 1)) {
    return invalid_argument(
        fmt::format("prior_rate is {}; 0 to 1 is allowed", *options.prior_rate));
  }
  Evaluation result;
  result.task = regression ? "regression" : "binary";
  result.rows = static_cast<std::int64_t>(labels.size());
  result.label_rate = mean(labels);
  result.mean_score = mean(scores);
  result.threshold = options.threshold;
  result.confidence = options.confidence;
  auto measured = measure_all(regression, labels, scores, options.threshold);
  result.metrics = std::move(measured.metrics);
  result.undefined = std::move(measured.undefined);
  if (labels.empty()) return result;

  if (!regression) {
    const auto pairs = Binary::of(labels, scores);
    result.confusion = confusion(*pairs, options.threshold);
    result.calibration = calibration_curve(*pairs);
  }
  const double prior = options.prior_rate.value_or(result.label_rate);
  result.naive =
      measure_all(regression, labels, std::vector<double>(labels.size(), prior), options.threshold)
          .metrics;

  const BootstrapOptions bootstrapping{.draws = options.draws,
                                       .confidence = options.confidence,
                                       .seed = options.seed,
                                       .threshold = options.threshold};
  std::vector<Metric> defined;
  for (const Metric metric : metrics_of(regression)) {
    if (result.metrics.contains(std::string(to_string(metric)))) defined.push_back(metric);
  }
  if (options.draws > 0) {
    auto intervals = bootstrap(labels, scores, defined, bootstrapping);
    if (!intervals) return intervals.error();
    for (std::size_t i = 0; i < defined.size(); ++i) {
      result.intervals.emplace(to_string(defined[i]), (*intervals)[i]);
    }
  }
  for (const auto& column : options.slices) {
    auto slices = cut(column, regression, labels, scores, options);
    if (!slices) return slices.error();
    std::move(slices->begin(), slices->end(), std::back_inserter(result.slices));
  }
  if (!options.champion_scores.empty()) {
    if (auto sound = check(regression, labels, options.champion_scores); !sound) {
      return sound.error().at("champion");
    }
    result.champion_name = options.champion_name.empty() ? "champion" : options.champion_name;
    result.champion =
        measure_all(regression, labels, options.champion_scores, options.threshold).metrics;
    const std::vector<Metric> compared =
        regression ? std::vector{Metric::rmse, Metric::mae}
                   : std::vector{Metric::auc, Metric::log_loss, Metric::brier};
    for (const Metric metric : compared) {
      if (options.draws == 0) break;
      auto comparison = compare(labels, options.champion_scores, scores, metric, bootstrapping);
      if (!comparison) return comparison.error();
      result.versus_champion.push_back(std::move(*comparison));
    }
  }
  return result;
}

Json numbers(const std::map<std::string, double>& values) {
  Json json = Json::object();
  for (const auto& [name, value] : values) json[name] = json_number(value);
  return json;
}

std::map<std::string, double> numbers_from(const Json& json) {
  std::map<std::string, double> values;
  for (const auto& [name, value] : json.items()) {
    if (value.is_number()) values.emplace(name, value.get<double>());
  }
  return values;
}

double number_from(const Json& json) { return json.is_null() ? kNaN : json.get<double>(); }

}  // namespace

Result<Evaluation> evaluate_binary(std::span<const double> labels, std::span<const double> scores,
                                   const EvaluateOptions& options) {
  return evaluate(false, labels, scores, options);
}

Result<Evaluation> evaluate_regression(std::span<const double> labels,
                                       std::span<const double> predictions,
                                       const EvaluateOptions& options) {
  return evaluate(true, labels, predictions, options);
}

std::map<std::string, double> Evaluation::values() const {
  std::map<std::string, double> values(metrics);
  values["rows"] = static_cast<double>(rows);
  values["label_rate"] = label_rate;
  values["mean_score"] = mean_score;
  for (const auto& [name, interval] : intervals) {
    values[name + ".low"] = interval.low;
    values[name + ".high"] = interval.high;
  }
  for (const auto& [name, value] : naive) values["naive." + name] = value;
  for (const auto& [name, value] : champion) values["champion." + name] = value;
  for (const auto& one : versus_champion) {
    const std::string name = "improvement." + std::string(to_string(one.metric));
    values[name] = one.improvement;
    values[name + ".low"] = one.low;
    values[name + ".high"] = one.high;
    values[name + ".p_better"] = one.p_better;
  }
  for (const auto& slice : slices) {
    for (const auto& [name, value] : slice.metrics) {
      values["slices." + slice.column + "." + slice.value + "." + name] = value;
      const auto metric = parse_metric(name);
      const auto [worst, first] = values.emplace("worst." + slice.column + "." + name, value);
      if (!first && metric &&
          (higher_is_better(*metric) ? value < worst->second : value > worst->second)) {
        worst->second = value;
      }
    }
  }
  std::erase_if(values, [](const auto& one) { return std::isnan(one.second); });
  return values;
}

Json Evaluation::to_json() const {
  Json json = {{"task", task},
               {"rows", rows},
               {"label_rate", json_number(label_rate)},
               {"mean_score", json_number(mean_score)},
               {"metrics", numbers(metrics)},
               {"undefined", undefined},
               {"confidence", confidence},
               {"naive", numbers(naive)},
               {"threshold", threshold},
               {"champion_name", champion_name},
               {"champion", numbers(champion)}};
  json["intervals"] = Json::object();
  for (const auto& [name, one] : intervals) {
    json["intervals"][name] = {json_number(one.low), json_number(one.high)};
  }
  json["confusion"] = {{"true_negative", confusion.true_negative},
                       {"false_positive", confusion.false_positive},
                       {"false_negative", confusion.false_negative},
                       {"true_positive", confusion.true_positive}};
  json["calibration"] = Json::array();
  for (const auto& bin : calibration) {
    json["calibration"].push_back({{"low", bin.low},
                                   {"high", bin.high},
                                   {"rows", bin.rows},
                                   {"mean_score", bin.mean_score},
                                   {"label_rate", bin.label_rate}});
  }
  json["slices"] = Json::array();
  for (const auto& slice : slices) {
    json["slices"].push_back({{"column", slice.column},
                              {"value", slice.value},
                              {"rows", slice.rows},
                              {"label_rate", json_number(slice.label_rate)},
                              {"mean_score", json_number(slice.mean_score)},
                              {"metrics", numbers(slice.metrics)}});
  }
  json["versus_champion"] = Json::array();
  for (const auto& one : versus_champion) json["versus_champion"].push_back(one.to_json());
  return json;
}

Result<Evaluation> Evaluation::from_json(const Json& json) {
  try {
    Evaluation result;
    result.task = json.at("task").get<std::string>();
    result.rows = json.at("rows").get<std::int64_t>();
    result.label_rate = number_from(json.at("label_rate"));
    result.mean_score = number_from(json.at("mean_score"));
    result.metrics = numbers_from(json.at("metrics"));
    result.undefined = json.at("undefined").get<std::map<std::string, std::string>>();
    result.confidence = json.at("confidence").get<double>();
    result.naive = numbers_from(json.at("naive"));
    result.threshold = json.at("threshold").get<double>();
    result.champion_name = json.at("champion_name").get<std::string>();
    result.champion = numbers_from(json.at("champion"));
    for (const auto& [name, ends] : json.at("intervals").items()) {
      result.intervals[name] = {number_from(ends.at(0)), number_from(ends.at(1))};
    }
    const Json& cells = json.at("confusion");
    result.confusion = {cells.at("true_negative").get<std::int64_t>(),
                        cells.at("false_positive").get<std::int64_t>(),
                        cells.at("false_negative").get<std::int64_t>(),
                        cells.at("true_positive").get<std::int64_t>()};
    for (const auto& bin : json.at("calibration")) {
      result.calibration.push_back({bin.at("low").get<double>(), bin.at("high").get<double>(),
                                    bin.at("rows").get<std::int64_t>(),
                                    bin.at("mean_score").get<double>(),
                                    bin.at("label_rate").get<double>()});
    }
    for (const auto& slice : json.at("slices")) {
      result.slices.push_back(
          {slice.at("column").get<std::string>(), slice.at("value").get<std::string>(),
           slice.at("rows").get<std::int64_t>(), number_from(slice.at("label_rate")),
           number_from(slice.at("mean_score")), numbers_from(slice.at("metrics"))});
    }
    for (const auto& one : json.at("versus_champion")) {
      auto comparison = Comparison::from_json(one);
      if (!comparison) return comparison.error();
      result.versus_champion.push_back(std::move(*comparison));
    }
    return result;
  } catch (const Json::exception& failure) {
    return invalid_argument(std::string("this is not an evaluation: ") + failure.what());
  }
}

}  // namespace slipway::evaluation
