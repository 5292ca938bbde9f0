// Stages that change a number's scale: minmax, robust, quantile, power, log. The formulas are those
// of scikit-learn's scalers of these names, so that their numbers agree.
#include <cmath>
#include <limits>

#include "features/stage_internal.h"

namespace slipway::features {
namespace {

constexpr double kOutermost = 1e-7;  // shares nearer to 0 or 1 have no normal deviate of use

// x * scale + shift, cut to a range where one is given.
class LinearStage final : public Stage {
 public:
  struct Line {
    double scale = 1;
    double shift = 0;
    double low = kMissing;
    double high = kMissing;
  };
  explicit LinearStage(std::vector<Line> lines) : lines_(std::move(lines)) {}
  void apply(Block& block) const override {
    for (std::size_t k = 0; k < lines_.size(); ++k) {
      const Line line = lines_[k];
      for (double& value : block.value(k)) {
        const double moved = value * line.scale + line.shift;
        value = moved < line.low ? line.low : (moved > line.high ? line.high : moved);
      }
    }
  }
  void advance(Shape&) const override {}
  Json to_json() const override {
    Json json = {{"op", "linear"}};
    for (const char* key : {"scale", "shift", "low", "high"}) json[key] = Json::array();
    for (const Line& line : lines_) {
      json["scale"].push_back(line.scale);
      json["shift"].push_back(line.shift);
      json["low"].push_back(number_or_null(line.low));
      json["high"].push_back(number_or_null(line.high));
    }
    return json;
  }

 private:
  std::vector<Line> lines_;
};

class QuantileStage final : public Stage {
 public:
  QuantileStage(std::vector<std::vector<double>> landmarks, bool normal)
      : landmarks_(std::move(landmarks)), normal_(normal) {}
  void apply(Block& block) const override {
    for (std::size_t k = 0; k < landmarks_.size(); ++k) {
      for (double& value : block.value(k)) {
        if (!std::isnan(value)) value = place(landmarks_[k], value);
      }
    }
  }
  void advance(Shape& shape) const override {
    for (std::string& name : shape.names) name += ".quantile";
  }
  Json to_json() const override {
    return {{"op", "quantile"}, {"landmarks", landmarks_}, {"normal", normal_}};
  }

 private:
  // The mean of the shares at the lower and the upper end of landmarks that equal x.
  double place(const std::vector<double>& marks, double x) const {
    const double last = static_cast<double>(marks.size() - 1);
    double share;
    const double margin = normal_ ? kOutermost : 0;
    if (x - margin < marks.front() || x == marks.front()) {
      share = 0;
    } else if (x + margin > marks.back() || x == marks.back()) {
      share = 1;
    } else {
      const auto above = std::upper_bound(marks.begin(), marks.end(), x);  // neither end
      const auto from = std::lower_bound(marks.begin(), marks.end(), x);
      const auto at = [&](auto mark) { return static_cast<double>(mark - marks.begin()) / last; };
      if (*from == x) {
        share = 0.5 * (at(above - 1) + at(from));
      } else {
        const double low = *(above - 1);
        const double slope = (at(above) - at(above - 1)) / (*above - low);
        share = 0.5 * ((slope * (x - low) + at(above - 1)) + (at(above) - slope * (*above - x)));
      }
    }
    if (!normal_) return share;
    const double inside = std::clamp(share, kOutermost, 1 - kOutermost);
    return normal_deviate(inside);
  }
  std::vector<std::vector<double>> landmarks_;
  bool normal_;
};

double yeo_johnson(double x, double lambda) {
  if (x >= 0) {
    const double log = std::log1p(x);
    return lambda == 0 ? log : std::expm1(lambda * log) / lambda;
  }
  const double log = std::log1p(-x);
  return lambda == 2 ? -log : -std::expm1((2 - lambda) * log) / (2 - lambda);
}

struct Curve {
  double lambda = 1;
  double mean = 0;
  double scale = 1;
};

class PowerStage final : public Stage {
 public:
  explicit PowerStage(std::vector<Curve> curves) : curves_(std::move(curves)) {}
  void apply(Block& block) const override {
    for (std::size_t k = 0; k < curves_.size(); ++k) {
      const Curve curve = curves_[k];
      for (double& value : block.value(k)) {
        const double bent = (yeo_johnson(value, curve.lambda) - curve.mean) / curve.scale;
        value = std::isfinite(bent) ? bent : kMissing;
      }
    }
  }
  void advance(Shape& shape) const override {
    for (std::string& name : shape.names) name += ".power";
  }
  Json to_json() const override {
    Json json = {{"op", "power"}};
    for (const char* key : {"lambda", "mean", "scale"}) json[key] = Json::array();
    for (const Curve& curve : curves_) {
      json["lambda"].push_back(curve.lambda);
      json["mean"].push_back(curve.mean);
      json["scale"].push_back(curve.scale);
    }
    return json;
  }

