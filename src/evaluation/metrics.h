// How good scores are against labels: pure functions over checked pairs.
//   auto pairs = Binary::of(labels, scores);          // same length, labels 0 or 1, scores in [0,
//   1] if (!pairs) return pairs.error(); const double value = auc(*pairs);                 // NaN
//   when undefined: why_undefined(Metric::auc, *pairs)
// A pair type borrows its spans. Definitions follow scikit-learn's, with which the tests compare.
// Thread-safe.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace slipway::evaluation {

enum class Metric { auc, log_loss, brier, ece, accuracy, precision, recall, f1, rmse, mae, r2 };
inline constexpr Metric kBinaryMetrics[] = {Metric::auc,    Metric::log_loss, Metric::brier,
                                            Metric::ece,    Metric::accuracy, Metric::precision,
                                            Metric::recall, Metric::f1};
inline constexpr Metric kRegressionMetrics[] = {Metric::rmse, Metric::mae, Metric::r2};

std::string_view to_string(Metric metric);           // "log_loss"
Result<Metric> parse_metric(std::string_view name);  // invalid_argument names the nearest
bool higher_is_better(Metric metric);
bool is_regression(Metric metric);

// Labels 0 / 1 beside probabilities of class 1.
class Binary {
 public:
  // invalid_argument tells the first row (from 0) that is wrong.
  static Result<Binary> of(std::span<const double> labels, std::span<const double> scores);
  std::size_t rows() const { return labels_.size(); }
  std::size_t positives() const { return positives_; }
  std::span<const double> labels() const { return labels_; }
  std::span<const double> scores() const { return scores_; }
  double label_rate() const;  // NaN without rows
  double mean_score() const;

 private:
  std::span<const double> labels_, scores_;
  std::size_t positives_ = 0;
};

// True beside predicted numbers, all finite.
class Numeric {
 public:
  static Result<Numeric> of(std::span<const double> labels, std::span<const double> predictions);
  std::size_t rows() const { return labels_.size(); }
  std::span<const double> labels() const { return labels_; }
  std::span<const double> predictions() const { return predictions_; }

 private:
  std::span<const double> labels_, predictions_;
};

// Area under the ROC curve by the rank sum (Mann-Whitney U); tied scores take their middle rank.
double auc(const Binary& pairs);
// Mean negative log likelihood in nats; scores are clipped to [epsilon, 1 - epsilon] of a double.
double log_loss(const Binary& pairs);
// Mean squared difference of score and label. G. W. Brier, Monthly Weather Review 78 (1950).
double brier(const Binary& pairs);

// Counts of (label, score >= threshold).
struct Confusion {
  std::int64_t true_negative = 0, false_positive = 0, false_negative = 0, true_positive = 0;
  double accuracy() const;   // NaN when nothing was counted
  double precision() const;  // NaN when nothing was predicted positive
  double recall() const;     // NaN when nothing is positive
  double f1() const;         // NaN when nothing is or was predicted positive
};
Confusion confusion(const Binary& pairs, double threshold);

// One bin of a reliability diagram.
struct CalibrationBin {
  double low = 0, high = 0;  // scores in [low, high), the last with its upper end
  std::int64_t rows = 0;
  double mean_score = 0, label_rate = 0;  // 0 when empty
};
inline constexpr int kCalibrationBins = 15;
std::vector<CalibrationBin> calibration_curve(const Binary& pairs, int bins = kCalibrationBins);
// Expected calibration error: mean |mean score - label rate| over bins, weighted by rows; bins of
// equal width. M. P. Naeini, G. Cooper, M. Hauskrecht, "Obtaining well calibrated probabilities
// using Bayesian binning" (AAAI 2015).
double expected_calibration_error(const Binary& pairs, int bins = kCalibrationBins);
// The same over bins of equal row counts: J. Nixon et al., "Measuring calibration in deep learning"
// (2019).
double adaptive_calibration_error(const Binary& pairs, int bins = kCalibrationBins);

double rmse(const Numeric& pairs);
double mae(const Numeric& pairs);
double r2(const Numeric& pairs);  // NaN when the labels do not vary

double measure(Metric metric, const Binary& pairs,
               double threshold = 0.5);               // NaN for regression metrics
double measure(Metric metric, const Numeric& pairs);  // NaN for the others
// The reason why measure() gives NaN, for a person; empty when it is defined.
std::string why_undefined(Metric metric, const Binary& pairs, double threshold = 0.5);
std::string why_undefined(Metric metric, const Numeric& pairs);

}  // namespace slipway::evaluation
