#include "evaluation/compare.h"

#include "base/parallel.h"
#include "base/rng.h"
#include "evaluation/order_internal.h"

namespace slipway::evaluation {

namespace {

// How often each row was drawn. 16 bits: that one row of many is drawn 65,536 times does not
// happen.
using Counts = std::span<const std::uint16_t>;

// A metric of one model, prepared so that its value for a draw is one pass over the rows.
class Resampled {
 public:
  virtual ~Resampled() = default;
  virtual double value(Counts counts) const = 0;  // NaN when undefined
};

class ResampledAuc final : public Resampled {
 public:
  ResampledAuc(std::span<const double> labels, std::span<const double> scores)
      : order_(order_by(scores)), marks_(order_.size()) {
    for (std::size_t i = 0; i < order_.size(); ++i) {
      const bool last = i + 1 == order_.size() || scores[order_[i]] != scores[order_[i + 1]];
      marks_[i] = static_cast<std::uint8_t>((labels[order_[i]] == 1 ? kPositive : 0) |
                                            (last ? kLastOfTie : 0));
    }
  }
  double value(Counts counts) const override {
    // Whole numbers until the end: twice the wins fits into 64 bits for any n below four billion.
    std::uint64_t twice_wins = 0;
    std::uint64_t here[2] = {0, 0};  // negatives, positives of the current tie
    std::uint64_t before[2] = {0, 0};
    for (std::size_t i = 0; i < order_.size(); ++i) {
      here[marks_[i] & kPositive] += counts[order_[i]];
      if ((marks_[i] & kLastOfTie) == 0) continue;
      twice_wins += here[1] * (2 * before[0] + here[0]);
      before[0] += here[0];
      before[1] += here[1];
      here[0] = here[1] = 0;
    }
    if (before[0] == 0 || before[1] == 0) return kNaN;
    return static_cast<double>(twice_wins) / 2 /
           (static_cast<double>(before[0]) * static_cast<double>(before[1]));
  }

 private:
  static constexpr std::uint8_t kPositive = 1;
  static constexpr std::uint8_t kLastOfTie = 2;
  std::vector<std::uint32_t> order_;
  std::vector<std::uint8_t> marks_;
};

// A mean of one number per row, or its root.
class ResampledMean final : public Resampled {
 public:
  ResampledMean(std::vector<double> losses, bool root) : losses_(std::move(losses)), root_(root) {}
  double value(Counts counts) const override {
    double sum = 0;
    for (std::size_t row = 0; row < losses_.size(); ++row) sum += counts[row] * losses_[row];
    const double mean = sum / static_cast<double>(losses_.size());
    return root_ ? std::sqrt(mean) : mean;
  }

 private:
  std::vector<double> losses_;
  bool root_;
};

class ResampledConfusion final : public Resampled {
 public:
  ResampledConfusion(Metric metric, std::span<const double> labels, std::span<const double> scores,
                     double threshold)
      : metric_(metric), cells_(labels.size()) {
    for (std::size_t row = 0; row < labels.size(); ++row) {
      cells_[row] = static_cast<std::uint8_t>((labels[row] == 1 ? 2 : 0) +
                                              (scores[row] >= threshold ? 1 : 0));
    }
  }
  double value(Counts counts) const override {
    std::int64_t sums[4] = {0, 0, 0, 0};
    for (std::size_t row = 0; row < cells_.size(); ++row) sums[cells_[row]] += counts[row];
    const Confusion confusion{sums[0], sums[1], sums[2], sums[3]};
    switch (metric_) {
      case Metric::accuracy:
        return confusion.accuracy();
      case Metric::precision:
        return confusion.precision();
      case Metric::recall:
        return confusion.recall();
      default:
        return confusion.f1();
    }
  }

 private:
  Metric metric_;
  std::vector<std::uint8_t> cells_;
};

class ResampledEce final : public Resampled {
 public:
  ResampledEce(std::span<const double> labels, std::span<const double> scores)
      : bins_(labels.size()), gaps_(labels.size()) {
    for (std::size_t row = 0; row < labels.size(); ++row) {
      bins_[row] = static_cast<std::uint8_t>(bin_of(scores[row], kCalibrationBins));
      gaps_[row] = scores[row] - labels[row];
    }
  }
  double value(Counts counts) const override {
    std::array<double, kCalibrationBins> sums{};
    for (std::size_t row = 0; row < bins_.size(); ++row)
      sums[bins_[row]] += counts[row] * gaps_[row];
    double sum = 0;
    for (const double gap : sums) sum += std::abs(gap);
    return sum / static_cast<double>(bins_.size());
  }

