// Logistic regression by Newton's method (iteratively reweighted least squares): T. Hastie, R.
// Tibshirani, J. Friedman, "The Elements of Statistical Learning" (2nd ed., 2009), 4.4.1, with an
// L2 penalty on the weights and step halving. The minimum is that of scikit-learn's
// LogisticRegression(C = 1 / reg_lambda).
#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <cmath>
#include <limits>

#include "base/parallel.h"
#include "training/trainer_internal.h"

namespace slipway::training {
namespace {

constexpr std::size_t kRowsPerTask =
    8192;  // the sums of a task are added up in order: the same bits for any threads
constexpr std::size_t kRowsPerBlock = 256;
constexpr double kConverged = 1e-6;  // of the largest gradient component, per row

// log(1 + exp(margin)) - label * margin, without overflow.
double loss_of(double margin, double label) {
  return std::max(margin, 0.0) + std::log1p(std::exp(-std::abs(margin))) - label * margin;
}

// Loss, gradient and curvature summed over rows.
struct Sums {
  double loss = 0;
  Eigen::VectorXd gradient;
  Eigen::MatrixXd curvature;  // lower triangle
};

// A block of rows in doubles, with a column of ones.
void load_block(const features::Matrix& data, std::size_t begin, std::size_t count,
                Eigen::MatrixXd& block) {
  block.resize(static_cast<Eigen::Index>(count), static_cast<Eigen::Index>(data.cols + 1));
  for (std::size_t i = 0; i < count; ++i) {
    const auto row = data.row(begin + i);
    for (std::size_t k = 0; k < data.cols; ++k) {
      block(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(k)) =
          std::isnan(row[k]) ? 0 : row[k];
    }
    block(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(data.cols)) = 1;
  }
}

Sums sum_rows(const features::Matrix& data, const Eigen::VectorXd& w, bool derivatives,
              int threads) {
  const std::size_t tasks = (data.rows + kRowsPerTask - 1) / kRowsPerTask;
  std::vector<Sums> parts(tasks);
  parallel_for(
      data.rows, kRowsPerTask,
      [&](std::size_t begin, std::size_t end) {
        Sums& part = parts[begin / kRowsPerTask];
        if (derivatives) {
          part.gradient = Eigen::VectorXd::Zero(w.size());
          part.curvature = Eigen::MatrixXd::Zero(w.size(), w.size());
        }
        Eigen::MatrixXd block;
        for (std::size_t at = begin; at < end; at += kRowsPerBlock) {
          const std::size_t count = std::min(kRowsPerBlock, end - at);
          load_block(data, at, count, block);
          const Eigen::VectorXd margins = block * w;
          Eigen::VectorXd errors(margins.size());
          Eigen::VectorXd roots(margins.size());
          for (Eigen::Index i = 0; i < margins.size(); ++i) {
            const double label = data.labels[at + static_cast<std::size_t>(i)];
            const double p = 1 / (1 + std::exp(-margins[i]));
            part.loss += loss_of(margins[i], label);
            errors[i] = p - label;
            roots[i] = std::sqrt(p * (1 - p));
          }
          if (!derivatives) continue;
          part.gradient.noalias() += block.transpose() * errors;
          block.array().colwise() *= roots.array();
          part.curvature.selfadjointView<Eigen::Lower>().rankUpdate(block.transpose());
        }
      },
      threads);
  Sums all = std::move(parts[0]);
  for (std::size_t i = 1; i < tasks; ++i) {
    all.loss += parts[i].loss;
    if (!derivatives) continue;
    all.gradient += parts[i].gradient;
    all.curvature += parts[i].curvature;
  }
  return all;
}

double penalty(const Eigen::VectorXd& w, double lambda) {
  return lambda / 2 * w.head(w.size() - 1).squaredNorm();
}

// A linear model has no way around a missing number: the feature pipeline has to fill it.
Result<void> check_values(const features::Matrix& data) {
  for (std::size_t row = 0; row < data.rows; ++row) {
    const auto values = data.row(row);
    for (std::size_t k = 0; k < data.cols; ++k) {
      if (std::isfinite(values[k])) continue;
      return invalid_argument("feature '" + feature_name(data, k) +
                              "' is missing in training row " + std::to_string(row) +
                              "; the logistic learner needs every number, so add an impute to it");
    }
  }
  return {};
}

std::vector<std::pair<std::string, double>> importance(const features::Matrix& data,
                                                       const Eigen::VectorXd& w) {
  std::vector<std::pair<std::string, double>> out;
  for (std::size_t k = 0; k < data.cols; ++k) {
    double sum = 0;
    double squares = 0;
    for (std::size_t row = 0; row < data.rows; ++row) sum += data.values[row * data.cols + k];
    const double mean = sum / static_cast<double>(data.rows);
    for (std::size_t row = 0; row < data.rows; ++row) {
      const double distance = data.values[row * data.cols + k] - mean;
      squares += distance * distance;
    }
    const double deviation = std::sqrt(squares / static_cast<double>(data.rows));
    out.emplace_back(feature_name(data, k), std::abs(w[static_cast<Eigen::Index>(k)]) * deviation);
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  return out;
}

}  // namespace

Result<Trained> train_logistic(const Context& ctx, const TrainerSpec& spec,
                               const features::Matrix& train, const features::Matrix* validation,
                               const OnRound& on_round) {
  if (const auto valid = check_values(train); !valid) return valid.error();
  const int threads = spec.threads > 0 ? spec.threads : default_threads();
  const auto size = static_cast<Eigen::Index>(train.cols + 1);
  Eigen::VectorXd w = Eigen::VectorXd::Zero(size);
  Trained out;
  out.kind = "logistic";
  out.metric = spec.metric_name();
  for (int step = 0; step < spec.rounds; ++step) {
    if (const auto wanted = ctx.check(); !wanted) return wanted.error();
    Sums sums = sum_rows(train, w, /*derivatives=*/true, threads);
    sums.gradient.head(size - 1) += spec.reg_lambda * w.head(size - 1);
    if (sums.gradient.lpNorm<Eigen::Infinity>() <= kConverged * static_cast<double>(train.rows))
      break;
    sums.curvature.diagonal().head(size - 1).array() += spec.reg_lambda;
    sums.curvature.diagonal().array() +=
        1e-9;  // a feature that never varies has no curvature of its own
    const Eigen::VectorXd direction =
        sums.curvature.selfadjointView<Eigen::Lower>().ldlt().solve(sums.gradient);
    if (!direction.allFinite()) {
      return failed_precondition(
          "the features are so large that the regression has no solution in double precision; "
          "standardize them");
    }
    const double before = sums.loss + penalty(w, spec.reg_lambda);
    double share = 1;
    Eigen::VectorXd next = w - direction;
    for (int halving = 0; halving < 30; ++halving) {
      next = w - share * direction;
      const double after = sum_rows(train, next, /*derivatives=*/false, threads).loss +
                           penalty(next, spec.reg_lambda);
      if (after <= before) break;
      share /= 2;
    }
    w = next;
    out.rounds = step + 1;
    double metric = std::numeric_limits<double>::quiet_NaN();
    if (validation != nullptr) {
      metric = sum_rows(*validation, w, /*derivatives=*/false, threads).loss /
               static_cast<double>(validation->rows);
      out.validation.push_back(metric);
    }
    if (on_round && on_round(step, metric)) {
      out.stopped = true;
      break;
    }
  }
  Json model = {{"version", 1},
                {"intercept", w[size - 1]},
                {"weights", Json::array()},
                {"features", Json::array()}};
  for (std::size_t k = 0; k < train.cols; ++k) {
    model["weights"].push_back(w[static_cast<Eigen::Index>(k)]);
    model["features"].push_back(feature_name(train, k));
  }
  out.model = canonical(model);
  out.importance = importance(train, w);
  return out;
}

}  // namespace slipway::training
