#include "tuning/tpe_internal.h"

#include <numbers>

namespace slipway::tuning {

namespace {

constexpr int kCandidates = 24;
// Of Scott's bandwidth (D. Scott, "Multivariate density estimation", 1992, eq. 6.42). Half of it
// searches closer around good trials, which over 60 seeds gave lower regret on Branin, Hartmann6,
// Rosenbrock10 and Rastrigin5 than the whole.
constexpr double kBandwidthScale = 0.5;
constexpr double kSmallestBandwidth =
    0.01;  // a kernel never shrinks to a point: the search goes on
// The latest trials have full weight; that of earlier ones falls off linearly with age (Bergstra et
// al. 2013).
constexpr std::size_t kFullWeights = 25;

double normal_mass(double mean, double sigma) {            // within [0, 1]
  if (mean > 5 * sigma && mean < 1 - 5 * sigma) return 1;  // to 6e-7
  const double scale = 1 / (sigma * std::numbers::sqrt2);
  return 0.5 * (std::erf((1 - mean) * scale) + std::erf(mean * scale));
}

// A mixture with one kernel per point, each a product over dimensions (truncated normals; for
// choices a weighted coin), and one wide kernel for the prior: nothing is ever ruled out.
class Mixture {
 public:
  Mixture(const Space& space, const std::vector<const std::vector<double>*>& points)
      : dimensions_(space.size()),
        kernels_(points.size() + 1),
        means_(kernels_ * space.size(), 0.5) {
    for (std::size_t i = 0; i < dimensions_.size(); ++i) {
      for (std::size_t kernel = 0; kernel < points.size(); ++kernel) {
        means_[i * kernels_ + kernel] = (*points[kernel])[i];
      }
    }
    for (std::size_t i = 0; i < dimensions_.size(); ++i) fit(space.parameters()[i], i);
    weigh();
  }

  std::vector<double> draw(Rng& rng) const {
    double ticket = rng.uniform();
    std::size_t kernel = 0;
    while (kernel < prior() && ticket >= weights_[kernel]) ticket -= weights_[kernel++];
    std::vector<double> point(dimensions_.size());
    for (std::size_t i = 0; i < point.size(); ++i) {
      const Dimension& dimension = dimensions_[i];
      if (dimension.choices > 0) {
        const bool stays = kernel != prior() && rng.uniform() < dimension.match - dimension.other;
        point[i] = stays ? mean(kernel, i) : static_cast<double>(rng.below(dimension.choices));
      } else {
        const double sigma = kernel == prior() ? 1 : dimension.sigma;
        do {  // a mean inside [0, 1] keeps at least a third of the draws
          point[i] = mean(kernel, i) + sigma * rng.normal();
        } while (point[i] < 0 || point[i] >= 1);
      }
    }
    return point;
  }

  double log_density(std::span<const double> point) const {
    std::vector<double> logs(log_weights_);
    for (std::size_t i = 0; i < dimensions_.size(); ++i) {
      const Dimension dimension = dimensions_[i];  // copies: the loops below keep them in registers
      const double value = point[i];
      const double* means = &means_[i * kernels_];
      double* log = logs.data();
      const std::size_t last = prior();
      if (dimension.choices > 0) {
        for (std::size_t kernel = 0; kernel < last; ++kernel) {
          log[kernel] += means[kernel] == value ? dimension.log_match : dimension.log_other;
        }
        continue;
      }
      const double scale = dimension.inverse_sigma * std::numbers::sqrt2 / 2;
      for (std::size_t kernel = 0; kernel < last; ++kernel) {
        const double z = (value - means[kernel]) * scale;
        log[kernel] -= z * z;
      }
      log[last] -= (value - means[last]) * (value - means[last]) / 2;
    }
    const double highest = *std::max_element(logs.begin(), logs.end());
    double sum = 0;
    for (const double log : logs) {
      if (log > highest - 40) sum += std::exp(log - highest);  // the rest is lost in rounding
    }
    return highest + std::log(sum);
  }

 private:
  struct Dimension {
    std::size_t choices = 0;              // 0: a number
    double sigma = 1, inverse_sigma = 1;  // of all kernels but the prior's
    double match = 0, other = 0;  // probability of the kernel's own choice, and of each other one
    double log_match = 0, log_other = 0;
  };