 private:
  std::vector<std::uint8_t> bins_;
  std::vector<double> gaps_;
};

class ResampledR2 final : public Resampled {
 public:
  ResampledR2(std::span<const double> labels, std::span<const double> predictions)
      : labels_(labels.begin(), labels.end()), squares_(labels.size()) {
    double mean = 0;
    for (const double label : labels_) mean += label / static_cast<double>(labels_.size());
    for (std::size_t row = 0; row < labels.size(); ++row) {
      squares_[row] = (predictions[row] - labels[row]) * (predictions[row] - labels[row]);
      labels_[row] -= mean;  // sums of squares of centred numbers keep their digits
    }
  }
  double value(Counts counts) const override {
    double errors = 0;
    double sum = 0;
    double squares = 0;
    for (std::size_t row = 0; row < labels_.size(); ++row) {
      const double weight = counts[row];
      errors += weight * squares_[row];
      sum += weight * labels_[row];
      squares += weight * labels_[row] * labels_[row];
    }
    const double spread = squares - sum * sum / static_cast<double>(labels_.size());
    return spread > 0 ? 1 - errors / spread : kNaN;
  }

 private:
  std::vector<double> labels_, squares_;
};

std::unique_ptr<Resampled> prepare(Metric metric, std::span<const double> labels,
                                   std::span<const double> scores, double threshold) {
  const auto mean_of = [&](bool root, const auto& loss) {
    std::vector<double> losses(labels.size());
    for (std::size_t row = 0; row < labels.size(); ++row)
      losses[row] = loss(labels[row], scores[row]);
    return std::make_unique<ResampledMean>(std::move(losses), root);
  };
  const auto square = [](double label, double score) { return (score - label) * (score - label); };
  switch (metric) {
    case Metric::auc:
      return std::make_unique<ResampledAuc>(labels, scores);
    case Metric::log_loss:
      return mean_of(false, log_loss_of);
    case Metric::brier:
      return mean_of(false, square);
    case Metric::rmse:
      return mean_of(true, square);
    case Metric::mae:
      return mean_of(false, [](double label, double score) { return std::abs(score - label); });
    case Metric::ece:
      return std::make_unique<ResampledEce>(labels, scores);
    case Metric::r2:
      return std::make_unique<ResampledR2>(labels, scores);
    default:
      return std::make_unique<ResampledConfusion>(metric, labels, scores, threshold);
  }
}

Result<void> check_pairs(Metric metric, std::span<const double> labels,
                         std::span<const double> scores) {
  if (is_regression(metric)) {
    const auto pairs = Numeric::of(labels, scores);
    return pairs ? Result<void>{} : pairs.error();
  }
  const auto pairs = Binary::of(labels, scores);
  return pairs ? Result<void>{} : pairs.error();
}

// values[draw][i]: the value of prepared[i] for that draw.
std::vector<std::vector<double>> draw_values(
    const std::vector<std::unique_ptr<Resampled>>& prepared, std::size_t rows,
    const BootstrapOptions& options) {
  std::vector<std::vector<double>> values(static_cast<std::size_t>(options.draws));
  const Rng root(options.seed);
  parallel_for(
      values.size(), 4,
      [&](std::size_t begin, std::size_t end) {
        std::vector<std::uint16_t> counts(rows);
        for (std::size_t draw = begin; draw < end; ++draw) {
          std::fill(counts.begin(), counts.end(), std::uint16_t{0});
          Rng rng = root.child("bootstrap", draw);
          for (std::size_t i = 0; i < rows; ++i) ++counts[rng.below(rows)];
          values[draw].reserve(prepared.size());
          for (const auto& metric : prepared) values[draw].push_back(metric->value(counts));
        }
      },
      options.threads);
  return values;
}

// Percentile interval, interpolated between order statistics.
Interval interval_of(std::vector<double> values, double confidence) {
  std::erase_if(values, [](double value) { return std::isnan(value); });
  if (values.empty()) return {kNaN, kNaN};
  std::sort(values.begin(), values.end());
  const auto quantile = [&](double q) {
    const double at = q * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(at);
    const std::size_t above = std::min(below + 1, values.size() - 1);
    return values[below] + (at - static_cast<double>(below)) * (values[above] - values[below]);
  };
  return {quantile((1 - confidence) / 2), quantile((1 + confidence) / 2)};
}

}  // namespace

Result<void> BootstrapOptions::validate() const {
  if (draws < 10 || draws > 100'000) {
    return invalid_argument(fmt::format("draws is {}; 10 to 100,000 are allowed", draws));
  }
  if (!(confidence >= 0.5 && confidence <= 0.999)) {
    return invalid_argument(fmt::format("confidence is {}; 0.5 to 0.999 are allowed", confidence));
  }
  return {};
}

Result<std::vector<Interval>> bootstrap(std::span<const double> labels,
                                        std::span<const double> scores,
                                        std::span<const Metric> metrics,
                                        const BootstrapOptions& options) {
  if (auto valid = options.validate(); !valid) return valid.error();
  std::vector<std::unique_ptr<Resampled>> prepared;
  for (const Metric metric : metrics) {
    if (auto sound = check_pairs(metric, labels, scores); !sound) return sound.error();
    prepared.push_back(prepare(metric, labels, scores, options.threshold));
  }
  std::vector<Interval> intervals(metrics.size(), {kNaN, kNaN});
  if (labels.empty()) return intervals;
  const auto values = draw_values(prepared, labels.size(), options);
  for (std::size_t i = 0; i < metrics.size(); ++i) {
    std::vector<double> one;
    one.reserve(values.size());
    for (const auto& draw : values) one.push_back(draw[i]);
    intervals[i] = interval_of(std::move(one), options.confidence);
  }
  return intervals;
}

Result<Comparison> compare(std::span<const double> labels, std::span<const double> champion,
                           std::span<const double> challenger, Metric metric,
                           const BootstrapOptions& options) {
  if (auto valid = options.validate(); !valid) return valid.error();
  if (auto sound = check_pairs(metric, labels, champion); !sound)
    return sound.error().at("champion");
  if (auto sound = check_pairs(metric, labels, challenger); !sound)
    return sound.error().at("challenger");
  Comparison result;
  result.metric = metric;
  result.rows = static_cast<std::int64_t>(labels.size());
  const auto value_of = [&](std::span<const double> scores, std::string& undefined) {
    if (is_regression(metric)) {
      const auto pairs = Numeric::of(labels, scores);
      undefined = why_undefined(metric, *pairs);
      return measure(metric, *pairs);
    }
    const auto pairs = Binary::of(labels, scores);
    undefined = why_undefined(metric, *pairs, options.threshold);
    return measure(metric, *pairs, options.threshold);
  };
  std::string reasons[2];
  result.champion = value_of(champion, reasons[0]);
  result.challenger = value_of(challenger, reasons[1]);
  const double sign = higher_is_better(metric) ? 1 : -1;
  result.delta = result.challenger - result.champion;
  result.improvement = sign * result.delta;
  result.low = result.high = result.p_better = kNaN;
  result.undefined = reasons[0].empty() ? reasons[1] : reasons[0];
  if (!result.undefined.empty()) return result;

  std::vector<std::unique_ptr<Resampled>> prepared;
  prepared.push_back(prepare(metric, labels, champion, options.threshold));
  prepared.push_back(prepare(metric, labels, challenger, options.threshold));
  std::vector<double> improvements;
  double better = 0;
  for (const auto& draw : draw_values(prepared, labels.size(), options)) {
    const double improvement = sign * (draw[1] - draw[0]);
    if (std::isnan(improvement)) continue;
    improvements.push_back(improvement);
    better += improvement > 0 ? 1 : improvement == 0 ? 0.5 : 0;
  }
  result.draws = static_cast<int>(improvements.size());
  if (improvements.empty()) {
    result.undefined = "no draw held both classes; there are too few rows";
    return result;
  }
  result.p_better = better / static_cast<double>(improvements.size());
  const Interval interval = interval_of(std::move(improvements), options.confidence);
  result.low = interval.low;
  result.high = interval.high;
  return result;
}

Json Comparison::to_json() const {
  return {{"metric", std::string(to_string(metric))},
          {"rows", rows},
          {"champion", json_number(champion)},
          {"challenger", json_number(challenger)},
          {"delta", json_number(delta)},
          {"improvement", json_number(improvement)},
          {"low", json_number(low)},
          {"high", json_number(high)},
          {"p_better", json_number(p_better)},
          {"draws", draws},
          {"undefined", undefined}};
}

Result<Comparison> Comparison::from_json(const Json& json) {
  try {
    const auto number = [&](const char* key) {
      return json.at(key).is_null() ? kNaN : json.at(key).get<double>();
    };
    const auto metric = parse_metric(json.at("metric").get<std::string>());
    if (!metric) return metric.error();
    Comparison result;
    result.metric = *metric;
    result.rows = json.at("rows").get<std::int64_t>();
    result.champion = number("champion");
    result.challenger = number("challenger");
    result.delta = number("delta");
    result.improvement = number("improvement");
    result.low = number("low");
    result.high = number("high");
    result.p_better = number("p_better");
    result.draws = json.at("draws").get<int>();
    result.undefined = json.at("undefined").get<std::string>();
    return result;
  } catch (const Json::exception& failure) {
    return invalid_argument(std::string("this is not a comparison: ") + failure.what());
  }
}

}  // namespace slipway::evaluation
