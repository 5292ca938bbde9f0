// Do two samples come from one distribution? Distances between shares per bin, and tests that know
// how many rows both had.
//   const auto test = ks_test(counts_then, counts_now);
//   if (test.p < alpha && test.statistic >= smallest_that_matters) …
// With many rows every difference is significant: look at the distance, too. Thread-safe: functions
// of their arguments.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"

namespace slipway::data {

// Population stability index: N. Siddiqi, "Intelligent credit scoring" (2nd ed., 2017), p. 369.
// Shares per bin, each summing to 1. invalid_argument when the lengths differ (here and below).
Result<double> population_stability_index(std::span<const double> expected,
                                          std::span<const double> actual);
// Square root of the Jensen-Shannon divergence in bits: 0 to 1. J. Lin, IEEE Trans. Inf. Theory 37
// (1991).
Result<double> jensen_shannon_distance(std::span<const double> expected,
                                       std::span<const double> actual);
// Half the sum of absolute differences: the share of rows that would have to move.
Result<double> total_variation(std::span<const double> expected, std::span<const double> actual);
// Largest difference of the distribution functions at the ends of ordered bins.
Result<double> kolmogorov_smirnov(std::span<const double> expected, std::span<const double> actual);

struct TestResult {
  double statistic = 0;
  double p = 1;
};
// Two samples of ordered bins. Asymptotic law with M. Stephens' correction for small samples (J. R.
// Stat. Soc. B 32, 1970); on bins it is conservative.
TestResult ks_test(std::span<const std::int64_t> reference, std::span<const std::int64_t> window);
// The chance of so large a distance between the distribution functions of n and m values, if both
// came from one distribution.
double ks_p_value(double distance, double n, double m);
// Two samples of categories, both with sampling error; cells whose expected count is below 5 are
// pooled.
TestResult chi_square_test(std::span<const std::int64_t> reference,
                           std::span<const std::int64_t> window);
// Two shares; Fisher's exact test when a cell is expected to hold less than 5, else chi-square.
TestResult share_test(std::int64_t reference_hits, std::int64_t reference_rows,
                      std::int64_t window_hits, std::int64_t window_rows);
// Upper tail of the chi-square law.
double chi_square_tail(double statistic, double degrees);

// Adjusted p-values, comparable with alpha. Y. Benjamini, Y. Hochberg, J. R. Stat. Soc. B 57
// (1995); C. Bonferroni.
std::vector<double> benjamini_hochberg(std::span<const double> p);
std::vector<double> bonferroni(std::span<const double> p);

}  // namespace slipway::data
