#include "data/two_sample.h"

namespace slipway::data {

namespace {

constexpr double kSmallestShare = 1e-4;  // an empty bin: its logarithm is infinite
constexpr double kSmallestExpected =
    5;  // W. Cochran's rule for the chi-square law, Biometrics 10 (1954)

Result<void> same_bins(std::span<const double> expected, std::span<const double> actual) {
  if (expected.size() == actual.size()) return {};
  return invalid_argument(
      fmt::format("expected has {} bins, actual has {}", expected.size(), actual.size()));
}

// std::lgamma writes a global sign; this one does not.
double log_gamma(double x) {
  int sign = 0;
  return ::lgamma_r(x, &sign);
}

std::int64_t sum(std::span<const std::int64_t> counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

// Q(lambda) = 2 sum (-1)^(k-1) exp(-2 k^2 lambda^2): the tail of Kolmogorov's law.
double kolmogorov_tail(double lambda) {
  if (lambda < 0.2) return 1;  // the series converges slowly where the answer is 1 to 12 digits
  double tail = 0;
  for (int k = 1; k <= 100; ++k) {
    const double term = std::exp(-2.0 * k * k * lambda * lambda);
    tail += k % 2 == 1 ? term : -term;
    if (term < 1e-16) break;
  }
  return std::clamp(2 * tail, 0.0, 1.0);
}

// Fisher's exact test, two-sided: the probability of all tables with these margins that are not
// likelier than this one.
double fisher_p(std::int64_t hits, std::int64_t rows, std::int64_t all_hits,
                std::int64_t all_rows) {
  const auto choose = [](std::int64_t n, std::int64_t k) {
    return log_gamma(static_cast<double>(n) + 1) - log_gamma(static_cast<double>(k) + 1) -
           log_gamma(static_cast<double>(n - k) + 1);
  };
  const auto log_probability = [&](std::int64_t k) {
    return choose(all_hits, k) + choose(all_rows - all_hits, rows - k) - choose(all_rows, rows);
  };
  const double seen = log_probability(hits);
  const std::int64_t least = std::max<std::int64_t>(0, rows - (all_rows - all_hits));
  const std::int64_t most = std::min(rows, all_hits);
  const auto mode = std::clamp(
      static_cast<std::int64_t>(static_cast<double>(rows) * static_cast<double>(all_hits) /
                                static_cast<double>(all_rows)),
      least, most);
  double p = 0;
  // Outwards from the mode: the probabilities fall, so each side may end once they no longer count.
  for (std::int64_t k = mode; k <= most; ++k) {
    const double log = log_probability(k);
    if (log <= seen + 1e-7) p += std::exp(log);
    if (k > hits && log < seen - 40) break;
  }
  for (std::int64_t k = mode - 1; k >= least; --k) {
    const double log = log_probability(k);
    if (log <= seen + 1e-7) p += std::exp(log);
    if (k < hits && log < seen - 40) break;
  }
  return std::min(p, 1.0);
}

}  // namespace

Result<double> population_stability_index(std::span<const double> expected,
                                          std::span<const double> actual) {
  if (auto same = same_bins(expected, actual); !same) return same.error();
  double psi = 0;
  for (std::size_t bin = 0; bin < expected.size(); ++bin) {
    const double e = std::max(expected[bin], kSmallestShare);
    const double a = std::max(actual[bin], kSmallestShare);
    psi += (a - e) * std::log(a / e);
  }
  return psi;
}

Result<double> jensen_shannon_distance(std::span<const double> expected,
                                       std::span<const double> actual) {
  if (auto same = same_bins(expected, actual); !same) return same.error();
  double divergence = 0;
  const auto add = [&](double share, double middle) {
    if (share > 0) divergence += share * std::log2(share / middle) / 2;
  };
  for (std::size_t bin = 0; bin < expected.size(); ++bin) {
    const double middle = (expected[bin] + actual[bin]) / 2;
    add(expected[bin], middle);
    add(actual[bin], middle);
  }
  return std::sqrt(std::clamp(divergence, 0.0, 1.0));
}

Result<double> total_variation(std::span<const double> expected, std::span<const double> actual) {
  if (auto same = same_bins(expected, actual); !same) return same.error();
  double moved = 0;
  for (std::size_t bin = 0; bin < expected.size(); ++bin)
    moved += std::abs(expected[bin] - actual[bin]) / 2;
  return moved;
}

Result<double> kolmogorov_smirnov(std::span<const double> expected,
                                  std::span<const double> actual) {
  if (auto same = same_bins(expected, actual); !same) return same.error();
  double largest = 0;
  double difference = 0;
  for (std::size_t bin = 0; bin < expected.size(); ++bin) {
    difference += actual[bin] - expected[bin];
    largest = std::max(largest, std::abs(difference));
  }
  return largest;
}

TestResult ks_test(std::span<const std::int64_t> reference, std::span<const std::int64_t> window) {
  const auto n = static_cast<double>(sum(reference));
  const auto m = static_cast<double>(sum(window));
  if (n == 0 || m == 0 || reference.size() != window.size()) return {};
  double largest = 0;
  double below_n = 0;
  double below_m = 0;
  for (std::size_t bin = 0; bin < reference.size(); ++bin) {
    below_n += static_cast<double>(reference[bin]) / n;
    below_m += static_cast<double>(window[bin]) / m;
    largest = std::max(largest, std::abs(below_n - below_m));
  }
  return {largest, ks_p_value(largest, n, m)};
}

double ks_p_value(double distance, double n, double m) {
  if (n <= 0 || m <= 0) return 1;
  const double root = std::sqrt(n * m / (n + m));
  return kolmogorov_tail((root + 0.12 + 0.11 / root) * distance);
}

TestResult chi_square_test(std::span<const std::int64_t> reference,
                           std::span<const std::int64_t> window) {
  const auto n = static_cast<double>(sum(reference));
  const auto m = static_cast<double>(sum(window));
  if (n == 0 || m == 0 || reference.size() != window.size()) return {};
  double statistic = 0;
  int cells = 0;
  const auto add_cell = [&](double r, double w) {
    const double share = (r + w) / (n + m);
    if (share == 0) return;
    ++cells;
    statistic += (r - share * n) * (r - share * n) / (share * n) +
                 (w - share * m) * (w - share * m) / (share * m);
  };
  double pooled_r = 0;
  double pooled_w = 0;
  for (std::size_t bin = 0; bin < reference.size(); ++bin) {
    const auto r = static_cast<double>(reference[bin]);
    const auto w = static_cast<double>(window[bin]);
    if ((r + w) / (n + m) * std::min(n, m) < kSmallestExpected) {
      pooled_r += r;
      pooled_w += w;
    } else {
      add_cell(r, w);
    }
  }
  // A pool that is itself too small says nothing reliable.
  if ((pooled_r + pooled_w) / (n + m) * std::min(n, m) >= kSmallestExpected)
    add_cell(pooled_r, pooled_w);
  if (cells < 2) return {};
  return {statistic, chi_square_tail(statistic, cells - 1)};
}

TestResult share_test(std::int64_t reference_hits, std::int64_t reference_rows,
                      std::int64_t window_hits, std::int64_t window_rows) {
  if (reference_rows <= 0 || window_rows <= 0) return {};
  const std::int64_t hits = reference_hits + window_hits;
  const std::int64_t rows = reference_rows + window_rows;
  const double difference =
      static_cast<double>(window_hits) / static_cast<double>(window_rows) -
      static_cast<double>(reference_hits) / static_cast<double>(reference_rows);
  if (hits == 0 || hits == rows) return {0, 1};
  const double rarer = static_cast<double>(std::min(hits, rows - hits)) / static_cast<double>(rows);
  if (rarer * static_cast<double>(std::min(reference_rows, window_rows)) < kSmallestExpected) {
    return {difference, fisher_p(window_hits, window_rows, hits, rows)};
  }
  const std::int64_t reference[] = {reference_hits, reference_rows - reference_hits};
  const std::int64_t window[] = {window_hits, window_rows - window_hits};
  return {difference, chi_square_test(reference, window).p};
}

// The regularized upper incomplete gamma function Q(a, x): by its series below a + 1, by Lentz's
// continued fraction above (W. Press et al., "Numerical recipes" (3rd ed., 2007), section 6.2).
double chi_square_tail(double statistic, double degrees) {
  const double a = degrees / 2;
  const double x = statistic / 2;
  if (!(x > 0) || !(a > 0)) return 1;
  const double front = std::exp(-x + a * std::log(x) - log_gamma(a));
  if (x < a + 1) {
    double term = 1 / a;
    double series = term;
    for (double n = a + 1; term > series * 1e-16; n += 1) {
      term *= x / n;
      series += term;
    }
    return std::clamp(1 - front * series, 0.0, 1.0);
  }
  constexpr double kTiny = 1e-300;
  double b = x + 1 - a;
  double c = 1 / kTiny;
  double d = 1 / b;
  double fraction = d;
  for (int i = 1; i <= 10'000; ++i) {
    const double factor = -i * (i - a);
    b += 2;
    d = factor * d + b;
    if (std::abs(d) < kTiny) d = kTiny;
    c = b + factor / c;
    if (std::abs(c) < kTiny) c = kTiny;
    d = 1 / d;
    fraction *= d * c;
    if (std::abs(d * c - 1) < 1e-15) break;
  }
  return std::clamp(front * fraction, 0.0, 1.0);
}

std::vector<double> benjamini_hochberg(std::span<const double> p) {
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p[a] > p[b]; });
  std::vector<double> adjusted(p.size());
  double least = 1;
  for (std::size_t i = 0; i < order.size(); ++i) {  // from the largest p down
    const auto rank = static_cast<double>(p.size() - i);
    least = std::min(least, p[order[i]] * static_cast<double>(p.size()) / rank);
    adjusted[order[i]] = least;
  }
  return adjusted;
}

std::vector<double> bonferroni(std::span<const double> p) {
  std::vector<double> adjusted;
  for (const double one : p) adjusted.push_back(std::min(1.0, one * static_cast<double>(p.size())));
  return adjusted;
}

}  // namespace slipway::data
