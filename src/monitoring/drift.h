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
#include "data/two_sample.h"

namespace slipway::monitoring {

// The distances and tests, by their names here.
using data::benjamini_hochberg;
using data::bonferroni;
using data::chi_square_tail;
using data::chi_square_test;
using data::jensen_shannon_distance;
using data::kolmogorov_smirnov;
using data::ks_test;
using data::population_stability_index;
using data::share_test;
using data::TestResult;
using data::total_variation;

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
