// One model on one set of labelled rows, in full: metrics with bootstrap intervals, confusion,
// calibration, slices, and the naive model and the current champion beside them. A value: stored as
// JSON with the run, rendered as a table in the terminal, read by gates through values().
//   auto result = evaluate_binary(labels, scores, {.slices = {{"carrier", view}}, .seed = seed});
//   if (result) std::cout << result->render_text();
// Thread-safe.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "data/table.h"
#include "evaluation/compare.h"
#include "evaluation/metrics.h"

namespace slipway::evaluation {

// A column by whose values the rows are cut; as many rows as there are labels. Numbers of type
// float64 are refused.
struct SliceColumn {
  std::string name;
  data::ColumnView values;
};

struct EvaluateOptions {
  std::vector<SliceColumn> slices;
  std::int64_t min_slice_rows = 100;  // smaller slices are left out
  int max_slices = 50;                // per column, the largest
  double threshold = 0.5;
  std::optional<double>
      prior_rate;   // of the training labels, for the naive model; absent: the rate of these labels
  int draws = 200;  // of the bootstrap; 0: no intervals
  double confidence = 0.95;
  std::uint64_t seed = 0;
  // Scores of the current champion on the same rows; empty when there is none.
  std::span<const double> champion_scores;
  std::string champion_name;  // "flights version 3"
};

struct Slice {
  std::string column, value;  // value "(null)" for missing
  std::int64_t rows = 0;
  double label_rate = 0, mean_score = 0;
  std::map<std::string, double> metrics;  // those that are defined
};

struct Evaluation {
  std::string task;  // "binary" or "regression"
  std::int64_t rows = 0;
  double label_rate = 0, mean_score = 0;         // of a regression: means of labels and predictions
  std::map<std::string, double> metrics;         // by name; only what is defined
  std::map<std::string, std::string> undefined;  // by name: why it is not
  std::map<std::string, Interval> intervals;
  double confidence = 0.95;
  std::map<std::string, double> naive;  // metrics of the model that always answers the prior rate
  double threshold = 0.5;
  Confusion confusion;                      // binary
  std::vector<CalibrationBin> calibration;  // binary
  std::vector<Slice> slices;                // by column as given, then by rows, largest first
  std::string champion_name;                // empty: no champion
  std::map<std::string, double> champion;   // its metrics on the same rows
  std::vector<Comparison> versus_champion;

  // What gates and alert rules read: "auc", "auc.low", "auc.high", "rows", "label_rate",
  // "naive.auc", "champion.auc", "improvement.auc" (positive is better than the champion),
  // "improvement.auc.low", "improvement.auc.p_better", "slices.carrier.UA.auc", and
  // "worst.carrier.auc", the worst over the slices of a column.
  std::map<std::string, double> values() const;
  Json to_json() const;
  static Result<Evaluation> from_json(const Json& json);
  // A table for a terminal at most `width` columns wide; plain UTF-8 without colours.
  std::string render_text(int width = 100) const;
};

Result<Evaluation> evaluate_binary(std::span<const double> labels, std::span<const double> scores,
                                   const EvaluateOptions& options);
Result<Evaluation> evaluate_regression(std::span<const double> labels,
                                       std::span<const double> predictions,
                                       const EvaluateOptions& options);

}  // namespace slipway::evaluation