  std::size_t prior() const { return kernels_ - 1; }
  double mean(std::size_t kernel, std::size_t i) const { return means_[i * kernels_ + kernel]; }

  void fit(const Parameter& parameter, std::size_t i) {
    Dimension& dimension = dimensions_[i];
    const auto count = static_cast<double>(kernels_);
    if (parameter.kind == Parameter::Kind::choice) {
      dimension.choices = parameter.choices.size();
      const double spread =
          1 / count;  // one pseudo-observation of each choice, shared by the kernels
      const double total = 1 + spread * static_cast<double>(dimension.choices);
      dimension.match = (1 + spread) / total;
      dimension.other = spread / total;
      dimension.log_match = std::log(dimension.match);
      dimension.log_other = std::log(dimension.other);
      return;
    }
    // The spread of the points with the prior as one more observation (mean 1/2, the uniform's
    // variance 1/12): with few points the kernels are wide, and they narrow as the points gather.
    double average = 0;
    for (std::size_t kernel = 0; kernel < kernels_; ++kernel) average += mean(kernel, i) / count;
    double variance = 1.0 / 12;
    for (std::size_t kernel = 0; kernel < kernels_; ++kernel) {
      variance += (mean(kernel, i) - average) * (mean(kernel, i) - average);
    }
    variance /= count;
    const double scott =
        std::pow(std::max(count - 1, 1.0), -1.0 / (static_cast<double>(dimensions_.size()) + 4));
    double floor = kSmallestBandwidth;
    if (parameter.kind == Parameter::Kind::integer) {
      floor = std::max(floor, 0.5 / (parameter.high - parameter.low +
                                     1));  // half a cell, else neighbours are unreachable
    }
    dimension.sigma = std::clamp(kBandwidthScale * std::sqrt(variance) * scott, floor, 1.0);
    dimension.inverse_sigma = 1 / dimension.sigma;
  }

  void weigh() {
    weights_.assign(kernels_, 1);
    const std::size_t points = prior();
    if (points > kFullWeights) {
      const std::size_t old = points - kFullWeights;
      const double least = 1 / static_cast<double>(points);
      for (std::size_t i = 0; i < old; ++i) {
        weights_[i] = least + (1 - least) * static_cast<double>(i) / static_cast<double>(old);
      }
    }
    const double sum = std::accumulate(weights_.begin(), weights_.end(), 0.0);
    log_weights_.resize(kernels_);
    for (std::size_t kernel = 0; kernel < kernels_; ++kernel) {
      weights_[kernel] /= sum;
      double norm =
          1;  // without the factors 1 / sqrt(2 pi), which cancel in the ratio of two mixtures
      for (std::size_t i = 0; i < dimensions_.size(); ++i) {
        const Dimension& dimension = dimensions_[i];
        if (dimension.choices > 0) {
          if (kernel == prior()) norm *= static_cast<double>(dimension.choices);
          continue;
        }
        const double sigma = kernel == prior() ? 1 : dimension.sigma;
        norm *= sigma * normal_mass(mean(kernel, i), sigma);
      }
      log_weights_[kernel] = std::log(weights_[kernel] / norm);
    }
  }

  std::vector<Dimension> dimensions_;
  std::size_t kernels_;              // the last is the prior's
  std::vector<double> means_;        // [dimensions, kernels_]
  std::vector<double> weights_;      // [kernels_], sum 1
  std::vector<double> log_weights_;  // [kernels_], with the kernels' normalization
};

}  // namespace

std::vector<double> tpe_suggest(const Space& space,
                                const std::vector<const std::vector<double>*>& good,
                                const std::vector<const std::vector<double>*>& bad, Rng& rng) {
  const Mixture near(space, good);
  const Mixture far(space, bad);
  std::vector<double> best;
  double best_score = -std::numeric_limits<double>::infinity();
  for (int i = 0; i < kCandidates; ++i) {
    auto candidate = near.draw(rng);
    space.snap(candidate);
    const double score = near.log_density(candidate) - far.log_density(candidate);
    if (best.empty() || score > best_score) {
      best_score = score;
      best = std::move(candidate);
    }
  }
  return best;
}

}  // namespace slipway::tuning