 private:
  std::vector<Curve> curves_;
};

class LogStage final : public Stage {
 public:
  LogStage(double offset, int base, std::size_t width)
      : offset_(offset), base_(base), width_(width) {}
  void apply(Block& block) const override {
    for (std::size_t k = 0; k < width_; ++k) {
      for (double& value : block.value(k)) {
        const double moved = value + offset_;
        value = !(moved > 0) ? kMissing
                : base_ == 2 ? std::log2(moved)
                : base_ == 0 ? std::log(moved)
                             : std::log10(moved);
      }
    }
  }
  void advance(Shape& shape) const override {
    for (std::string& name : shape.names)
      name += base_ == 0 ? ".log" : ".log" + std::to_string(base_);
  }
  Json to_json() const override { return {{"op", "log"}, {"offset", offset_}, {"base", base_}}; }

 private:
  double offset_;
  int base_;
  std::size_t width_;
};

Error nothing_to_scale(std::string_view what) {
  return failed_precondition("no training row has a value, so there is nothing to " +
                             std::string(what) + " by; leave the column out, or impute a constant");
}

std::vector<double> sorted_present(std::span<const double> values) {
  std::vector<double> out;
  out.reserve(values.size());
  for (const double value : values) {
    if (!std::isnan(value)) out.push_back(value);
  }
  std::sort(out.begin(), out.end());
  return out;
}

struct Moments {
  double mean = 0;
  double deviation = 0;
};

// Of the population, in two passes.
Moments moments_of(std::span<const double> values) {
  Moments out;
  for (const double value : values) out.mean += value;
  out.mean /= static_cast<double>(values.size());
  double squares = 0;
  for (const double value : values) squares += (value - out.mean) * (value - out.mean);
  out.deviation = std::sqrt(squares / static_cast<double>(values.size()));
  return out;
}

// The smallest value of f on [low, high]: R. Brent, "Algorithms for Minimization without
// Derivatives" (1973), chapter 5: parabolas where they fit, golden sections where not.
template <class F>
double minimum_of(F f, double low, double high) {
  constexpr double kGolden = 0.3819660112501051;
  constexpr double kTolerance = 1e-9;
  double x = low + kGolden * (high - low);
  double w = x;
  double v = x;
  double fx = f(x);
  double fw = fx;
  double fv = fx;
  double step = 0;
  double before = 0;
  for (int round = 0; round < 100; ++round) {
    const double middle = 0.5 * (low + high);
    const double tolerance = kTolerance * std::abs(x) + 1e-12;
    if (std::abs(x - middle) <= 2 * tolerance - 0.5 * (high - low)) break;
    double p = 0;
    double q = 0;
    if (std::abs(before) > tolerance) {
      const double r = (x - w) * (fx - fv);
      q = (x - v) * (fx - fw);
      p = (x - v) * q - (x - w) * r;
      q = 2 * (q - r);
      if (q > 0) p = -p;
      q = std::abs(q);
    }
    const bool parabola =
        std::abs(p) < std::abs(0.5 * q * before) && p > q * (low - x) && p < q * (high - x);
    if (parabola) {
      before = step;
      step = p / q;
    } else {
      before = x < middle ? high - x : low - x;
      step = kGolden * before;
    }
    const double u = x + (std::abs(step) >= tolerance ? step : std::copysign(tolerance, step));
    const double fu = f(u);
    if (fu <= fx) {
      (u < x ? high : low) = x;
      v = w;
      fv = fw;
      w = x;
      fw = fx;
      x = u;
      fx = fu;
    } else {
      (u < x ? low : high) = u;
      if (fu <= fw || w == x) {
        v = w;
        fv = fw;
        w = u;
        fw = fu;
      } else if (fu <= fv || v == x || v == w) {
        v = u;
        fv = fu;
      }
    }
  }
  return x;
}

// The lambda under which the values are likeliest to be normal.
double likeliest_lambda(std::span<const double> values) {
  double logs = 0;  // of the transform's derivative, per (lambda - 1)
  for (const double value : values) logs += std::copysign(std::log1p(std::abs(value)), value);
  const auto count = static_cast<double>(values.size());
  std::vector<double> bent(values.size());
  const auto unlikeliness = [&](double lambda) {
    for (std::size_t i = 0; i < values.size(); ++i) bent[i] = yeo_johnson(values[i], lambda);
    const double deviation = moments_of(bent).deviation;
    const double loss = count * std::log(deviation) - (lambda - 1) * logs;
    return std::isfinite(loss) ? loss : std::numeric_limits<double>::max();
  };
  return minimum_of(unlikeliness, -10, 12);
}

template <class S>
Result<StagePtr> finish_scaling(std::unique_ptr<S> stage, FitBlock& fit) {
  stage->apply(fit.block);
  stage->advance(fit.shape);
  return StagePtr(std::move(stage));
}

}  // namespace

Result<StagePtr> fit_minmax(const MinMax& spec, FitBlock& fit) {
  std::vector<LinearStage::Line> lines;
  for (std::size_t k = 0; k < fit.shape.names.size(); ++k) {
    double least = std::numeric_limits<double>::infinity();
    double most = -least;
    for (const double value : fit.block.value(k)) {
      least = value < least ? value : least;
      most = value > most ? value : most;
    }
    if (least > most) return nothing_to_scale("scale");
    double range = most - least;
    if (!std::isfinite(range)) {
      return invalid_argument("minmax: the values are too far apart to scale; clip them first");
    }
    // As scikit-learn draws the line below which a range is a constant's rounding.
    if (range < 10 * std::numeric_limits<double>::epsilon()) {
      fit.notes->push_back("'" + fit.shape.names[k] + "' is the same in every training row");
      range = 1;
    }
    LinearStage::Line line;
    line.scale = (spec.high - spec.low) / range;
    line.shift = spec.low - least * line.scale;
    if (spec.clip) {
      line.low = spec.low;
      line.high = spec.high;
    }
    lines.push_back(line);
  }
  return finish_scaling(std::make_unique<LinearStage>(std::move(lines)), fit);
}

Result<StagePtr> fit_robust(const Robust& spec, FitBlock& fit) {
  std::vector<double> centers;
  std::vector<double> scales;
  for (std::size_t k = 0; k < fit.shape.names.size(); ++k) {
    const std::vector<double> values = sorted_present(fit.block.value(k));
    if (values.empty()) return nothing_to_scale("scale");
    double scale = quantile(values, spec.high) - quantile(values, spec.low);
    if (!std::isfinite(scale)) {
      return invalid_argument("robust: the values are too far apart to scale; clip them first");
    }
    if (scale < 10 * std::numeric_limits<double>::epsilon()) {
      fit.notes->push_back("'" + fit.shape.names[k] +
                           "' has equal quantiles: robust only centers it");
      scale = 1;
    }
    centers.push_back(spec.center ? quantile(values, 0.5) : 0);
    scales.push_back(spec.scale ? scale : 1);
  }
  return finish_scaling(center_stage(kRobust, std::move(centers), std::move(scales)), fit);
}

Result<StagePtr> fit_quantile(const QuantileMap& spec, FitBlock& fit) {
  std::vector<std::vector<double>> landmarks;
  for (std::size_t k = 0; k < fit.shape.names.size(); ++k) {
    const std::vector<double> values = sorted_present(fit.block.value(k));
    if (values.empty()) return nothing_to_scale("rank");
    const std::size_t count = std::max<std::size_t>(2, std::min(spec.quantiles, fit.block.rows));
    std::vector<double> marks;
    for (std::size_t i = 0; i < count; ++i) {
      const double mark = quantile(values, static_cast<double>(i) / static_cast<double>(count - 1));
      marks.push_back(marks.empty() ? mark : std::max(mark, marks.back()));
    }
    landmarks.push_back(std::move(marks));
  }
  return finish_scaling(std::make_unique<QuantileStage>(std::move(landmarks), spec.normal), fit);
}

Result<StagePtr> fit_power(const Power& spec, FitBlock& fit) {
  std::vector<Curve> curves;
  for (std::size_t k = 0; k < fit.shape.names.size(); ++k) {
    std::vector<double> values;
    for (const double value : fit.block.value(k)) {
      if (!std::isnan(value)) values.push_back(value);
    }
    if (values.empty()) return nothing_to_scale("bend");
    Curve curve;
    const bool constant = std::all_of(values.begin(), values.end(),
                                      [&](double value) { return value == values.front(); });
    if (constant) {
      fit.notes->push_back("'" + fit.shape.names[k] + "' is the same in every training row");
    } else {
      curve.lambda = likeliest_lambda(values);
    }
    if (spec.standardize) {
      for (double& value : values) value = yeo_johnson(value, curve.lambda);
      const Moments moments = moments_of(values);
      if (!std::isfinite(moments.mean) || !std::isfinite(moments.deviation)) {
        return invalid_argument("power: the values are too large to bend; clip them first");
      }
      curve.mean = moments.mean;
      curve.scale = constant || moments.deviation == 0 ? 1 : moments.deviation;
    }
    curves.push_back(curve);
  }
  return finish_scaling(std::make_unique<PowerStage>(std::move(curves)), fit);
}

Result<StagePtr> fit_log(const Log& spec, FitBlock& fit) {
  return finish_scaling(std::make_unique<LogStage>(spec.offset, spec.base, fit.shape.names.size()),
                        fit);
}

Result<StagePtr> scaling_stage_from_json(const std::string& op, const Json& json,
                                         const Shape& shape) {
  const std::size_t width = shape.names.size();
  const auto numbers = [&](const char* key) { return numbers_under(json, key, width); };
  if (op == "linear") {
    const auto scale = numbers("scale");
    const auto shift = numbers("shift");
    const auto low = numbers("low");
    const auto high = numbers("high");
    std::vector<LinearStage::Line> lines;
    for (std::size_t k = 0; k < width; ++k) lines.push_back({scale[k], shift[k], low[k], high[k]});
    return std::make_unique<LinearStage>(std::move(lines));
  }
  if (op == "robust") return center_stage(kRobust, numbers("center"), numbers("scale"));
  if (op == "quantile") {
    auto landmarks = json.at("landmarks").get<std::vector<std::vector<double>>>();
    if (landmarks.size() != width)
      return invalid_argument("quantile has landmarks for another number of columns");
    for (const auto& marks : landmarks) {
      if (marks.size() < 2 || !std::is_sorted(marks.begin(), marks.end()))
        return invalid_argument("the landmarks of quantile do not ascend");
    }
    return std::make_unique<QuantileStage>(std::move(landmarks), json.at("normal").get<bool>());
  }
  if (op == "power") {
    const auto lambda = numbers("lambda");
    const auto mean = numbers("mean");
    const auto scale = numbers("scale");
    std::vector<Curve> curves;
    for (std::size_t k = 0; k < width; ++k) curves.push_back({lambda[k], mean[k], scale[k]});
    return std::make_unique<PowerStage>(std::move(curves));
  }
  if (op == "log") {
    return std::make_unique<LogStage>(json.at("offset").get<double>(), json.at("base").get<int>(),
                                      width);
  }
  return StagePtr();
}

// M. Wichura, "Algorithm AS 241: the percentage points of the normal distribution" (1988), PPND16:
// good to about 1 part in 10^16.
double normal_deviate(double share) {
  const double q = share - 0.5;
  const auto ratio = [](double r, const double(&a)[8], const double(&b)[8]) {
    double top = a[7];
    double bottom = b[7];
    for (int i = 7; i-- > 0;) {
      top = top * r + a[i];
      bottom = bottom * r + b[i];
    }
    return top / bottom;
  };
  if (std::abs(q) <= 0.425) {
    static constexpr double kA[8] = {3.3871328727963666080e0,  1.3314166789178437745e+2,
                                     1.9715909503065514427e+3, 1.3731693765509461125e+4,
                                     4.5921953931549871457e+4, 6.7265770927008700853e+4,
                                     3.3430575583588128105e+4, 2.5090809287301226727e+3};
    static constexpr double kB[8] = {1.0,
                                     4.2313330701600911252e+1,
                                     6.8718700749205790830e+2,
                                     5.3941960214247511077e+3,
                                     2.1213794301586595867e+4,
                                     3.9307895800092710610e+4,
                                     2.8729085735721942674e+4,
                                     5.2264952788528545610e+3};
    return q * ratio(0.180625 - q * q, kA, kB);
  }
  const double r = std::sqrt(-std::log(q < 0 ? share : 1 - share));
  double deviate;
  if (r <= 5) {
    static constexpr double kC[8] = {1.42343711074968357734e0,  4.63033784615654529590e0,
                                     5.76949722146069140550e0,  3.64784832476320460504e0,
                                     1.27045825245236838258e0,  2.41780725177450611770e-1,
                                     2.27238449892691845833e-2, 7.74545014278341407640e-4};
    static constexpr double kD[8] = {1.0,
                                     2.05319162663775882187e0,
                                     1.67638483018380384940e0,
                                     6.89767334985100004550e-1,
                                     1.48103976427480074590e-1,
                                     1.51986665636164571966e-2,
                                     5.47593808499534494600e-4,
                                     1.05075007164441684324e-9};
    deviate = ratio(r - 1.6, kC, kD);
  } else {
    static constexpr double kE[8] = {6.65790464350110377720e0,  5.46378491116411436990e0,
                                     1.78482653991729133580e0,  2.96560571828504891230e-1,
                                     2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                     2.71155556874348757815e-5, 2.01033439929228813265e-7};
    static constexpr double kF[8] = {1.0,
                                     5.99832206555887937690e-1,
                                     1.36929880922735805310e-1,
                                     1.48753612908506148525e-2,
                                     7.86869131145613259100e-4,
                                     1.84631831751005468180e-5,
                                     1.42151175831644588870e-7,
                                     2.04426310338993978564e-15};
    deviate = ratio(r - 5, kE, kF);
  }
  return q < 0 ? -deviate : deviate;
}

}  // namespace slipway::features
