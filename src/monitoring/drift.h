// Has a column changed? Distances between counts per bin of a reference and of a window, and tests
// that know how many rows both had. A column is called drifted only when its change is both
// significant (p-value, corrected over all tests of the window) and large enough to matter (an
// effect size that does not depend on the number of rows).
//   std::vector<ColumnDrift> columns;
//   for (…) columns.push_back(*column_drift(reference_profile, view, options));
//   decide(columns, options);
// The same method whatever the number of rows; windows merge by adding counts. Thread-safe.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/spec.h"
#include "data/profile.h"

namespace slipway::monitoring {

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

struct DriftOptions {
  double alpha =
      0.01;  // chance of one false alarm or more among all columns of a window without any change
  double min_effect = 0.02;    // of KS or total variation: smaller changes are never called drift
  double psi_threshold = 0.2;  // from here on a drift is called major
  double null_change = 0.01;   // smallest change of the null share that counts
  bool bonferroni = false;     // instead of Benjamini-Hochberg
  std::vector<std::string> ignore;  // columns that are not compared

  // Keys as the members; correction: benjamini_hochberg | bonferroni. Problems are noted in the
  // reader.
  static DriftOptions read(SpecReader& reader);
  Json to_json() const;
};

struct ColumnDrift {
  std::string name;
  bool categorical = false;
  std::int64_t rows = 0;  // of the window, nulls included
  double psi = 0;         // over about ten groups of bins
  double js = 0;          // Jensen-Shannon distance over the same groups
  double effect = 0;      // KS distance of numbers, total variation of categories
  std::optional<double>
      wasserstein;               // numbers: distance moved, in standard deviations of the reference
  double p = 1, p_adjusted = 1;  // KS or chi-square; adjusted by decide()
  double null_share = 0, reference_null_share = 0;
  double null_p = 1, null_p_adjusted = 1;
  double unseen_share =
      0;  // categories that the reference did not have (0 where it had too many to know)
  double out_of_range_share = 0;  // numbers below the reference's least or above its greatest
  std::optional<double> importance;
  bool drifted = false;        // significant, and effect >= min_effect
  bool major = false;          // drifted, and psi >= psi_threshold
  bool nulls_changed = false;  // significant, and change >= null_change
  Json to_json() const;
};

// Everything about one column but the decision. A window without rows has no drift: p is 1.
Result<ColumnDrift> column_drift(const data::ColumnProfile& reference,
                                 const data::ColumnView& window);
// Adjusts the p-values over all tests of all columns and decides.
void decide(std::span<ColumnDrift> columns, const DriftOptions& options);
// Mean Jensen-Shannon distance weighted by importance; nothing when no column has one.
std::optional<double> weighted_drift(std::span<const ColumnDrift> columns);

}  // namespace slipway::monitoring
