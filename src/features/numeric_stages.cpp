// Stages from numbers to numbers: impute, standardize, clip, log1p, bucketize.
#include <cmath>
#include <limits>
#include <map>

#include "features/stage_internal.h"

namespace slipway::features {
namespace {

Error nothing_known(std::string_view what) {
  return failed_precondition("no training row has a value, so there is nothing to " +
                             std::string(what) + " by; leave the column out, or impute a constant");
}

// The values that are there.
std::vector<double> present(std::span<const double> values) {
  std::vector<double> out;
  out.reserve(values.size());
  for (const double value : values) {
    if (!std::isnan(value)) out.push_back(value);
  }
  return out;
}

class NumberStage final : public Stage {
 public:
  void apply(Block& block) const override {
    const data::ColumnView& column = *block.column;
    const std::span<double> out = block.value(0);
    const auto fill = [&](auto read) {
      for (std::size_t i = 0; i < out.size(); ++i) {
        const std::int64_t row = block.begin + static_cast<std::int64_t>(i);
        const double value = column.is_null(row) ? kMissing : read(row);
        out[i] = std::isfinite(value) ? value : kMissing;
      }
    };
    switch (column.type) {
      case data::Type::float64:
        return fill([&](std::int64_t row) { return column.real(row); });
      case data::Type::boolean:
        return fill([&](std::int64_t row) { return column.boolean(row) ? 1.0 : 0.0; });
      case data::Type::int64:
      case data::Type::timestamp:
        return fill([&](std::int64_t row) { return static_cast<double>(column.integer(row)); });
      case data::Type::text:
        return fill([](std::int64_t) { return kMissing; });  // refused when the batch was bound
    }
  }
  void advance(Shape& shape) const override { shape.raw = false; }
  Json to_json() const override { return {{"op", "number"}}; }
};

class ImputeStage final : public Stage {
 public:
  ImputeStage(std::vector<double> fills, bool indicator, std::size_t flag)
      : fills_(std::move(fills)), indicator_(indicator), flag_(flag) {}
  void apply(Block& block) const override {
    if (indicator_) {
      const auto values = block.value(0);
      const auto flags = block.flag(flag_);
      for (std::size_t i = 0; i < values.size(); ++i) flags[i] = std::isnan(values[i]) ? 1 : 0;
    }
    for (std::size_t k = 0; k < fills_.size(); ++k) {
      for (double& value : block.value(k)) value = std::isnan(value) ? fills_[k] : value;
    }
  }
  void advance(Shape& shape) const override {
    if (indicator_) shape.flags.push_back(shape.names[0] + ".missing");
  }
  Json to_json() const override {
    return {{"op", "impute"}, {"fill", fills_}, {"indicator", indicator_}};
  }

 private:
  std::vector<double> fills_;
  bool indicator_;
  std::size_t flag_;
};

// (x - center) / scale: one subtraction and one division, as scikit-learn rounds them.
class CenterStage final : public Stage {
 public:
  CenterStage(const CenterWords& words, std::vector<double> centers, std::vector<double> scales)
      : words_(words), centers_(std::move(centers)), scales_(std::move(scales)) {}
  void apply(Block& block) const override {
    for (std::size_t k = 0; k < centers_.size(); ++k) {
      const double center = centers_[k];
      const double scale = scales_[k];
      for (double& value : block.value(k)) value = (value - center) / scale;
    }
  }
  void advance(Shape&) const override {}
  Json to_json() const override {
    return {{"op", words_.op}, {words_.center, centers_}, {"scale", scales_}};
  }

 private:
  CenterWords words_;
  std::vector<double> centers_;
  std::vector<double> scales_;
};

class ClipStage final : public Stage {
 public:
  ClipStage(std::vector<double> lows, std::vector<double> highs)
      : lows_(std::move(lows)), highs_(std::move(highs)) {}
  void apply(Block& block) const override {
    for (std::size_t k = 0; k < lows_.size(); ++k) {
      const double low = lows_[k];
      const double high = highs_[k];
      // Comparisons with NaN are false: a missing limit or value changes nothing.
      for (double& value : block.value(k))
        value = value < low ? low : (value > high ? high : value);
    }
  }
  void advance(Shape&) const override {}
  Json to_json() const override {
    Json lows = Json::array();
    Json highs = Json::array();
    for (const double low : lows_) lows.push_back(number_or_null(low));
    for (const double high : highs_) highs.push_back(number_or_null(high));
    return {{"op", "clip"}, {"low", lows}, {"high", highs}};
  }

 private:
  std::vector<double> lows_;
  std::vector<double> highs_;
};

class Log1pStage final : public Stage {
 public:
  explicit Log1pStage(std::size_t width) : width_(width) {}
  void apply(Block& block) const override {
    for (std::size_t k = 0; k < width_; ++k) {
      for (double& value : block.value(k)) value = value > -1 ? std::log1p(value) : kMissing;
    }
  }
  void advance(Shape& shape) const override {
    for (std::string& name : shape.names) name += ".log1p";
  }
  Json to_json() const override { return {{"op", "log1p"}}; }

