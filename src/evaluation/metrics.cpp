#include "evaluation/metrics.h"

#include "base/spec.h"
#include "evaluation/order_internal.h"

namespace slipway::evaluation {

namespace {

constexpr std::pair<Metric, std::string_view> kNames[] = {{Metric::auc, "auc"},
                                                          {Metric::log_loss, "log_loss"},
                                                          {Metric::brier, "brier"},
                                                          {Metric::ece, "ece"},
                                                          {Metric::accuracy, "accuracy"},
                                                          {Metric::precision, "precision"},
                                                          {Metric::recall, "recall"},
                                                          {Metric::f1, "f1"},
                                                          {Metric::rmse, "rmse"},
                                                          {Metric::mae, "mae"},
                                                          {Metric::r2, "r2"}};

Result<void> same_length(std::span<const double> labels, std::span<const double> scores) {
  if (labels.size() == scores.size()) return {};
  return invalid_argument(fmt::format("there are {} labels beside {} scores; every row needs both",
                                      labels.size(), scores.size()));
}

}  // namespace

std::string_view to_string(Metric metric) {
  for (const auto& [value, name] : kNames) {
    if (value == metric) return name;
  }
  return "unknown";
}

Result<Metric> parse_metric(std::string_view name) {
  std::vector<std::string> names;
  for (const auto& [value, known] : kNames) {
    if (known == name) return value;
    names.emplace_back(known);
  }
  const auto near = nearest(name, names);
  return invalid_argument(
      "there is no metric '" + std::string(name) + "'; " +
      (near ? "did you mean '" + *near + "'?" : fmt::format("known: {}", fmt::join(names, ", "))));
}

bool higher_is_better(Metric metric) {
  switch (metric) {
    case Metric::log_loss:
    case Metric::brier:
    case Metric::ece:
    case Metric::rmse:
    case Metric::mae:
      return false;
    default:
      return true;
  }
}

bool is_regression(Metric metric) {
  return metric == Metric::rmse || metric == Metric::mae || metric == Metric::r2;
}

Result<Binary> Binary::of(std::span<const double> labels, std::span<const double> scores) {
  if (auto same = same_length(labels, scores); !same) return same.error();
  Binary pairs;
  for (std::size_t row = 0; row < labels.size(); ++row) {
    if (labels[row] != 0 && labels[row] != 1) {
      return invalid_argument(
          fmt::format("row {} has label {}; labels are 0 or 1", row, labels[row]));
    }
    if (!(scores[row] >= 0 && scores[row] <= 1)) {
      return invalid_argument(fmt::format(
          "row {} has score {}; scores are probabilities from 0 to 1", row, scores[row]));
    }
    pairs.positives_ += labels[row] == 1 ? 1 : 0;
  }
  pairs.labels_ = labels;
  pairs.scores_ = scores;
  return pairs;
}

double Binary::label_rate() const {
  return ratio(static_cast<double>(positives_), static_cast<double>(rows()));
}

double Binary::mean_score() const { return mean(scores_); }

Result<Numeric> Numeric::of(std::span<const double> labels, std::span<const double> predictions) {
  if (auto same = same_length(labels, predictions); !same) return same.error();
  for (std::size_t row = 0; row < labels.size(); ++row) {
    if (!std::isfinite(labels[row]) || !std::isfinite(predictions[row])) {
      return invalid_argument(
          fmt::format("row {} has label {} and prediction {}; both must be finite", row,
                      labels[row], predictions[row]));
    }
  }
  Numeric pairs;
  pairs.labels_ = labels;
  pairs.predictions_ = predictions;
  return pairs;
}

double auc(const Binary& pairs) {
  const auto positives = static_cast<double>(pairs.positives());
  const auto negatives = static_cast<double>(pairs.rows() - pairs.positives());
  if (positives == 0 || negatives == 0) return kNaN;
  const auto order = order_by(pairs.scores());
  double wins = 0;  // pairs (positive, negative) in the right order; a tie is half a win
  double negatives_before = 0;
  for (std::size_t begin = 0; begin < order.size();) {
    const double score = pairs.scores()[order[begin]];
    double positives_here = 0;
    double negatives_here = 0;
    std::size_t i = begin;
    for (; i < order.size() && pairs.scores()[order[i]] == score; ++i) {
      (pairs.labels()[order[i]] == 1 ? positives_here : negatives_here) += 1;
    }
    wins += positives_here * (negatives_before + negatives_here / 2);
    negatives_before += negatives_here;
    begin = i;
  }
  return wins / (positives * negatives);
}

double log_loss(const Binary& pairs) {
  double sum = 0;
  for (std::size_t row = 0; row < pairs.rows(); ++row) {
    sum += log_loss_of(pairs.labels()[row], pairs.scores()[row]);
  }
  return ratio(sum, static_cast<double>(pairs.rows()));
}

double brier(const Binary& pairs) {
  double sum = 0;
  for (std::size_t row = 0; row < pairs.rows(); ++row) {
    const double difference = pairs.scores()[row] - pairs.labels()[row];
    sum += difference * difference;
  }
  return ratio(sum, static_cast<double>(pairs.rows()));
}

double Confusion::accuracy() const {
  const auto right = static_cast<double>(true_negative + true_positive);
  return ratio(right, right + static_cast<double>(false_negative + false_positive));
}
double Confusion::precision() const {
  return ratio(static_cast<double>(true_positive),
               static_cast<double>(true_positive + false_positive));
}
double Confusion::recall() const {
  return ratio(static_cast<double>(true_positive),
               static_cast<double>(true_positive + false_negative));
}
double Confusion::f1() const {
  const auto twice = static_cast<double>(2 * true_positive);
  return ratio(twice, twice + static_cast<double>(false_positive + false_negative));
}

Confusion confusion(const Binary& pairs, double threshold) {
  Confusion counts;
  for (std::size_t row = 0; row < pairs.rows(); ++row) {
    const bool predicted = pairs.scores()[row] >= threshold;
    if (pairs.labels()[row] == 1) {
      ++(predicted ? counts.true_positive : counts.false_negative);
    } else {
      ++(predicted ? counts.false_positive : counts.true_negative);
    }
  }
  return counts;
}

std::vector<CalibrationBin> calibration_curve(const Binary& pairs, int bins) {
  std::vector<CalibrationBin> curve(static_cast<std::size_t>(std::max(bins, 1)));
  const auto count = static_cast<double>(curve.size());
  for (std::size_t bin = 0; bin < curve.size(); ++bin) {
    curve[bin].low = static_cast<double>(bin) / count;
    curve[bin].high = static_cast<double>(bin + 1) / count;
  }
  for (std::size_t row = 0; row < pairs.rows(); ++row) {
    auto& bin = curve[bin_of(pairs.scores()[row], curve.size())];
    ++bin.rows;
    bin.mean_score += pairs.scores()[row];
    bin.label_rate += pairs.labels()[row];
  }
  for (auto& bin : curve) {
    if (bin.rows == 0) continue;
    bin.mean_score /= static_cast<double>(bin.rows);
    bin.label_rate /= static_cast<double>(bin.rows);
  }
  return curve;
}

double expected_calibration_error(const Binary& pairs, int bins) {
  double sum = 0;
  for (const auto& bin : calibration_curve(pairs, bins)) {
    sum += static_cast<double>(bin.rows) * std::abs(bin.mean_score - bin.label_rate);
  }
  return ratio(sum, static_cast<double>(pairs.rows()));
}

double adaptive_calibration_error(const Binary& pairs, int bins) {
  const auto order = order_by(pairs.scores());
  const std::size_t count = std::min(static_cast<std::size_t>(std::max(bins, 1)), order.size());
  double sum = 0;
  for (std::size_t bin = 0; bin < count; ++bin) {
    double gap = 0;
    for (std::size_t i = order.size() * bin / count; i < order.size() * (bin + 1) / count; ++i) {
      gap += pairs.scores()[order[i]] - pairs.labels()[order[i]];
    }
    sum += std::abs(gap);
  }
  return ratio(sum, static_cast<double>(pairs.rows()));
}

double rmse(const Numeric& pairs) {
  double sum = 0;
  for (std::size_t row = 0; row < pairs.rows(); ++row) {
    const double error = pairs.predictions()[row] - pairs.labels()[row];
    sum += error * error;
  }
  return std::sqrt(ratio(sum, static_cast<double>(pairs.rows())));
}

double mae(const Numeric& pairs) {
  double sum = 0;
  for (std::size_t row = 0; row < pairs.rows(); ++row) {
    sum += std::abs(pairs.predictions()[row] - pairs.labels()[row]);
  }
  return ratio(sum, static_cast<double>(pairs.rows()));
}

double r2(const Numeric& pairs) {
  const double average = mean(pairs.labels());
  double errors = 0;
  double spread = 0;
  for (std::size_t row = 0; row < pairs.rows(); ++row) {
    const double error = pairs.predictions()[row] - pairs.labels()[row];
    const double deviation = pairs.labels()[row] - average;
    errors += error * error;
    spread += deviation * deviation;
  }
  return 1 - ratio(errors, spread);
}

double measure(Metric metric, const Binary& pairs, double threshold) {
  switch (metric) {
    case Metric::auc:
      return auc(pairs);
    case Metric::log_loss:
      return log_loss(pairs);
    case Metric::brier:
      return brier(pairs);
    case Metric::ece:
      return expected_calibration_error(pairs);
    case Metric::accuracy:
      return confusion(pairs, threshold).accuracy();
    case Metric::precision:
      return confusion(pairs, threshold).precision();
    case Metric::recall:
      return confusion(pairs, threshold).recall();
    case Metric::f1:
      return confusion(pairs, threshold).f1();
    default:
      return kNaN;
  }
}

double measure(Metric metric, const Numeric& pairs) {
  switch (metric) {
    case Metric::rmse:
      return rmse(pairs);
    case Metric::mae:
      return mae(pairs);
    case Metric::r2:
      return r2(pairs);
    default:
      return kNaN;
  }
}

std::string why_undefined(Metric metric, const Binary& pairs, double threshold) {
  if (is_regression(metric)) return "it is a metric of regression";
  if (pairs.rows() == 0) return "there are no labelled rows";
  if (!std::isnan(measure(metric, pairs, threshold))) return "";
  if (metric == Metric::auc) {
    return fmt::format("all {} labels are {}; both classes are needed", pairs.rows(),
                       pairs.positives() == 0 ? 0 : 1);
  }
  if (metric == Metric::precision) {
    return fmt::format("no score reaches the threshold {}", threshold);
  }
  return "no label is 1";
}

std::string why_undefined(Metric metric, const Numeric& pairs) {
  if (!is_regression(metric)) return "it is a metric of classification";
  if (pairs.rows() == 0) return "there are no labelled rows";
  return std::isnan(measure(metric, pairs)) ? "all labels are equal" : "";
}

}  // namespace slipway::evaluation