 private:
  std::size_t width_;
};

class BucketizeStage final : public Stage {
 public:
  explicit BucketizeStage(std::vector<std::vector<double>> edges) : edges_(std::move(edges)) {}
  void apply(Block& block) const override {
    for (std::size_t k = 0; k < edges_.size(); ++k) {
      const auto& edges = edges_[k];
      for (double& value : block.value(k)) {
        if (std::isnan(value)) continue;
        value = static_cast<double>(std::upper_bound(edges.begin(), edges.end(), value) -
                                    edges.begin());
      }
    }
  }
  void advance(Shape& shape) const override {
    for (std::string& name : shape.names) name += ".bin";
  }
  Json to_json() const override { return {{"op", "bucketize"}, {"edges", edges_}}; }

 private:
  std::vector<std::vector<double>> edges_;  // of each number, ascending
};

// Applies a stage just fitted to the training rows.
Result<StagePtr> finish(StagePtr stage, FitBlock& fit) {
  stage->apply(fit.block);
  stage->advance(fit.shape);
  return stage;
}

double most_frequent(std::span<const double> values) {
  std::unordered_map<double, std::size_t> counts;
  for (const double value : values) ++counts[value];
  double best = values[0];
  std::size_t most = 0;
  for (const auto& [value, count] : counts) {
    if (count > most || (count == most && value < best)) {  // a tie: the smallest
      best = value;
      most = count;
    }
  }
  return best;
}

double mean_of(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

double median_of(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  const double below = *std::max_element(values.begin(), middle);
  return below + (*middle - below) / 2;
}

}  // namespace

StagePtr center_stage(const CenterWords& words, std::vector<double> centers,
                      std::vector<double> scales) {
  return std::make_unique<CenterStage>(words, std::move(centers), std::move(scales));
}

StagePtr number_stage() { return std::make_unique<NumberStage>(); }

Result<StagePtr> fit_impute(const Impute& spec, FitBlock& fit) {
  std::vector<double> fills;
  for (std::size_t k = 0; k < fit.shape.names.size(); ++k) {
    if (spec.how == Impute::How::constant) {
      if (spec.value.is_boolean()) {
        fills.push_back(spec.value.get<bool>() ? 1 : 0);
      } else if (spec.value.is_number() && std::isfinite(spec.value.get<double>())) {
        fills.push_back(spec.value.get<double>());
      } else {
        return invalid_argument("impute: the constant " + spec.value.dump() +
                                " is no number, but the column is");
      }
      const auto values = fit.block.value(k);
      if (std::all_of(values.begin(), values.end(),
                      [](double value) { return std::isnan(value); })) {
        fit.notes->push_back("'" + fit.shape.names[k] +
                             "' has no value in any training row: it is the constant " +
                             spec.value.dump() + " everywhere");
      }
      continue;
    }
    std::vector<double> values = present(fit.block.value(k));
    if (values.empty()) return nothing_known("impute");
    const double fill = spec.how == Impute::How::mean     ? mean_of(values)
                        : spec.how == Impute::How::median ? median_of(values)
                                                          : most_frequent(values);
    if (!std::isfinite(fill))
      return invalid_argument("impute: the values are too large to average; clip them first");
    fills.push_back(fill);
  }
  return finish(
      std::make_unique<ImputeStage>(std::move(fills), spec.indicator, fit.shape.flags.size()), fit);
}

Result<StagePtr> fit_standardize(const Standardize& spec, FitBlock& fit) {
  std::vector<double> means;
  std::vector<double> scales;
  for (std::size_t k = 0; k < fit.shape.names.size(); ++k) {
    double sum = 0;
    double count = 0;
    for (const double value : fit.block.value(k)) {
      if (std::isnan(value)) continue;
      sum += value;
      ++count;
    }
    if (count == 0) return nothing_known("standardize");
    const double mean = sum / count;
    double squares = 0;
    for (const double value : fit.block.value(k)) {
      if (!std::isnan(value)) squares += (value - mean) * (value - mean);
    }
    double scale = std::sqrt(squares / count);
    if (!std::isfinite(mean) || !std::isfinite(scale)) {
      return invalid_argument(
          "standardize: the values are too large for a mean and a deviation; clip them first");
    }
    // Rounding leaves a trace of deviation in a constant column; scikit-learn draws the line alike.
    constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
    if (scale <= 10 * kEpsilon * std::abs(mean) || scale == 0) {
      fit.notes->push_back("'" + fit.shape.names[k] + "' is the same in every training row");
      scale = 1;
    }
    means.push_back(spec.center ? mean : 0);
    scales.push_back(spec.scale ? scale : 1);
  }
  return finish(center_stage(kStandardize, std::move(means), std::move(scales)), fit);
}

Result<StagePtr> fit_clip(const Clip& spec, FitBlock& fit) {
  std::vector<double> lows;
  std::vector<double> highs;
  for (std::size_t k = 0; k < fit.shape.names.size(); ++k) {
    if (!spec.quantiles) {
      lows.push_back(spec.low.value_or(kMissing));
      highs.push_back(spec.high.value_or(kMissing));
      continue;
    }
    std::vector<double> values = present(fit.block.value(k));
    if (values.empty()) return nothing_known("clip");
    std::sort(values.begin(), values.end());
    lows.push_back(spec.low ? quantile(values, *spec.low) : kMissing);
    highs.push_back(spec.high ? quantile(values, *spec.high) : kMissing);
  }
  return finish(std::make_unique<ClipStage>(std::move(lows), std::move(highs)), fit);
}

Result<StagePtr> fit_log1p(FitBlock& fit) {
  return finish(std::make_unique<Log1pStage>(fit.shape.names.size()), fit);
}

Result<StagePtr> fit_bucketize(const Bucketize& spec, FitBlock& fit) {
  std::vector<std::vector<double>> all;
  for (std::size_t k = 0; k < fit.shape.names.size(); ++k) {
    if (!spec.edges.empty()) {
      all.push_back(spec.edges);
      continue;
    }
    std::vector<double> values = present(fit.block.value(k));
    if (values.empty()) return nothing_known("choose bins");
    std::vector<double> edges;
    if (spec.by == Bucketize::By::tree) {
      if (fit.target.size() != fit.block.rows) {
        return invalid_argument("bins by tree need the target, and none was given");
      }
      edges = tree_edges(fit.block.value(k), fit.target, spec.bins, spec.min_rows);
    } else if (spec.by == Bucketize::By::width) {
      const auto [low, high] = std::minmax_element(values.begin(), values.end());
      const double width =
          *high / static_cast<double>(spec.bins) - *low / static_cast<double>(spec.bins);
      for (std::size_t b = 1; b < spec.bins; ++b)
        edges.push_back(*low + width * static_cast<double>(b));
    } else {
      std::sort(values.begin(), values.end());
      for (std::size_t b = 1; b < spec.bins; ++b) {
        edges.push_back(quantile(values, static_cast<double>(b) / static_cast<double>(spec.bins)));
      }
    }
    edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
    if (edges.size() + 1 < spec.bins && spec.by != Bucketize::By::tree) {
      fit.notes->push_back("'" + fit.shape.names[k] + "' repeats values so often that only " +
                           std::to_string(edges.size() + 1) + " of " + std::to_string(spec.bins) +
                           " bins differ");
    }
    all.push_back(std::move(edges));
  }
  return finish(std::make_unique<BucketizeStage>(std::move(all)), fit);
}

Result<StagePtr> numeric_stage_from_json(const std::string& op, const Json& json,
                                         const Shape& shape) {
  const std::size_t width = shape.names.size();
  const auto numbers = [&](const char* key) { return numbers_under(json, key, width); };
  if (op == "impute") {
    const bool indicator = json.at("indicator").get<bool>();
    if (indicator && width != 1) return invalid_argument("an indicator stands for one number");
    return std::make_unique<ImputeStage>(numbers("fill"), indicator, shape.flags.size());
  }
  if (op == "standardize") return center_stage(kStandardize, numbers("mean"), numbers("scale"));
  if (op == "clip") return std::make_unique<ClipStage>(numbers("low"), numbers("high"));
  if (op == "log1p") return std::make_unique<Log1pStage>(width);
  if (op == "bucketize") {
    auto edges = json.at("edges").get<std::vector<std::vector<double>>>();
    if (edges.size() != width)
      return invalid_argument("bucketize has edges for another number of columns");
    for (const auto& list : edges) {
      if (!std::is_sorted(list.begin(), list.end()))
        return invalid_argument("the edges of bucketize do not ascend");
    }
    return std::make_unique<BucketizeStage>(std::move(edges));
  }
  return StagePtr();
}

double quantile(std::span<const double> sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  if (below + 1 >= sorted.size()) return sorted.back();
  const double part = at - static_cast<double>(below);
  return sorted[below] * (1 - part) + sorted[below + 1] * part;
}

Json number_or_null(double value) { return std::isnan(value) ? Json() : Json(value); }

double number_or_nan(const Json& json) { return json.is_null() ? kMissing : json.get<double>(); }

std::vector<double> numbers_under(const Json& json, const char* key, std::size_t width) {
  std::vector<double> out;
  for (const Json& value : json.at(key)) out.push_back(number_or_nan(value));
  if (out.size() != width) {
    throw std::invalid_argument(std::string(key) + " has " + std::to_string(out.size()) +
                                " numbers, wants " + std::to_string(width));
  }
  return out;
}

}  // namespace slipway::features
